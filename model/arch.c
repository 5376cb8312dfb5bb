#include "model/arch.h"

#include <stdio.h>
#include <string.h>

#include "model/arch_read.h"
#include "model/shape.h"

/* ------------------------------------------------------------------ the registry */

static const char *const llama_skip[] = {"*.rotary_emb.inv_freq", NULL};
static const char *const gpt2_skip[] = {"*.attn.bias", "*.attn.masked_bias", NULL};
static const char *const neox_skip[] = {"*.attention.bias", "*.attention.masked_bias", "*.rotary_emb.inv_freq", NULL};
static const char *const bert_classify_skip[] = {"*embeddings.position_ids", "cls.*", NULL};
static const char *const bert_mlm_skip[] = {"*embeddings.position_ids", "*pooler.dense.*", "cls.seq_relationship.*",
                                            "cls.predictions.decoder.bias", NULL};
static const char *const roberta_classify_skip[] = {"*embeddings.position_ids", "*pooler.dense.*", "lm_head.*", NULL};
static const char *const roberta_mlm_skip[] = {"*embeddings.position_ids", "*pooler.dense.*", "lm_head.decoder.bias", NULL};
static const char *const distilbert_classify_skip[] = {"*embeddings.position_ids", "vocab_*", NULL};
static const char *const distilbert_mlm_skip[] = {"*embeddings.position_ids", NULL};
/* What training left on an encoder without head. */
static const char *const bert_skip[] = {"*embeddings.position_ids", "*pooler.dense.*", "cls.*", "classifier.*", NULL};
static const char *const roberta_skip[] = {"*embeddings.position_ids", "*pooler.dense.*", "lm_head.*", "classifier.*", NULL};
static const char *const distilbert_skip[] = {"*embeddings.position_ids", "vocab_*", "pre_classifier.*", "classifier.*", NULL};

static const char *const albert_skip[] = {"*embeddings.position_ids", "*pooler.*", "predictions.*", "sop_classifier.*", "classifier.*", NULL};
static const char *const albert_classify_skip[] = {"*embeddings.position_ids", "predictions.*", "sop_classifier.*", NULL};

static const char *const vit_skip[] = {"*pooler.dense.*", "*embeddings.mask_token", NULL};

