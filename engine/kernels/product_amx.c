/* bf16 and int8 products by tile units: 32 rows times one panel in four sums of 16 x 16. Compiled with AMX, and once more with
 * emulated tiles for the tests. One row goes the same way as many (in a tile of one row), so its bits do not depend on the others. */
#include <assert.h>
#include <math.h>

#include "base/bf16.h"
#include "engine/kernels/impl/tiles.h"
#include "engine/kernels/products.h"
#include "model/quant.h"

#define TILE_ROWS 16
#define TILE_BYTES 1024                        /* 16 rows of 64 bytes */
#define BLOCK_TILES (PRODUCT_ROWS / TILE_ROWS) /* tiles above each other in a packed block */
#define PANEL_CACHE ((size_t)768 << 10)        /* panels that rows pass over together: they stay in the second-level cache */

static size_t tiles_bytes(int groups)
{
    return (size_t)BLOCK_TILES * (size_t)(groups / TILE_ROWS) * TILE_BYTES;
}

/* ------------------------------------------------------------------ packing: tiles of rows, one after another along the inputs */

static unsigned char *row_at(unsigned char *tiles, int row, int steps)
{
    return tiles + (size_t)(row / TILE_ROWS) * (size_t)steps * TILE_BYTES + (size_t)(row % TILE_ROWS) * 64;
}

static size_t bf16_block_bytes(int groups)
{
    return tiles_bytes(groups);
}

static void bf16_pack(void *block, const float *x, int rows, int first, int n, int in, int groups)
{
    int steps = groups / TILE_ROWS;
    (void)rows;
    for (int r = first; r < first + n; r++, x += in) {
        unsigned char *to = row_at(block, r, steps);
        for (int k = 0; k < 2 * groups; k += 32, to += TILE_BYTES) {
            int count = in - k < 32 ? in - k : 32;
            if (count < 32)
                memset(to, 0, 64);
            for (int i = 0; i < count; i++) {
                uint16_t half = bf16_from_f32(x[k + i]);
                memcpy(to + 2 * i, &half, sizeof half);
            }
        }
    }
}

static size_t int8_block_bytes(int groups)
{
    return PRODUCT_ROWS * sizeof(float) + tiles_bytes(groups);
}

static void int8_pack(void *block, const float *x, int rows, int first, int n, int in, int groups)
{
    int steps = groups / TILE_ROWS;
    float *scale = block;
    (void)rows;
    for (int r = first; r < first + n; r++, x += in) {
        unsigned char *to = row_at((unsigned char *)(scale + PRODUCT_ROWS), r, steps);
        scale[r] = quant_scale(x, (size_t)in);
        for (int k = 0; k < 4 * groups; k += 64, to += TILE_BYTES) {
            int count = in - k < 64 ? in - k : 64;
            if (count < 64)
                memset(to, 0, 64);
            if (count > 0)
                quant_apply((int8_t *)to, scale[r], x + k, (size_t)count);
        }
    }
}

/* ------------------------------------------------------------------ multiplying */

/* Tiles 0..3: sums (upper rows: left, right columns; lower rows); 4, 5: upper and lower rows; 6, 7: left and right columns. */
static void configure(int upper, int lower)
{
    struct tile_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.bytes_per_row[t] = 64;
        c.rows[t] = (uint8_t)(t >= 6 ? TILE_ROWS : t == 2 || t == 3 || t == 5 ? lower : upper);
        if (c.rows[t] == 0)
            c.bytes_per_row[t] = 0;
    }
    tiles_configure(&c);
}

/* Sums of up to 32 rows and one panel -> sum [32][32] of 4 bytes each. */
#define SUMS(name, multiply)                                                                                           \
    static void name(void *sum, const unsigned char *upper, const unsigned char *lower, const unsigned char *panel, int steps)      \
    {                                                                                                                  \
        unsigned char *to = sum;                                                                                       \
        tile_zero(0);                                                                                                  \
        tile_zero(1);                                                                                                  \
        if (lower == NULL) {                                                                                           \
            for (int s = 0; s < steps; s++, upper += TILE_BYTES, panel += 2 * TILE_BYTES) {                            \
                tile_load(4, upper, 64);                                                                               \
                tile_load(6, panel, 128);                                                                              \
                tile_load(7, panel + 64, 128);                                                                         \
                multiply(0, 4, 6);                                                                                     \
                multiply(1, 4, 7);                                                                                     \
            }                                                                                                          \
        } else {                                                                                                       \
            tile_zero(2);                                                                                              \
            tile_zero(3);                                                                                              \
            for (int s = 0; s < steps; s++, upper += TILE_BYTES, lower += TILE_BYTES, panel += 2 * TILE_BYTES) {       \
                tile_load(6, panel, 128);                                                                              \
                tile_load(4, upper, 64);                                                                               \
                multiply(0, 4, 6);                                                                                     \
                tile_load(7, panel + 64, 128);                                                                         \
                multiply(1, 4, 7);                                                                                     \
                tile_load(5, lower, 64);                                                                               \
                multiply(2, 5, 6);                                                                                     \
                multiply(3, 5, 7);                                                                                     \
            }                                                                                                          \
            tile_store(2, to + TILE_ROWS * 128, 128);                                                                  \
            tile_store(3, to + TILE_ROWS * 128 + 64, 128);                                                             \
        }                                                                                                              \
        tile_store(0, to, 128);                                                                                        \
        tile_store(1, to + 64, 128);                                                                                   \
    }

