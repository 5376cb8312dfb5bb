/* Llama family: Llama 1/2/3, Mistral, Mixtral, Qwen2, Qwen3. RMS norm before, rotary positions, grouped-query attention, gated MLP
 * or experts of that kind. */
#include <string.h>

#include "model/arch_read.h"
#include "model/shape.h"

#define LAYER "layers.%d."

/* clang-format off */
#define EMBEDDING_AND_ATTENTION \
    {ROLE_TOKEN_EMBED, PART_EMBED, AX_TOKEN, AX_D, .names = {"embed_tokens.weight"}}, \
    {ROLE_ATTN_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "input_layernorm.weight"}}, \
    {ROLE_Q, PART_CORE, AX_Q, AX_D, .per_layer = true, .names = {LAYER "self_attn.q_proj.weight"}}, \
    {ROLE_Q_BIAS, PART_CORE, AX_Q, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.q_proj.bias"}}, \
    {ROLE_K, PART_CORE, AX_KEY, AX_D, .per_layer = true, .names = {LAYER "self_attn.k_proj.weight"}}, \
    {ROLE_K_BIAS, PART_CORE, AX_KEY, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.k_proj.bias"}}, \
    {ROLE_V, PART_CORE, AX_VALUE, AX_D, .per_layer = true, .names = {LAYER "self_attn.v_proj.weight"}}, \
    {ROLE_V_BIAS, PART_CORE, AX_VALUE, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.v_proj.bias"}}, \
    {ROLE_Q_NORM, PART_CORE, AX_HEAD, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.q_norm.weight"}}, \
    {ROLE_K_NORM, PART_CORE, AX_HEAD, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.k_norm.weight"}}, \
    {ROLE_O, PART_CORE, AX_D, AX_MIX, .per_layer = true, .names = {LAYER "self_attn.o_proj.weight"}}, \
    {ROLE_O_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "self_attn.o_proj.bias"}}, \
    {ROLE_MLP_NORM_W, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "post_attention_layernorm.weight"}}
#define LAST_NORM_AND_HEAD \
    {ROLE_FINAL_NORM_W, PART_CORE, AX_D, AX_ONE, .names = {"norm.weight"}}, \
    {ROLE_LM_HEAD, PART_HEAD, AX_V, AX_D, .names = {"lm_head.weight"}, .absolute = true}
/* clang-format on */

const struct arch_tensor arch_llama_tensors[] = {
    EMBEDDING_AND_ATTENTION,
    {ROLE_GATE, PART_CORE, AX_F, AX_D, .per_layer = true, .names = {LAYER "mlp.gate_proj.weight"}},
    {ROLE_GATE_BIAS, PART_CORE, AX_F, AX_ONE, .per_layer = true, .names = {LAYER "mlp.gate_proj.bias"}},
    {ROLE_UP, PART_CORE, AX_F, AX_D, .per_layer = true, .names = {LAYER "mlp.up_proj.weight"}},
    {ROLE_UP_BIAS, PART_CORE, AX_F, AX_ONE, .per_layer = true, .names = {LAYER "mlp.up_proj.bias"}},
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .names = {LAYER "mlp.down_proj.weight"}},
    {ROLE_DOWN_BIAS, PART_CORE, AX_D, AX_ONE, .per_layer = true, .names = {LAYER "mlp.down_proj.bias"}},
    LAST_NORM_AND_HEAD,
    {.role = ROLE_COUNT},
};

const struct arch_tensor arch_mixtral_tensors[] = {
    EMBEDDING_AND_ATTENTION,
    {ROLE_ROUTER, PART_CORE, AX_EXPERT, AX_D, .per_layer = true, .names = {LAYER "block_sparse_moe.gate.weight"}},
    {ROLE_GATE, PART_CORE, AX_F, AX_D, .per_layer = true, .per_expert = true, .names = {LAYER "block_sparse_moe.experts.%d.w1.weight"}},
    {ROLE_UP, PART_CORE, AX_F, AX_D, .per_layer = true, .per_expert = true, .names = {LAYER "block_sparse_moe.experts.%d.w3.weight"}},
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .per_expert = true, .names = {LAYER "block_sparse_moe.experts.%d.w2.weight"}},
    LAST_NORM_AND_HEAD,
    {.role = ROLE_COUNT},
};

