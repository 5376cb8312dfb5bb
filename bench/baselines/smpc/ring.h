/* bench/baselines/smpc/ring.h - numbers of Z_2^64 as fixed point, and their matrix product.
 *
 * Data flow   real number -> ring_of -> sums and products mod 2^64 -> ring_real.
 * Shapes      x [m,k], y [k,n], z [m,n]; row-major, no gaps.
 * Units       RING_FRACTION fraction bits; negative numbers are the upper half of the ring.
 * Errors      ring_matmul_work: none; NULL work is not allowed.
 * Memory      caller owns all buffers; z overlaps nothing. `work` holds ring_matmul_words(k) words, 64-byte aligned.
 * Secrets     none of its own.
 * Source      the micro-kernel keeps 6 x 32 sums in registers while it reads a packed panel of y, as GotoBLAS does (Goto and van de
 *             Geijn 2008).
 */
#ifndef STIP_BENCH_BASELINES_SMPC_RING_H
#define STIP_BENCH_BASELINES_SMPC_RING_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define RING_FRACTION 16

static inline uint64_t ring_of(double x)
{
    return (uint64_t)llround(x * (double)(1 << RING_FRACTION));
}

static inline double ring_real(uint64_t v)
{
    return (double)(int64_t)v / (double)(1 << RING_FRACTION);
}

size_t ring_matmul_words(size_t k);
/* z += x y. With `fast` 0 the plain loops run, which tests compare with. */
void ring_matmul_add(uint64_t *z, const uint64_t *x, const uint64_t *y, size_t m, size_t k, size_t n, uint64_t *work, int fast);

#endif
