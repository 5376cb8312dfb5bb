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

struct pass {
    const struct product *product;
    const struct weights *w;
    float *y;
    const float *x, *bias;
    unsigned char *packed;
    size_t block_bytes;
    int rows, panels, task_panels;
    int parts; /* of a full block */
};

/* A task packs one sub-block, so that the rows of a batch are shared out too. */
static void pack_task(void *arg, int i)
{
    const struct pass *p = arg;
    int block = i / p->parts, above = block * PRODUCT_ROWS, first;
    int rows = p->rows - above < PRODUCT_ROWS ? p->rows - above : PRODUCT_ROWS, n = product_part(p->product, rows, i % p->parts, &first);
    p->product->pack(p->packed + (size_t)block * p->block_bytes, p->x + (size_t)(above + first) * (size_t)p->w->in, rows, first, n,
                     p->w->in, p->w->groups);
}

static void pack(struct pass *p)
{
    int full = p->rows / PRODUCT_ROWS, rest = p->rows % PRODUCT_ROWS;
    p->block_bytes = p->product->block_bytes(p->w->groups);
    p->parts = product_parts(p->product, PRODUCT_ROWS);
    threads_for(full * p->parts + (rest == 0 ? 0 : product_parts(p->product, rest)), pack_task, p);
}

static void multiply_task(void *arg, int i)
{
    const struct pass *p = arg;
    int first = i * p->task_panels, last = first + p->task_panels < p->panels ? first + p->task_panels : p->panels;
    p->product->multiply(p->y, p->packed, p->w, p->bias, p->rows, first, last);
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

/* A few tasks per thread, so that a thread that the system holds up does not hold up the rest; with many rows no smaller ones than
 * kernels take at once, of which there are enough. */
static int task_panels(int rows, int panels)
{
    int threads = threads_count(), share = (panels + threads - 1) / threads;
    if (rows > PRODUCT_ROWS && share >= TASK_PANELS)
        return PRODUCT_TOGETHER;
    return share < TASK_PANELS ? share : share < 4 * TASK_PANELS ? (share + 1) / 2 : (share + 3) / 4;
}

void matmul(float *y, const float *x, const struct weights *w, const float *bias, int rows, void *work)
{
    assert(rows > 0 && w->data != NULL);
    struct pass p = {.product = product_of(w->format, w->compute), .w = w, .y = y, .x = x, .bias = bias, .packed = work, .rows = rows};
    p.panels = (w->out + WEIGHT_PANEL - 1) / WEIGHT_PANEL;
    if (w->format == WEIGHT_ROWS)
        p.packed = (unsigned char *)(uintptr_t)x; /* BLAS packs for itself */
    else
        pack(&p);
    p.task_panels = task_panels(rows, p.panels);
    threads_for((p.panels + p.task_panels - 1) / p.task_panels, multiply_task, &p);
}
