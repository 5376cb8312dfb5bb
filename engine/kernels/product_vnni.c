/* int8 products by the dot-product instruction of AVX512-VNNI: four inputs per lane and step. Compiled with that instruction set. The
 * instruction takes one side unsigned, so activations are shifted by 128 and the weights' sums times 128 taken off at the end. */
#include "engine/kernels/impl/avx512.h"
#include "engine/kernels/impl/simd.h"
#include "engine/kernels/products.h"
#include "model/quant.h"

#define ROWS 12
#define TOGETHER 2
#define PIECE 512 /* inputs quantised at once */

static size_t block_bytes(int groups)
{
    return (size_t)PRODUCT_ROWS * (sizeof(float) + (size_t)groups * 4);
}

/* Scales [PRODUCT_ROWS] of a block, then sub-blocks [groups][n] of four unsigned bytes. */
static void pack(void *block, const float *x, int rows, int first, int n, int in, int groups)
{
    float *scale = (float *)block + first;
    uint32_t *to = (uint32_t *)block + PRODUCT_ROWS + (size_t)first * (size_t)groups;
    (void)rows;
    for (int r = 0; r < n; r++)
        scale[r] = quant_scale(x + (size_t)r * (size_t)in, (size_t)in);
    for (int k0 = 0; k0 < 4 * groups; k0 += PIECE)
        for (int r = 0; r < n; r++) {
            int count = in - k0 < PIECE ? in - k0 : PIECE, end = 4 * groups - k0 < PIECE ? groups - k0 / 4 : PIECE / 4;
            uint32_t four[PIECE / 4] = {0};
            if (count > 0)
                quant_apply((int8_t *)four, scale[r], x + (size_t)r * (size_t)in + k0, (size_t)count);
            for (int g = 0; g < end; g++)
                to[(size_t)(k0 / 4 + g) * (size_t)n + (size_t)r] = four[g] ^ 0x80808080u;
        }
}

/* _mm512_dpbusd_epi32 makes gcc 12 copy every sum before it adds to it, which costs half the speed. */
INLINE void add_products(__m512i *sum, __m512i unsigned_bytes, __m512i signed_bytes)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(unsigned_bytes), "v"(signed_bytes));
}

INLINE const unsigned char *panel_of(const struct weights *w, int p)
{
    return (const unsigned char *)w->data + (size_t)p * (size_t)w->groups * WEIGHT_PANEL * 4;
}

INLINE void multiply_some(float *y, size_t stride, const float *bias, int columns, const uint32_t *a, const float *row_scale,
                          const struct weights *w, struct product_ahead ahead, int p, int rows)
{
    const unsigned char *panel = panel_of(w, p);
    __m512i acc[ROWS][2];
    product_expect(y, stride, rows);
    UNROLL for (int r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm512_setzero_si512();
    for (int g = 0; g < w->groups; g++, panel += WEIGHT_PANEL * 4, a += rows) {
        _mm_prefetch((const char *)ahead.panel, _MM_HINT_T1);
        _mm_prefetch((const char *)ahead.panel + 64, _MM_HINT_T1);
        ahead.panel += ahead.panel_step;
        if (rows > 1) {
            _mm_prefetch((const char *)ahead.rows, _MM_HINT_T1);
            ahead.rows += ahead.rows_step;
        }
        __m512i b0 = _mm512_loadu_si512(panel), b1 = _mm512_loadu_si512(panel + 64);
        UNROLL for (int r = 0; r < rows; r++) {
            __m512i x = _mm512_set1_epi32((int)a[r]);
            add_products(&acc[r][0], x, b0);
            add_products(&acc[r][1], x, b1);
        }
    }
    UNROLL for (int v = 0; v < 2; v++) {
        __mmask16 mask = lanes_mask(columns - 16 * v);
        __m512i shift = _mm512_slli_epi32(_mm512_loadu_si512(w->total + (size_t)p * WEIGHT_PANEL + 16 * v), 7);
        __m512 scale = _mm512_loadu_ps(w->scale + (size_t)p * WEIGHT_PANEL + 16 * v);
        __m512 add = bias == NULL ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, bias + 16 * v);
        UNROLL for (int r = 0; r < rows; r++) {
            __m512 sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(acc[r][v], shift));
            _mm512_mask_storeu_ps(y + (size_t)r * stride + 16 * v, mask,
                                  _mm512_fmadd_ps(sum, _mm512_mul_ps(_mm512_set1_ps(row_scale[r]), scale), add));
        }
    }
}

#define MULTIPLY(n)                                                                                                    \
    case n:                                                                                                            \
        multiply_some(y, stride, bias, columns, a, row_scale, w, ahead, p, n);                                         \
        break;

static void multiply_rows(float *y, size_t stride, const float *bias, int columns, const uint32_t *a, const float *row_scale,
                          const struct weights *w, struct product_ahead ahead, int p, int rows)
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
    const size_t stride = (size_t)w->out, block = block_bytes(w->groups);
    const int together = rows > PRODUCT_ROWS ? TOGETHER : 1, parts = (rows + ROWS - 1) / ROWS;
    for (int p0 = first; p0 < last; p0 += together)
        for (int r0 = 0, part = 0, count; r0 < rows; r0 += count, part++) {
            int inside = r0 % PRODUCT_ROWS, left = rows - r0 + inside < PRODUCT_ROWS ? rows - r0 + inside : PRODUCT_ROWS;
            count = product_rows_together(left, ROWS);
            count = left - inside < count ? left - inside : count;
            const unsigned char *from = (const unsigned char *)packed + (size_t)(r0 / PRODUCT_ROWS) * block;
            const float *row_scale = (const float *)(const void *)from;
            const uint32_t *a = (const uint32_t *)(const void *)(row_scale + PRODUCT_ROWS) +
                                (size_t)inside * (size_t)w->groups;
            for (int p = p0; p < p0 + together && p < last; p++) {
                int column = p * WEIGHT_PANEL, columns = w->out - column < WEIGHT_PANEL ? w->out - column : WEIGHT_PANEL;
                multiply_rows(y + (size_t)r0 * stride + column, stride, bias == NULL ? NULL : bias + column, columns, a,
                              row_scale + inside, w,
                              product_ahead(panel_of(w, p), panel_of(w, p + together), w->groups, part, parts,
                                            a + (size_t)count * (size_t)w->groups, (size_t)count * sizeof *a, p - p0, together),
                              p, count);
            }
        }
}

const struct product product_vnni = {ROWS, block_bytes, pack, multiply};
