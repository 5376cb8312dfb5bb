#include "tests/support/synth.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "model/arch.h"
#include "model/checkpoint.h"

#define CHUNK 65536 /* elements made at once */

/* One tensor to be written. */
struct plan {
    char name[512];
    const struct arch_tensor *row;
    int layer;
};

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* Number i of stream `key`, in [-1,1). */
static float uniform(uint64_t key, uint64_t i)
{
    return (float)((double)(mix(key ^ mix(i)) >> 11) * 0x1p-52 - 1.0);
}

void synth_ids(int32_t *ids, int n, int V, uint64_t seed)
{
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(mix(seed ^ mix((uint64_t)i)) % (uint64_t)V);
}

void synth_pixels(float *pixels, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        pixels[i] = uniform(seed, i);
}

/* ------------------------------------------------------------------ config.json */

static int or_else(int value, int fallback)
{
    return value != 0 ? value : fallback;
}

static void put_scaling(struct json_doc *doc, struct json *rope, const struct rope_config *r, int pairs)
{
    static const char *const kinds[] = {[ROPE_DEFAULT] = "default", [ROPE_LINEAR] = "linear", [ROPE_LLAMA3] = "llama3",
                                        [ROPE_YARN] = "yarn", [ROPE_LONGROPE] = "longrope"};
    json_put_str(doc, rope, "rope_type", kinds[r->kind]);
    if (r->kind != ROPE_DEFAULT && r->factor > 0)
        json_put_num(doc, rope, "factor", r->factor);
    if (r->kind == ROPE_LLAMA3) {
        json_put_num(doc, rope, "low_freq_factor", r->low_freq_factor);
        json_put_num(doc, rope, "high_freq_factor", r->high_freq_factor);
    }
    if (r->original > 0)
        json_put_num(doc, rope, "original_max_position_embeddings", r->original);
    if (r->attention_factor > 0)
        json_put_num(doc, rope, "attention_factor", r->attention_factor);
    for (int list = 0; r->kind == ROPE_LONGROPE && list < 2; list++) {
        struct json *factors = json_put_array(doc, rope, list == 0 ? "short_factor" : "long_factor");
        for (int i = 0; i < pairs; i++)
            json_put_num(doc, factors, NULL, 1 + 0.25 * i + 3 * list);
    }
}

static void put_rope(struct json_doc *doc, struct json *root, const struct synth_shape *s)
{
    const struct rope_config *r = &s->rope;
    double theta = r->theta > 0 ? r->theta : 10000, part = s->partial > 0 ? s->partial : 1;
    int pairs = (int)(part * (or_else(s->K, s->D / s->H))) / 2;
    if (!s->rope_v5)
        json_put_num(doc, root, "rope_theta", theta);
    if (!s->rope_v5 && r->kind == ROPE_DEFAULT)
        return;
    struct json *rope = json_put_object(doc, root, s->rope_v5 ? "rope_parameters" : "rope_scaling");
    if (s->rope_v5)
        json_put_num(doc, rope, "rope_theta", theta);
    put_scaling(doc, rope, r, pairs);
}

static bool is(const char *model_type, const char *want)
{
    return strcmp(model_type, want) == 0;
}

/* The sizes as most families spell them. */
static void put_sizes(struct json_doc *doc, struct json *root, const struct synth_shape *s)
{
    json_put_int(doc, root, "hidden_size", s->D);
    json_put_int(doc, root, "intermediate_size", or_else(s->F, 4 * s->D));
    json_put_int(doc, root, "num_hidden_layers", s->L);
    json_put_int(doc, root, "num_attention_heads", s->H);
}

