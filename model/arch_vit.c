/* ViT, DeiT: an image's patches are the tokens, with learned positions; LayerNorm before each part, bidirectional; a classifier on
 * the first row. transformers 5 has other names inside a layer. */
#include "model/arch_read.h"
#include "model/shape.h"

#define OLD "encoder.layer.%d."
#define NEW "layers.%d."
#define BOTH(old, new) {OLD old, NEW new}

/* clang-format off */
#define EMBEDDINGS_AND_LAYERS \
    {ROLE_PATCH, PART_EMBED, AX_D, AX_PATCH, .stored = AS_CONV, .names = {"embeddings.patch_embeddings.projection.weight"}}, \
    {ROLE_PATCH_BIAS, PART_EMBED, AX_D, AX_ONE, .names = {"embeddings.patch_embeddings.projection.bias"}}, \
    {ROLE_CLS_TOKEN, PART_EMBED, AX_ONE, AX_D, .stored = AS_BATCH, .names = {"embeddings.cls_token"}}, \
    {ROLE_POSITION_EMBED, PART_EMBED, AX_POSITION, AX_D, .stored = AS_BATCH, .names = {"embeddings.position_embeddings"}}, \
    {ROLE_ATTN_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = BOTH("layernorm_before.weight", "layernorm_before.weight")}, \
    {ROLE_ATTN_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = BOTH("layernorm_before.bias", "layernorm_before.bias")}, \
    {ROLE_Q, PART_CORE, AX_Q, AX_D, .per_layer = true, .names = BOTH("attention.attention.query.weight", "attention.q_proj.weight")}, \
    {ROLE_Q_BIAS, PART_CORE, AX_Q, AX_ONE, .per_layer = true, .names = BOTH("attention.attention.query.bias", "attention.q_proj.bias")}, \
    {ROLE_K, PART_CORE, AX_KEY, AX_D, .per_layer = true, .names = BOTH("attention.attention.key.weight", "attention.k_proj.weight")}, \
    {ROLE_K_BIAS, PART_CORE, AX_KEY, AX_ONE, .per_layer = true, .names = BOTH("attention.attention.key.bias", "attention.k_proj.bias")}, \
    {ROLE_V, PART_CORE, AX_VALUE, AX_D, .per_layer = true, .names = BOTH("attention.attention.value.weight", "attention.v_proj.weight")}, \
    {ROLE_V_BIAS, PART_CORE, AX_VALUE, AX_ONE, .per_layer = true, .names = BOTH("attention.attention.value.bias", "attention.v_proj.bias")}, \
    {ROLE_O, PART_CORE, AX_D, AX_MIX, .per_layer = true, .names = BOTH("attention.output.dense.weight", "attention.o_proj.weight")}, \
    {ROLE_O_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = BOTH("attention.output.dense.bias", "attention.o_proj.bias")}, \
    {ROLE_MLP_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = BOTH("layernorm_after.weight", "layernorm_after.weight")}, \
    {ROLE_MLP_NORM_B, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = BOTH("layernorm_after.bias", "layernorm_after.bias")}, \
    {ROLE_UP, PART_CORE, AX_F, AX_D, .per_layer = true, .names = BOTH("intermediate.dense.weight", "mlp.fc1.weight")}, \
    {ROLE_UP_BIAS, PART_CORE, AX_F, AX_ONE, .per_layer = true, .names = BOTH("intermediate.dense.bias", "mlp.fc1.bias")}, \
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .names = BOTH("output.dense.weight", "mlp.fc2.weight")}, \
    {ROLE_DOWN_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = BOTH("output.dense.bias", "mlp.fc2.bias")}, \
    {ROLE_FINAL_NORM_W, PART_CORE, AX_D, AX_ONE, .names = {"layernorm.weight"}}, \
    {ROLE_FINAL_NORM_B, PART_CORE, AX_D, AX_ONE, .names = {"layernorm.bias"}}, \
    {ROLE_CLASSIFY_ROW, PART_HEAD, AX_C, AX_D, .names = {"classifier.weight"}, .absolute = true}, \
    {ROLE_CLASSIFY_BIAS, PART_HEAD, AX_C, AX_ONE, .names = {"classifier.bias"}, .absolute = true}
