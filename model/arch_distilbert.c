/* DistilBERT: BERT without token types and pooler, under names of its own; the classifier's first matrix ends in ReLU. */
#include "model/arch_read.h"
#include "model/shape.h"

#define LAYER "transformer.layer.%d."

const struct arch_tensor arch_distilbert_tensors[] = {
    {ROLE_TOKEN_EMBED, PART_EMBED, AX_TOKEN, AX_D, .names = {"embeddings.word_embeddings.weight"}},
    {ROLE_POSITION_EMBED, PART_EMBED, AX_POSITION, AX_D, .names = {"embeddings.position_embeddings.weight"}},
    {ROLE_EMBED_NORM_W, PART_EMBED, AX_D, AX_ONE, .names = {"embeddings.LayerNorm.weight"}},
    {ROLE_EMBED_NORM_B, PART_EMBED, AX_D, AX_ONE, .names = {"embeddings.LayerNorm.bias"}},
    {ROLE_Q, PART_CORE, AX_Q, AX_D, .per_layer = true, .names = {LAYER "attention.q_lin.weight"}},
    {ROLE_Q_BIAS, PART_CORE, AX_Q, AX_ONE, .per_layer = true, .names = {LAYER "attention.q_lin.bias"}},
    {ROLE_K, PART_CORE, AX_KEY, AX_D, .per_layer = true, .names = {LAYER "attention.k_lin.weight"}},
    {ROLE_K_BIAS, PART_CORE, AX_KEY, AX_ONE, .per_layer = true, .names = {LAYER "attention.k_lin.bias"}},
    {ROLE_V, PART_CORE, AX_VALUE, AX_D, .per_layer = true, .names = {LAYER "attention.v_lin.weight"}},
    {ROLE_V_BIAS, PART_CORE, AX_VALUE, AX_ONE, .per_layer = true, .names = {LAYER "attention.v_lin.bias"}},
    {ROLE_O, PART_CORE, AX_D, AX_MIX, .per_layer = true, .names = {LAYER "attention.out_lin.weight"}},
    {ROLE_O_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "attention.out_lin.bias"}},
    {ROLE_ATTN_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "sa_layer_norm.weight"}},
    {ROLE_ATTN_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "sa_layer_norm.bias"}},
    {ROLE_UP, PART_CORE, AX_F, AX_D, .per_layer = true, .names = {LAYER "ffn.lin1.weight"}},
    {ROLE_UP_BIAS, PART_CORE, AX_F, AX_ONE, .per_layer = true, .names = {LAYER "ffn.lin1.bias"}},
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .names = {LAYER "ffn.lin2.weight"}},
    {ROLE_DOWN_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "ffn.lin2.bias"}},
    {ROLE_MLP_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "output_layer_norm.weight"}},
    {ROLE_MLP_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "output_layer_norm.bias"}},
    {ROLE_POOL, PART_HEAD, AX_POOL, AX_D, .names = {"pre_classifier.weight"}, .absolute = true},
    {ROLE_POOL_BIAS, PART_HEAD, AX_POOL, AX_ONE, .names = {"pre_classifier.bias"}, .absolute = true},
    {ROLE_CLASSIFY, PART_HEAD, AX_C, AX_POOL, .names = {"classifier.weight"}, .absolute = true},
    {ROLE_CLASSIFY_BIAS, PART_HEAD, AX_C, AX_ONE, .names = {"classifier.bias"}, .absolute = true},
    {ROLE_MLM_DENSE, PART_HEAD, AX_MLM, AX_D, .names = {"vocab_transform.weight"}, .absolute = true},
    {ROLE_MLM_DENSE_BIAS, PART_HEAD, AX_MLM, AX_ONE, .names = {"vocab_transform.bias"}, .absolute = true},
    {ROLE_MLM_NORM_W, PART_HEAD, AX_MLM, AX_ONE, .names = {"vocab_layer_norm.weight"}, .absolute = true},
    {ROLE_MLM_NORM_B, PART_HEAD, AX_MLM, AX_ONE, .names = {"vocab_layer_norm.bias"}, .absolute = true},
    {ROLE_LM_HEAD, PART_HEAD, AX_V, AX_MLM, .names = {"vocab_projector.weight"}, .absolute = true},
    {ROLE_MLM_OUT_BIAS, PART_HEAD, AX_V, AX_ONE, .names = {"vocab_projector.bias"}, .absolute = true},
    {.role = ROLE_COUNT},
};

int arch_read_distilbert(struct config *c, const struct json_doc *doc, struct err *err)
{
    c->norm = NORM_LAYER;
    c->norm_eps = 1e-12;
    c->post_norm = true;
    c->causal = false;
    c->position = POSITION_LEARNED;
    c->qkv_bias = c->o_bias = c->mlp_bias = true;
    c->tied = true;
    if (arch_read_size(doc, "dim", SHAPE_MAX_D, &c->D, err) != 0 ||
        arch_read_size(doc, "n_layers", SHAPE_MAX_L, &c->L, err) != 0 ||
        arch_read_size(doc, "n_heads", SHAPE_MAX_H, &c->H, err) != 0 ||
        arch_read_size(doc, "hidden_dim", SHAPE_MAX_F, &c->F, err) != 0 ||
        arch_read_size(doc, "vocab_size", SHAPE_MAX_V, &c->V, err) != 0 ||
        arch_read_size(doc, "max_position_embeddings", SHAPE_MAX_POSITIONS, &c->positions, err) != 0 ||
        json_opt_bool(doc, json_root(doc), "tie_word_embeddings", &c->tied, err) != 0 ||
        arch_read_act(doc, "activation", "gelu", &c->act, err) != 0)
        return -1;
    if (c->D % c->H != 0)
        return err_set(err, ERR_INPUT, "%s: dim (%d) is not a multiple of n_heads (%d)", json_name(doc), c->D, c->H);
    c->G = c->H;
    c->K = c->D / c->H;
    c->head_act = c->head == HEAD_MLM ? c->act : ACT_RELU;
    return 0;
}