/* clang-format off */
#define LLAMA {"model.", ""}, .tensors = arch_llama_tensors, .skip = llama_skip
static const struct arch archs[] = {
    {"LlamaForCausalLM", "llama", HEAD_LM, LLAMA, .read = arch_read_llama},
    {"MistralForCausalLM", "mistral", HEAD_LM, LLAMA, .read = arch_read_mistral},
    {"Qwen2ForCausalLM", "qwen2", HEAD_LM, LLAMA, .read = arch_read_qwen2},
    {"Qwen3ForCausalLM", "qwen3", HEAD_LM, LLAMA, .read = arch_read_qwen3},
    {"MixtralForCausalLM", "mixtral", HEAD_LM, {"model.", ""}, arch_mixtral_tensors, llama_skip, arch_read_mixtral},
    {"Qwen3MoeForCausalLM", "qwen3_moe", HEAD_LM, {"model.", ""}, arch_qwen3_moe_tensors, llama_skip, arch_read_qwen3_moe},
    {"Phi3ForCausalLM", "phi3", HEAD_LM, {"model.", ""}, arch_phi3_tensors, llama_skip, arch_read_phi3},
    {"GemmaForCausalLM", "gemma", HEAD_LM, LLAMA, .read = arch_read_gemma},
    {"Gemma2ForCausalLM", "gemma2", HEAD_LM, {"model.", ""}, arch_gemma2_tensors, llama_skip, arch_read_gemma2},
    {"Gemma3ForCausalLM", "gemma3_text", HEAD_LM, {"model.", ""}, arch_gemma2_tensors, llama_skip, arch_read_gemma3},
    {"GPTNeoXForCausalLM", "gpt_neox", HEAD_LM, {"gpt_neox.", ""}, arch_neox_tensors, neox_skip, arch_read_neox},
    {"GPT2LMHeadModel", "gpt2", HEAD_LM, {"transformer.", ""}, arch_gpt2_tensors, gpt2_skip, arch_read_gpt2},
    {"BertForSequenceClassification", "bert", HEAD_CLASSIFY, {"bert.", ""}, arch_bert_tensors, bert_classify_skip, arch_read_bert},
    {"BertForMaskedLM", "bert", HEAD_MLM, {"bert.", ""}, arch_bert_tensors, bert_mlm_skip, arch_read_bert},
    {"RobertaForSequenceClassification", "roberta", HEAD_CLASSIFY, {"roberta.", ""}, arch_roberta_tensors, roberta_classify_skip,
     arch_read_roberta},
    {"RobertaForMaskedLM", "roberta", HEAD_MLM, {"roberta.", ""}, arch_roberta_tensors, roberta_mlm_skip, arch_read_roberta},
    {"XLMRobertaForSequenceClassification", "xlm-roberta", HEAD_CLASSIFY, {"roberta.", ""}, arch_roberta_tensors,
     roberta_classify_skip, arch_read_roberta},
    {"XLMRobertaForMaskedLM", "xlm-roberta", HEAD_MLM, {"roberta.", ""}, arch_roberta_tensors, roberta_mlm_skip,
     arch_read_roberta},
    {"DistilBertForSequenceClassification", "distilbert", HEAD_CLASSIFY, {"distilbert.", ""}, arch_distilbert_tensors,
     distilbert_classify_skip, arch_read_distilbert},
    {"DistilBertForMaskedLM", "distilbert", HEAD_MLM, {"distilbert.", ""}, arch_distilbert_tensors, distilbert_mlm_skip,
     arch_read_distilbert},
    {"BertModel", "bert", HEAD_NONE, {"", "bert."}, arch_bert_tensors, bert_skip, arch_read_bert},
    {"RobertaModel", "roberta", HEAD_NONE, {"", "roberta."}, arch_roberta_tensors, roberta_skip, arch_read_roberta},
    {"XLMRobertaModel", "xlm-roberta", HEAD_NONE, {"", "roberta."}, arch_roberta_tensors, roberta_skip, arch_read_roberta},
    {"DistilBertModel", "distilbert", HEAD_NONE, {"", "distilbert."}, arch_distilbert_tensors, distilbert_skip, arch_read_distilbert},
    {"AlbertForSequenceClassification", "albert", HEAD_CLASSIFY, {"albert.", ""}, arch_albert_tensors, albert_classify_skip,
     arch_read_albert},
    {"AlbertModel", "albert", HEAD_NONE, {"", "albert."}, arch_albert_tensors, albert_skip, arch_read_albert},
    {"LlamaModel", "llama", HEAD_NONE, {"", "model."}, arch_llama_tensors, llama_skip, arch_read_llama},
    {"MistralModel", "mistral", HEAD_NONE, {"", "model."}, arch_llama_tensors, llama_skip, arch_read_mistral},
    {"Qwen2Model", "qwen2", HEAD_NONE, {"", "model."}, arch_llama_tensors, llama_skip, arch_read_qwen2},
    {"Qwen3Model", "qwen3", HEAD_NONE, {"", "model."}, arch_llama_tensors, llama_skip, arch_read_qwen3},
    {"ViTForImageClassification", "vit", HEAD_CLASSIFY, {"vit.", ""}, arch_vit_tensors, vit_skip, arch_read_vit},
    {"DeiTForImageClassification", "deit", HEAD_CLASSIFY, {"deit.", ""}, arch_deit_tensors, vit_skip, arch_read_deit},
};
/* clang-format on */

#define ARCH_COUNT (sizeof archs / sizeof *archs)

const struct arch *arch_find(const char *architecture)
{
    for (size_t i = 0; i < ARCH_COUNT; i++)
        if (strcmp(archs[i].name, architecture) == 0)
            return &archs[i];
    return NULL;
}

const struct arch *arch_at(size_t i)
{
    return i < ARCH_COUNT ? &archs[i] : NULL;
}

const char *arch_names(void)
{
    static char text[4096];
    if (text[0] == '\0')
        for (size_t i = 0; i < ARCH_COUNT; i++)
            (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i == 0 ? "" : ", ", archs[i].name);
    return text;
}

/* ------------------------------------------------------------------ look-ups */

bool arch_present(const struct config *c, const struct arch_tensor *t)
{
    switch (t->role) {
    case ROLE_Q_BIAS:
    case ROLE_K_BIAS:
    case ROLE_V_BIAS:
    case ROLE_QKV_BIAS:
    case ROLE_QKV_HEADS_BIAS:
        return c->qkv_bias;
    case ROLE_Q_NORM:
    case ROLE_K_NORM:
        return c->qk_norm;
    case ROLE_ATTN_POST_W:
    case ROLE_MLP_POST_W:
        return c->post_norms;
    case ROLE_O_BIAS:
        return c->o_bias;
    case ROLE_GATE_BIAS:
        return c->gated && c->mlp_bias;
    case ROLE_UP_BIAS:
    case ROLE_DOWN_BIAS:
        return c->mlp_bias;
    case ROLE_GATE:
        return c->gated;
    case ROLE_LM_HEAD:
        return c->head == HEAD_LM || c->head == HEAD_MLM;
    case ROLE_POOL:
    case ROLE_POOL_BIAS:
    case ROLE_CLASSIFY:
    case ROLE_CLASSIFY_ROW:
    case ROLE_CLASSIFY_BIAS:
        return c->head == HEAD_CLASSIFY;
    case ROLE_MLM_DENSE:
    case ROLE_MLM_DENSE_BIAS:
    case ROLE_MLM_NORM_W:
    case ROLE_MLM_NORM_B:
    case ROLE_MLM_OUT_BIAS:
        return c->head == HEAD_MLM;
    default:
        return true;
    }
}

