/* GPT-NeoX, Pythia: LayerNorm before, partial rotary positions, attention and feed-forward side by side, query, key and value
 * fused head by head. */
#include "model/arch_read.h"
#include "model/shape.h"

#define LAYER "layers.%d."

const struct arch_tensor arch_neox_tensors[] = {
    {ROLE_TOKEN_EMBED, PART_EMBED, AX_TOKEN, AX_D, .names = {"embed_in.weight"}},
    {ROLE_ATTN_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "input_layernorm.weight"}},
    {ROLE_ATTN_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "input_layernorm.bias"}},
    {ROLE_QKV_HEADS, PART_CORE, AX_QKV_HEADS, AX_D, .per_layer = true, .names = {LAYER "attention.query_key_value.weight"}},
    {ROLE_QKV_HEADS_BIAS, PART_CORE, AX_QKV_HEADS, AX_ONE, .per_layer = true, .names = {LAYER "attention.query_key_value.bias"}},
    {ROLE_O, PART_CORE, AX_D, AX_MIX, .per_layer = true, .names = {LAYER "attention.dense.weight"}},
    {ROLE_O_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "attention.dense.bias"}},
    {ROLE_MLP_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "post_attention_layernorm.weight"}},
    {ROLE_MLP_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "post_attention_layernorm.bias"}},
    {ROLE_UP, PART_CORE, AX_F, AX_D, .per_layer = true, .names = {LAYER "mlp.dense_h_to_4h.weight"}},
    {ROLE_UP_BIAS, PART_CORE, AX_F, AX_ONE, .per_layer = true, .names = {LAYER "mlp.dense_h_to_4h.bias"}},
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .names = {LAYER "mlp.dense_4h_to_h.weight"}},
    {ROLE_DOWN_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "mlp.dense_4h_to_h.bias"}},
    {ROLE_FINAL_NORM_W, PART_CORE, AX_D, AX_ONE, .names = {"final_layer_norm.weight"}},
    {ROLE_FINAL_NORM_B, PART_CORE, AX_D, AX_ONE, .names = {"final_layer_norm.bias"}},
    {ROLE_LM_HEAD, PART_HEAD, AX_V, AX_D, .names = {"embed_out.weight"}, .absolute = true},
    {.role = ROLE_COUNT},
};

int arch_read_neox(struct config *c, const struct json_doc *doc, struct err *err)
{
    const struct json *root = json_root(doc);
    double partial = 0.25;
    bool bias = true;
    c->norm = NORM_LAYER;
    c->norm_eps = 1e-5;
    c->position = POSITION_ROPE;
    c->parallel = c->mlp_bias = true;
    if (arch_read_sizes(c, doc, err) != 0)
        return -1;
    if (json_opt_num(doc, root, "layer_norm_eps", &c->norm_eps, err) != 0 ||
        json_opt_bool(doc, root, "use_parallel_residual", &c->parallel, err) != 0 ||
        json_opt_bool(doc, root, "attention_bias", &bias, err) != 0 ||
        json_opt_bool(doc, root, "tie_word_embeddings", &c->tied, err) != 0 ||
        json_opt_num(doc, root, "rotary_pct", &partial, err) != 0 ||
        json_opt_num(doc, root, "rotary_emb_base", &c->rope.theta, err) != 0 ||
        arch_read_act(doc, "hidden_act", "gelu", &c->act, err) != 0 || arch_read_rope(c, doc, &partial, err) != 0)
        return -1;
    if (!(partial > 0 && partial <= 1))
        return err_set(err, ERR_INPUT, "%s: field 'rotary_pct': expected a number above 0 and up to 1, found %g", json_name(doc),
                       partial);
    c->qkv_bias = c->o_bias = bias;
    c->rotary = (int)(partial * (double)c->K);
    return arch_check_rope(c, &c->rope, doc, err);
}
