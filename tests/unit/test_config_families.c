/* model/config: the families beyond the first ones, as transformers 4 and 5 write them. */
#include <criterion/criterion.h>
#include <string.h>

#include "model/arch.h"
#include "model/config.h"

static char refusal[1024];

/* Text with ' for ". False: refused, with the reason in `refusal`. */
static bool read_text(struct config *c, const char *text)
{
    char json[4096];
    struct json_doc *doc = NULL;
    struct err err = {0};
    size_t n = strlen(text);
    cr_assert_lt(n, sizeof json);
    for (size_t i = 0; i < n; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    cr_assert_eq(json_parse(&doc, json, n, false, "config.json", &err), 0, "%s", err.text);
    int rc = config_parse(c, doc, &err);
    json_free(doc);
    strcpy(refusal, rc == 0 ? "" : err.text);
    return rc == 0;
}

static struct config read_good(const char *text)
{
    struct config c;
    cr_assert(read_text(&c, text), "%s", refusal);
    return c;
}

static bool refused(const char *text, const char *reason)
{
    struct config c;
    return !read_text(&c, text) && strstr(refusal, reason) != NULL;
}

#define SIZES                                                                                                                    \
    "'vocab_size':32000,'hidden_size':256,'intermediate_size':688,'num_hidden_layers':6,'num_attention_heads':8,"                \
    "'max_position_embeddings':2048"

Test(config_families, qwen3_norms_heads_and_has_a_width_of_its_own)
{
    struct config c = read_good("{'architectures':['Qwen3ForCausalLM']," SIZES
                                ",'num_key_value_heads':4,'head_dim':128,'rope_theta':1000000.0,'rope_scaling':null,"
                                "'attention_bias':false,'use_sliding_window':false,'sliding_window':null}");
    cr_expect(c.qk_norm && c.K == 128 && c.rotary == 128 && c.G == 4 && !c.qkv_bias && !c.o_bias && c.rope.theta == 1e6);
    c = read_good("{'architectures':['Qwen3ForCausalLM']," SIZES
                  ",'dtype':'float32','rope_parameters':{'rope_theta':5000000,'rope_type':'default'},'attention_bias':true}");
    cr_expect(c.qkv_bias && c.o_bias && c.rope.theta == 5e6 && c.K == 32);
}

Test(config_families, phi3_may_turn_a_part_of_each_head)
{
    struct config c = read_good("{'architectures':['Phi3ForCausalLM']," SIZES ",'num_key_value_heads':8,'sliding_window':2047}");
    cr_expect(c.rotary == 32 && c.norm_eps == 1e-5 && c.gated && config_window(&c, 0) == 2047);
    c = read_good("{'architectures':['Phi3ForCausalLM']," SIZES ",'partial_rotary_factor':0.75}");
    cr_expect(c.rotary == 24 && config_window(&c, 0) == 0);
    c = read_good("{'architectures':['Phi3ForCausalLM']," SIZES
                  ",'rope_parameters':{'rope_theta':10000.0,'rope_type':'default','partial_rotary_factor':0.5}}");
    cr_expect_eq(c.rotary, 16);
    cr_expect(refused("{'architectures':['Phi3ForCausalLM']," SIZES ",'partial_rotary_factor':0.1}",
                      "an even number of a head's dims"));
    cr_expect(refused("{'architectures':['Phi3ForCausalLM']," SIZES ",'partial_rotary_factor':1.5}", "1.5 is not implemented"));
}

Test(config_families, gpt_neox_spells_rotary_positions_in_three_ways)
{
    struct config c = read_good("{'architectures':['GPTNeoXForCausalLM']," SIZES "}");
    cr_expect(c.rotary == 8 && c.rope.theta == 10000 && c.parallel && c.qkv_bias && c.o_bias && c.mlp_bias && c.act == ACT_GELU);
    cr_expect(c.norm == NORM_LAYER && c.norm_eps == 1e-5 && !c.tied && c.G == 8 && !c.gated);
    c = read_good("{'architectures':['GPTNeoXForCausalLM']," SIZES
                  ",'rotary_pct':0.5,'rotary_emb_base':25000,'use_parallel_residual':false,'attention_bias':false,"
                  "'hidden_act':'gelu_fast'}");
    cr_expect(c.rotary == 16 && c.rope.theta == 25000 && !c.parallel && !c.qkv_bias && !c.o_bias && c.act == ACT_GELU_TANH);
    c = read_good("{'architectures':['GPTNeoXForCausalLM']," SIZES
                  ",'rope_parameters':{'rope_theta':20000,'rope_type':'default','partial_rotary_factor':1.0}}");
    cr_expect(c.rotary == 32 && c.rope.theta == 20000);
    cr_expect(refused("{'architectures':['GPTNeoXForCausalLM']," SIZES ",'rotary_pct':0}", "field 'rotary_pct'"));
}

Test(config_families, roberta_counts_positions_from_behind_the_padding)
{
    struct config c = read_good("{'architectures':['RobertaForSequenceClassification']," SIZES
                                ",'pad_token_id':1,'type_vocab_size':1,'layer_norm_eps':1e-05,'hidden_act':'relu'}");
    cr_expect(c.positions == 2046 && c.position_offset == 2 && arch_axis_size(&c, AX_POSITION) == 2048 && c.type_vocab == 1);
    cr_expect(c.head == HEAD_CLASSIFY && c.head_act == ACT_TANH && c.post_norm && !c.causal);
    c = read_good("{'architectures':['XLMRobertaForMaskedLM']," SIZES ",'hidden_act':'relu'}");
    cr_expect(c.head == HEAD_MLM && c.head_act == ACT_GELU && c.act == ACT_RELU && c.tied,
              "the head has gelu whatever hidden_act says");
    cr_expect(refused("{'architectures':['RobertaForMaskedLM']," SIZES ",'pad_token_id':2047}", "leaves no position"));
}

/* Catches high and wide in each other's place, a patch at the edge that is not whole, the second token left out (each tried). */
Test(config_families, images_have_patches_for_tokens)
{
#define VIT "'hidden_size':192,'num_hidden_layers':3,'num_attention_heads':3,'intermediate_size':768"
    struct config c = read_good("{'architectures':['ViTForImageClassification']," VIT ",'qkv_bias':true,'encoder_stride':16}");
    cr_expect(c.channels == 3 && c.image[0] == 224 && c.patch[1] == 16 && c.positions == 197 && c.V == 0 && c.C == 2);
    cr_expect(c.norm == NORM_LAYER && c.norm_eps == 1e-12 && !c.post_norm && !c.causal && c.act == ACT_GELU && c.qkv_bias && c.o_bias);
    cr_expect(c.head == HEAD_CLASSIFY && arch_tensor(&c, ROLE_POOL) == NULL && arch_axis_size(&c, AX_PATCH) == 768);
    c = read_good("{'architectures':['DeiTForImageClassification']," VIT ",'image_size':[30,44],'patch_size':[7,8],'num_channels':1,"
                  "'qkv_bias':false,'dtype':'float32','hidden_act':'relu','layer_norm_eps':1e-06}");
    cr_expect(config_patches(&c) == 4 * 5 && c.positions == 22 && !c.qkv_bias && c.o_bias && c.act == ACT_RELU && c.norm_eps == 1e-6);
    cr_expect(arch_axis_size(&c, AX_PATCH) == 56 && arch_axis_size(&c, AX_POSITION) == 22);
    cr_expect(refused("{'architectures':['ViTForImageClassification']," VIT ",'num_channels':4}", "field 'num_channels': 4 is not implemented"));
    cr_expect(refused("{'architectures':['ViTForImageClassification']," VIT ",'image_size':'224'}", "field 'image_size'"));
    cr_expect(refused("{'architectures':['ViTForImageClassification']," VIT ",'image_size':[224]}", "[height, width]"));
    cr_expect(refused("{'architectures':['ViTForImageClassification']," VIT ",'patch_size':0}", "field 'patch_size'"));
    cr_expect(refused("{'architectures':['ViTForImageClassification']," VIT ",'image_size':15}", "do not fit images of 15 x 15"));
    cr_expect(refused("{'architectures':['ViTForImageClassification'],'hidden_size':190,'num_hidden_layers':3,'num_attention_heads':3,"
                      "'intermediate_size':768}", "not a multiple of num_attention_heads"));
    cr_expect(refused("{'architectures':['DeiTForImageClassificationWithTeacher']," VIT "}", "'DeiTForImageClassificationWithTeacher' is not implemented"));
}

Test(config_families, distilbert_has_its_own_keys)
{
#define KEYS "'vocab_size':100,'dim':64,'n_layers':3,'n_heads':4,'hidden_dim':256,'max_position_embeddings':512"
    struct config c = read_good("{'architectures':['DistilBertForSequenceClassification']," KEYS ",'activation':'gelu'}");
    cr_expect(c.D == 64 && c.L == 3 && c.H == 4 && c.K == 16 && c.F == 256 && c.V == 100 && c.positions == 512 &&
              c.type_vocab == 0);
    cr_expect(c.head_act == ACT_RELU && c.act == ACT_GELU && c.norm_eps == 1e-12 && c.C == 2);
    c = read_good("{'architectures':['DistilBertForMaskedLM']," KEYS ",'activation':'relu','tie_word_embeddings':false}");
    cr_expect(c.head_act == ACT_RELU && c.head == HEAD_MLM && !c.tied);
}

/* Catches a factor that is not derived from the lengths, longrope's long list taken for the short one (both tried). */
Test(config_families, rope_kinds_as_both_write_them)
{
    struct config c = read_good("{'architectures':['Qwen3ForCausalLM']," SIZES
                                ",'rope_theta':1e6,'rope_scaling':{'rope_type':'yarn','factor':4.0,'original_max_position_embeddings':2048}}");
    cr_expect(c.rope.kind == ROPE_YARN && c.rope.factor == 4 && c.rope.original == 2048 && c.rope.beta_fast == 32 && c.rope.beta_slow == 1);
    cr_expect(c.rope.truncate && c.positions == 8192, "texts may be as long as the stretched positions");
    cr_expect_float_eq(c.rope.attention_factor, 0.1 * 1.3862943611 + 1, 1e-9);
    c = read_good("{'architectures':['LlamaForCausalLM']," SIZES
                  ",'rope_parameters':{'rope_type':'yarn','rope_theta':5e5,'original_max_position_embeddings':512,'truncate':false,"
                  "'beta_fast':16,'beta_slow':2,'mscale':2,'mscale_all_dim':1}}");
    cr_expect(c.rope.factor == 4 && c.rope.theta == 5e5 && !c.rope.truncate && c.rope.beta_fast == 16 && c.rope.beta_slow == 2);
    cr_expect(c.positions == 2048);
    cr_expect_float_eq(c.rope.attention_factor, 1.2772588722 / 1.1386294361, 1e-9);
    c = read_good("{'architectures':['LlamaForCausalLM']," SIZES ",'rope_scaling':{'type':'dynamic','factor':2.0}}");
    cr_expect(c.rope.kind == ROPE_DEFAULT && c.positions == 2048, "dynamic begins beyond the last position");
#define LIST "[1,1.1,1.2,1.3,1.4,1.5,1.6,1.7,1.8,1.9,2,2.1,2.2,2.3,2.4,2.5]"
    c = read_good("{'architectures':['Phi3ForCausalLM']," SIZES ",'original_max_position_embeddings':512,"
                  "'rope_scaling':{'type':'su','short_factor':" LIST ",'long_factor':[9]}}");
    cr_expect(c.rope.kind == ROPE_LONGROPE && c.rope.stretch[0] == 1 && c.rope.stretch[15] == 2.5);
    cr_expect_eq(c.positions, 512, "the long list begins where texts end here");
    cr_expect_float_eq(c.rope.attention_factor, 1.10554159678, 1e-9); /* sqrt(1 + ln 4 / ln 512) */
    cr_expect(refused("{'architectures':['Phi3ForCausalLM']," SIZES ",'rope_scaling':{'type':'longrope','short_factor':[1,2]}}",
                      "field 'short_factor': expected 16 numbers, found 2"));
    cr_expect(refused("{'architectures':['Phi3ForCausalLM']," SIZES ",'rope_scaling':{'type':'longrope','short_factor':[1,'x']}}",
                      "expected positive numbers, found a string"));
}

Test(config_families, gemma_2_and_3_alternate_windows_and_gemma_3_rotations)
{
    struct config c = read_good("{'architectures':['Gemma2ForCausalLM']," SIZES ",'num_key_value_heads':4,'query_pre_attn_scalar':144}");
    cr_expect(c.K == 256 && c.tied && c.gain_plus_one && c.post_norms && !c.qk_norm && c.score_cap == 50 && c.logit_cap == 30);
    cr_expect(c.embed_scale == 16 && c.query_scale == 1.0 / 12 && c.act == ACT_GELU_TANH && !c.two_ropes);
    cr_expect(config_window(&c, 0) == 4096 && config_window(&c, 1) == 0 && config_window(&c, 4) == 4096 && config_window(&c, 5) == 0);
    c = read_good("{'architectures':['Gemma2ForCausalLM']," SIZES ",'final_logit_softcapping':null,'attn_logit_softcapping':null}");
    cr_expect(!(c.score_cap > 0) && !(c.logit_cap > 0));
    c = read_good("{'architectures':['Gemma3ForCausalLM']," SIZES
                  ",'head_dim':64,'sliding_window':512,'rope_scaling':{'factor':8.0,'rope_type':'linear'}}");
    cr_expect(c.qk_norm && c.two_ropes && c.K == 64 && c.rope.theta == 1e6 && c.rope.factor == 8 && c.rope.kind == ROPE_LINEAR);
    cr_expect(c.rope_sliding.theta == 1e4 && c.rope_sliding.kind == ROPE_DEFAULT && !(c.score_cap > 0) && !(c.logit_cap > 0));
    cr_expect(config_window(&c, 4) == 512 && config_window(&c, 5) == 0 && config_rope(&c, 5) == &c.rope);
    c = read_good("{'architectures':['Gemma3ForCausalLM']," SIZES
                  ",'layer_types':['full_attention','sliding_attention','sliding_attention','full_attention','sliding_attention',"
                  "'full_attention'],'rope_parameters':{'sliding_attention':{'rope_type':'default','rope_theta':7000},"
                  "'full_attention':{'rope_type':'default','rope_theta':2e6}}}");
    cr_expect(c.rope.theta == 2e6 && c.rope_sliding.theta == 7000 && config_window(&c, 0) == 0 && config_window(&c, 4) == 4096);
    cr_expect(refused("{'architectures':['Gemma3ForCausalLM']," SIZES ",'use_bidirectional_attention':true}", "true is not implemented"));
    c = read_good("{'architectures':['GemmaForCausalLM']," SIZES ",'hidden_act':'gelu'}");
    cr_expect(c.act == ACT_GELU_TANH && !c.post_norms && c.embed_scale == 16 && config_window(&c, 0) == 0);
}

Test(config_families, experts_are_counted_and_layers_without_them_refused)
{
    struct config c = read_good("{'architectures':['MixtralForCausalLM']," SIZES
                                ",'num_key_value_heads':4,'num_local_experts':8,'num_experts_per_tok':2,'sliding_window':null}");
    cr_expect(c.experts == 8 && c.experts_used == 2 && c.renormalise && c.F == 688 && c.rope.theta == 1e6 && config_window(&c, 0) == 0);
    c = read_good("{'architectures':['Qwen3MoeForCausalLM']," SIZES
                  ",'num_experts':128,'num_experts_per_tok':8,'moe_intermediate_size':96,'norm_topk_prob':true,"
                  "'decoder_sparse_step':1,'mlp_only_layers':[]}");
    cr_expect(c.experts == 128 && c.experts_used == 8 && c.renormalise && c.F == 96 && c.qk_norm);
    cr_expect(refused("{'architectures':['Qwen3MoeForCausalLM']," SIZES
                      ",'num_experts':4,'num_experts_per_tok':2,'moe_intermediate_size':96,'mlp_only_layers':[0]}",
                      "layers without experts"));
    cr_expect(refused("{'architectures':['MixtralForCausalLM']," SIZES ",'num_local_experts':2,'num_experts_per_tok':3}",
                      "field 'num_experts_per_tok': 3 of 2 experts"));
    cr_expect(refused("{'architectures':['Qwen2MoeForCausalLM']," SIZES "}", "'Qwen2MoeForCausalLM' is not implemented"));
}

/* Without a head the same network: transformers 4 and 5 differ in keys that say nothing here (torch_dtype, dtype). */
Test(config_families, encoders_and_decoders_without_head)
{
    struct config c = read_good("{'architectures':['BertModel'],'torch_dtype':'float32'," SIZES ",'gradient_checkpointing':false}");
    cr_expect(c.head == HEAD_NONE && c.post_norm && !c.causal && c.norm_eps == 1e-12 && config_outputs(&c) == c.D);
    c = read_good("{'architectures':['XLMRobertaModel'],'dtype':'float32'," SIZES ",'pad_token_id':1,'type_vocab_size':1,'bos_token_id':0}");
    cr_expect(c.head == HEAD_NONE && c.position_offset == 2 && c.type_vocab == 1);
    c = read_good("{'architectures':['DistilBertModel']," KEYS "}");
    cr_expect(c.head == HEAD_NONE && c.type_vocab == 0 && c.D == 64);
    c = read_good("{'architectures':['Qwen3Model']," SIZES ",'num_key_value_heads':4,'head_dim':64,"
                  "'rope_parameters':{'rope_type':'default','rope_theta':1e6}}");
    cr_expect(c.head == HEAD_NONE && c.causal && c.qk_norm && c.rope.theta == 1e6 && c.K == 64);
    cr_expect(refused("{'architectures':['Qwen2Model']," SIZES ",'is_causal':false}", "field 'is_causal': false is not implemented"));
}

Test(config_families, albert_has_narrow_tables_and_layers_that_share)
{
    struct config c = read_good("{'architectures':['AlbertModel']," SIZES ",'embedding_size':128,'num_hidden_groups':1,'inner_group_num':1}");
    cr_expect(c.E == 128 && c.groups == 1 && c.act == ACT_GELU_TANH && c.head == HEAD_NONE && c.post_norm && c.type_vocab == 2);
    cr_expect(arch_axis_size(&c, AX_E) == 128 && arch_stored_layer(&c, 0) == 0 && arch_stored_layer(&c, c.L - 1) == 0);
    c = read_good("{'architectures':['AlbertForSequenceClassification']," SIZES ",'embedding_size':128,'num_hidden_groups':3,'hidden_act':'relu'}");
    cr_expect(c.groups == 3 && c.act == ACT_RELU && c.head_act == ACT_TANH && arch_stored_layer(&c, 1) == 0 && arch_stored_layer(&c, 2) == 1 &&
              arch_stored_layer(&c, 5) == 2);
    cr_expect(refused("{'architectures':['AlbertModel']," SIZES ",'embedding_size':128,'num_hidden_groups':4}", "is not a multiple of num_hidden_groups"));
    cr_expect(refused("{'architectures':['AlbertModel']," SIZES ",'embedding_size':128,'inner_group_num':2}", "field 'inner_group_num'"));
    cr_expect(refused("{'architectures':['AlbertForMaskedLM']," SIZES ",'embedding_size':128}", "'AlbertForMaskedLM' is not implemented"));
}