static void put_llama(struct json_doc *doc, struct json *root, const struct synth_shape *s, const char *type)
{
    put_sizes(doc, root, s);
    json_put_int(doc, root, "num_key_value_heads", or_else(s->G, s->H));
    if (s->K != 0)
        json_put_int(doc, root, "head_dim", s->K);
    json_put_int(doc, root, "max_position_embeddings", or_else(s->positions, 512));
    json_put_num(doc, root, "rms_norm_eps", 1e-5);
    json_put_str(doc, root, "hidden_act", s->act != NULL ? s->act : "silu");
    json_put_bool(doc, root, "tie_word_embeddings", !s->untied);
    if (is(type, "llama") || strncmp(type, "qwen3", 5) == 0)
        json_put_bool(doc, root, "attention_bias", s->qkv_bias);
    if (is(type, "llama"))
        json_put_bool(doc, root, "mlp_bias", s->mlp_bias);
    else if (s->window != 0)
        json_put_int(doc, root, "sliding_window", s->window);
    if (is(type, "qwen2") || strncmp(type, "qwen3", 5) == 0) {
        json_put_bool(doc, root, "use_sliding_window", s->window != 0);
        json_put_int(doc, root, "max_window_layers", s->window_from);
    }
    if (is(type, "mixtral") || is(type, "qwen3_moe")) {
        json_put_int(doc, root, is(type, "mixtral") ? "num_local_experts" : "num_experts", or_else(s->experts, 5));
        json_put_int(doc, root, "num_experts_per_tok", or_else(s->experts_used, 2));
    }
    if (is(type, "qwen3_moe")) {
        json_put_int(doc, root, "moe_intermediate_size", or_else(s->F, 4 * s->D));
        json_put_bool(doc, root, "norm_topk_prob", s->renormalise);
    }
    if (is(type, "phi3") && s->partial > 0)
        json_put_num(doc, root, "partial_rotary_factor", s->partial);
    put_rope(doc, root, s);
}

/* Sliding layers turn by positions of their own in version 3, at a frequency that shows. */
static void put_gemma(struct json_doc *doc, struct json *root, const struct synth_shape *s, const char *type)
{
    json_put_int(doc, root, "num_key_value_heads", or_else(s->G, s->H));
    put_sizes(doc, root, s);
    json_put_int(doc, root, "head_dim", or_else(s->K, s->D / s->H));
    json_put_int(doc, root, "max_position_embeddings", or_else(s->positions, 512));
    json_put_num(doc, root, "rms_norm_eps", 1e-6);
    json_put_str(doc, root, "hidden_activation", s->act != NULL ? s->act : "gelu_pytorch_tanh");
    json_put_bool(doc, root, "tie_word_embeddings", !s->untied);
    if (!is(type, "gemma")) {
        json_put_num(doc, root, "query_pre_attn_scalar", 1.5 * or_else(s->K, s->D / s->H));
        json_put_int(doc, root, "sliding_window", or_else(s->window, 16));
    }
    if (is(type, "gemma2")) { /* low enough to bend the small numbers of random weights */
        json_put_num(doc, root, "attn_logit_softcapping", 2);
        json_put_num(doc, root, "final_logit_softcapping", 3);
    }
    if (is(type, "gemma3_text"))
        json_put_int(doc, root, "sliding_window_pattern", 2);
    if (!is(type, "gemma3_text") || !s->rope_v5) {
        if (is(type, "gemma3_text"))
            json_put_num(doc, root, "rope_local_base_freq", 50);
        put_rope(doc, root, s);
        return;
    }
    struct json *rope = json_put_object(doc, root, "rope_parameters"), *part = json_put_object(doc, rope, "sliding_attention");
    json_put_str(doc, part, "rope_type", "default");
    json_put_num(doc, part, "rope_theta", 50);
    part = json_put_object(doc, rope, "full_attention");
    json_put_num(doc, part, "rope_theta", s->rope.theta > 0 ? s->rope.theta : 10000);
    put_scaling(doc, part, &s->rope, 0);
}

static void put_neox(struct json_doc *doc, struct json *root, const struct synth_shape *s)
{
    put_sizes(doc, root, s);
    json_put_int(doc, root, "max_position_embeddings", or_else(s->positions, 512));
    json_put_num(doc, root, "layer_norm_eps", 1e-5);
    json_put_str(doc, root, "hidden_act", s->act != NULL ? s->act : "gelu");
    json_put_bool(doc, root, "use_parallel_residual", !s->sequential);
    /* A quarter of a head, in pairs; half a dim more, so that no rounding takes one away. */
    int quarter = s->D / s->H / 8 * 2;
    double partial = (or_else(quarter, 2) + 0.5) / (s->D / s->H);
    json_put_num(doc, root, "rotary_pct", s->partial > 0 ? s->partial : partial);
    json_put_bool(doc, root, "tie_word_embeddings", !s->untied);
    put_rope(doc, root, s);
}

