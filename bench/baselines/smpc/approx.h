/* bench/baselines/smpc/approx.h - non-linear functions on shared numbers, as each system approximates them.
 *
 * Data flow   ops.h -> these -> a system's layer (model.h).
 * Shapes      x any n numbers; softmaxes [rows, n / rows] along the columns; norms likewise, gain and bias [columns].
 * Units       fixed point. `keep` [period] says which numbers of a softmax's rows are seen (repeated over x), NULL: all.
 * Errors      sticky in struct party; a twin refuses what leaves the range.
 * Memory      scratch of the party's arena, released. z may be x.
 * Secrets     none of its own.
 * Source      CrypTen (arXiv 2109.00984), MPCFormer (arXiv 2211.01452), SecFormer (arXiv 2401.00793), Puma (arXiv 2307.12533); each
 *             function names its own.
 */
#ifndef STIP_BENCH_BASELINES_SMPC_APPROX_H
#define STIP_BENCH_BASELINES_SMPC_APPROX_H

#include "bench/baselines/smpc/ops.h"

/* (1 + x / 2^steps)^(2^steps) */
void approx_exp(struct party *p, struct share z, struct share x, int steps);
/* Newton, 10 iterations from 3 exp(0.5 - x) + 0.003, for x in about (0.01, 250); any sign with `any_sign`. */
void approx_reciprocal(struct party *p, struct share z, struct share x, bool any_sign);
/* Newton, 3 iterations from 2.2 exp(-(x/2 + 0.2)) + 0.2 - x/1024, for x in about (0.05, 200). */
void approx_inverse_sqrt(struct party *p, struct share z, struct share x);
/* Goldschmidt, for x / eta in (0, 2) and (0, 3). */
void approx_reciprocal_goldschmidt(struct party *p, struct share z, struct share x, double eta, int iterations);
void approx_inverse_sqrt_goldschmidt(struct party *p, struct share z, struct share x, double eta, int iterations);
/* Largest of each row by a tree of comparisons; z [rows]. */
void approx_max(struct party *p, struct share z, struct share x);

typedef void (*approx_gelu)(struct party *p, struct share z, struct share x);
typedef void (*approx_softmax)(struct party *p, struct share z, struct share x, size_t rows, const unsigned char *keep, size_t period);
/* z [rows] = inverse square roots of variances v [rows]. */
typedef void (*approx_norm)(struct party *p, struct share z, struct share v);

void approx_gelu_tanh(struct party *p, struct share z, struct share x);      /* CrypTen */
void approx_gelu_quad(struct party *p, struct share z, struct share x);      /* MPCFormer */
void approx_gelu_fourier(struct party *p, struct share z, struct share x);   /* SecFormer; two parties */
void approx_gelu_pieces(struct party *p, struct share z, struct share x);    /* Puma */

void approx_softmax_exact(struct party *p, struct share z, struct share x, size_t rows, const unsigned char *keep, size_t period);
void approx_softmax_quad(struct party *p, struct share z, struct share x, size_t rows, const unsigned char *keep, size_t period);
void approx_softmax_quad_goldschmidt(struct party *p, struct share z, struct share x, size_t rows, const unsigned char *keep,
                                     size_t period);
void approx_softmax_clipped(struct party *p, struct share z, struct share x, size_t rows, const unsigned char *keep, size_t period);

void approx_norm_sqrt(struct party *p, struct share z, struct share v);        /* CrypTen: 1 / sqrt(v) in two steps */
void approx_norm_newton(struct party *p, struct share z, struct share v);      /* MPCFormer, Puma */
void approx_norm_goldschmidt(struct party *p, struct share z, struct share v); /* SecFormer; variances up to 190 */
/* (x - mean) / deviation * gain + bias */
void approx_layernorm(struct party *p, struct share z, struct share x, size_t rows, approx_norm norm, double eps, struct share gain,
                      struct share bias);

#endif
