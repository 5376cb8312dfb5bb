#include "tests/support/kernel.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "engine/floats.h"
#include "engine/kernels/matmul.h"
#include "engine/kernels/products.h"

static struct err err;

void kernel_product(const struct product *product, enum weight_format format, enum compute compute, float *y, const float *x,
                    const float *w, const float *b, int rows, int out, int in)
{
    struct weights packed;
    float *work;
    cr_assert_eq(weights_new(&packed, format, compute, out, in, &err), 0, "%s", err.text);
    weights_put_rows(&packed, 0, out, w);
    if (product == NULL) {
        cr_assert_eq(floats_alloc(&work, matmul_work_bytes(format, compute, rows, in) / sizeof *work + 1, 1, &err), 0);
        matmul(y, x, &packed, b, rows, work);
    } else {
        size_t block = product->block_bytes(packed.groups), blocks = ((size_t)rows + PRODUCT_ROWS - 1) / PRODUCT_ROWS;
        cr_assert_eq(floats_alloc(&work, blocks * block / sizeof *work + 1, 1, &err), 0);
        product_pack(product, work, x, rows, in, packed.groups);
        product->multiply(y, work, &packed, b, rows, 0, (out + WEIGHT_PANEL - 1) / WEIGHT_PANEL);
    }
    free(work);
    weights_free(&packed);
}

struct linear kernel_linear(const float *w, const float *b, int out, int in)
{
    struct linear l = {0};
    cr_assert_eq(weights_new(&l.w, weights_format(COMPUTE_F32, 0), COMPUTE_F32, out, in, &err), 0, "%s", err.text);
    weights_put_rows(&l.w, 0, out, w);
    cr_assert(b == NULL || floats_alloc(&l.b, (size_t)out, 1, &err) == 0);
    for (int i = 0; b != NULL && i < out; i++)
        l.b[i] = b[i];
    return l;
}

float *kernel_element(const struct weights *w, int o, int i)
{
    float *data = w->data;
    cr_assert(w->format == WEIGHT_F32 || w->format == WEIGHT_ROWS);
    if (w->format == WEIGHT_ROWS)
        return data + (size_t)o * (size_t)w->in + (size_t)i;
    return data + ((size_t)(o / WEIGHT_PANEL) * (size_t)w->groups + (size_t)i) * WEIGHT_PANEL + (size_t)(o % WEIGHT_PANEL);
}

void kernel_matmul(float *y, const float *x, const float *w, const float *b, int rows, int out, int in)
{
    kernel_product(NULL, weights_format(COMPUTE_F32, 0), COMPUTE_F32, y, x, w, b, rows, out, in);
}

void kernel_attend(const struct attention *a, float *y, const float *q, const float *k, const float *v, int S, int T, int step)
{
    const struct config c = {.L = 2, .H = a->H, .G = a->G, .K = a->K};
    struct attention shape = *a;
    struct kvcache *kv;
    size_t keys = (size_t)(a->G * a->K);
    int queries = T * (a->H / a->G);
    cr_assert_eq(kvcache_new_alone(&kv, &c, a->dtype, S + T, &err), 0, "%s", err.text);
    shape.block_bytes = kvpool_block_bytes(kv->pool);
    size_t offset = shape.block_bytes * (size_t)a->G; /* the second layer's */
    attention_store(&shape, kv->pages, offset, 0, k, v, keys, S + T);
    for (int g = 0; g < a->G; g++)
        for (int from = 0; from < queries; from += step)
            attention_head(&shape, g, y, q, (size_t)(a->H * a->K), kv->pages, offset, S, T, from,
                           from + step < queries ? from + step : queries);
    kvcache_free(kv);
}
