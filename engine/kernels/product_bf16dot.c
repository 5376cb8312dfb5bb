/* bf16 products by the dot-product instruction of AVX512-BF16: two inputs per lane and step. Compiled with that instruction set. */
#include "engine/kernels/impl/avx512.h"
#include "engine/kernels/impl/simd.h"
#include "engine/kernels/products.h"
#include "model/dtype.h"

#define ROWS 12
#define CHUNK_GROUPS 512 /* of two inputs, at most; sums continue in y from chunk to chunk */

static size_t block_bytes(int groups)
{
    return (size_t)PRODUCT_ROWS * (size_t)groups * 4;
}

/* [n,in] -> sub-block [groups][n] of two bf16 */
static void pack(void *block, const float *x, int rows, int first, int n, int in, int groups)
{
    uint32_t *to = (uint32_t *)block + (size_t)first * (size_t)groups;
    (void)rows;
    for (int g = 0; g < groups; g += 16)
        for (int r = 0; r < n; r++) {
            /* Sixteen pairs: the conversion instruction rounds to nearest even as dtype_from_f32 does, but takes subnormals for
             * zero, which the product would do anyway. */
            const float *from = x + (size_t)r * (size_t)in + 2 * g;
            __mmask16 low = lanes_mask(in - 2 * g), high = lanes_mask(in - 2 * g - 16);
            uint32_t pairs[16];
            __m512bh half = _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, from + 16), _mm512_maskz_loadu_ps(low, from));
            memcpy(pairs, &half, sizeof pairs);
            for (int i = 0; i < 16; i++)
                to[(size_t)(g + i) * (size_t)n + (size_t)r] = pairs[i];
        }
}

INLINE void multiply_some(float *y, size_t stride, const float *bias, int columns, const uint32_t *a, const unsigned char *panel,
                          struct product_ahead ahead, int rows, int groups, int first_chunk)
{
    __m512 acc[ROWS][2];
    product_expect(y, stride, rows);
    UNROLL for (int r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm512_setzero_ps();
    for (int g = 0; g < groups; g++, panel += WEIGHT_PANEL * 4, a += rows) {
        _mm_prefetch((const char *)ahead.panel, _MM_HINT_T1);
        _mm_prefetch((const char *)ahead.panel + 64, _MM_HINT_T1);
        ahead.panel += ahead.panel_step;
        if (rows > 1) {
            _mm_prefetch((const char *)ahead.rows, _MM_HINT_T1);
            ahead.rows += ahead.rows_step;
        }
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(panel), b1 = (__m512bh)_mm512_loadu_si512(panel + 64);
        UNROLL for (int r = 0; r < rows; r++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32((int)a[r]);
            acc[r][0] = _mm512_dpbf16_ps(acc[r][0], x, b0);
            acc[r][1] = _mm512_dpbf16_ps(acc[r][1], x, b1);
        }
    }
    __mmask16 mask[2] = {lanes_mask(columns), lanes_mask(columns - 16)};
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < 2; v++) {
            float *to = y + (size_t)r * stride + 16 * v;
            __m512 sum = acc[r][v];
            if (!first_chunk)
                sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask[v], to));
            else if (bias != NULL)
                sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask[v], bias + 16 * v));
            _mm512_mask_storeu_ps(to, mask[v], sum);
        }
}

#define MULTIPLY(n)                                                                                                    \
    case n:                                                                                                            \
        multiply_some(y, stride, bias, columns, a, panel, ahead, n, groups, first_chunk);                              \
        break;

static void multiply_rows(float *y, size_t stride, const float *bias, int columns, const uint32_t *a, const unsigned char *panel,
                          struct product_ahead ahead, int rows, int groups, int first_chunk)
{
    switch (rows) {
        MULTIPLY(1)
        MULTIPLY(2)
        MULTIPLY(3)
        MULTIPLY(4)
        MULTIPLY(5)
        MULTIPLY(6)
        MULTIPLY(7)
        MULTIPLY(8)
        MULTIPLY(9)
        MULTIPLY(10)
        MULTIPLY(11)
        MULTIPLY(12)
    }
}

static void multiply(float *y, const void *packed, const struct weights *w, const float *bias, int rows, int first, int last)
{
    const size_t stride = (size_t)w->out, panel_bytes = (size_t)w->groups * WEIGHT_PANEL * 4;
    const int together = rows > PRODUCT_ROWS ? PRODUCT_TOGETHER : 1, chunk = product_chunk(w->groups, CHUNK_GROUPS);
    const int parts = (rows + ROWS - 1) / ROWS;
    for (int p0 = first; p0 < last; p0 += together)
        for (int g0 = 0; g0 < w->groups; g0 += chunk) {
            int n = w->groups - g0 < chunk ? w->groups - g0 : chunk;
            for (int r0 = 0, part = 0, count; r0 < rows; r0 += count, part++) {
                int inside = r0 % PRODUCT_ROWS, left = rows - r0 + inside < PRODUCT_ROWS ? rows - r0 + inside : PRODUCT_ROWS;
                count = product_rows_together(left, ROWS);
                count = left - inside < count ? left - inside : count;
                const uint32_t *a = (const uint32_t *)packed + (size_t)r0 * (size_t)w->groups + (size_t)g0 * (size_t)count;
                for (int p = p0; p < p0 + together && p < last; p++) {
                    int column = p * WEIGHT_PANEL, columns = w->out - column < WEIGHT_PANEL ? w->out - column : WEIGHT_PANEL;
                    const unsigned char *panel = (const unsigned char *)w->data + (size_t)p * panel_bytes + (size_t)g0 * WEIGHT_PANEL * 4;
                    const unsigned char *next = panel + (size_t)n * WEIGHT_PANEL * 4;
                    if (g0 + n == w->groups)
                        next += (size_t)(together - 1) * panel_bytes;
                    multiply_rows(y + (size_t)r0 * stride + column, stride, bias == NULL ? NULL : bias + column, columns, a, panel,
                                  product_ahead(panel, next, n, part, parts, a + (size_t)count * (size_t)w->groups,
                                                (size_t)count * sizeof *a, p - p0, together),
                                  count, n, g0 == 0);
                }
            }
        }
}

const struct product product_bf16dot = {ROWS, block_bytes, pack, multiply};