static void put_gpt2(struct json_doc *doc, struct json *root, const struct synth_shape *s)
{
    json_put_int(doc, root, "n_embd", s->D);
    json_put_int(doc, root, "n_inner", or_else(s->F, 4 * s->D));
    json_put_int(doc, root, "n_layer", s->L);
    json_put_int(doc, root, "n_head", s->H);
    json_put_int(doc, root, "n_positions", or_else(s->positions, 512));
    json_put_num(doc, root, "layer_norm_epsilon", 1e-5);
    json_put_str(doc, root, "activation_function", s->act != NULL ? s->act : "gelu_new");
    json_put_bool(doc, root, "tie_word_embeddings", !s->untied);
}

static void put_labels(struct json_doc *doc, struct json *root, const struct synth_shape *s)
{
    struct json *labels = json_put_object(doc, root, "id2label");
    for (int i = 0; i < or_else(s->classes, 2); i++) {
        char key[16], label[32];
        (void)snprintf(key, sizeof key, "%d", i);
        (void)snprintf(label, sizeof label, "LABEL_%d", i);
        json_put_str(doc, labels, key, label);
    }
}

/* RoBERTa's table has rows for the positions 0 and 1 that no text reaches. */
static void put_bert(struct json_doc *doc, struct json *root, const struct synth_shape *s, const char *type)
{
    bool roberta = !is(type, "bert") && !is(type, "albert");
    put_sizes(doc, root, s);
    json_put_int(doc, root, "max_position_embeddings", or_else(s->positions, 512) + (roberta ? 2 : 0));
    if (roberta)
        json_put_int(doc, root, "pad_token_id", 1);
    if (is(type, "albert")) {
        json_put_int(doc, root, "embedding_size", s->D / 2);
        json_put_int(doc, root, "num_hidden_groups", or_else(s->groups, 1));
    }
    json_put_int(doc, root, "type_vocab_size", roberta ? 1 : 2);
    json_put_num(doc, root, "layer_norm_eps", 1e-12);
    json_put_str(doc, root, "hidden_act", s->act != NULL ? s->act : "gelu");
    json_put_bool(doc, root, "tie_word_embeddings", !s->untied);
    put_labels(doc, root, s);
}

static void put_distilbert(struct json_doc *doc, struct json *root, const struct synth_shape *s)
{
    json_put_int(doc, root, "dim", s->D);
    json_put_int(doc, root, "hidden_dim", or_else(s->F, 4 * s->D));
    json_put_int(doc, root, "n_layers", s->L);
    json_put_int(doc, root, "n_heads", s->H);
    json_put_int(doc, root, "max_position_embeddings", or_else(s->positions, 512));
    json_put_str(doc, root, "activation", s->act != NULL ? s->act : "gelu");
    json_put_bool(doc, root, "tie_word_embeddings", !s->untied);
    put_labels(doc, root, s);
}

static void put_vit(struct json_doc *doc, struct json *root, const struct synth_shape *s)
{
    put_sizes(doc, root, s);
    if (s->wide != 0) {
        struct json *sides = json_put_array(doc, root, "image_size");
        json_put_int(doc, sides, NULL, or_else(s->image, 32));
        json_put_int(doc, sides, NULL, s->wide);
    } else {
        json_put_int(doc, root, "image_size", or_else(s->image, 32));
    }
    json_put_int(doc, root, "patch_size", or_else(s->patch, 8));
    json_put_int(doc, root, "num_channels", or_else(s->channels, 3));
    json_put_num(doc, root, "layer_norm_eps", 1e-12);
    json_put_str(doc, root, "hidden_act", s->act != NULL ? s->act : "gelu");
    json_put_bool(doc, root, "qkv_bias", !s->no_qkv_bias);
    put_labels(doc, root, s);
}

