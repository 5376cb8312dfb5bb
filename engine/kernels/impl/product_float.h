/* engine/kernels/impl/product_float.h - float products over packed panels for one instruction set.
 *
 * Data flow   included by table.c. x -> blocks of rows, input by input -> sums of ROWS rows times some columns in registers.
 * Shapes      panels as engine/weights.h; a packed block holds sub-blocks of ROWS rows as [inputs][rows of the sub-block].
 * Errors      none.
 * Memory      none.
 * Secrets     none.
 *
 * Every output is one chain of multiply-adds per CHUNK of inputs, and the chunks are added in order: the same for one row as for
 * many, on one thread as on several.
 */
#ifndef STIP_ENGINE_KERNELS_IMPL_PRODUCT_FLOAT_H
#define STIP_ENGINE_KERNELS_IMPL_PRODUCT_FLOAT_H

#include "engine/kernels/impl/simd.h"
#include "engine/kernels/table.h"
#include "model/dtype.h"

/* ROWS * 2 sums, 2 columns of weights and a broadcast element fit the registers. */
#if ISA_LANES == 16
#define ROWS 12
#elif ISA_LANES == 8
#define ROWS 6
#else
#define ROWS 4
#endif
#define COLUMNS (2 * ISA_LANES)
#define CHUNK 512  /* inputs; a panel's chunk and a sub-block's stay in the second- and first-level cache */
#define TOGETHER 4 /* panels that a chunk of many rows passes over */

/* ------------------------------------------------------------------ packing */

/* [rows,in] -> sub-blocks [inputs][rows], inputs beyond `in` zero. */
INLINE void pack_floats(float *block, const float *x, int rows, int in, int inputs, int rounded)
{
    for (int r0 = 0, together = product_rows_together(rows, ROWS); r0 < rows; r0 += together) {
        int n = rows - r0 < together ? rows - r0 : together;
        for (int r = 0; r < n; r++) {
            const float *from = x + (size_t)(r0 + r) * (size_t)in;
            float *to = block + r;
            for (int k = 0; k < in; k++, to += n) {
                *to = from[k];
                if (rounded) {
                    uint16_t half;
                    uint32_t bits;
                    dtype_from_f32(DTYPE_BF16, &from[k], &half, 1);
                    bits = (uint32_t)half << 16;
                    memcpy(to, &bits, sizeof bits);
                }
            }
            for (int k = in; k < inputs; k++, to += n)
                *to = 0.0f;
        }
        block += (size_t)n * (size_t)inputs;
    }
}

static size_t f32_block_bytes(int groups)
{
    return (size_t)PRODUCT_ROWS * (size_t)groups * sizeof(float);
}

static void f32_pack(void *block, const float *x, int rows, int in, int groups)
{
    pack_floats(block, x, rows, in, groups, 0);
}

static size_t bf16_block_bytes(int groups)
{
    return 2 * f32_block_bytes(groups);
}

static void bf16_by_f32_pack(void *block, const float *x, int rows, int in, int groups)
{
    pack_floats(block, x, rows, in, 2 * groups, 0);
}

static void bf16_pack(void *block, const float *x, int rows, int in, int groups)
{
    pack_floats(block, x, rows, in, 2 * groups, 1);
}

/* ------------------------------------------------------------------ multiplying */

/* acc += a [inputs][rows] times COLUMNS columns of the panel. halves: two bf16 per 4 bytes. rows is a constant where inlined. */
INLINE void multiply_add(vf acc[][2], const float *a, const unsigned char *panel, int rows, int inputs, int halves)
{
    for (int k = 0; k < inputs; k += halves ? 2 : 1, panel += WEIGHT_PANEL * 4, a += halves ? 2 * rows : rows) {
        __builtin_prefetch(panel + PRODUCT_AHEAD);
        __builtin_prefetch(panel + PRODUCT_AHEAD + 64);
        if (halves) {
            vi two0 = vi_load(panel), two1 = vi_load(panel + 4 * ISA_LANES);
            vf even0 = (vf)(two0 << 16), even1 = (vf)(two1 << 16), odd0 = (vf)(two0 & -65536), odd1 = (vf)(two1 & -65536);
            UNROLL for (int r = 0; r < rows; r++) {
                acc[r][0] += a[r] * even0;
                acc[r][1] += a[r] * even1;
            }
            UNROLL for (int r = 0; r < rows; r++) {
                acc[r][0] += a[rows + r] * odd0;
                acc[r][1] += a[rows + r] * odd1;
            }
        } else {
            vf b0 = vf_load(panel), b1 = vf_load(panel + 4 * ISA_LANES);
            UNROLL for (int r = 0; r < rows; r++) {
                acc[r][0] += a[r] * b0;
                acc[r][1] += a[r] * b1;
            }
        }
    }
}

