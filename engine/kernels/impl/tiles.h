/* engine/kernels/impl/tiles.h - the tile unit's instructions, or the same in plain C for machines without one (tests).
 *
 * Data flow   product_amx.c -> these six operations. With STIP_TILES_EMULATED they are loops over arrays, following the description of
 *             the instructions, so that the kernel's addressing is tested on every machine.
 * Shapes      eight tiles of 16 rows x 64 bytes. Sums: 16 floats or int32 per row; left factor: rows of x; right factor: panel rows.
 * Errors      none.
 * Memory      tile registers, or one thread-local array.
 * Secrets     none.
 * Source      Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: TDPBF16PS, TDPBSSD.
 */
#ifndef STIP_ENGINE_KERNELS_IMPL_TILES_H
#define STIP_ENGINE_KERNELS_IMPL_TILES_H

#include <stdint.h>
#include <string.h>

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t rows[16];
};

#ifndef STIP_TILES_EMULATED
#include <immintrin.h>

#define tiles_configure(config) _tile_loadconfig(config)
#define tiles_release() _tile_release()
#define tile_zero(t) _tile_zero(t)
#define tile_load(t, base, stride) _tile_loadd(t, base, stride)
#define tile_store(t, base, stride) _tile_stored(t, base, stride)
#define tile_bf16(c, a, b) _tile_dpbf16ps(c, a, b)
#define tile_int8(c, a, b) _tile_dpbssd(c, a, b)

#else

static _Thread_local struct {
    struct tile_config config;
    uint8_t tile[8][16][64];
} tile_state;

static inline void tiles_configure(const struct tile_config *c)
{
    memset(&tile_state, 0, sizeof tile_state);
    tile_state.config = *c;
}

static inline void tiles_release(void)
{
    memset(&tile_state, 0, sizeof tile_state);
}

static inline void tile_zero(int t)
{
    memset(tile_state.tile[t], 0, sizeof tile_state.tile[t]);
}

static inline void tile_load(int t, const void *base, size_t stride)
{
    tile_zero(t);
    for (int r = 0; r < tile_state.config.rows[t]; r++)
        memcpy(tile_state.tile[t][r], (const uint8_t *)base + (size_t)r * stride, tile_state.config.bytes_per_row[t]);
}

static inline void tile_store(int t, void *base, size_t stride)
{
    for (int r = 0; r < tile_state.config.rows[t]; r++)
        memcpy((uint8_t *)base + (size_t)r * stride, tile_state.tile[t][r], tile_state.config.bytes_per_row[t]);
}

static inline float tile_half(const uint8_t *p)
{
    uint16_t half;
    float f;
    memcpy(&half, p, sizeof half);
    uint32_t bits = (uint32_t)half << 16;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline void tile_bf16(int c, int a, int b)
{
    for (int m = 0; m < tile_state.config.rows[c]; m++)
        for (int k = 0; k < tile_state.config.bytes_per_row[a] / 4; k++)
            for (int n = 0; n < tile_state.config.bytes_per_row[c] / 4; n++) {
                float sum;
                memcpy(&sum, &tile_state.tile[c][m][4 * n], sizeof sum);
                sum += tile_half(&tile_state.tile[a][m][4 * k]) * tile_half(&tile_state.tile[b][k][4 * n]);
                sum += tile_half(&tile_state.tile[a][m][4 * k + 2]) * tile_half(&tile_state.tile[b][k][4 * n + 2]);
                memcpy(&tile_state.tile[c][m][4 * n], &sum, sizeof sum);
            }
}

static inline void tile_int8(int c, int a, int b)
{
    for (int m = 0; m < tile_state.config.rows[c]; m++)
        for (int k = 0; k < tile_state.config.bytes_per_row[a] / 4; k++)
            for (int n = 0; n < tile_state.config.bytes_per_row[c] / 4; n++) {
                int32_t sum;
                memcpy(&sum, &tile_state.tile[c][m][4 * n], sizeof sum);
                for (int i = 0; i < 4; i++)
                    sum += (int8_t)tile_state.tile[a][m][4 * k + i] * (int8_t)tile_state.tile[b][k][4 * n + i];
                memcpy(&tile_state.tile[c][m][4 * n], &sum, sizeof sum);
            }
}

#endif
#endif
