/* GPT-2: LayerNorm before, learned positions, fused query-key-value, Conv1D weights stored [in,out], tied head. */
#include "model/arch_read.h"
#include "model/shape.h"

#define LAYER "h.%d."

const struct arch_tensor arch_gpt2_tensors[] = {
    {ROLE_TOKEN_EMBED, PART_EMBED, AX_TOKEN, AX_D, .names = {"wte.weight"}},
    {ROLE_POSITION_EMBED, PART_EMBED, AX_POSITION, AX_D, .names = {"wpe.weight"}},
    {ROLE_ATTN_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "ln_1.weight"}},
    {ROLE_ATTN_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "ln_1.bias"}},
    {ROLE_QKV, PART_CORE, AX_QKV, AX_D, .per_layer = true, .conv1d = true, .names = {LAYER "attn.c_attn.weight"}},
    {ROLE_QKV_BIAS, PART_CORE, AX_QKV, AX_ONE, .per_layer = true, .names = {LAYER "attn.c_attn.bias"}},
    {ROLE_O, PART_CORE, AX_D, AX_MIX, .per_layer = true, .conv1d = true, .names = {LAYER "attn.c_proj.weight"}},
    {ROLE_O_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "attn.c_proj.bias"}},
    {ROLE_MLP_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "ln_2.weight"}},
    {ROLE_MLP_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "ln_2.bias"}},
    {ROLE_UP, PART_CORE, AX_F, AX_D, .per_layer = true, .conv1d = true, .names = {LAYER "mlp.c_fc.weight"}},
    {ROLE_UP_BIAS, PART_CORE, AX_F, AX_ONE, .per_layer = true, .names = {LAYER "mlp.c_fc.bias"}},
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .conv1d = true, .names = {LAYER "mlp.c_proj.weight"}},
    {ROLE_DOWN_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "mlp.c_proj.bias"}},
    {ROLE_FINAL_NORM_W, PART_CORE, AX_D, AX_ONE, .names = {"ln_f.weight"}},
    {ROLE_FINAL_NORM_B, PART_CORE, AX_D, AX_ONE, .names = {"ln_f.bias"}},
    {ROLE_LM_HEAD, PART_HEAD, AX_V, AX_D, .names = {"lm_head.weight"}, .absolute = true},
    {.role = ROLE_COUNT},
};

int arch_read_gpt2(struct config *c, const struct json_doc *doc, struct err *err)
{
    const struct json *root = json_root(doc);
    bool scale = true;
    c->norm = NORM_LAYER;
    c->norm_eps = 1e-5;
    c->position = POSITION_LEARNED;
    c->qkv_bias = c->o_bias = c->mlp_bias = true;
    c->tied = true;
    if (arch_read_size(doc, "n_embd", SHAPE_MAX_D, &c->D, err) != 0 ||
        arch_read_size(doc, "n_layer", SHAPE_MAX_L, &c->L, err) != 0 ||
        arch_read_size(doc, "n_head", SHAPE_MAX_H, &c->H, err) != 0 ||
        arch_read_size(doc, "vocab_size", SHAPE_MAX_V, &c->V, err) != 0 ||
        arch_read_size(doc, "n_positions", SHAPE_MAX_POSITIONS, &c->positions, err) != 0)
        return -1;
    if (c->D % c->H != 0)
        return err_set(err, ERR_INPUT, "%s: n_embd (%d) is not a multiple of n_head (%d)", json_name(doc), c->D, c->H);
    c->G = c->H;
    c->K = c->D / c->H;
    int64_t inner = 4 * (int64_t)c->D;
    if (json_opt_int(doc, root, "n_inner", 1, SHAPE_MAX_F, &inner, err) != 0 ||
        json_opt_num(doc, root, "layer_norm_epsilon", &c->norm_eps, err) != 0 ||
        json_opt_bool(doc, root, "tie_word_embeddings", &c->tied, err) != 0 ||
        json_opt_bool(doc, root, "scale_attn_weights", &scale, err) != 0 ||
        arch_read_act(doc, "activation_function", "gelu_new", &c->act, err) != 0 ||
        arch_refuse(doc, "scale_attn_by_inverse_layer_idx", err) != 0 || arch_refuse(doc, "add_cross_attention", err) != 0)
        return -1;
    if (!scale)
        return err_set(err, ERR_INPUT, "%s: field 'scale_attn_weights': false is not implemented", json_name(doc));
    c->F = (int)inner;
    return 0;
}
