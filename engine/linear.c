/* Weights from a checkpoint: read panel by panel by all threads, stacked, Conv1D turned round, packed for the kernels. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/floats.h"
#include "engine/kernels/matmul.h"
#include "engine/net.h"
#include "base/threads.h"
#include "model/arch.h"
#include "model/quant.h"

/* Bytes of a tensor that are read and packed together: what was read is still in the cache when it is packed. */
#define SLAB ((uint64_t)16 << 20)

/* One tensor on its way into outputs at..at+rows-1 of a matrix; a task takes WEIGHT_PANEL of them. */
struct reading {
    struct weights *w;
    const struct tensor *tensor; /* a view of the rows that are being read */
    const float *scale;          /* [rows], of an I8 tensor, else NULL */
    bool conv1d;
    int heads, width;     /* of a tensor fused head by head; else 0 */
    const float *columns; /* a float Conv1D tensor [in,rows], read already; NULL: rows are read as they are needed */
    int at, rows;
    int first; /* panel of the first task */
    pthread_mutex_t lock;
    int failed_task; /* the first one in order, so that the error does not depend on the threads */
    struct err err;  /* its error */
};

static void fail(struct reading *r, int task, const struct err *err)
{
    pthread_mutex_lock(&r->lock);
    if (task < r->failed_task) {
        r->failed_task = task;
        r->err = *err;
    }
    pthread_mutex_unlock(&r->lock);
}

/* Row of the tensor that output o of the matrix comes from: a tensor fused head by head is taken apart to queries, keys, values.
 */
static uint64_t source(const struct reading *r, int o)
{
    if (r->heads == 0)
        return (uint64_t)o;
    int part = o / (r->heads * r->width), head = o / r->width % r->heads;
    return (uint64_t)((3 * head + part) * r->width + o % r->width);
}

/* int8 rows go in as they are stored; Conv1D ones are turned round first. */
static int put_int8(struct reading *r, int first, int n, struct err *err)
{
    float scale[WEIGHT_PANEL];
    size_t in = (size_t)r->w->in;
    int8_t *moved = NULL;
    for (int o = 0; o < n; o++)
        scale[o] = r->scale[source(r, first + o)];
    if ((r->conv1d || r->heads != 0) && (moved = malloc((size_t)n * in)) == NULL)
        return err_oom(err, (size_t)n * in);
    for (size_t i = 0; r->conv1d && i < in; i++)
        for (int o = 0; o < n; o++)
            moved[(size_t)o * in + i] = checkpoint_rows_i8(r->tensor, i)[first + o];
    for (int o = 0; r->heads != 0 && o < n; o++)
        memcpy(moved + (size_t)o * in, checkpoint_rows_i8(r->tensor, source(r, first + o)), in);
    weights_put_int8(r->w, r->at + first, n, moved != NULL ? moved : checkpoint_rows_i8(r->tensor, (uint64_t)first), scale);
    free(moved);
    return 0;
}

/* Rows first.. where they are, if they are stored as floats that can be read there. */
static const float *stored_floats(const struct reading *r, int first)
{
    const struct tensor *t = r->tensor;
    if (r->columns != NULL || r->heads != 0 || t->dtype != DTYPE_F32 || (uintptr_t)t->data % _Alignof(float) != 0)
        return NULL;
    return (const float *)(const void *)t->data + (size_t)first * (size_t)r->w->in;
}

static void read_panel(void *arg, int number)
{
    struct reading *r = arg;
    struct err err;
    const int task = r->first + number;
    int first = task * WEIGHT_PANEL, n = r->rows - first < WEIGHT_PANEL ? r->rows - first : WEIGHT_PANEL;
    if (r->scale != NULL) {
        if (put_int8(r, first, n, &err) != 0)
            fail(r, task, &err);
        return;
    }
    size_t in = (size_t)r->w->in;
    float *rows;
    const float *stored = stored_floats(r, first);
    if (stored != NULL && dtype_first_nonfinite(DTYPE_F32, stored, (size_t)n * in) == (size_t)n * in) {
        weights_put_rows(r->w, r->at + first, n, stored);
        return;
    }
    if (floats_alloc(&rows, (size_t)n, in, &err) != 0) {
        fail(r, task, &err);
        return;
    }
    if (r->columns != NULL)
        for (size_t i = 0; i < in; i++)
            for (int o = 0; o < n; o++)
                rows[(size_t)o * in + i] = r->columns[i * (size_t)r->rows + (size_t)(first + o)];
    int rc = 0;
    for (int o = 0; r->columns == NULL && rc == 0 && o < n; o++)
        rc = checkpoint_rows_f32(r->tensor, source(r, first + o), 1, rows + (size_t)o * in, &err);
    if (rc != 0)
        fail(r, task, &err);
    else
        weights_put_rows(r->w, r->at + first, n, rows);
    free(rows);
}

