#include "bench/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "model/checkpoint.h"

#define VERSION 3
#define ALIGN 32u
#define BLOCK 32u
#define BLOCK_BYTES 34u
#define CHUNK_FLOATS ((size_t)1 << 20)
#define HEADER_MAX ((size_t)64 << 20)

enum value { VALUE_U32 = 4, VALUE_F32 = 6, VALUE_STRING = 8 };
enum ggml { GGML_F32 = 0, GGML_Q8_0 = 8, GGML_BF16 = 30 };

static const struct {
    const char *name;
    enum ggml id;
} types[] = {{"f32", GGML_F32}, {"bf16", GGML_BF16}, {"q8_0", GGML_Q8_0}};

/* What the peers call each role; a role that is not here has no place in their Llama or GPT-2. */
static const char *const names[ROLE_COUNT] = {
    [ROLE_TOKEN_EMBED] = "token_embd.weight", [ROLE_POSITION_EMBED] = "position_embd.weight",
    [ROLE_ATTN_NORM_W] = "attn_norm.weight", [ROLE_ATTN_NORM_B] = "attn_norm.bias",
    [ROLE_MLP_NORM_W] = "ffn_norm.weight", [ROLE_MLP_NORM_B] = "ffn_norm.bias",
    [ROLE_Q] = "attn_q.weight", [ROLE_Q_BIAS] = "attn_q.bias", [ROLE_K] = "attn_k.weight", [ROLE_K_BIAS] = "attn_k.bias",
    [ROLE_V] = "attn_v.weight", [ROLE_V_BIAS] = "attn_v.bias", [ROLE_QKV] = "attn_qkv.weight", [ROLE_QKV_BIAS] = "attn_qkv.bias",
    [ROLE_O] = "attn_output.weight", [ROLE_O_BIAS] = "attn_output.bias", [ROLE_GATE] = "ffn_gate.weight",
    [ROLE_UP] = "ffn_up.weight", [ROLE_UP_BIAS] = "ffn_up.bias", [ROLE_DOWN] = "ffn_down.weight", [ROLE_DOWN_BIAS] = "ffn_down.bias",
    [ROLE_FINAL_NORM_W] = "output_norm.weight", [ROLE_FINAL_NORM_B] = "output_norm.bias", [ROLE_LM_HEAD] = "output.weight"};

struct entry {
    const struct tensor *tensor;
    const struct arch_tensor *row;
    char name[64];
    enum ggml type;
    uint64_t bytes;
};

/* ------------------------------------------------------------------ header */

static void put_string(struct buf *b, const char *s)
{
    buf_put64(b, strlen(s));
    buf_put_str(b, s);
}

static void put_key(struct buf *b, uint64_t *count, const char *family, const char *key, enum value type)
{
    char full[96];
    (void)snprintf(full, sizeof full, "%s.%s", family, key);
    put_string(b, full);
    buf_put32(b, type);
    ++*count;
}

static void put_u32(struct buf *b, uint64_t *count, const char *family, const char *key, int v)
{
    put_key(b, count, family, key, VALUE_U32);
    buf_put32(b, (uint32_t)v);
}

static void put_f32(struct buf *b, uint64_t *count, const char *family, const char *key, double v)
{
    float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    put_key(b, count, family, key, VALUE_F32);
    buf_put32(b, bits);
}

static void put_text(struct buf *b, uint64_t *count, const char *family, const char *key, const char *v)
{
    put_key(b, count, family, key, VALUE_STRING);
    put_string(b, v);
}

static uint64_t put_keys(struct buf *b, const struct config *c, const char *family)
{
    uint64_t n = 0;
    put_text(b, &n, "general", "architecture", family);
    put_text(b, &n, "tokenizer", "ggml.model", "no_vocab");
    put_u32(b, &n, family, "vocab_size", c->V);
    put_u32(b, &n, family, "context_length", c->positions);
    put_u32(b, &n, family, "embedding_length", c->D);
    put_u32(b, &n, family, "block_count", c->L);
    put_u32(b, &n, family, "feed_forward_length", c->F);
    put_u32(b, &n, family, "attention.head_count", c->H);
    put_u32(b, &n, family, "attention.head_count_kv", c->G);
    if (c->norm == NORM_RMS) {
        put_f32(b, &n, family, "attention.layer_norm_rms_epsilon", c->norm_eps);
        put_u32(b, &n, family, "rope.dimension_count", c->K);
        put_f32(b, &n, family, "rope.freq_base", c->rope.theta);
    } else {
        put_f32(b, &n, family, "attention.layer_norm_epsilon", c->norm_eps);
    }
    return n;
}

