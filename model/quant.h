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
 * Scale and q of an element depend on the set of the row's values, not on their order: a permuted row gives the permuted q.
 */
#ifndef STIP_MODEL_QUANT_H
#define STIP_MODEL_QUANT_H

#include <stddef.h>
#include <stdint.h>

/* Longest sum of products of two int8 that fits 32 bits, also where a kernel shifts one side to 0..255. */
#define QUANT_TERMS 65536

float quant_scale(const float *x, size_t n);
void quant_apply(int8_t *q, float scale, const float *x, size_t n);
/* Both. */
void quant_row(int8_t *q, float *scale, const float *x, size_t n);

#endif