/* Panels of rows, slab by slab. Rows that do not become neighbours, or columns, are taken all at once. */
static int read_rows(struct reading *r, const struct checkpoint *cp, const struct tensor *t, struct err *err)
{
    const int panels = (r->rows + WEIGHT_PANEL - 1) / WEIGHT_PANEL;
    const uint64_t slab = SLAB / (t->bytes / (uint64_t)panels + 1) + 1;
    const bool whole = r->conv1d || r->heads != 0 || slab > (uint64_t)panels;
    for (int panel = 0, n; panel < panels && r->failed_task == INT32_MAX; panel += n) {
        struct tensor view;
        n = whole || slab > (uint64_t)(panels - panel) ? panels - panel : (int)slab;
        uint64_t row = (uint64_t)panel * WEIGHT_PANEL, end = panel + n == panels ? (uint64_t)r->rows : row + (uint64_t)n * WEIGHT_PANEL;
        if (whole)
            end = t->dim[0];
        if (r->columns == NULL && checkpoint_view(&view, cp, t, row, end - row, err) != 0)
            return -1;
        r->tensor = &view;
        r->first = panel;
        threads_for(n, read_panel, r);
    }
    if (r->failed_task == INT32_MAX)
        return 0;
    *err = r->err;
    return -1;
}

/* Values of a tensor that is small, or of some rows of one. */
static int read_values(float *to, const struct checkpoint *cp, const struct tensor *t, uint64_t row, uint64_t rows, struct err *err)
{
    struct tensor view;
    return checkpoint_view(&view, cp, t, row, rows, err) != 0 ? -1 : checkpoint_rows_f32(&view, row, rows, to, err);
}

/* A [out,in] tensor, or a Conv1D one [in,out], to outputs at... of w. */
static int read_matrix(struct weights *w, int at, const struct checkpoint *cp, const struct tensor *t,
                       const struct arch_tensor *row, struct err *err)
{
    const bool conv1d = row->conv1d;
    const struct tensor *scale = checkpoint_scale(cp, t);
    struct reading r = {.w = w, .conv1d = conv1d, .at = at, .rows = (int)t->dim[conv1d ? 1 : 0], .failed_task = INT32_MAX};
    float *values = NULL; /* of the scales, or of a float Conv1D tensor */
    if (row->out == AX_QKV_HEADS) {
        r.heads = checkpoint_config(cp)->H;
        r.width = checkpoint_config(cp)->K;
    }
    if (scale != NULL && w->format != WEIGHT_INT8)
        return err_set(err, ERR_INPUT, "%s: tensor '%s' is I8, which products in %s cannot read; they need compute int8", t->file,
                       t->name, compute_name(w->compute));
    if (scale != NULL || conv1d) {
        const struct tensor *from = scale != NULL ? scale : t;
        if (floats_alloc(&values, (size_t)from->dim[0], (size_t)from->dim[1], err) != 0)
            return -1;
        if (read_values(values, cp, from, 0, from->dim[0], err) != 0) {
            free(values);
            return -1;
        }
        *(scale != NULL ? &r.scale : &r.columns) = values;
    }
    (void)pthread_mutex_init(&r.lock, NULL);
    int rc = read_rows(&r, cp, t, err);
    (void)pthread_mutex_destroy(&r.lock);
    free(values);
    return rc;
}

static int read_vector(float **out, const struct checkpoint *cp, enum role role, int layer, struct err *err)
{
    const struct tensor *t = checkpoint_tensor(cp, role, layer);
    float *v;
    if (floats_alloc(&v, (size_t)t->dim[0], 1, err) != 0)
        return -1;
    if (read_values(v, cp, t, 0, t->dim[0], err) != 0) {
        free(v);
        return -1;
    }
    *out = v;
    return 0;
}

