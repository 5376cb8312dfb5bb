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