/* Images of any size, to the model's. */
static int write_preprocess(const char *dir, const struct config *c, struct err *err)
{
    char path[FILE_PATH_MAX], text[256];
    if (file_join(path, dir, "preprocessor_config.json", err) != 0)
        return -1;
    int n = snprintf(text, sizeof text, "{\"image_processor_type\": \"ViTImageProcessor\", \"size\": {\"height\": %d, \"width\": %d}%s}\n",
                     c->image[0], c->image[1], c->channels == 1 ? ", \"image_mean\": [0.5], \"image_std\": [0.5]" : "");
    return file_write(path, text, (size_t)n, 0644, err);
}

static struct json_doc *make_config(const struct arch *arch, const struct synth_shape *s)
{
    struct json_doc *doc = json_new_object("config.json");
    struct json *root = json_node(doc);
    json_put_str(doc, json_put_array(doc, root, "architectures"), NULL, arch->name);
    json_put_str(doc, root, "model_type", arch->model_type);
    const char *type = arch->model_type;
    const bool images = is(type, "vit") || is(type, "deit");
    if (!images)
        json_put_int(doc, root, "vocab_size", s->V);
    if (images)
        put_vit(doc, root, s);
    else if (is(type, "gpt2"))
        put_gpt2(doc, root, s);
    else if (is(type, "bert") || is(type, "roberta") || is(type, "xlm-roberta") || is(type, "albert"))
        put_bert(doc, root, s, type);
    else if (is(type, "distilbert"))
        put_distilbert(doc, root, s);
    else if (strncmp(type, "gemma", 5) == 0)
        put_gemma(doc, root, s, type);
    else if (is(type, "gpt_neox"))
        put_neox(doc, root, s);
    else
        put_llama(doc, root, s, type);
    if (s->bos != 0)
        json_put_int(doc, root, "bos_token_id", s->bos);
    if (s->eos != 0)
        json_put_int(doc, root, "eos_token_id", s->eos);
    return doc;
}

/* ------------------------------------------------------------------ model.safetensors */

static bool is_stored(const struct config *c, const struct arch_tensor *row, const struct synth_shape *s)
{
    bool table = c->tied && (c->head == HEAD_LM || c->head == HEAD_MLM);
    if (!arch_present(c, row) || (s->without & 1u << row->part) != 0)
        return false;
    if (row->role == ROLE_LM_HEAD)
        return !table || s->head_only;
    return row->role != ROLE_TOKEN_EMBED || !table || !s->head_only;
}

static int make_plan(struct plan *plan, const struct config *c, const struct synth_shape *s, int *count, struct err *err)
{
    *count = 0;
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++) {
        if (!is_stored(c, row, s))
            continue;
        int alias = s->alias < 3 && row->names[s->alias] != NULL ? s->alias : 0;
        for (int l = 0; l < arch_count(c, row); l++) {
            if (l > 0 && row->per_layer && arch_stored_layer(c, l) == arch_stored_layer(c, l - 1) && c->groups > 0)
                continue;
            plan[*count].row = row;
            plan[*count].layer = l;
            if (checkpoint_name(plan[*count].name, c, row, l, s->prefix, alias, err) != 0)
                return -1;
            (*count)++;
        }
    }
    return 0;
}

/* Centre and half width of a role's values. */
static void value_range(const struct config *c, const struct arch_tensor *row, float *centre, float *spread)
{
    *centre = 0.0f;
    *spread = 0.3f;
    switch (row->role) {
    case ROLE_EMBED_NORM_W:
    case ROLE_ATTN_NORM_W:
    case ROLE_MLP_NORM_W:
    case ROLE_FINAL_NORM_W:
    case ROLE_MLM_NORM_W:
    case ROLE_Q_NORM:
    case ROLE_K_NORM:
    case ROLE_ATTN_POST_W:
    case ROLE_MLP_POST_W:
        *centre = c->gain_plus_one ? 0.0f : 1.0f;
        *spread = 0.5f;
        return;
    case ROLE_TOKEN_EMBED:
    case ROLE_POSITION_EMBED:
    case ROLE_TYPE_EMBED:
    case ROLE_CLS_TOKEN:
    case ROLE_DISTILL_TOKEN:
        *spread = 1.0f;
        return;
    default:
        if (row->in != AX_ONE)
            *spread = (float)sqrt(3.0 / (double)arch_axis_size(c, row->in));
    }
}

