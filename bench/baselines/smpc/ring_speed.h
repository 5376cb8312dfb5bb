/* bench/baselines/smpc/ring_speed.h - the product of 64-bit integers beside what one core could do at most.
 *
 * Data flow   random matrices -> ring_matmul_add, timed; the same instructions on registers alone -> the limit.
 * Units       multiply-adds of 64-bit words in a second of processor time; medians.
 * Errors      memory, randomness.
 * Memory      takes and gives back.
 * Secrets     none.
 */
#ifndef STIP_BENCH_BASELINES_SMPC_RING_SPEED_H
#define STIP_BENCH_BASELINES_SMPC_RING_SPEED_H

#include "base/err.h"

/* Multiply and add (vpmullq, vpaddq) in independent chains; 0 where the CPU has no AVX-512. */
double ring_speed_limit(void);
MUST_CHECK int ring_speed(double *rate, int m, int k, int n, struct err *err);

#endif
