/* bench/baselines/he/garble.h - half-gates garbling of AND gates, and how many a function needs.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   labels -> garble_ands -> tables -> garble_evaluate -> output labels; numbers of AND gates times the price of one is the
 *             substitute for Primer's garbled circuits: the gates are garbled and evaluated really, but not wired into whole circuits.
 * Units       gates; 32 bytes of table for each; XOR gates are free.
 * Errors      those of base/crypto.
 * Memory      the caller's.
 * Secrets     wire labels and their difference; a fixed public AES key.
 * Source      half gates: ePrint 2014/756; AES with a fixed key as the hash, H(x, i) = pi(2x + i) + 2x + i: ePrint 2019/1168 and 2013/426.
 */
#ifndef STIP_BENCH_BASELINES_HE_GARBLE_H
#define STIP_BENCH_BASELINES_HE_GARBLE_H

#include <stdint.h>

#include "base/crypto.h"

#define GARBLE_TABLE_BYTES 32
#define GARBLE_LABEL_BYTES 16
#define GARBLE_KEY "fixed, public 1" /* 16 bytes with the 0 */

struct garble_label {
    uint64_t low, high;
};

struct garble {
    struct crypto_blocks *aes;
    struct garble_label difference; /* of the labels of 1 and 0; its lowest bit is 1 */
};

MUST_CHECK int garble_init(struct garble *g, struct err *err);
void garble_free(struct garble *g);
/* a, b [n]: labels of 0 of the inputs. Fills table [n][2] and out [n], labels of 0. `first` is the number of the first gate. */
MUST_CHECK int garble_ands(struct garble *g, const struct garble_label *a, const struct garble_label *b, size_t n, uint64_t first,
                           struct garble_label (*table)[2], struct garble_label *out, struct err *err);
/* a, b [n]: the labels that the evaluator holds; fills out [n]. */
MUST_CHECK int garble_evaluate(struct crypto_blocks *aes, const struct garble_label *a, const struct garble_label *b, size_t n, uint64_t first,
                               const struct garble_label (*table)[2], struct garble_label *out, struct err *err);

/* Nanoseconds of processor time for one gate on each side, over `gates` gates. */
MUST_CHECK int garble_measure(double *garble_ns, double *evaluate_ns, size_t gates, struct err *err);

/* AND gates on words of n bits: docs/COMPARE-HE.md. */
static inline double garble_add(double n) { return n; }              /* and subtract, compare, select */
static inline double garble_multiply(double n) { return 2 * n * n - n; }
static inline double garble_divide(double n) { return 2 * n * n; }    /* restoring: subtract and select for each bit */
static inline double garble_root(double n) { return n * n; }          /* half as many steps */
static inline double garble_share(double bits) { return 3 * bits; }   /* add two shares modulo t, or take one off: add, subtract, select */
/* Eight straight pieces: seven comparisons, two selected constants, a product, a sum. */
static inline double garble_piecewise(double n) { return 7 * n + 14 * n + garble_multiply(n) + n; }

#endif
