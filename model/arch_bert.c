/* BERT, RoBERTa, XLM-R: LayerNorm after each residual addition, learned positions and token types, bidirectional; pooler +
 * classifier or masked-LM head. Old checkpoints spell the norms gamma and beta. */
#include <string.h>

#include "model/arch_read.h"
#include "model/shape.h"

#define LAYER "encoder.layer.%d."
#define NORM_W(path) {path "LayerNorm.weight", path "LayerNorm.gamma"}
#define NORM_B(path) {path "LayerNorm.bias", path "LayerNorm.beta"}

/* clang-format off */
#define EMBEDDINGS_AND_LAYERS \
    {ROLE_TOKEN_EMBED, PART_EMBED, AX_TOKEN, AX_D, .names = {"embeddings.word_embeddings.weight"}}, \
    {ROLE_POSITION_EMBED, PART_EMBED, AX_POSITION, AX_D, .names = {"embeddings.position_embeddings.weight"}}, \
    {ROLE_TYPE_EMBED, PART_EMBED, AX_TYPE, AX_D, .names = {"embeddings.token_type_embeddings.weight"}}, \
    {ROLE_EMBED_NORM_W, PART_EMBED, AX_D, AX_ONE, .names = NORM_W("embeddings.")}, \
    {ROLE_EMBED_NORM_B, PART_EMBED, AX_D, AX_ONE, .names = NORM_B("embeddings.")}, \
    {ROLE_Q, PART_CORE, AX_Q, AX_D, .per_layer = true, .names = {LAYER "attention.self.query.weight"}}, \
    {ROLE_Q_BIAS, PART_CORE, AX_Q, AX_ONE, .per_layer = true, .names = {LAYER "attention.self.query.bias"}}, \
    {ROLE_K, PART_CORE, AX_KEY, AX_D, .per_layer = true, .names = {LAYER "attention.self.key.weight"}}, \
    {ROLE_K_BIAS, PART_CORE, AX_KEY, AX_ONE, .per_layer = true, .names = {LAYER "attention.self.key.bias"}}, \
    {ROLE_V, PART_CORE, AX_VALUE, AX_D, .per_layer = true, .names = {LAYER "attention.self.value.weight"}}, \
    {ROLE_V_BIAS, PART_CORE, AX_VALUE, AX_ONE, .per_layer = true, .names = {LAYER "attention.self.value.bias"}}, \
    {ROLE_O, PART_CORE, AX_D, AX_MIX, .per_layer = true, .names = {LAYER "attention.output.dense.weight"}}, \
    {ROLE_O_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "attention.output.dense.bias"}}, \
    {ROLE_ATTN_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = NORM_W(LAYER "attention.output.")}, \
    {ROLE_ATTN_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = NORM_B(LAYER "attention.output.")}, \
    {ROLE_UP, PART_CORE, AX_F, AX_D, .per_layer = true, .names = {LAYER "intermediate.dense.weight"}}, \
    {ROLE_UP_BIAS, PART_CORE, AX_F, AX_ONE, .per_layer = true, .names = {LAYER "intermediate.dense.bias"}}, \
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .names = {LAYER "output.dense.weight"}}, \
    {ROLE_DOWN_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "output.dense.bias"}}, \
    {ROLE_MLP_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = NORM_W(LAYER "output.")}, \
    {ROLE_MLP_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = NORM_B(LAYER "output.")}
/* clang-format on */

const struct arch_tensor arch_bert_tensors[] = {
    EMBEDDINGS_AND_LAYERS,
    {ROLE_POOL, PART_HEAD, AX_POOL, AX_D, .names = {"pooler.dense.weight"}},
    {ROLE_POOL_BIAS, PART_HEAD, AX_POOL, AX_ONE, .names = {"pooler.dense.bias"}},
    {ROLE_CLASSIFY, PART_HEAD, AX_C, AX_POOL, .names = {"classifier.weight"}, .absolute = true},
    {ROLE_CLASSIFY_BIAS, PART_HEAD, AX_C, AX_ONE, .names = {"classifier.bias"}, .absolute = true},
    {ROLE_MLM_DENSE, PART_HEAD, AX_MLM, AX_D, .names = {"cls.predictions.transform.dense.weight"}, .absolute = true},
    {ROLE_MLM_DENSE_BIAS, PART_HEAD, AX_MLM, AX_ONE, .names = {"cls.predictions.transform.dense.bias"}, .absolute = true},
    {ROLE_MLM_NORM_W, PART_HEAD, AX_MLM, AX_ONE, .names = NORM_W("cls.predictions.transform."), .absolute = true},
    {ROLE_MLM_NORM_B, PART_HEAD, AX_MLM, AX_ONE, .names = NORM_B("cls.predictions.transform."), .absolute = true},
    {ROLE_LM_HEAD, PART_HEAD, AX_V, AX_MLM, .names = {"cls.predictions.decoder.weight"}, .absolute = true},
    {ROLE_MLM_OUT_BIAS, PART_HEAD, AX_V, AX_ONE, .names = {"cls.predictions.bias", "cls.predictions.decoder.bias"},
     .absolute = true},
    {.role = ROLE_COUNT},
};

