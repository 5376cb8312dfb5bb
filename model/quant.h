/* model/quant.h - symmetric int8 of one row: an output channel's weights, or a token's activations.
 *
 * Data flow   weights at `protect` or when a net is loaded; activations at the entry of each int8 product; keys and values of an int8
 *             cache.
 * Shapes      n numbers.
 * Units       x = q * scale, scale = max|x| / 127, q from -127 to 127, halves rounded to even.
 * Errors      none. A row of zeros gives scale 0. A row with NaN or infinity gives scale NaN and zeros: the NaN shows in the result.
 * Memory      caller owns all buffers.
 * Secrets     none of its own.
 *
 * Inline, so that the kernels get it in their own vectors; the numbers are the same everywhere.
 * Scale and q of an element depend on the set of the row's values, not on their order: a permuted row gives the permuted q.
 */
#ifndef STIP_MODEL_QUANT_H
#define STIP_MODEL_QUANT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Longest sum of products of two int8 that fits 32 bits, also where a kernel shifts one side to 0..255. */
#define QUANT_TERMS 65536

static inline float quant_scale(const float *x, size_t n)
{
    /* As integers, magnitudes order like the numbers, with infinity and NaN above all: a loop that compilers vectorise. */
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float max;
    memcpy(&max, &most, sizeof max);
    return most >= 0x7f800000 ? NAN : max / 127.0f;
}

static inline void quant_apply(int8_t *q, float scale, const float *x, size_t n)
{
    if (!(scale > 0.0f)) {
        memset(q, 0, n);
        return;
    }
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer, halves to even, in the low bits */
    for (size_t i = 0; i < n; i++) {
        float shifted = x[i] / scale + round;
        int32_t bits;
        memcpy(&bits, &shifted, sizeof bits);
        int32_t v = bits - 0x4b400000;
        v = v > 127 ? 127 : v; /* a subnormal scale is rounded itself */
        v = v < -127 ? -127 : v;
        q[i] = (int8_t)v;
    }
}

static inline void quant_row(int8_t *q, float *scale, const float *x, size_t n)
{
    *scale = quant_scale(x, n);
    quant_apply(q, *scale, x, n);
}

#endif