SUMS(sums_bf16, tile_bf16)
SUMS(sums_int8, tile_int8)

static void finish_bf16(float *y, size_t stride, const float (*sum)[WEIGHT_PANEL], const float *bias, int rows, int columns)
{
    for (int r = 0; r < rows; r++, y += stride)
        for (int c = 0; c < columns; c++)
            y[c] = sum[r][c] + (bias == NULL ? 0.0f : bias[c]);
}

static void finish_int8(float *y, size_t stride, const int32_t (*sum)[WEIGHT_PANEL], const float *bias, const float *row_scale,
                        const float *scale, int rows, int columns)
{
    for (int r = 0; r < rows; r++, y += stride)
        for (int c = 0; c < columns; c++)
            y[c] = fmaf((float)sum[r][c], row_scale[r] * scale[c], bias == NULL ? 0.0f : bias[c]);
}

/* Tile number t of the packed rows, counted over all blocks. */
static const unsigned char *tile_at(const unsigned char *packed, size_t block, size_t head, int t, int steps)
{
    return packed + (size_t)(t / BLOCK_TILES) * block + head + (size_t)(t % BLOCK_TILES) * (size_t)steps * TILE_BYTES;
}

static void multiply(float *y, const unsigned char *packed, const struct weights *w, const float *bias, int rows, int first, int last,
                     int int8)
{
    _Alignas(64) union {
        float f[2 * TILE_ROWS][WEIGHT_PANEL];
        int32_t i[2 * TILE_ROWS][WEIGHT_PANEL];
    } sum;
    const int steps = w->groups / TILE_ROWS;
    const size_t stride = (size_t)w->out, panel_bytes = (size_t)w->groups * WEIGHT_PANEL * 4;
    const size_t block = int8 ? int8_block_bytes(w->groups) : bf16_block_bytes(w->groups), head = int8 ? PRODUCT_ROWS * sizeof(float) : 0;
    int together = (int)(PANEL_CACHE / panel_bytes), upper = 0, lower = 0;
    together = together < 1 || rows <= 2 * TILE_ROWS ? 1 : together;
    for (int p0 = first; p0 < last; p0 += together)
        for (int r0 = 0; r0 < rows; r0 += 2 * TILE_ROWS) {
            int n = rows - r0 < 2 * TILE_ROWS ? rows - r0 : 2 * TILE_ROWS, a = n < TILE_ROWS ? n : TILE_ROWS, b = n - a;
            if (a != upper || b != lower)
                configure(upper = a, lower = b);
            const unsigned char *above = tile_at(packed, block, head, r0 / TILE_ROWS, steps);
            const unsigned char *below = b == 0 ? NULL : tile_at(packed, block, head, r0 / TILE_ROWS + 1, steps);
            for (int p = p0; p < p0 + together && p < last; p++) {
                int column = p * WEIGHT_PANEL, columns = w->out - column < WEIGHT_PANEL ? w->out - column : WEIGHT_PANEL;
                const unsigned char *panel = (const unsigned char *)w->data + (size_t)p * panel_bytes;
                float *to = y + (size_t)r0 * stride + column, row_scale[2 * TILE_ROWS];
                const float *add = bias == NULL ? NULL : bias + column;
                if (!int8) {
                    sums_bf16(&sum, above, below, panel, steps);
                    finish_bf16(to, stride, (const float (*)[WEIGHT_PANEL])sum.f, add, n, columns);
                    continue;
                }
                for (int r = 0; r < n; r++)
                    row_scale[r] = ((const float *)(const void *)(packed + (size_t)((r0 + r) / PRODUCT_ROWS) * block))[(r0 + r) % PRODUCT_ROWS];
                sums_int8(&sum, above, below, panel, steps);
                finish_int8(to, stride, (const int32_t (*)[WEIGHT_PANEL])sum.i, add, row_scale, w->scale + column, n, columns);
            }
        }
    if (upper != 0)
        tiles_release();
}

static void bf16_multiply(float *y, const void *packed, const struct weights *w, const float *bias, int rows, int first, int last)
{
    multiply(y, packed, w, bias, rows, first, last, 0);
}

static void int8_multiply(float *y, const void *packed, const struct weights *w, const float *bias, int rows, int first, int last)
{
    multiply(y, packed, w, bias, rows, first, last, 1);
}

#ifdef STIP_TILES_EMULATED
#define product_amx_bf16 product_emulated_bf16
#define product_amx_int8 product_emulated_int8
extern const struct product product_emulated_bf16, product_emulated_int8;
#endif
const struct product product_amx_bf16 = {TILE_ROWS, bf16_block_bytes, bf16_pack, bf16_multiply};
const struct product product_amx_int8 = {TILE_ROWS, int8_block_bytes, int8_pack, int8_multiply};