static int write_values(struct safetensors_out *out, const struct config *c, const struct plan *p, const struct synth_shape *s,
                        uint64_t seed, struct err *err)
{
    static float values[CHUNK];
    static uint8_t stored[CHUNK * 4];
    float centre, spread;
    enum role role = p->row->role;
    /* The one table of a tied model has the same values whatever it is called. */
    bool token = role == ROLE_LM_HEAD && (s->head_only || s->same_tables);
    const struct arch_tensor *row = token ? arch_tensor(c, ROLE_TOKEN_EMBED) : p->row;
    value_range(c, row, &centre, &spread);
    uint64_t key = mix(seed ^ mix((uint64_t)row->role * 4096 + (uint64_t)p->layer));
    uint64_t count = (uint64_t)arch_axis_size(c, row->out) * (uint64_t)arch_axis_size(c, row->in);
    for (uint64_t at = 0; at < count; at += CHUNK) {
        size_t n = count - at < CHUNK ? (size_t)(count - at) : CHUNK;
        for (size_t i = 0; i < n; i++)
            values[i] = centre + spread * uniform(key, at + i);
        dtype_from_f32(s->dtype, values, stored, n);
        if (safetensors_out_write(out, stored, n * dtype_size(s->dtype), err) != 0)
            return -1;
    }
    return 0;
}

static int write_tensors(const char *path, const struct config *c, const struct plan *plan, int count,
                         const struct synth_shape *s, uint64_t seed, struct err *err)
{
    struct safetensors_out *out = NULL;
    int rc = -1;
    if (safetensors_out_new(&out, err) != 0)
        return -1;
    for (int i = 0; i < count; i++) {
        const struct arch_tensor *row = plan[i].row;
        uint64_t dim[4];
        const int rank = arch_shape(c, row, dim);
        if (safetensors_out_declare(out, plan[i].name, s->dtype, rank, dim, err) != 0)
            goto done;
    }
    if (safetensors_out_begin(out, path, 0644, err) != 0)
        goto done;
    for (const char *name = safetensors_out_next(out); name != NULL; name = safetensors_out_next(out)) {
        int i = 0;
        while (strcmp(plan[i].name, name) != 0)
            i++;
        if (write_values(out, c, &plan[i], s, seed, err) != 0)
            goto done;
    }
    rc = safetensors_out_commit(out, err);
done:
    safetensors_out_free(out);
    return rc;
}

int synth_checkpoint(const char *dir, const char *architecture, const struct synth_shape *shape, uint64_t seed, struct err *err)
{
    const struct arch *arch = arch_find(architecture);
    char config_path[FILE_PATH_MAX], weights_path[FILE_PATH_MAX], *text = NULL;
    struct config c = {0};
    struct plan *plan = NULL;
    struct json_doc *doc = NULL;
    int rc = -1, count = 0;
    if (arch == NULL)
        return err_set(err, ERR_INPUT, "architecture '%s' is not implemented; known: %s", architecture, arch_names());
    if (file_mkdirs(dir, 0755, err) != 0 || file_join(config_path, dir, "config.json", err) != 0 ||
        file_join(weights_path, dir, "model.safetensors", err) != 0)
        return -1;

    doc = make_config(arch, shape);
    if (json_print(doc, true, &text, err) != 0 || file_write(config_path, text, strlen(text), 0644, err) != 0 ||
        config_read(&c, dir, err) != 0 || (config_reads_images(&c) && write_preprocess(dir, &c, err) != 0))
        goto done;
    size_t most = (size_t)ROLE_COUNT * (size_t)c.L * (size_t)config_feeds(&c);
    if ((plan = calloc(most, sizeof *plan)) == NULL) {
        err_oom(err, most * sizeof *plan);
        goto done;
    }
    if (make_plan(plan, &c, shape, &count, err) != 0)
        goto done;
    rc = write_tensors(weights_path, &c, plan, count, shape, seed, err);
done:
    free(plan);
    free(text);
    json_free(doc);
    config_free(&c);
    return rc;
}
