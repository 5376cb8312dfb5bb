/* Two product kernels beside each other. */
#include <math.h>
#include <stdlib.h>

#include "engine/floats.h"
#include "engine/kernels/products.h"

void product_pack(const struct product *product, void *packed, const float *x, int rows, int in, int groups)
{
    for (int r = 0; r < rows; r += PRODUCT_ROWS) {
        unsigned char *block = (unsigned char *)packed + (size_t)(r / PRODUCT_ROWS) * product->block_bytes(groups);
        int count = rows - r < PRODUCT_ROWS ? rows - r : PRODUCT_ROWS, first;
        for (int i = 0; i < product_parts(product, count); i++) {
            int n = product_part(product, count, i, &first);
            product->pack(block, x + (size_t)(r + first) * (size_t)in, count, first, n, in, groups);
        }
    }
}

static int run(const struct product *product, float *y, const float *x, const struct weights *w, int rows)
{
    struct err err;
    float *work;
    size_t block = product->block_bytes(w->groups), blocks = ((size_t)rows + PRODUCT_ROWS - 1) / PRODUCT_ROWS;
    if (floats_alloc(&work, blocks * block / sizeof *work + 1, 1, &err) != 0)
        return -1;
    product_pack(product, work, x, rows, w->in, w->groups);
    product->multiply(y, work, w, NULL, rows, 0, (w->out + WEIGHT_PANEL - 1) / WEIGHT_PANEL);
    free(work);
    return 0;
}

double product_agree(const struct product *a, const struct product *b, enum weight_format format, const float *x, const float *w,
                     int rows, int out, int in)
{
    struct err err;
    struct weights packed = {0};
    float *ya = calloc((size_t)rows * (size_t)out, sizeof *ya), *yb = calloc((size_t)rows * (size_t)out, sizeof *yb);
    double most = INFINITY;
    if (ya == NULL || yb == NULL ||
        weights_new(&packed, format, format == WEIGHT_INT8 ? COMPUTE_INT8 : COMPUTE_BF16, out, in, &err) != 0)
        goto done;
    weights_put_rows(&packed, 0, out, w);
    if (run(a, ya, x, &packed, rows) != 0 || run(b, yb, x, &packed, rows) != 0)
        goto done;
    most = 0;
    for (size_t i = 0; i < (size_t)rows * (size_t)out; i++) {
        double d = fabs((double)ya[i] - (double)yb[i]);
        most = d > most || isnan(d) ? isnan(d) ? INFINITY : d : most;
    }
done:
    weights_free(&packed);
    free(ya);
    free(yb);
    return most;
}
