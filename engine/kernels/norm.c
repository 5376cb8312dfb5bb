#include "engine/kernels/norm.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

#include "engine/kernels/clones.h"

/* Sums run in this many partial sums: a fixed order that compilers can keep in registers. */
#define LANES 8

static inline double sum_lanes(const double *lane)
{
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) + ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

KERNEL void norm_rms(float *y, const float *x, const float *w, double eps, int rows, int D)
{
    assert(rows >= 0 && D > 0);
    for (int r = 0; r < rows; r++, x += D, y += D) {
        double lane[LANES] = {0}, sum;
        int d = 0;
        for (; d + LANES <= D; d += LANES)
            for (int i = 0; i < LANES; i++)
                lane[i] += (double)x[d + i] * (double)x[d + i];
        sum = sum_lanes(lane);
        for (; d < D; d++)
            sum += (double)x[d] * (double)x[d];

        float scale = (float)(1.0 / sqrt(sum / D + eps));
        for (d = 0; d < D; d++)
            y[d] = w[d] * (x[d] * scale);
    }
}

KERNEL void norm_layer(float *y, const float *x, const float *w, const float *b, double eps, int rows, int D)
{
    assert(rows >= 0 && D > 0);
    for (int r = 0; r < rows; r++, x += D, y += D) {
        double lane[LANES] = {0}, square[LANES] = {0};
        int d = 0;
        for (; d + LANES <= D; d += LANES)
            for (int i = 0; i < LANES; i++)
                lane[i] += (double)x[d + i];
        double mean = sum_lanes(lane);
        for (; d < D; d++)
            mean += (double)x[d];
        mean /= D;

        for (d = 0; d + LANES <= D; d += LANES)
            for (int i = 0; i < LANES; i++)
                square[i] += ((double)x[d + i] - mean) * ((double)x[d + i] - mean);
        double var = sum_lanes(square);
        for (; d < D; d++)
            var += ((double)x[d] - mean) * ((double)x[d] - mean);
        var /= D;

        double scale = 1.0 / sqrt(var + eps);
        for (d = 0; d < D; d++)
            y[d] = (float)(((double)x[d] - mean) * scale) * w[d] + b[d];
    }
}
