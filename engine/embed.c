#include "engine/embed.h"

#include <stdlib.h>
#include <string.h>

#include "engine/floats.h"
#include "engine/net.h"
#include "model/arch.h"

struct embed {
    struct config config; /* labels stay with the checkpoint */
    const struct tensor *token; /* NULL in a model of images */
    float *position, *type; /* [positions,D], [type_vocab,D], or NULL */
    struct norm norm;       /* w NULL: none */
    struct linear map;      /* [D,E], w.data NULL: the tables are as wide as the model */
    struct linear patch;    /* [D, channels * high * wide], of images */
    float *first, *second;  /* rows [D] before the patches: class token, distillation token (NULL: none) */
};

/* Columns of the tables. */
static int width_of(const struct config *c)
{
    return (int)arch_axis_size(c, AX_E);
}

static int load_table(float **out, const struct checkpoint *cp, enum role role, struct err *err)
{
    const struct tensor *t = checkpoint_tensor(cp, role, 0);
    float *table;
    if (t == NULL)
        return 0;
    if (floats_alloc(&table, 1, (size_t)t->count, err) != 0)
        return -1;
    if (checkpoint_rows_f32(t, 0, t->dim[0], table, err) != 0) {
        free(table);
        return -1;
    }
    *out = table;
    return 0;
}

static int load_tokens(struct embed *e, const struct checkpoint *cp, struct err *err)
{
    e->token = checkpoint_tensor(cp, ROLE_TOKEN_EMBED, 0);
    size_t count = (size_t)e->token->count, bad = dtype_first_nonfinite(e->token->dtype, e->token->data, count);
    return bad == count ? 0 : err_set(err, ERR_INPUT, "tensor '%s': NaN or infinity at element %zu", e->token->name, bad);
}

/* The projection is the user's own step: in f32, whatever the package's products are. */
static int load_patches(struct embed *e, const struct checkpoint *cp, struct err *err)
{
    static const enum role patch = ROLE_PATCH, bias = ROLE_PATCH_BIAS;
    return linear_load(&e->patch, cp, COMPUTE_F32, &patch, &bias, 1, 0, err) == 0 &&
                   load_table(&e->first, cp, ROLE_CLS_TOKEN, err) == 0 && load_table(&e->second, cp, ROLE_DISTILL_TOKEN, err) == 0
               ? 0
               : -1;
}

int embed_load(struct embed **out, const struct checkpoint *cp, struct err *err)
{
    if (!checkpoint_has(cp, PART_EMBED))
        return err_set(err, ERR_INPUT, "%s: the embeddings of the model are missing", checkpoint_dir(cp));
    struct embed *e = calloc(1, sizeof *e);
    if (e == NULL)
        return err_oom(err, sizeof *e);
    e->config = *checkpoint_config(cp);
    e->config.labels = NULL;
    if ((config_reads_images(&e->config) ? load_patches : load_tokens)(e, cp, err) != 0)
        goto fail;
    if (load_table(&e->position, cp, ROLE_POSITION_EMBED, err) != 0 || load_table(&e->type, cp, ROLE_TYPE_EMBED, err) != 0)
        goto fail;
    if (checkpoint_tensor(cp, ROLE_EMBED_NORM_W, 0) != NULL &&
        norm_load(&e->norm, cp, ROLE_EMBED_NORM_W, ROLE_EMBED_NORM_B, 0, err) != 0)
        goto fail;
    static const enum role map = ROLE_EMBED_MAP, map_bias = ROLE_EMBED_MAP_BIAS;
    if (checkpoint_tensor(cp, ROLE_EMBED_MAP, 0) != NULL && linear_load(&e->map, cp, COMPUTE_F32, &map, &map_bias, 1, 0, err) != 0)
        goto fail;
    *out = e;
    return 0;
fail:
    embed_free(e);
    return err_wrap(err, "%s", checkpoint_dir(cp));
}

void embed_free(struct embed *e)
{
    if (e == NULL)
        return;
    free(e->position);
    free(e->type);
    norm_free(&e->norm);
    linear_free(&e->map);
    linear_free(&e->patch);
    free(e->first);
    free(e->second);
    free(e);
}