int arch_count(const struct config *c, const struct arch_tensor *t)
{
    return t->per_layer ? arch_below(c, t, c->L) : 1;
}

int arch_below(const struct config *c, const struct arch_tensor *t, int layer)
{
    return t->per_expert ? layer * c->experts : t->per_layer ? layer : 0;
}

int arch_stored_layer(const struct config *c, int layer)
{
    return c->groups > 0 ? layer / (c->L / c->groups) : layer;
}

const struct arch_tensor *arch_tensor(const struct config *c, enum role role)
{
    for (const struct arch_tensor *t = c->arch->tensors; t->role != ROLE_COUNT; t++)
        if (t->role == role)
            return arch_present(c, t) ? t : NULL;
    return NULL;
}

const char *arch_role_name(enum role role)
{
    static const char *const names[ROLE_COUNT] = {
        [ROLE_TOKEN_EMBED] = "token embedding", [ROLE_POSITION_EMBED] = "position embedding",
        [ROLE_TYPE_EMBED] = "token type embedding", [ROLE_EMBED_NORM_W] = "embedding norm gain",
        [ROLE_EMBED_NORM_B] = "embedding norm bias", [ROLE_ATTN_NORM_W] = "attention norm gain",
        [ROLE_ATTN_NORM_B] = "attention norm bias", [ROLE_MLP_NORM_W] = "feed-forward norm gain",
        [ROLE_MLP_NORM_B] = "feed-forward norm bias", [ROLE_Q] = "query", [ROLE_Q_BIAS] = "query bias", [ROLE_K] = "key",
        [ROLE_K_BIAS] = "key bias", [ROLE_V] = "value", [ROLE_V_BIAS] = "value bias", [ROLE_QKV] = "fused query-key-value",
        [ROLE_QKV_BIAS] = "fused query-key-value bias", [ROLE_O] = "attention output", [ROLE_O_BIAS] = "attention output bias",
        [ROLE_GATE] = "gate", [ROLE_GATE_BIAS] = "gate bias", [ROLE_UP] = "up", [ROLE_UP_BIAS] = "up bias",
        [ROLE_DOWN] = "down", [ROLE_DOWN_BIAS] = "down bias", [ROLE_FINAL_NORM_W] = "final norm gain",
        [ROLE_FINAL_NORM_B] = "final norm bias", [ROLE_LM_HEAD] = "output table", [ROLE_POOL] = "pooler",
        [ROLE_POOL_BIAS] = "pooler bias", [ROLE_CLASSIFY] = "classifier", [ROLE_CLASSIFY_BIAS] = "classifier bias",
        [ROLE_MLM_DENSE] = "masked-LM transform", [ROLE_MLM_DENSE_BIAS] = "masked-LM transform bias",
        [ROLE_MLM_NORM_W] = "masked-LM norm gain", [ROLE_MLM_NORM_B] = "masked-LM norm bias",
        [ROLE_MLM_OUT_BIAS] = "masked-LM output bias", [ROLE_QKV_HEADS] = "query-key-value fused head by head",
        [ROLE_QKV_HEADS_BIAS] = "query-key-value bias fused head by head", [ROLE_Q_NORM] = "query norm gain",
        [ROLE_K_NORM] = "key norm gain", [ROLE_GATE_UP] = "fused gate and up",
        [ROLE_EMBED_MAP] = "embedding map", [ROLE_EMBED_MAP_BIAS] = "embedding map bias",
        [ROLE_PATCH] = "patch projection", [ROLE_PATCH_BIAS] = "patch projection bias", [ROLE_CLS_TOKEN] = "class token",
        [ROLE_DISTILL_TOKEN] = "distillation token", [ROLE_CLASSIFY_ROW] = "classifier without pooler",
        [ROLE_ROUTER] = "choice of experts", [ROLE_ATTN_POST_W] = "gain of the norm after attention", [ROLE_MLP_POST_W] = "gain of the norm after the feed-forward part",
    };
    return names[role];
}

