/* Gemma 1, 2 and 3 (text): Llama with gains that count from one, scaled embeddings and GeGLU; 2 and 3 norm what each part adds and
 * let layers with a window take turns with full ones; 2 caps scores and logits, 3 norms queries and keys and turns its sliding
 * layers at a frequency of their own. */
#include <math.h>

#include "model/arch_read.h"
#include "model/shape.h"

#define LAYER "layers.%d."

const struct arch_tensor arch_gemma2_tensors[] = {
    {ROLE_TOKEN_EMBED, PART_EMBED, AX_TOKEN, AX_D, .names = {"embed_tokens.weight"}},
    {ROLE_ATTN_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "input_layernorm.weight"}},
    {ROLE_Q, PART_CORE, AX_Q, AX_D, .per_layer = true, .names = {LAYER "self_attn.q_proj.weight"}},
    {ROLE_Q_BIAS, PART_CORE, AX_Q, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.q_proj.bias"}},
    {ROLE_K, PART_CORE, AX_KEY, AX_D, .per_layer = true, .names = {LAYER "self_attn.k_proj.weight"}},
    {ROLE_K_BIAS, PART_CORE, AX_KEY, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.k_proj.bias"}},
    {ROLE_V, PART_CORE, AX_VALUE, AX_D, .per_layer = true, .names = {LAYER "self_attn.v_proj.weight"}},
    {ROLE_V_BIAS, PART_CORE, AX_VALUE, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.v_proj.bias"}},
    {ROLE_Q_NORM, PART_CORE, AX_HEAD, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.q_norm.weight"}},
    {ROLE_K_NORM, PART_CORE, AX_HEAD, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.k_norm.weight"}},
    {ROLE_O, PART_CORE, AX_D, AX_MIX, .per_layer = true, .names = {LAYER "self_attn.o_proj.weight"}},
    {ROLE_O_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.o_proj.bias"}},
    {ROLE_ATTN_POST_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "post_attention_layernorm.weight"}},
    {ROLE_MLP_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "pre_feedforward_layernorm.weight"}},
    {ROLE_GATE, PART_CORE, AX_F, AX_D, .per_layer = true, .names = {LAYER "mlp.gate_proj.weight"}},
    {ROLE_UP, PART_CORE, AX_F, AX_D, .per_layer = true, .names = {LAYER "mlp.up_proj.weight"}},
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .names = {LAYER "mlp.down_proj.weight"}},
    {ROLE_MLP_POST_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "post_feedforward_layernorm.weight"}},
    {ROLE_FINAL_NORM_W, PART_CORE, AX_D, AX_ONE, .names = {"norm.weight"}},
    {ROLE_LM_HEAD, PART_HEAD, AX_V, AX_D, .names = {"lm_head.weight"}, .absolute = true},
    {.role = ROLE_COUNT},
};

/* hidden_act, which the first configs set to "gelu", was never what the models were trained with. */
int arch_read_gemma(struct config *c, const struct json_doc *doc, struct err *err)
{
    bool bias = false;
    c->K = 256;
    c->tied = c->gain_plus_one = true;
    if (arch_read_decoder(c, doc, false, err) != 0 || json_opt_bool(doc, json_root(doc), "attention_bias", &bias, err) != 0 ||
        arch_read_act(doc, "hidden_activation", "gelu_pytorch_tanh", &c->act, err) != 0)
        return -1;
    c->qkv_bias = c->o_bias = bias;
    c->embed_scale = sqrt(c->D);
    return 0;
}

static int read_cap(double *out, const struct json_doc *doc, const char *key, double fallback, struct err *err)
{
    *out = json_get(json_root(doc), key) == NULL ? fallback : 0;
    if (json_opt_num(doc, json_root(doc), key, out, err) != 0)
        return -1;
    return *out >= 0 ? 0 : err_set(err, ERR_INPUT, "%s: field '%s': expected a positive number, found %g", json_name(doc), key, *out);
}

/* What 2 and 3 share. Every layer whose number (from 1) is a multiple of `pattern` is full. */
static int read_common(struct config *c, const struct json_doc *doc, double score_cap, double logit_cap, int pattern, struct err *err)
{
    double scalar = 256;
    c->post_norms = true;
    if (arch_read_gemma(c, doc, err) != 0 || read_cap(&c->score_cap, doc, "attn_logit_softcapping", score_cap, err) != 0 ||
        read_cap(&c->logit_cap, doc, "final_logit_softcapping", logit_cap, err) != 0 ||
        json_opt_num(doc, json_root(doc), "query_pre_attn_scalar", &scalar, err) != 0 ||
        arch_read_window(c, doc, 4096, err) != 0 || arch_refuse(doc, "use_bidirectional_attention", err) != 0)
        return -1;
    if (!(scalar > 0))
        return err_set(err, ERR_INPUT, "%s: field 'query_pre_attn_scalar': expected a positive number, found %g", json_name(doc),
                       scalar);
    c->query_scale = 1 / sqrt(scalar);
    if (arch_read_sliding(c, doc, 0, err) != 0)
        return -1;
    for (int l = pattern - 1; l < c->L && json_is_null(json_get(json_root(doc), "layer_types")); l += pattern)
        c->sliding[l / 64] &= ~((uint64_t)1 << (l % 64));
    return 0;
}

int arch_read_gemma2(struct config *c, const struct json_doc *doc, struct err *err)
{
    return read_common(c, doc, 50, 30, 2, err);
}

int arch_read_gemma3(struct config *c, const struct json_doc *doc, struct err *err)
{
    const struct json *root = json_root(doc);
    int64_t pattern = 6;
    c->qk_norm = c->two_ropes = true;
    c->rope.theta = 1e6;
    c->rope_sliding.theta = 1e4;
    if (json_opt_num(doc, root, "rope_local_base_freq", &c->rope_sliding.theta, err) != 0 ||
        json_opt_int(doc, root, "sliding_window_pattern", 1, SHAPE_MAX_L, &pattern, err) != 0 ||
        json_opt_int(doc, root, "_sliding_window_pattern", 1, SHAPE_MAX_L, &pattern, err) != 0)
        return -1;
    return read_common(c, doc, 0, 0, (int)pattern, err);
}
