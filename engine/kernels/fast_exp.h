/* engine/kernels/fast_exp.h - an exponential that compilers can vectorise.
 *
 * Data flow   inlined into softmax and activations, where libm's scalar expf would cost more than the matrix products leave.
 * Units       relative error at most 2e-7 where the result is a normal number; exact 0 below -104, inf above 89, NaN for NaN.
 * Errors      none.
 * Memory      none.
 * Secrets     none.
 * Source      range reduction x = n ln 2 + r with ln 2 in two parts, Taylor polynomial of exp(r) on |r| <= ln(2)/2.
 */
#ifndef STIP_ENGINE_KERNELS_FAST_EXP_H
#define STIP_ENGINE_KERNELS_FAST_EXP_H

#include <stdint.h>
#include <string.h>

static inline float fast_exp_power_of_two(int32_t n) /* -126 <= n <= 127 */
{
    uint32_t bits = (uint32_t)(n + 127) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float fast_exp(float x)
{
    /* Both comparisons are false for NaN, which then passes through the polynomial. */
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;

    /* Adding 1.5 * 2^23 leaves the nearest integer in the low bits. */
    const float round = 12582912.0f;
    float shifted = x * 1.44269504f + round, n = shifted - round;
    int32_t i, base;
    memcpy(&i, &shifted, sizeof i);
    memcpy(&base, &round, sizeof base);
    i -= base;

    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 = 0.693359375 - 2.1219444e-4 */
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    /* Two factors, so that results near the ends of the range are neither cut off nor infinite too early. */
    int32_t half = i >> 1;
    return p * fast_exp_power_of_two(half) * fast_exp_power_of_two(i - half);
}

#endif
