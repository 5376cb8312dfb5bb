/* engine/kernels/impl/product_int8.h - int8 products over packed panels for instruction sets without an int8 dot product.
 *
 * Data flow   included by table.c. x -> quantised rows -> exact integer sums -> float.
 * Shapes      a packed block: scales [PRODUCT_ROWS], then each row's groups of four int8.
 * Errors      none.
 * Memory      none.
 * Secrets     none.
 *
 * Sums are integers, so neither order nor instruction set changes a bit: y = fma((float)sum, row scale * output scale, bias).
 */
#ifndef STIP_ENGINE_KERNELS_IMPL_PRODUCT_INT8_H
#define STIP_ENGINE_KERNELS_IMPL_PRODUCT_INT8_H

#include <math.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "engine/kernels/impl/simd.h"
#include "engine/kernels/table.h"
#include "model/quant.h"

#define INT8_ROWS 4 /* rows that share the widening of the weights */
#define INT8_VECTORS (WEIGHT_PANEL / ISA_LANES)

static size_t int8_block_bytes(int groups)
{
    return (size_t)PRODUCT_ROWS * (sizeof(float) + (size_t)groups * 4);
}

static void int8_pack(void *block, const float *x, int rows, int first, int n, int in, int groups)
{
    float *scale = block;
    int8_t *q = (int8_t *)(scale + PRODUCT_ROWS) + (size_t)first * 4 * (size_t)groups;
    (void)rows;
    for (int r = 0; r < n; r++, q += 4 * groups) {
        quant_row(q, &scale[first + r], x + (size_t)r * (size_t)in, (size_t)in);
        memset(q + in, 0, (size_t)(4 * groups - in));
    }
}

/* Each 4-byte lane holds four int8: the even ones and the odd ones as two pairs of int16. */
INLINE vi multiply_pairs(vi weights, int32_t activations)
{
#if defined(__AVX512BW__)
    return (vi)_mm512_madd_epi16((__m512i)weights, _mm512_set1_epi32(activations));
#elif defined(__AVX2__)
    return (vi)_mm256_madd_epi16((__m256i)weights, _mm256_set1_epi32(activations));
#else
    return ((weights << 16) >> 16) * (int32_t)(int16_t)activations + (weights >> 16) * (activations >> 16);
#endif
}

/* The even, or odd, bytes of each lane as two int16. */
INLINE vi even_bytes(vi v)
{
    return ((v << 8) >> 24 << 16) | (((v << 24) >> 24) & 0xffff);
}

INLINE vi odd_bytes(vi v)
{
    return (v >> 24 << 16) | (((v << 16) >> 24) & 0xffff);
}

INLINE void int8_rows(float *y, size_t stride, const float *bias, const int8_t *q, const float *row_scale, const int8_t *panel,
                      const float *scale, int columns, int rows, int groups)
{
    vi sum[INT8_ROWS][INT8_VECTORS] = {{{0}}};
    for (int g = 0; g < groups; g++, panel += 4 * WEIGHT_PANEL, q += 4) {
        int32_t even[INT8_ROWS], odd[INT8_ROWS];
        for (int r = 0; r < rows; r++) {
            const int8_t *a = q + (size_t)r * 4 * (size_t)groups;
            even[r] = (int32_t)((uint32_t)(uint16_t)a[0] | (uint32_t)(uint16_t)a[2] << 16);
            odd[r] = (int32_t)((uint32_t)(uint16_t)a[1] | (uint32_t)(uint16_t)a[3] << 16);
        }
        for (int v = 0; v < INT8_VECTORS; v++) {
            vi b = vi_load(panel + (size_t)v * 4 * ISA_LANES), e = even_bytes(b), o = odd_bytes(b);
            for (int r = 0; r < rows; r++)
                sum[r][v] += multiply_pairs(e, even[r]) + multiply_pairs(o, odd[r]);
        }
    }
    for (int r = 0; r < rows; r++) {
        int32_t total[WEIGHT_PANEL];
        memcpy(total, sum[r], sizeof total);
        for (int c = 0; c < columns; c++)
            y[(size_t)r * stride + (size_t)c] = fmaf((float)total[c], row_scale[r] * scale[c], bias == NULL ? 0.0f : bias[c]);
    }
}

static void int8_multiply(float *y, const void *packed, const struct weights *w, const float *bias, int rows, int first, int last)
{
    const size_t block = int8_block_bytes(w->groups), stride = (size_t)w->out;
    for (int p = first; p < last; p++) {
        int column = p * WEIGHT_PANEL, columns = w->out - column < WEIGHT_PANEL ? w->out - column : WEIGHT_PANEL;
        const int8_t *panel = (const int8_t *)w->data + (size_t)p * (size_t)w->groups * WEIGHT_PANEL * 4;
        for (int r = 0; r < rows; r += INT8_ROWS) {
            const unsigned char *from = (const unsigned char *)packed + (size_t)(r / PRODUCT_ROWS) * block;
            const float *row_scale = (const float *)(const void *)from;
            const int8_t *q = (const int8_t *)(row_scale + PRODUCT_ROWS) + (size_t)(r % PRODUCT_ROWS) * 4 * (size_t)w->groups;
            float *to = y + (size_t)r * stride + column;
            int n = rows - r < INT8_ROWS ? rows - r : INT8_ROWS;
            if (n == INT8_ROWS)
                int8_rows(to, stride, bias == NULL ? NULL : bias + column, q, row_scale + r % PRODUCT_ROWS, panel, w->scale + column,
                          columns, INT8_ROWS, w->groups);
            else
                int8_rows(to, stride, bias == NULL ? NULL : bias + column, q, row_scale + r % PRODUCT_ROWS, panel, w->scale + column,
                          columns, n, w->groups);
        }
    }
}

#endif