const struct arch_tensor arch_qwen3_moe_tensors[] = {
    EMBEDDING_AND_ATTENTION,
    {ROLE_ROUTER, PART_CORE, AX_EXPERT, AX_D, .per_layer = true, .names = {LAYER "mlp.gate.weight"}},
    {ROLE_GATE, PART_CORE, AX_F, AX_D, .per_layer = true, .per_expert = true, .names = {LAYER "mlp.experts.%d.gate_proj.weight"}},
    {ROLE_UP, PART_CORE, AX_F, AX_D, .per_layer = true, .per_expert = true, .names = {LAYER "mlp.experts.%d.up_proj.weight"}},
    {ROLE_DOWN, PART_CORE, AX_D, AX_F, .per_layer = true, .per_expert = true, .names = {LAYER "mlp.experts.%d.down_proj.weight"}},
    LAST_NORM_AND_HEAD,
    {.role = ROLE_COUNT},
};

int arch_read_sliding(struct config *c, const struct json_doc *doc, int from, struct err *err)
{
    const struct json *list = json_get(json_root(doc), "layer_types");
    int layer = 0;
    for (int l = from; l < c->L && c->window > 0 && json_is_null(list); l++)
        c->sliding[l / 64] |= (uint64_t)1 << (l % 64);
    if (json_is_null(list))
        return 0;
    if ((int)json_count(list) != c->L)
        return err_set(err, ERR_INPUT, "%s: field 'layer_types': expected %d entries, found %zu", json_name(doc), c->L,
                       json_count(list));
    for (const struct json *t = json_first(list); t != NULL; t = json_next(t), layer++) {
        const char *type = json_string(t);
        bool sliding = type != NULL && strcmp(type, "sliding_attention") == 0;
        if (!sliding && (type == NULL || strcmp(type, "full_attention") != 0))
            return err_set(err, ERR_INPUT, "%s: field 'layer_types': '%.40s' is not implemented", json_name(doc),
                           type == NULL ? json_type_name(t) : type);
        if (sliding && c->window == 0)
            return err_set(err, ERR_INPUT, "%s: field 'layer_types' has sliding layers but 'sliding_window' is not set",
                           json_name(doc));
        if (sliding)
            c->sliding[layer / 64] |= (uint64_t)1 << (layer % 64);
    }
    return 0;
}

int arch_read_decoder(struct config *c, const struct json_doc *doc, bool may_be_partial, struct err *err)
{
    const struct json *root = json_root(doc);
    int64_t groups, width;
    double partial = 1;
    bool causal = true;
    c->norm = NORM_RMS;
    if (c->norm_eps <= 0)
        c->norm_eps = 1e-6;
    c->gated = true;
    c->position = POSITION_ROPE;
    if (arch_read_size(doc, "hidden_size", SHAPE_MAX_D, &c->D, err) != 0 ||
        arch_read_size(doc, "num_hidden_layers", SHAPE_MAX_L, &c->L, err) != 0 ||
        arch_read_size(doc, "num_attention_heads", SHAPE_MAX_H, &c->H, err) != 0 ||
        arch_read_size(doc, "intermediate_size", SHAPE_MAX_F, &c->F, err) != 0 ||
        arch_read_size(doc, "vocab_size", SHAPE_MAX_V, &c->V, err) != 0 ||
        arch_read_size(doc, "max_position_embeddings", SHAPE_MAX_POSITIONS, &c->positions, err) != 0)
        return -1;
    if (json_opt_bool(doc, root, "is_causal", &causal, err) != 0)
        return -1;
    if (!causal) /* embedders made of decoders */
        return err_set(err, ERR_INPUT, "%s: field 'is_causal': false is not implemented", json_name(doc));
    groups = c->H;
    if (json_opt_int(doc, root, "num_key_value_heads", 1, SHAPE_MAX_H, &groups, err) != 0)
        return -1;
    c->G = (int)groups;
    if (json_is_null(json_get(root, "head_dim")) && c->K == 0 && c->D % c->H != 0)
        return err_set(err, ERR_INPUT, "%s: hidden_size (%d) is not a multiple of num_attention_heads (%d) and there is no "
                                       "head_dim", json_name(doc), c->D, c->H);
    width = c->K > 0 ? c->K : c->D / c->H;
    if (json_opt_int(doc, root, "head_dim", 1, SHAPE_MAX_D, &width, err) != 0 ||
        json_opt_num(doc, root, "rms_norm_eps", &c->norm_eps, err) != 0 ||
        json_opt_bool(doc, root, "tie_word_embeddings", &c->tied, err) != 0 ||
        arch_read_act(doc, "hidden_act", "silu", &c->act, err) != 0 || arch_read_rope(c, doc, &partial, err) != 0)
        return -1;
    if (!(partial > 0 && partial <= 1) || (partial < 1 && !may_be_partial))
        return err_set(err, ERR_INPUT, "%s: field 'partial_rotary_factor': %g is not implemented for %s", json_name(doc), partial,
                       c->architecture);
    c->K = (int)width;
    c->rotary = (int)(partial * (double)c->K);
    return arch_check_rope(c, &c->rope, doc, err) == 0 ? arch_check_rope(c, &c->rope_sliding, doc, err) : -1;
}