/* clang-format on */

const struct arch_tensor arch_vit_tensors[] = {EMBEDDINGS_AND_LAYERS, {.role = ROLE_COUNT}};

const struct arch_tensor arch_deit_tensors[] = {
    EMBEDDINGS_AND_LAYERS,
    {ROLE_DISTILL_TOKEN, PART_EMBED, AX_ONE, AX_D, .stored = AS_BATCH, .names = {"embeddings.distillation_token"}},
    {.role = ROLE_COUNT},
};

/* A side, or [high, wide]. */
static int read_sides(int out[2], const struct json_doc *doc, const char *key, int fallback, struct err *err)
{
    const struct json *node = json_get(json_root(doc), key);
    const bool two = json_type(node) == JSON_ARRAY && json_count(node) == 2;
    const struct json *first = two ? json_first(node) : node, *second = two ? json_next(first) : node;
    int64_t high = fallback, wide = fallback;
    if (!json_is_null(node) && (!json_integer(first, &high) || !json_integer(second, &wide) || high < 1 || wide < 1 ||
                                high > SHAPE_MAX_IMAGE || wide > SHAPE_MAX_IMAGE))
        return err_set(err, ERR_INPUT, "%s: field '%s': expected pixels from 1 to %d, or [height, width], found %s", json_name(doc), key,
                       SHAPE_MAX_IMAGE, json_type_name(node));
    out[0] = (int)high;
    out[1] = (int)wide;
    return 0;
}

/* tokens: rows before the patches. */
static int read_common(struct config *c, const struct json_doc *doc, int tokens, struct err *err)
{
    const struct json *root = json_root(doc);
    int64_t channels = 3;
    c->norm = NORM_LAYER;
    c->norm_eps = 1e-12;
    c->causal = false;
    c->position = POSITION_LEARNED;
    c->qkv_bias = c->o_bias = c->mlp_bias = true;
    if (arch_read_size(doc, "hidden_size", SHAPE_MAX_D, &c->D, err) != 0 ||
        arch_read_size(doc, "num_hidden_layers", SHAPE_MAX_L, &c->L, err) != 0 ||
        arch_read_size(doc, "num_attention_heads", SHAPE_MAX_H, &c->H, err) != 0 ||
        arch_read_size(doc, "intermediate_size", SHAPE_MAX_F, &c->F, err) != 0 ||
        json_opt_int(doc, root, "num_channels", 1, 1 << 16, &channels, err) != 0 ||
        json_opt_num(doc, root, "layer_norm_eps", &c->norm_eps, err) != 0 ||
        json_opt_bool(doc, root, "qkv_bias", &c->qkv_bias, err) != 0 ||
        arch_read_act(doc, "hidden_act", "gelu", &c->act, err) != 0 || read_sides(c->image, doc, "image_size", 224, err) != 0 ||
        read_sides(c->patch, doc, "patch_size", 16, err) != 0)
        return -1;
    if (channels != 1 && channels != 3)
        return err_set(err, ERR_INPUT, "%s: field 'num_channels': %lld is not implemented; known: 1 (grey), 3 (RGB)", json_name(doc),
                       (long long)channels);
    if (c->D % c->H != 0)
        return err_set(err, ERR_INPUT, "%s: hidden_size (%d) is not a multiple of num_attention_heads (%d)", json_name(doc), c->D, c->H);
    c->channels = (int)channels;
    c->G = c->H;
    c->K = c->D / c->H;
    if (config_patches(c) < 1)
        return err_set(err, ERR_INPUT, "%s: patches of %d x %d pixels do not fit images of %d x %d", json_name(doc), c->patch[0], c->patch[1],
                       c->image[0], c->image[1]);
    c->positions = config_patches(c) + tokens;
    return 0;
}

int arch_read_vit(struct config *c, const struct json_doc *doc, struct err *err)
{
    return read_common(c, doc, 1, err);
}

/* A distillation token behind the class token; its row is no one's output here. */
int arch_read_deit(struct config *c, const struct json_doc *doc, struct err *err)
{
    return read_common(c, doc, 2, err);
}