static uint64_t aligned(uint64_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static void put_table(struct buf *b, const struct config *c, const struct entry *list, size_t count)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        const struct arch_tensor *row = list[i].row;
        put_string(b, list[i].name);
        buf_put32(b, row->in == AX_ONE ? 1 : 2);
        if (row->in != AX_ONE) /* the axis that is contiguous comes first */
            buf_put64(b, (uint64_t)arch_axis_size(c, row->in));
        buf_put64(b, (uint64_t)arch_axis_size(c, row->out));
        buf_put32(b, list[i].type);
        buf_put64(b, offset);
        offset += aligned(list[i].bytes);
    }
}

/* ------------------------------------------------------------------ which tensors */

static uint64_t type_bytes(enum ggml type, uint64_t n)
{
    return type == GGML_F32 ? 4 * n : type == GGML_BF16 ? 2 * n : n / BLOCK * BLOCK_BYTES;
}

static int add(struct entry *list, size_t *count, const struct checkpoint *cp, const struct arch_tensor *row, int layer,
               enum ggml type, struct err *err)
{
    const struct tensor *t = checkpoint_tensor(cp, row->role, layer);
    struct entry *e = &list[*count];
    if (names[row->role] == NULL)
        return err_set(err, ERR_INPUT, "%s: %s has no place in a GGUF file", checkpoint_dir(cp), arch_role_name(row->role));
    bool matrix = row->in != AX_ONE && row->role != ROLE_POSITION_EMBED;
    *e = (struct entry){.tensor = t, .row = row, .type = matrix ? type : GGML_F32};
    e->bytes = type_bytes(e->type, t->count);
    if (e->type == GGML_Q8_0 && arch_axis_size(checkpoint_config(cp), row->in) % BLOCK != 0)
        return err_set(err, ERR_INPUT, "%s: q8_0 needs rows that are a multiple of %u long, %s has %lld", checkpoint_dir(cp), BLOCK,
                       t->name, (long long)arch_axis_size(checkpoint_config(cp), row->in));
    if (row->per_layer)
        (void)snprintf(e->name, sizeof e->name, "blk.%d.%s", layer, names[row->role]);
    else
        (void)snprintf(e->name, sizeof e->name, "%s", names[row->role]);
    ++*count;
    return 0;
}

