/* engine/kernels/activation.h - the non-linear functions between the two feed-forward products.
 *
 * Shapes      activate: x [n] in place. activate_gated: up [rows,2F], gate half first -> y [rows,F].
 * Units       error at most 4e-7 relative to the exact value (absolute below 1e-7).
 * Errors      none; NaN gives NaN.
 * Memory      caller owns all buffers; y and up do not overlap.
 * Secrets     none of its own.
 * Source      Hugging Face names: silu; gelu (erf); gelu_new = gelu_pytorch_tanh (tanh form); relu; tanh.
 */
#ifndef STIP_ENGINE_KERNELS_ACTIVATION_H
#define STIP_ENGINE_KERNELS_ACTIVATION_H

#include <stddef.h>

#include "model/config.h"

void activate(enum act_kind kind, float *x, size_t n);
/* y[i] = exp((x[i] - max) * scale), of x up to max and scale from 0 up: the terms of a softmax. 0 from exp(-104) down. */
void activate_exponentials(float *y, const float *x, size_t n, float max, float scale);
/* y = act(gate) * up */
void activate_gated(enum act_kind kind, float *y, const float *up, int rows, int F);

#endif