const struct arch_tensor arch_roberta_tensors[] = {
    EMBEDDINGS_AND_LAYERS,
    {ROLE_POOL, PART_HEAD, AX_POOL, AX_D, .names = {"classifier.dense.weight"}, .absolute = true},
    {ROLE_POOL_BIAS, PART_HEAD, AX_POOL, AX_ONE, .names = {"classifier.dense.bias"}, .absolute = true},
    {ROLE_CLASSIFY, PART_HEAD, AX_C, AX_POOL, .names = {"classifier.out_proj.weight"}, .absolute = true},
    {ROLE_CLASSIFY_BIAS, PART_HEAD, AX_C, AX_ONE, .names = {"classifier.out_proj.bias"}, .absolute = true},
    {ROLE_MLM_DENSE, PART_HEAD, AX_MLM, AX_D, .names = {"lm_head.dense.weight"}, .absolute = true},
    {ROLE_MLM_DENSE_BIAS, PART_HEAD, AX_MLM, AX_ONE, .names = {"lm_head.dense.bias"}, .absolute = true},
    {ROLE_MLM_NORM_W, PART_HEAD, AX_MLM, AX_ONE, .names = {"lm_head.layer_norm.weight"}, .absolute = true},
    {ROLE_MLM_NORM_B, PART_HEAD, AX_MLM, AX_ONE, .names = {"lm_head.layer_norm.bias"}, .absolute = true},
    {ROLE_LM_HEAD, PART_HEAD, AX_V, AX_MLM, .names = {"lm_head.decoder.weight"}, .absolute = true},
    {ROLE_MLM_OUT_BIAS, PART_HEAD, AX_V, AX_ONE, .names = {"lm_head.bias", "lm_head.decoder.bias"}, .absolute = true},
    {.role = ROLE_COUNT},
};

static int read_common(struct config *c, const struct json_doc *doc, struct err *err)
{
    const struct json *root = json_root(doc);
    const char *positions = "absolute";
    int64_t types = 2;
    c->norm = NORM_LAYER;
    c->norm_eps = 1e-12;
    c->post_norm = true;
    c->causal = false;
    c->position = POSITION_LEARNED;
    c->qkv_bias = c->o_bias = c->mlp_bias = true;
    c->tied = true;
    if (arch_read_sizes(c, doc, err) != 0 || json_opt_int(doc, root, "type_vocab_size", 1, SHAPE_MAX_CLASSES, &types, err) != 0 ||
        json_opt_num(doc, root, "layer_norm_eps", &c->norm_eps, err) != 0 ||
        json_opt_bool(doc, root, "tie_word_embeddings", &c->tied, err) != 0 ||
        json_opt_str(doc, root, "position_embedding_type", &positions, err) != 0 ||
        arch_read_act(doc, "hidden_act", "gelu", &c->act, err) != 0 || arch_refuse(doc, "is_decoder", err) != 0 ||
        arch_refuse(doc, "add_cross_attention", err) != 0)
        return -1;
    if (strcmp(positions, "absolute") != 0)
        return err_set(err, ERR_INPUT, "%s: field 'position_embedding_type': '%.40s' is not implemented; known: absolute",
                       json_name(doc), positions);
    c->type_vocab = (int)types;
    return 0;
}

int arch_read_bert(struct config *c, const struct json_doc *doc, struct err *err)
{
    if (read_common(c, doc, err) != 0)
        return -1;
    c->head_act = c->head == HEAD_MLM ? c->act : ACT_TANH;
    return 0;
}

/* Positions are counted from behind the padding token's, which has the row of its own id. */
int arch_read_roberta(struct config *c, const struct json_doc *doc, struct err *err)
{
    int64_t pad = 1;
    if (read_common(c, doc, err) != 0 || json_opt_int(doc, json_root(doc), "pad_token_id", 0, SHAPE_MAX_V, &pad, err) != 0)
        return -1;
    if (pad + 1 >= c->positions)
        return err_set(err, ERR_INPUT,
                       "%s: field 'max_position_embeddings': %d leaves no position behind the padding token's (%lld)",
                       json_name(doc), c->positions, (long long)pad);
    c->position_offset = (int)pad + 1;
    c->positions -= c->position_offset;
    c->head_act = c->head == HEAD_MLM ? ACT_GELU : ACT_TANH; /* whatever hidden_act says */
    return 0;
}
