/* bench/baselines/smpc/ring_speed.h - the product of 64-bit integers beside what one core could do at most.
 *
 * Data flow   random matrices -> ring_matmul_add, timed; the same instructions on registers alone -> the limit.
 * Units       multiply-adds of 64-bit words in a second of processor time; medians.
 * Errors      ring_speed: memory, randomness.
 * Memory      takes and gives back.
 * Secrets     none.
 */
#ifndef STIP_BENCH_BASELINES_SMPC_RING_SPEED_H
#define STIP_BENCH_BASELINES_SMPC_RING_SPEED_H

#include "base/err.h"

#define RING_SPEED_UNITS 4

struct ring_speed_limit {
    const char *unit;
    int steps;    /* that replace one multiply-add modulo 2^64 */
    double per_s; /* of such; 0 where the CPU has not the unit */
};

/* Instructions in independent chains; the first is what ring_matmul_add uses. */
void ring_speed_limits(struct ring_speed_limit limit[RING_SPEED_UNITS]);
MUST_CHECK int ring_speed(double *rate, int m, int k, int n, struct err *err);

#endif
