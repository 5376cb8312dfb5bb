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

#include "base/bf16.h"
#include "engine/kernels/impl/simd.h"
#include "engine/kernels/table.h"

/* ROWS * 2 sums, 2 columns of weights and a broadcast element fit the registers. */
#if ISA_LANES == 16
#define ROWS 12
#elif ISA_LANES == 8
#define ROWS 6
#else
#define ROWS 4
#endif
#define COLUMNS (2 * ISA_LANES)
#define CHUNK 512     /* inputs, at most; a panel's chunk and a sub-block's stay in the second- and first-level cache */
#define PACK_INPUTS 64 /* a piece of a sub-block that stays in the first-level cache */

/* ------------------------------------------------------------------ packing */

/* [n,in] -> sub-block [inputs][n], inputs beyond `in` zero. */
INLINE void pack_floats(float *block, const float *x, int first, int n, int in, int inputs, int rounded)
{
    float *to = block + (size_t)first * (size_t)inputs;
    for (int k0 = 0; k0 < in; k0 += PACK_INPUTS)
        for (int r = 0, k1 = k0 + PACK_INPUTS < in ? k0 + PACK_INPUTS : in; r < n; r++) {
            const float *from = x + (size_t)r * (size_t)in;
            for (int k = k0; k < k1; k++)
                to[(size_t)k * (size_t)n + (size_t)r] = rounded ? bf16_to_f32(bf16_from_f32(from[k])) : from[k];
        }
    memset(to + (size_t)in * (size_t)n, 0, (size_t)(inputs - in) * (size_t)n * sizeof *to);
}

static size_t f32_block_bytes(int groups)
{
    return (size_t)PRODUCT_ROWS * (size_t)groups * sizeof(float);
}

static void f32_pack(void *block, const float *x, int rows, int first, int n, int in, int groups)
{
    (void)rows;
    pack_floats(block, x, first, n, in, groups, 0);
}

static size_t bf16_block_bytes(int groups)
{
    return 2 * f32_block_bytes(groups);
}

static void bf16_by_f32_pack(void *block, const float *x, int rows, int first, int n, int in, int groups)
{
    (void)rows;
    pack_floats(block, x, first, n, in, 2 * groups, 0);
}

static void bf16_pack(void *block, const float *x, int rows, int first, int n, int in, int groups)
{
    (void)rows;
    pack_floats(block, x, first, n, in, 2 * groups, 1);
}

/* ------------------------------------------------------------------ multiplying */

/* acc += a [inputs][rows] times COLUMNS columns of the panel. halves: two bf16 per 4 bytes. rows is a constant where inlined. */
INLINE void multiply_add(vf acc[][2], const float *a, const unsigned char *panel, struct product_ahead ahead, int rows, int inputs,
                         int halves)
{
    for (int k = 0; k < inputs; k += halves ? 2 : 1, panel += WEIGHT_PANEL * 4, a += halves ? 2 * rows : rows) {
        __builtin_prefetch(ahead.panel, 0, 2);
        __builtin_prefetch(ahead.panel + 64, 0, 2);
        ahead.panel += ahead.panel_step;
        if (rows > 1) {
            __builtin_prefetch(ahead.rows, 0, 2);
            ahead.rows += ahead.rows_step;
        }
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
INLINE void multiply_some(float *y, size_t stride, const float *bias, int columns, const float *a, const unsigned char *panel,
                          struct product_ahead ahead, int rows, int inputs, int halves, int first_chunk)
{
    product_expect(y, stride, rows);
    for (int c = 0; c < columns; c += COLUMNS, panel += 4 * COLUMNS) {
        vf acc[ROWS][2];
        UNROLL for (int r = 0; r < rows; r++)
            acc[r][0] = acc[r][1] = (vf){0};
        multiply_add(acc, a, panel, ahead, rows, inputs, halves);
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
        multiply_some(y, stride, bias, columns, a, panel, ahead, n, inputs, halves, first_chunk);                      \
        break;

INLINE void multiply_rows(float *y, size_t stride, const float *bias, int columns, const float *a, const unsigned char *panel,
                          struct product_ahead ahead, int rows, int inputs, int halves, int first_chunk)
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
    const int together = rows > PRODUCT_ROWS ? PRODUCT_TOGETHER : 1, chunk = product_chunk(inputs, CHUNK);
    const int parts = (rows + ROWS - 1) / ROWS;
    for (int p0 = first; p0 < last; p0 += together)
        for (int k0 = 0; k0 < inputs; k0 += chunk) {
            int n = inputs - k0 < chunk ? inputs - k0 : chunk;
            for (int r0 = 0, part = 0, count; r0 < rows; r0 += count, part++) {
                int inside = r0 % PRODUCT_ROWS, left = rows - r0 + inside < PRODUCT_ROWS ? rows - r0 + inside : PRODUCT_ROWS;
                count = product_rows_together(left, ROWS);
                count = left - inside < count ? left - inside : count;
                const float *a = (const float *)packed + (size_t)(r0 / PRODUCT_ROWS) * block + (size_t)inside * (size_t)inputs +
                                 (size_t)k0 * (size_t)count;
                for (int p = p0; p < p0 + together && p < last; p++) {
                    int column = p * WEIGHT_PANEL, columns = w->out - column < WEIGHT_PANEL ? w->out - column : WEIGHT_PANEL;
                    const unsigned char *panel = (const unsigned char *)w->data + (size_t)p * panel_bytes +
                                                 (size_t)(k0 / per) * WEIGHT_PANEL * 4;
                    /* The panel's next chunk, after its last one the first of the panel that follows in its place. */
                    const unsigned char *next = panel + (size_t)(n / per) * WEIGHT_PANEL * 4;
                    if (k0 + n == inputs)
                        next += (size_t)(together - 1) * panel_bytes;
                    multiply_rows(y + (size_t)r0 * stride + column, stride, bias == NULL ? NULL : bias + column, columns, a, panel,
                                  product_ahead(panel, next, n / per, part, parts, a + (size_t)count * (size_t)inputs,
                                                (size_t)(count * per) * sizeof *a, p - p0, together),
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
