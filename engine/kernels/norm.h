/* engine/kernels/norm.h - RMSNorm and LayerNorm of rows.
 *
 * Shapes      x, y [rows,D]; w, b [D]. y may be x.
 * Units       eps is added to the mean of squares (RMS) or the variance (LayerNorm).
 * Errors      none.
 * Memory      caller owns all buffers.
 * Secrets     none of its own.
 * Source      Zhang & Sennrich 2019 (RMS); Ba, Kiros, Hinton 2016 (LayerNorm).
 *
 * Means are summed in double, so the order of the columns (a permutation) changes them by less than one float rounding.
 */
#ifndef STIP_ENGINE_KERNELS_NORM_H
#define STIP_ENGINE_KERNELS_NORM_H

/* y = w * x / sqrt(mean(x^2) + eps) */
void norm_rms(float *y, const float *x, const float *w, double eps, int rows, int D);
/* y = w * (x - mean) / sqrt(var + eps) + b */
void norm_layer(float *y, const float *x, const float *w, const float *b, double eps, int rows, int D);

#endif