int arch_shape(const struct config *c, const struct arch_tensor *t, uint64_t dim[4])
{
    uint64_t out = (uint64_t)arch_axis_size(c, t->out), in = (uint64_t)arch_axis_size(c, t->in);
    int n = 0;
    if (t->stored == AS_BATCH)
        dim[n++] = 1;
    dim[n++] = t->conv1d ? in : out;
    if (t->stored == AS_CONV) {
        dim[n++] = (uint64_t)c->channels;
        dim[n++] = (uint64_t)c->patch[0];
        dim[n++] = (uint64_t)c->patch[1];
    } else if (t->in != AX_ONE) {
        dim[n++] = t->conv1d ? out : in;
    }
    return n;
}

int64_t arch_axis_size(const struct config *c, enum axis axis)
{
    switch (axis) {
    case AX_ONE:
        return 1;
    case AX_D:
    case AX_POOL:
    case AX_MLM:
        return c->D;
    case AX_Q:
    case AX_MIX:
        return (int64_t)c->H * c->K;
    case AX_KEY:
    case AX_VALUE:
        return (int64_t)c->G * c->K;
    case AX_QKV:
        return (int64_t)(c->H + 2 * c->G) * c->K;
    case AX_QKV_HEADS:
        return (int64_t)c->H * 3 * c->K;
    case AX_HEAD:
        return c->K;
    case AX_F:
        return c->F;
    case AX_GATE_UP:
        return 2 * (int64_t)c->F;
    case AX_EXPERT:
        return c->experts;
    case AX_E:
        return c->E > 0 ? c->E : c->D;
    case AX_PATCH:
        return (int64_t)c->channels * c->patch[0] * c->patch[1];
    case AX_V:
    case AX_TOKEN:
        return c->V;
    case AX_C:
        return c->C;
    case AX_POSITION:
        return c->positions + c->position_offset;
    case AX_TYPE:
        return c->type_vocab;
    }
    return 0;
}

/* ------------------------------------------------------------------ shared by the families' readers */

int arch_read_size(const struct json_doc *doc, const char *key, int64_t max, int *out, struct err *err)
{
    int64_t v;
    if (json_get_int(doc, json_root(doc), key, 1, max, &v, err) != 0)
        return -1;
    *out = (int)v;
    return 0;
}

int arch_read_sizes(struct config *c, const struct json_doc *doc, struct err *err)
{
    if (arch_read_size(doc, "hidden_size", SHAPE_MAX_D, &c->D, err) != 0 ||
        arch_read_size(doc, "num_hidden_layers", SHAPE_MAX_L, &c->L, err) != 0 ||
        arch_read_size(doc, "num_attention_heads", SHAPE_MAX_H, &c->H, err) != 0 ||
        arch_read_size(doc, "intermediate_size", SHAPE_MAX_F, &c->F, err) != 0 ||
        arch_read_size(doc, "vocab_size", SHAPE_MAX_V, &c->V, err) != 0 ||
        arch_read_size(doc, "max_position_embeddings", SHAPE_MAX_POSITIONS, &c->positions, err) != 0)
        return -1;
    if (c->D % c->H != 0)
        return err_set(err, ERR_INPUT, "%s: hidden_size (%d) is not a multiple of num_attention_heads (%d)", json_name(doc), c->D,
                       c->H);
    c->G = c->H;
    c->K = c->D / c->H;
    return 0;
}

int arch_read_act(const struct json_doc *doc, const char *key, const char *fallback, enum act_kind *out, struct err *err)
{
    static const struct {
        const char *name;
        enum act_kind act;
    } table[] = {{"silu", ACT_SILU}, {"swish", ACT_SILU}, {"gelu", ACT_GELU}, {"gelu_new", ACT_GELU_TANH},
                 {"gelu_pytorch_tanh", ACT_GELU_TANH}, {"gelu_fast", ACT_GELU_TANH}, {"relu", ACT_RELU}};
    const char *name = fallback;
    if (json_opt_str(doc, json_root(doc), key, &name, err) != 0)
        return -1;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(name, table[i].name) == 0) {
            *out = table[i].act;
            return 0;
        }
    return err_set(err, ERR_INPUT, "%s: field '%s': activation '%.40s' is not implemented; known: silu, gelu, gelu_new, "
                                   "gelu_pytorch_tanh, gelu_fast, relu", json_name(doc), key, name);
}

int arch_refuse(const struct json_doc *doc, const char *key, struct err *err)
{
    bool on = false;
    if (json_opt_bool(doc, json_root(doc), key, &on, err) != 0)
        return -1;
    return on ? err_set(err, ERR_INPUT, "%s: field '%s': true is not implemented", json_name(doc), key) : 0;
}