static int make_list(struct entry *list, size_t *count, const struct checkpoint *cp, const char *family, enum ggml type, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    *count = 0;
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++) {
        /* A tied Llama says so by having no output matrix; their GPT-2 wants one all the same. */
        bool tied_head = row->role == ROLE_LM_HEAD && c->tied && strcmp(family, "llama") == 0;
        if (!arch_present(c, row) || tied_head)
            continue;
        for (int l = 0; l < arch_count(c, row); l++)
            if (add(list, count, cp, row, l, type, err) != 0)
                return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------ values */

static void encode_q8_0(const float *src, uint8_t *dst, size_t n)
{
    for (size_t block = 0; block < n / BLOCK; block++, src += BLOCK, dst += BLOCK_BYTES) {
        float most = 0;
        for (size_t i = 0; i < BLOCK; i++) {
            float size = src[i] < 0 ? -src[i] : src[i];
            most = size > most ? size : most;
        }
        float scale = most / 127, back = scale > 0 ? 1 / scale : 0;
        dtype_from_f32(DTYPE_F16, &scale, dst, 1);
        for (size_t i = 0; i < BLOCK; i++) {
            float v = src[i] * back;
            dst[2 + i] = (uint8_t)(int8_t)(v + (v < 0 ? -0.5f : 0.5f));
        }
    }
}

static int write_values(struct file_out *out, const struct entry *e, float *values, uint8_t *stored, struct err *err)
{
    static const uint8_t zeros[ALIGN];
    const struct tensor *t = e->tensor;
    uint64_t rows = t->dim[0], width = t->count / rows, step = CHUNK_FLOATS / width > 0 ? CHUNK_FLOATS / width : 1;
    for (uint64_t r = 0; r < rows; r += step) {
        uint64_t n = rows - r < step ? rows - r : step;
        if (checkpoint_rows_f32(t, r, n, values, err) != 0)
            return -1;
        if (e->type == GGML_Q8_0)
            encode_q8_0(values, stored, (size_t)(n * width));
        else
            dtype_from_f32(e->type == GGML_BF16 ? DTYPE_BF16 : DTYPE_F32, values, stored, (size_t)(n * width));
        if (file_out_write(out, stored, (size_t)type_bytes(e->type, n * width), err) != 0)
            return -1;
    }
    return file_out_write(out, zeros, (size_t)(aligned(e->bytes) - e->bytes), err);
}

static int write_all(const char *path, const struct checkpoint *cp, const struct entry *list, size_t count, const char *family,
                     struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    size_t widest = (size_t)(c->F > c->D ? c->F : c->D) * 4 + CHUNK_FLOATS; /* one row of a fused Conv1D matrix is 3 D long */
    float *values = malloc(widest * sizeof *values);
    uint8_t *stored = malloc(widest * sizeof *values);
    struct file_out out = {.fd = -1};
    struct buf keys, head;
    int rc = -1;
    buf_init(&keys, HEADER_MAX);
    buf_init(&head, HEADER_MAX);
    uint64_t key_count = put_keys(&keys, c, family);
    buf_put_str(&head, "GGUF");
    buf_put32(&head, VERSION);
    buf_put64(&head, count);
    buf_put64(&head, key_count);
    buf_put(&head, keys.data, keys.len);
    put_table(&head, c, list, count);
    while (!head.failed && head.len % ALIGN != 0)
        buf_put8(&head, 0);
    if (values == NULL || stored == NULL) {
        err_oom(err, widest * sizeof *values);
        goto done;
    }
    if (buf_check(&keys, path, err) != 0 || buf_check(&head, path, err) != 0 || file_out_open(&out, path, 0644, err) != 0 ||
        file_out_write(&out, head.data, head.len, err) != 0)
        goto done;
    for (size_t i = 0; i < count; i++)
        if (write_values(&out, &list[i], values, stored, err) != 0)
            goto done;
    rc = file_out_commit(&out, err);
done:
    file_out_drop(&out);
    buf_free(&keys);
    buf_free(&head);
    free(values);
    free(stored);
    return rc;
}

int gguf_write(const char *path, const char *model, const char *type, struct err *err)
{
    struct checkpoint *cp;
    size_t count, t = 0;
    while (t < sizeof types / sizeof *types && strcmp(types[t].name, type) != 0)
        t++;
    if (t == sizeof types / sizeof *types)
        return err_set(err, ERR_USAGE, "a GGUF file of '%.20s' cannot be made; known: f32, bf16, q8_0", type);
    if (checkpoint_open(&cp, model, CHECKPOINT_ALL, err) != 0)
        return -1;
    const struct config *c = checkpoint_config(cp);
    const char *family = c->arch->model_type;
    struct entry *list = calloc((size_t)ROLE_COUNT * (size_t)c->L, sizeof *list);
    int rc = -1;
    if (list == NULL)
        err_oom(err, (size_t)ROLE_COUNT * (size_t)c->L * sizeof *list);
    else if (strcmp(family, "llama") != 0 && strcmp(family, "gpt2") != 0)
        err_set(err, ERR_INPUT, "%s: a GGUF file is made of Llama and GPT-2 models only, not of %s", model, c->architecture);
    else if (make_list(list, &count, cp, family, types[t].id, err) == 0)
        rc = write_all(path, cp, list, count, family, err);
    free(list);
    checkpoint_close(cp);
    return rc;
}