/* One sub-block times one panel, a chunk of the inputs. */
INLINE void multiply_some(float *y, size_t stride, const float *bias, int columns, const float *a, const unsigned char *panel, int rows,
                          int inputs, int halves, int first_chunk)
{
    for (int c = 0; c < columns; c += COLUMNS, panel += 4 * COLUMNS) {
        vf acc[ROWS][2];
        UNROLL for (int r = 0; r < rows; r++)
            acc[r][0] = acc[r][1] = (vf){0};
        multiply_add(acc, a, panel, rows, inputs, halves);
        int width = columns - c < COLUMNS ? columns - c : COLUMNS;
        if (width == COLUMNS) {
            UNROLL for (int r = 0; r < rows; r++) {
                float *to = y + (size_t)r * stride + c;
                UNROLL for (int v = 0; v < 2; v++) {
                    vf sum = acc[r][v];
                    if (!first_chunk)
                        sum += vf_load(to + v * ISA_LANES);
                    else if (bias != NULL)
                        sum += vf_load(bias + c + v * ISA_LANES);
                    vf_store(to + v * ISA_LANES, sum);
                }
            }
            continue;
        }
        for (int r = 0; r < rows; r++) {
            float part[COLUMNS], *to = y + (size_t)r * stride + c;
            memcpy(part, acc[r], sizeof part);
            for (int i = 0; i < width; i++)
                to[i] = part[i] + (!first_chunk ? to[i] : bias != NULL ? bias[c + i] : 0.0f);
        }
    }
}

#define MULTIPLY(n)                                                                                                    \
    case n:                                                                                                            \
        multiply_some(y, stride, bias, columns, a, panel, n, inputs, halves, first_chunk);                             \
        break;

INLINE void multiply_rows(float *y, size_t stride, const float *bias, int columns, const float *a, const unsigned char *panel, int rows,
                          int inputs, int halves, int first_chunk)
{
    switch (rows) {
        MULTIPLY(1)
        MULTIPLY(2)
        MULTIPLY(3)
        MULTIPLY(4)
#if ROWS > 4
        MULTIPLY(5)
        MULTIPLY(6)
#endif
#if ROWS > 6
        MULTIPLY(7)
        MULTIPLY(8)
        MULTIPLY(9)
        MULTIPLY(10)
        MULTIPLY(11)
        MULTIPLY(12)
#endif
    }
}

INLINE void multiply_panels(float *y, const void *packed, const struct weights *w, const float *bias, int rows, int first, int last,
                            int halves)
{
    const size_t stride = (size_t)w->out;
    const int inputs = halves ? 2 * w->groups : w->groups, per = halves ? 2 : 1;
    const size_t panel_bytes = (size_t)w->groups * WEIGHT_PANEL * 4, block = (size_t)PRODUCT_ROWS * (size_t)inputs;
    const int together = rows > PRODUCT_ROWS ? TOGETHER : 1;
    for (int p0 = first; p0 < last; p0 += together)
        for (int k0 = 0; k0 < inputs; k0 += CHUNK) {
            int n = inputs - k0 < CHUNK ? inputs - k0 : CHUNK;
            for (int r0 = 0, count; r0 < rows; r0 += count) {
                int inside = r0 % PRODUCT_ROWS, left = rows - r0 + inside < PRODUCT_ROWS ? rows - r0 + inside : PRODUCT_ROWS;
                count = product_rows_together(left, ROWS);
                count = left - inside < count ? left - inside : count;
                const float *a = (const float *)packed + (size_t)(r0 / PRODUCT_ROWS) * block + (size_t)inside * (size_t)inputs +
                                 (size_t)k0 * (size_t)count;
                for (int p = p0; p < p0 + together && p < last; p++) {
                    int column = p * WEIGHT_PANEL, columns = w->out - column < WEIGHT_PANEL ? w->out - column : WEIGHT_PANEL;
                    const unsigned char *panel = (const unsigned char *)w->data + (size_t)p * panel_bytes +
                                                 (size_t)(k0 / per) * WEIGHT_PANEL * 4;
                    multiply_rows(y + (size_t)r0 * stride + column, stride, bias == NULL ? NULL : bias + column, columns, a, panel,
                                  count, n, halves, k0 == 0);
                }
            }
        }
}

static void f32_multiply(float *y, const void *packed, const struct weights *w, const float *bias, int rows, int first, int last)
{
    multiply_panels(y, packed, w, bias, rows, first, last, 0);
}

static void bf16_multiply(float *y, const void *packed, const struct weights *w, const float *bias, int rows, int first, int last)
{
    multiply_panels(y, packed, w, bias, rows, first, last, 1);
}

#endif
