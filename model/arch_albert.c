/* ALBERT: BERT with narrow tables that a matrix widens, and layers that share their weights: each set serves a run of layers. */
#include "model/arch_read.h"
#include "model/shape.h"

#define LAYER "encoder.albert_layer_groups.%d.albert_layers.0."

const struct arch_tensor arch_albert_tensors[] = {
    {ROLE_TOKEN_EMBED, PART_EMBED, AX_TOKEN, AX_E, .names = {"embeddings.word_embeddings.weight"}},
    {ROLE_POSITION_EMBED, PART_EMBED, AX_POSITION, AX_E, .names = {"embeddings.position_embeddings.weight"}},
    {ROLE_TYPE_EMBED, PART_EMBED, AX_TYPE, AX_E, .names = {"embeddings.token_type_embeddings.weight"}},
    {ROLE_EMBED_NORM_W, PART_EMBED, AX_E, AX_ONE, .names = {"embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma"}},
    {ROLE_EMBED_NORM_B, PART_EMBED, AX_E, AX_ONE, .names = {"embeddings.LayerNorm.bias", "embeddings.LayerNorm.beta"}},
    {ROLE_EMBED_MAP, PART_EMBED, AX_D, AX_E, .names = {"encoder.embedding_hidden_mapping_in.weight"}},
    {ROLE_EMBED_MAP_BIAS, PART_EMBED, AX_D, AX_ONE, .names = {"encoder.embedding_hidden_mapping_in.bias"}},
    {ROLE_Q, PART_CORE, AX_Q, AX_D, .per_layer = true, .names = {LAYER "attention.query.weight"}},
    {ROLE_Q_BIAS, PART_CORE, AX_Q, AX_ONE, .per_layer = true, .names = {LAYER "attention.query.bias"}},
    {ROLE_K, PART_CORE, AX_KEY, AX_D, .per_layer = true, .names = {LAYER "attention.key.weight"}},
    {ROLE_K_BIAS, PART_CORE, AX_KEY, AX_ONE, .per_layer = true, .names = {LAYER "attention.key.bias"}},
    {ROLE_V, PART_CORE, AX_VALUE, AX_D, .per_layer = true, .names = {LAYER "attention.value.weight"}},
    {ROLE_V_BIAS, PART_CORE, AX_VALUE, AX_ONE, .per_layer = true, .names = {LAYER "attention.value.bias"}},
    {ROLE_O, PART_CORE, AX_D, AX_MIX, .per_layer = true, .names = {LAYER "attention.dense.weight"}},
    {ROLE_O_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "attention.dense.bias"}},
    {ROLE_ATTN_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true,
     .names = {LAYER "attention.LayerNorm.weight", LAYER "attention.LayerNorm.gamma"}},
    {ROLE_ATTN_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true,
     .names = {LAYER "attention.LayerNorm.bias", LAYER "attention.LayerNorm.beta"}},
    {ROLE_UP, PART_CORE, AX_F, AX_D, .per_layer = true, .names = {LAYER "ffn.weight"}},
    {ROLE_UP_BIAS, PART_CORE, AX_F, AX_ONE, .per_layer = true, .names = {LAYER "ffn.bias"}},
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .names = {LAYER "ffn_output.weight"}},
    {ROLE_DOWN_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "ffn_output.bias"}},
    {ROLE_MLP_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true,
     .names = {LAYER "full_layer_layer_norm.weight", LAYER "full_layer_layer_norm.gamma"}},
    {ROLE_MLP_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true,
     .names = {LAYER "full_layer_layer_norm.bias", LAYER "full_layer_layer_norm.beta"}},
    {ROLE_POOL, PART_HEAD, AX_POOL, AX_D, .names = {"pooler.weight"}},
    {ROLE_POOL_BIAS, PART_HEAD, AX_POOL, AX_ONE, .names = {"pooler.bias"}},
    {ROLE_CLASSIFY, PART_HEAD, AX_C, AX_POOL, .names = {"classifier.weight"}, .absolute = true},
    {ROLE_CLASSIFY_BIAS, PART_HEAD, AX_C, AX_ONE, .names = {"classifier.bias"}, .absolute = true},
    {.role = ROLE_COUNT},
};

int arch_read_albert(struct config *c, const struct json_doc *doc, struct err *err)
{
    const struct json *root = json_root(doc);
    int64_t groups = 1, inner = 1;
    if (arch_read_bert(c, doc, err) != 0 || arch_read_act(doc, "hidden_act", "gelu_new", &c->act, err) != 0 ||
        arch_read_size(doc, "embedding_size", SHAPE_MAX_D, &c->E, err) != 0 ||
        json_opt_int(doc, root, "num_hidden_groups", 1, SHAPE_MAX_L, &groups, err) != 0 ||
        json_opt_int(doc, root, "inner_group_num", 1, SHAPE_MAX_L, &inner, err) != 0)
        return -1;
    if (inner != 1)
        return err_set(err, ERR_INPUT, "%s: field 'inner_group_num': %lld is not implemented; known: 1", json_name(doc), (long long)inner);
    if (groups > c->L || c->L % groups != 0)
        return err_set(err, ERR_INPUT, "%s: num_hidden_layers (%d) is not a multiple of num_hidden_groups (%lld)", json_name(doc), c->L,
                       (long long)groups);
    c->groups = (int)groups;
    return 0;
}