#define WINDOW 4096 /* transformers' default where the key is absent */

int arch_read_window(struct config *c, const struct json_doc *doc, int fallback, struct err *err)
{
    int64_t window = json_get(json_root(doc), "sliding_window") == NULL ? fallback : 0;
    if (json_opt_int(doc, json_root(doc), "sliding_window", 0, SHAPE_MAX_POSITIONS, &window, err) != 0)
        return -1;
    c->window = (int)window;
    return 0;
}

int arch_read_llama(struct config *c, const struct json_doc *doc, struct err *err)
{
    bool bias = false;
    if (arch_read_decoder(c, doc, false, err) != 0 || json_opt_bool(doc, json_root(doc), "attention_bias", &bias, err) != 0 ||
        json_opt_bool(doc, json_root(doc), "mlp_bias", &c->mlp_bias, err) != 0)
        return -1;
    c->qkv_bias = c->o_bias = bias;
    return 0;
}

int arch_read_mistral(struct config *c, const struct json_doc *doc, struct err *err)
{
    if (arch_read_decoder(c, doc, false, err) != 0 || arch_read_window(c, doc, WINDOW, err) != 0)
        return -1;
    return arch_read_sliding(c, doc, 0, err);
}

static int read_qwen(struct config *c, const struct json_doc *doc, struct err *err)
{
    bool use_window = false;
    int64_t from = 28; /* transformers' default of max_window_layers */
    if (arch_read_decoder(c, doc, false, err) != 0 ||
        json_opt_bool(doc, json_root(doc), "use_sliding_window", &use_window, err) != 0)
        return -1;
    if (!use_window)
        return 0;
    if (arch_read_window(c, doc, WINDOW, err) != 0 ||
        json_opt_int(doc, json_root(doc), "max_window_layers", 0, SHAPE_MAX_L, &from, err) != 0)
        return -1;
    return arch_read_sliding(c, doc, (int)from, err);
}

int arch_read_qwen2(struct config *c, const struct json_doc *doc, struct err *err)
{
    c->qkv_bias = true;
    return read_qwen(c, doc, err);
}

int arch_read_qwen3(struct config *c, const struct json_doc *doc, struct err *err)
{
    bool bias = false;
    if (json_opt_bool(doc, json_root(doc), "attention_bias", &bias, err) != 0)
        return -1;
    c->qkv_bias = c->o_bias = bias;
    c->qk_norm = true;
    return read_qwen(c, doc, err);
}

static int check_experts(const struct config *c, const struct json_doc *doc, struct err *err)
{
    return c->experts_used <= c->experts ? 0
                                         : err_set(err, ERR_INPUT, "%s: field 'num_experts_per_tok': %d of %d experts", json_name(doc),
                                                   c->experts_used, c->experts);
}

int arch_read_mixtral(struct config *c, const struct json_doc *doc, struct err *err)
{
    c->norm_eps = 1e-5;
    c->rope.theta = 1e6;
    c->renormalise = true;
    if (arch_read_decoder(c, doc, false, err) != 0 || arch_read_window(c, doc, 0, err) != 0 || arch_read_sliding(c, doc, 0, err) != 0 ||
        arch_read_size(doc, "num_local_experts", SHAPE_MAX_EXPERTS, &c->experts, err) != 0 ||
        arch_read_size(doc, "num_experts_per_tok", SHAPE_MAX_EXPERTS, &c->experts_used, err) != 0)
        return -1;
    return check_experts(c, doc, err);
}

int arch_read_qwen3_moe(struct config *c, const struct json_doc *doc, struct err *err)
{
    int64_t step = 1;
    if (arch_read_qwen3(c, doc, err) != 0 || arch_read_size(doc, "num_experts", SHAPE_MAX_EXPERTS, &c->experts, err) != 0 ||
        arch_read_size(doc, "num_experts_per_tok", SHAPE_MAX_EXPERTS, &c->experts_used, err) != 0 ||
        arch_read_size(doc, "moe_intermediate_size", SHAPE_MAX_F, &c->F, err) != 0 ||
        json_opt_bool(doc, json_root(doc), "norm_topk_prob", &c->renormalise, err) != 0 ||
        json_opt_int(doc, json_root(doc), "decoder_sparse_step", 1, SHAPE_MAX_L, &step, err) != 0)
        return -1;
    if (step != 1 || json_count(json_get(json_root(doc), "mlp_only_layers")) != 0)
        return err_set(err, ERR_INPUT, "%s: fields 'decoder_sparse_step', 'mlp_only_layers': layers without experts among layers with "
                                       "experts are not implemented", json_name(doc));
    return check_experts(c, doc, err);
}
