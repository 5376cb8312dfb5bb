/* bench/baselines/he/ring.h - polynomials modulo X^N + 1 and one prime: arithmetic of words, the number-theoretic transform.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA: not constant-time, not reviewed.
 *
 * Data flow   prime q = 1 mod 2N -> struct ring -> ring_forward: coefficients -> values at the odd powers of a 2N-th root of one, in
 *             bit-reversed order -> pointwise products -> ring_inverse.
 * Shapes      polynomials are [N] words below q.
 * Units       words of 64 bits; q has at most RING_BITS_MAX bits.
 * Errors      ring_init: memory only. Sizes are asserted.
 * Memory      ring_init gives the tables (ring_free); the transforms work in place.
 * Secrets     none kept.
 * Source      negacyclic transform with lazy butterflies: Harvey, arXiv 1205.2926. Products with a constant: Shoup's quotient. Sums of
 *             products: Barrett's quotient of a whole double word.
 */
#ifndef STIP_BENCH_BASELINES_HE_RING_H
#define STIP_BENCH_BASELINES_HE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define RING_BITS_MAX 56 /* a sum of 2^(62 - bits) products is reduced at once: 64 of them for the largest primes */

__extension__ typedef unsigned __int128 ring_wide;

struct ring {
    size_t n;
    int log_n, bits;
    uint64_t q, quotient;            /* floor(2^(bits + 62) / q) */
    uint64_t *root, *root_quotient;  /* [N] powers of the root in bit-reversed order, and floor(power 2^64 / q) */
    uint64_t *back, *back_quotient;  /* the same of the inverse root */
    uint64_t n_inverse, n_inverse_quotient;
};

MUST_CHECK int ring_init(struct ring *r, int log_n, uint64_t q, struct err *err);
void ring_free(struct ring *r);
void ring_forward(const struct ring *r, uint64_t *a);
void ring_inverse(const struct ring *r, uint64_t *a);

/* The `count` primes = 1 mod 2N nearest to 2^bits that are not in `taken` yet; false if there are too few. */
bool ring_primes(int log_n, int bits, int count, const uint64_t *taken, int taken_count, uint64_t *out);
uint64_t ring_power(uint64_t base, uint64_t exponent, uint64_t q);
uint64_t ring_invert(uint64_t a, uint64_t q); /* q is prime, a is not 0 */

static inline uint64_t ring_shoup(uint64_t w, uint64_t q)
{
    return (uint64_t)(((ring_wide)w << 64) / q);
}

/* a w mod q, below 2q, for any a; w_quotient = ring_shoup(w, q). */
static inline uint64_t ring_mul_lazy(uint64_t a, uint64_t w, uint64_t w_quotient, uint64_t q)
{
    return a * w - (uint64_t)(((ring_wide)a * w_quotient) >> 64) * q;
}

static inline uint64_t ring_mul_constant(uint64_t a, uint64_t w, uint64_t w_quotient, uint64_t q)
{
    uint64_t r = ring_mul_lazy(a, w, w_quotient, q);
    return r >= q ? r - q : r;
}

/* z mod q for z below 2^(bits + 62): the estimate of the quotient is at most 2 too small. */
static inline uint64_t ring_reduce(const struct ring *r, ring_wide z)
{
    uint64_t t = (uint64_t)(z >> (r->bits - 2)), q = r->q;
    uint64_t rest = (uint64_t)z - (uint64_t)(((ring_wide)t * r->quotient) >> 64) * q;
    rest = rest >= 2 * q ? rest - 2 * q : rest;
    return rest >= q ? rest - q : rest;
}

static inline uint64_t ring_mul(const struct ring *r, uint64_t a, uint64_t b)
{
    return ring_reduce(r, (ring_wide)a * b);
}

static inline uint64_t ring_add(uint64_t a, uint64_t b, uint64_t q)
{
    uint64_t s = a + b;
    return s >= q ? s - q : s;
}

static inline uint64_t ring_sub(uint64_t a, uint64_t b, uint64_t q)
{
    return a >= b ? a - b : a + q - b;
}

#endif
