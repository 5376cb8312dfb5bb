#include "engine/kernels/matmul.h"

#include <assert.h>

#include "engine/kernels/table.h"
#include "base/threads.h"

/* Panels that one task takes when there are plenty: few enough to share out evenly, enough to stream. */
#define TASK_PANELS 8

static const struct product *product_of(enum weight_format format, enum compute compute)
{
    const struct kernels *k = kernels_get();
    switch (format) {
    case WEIGHT_ROWS:
    case WEIGHT_F32:
        return &k->f32;
    case WEIGHT_BF16:
        return compute == COMPUTE_BF16 ? &k->bf16 : &k->bf16_by_f32;
    case WEIGHT_INT8:
        return &k->int8;
    }
    return NULL;
}

static int blocks_of(int rows)
{
    return (rows + PRODUCT_ROWS - 1) / PRODUCT_ROWS;
}

size_t matmul_work_bytes(enum weight_format format, enum compute compute, int rows, int in)
{
    if (format == WEIGHT_ROWS)
        return 0;
    int per = format == WEIGHT_INT8 ? 4 : format == WEIGHT_BF16 ? 2 : 1;
    int groups = (in + per - 1) / per;
    groups = per == 1 ? groups : (groups + 15) / 16 * 16;
    return (size_t)blocks_of(rows) * product_of(format, compute)->block_bytes(groups);
}

/* ------------------------------------------------------------------ packing rows */

int matmul_parts(const struct weights *w, int rows)
{
    const struct product *product = product_of(w->format, w->compute);
    const int rest = rows % PRODUCT_ROWS;
    return rows / PRODUCT_ROWS * product_parts(product, PRODUCT_ROWS) + (rest == 0 ? 0 : product_parts(product, rest));
}

/* Block of a part, rows of the block, and the part's rows in it. */
static int place_of(const struct product *product, int rows, int part, int *block, int *inside, int *first)
{
    const int full = product_parts(product, PRODUCT_ROWS);
    *block = part / full;
    *inside = rows - *block * PRODUCT_ROWS < PRODUCT_ROWS ? rows - *block * PRODUCT_ROWS : PRODUCT_ROWS;
    return product_part(product, *inside, part % full, first);
}

int matmul_part(const struct weights *w, int rows, int part, int *first)
{
    int block, inside, n = place_of(product_of(w->format, w->compute), rows, part, &block, &inside, first);
    *first += block * PRODUCT_ROWS;
    return n;
}

void matmul_pack(const struct weights *w, const float *x, int rows, int part, void *work)
{
    const struct product *product = product_of(w->format, w->compute);
    int block, inside, first, n = place_of(product, rows, part, &block, &inside, &first);
    assert(w->data != NULL && part >= 0 && part < matmul_parts(w, rows));
    if (w->format != WEIGHT_ROWS) /* BLAS packs for itself */
        product->pack((unsigned char *)work + (size_t)block * product->block_bytes(w->groups),
                      x + (size_t)(block * PRODUCT_ROWS + first) * (size_t)w->in, inside, first, n, w->in, w->groups);
}

/* ------------------------------------------------------------------ multiplying */

struct pass {
    const struct product *product;
    const struct weights *w;
    float *y;
    const float *x, *bias;
    const void *packed;
    void *work;
    int rows, panels, task_panels;
};

static void multiply_task(void *arg, int i)
{
    const struct pass *p = arg;
    int first = i * p->task_panels, last = first + p->task_panels < p->panels ? first + p->task_panels : p->panels;
    p->product->multiply(p->y, p->packed, p->w, p->bias, p->rows, first, last);
}

/* A few tasks per thread, so that a thread that the system holds up does not hold up the rest; with many rows no smaller ones than
 * kernels take at once, of which there are enough. */
static int task_panels(int rows, int panels)
{
    int threads = threads_count(), share = (panels + threads - 1) / threads;
    if (rows > PRODUCT_ROWS && share >= TASK_PANELS)
        return PRODUCT_TOGETHER;
    return share < TASK_PANELS ? share : share < 4 * TASK_PANELS ? (share + 1) / 2 : (share + 3) / 4;
}

void matmul_multiply(float *y, const float *x, const struct weights *w, const float *bias, int rows, const void *work)
{
    assert(rows > 0 && w->data != NULL);
    struct pass p = {.product = product_of(w->format, w->compute), .w = w, .y = y, .bias = bias, .rows = rows};
    p.packed = w->format == WEIGHT_ROWS ? x : work;
    p.panels = (w->out + WEIGHT_PANEL - 1) / WEIGHT_PANEL;
    p.task_panels = task_panels(rows, p.panels);
    threads_for((p.panels + p.task_panels - 1) / p.task_panels, multiply_task, &p);
}

static void pack_task(void *arg, int part)
{
    const struct pass *p = arg;
    matmul_pack(p->w, p->x, p->rows, part, p->work);
}

void matmul(float *y, const float *x, const struct weights *w, const float *bias, int rows, void *work)
{
    struct pass p = {.w = w, .x = x, .rows = rows, .work = work};
    threads_for(matmul_parts(w, rows), pack_task, &p);
    matmul_multiply(y, x, w, bias, rows, work);
}
