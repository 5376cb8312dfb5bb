/* Storing keys and values; the pass over them is in impl/attention.h, compiled per instruction set. */
#include "engine/kernels/attention.h"

#include <assert.h>
#include <stdint.h>

#include "engine/kernels/table.h"
#include "model/dtype.h"
#include "model/quant.h"

static void store_f32(float *block, int slot, const float *k, const float *v, int K)
{
    float *keys = block + (size_t)(slot / KV_GROUP) * (size_t)K * KV_GROUP + slot % KV_GROUP;
    float *values = block + ((size_t)KV_PAGE + (size_t)slot) * (size_t)K;
    for (int d = 0; d < K; d++)
        keys[(size_t)d * KV_GROUP] = k[d];
    for (int d = 0; d < K; d++)
        values[d] = v[d];
}

static void store_bf16(uint16_t *block, int slot, const float *k, const float *v, int K)
{
    uint16_t *keys = block + (size_t)(slot / KV_GROUP) * (size_t)K * KV_GROUP + slot % KV_GROUP;
    for (int d = 0; d < K; d++)
        dtype_from_f32(DTYPE_BF16, k + d, keys + (size_t)d * KV_GROUP, 1);
    dtype_from_f32(DTYPE_BF16, v, block + ((size_t)KV_PAGE + (size_t)slot) * (size_t)K, (size_t)K);
}

static void store_int8(int8_t *block, int slot, const float *k, const float *v, int K)
{
    int8_t *keys = block + (size_t)(slot / KV_GROUP) * (size_t)K * KV_GROUP + slot % KV_GROUP;
    int8_t *values = block + ((size_t)KV_PAGE + (size_t)slot) * (size_t)K; /* holds the key for a moment */
    float *scales = (float *)(void *)(block + 2 * (size_t)KV_PAGE * (size_t)K);
    quant_row(values, &scales[slot], k, (size_t)K);
    for (int d = 0; d < K; d++)
        keys[(size_t)d * KV_GROUP] = values[d];
    quant_row(values, &scales[KV_PAGE + slot], v, (size_t)K);
}

void attention_store(const struct attention *a, struct kvpage *const *pages, size_t offset, int at, const float *k, const float *v,
                     size_t stride, int n)
{
    /* Head by head: keys of several tokens lie in the same cache lines. */
    for (int g = 0; g < a->G; g++, k += a->K, v += a->K)
        for (int t = 0; t < n; t++) {
            unsigned char *block = pages[(at + t) / KV_PAGE]->data + offset + (size_t)g * a->block_bytes;
            const float *kg = k + (size_t)t * stride, *vg = v + (size_t)t * stride;
            int slot = (at + t) % KV_PAGE;
            switch (a->dtype) {
            case KV_F32:
                store_f32((float *)(void *)block, slot, kg, vg, a->K);
                break;
            case KV_BF16:
                store_bf16((uint16_t *)(void *)block, slot, kg, vg, a->K);
                break;
            case KV_INT8:
                store_int8((int8_t *)(void *)block, slot, kg, vg, a->K);
                break;
            }
        }
}

void attention_head(const struct attention *a, int g, float *y, const float *q, size_t stride, struct kvpage *const *pages,
                    size_t offset, int S, int T, int from, int to)
{
    assert(a->G > 0 && a->H % a->G == 0 && a->K > 0 && g >= 0 && g < a->G && S >= 0 && T > 0);
    assert(from >= 0 && from <= to && to <= T * (a->H / a->G));
    kernels_get()->attention_head(a, g, y, q, stride, pages, offset, S, T, from, to);
}