static int check_range(const struct embed *e, const int32_t *ids, const int32_t *types, int T, int first_position,
                       struct err *err)
{
    const struct config *c = &e->config;
    if (config_reads_images(c))
        return err_set(err, ERR_USAGE, "a %s reads images, not texts", c->architecture);
    if (T < 0 || first_position < 0 || first_position > c->positions || T > c->positions - first_position)
        return err_set(err, ERR_INPUT, "%d tokens after %d: the model has %d positions; shorten the text", T, first_position,
                       c->positions);
    for (int t = 0; t < T; t++) {
        if (ids[t] < 0 || (uint64_t)ids[t] >= e->token->dim[0])
            return err_set(err, ERR_INPUT,
                           "token %d of %d is outside the embedding table of %d rows; do tokenizer and model "
                           "belong together?",
                           t + 1, T, c->V);
        if (types != NULL && e->type != NULL && (types[t] < 0 || (types[t] > 0 && types[t] >= c->type_vocab)))
            return err_set(err, ERR_INPUT, "token type %d of %d is outside the table of %d rows", t + 1, T, c->type_vocab);
    }
    return 0;
}

static void add_row(float *x, const float *table, size_t row, size_t D)
{
    for (size_t d = 0; d < D; d++)
        x[d] += table[row * D + d];
}

/* x [T,E] */
static void sum_tables(const struct embed *e, const int32_t *ids, const int32_t *types, int T, int first_position, float *x)
{
    struct config c = e->config;
    c.D = width_of(&e->config);
    size_t E = (size_t)c.D, size = dtype_size(e->token->dtype);
    for (int t = 0; t < T; t++) {
        float *row = x + (size_t)t * E;
        dtype_to_f32(e->token->dtype, e->token->data + (size_t)ids[t] * E * size, row, E);
        for (size_t d = 0; c.embed_scale > 0 && d < E; d++)
            row[d] *= (float)c.embed_scale;
        if (e->type != NULL)
            add_row(row, e->type, types == NULL ? 0 : (size_t)types[t], E);
        if (e->position != NULL)
            add_row(row, e->position, (size_t)(c.position_offset + first_position + t), E);
    }
    if (e->norm.w != NULL)
        norm_apply(&c, &e->norm, x, x, T);
}

int embed_rows(const struct embed *e, const int32_t *ids, const int32_t *types, int T, int first_position, float *x,
               struct err *err)
{
    float *narrow, *work = NULL;
    if (check_range(e, ids, types, T, first_position, err) != 0)
        return -1;
    if (e->map.w.data == NULL || T == 0) {
        sum_tables(e, ids, types, T, first_position, x);
        return 0;
    }
    if (floats_alloc(&narrow, (size_t)T, (size_t)width_of(&e->config), err) != 0)
        return -1;
    int rc = floats_alloc(&work, linear_work_bytes(&e->map, T) / sizeof *work + 1, 1, err);
    if (rc == 0) {
        sum_tables(e, ids, types, T, first_position, narrow);
        linear_apply(&e->map, x, narrow, T, work);
    }
    free(narrow);
    free(work);
    return rc;
}

/* Patch (i, j) as the projection's columns are ordered: channel, row, column. */
static void cut_patch(const struct config *c, const float *pixels, int i, int j, float *out)
{
    const size_t high = (size_t)c->image[0], wide = (size_t)c->image[1], rows = (size_t)c->patch[0], columns = (size_t)c->patch[1];
    for (size_t k = 0; k < (size_t)c->channels; k++)
        for (size_t r = 0; r < rows; r++, out += columns)
            memcpy(out, pixels + (k * high + (size_t)i * rows + r) * wide + (size_t)j * columns, columns * sizeof *out);
}

int embed_image(const struct embed *e, const float *pixels, float *x, struct err *err)
{
    const struct config *c = &e->config;
    if (!config_reads_images(c))
        return err_set(err, ERR_USAGE, "a %s reads texts, not images", c->architecture);
    const int n = config_patches(c), down = c->image[0] / c->patch[0], across = c->image[1] / c->patch[1];
    const size_t D = (size_t)c->D, width = (size_t)arch_axis_size(c, AX_PATCH);
    float *patches = NULL, *work = NULL;
    if (floats_alloc(&patches, (size_t)n, width, err) != 0)
        return -1;
    if (floats_alloc(&work, linear_work_bytes(&e->patch, n) / sizeof *work + 1, 1, err) != 0) {
        free(patches);
        return -1;
    }
    for (int i = 0; i < down; i++)
        for (int j = 0; j < across; j++)
            cut_patch(c, pixels, i, j, patches + (size_t)(i * across + j) * width);
    size_t before = 1;
    memcpy(x, e->first, D * sizeof *x);
    if (e->second != NULL)
        memcpy(x + before++ * D, e->second, D * sizeof *x);
    linear_apply(&e->patch, x + before * D, patches, n, work);
    for (size_t t = 0; t < before + (size_t)n; t++)
        add_row(x + t * D, e->position, t, D);
    free(patches);
    free(work);
    return 0;
}
