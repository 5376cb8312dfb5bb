#include "model/quant.h"

#include <math.h>
#include <string.h>

float quant_scale(const float *x, size_t n)
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

void quant_apply(int8_t *q, float scale, const float *x, size_t n)
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

void quant_row(int8_t *q, float *scale, const float *x, size_t n)
{
    *scale = quant_scale(x, n);
    quant_apply(q, *scale, x, n);
}