size_t linear_forecast(const struct checkpoint *cp, enum compute compute, const enum role *roles, const enum role *biases, int count,
                       int layer)
{
    const struct config *c = checkpoint_config(cp);
    size_t rows = 0, in = 0;
    int halves = 1;
    for (int i = 0; i < count; i++) {
        const struct arch_tensor *row = arch_tensor(c, roles[i]);
        const struct tensor *t = checkpoint_tensor(cp, roles[i], layer);
        rows += (size_t)arch_axis_size(c, row->out);
        in = (size_t)arch_axis_size(c, row->in);
        halves = halves && t != NULL && t->dtype == DTYPE_BF16;
    }
    const bool biased = biases != NULL && checkpoint_tensor(cp, biases[0], layer) != NULL;
    return weights_bytes(weights_format(compute, halves), rows, in) + (biased ? rows * sizeof(float) : 0);
}

int linear_load(struct linear *out, const struct checkpoint *cp, enum compute compute, const enum role *roles, const enum role *biases,
                int count, int layer, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    struct linear l = {0};
    int rows = 0, in = 0, halves = 1;
    for (int i = 0; i < count; i++) {
        const struct arch_tensor *row = arch_tensor(c, roles[i]);
        rows += (int)arch_axis_size(c, row->out);
        in = (int)arch_axis_size(c, row->in);
        halves = halves && checkpoint_tensor(cp, roles[i], layer)->dtype == DTYPE_BF16;
    }
    if (compute == COMPUTE_INT8 && in > QUANT_TERMS)
        return err_set(err, ERR_INPUT, "%s: the %s has %d inputs; int8 products take at most %d", checkpoint_dir(cp),
                       arch_role_name(roles[0]), in, QUANT_TERMS);
    bool biased = biases != NULL && checkpoint_tensor(cp, biases[0], layer) != NULL;
    if (weights_new(&l.w, weights_format(compute, halves), compute, rows, in, err) != 0)
        goto fail;
    if (biased && floats_alloc(&l.b, (size_t)rows, 1, err) != 0)
        goto fail;

    int at = 0;
    for (int i = 0; i < count; i++) {
        const struct arch_tensor *row = arch_tensor(c, roles[i]);
        if (read_matrix(&l.w, at, cp, checkpoint_tensor(cp, roles[i], layer), row, err) != 0)
            goto fail;
        if (biased) {
            const struct reading r = {.heads = row->out == AX_QKV_HEADS ? c->H : 0, .width = c->K};
            const struct tensor *b = checkpoint_tensor(cp, biases[i], layer);
            for (int o = 0; o < (int)b->dim[0]; o++)
                if (read_values(l.b + at + o, cp, b, source(&r, o), 1, err) != 0)
                    goto fail;
        }
        at += (int)arch_axis_size(c, row->out);
    }
    *out = l;
    return 0;
fail:
    linear_free(&l);
    return -1;
}

void linear_free(struct linear *l)
{
    weights_free(&l->w);
    free(l->b);
    *l = (struct linear){0};
}

void linear_apply(const struct linear *l, float *y, const float *x, int rows, void *work)
{
    matmul(y, x, &l->w, l->b, rows, work);
}

size_t linear_work_bytes(const struct linear *l, int rows)
{
    return matmul_work_bytes(l->w.format, l->w.compute, rows, l->w.in);
}

int norm_load(struct norm *out, const struct checkpoint *cp, enum role w, enum role b, int layer, struct err *err)
{
    struct norm n = {0};
    if (read_vector(&n.w, cp, w, layer, err) != 0)
        return -1;
    if (b != ROLE_COUNT && checkpoint_config(cp)->norm == NORM_LAYER && read_vector(&n.b, cp, b, layer, err) != 0) {
        norm_free(&n);
        return -1;
    }
    size_t width = (size_t)checkpoint_tensor(cp, w, layer)->dim[0];
    for (size_t i = 0; checkpoint_config(cp)->gain_plus_one && i < width; i++)
        n.w[i] += 1.0f;
    *out = n;
    return 0;
}

void norm_free(struct norm *n)
{
    free(n->w);
    free(n->b);
    *n = (struct norm){0};
}
