/* engine/kernels/impl/norm.h - RMSNorm and LayerNorm for one instruction set; contract in engine/kernels/norm.h.
 *
 * Data flow   included by table.c.
 * Errors      none.
 * Memory      none.
 * Secrets     none.
 *
 * Sums run in double in a fixed number of partial sums: the same bits for every row, wherever it stands.
 */
#ifndef STIP_ENGINE_KERNELS_IMPL_NORM_H
#define STIP_ENGINE_KERNELS_IMPL_NORM_H

#include <math.h>

#include "engine/kernels/impl/simd.h"

#define SUM_LANES 16

INLINE double sum_lanes(const double *lane)
{
    double part[SUM_LANES / 2];
    for (int i = 0; i < SUM_LANES / 2; i++)
        part[i] = lane[i] + lane[i + SUM_LANES / 2];
    return ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7]));
}

static void impl_norm_rms(float *y, const float *x, const float *w, double eps, int rows, int D)
{
    for (int r = 0; r < rows; r++, x += D, y += D) {
        double lane[SUM_LANES] = {0}, sum;
        int d = 0;
        for (; d + SUM_LANES <= D; d += SUM_LANES)
            for (int i = 0; i < SUM_LANES; i++)
                lane[i] += (double)x[d + i] * (double)x[d + i];
        sum = sum_lanes(lane);
        for (; d < D; d++)
            sum += (double)x[d] * (double)x[d];

        float scale = (float)(1.0 / sqrt(sum / D + eps));
        for (d = 0; d < D; d++)
            y[d] = w[d] * (x[d] * scale);
    }
}

static void impl_norm_layer(float *y, const float *x, const float *w, const float *b, double eps, int rows, int D)
{
    for (int r = 0; r < rows; r++, x += D, y += D) {
        double lane[SUM_LANES] = {0}, square[SUM_LANES] = {0};
        int d = 0;
        for (; d + SUM_LANES <= D; d += SUM_LANES)
            for (int i = 0; i < SUM_LANES; i++)
                lane[i] += (double)x[d + i];
        double mean = sum_lanes(lane);
        for (; d < D; d++)
            mean += (double)x[d];
        mean /= D;

        for (d = 0; d + SUM_LANES <= D; d += SUM_LANES)
            for (int i = 0; i < SUM_LANES; i++)
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

#endif
