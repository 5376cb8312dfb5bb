/* float32 products by OpenBLAS, where no level of ours fits the machine; the one door to it. */
#include <cblas.h>
#include <pthread.h>

#include "engine/kernels/products.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void one_thread(void)
{
    openblas_set_num_threads(1); /* our threads share the work already */
}

static size_t blas_block_bytes(int groups)
{
    (void)groups;
    return 0;
}

static void blas_pack(void *block, const float *x, int rows, int first, int n, int in, int groups)
{
    (void)block;
    (void)x;
    (void)rows;
    (void)first;
    (void)n;
    (void)in;
    (void)groups;
}

/* Up to here one pass over the weights per row is faster than sgemm's single one (measured, 5632x2048, OpenBLAS 0.3.21). */
#define GEMV_ROWS 3

/* packed: the rows x [rows,in] as they are */
static void blas_multiply(float *y, const void *packed, const struct weights *w, const float *bias, int rows, int first, int last)
{
    const float *x = packed;
    (void)pthread_once(&once, one_thread);
    int from = first * WEIGHT_PANEL, to = last * WEIGHT_PANEL < w->out ? last * WEIGHT_PANEL : w->out, n = to - from;
    const float *part = (const float *)w->data + (size_t)from * (size_t)w->in;
    for (int r = 0; r < rows; r++)
        for (int o = from; o < to; o++)
            y[(size_t)r * (size_t)w->out + (size_t)o] = bias == NULL ? 0.0f : bias[o];
    if (rows > GEMV_ROWS) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, n, w->in, 1.0f, x, w->in, part, w->in, 1.0f, y + from, w->out);
        return;
    }
    for (int r = 0; r < rows; r++)
        cblas_sgemv(CblasRowMajor, CblasNoTrans, n, w->in, 1.0f, part, w->in, x + (size_t)r * (size_t)w->in, 1, 1.0f,
                    y + (size_t)r * (size_t)w->out + from, 1);
}

const struct product product_blas = {PRODUCT_ROWS, blas_block_bytes, blas_pack, blas_multiply};
