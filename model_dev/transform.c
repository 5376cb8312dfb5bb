#include "model_dev/transform.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/size.h"
#include "model/quant.h"
#include "permute/gather.h"

#define BLOCK ((size_t)8 << 20)    /* bytes per write */
#define WINDOW ((uint64_t)256 << 20) /* bytes read before mapped pages are given back */

/* The tensor as rows and columns: a vector is one row. */
struct grid {
    uint64_t rows, cols;
    const struct perm *row_order, *col_order; /* NULL: as stored */
    enum dtype from, to;
    uint64_t from_bytes, to_bytes; /* of one row */
    const float *scale;            /* I8 */
    bool conv1d;                   /* a row holds one input of all outputs */
};

static const struct perm *some(const struct perm *p)
{
    return p != NULL && p->n > 0 ? p : NULL;
}

static void grid_of(struct grid *g, const struct transform *t)
{
    const struct tensor *src = t->src;
    const struct perm *out = some(t->out), *in = some(t->in);
    bool vector = src->rank == 1;
    *g = (struct grid){
        .rows = vector ? 1 : src->dim[0],
        .cols = vector ? src->dim[0] : src->dim[1],
        .row_order = vector ? NULL : t->conv1d ? in : out,
        .col_order = vector || t->conv1d ? out : in,
        .from = src->dtype,
        .to = t->dtype,
        .scale = t->scale,
        .conv1d = t->conv1d,
    };
    g->from_bytes = g->cols * dtype_size(g->from);
    g->to_bytes = g->cols * dtype_size(g->to);
    assert(src->rank == 1 || src->rank == 2);
    assert(g->row_order == NULL || g->row_order->n == g->rows);
    assert(g->col_order == NULL || g->col_order->n == g->cols);
}

/* Rows are fetched in secret order, which read-ahead cannot guess: ask for the whole tensor at once. */
static void will_need(const struct tensor *t)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)t->data / page * page;
    (void)madvise((void *)from, (uintptr_t)t->data + t->bytes - from, MADV_WILLNEED);
}

static int check_finite(const struct grid *g, const struct tensor *src, uint64_t from, struct err *err)
{
    size_t bad = dtype_first_nonfinite(g->from, src->data + from * g->from_bytes, g->cols);
    return bad == g->cols ? 0
                          : err_set(err, ERR_INPUT, "tensor '%s': NaN or infinity at element %" PRIu64 "; the model cannot be protected",
                                    src->name, from * g->cols + bad);
}

/* `wide` is in permuted order already. */
static void quantise_row(const struct grid *g, uint64_t from, int8_t *dst, const float *wide)
{
    if (!g->conv1d)
        quant_apply(dst, g->scale[from], wide, g->cols);
    for (size_t j = 0; g->conv1d && j < g->cols; j++)
        quant_apply(&dst[j], g->scale[g->col_order == NULL ? j : g->col_order->to[j]], &wide[j], 1);
}

/* One row of the result. `row` and `wide` hold one row each and serve conversion only. */
static int put_row(const struct grid *g, const struct tensor *src, uint64_t i, void *dst, void *row, float *wide,
                   struct err *err)
{
    uint64_t from = g->row_order == NULL ? i : g->row_order->to[i];
    const uint8_t *plain = src->data + from * g->from_bytes;
    if (check_finite(g, src, from, err) != 0)
        return -1;
    if (g->from == g->to) {
        gather_row_bytes(dst, plain, g->cols, dtype_size(g->from), g->col_order);
        return 0;
    }
    gather_row_bytes(row, plain, g->cols, dtype_size(g->from), g->col_order);
    dtype_to_f32(g->from, row, wide, g->cols);
    if (g->to == DTYPE_I8) {
        quantise_row(g, from, dst, wide);
        return 0;
    }
    dtype_from_f32(g->to, wide, dst, g->cols);
    if (dtype_first_nonfinite(g->to, dst, g->cols) < g->cols)
        return err_set(err, ERR_INPUT, "tensor '%s': a value in row %" PRIu64 " is too large for %s; keep the stored dtype",
                       src->name, from, dtype_name(g->to));
    return 0;
}

int transform_scales(float **out, const struct transform *t, struct progress *progress, uint64_t *done, struct err *err)
{
    struct grid g;
    grid_of(&g, t);
    const size_t outputs = t->conv1d ? g.cols : g.rows;
    uint64_t held = 0;
    int rc = -1;
    float *scale = calloc(outputs, sizeof *scale), *wide = calloc(g.cols, sizeof *wide);
    if (scale == NULL || wide == NULL) {
        err_oom(err, (outputs + g.cols) * sizeof *scale);
        goto done;
    }
    for (uint64_t i = 0; i < g.rows; i++) {
        if (check_finite(&g, t->src, i, err) != 0)
            goto done;
        dtype_to_f32(g.from, t->src->data + i * g.from_bytes, wide, g.cols);
        if (!t->conv1d)
            scale[i] = quant_scale(wide, g.cols);
        for (size_t j = 0; t->conv1d && j < g.cols; j++)
            scale[j] = fmaxf(scale[j], fabsf(wide[j]));
        held += g.from_bytes;
        *done += g.from_bytes;
        if (held >= WINDOW) {
            progress_at(progress, *done);
            safetensors_release(t->src);
            held = 0;
        }
    }
    for (size_t j = 0; t->conv1d && j < g.cols; j++)
        scale[j] = quant_scale(&scale[j], 1); /* of the largest alone: the same as of all */
    *out = scale;
    scale = NULL;
    rc = 0;
done:
    progress_at(progress, *done);
    safetensors_release(t->src);
    free(scale);
    free(wide);
    return rc;
}

int transform_write(const struct transform *t, struct safetensors_out *dst, struct progress *progress, uint64_t *done,
                    struct err *err)
{
    struct grid g;
    grid_of(&g, t);
    const uint64_t per_block = g.to_bytes >= BLOCK || g.to_bytes == 0 ? 1 : BLOCK / g.to_bytes;
    const bool convert = g.from != g.to;
    uint64_t held = 0;
    size_t block_bytes, wide_bytes;
    if (size_mul(per_block, g.to_bytes, &block_bytes) || size_mul(g.cols, sizeof(float), &wide_bytes))
        return err_set(err, ERR_INPUT, "tensor '%s': its size overflows", t->src->name);

    int rc = -1;
    uint8_t *block = malloc(block_bytes + 1), *row = convert ? malloc(g.from_bytes + 1) : NULL;
    float *wide = convert ? malloc(wide_bytes + 1) : NULL;
    if (block == NULL || (convert && (row == NULL || wide == NULL))) {
        err_oom(err, block_bytes + (convert ? g.from_bytes + wide_bytes : 0));
        goto done;
    }
    will_need(t->src);
    for (uint64_t i = 0; i < g.rows;) {
        uint64_t n = g.rows - i < per_block ? g.rows - i : per_block;
        for (uint64_t r = 0; r < n; r++)
            if (put_row(&g, t->src, i + r, block + r * g.to_bytes, row, wide, err) != 0)
                goto done;
        if (safetensors_out_write(dst, block, n * g.to_bytes, err) != 0)
            goto done;
        i += n;
        held += n * g.from_bytes;
        *done += n * g.from_bytes;
        progress_at(progress, *done);
        if (held >= WINDOW) {
            safetensors_release(t->src);
            held = 0;
        }
    }
    rc = 0;
done:
    safetensors_release(t->src);
    free(block);
    free(row);
    free(wide);
    return rc;
}
