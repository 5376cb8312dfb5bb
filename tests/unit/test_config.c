/* model/config: each architecture as transformers 4 and 5 write it. What is refused: tests/vectors/malformed/config. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/arch.h"
#include "model/config.h"
#include "tests/support/tempdir.h"

/* Text with ' for ". */
static struct config read_text(const char *text)
{
    static char json[8192];
    struct json_doc *doc = NULL;
    struct config c;
    struct err err = {0};
    size_t n = strlen(text);
    cr_assert_lt(n, sizeof json);
    for (size_t i = 0; i < n; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    cr_assert_eq(json_parse(&doc, json, n, false, "config.json", &err), 0, "%s", err.text);
    cr_assert_eq(config_parse(&c, doc, &err), 0, "%s", err.text);
    json_free(doc);
    return c;
}

#define LLAMA_SIZES \
    "'vocab_size':32000,'hidden_size':256,'intermediate_size':688,'num_hidden_layers':6,'num_attention_heads':8," \
    "'max_position_embeddings':2048"

Test(config, llama_as_transformers_4_writes_it)
{
    struct config c = read_text("{'architectures':['LlamaForCausalLM'],'model_type':'llama'," LLAMA_SIZES
                                ",'num_key_value_heads':2,'rms_norm_eps':1e-05,'rope_theta':500000.0,"
                                "'rope_scaling':{'factor':8.0,'low_freq_factor':1.0,'high_freq_factor':4.0,"
                                "'original_max_position_embeddings':8192,'rope_type':'llama3'},"
                                "'attention_bias':false,'mlp_bias':false,'hidden_act':'silu','bos_token_id':128000,"
                                "'eos_token_id':[1,2,3],'tie_word_embeddings':true,'torch_dtype':'bfloat16','pretraining_tp':1}");
    cr_expect_str_eq(c.architecture, "LlamaForCausalLM");
    cr_expect(c.arch == arch_find("LlamaForCausalLM"));
    cr_expect(c.D == 256 && c.L == 6 && c.H == 8 && c.G == 2 && c.K == 32 && c.F == 688 && c.V == 32000 && c.positions == 2048);
    cr_expect(c.norm == NORM_RMS && c.norm_eps == 1e-5 && !c.post_norm && c.causal && c.gated && c.act == ACT_SILU);
    cr_expect(!c.qkv_bias && !c.o_bias && !c.mlp_bias && c.tied && c.head == HEAD_LM);
    cr_expect(c.position == POSITION_ROPE && c.rope.kind == ROPE_LLAMA3 && c.rope.theta == 500000 && c.rope.factor == 8);
    cr_expect(c.rope.low_freq_factor == 1 && c.rope.high_freq_factor == 4 && c.rope.original == 8192);
    cr_expect(c.eos_count == 3 && c.eos[0] == 1 && c.eos[2] == 3 && c.bos == 128000 && c.pad == -1);
    cr_expect_eq(config_window(&c, 0), 0);
    cr_expect_eq(config_outputs(&c), 32000);
}

/* Catches: reading rope_theta at the top only, or type without rope_type (both tried). */
Test(config, llama_as_transformers_5_writes_it)
{
    struct config c = read_text("{'architectures':['LlamaForCausalLM']," LLAMA_SIZES
                                ",'dtype':'float32','head_dim':32,'num_key_value_heads':8,"
                                "'rope_parameters':{'rope_theta':20000.0,'rope_type':'default'}}");
    cr_expect(c.rope.kind == ROPE_DEFAULT && c.rope.theta == 20000 && c.rope.factor == 1);
    c = read_text("{'architectures':['LlamaForCausalLM']," LLAMA_SIZES
                  ",'rope_parameters':{'rope_theta':20000.0,'rope_type':'linear','factor':2.5},'rope_scaling':null}");
    cr_expect(c.rope.kind == ROPE_LINEAR && c.rope.theta == 20000 && c.rope.factor == 2.5);
    c = read_text("{'architectures':['LlamaForCausalLM']," LLAMA_SIZES
                  ",'rope_parameters':{'rope_theta':500000.0,'rope_type':'llama3','factor':32.0,'low_freq_factor':1.0,"
                  "'high_freq_factor':4.0,'original_max_position_embeddings':8192}}");
    cr_expect(c.rope.kind == ROPE_LLAMA3 && c.rope.theta == 500000 && c.rope.factor == 32);
}

Test(config, what_llama_leaves_out_has_the_defaults_of_transformers)
{
    struct config c = read_text("{'architectures':['LlamaForCausalLM']," LLAMA_SIZES "}");
    cr_expect_eq(c.G, 8, "as many groups as heads");
    cr_expect_eq(c.K, 32);
    cr_expect_eq(c.norm_eps, 1e-6);
    cr_expect_eq(c.rope.theta, 10000);
    cr_expect_eq(c.act, ACT_SILU);
    cr_expect_not(c.tied, "Llama's own default, unlike that of other models");
    cr_expect(c.bos == -1 && c.pad == -1 && c.eos_count == 0);
    c = read_text("{'architectures':['LlamaForCausalLM']," LLAMA_SIZES
                  ",'rope_scaling':{'type':'linear','factor':4.0},'attention_bias':true,'mlp_bias':true,'head_dim':null,"
                  "'num_key_value_heads':null,'eos_token_id':2,'pad_token_id':-1,'quantization_config':null}");
    cr_expect(c.rope.kind == ROPE_LINEAR && c.rope.factor == 4 && c.rope.theta == 10000);
    cr_expect(c.qkv_bias && c.o_bias && c.mlp_bias && c.pad == -1);
    cr_expect(c.eos_count == 1 && c.eos[0] == 2);
    c = read_text("{'architectures':['LlamaForCausalLM']," LLAMA_SIZES ",'head_dim':64}");
    cr_expect_eq(c.K, 64, "heads may be wider than D / H");
}

#define W8A8(bits, weights, rows, more) \
    "{'architectures':['LlamaForCausalLM']," LLAMA_SIZES ",'quantization_config':{'quant_method':'compressed-tensors','format':" \
    "'int-quantized'," more "'config_groups':{'group_0':{'weights':{'num_bits':" bits ",'type':'int','symmetric':true," \
    "'strategy':'" weights "','dynamic':false},'input_activations':{'num_bits':8,'type':'int','symmetric':true,'strategy':'" rows "'," \
    "'dynamic':true}}}}}"

static bool quantised_is_refused(const char *text)
{
    struct json_doc *doc;
    struct err e = {0};
    struct config c;
    char json[2048];
    size_t n = strlen(text);
    cr_assert_lt(n, sizeof json);
    for (size_t i = 0; i < n; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    cr_assert_eq(json_parse(&doc, json, n, false, "config.json", &e), 0, "%s", e.text);
    int rc = config_parse(&c, doc, &e);
    json_free(doc);
    return rc == -1 && strstr(e.text, "'quantization_config'") != NULL;
}

/* Another number of bits, groups or scales is another arithmetic. */
Test(config, of_quantised_models_only_int8_per_channel_and_token_is_taken)
{
    cr_expect_eq(read_text(W8A8("8", "channel", "token", "")).D, 256);
    cr_expect(quantised_is_refused(W8A8("4", "channel", "token", "")));
    cr_expect(quantised_is_refused(W8A8("8", "tensor", "token", "")));
    cr_expect(quantised_is_refused(W8A8("8", "channel", "tensor", "")));
    cr_expect(quantised_is_refused("{'architectures':['LlamaForCausalLM']," LLAMA_SIZES ",'quantization_config':7}"));
    cr_expect(read_text(W8A8("8", "channel", "token", "")).quantised);
    cr_expect(quantised_is_refused(W8A8("8", "channel", "token", "'ignore':['lm_head'],")));
    cr_expect(quantised_is_refused(W8A8("8", "channel", "token", "'kv_cache_scheme':{'num_bits':8},")));
    cr_expect_eq(read_text(W8A8("8", "channel", "token", "'ignore':[],'kv_cache_scheme':null,")).D, 256);
}

Test(config, mistral_has_a_window_unless_it_is_null)
{
    struct config c = read_text("{'architectures':['MistralForCausalLM']," LLAMA_SIZES ",'sliding_window':1024,'num_key_value_heads':4}");
    cr_expect(config_window(&c, 0) == 1024 && config_window(&c, 5) == 1024 && !c.qkv_bias && c.G == 4);
    c = read_text("{'architectures':['MistralForCausalLM']," LLAMA_SIZES ",'sliding_window':null}");
    cr_expect_eq(config_window(&c, 0), 0);
    c = read_text("{'architectures':['MistralForCausalLM']," LLAMA_SIZES "}");
    cr_expect_eq(config_window(&c, 0), 4096, "transformers' default");
    c = read_text("{'architectures':['MistralForCausalLM']," LLAMA_SIZES
                  ",'sliding_window':64,'layer_types':['full_attention','full_attention','sliding_attention','sliding_attention',"
                  "'sliding_attention','sliding_attention']}");
    cr_expect(config_window(&c, 1) == 0 && config_window(&c, 2) == 64);
}

Test(config, qwen2_has_biases_and_a_window_for_its_upper_layers)
{
    struct config c = read_text("{'architectures':['Qwen2ForCausalLM']," LLAMA_SIZES
                                ",'use_sliding_window':false,'sliding_window':131072,'max_window_layers':3}");
    cr_expect(c.qkv_bias && !c.o_bias && !c.mlp_bias);
    cr_expect_eq(config_window(&c, 5), 0, "the window is there but switched off");
    c = read_text("{'architectures':['Qwen2ForCausalLM']," LLAMA_SIZES
                  ",'use_sliding_window':true,'sliding_window':128,'max_window_layers':4}");
    cr_expect(config_window(&c, 3) == 0 && config_window(&c, 4) == 128);
    c = read_text("{'architectures':['Qwen2ForCausalLM']," LLAMA_SIZES
                  ",'use_sliding_window':true,'sliding_window':128,'layer_types':['full_attention','full_attention',"
                  "'full_attention','full_attention','full_attention','sliding_attention']}");
    cr_expect(config_window(&c, 4) == 0 && config_window(&c, 5) == 128, "transformers 5 names each layer");
}

Test(config, gpt2_as_both_write_it)
{
    struct config c = read_text("{'architectures':['GPT2LMHeadModel'],'model_type':'gpt2','vocab_size':50257,'n_positions':1024,"
                                "'n_ctx':1024,'n_embd':768,'n_layer':12,'n_head':12,'n_inner':null,'activation_function':'gelu_new',"
                                "'layer_norm_epsilon':1e-05,'scale_attn_weights':true,'bos_token_id':50256,'eos_token_id':50256}");
    cr_expect(c.D == 768 && c.L == 12 && c.H == 12 && c.G == 12 && c.K == 64 && c.F == 3072 && c.V == 50257 && c.positions == 1024);
    cr_expect(c.norm == NORM_LAYER && c.norm_eps == 1e-5 && !c.post_norm && c.causal && !c.gated && c.act == ACT_GELU_TANH);
    cr_expect(c.qkv_bias && c.o_bias && c.mlp_bias && c.position == POSITION_LEARNED && c.tied && c.head == HEAD_LM);
    c = read_text("{'architectures':['GPT2LMHeadModel'],'dtype':'float32','vocab_size':54,'n_positions':128,'n_embd':64,'n_layer':4,"
                  "'n_head':4,'n_inner':100,'activation_function':'gelu','tie_word_embeddings':false}");
    cr_expect(c.F == 100 && c.act == ACT_GELU && !c.tied);
}

#define BERT_SIZES \
    "'vocab_size':30522,'hidden_size':128,'num_hidden_layers':2,'num_attention_heads':2,'intermediate_size':512," \
    "'max_position_embeddings':512"

Test(config, bert_classifiers_know_their_labels)
{
    struct config c = read_text("{'architectures':['BertForSequenceClassification']," BERT_SIZES
                                ",'hidden_act':'gelu','type_vocab_size':2,'layer_norm_eps':1e-12,'position_embedding_type':'absolute',"
                                "'id2label':{'2':'c','0':'a','1':'b'},'label2id':{'a':0},'pad_token_id':0}");
    cr_expect(c.D == 128 && c.L == 2 && c.H == 2 && c.G == 2 && c.K == 64 && c.F == 512 && c.type_vocab == 2 && c.pad == 0);
    cr_expect(c.norm == NORM_LAYER && c.norm_eps == 1e-12 && c.post_norm && !c.causal && c.act == ACT_GELU && c.head == HEAD_CLASSIFY);
    cr_expect(c.C == 3 && config_outputs(&c) == 3);
    cr_expect_str_eq(c.labels[0], "a");
    cr_expect_str_eq(c.labels[2], "c", "the order of the keys does not matter");
    config_free(&c);
    config_free(&c);
    c = read_text("{'architectures':['BertForSequenceClassification']," BERT_SIZES "}");
    cr_expect(c.C == 2 && c.labels == NULL && c.norm_eps == 1e-12 && c.type_vocab == 2);
    c = read_text("{'architectures':['BertForSequenceClassification']," BERT_SIZES ",'num_labels':5}");
    cr_expect_eq(c.C, 5);
    c = read_text("{'architectures':['BertForMaskedLM']," BERT_SIZES ",'id2label':{'0':'LABEL_0','1':'LABEL_1'}}");
    cr_expect(c.head == HEAD_MLM && c.tied && c.labels == NULL && config_outputs(&c) == 30522);
}

/* Catches: a look-up per label, which took 5.5 s here, hundreds of times as long as the parsing (tried). */
Test(config, many_labels_are_read_in_no_time)
{
    const int count = 65536;
    struct json_doc *doc = json_new_object("config.json"), *back = NULL;
    struct json *root = json_node(doc), *map;
    char *text = NULL;
    struct config c;
    struct err err = {0};
    json_put_str(doc, json_put_array(doc, root, "architectures"), NULL, "BertForSequenceClassification");
    static const char *const sizes[] = {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                                        "max_position_embeddings"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        json_put_int(doc, root, sizes[i], 1);
    map = json_put_object(doc, root, "id2label");
    for (int i = 0; i < count; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%d", count - 1 - i);
        json_put_str(doc, map, key, key);
    }
    cr_assert_eq(json_print(doc, false, &text, NULL), 0);
    const clock_t start = clock(); /* of this process: the machine may have other work */
    cr_assert_eq(json_parse(&back, text, strlen(text), false, "config.json", &err), 0, "%s", err.text);
    const clock_t parsed = clock();
    cr_assert_eq(config_parse(&c, back, &err), 0, "%s", err.text);
    const double times = (double)(clock() - parsed) / (double)(parsed - start + 1);
    cr_expect_lt(times, 20, "%.1f times as long as the text's own parsing", times);
    cr_expect_eq(c.C, count);
    cr_expect_str_eq(c.labels[65535], "65535");
    config_free(&c);
    json_free(back);
    json_free(doc);
    free(text);
}

Test(config, a_folder_without_config_is_named)
{
    char dir[FILE_PATH_MAX];
    struct config c;
    struct err err = {0};
    tempdir_make(dir);
    cr_expect_eq(config_read(&c, dir, &err), -1);
    cr_expect_not_null(strstr(err.text, dir));
    cr_expect_not_null(strstr(err.text, "there is no config.json"));
    tempdir_remove(dir);
}
