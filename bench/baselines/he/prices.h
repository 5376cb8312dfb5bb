/* bench/baselines/he/prices.h - what one operation of bench/baselines/he/ckks_eval.h costs here, at each level.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   parameters -> keys and random numbers -> each operation `repeats` times -> medians; counts times prices -> modelled time.
 * Units       microseconds of processor time on one thread.
 * Errors      those of the operations.
 * Memory      fills.
 * Secrets     throw-away keys.
 * Source      parameter sets: the modulus sizes of SEAL's measured rows, docs/COMPARE-HE.md.
 */
#ifndef STIP_BENCH_BASELINES_HE_PRICES_H
#define STIP_BENCH_BASELINES_HE_PRICES_H

#include "bench/baselines/he/ckks_eval.h"

struct prices_set {
    const char *name; /* N and the bits of all primes */
    struct ckks_params params;
    double seal_ms[CKKS_OPS]; /* SEAL 4.4 without AVX-512 on a machine of the same kind; 0: not published */
};

struct prices {
    double us[CKKS_OPS][CKKS_PRIMES_MAX + 1];
    double keys_us, rotation_key_us;
    double max_error; /* of x (x + x turned by one slot) for x = sin(slot), at the levels measured */
    double first[4];  /* its first results */
};

const struct prices_set *prices_set(size_t i); /* NULL after the last */
/* From level `from` down to `to`. */
MUST_CHECK int prices_measure(struct prices *out, const struct ckks_params *params, int from, int to, int repeats, struct err *err);
/* Microseconds of all that was counted, as the prices say; operations at levels without a price are NaN. */
double prices_of(const struct prices *p, const struct ckks_tally *t, const bool ops[CKKS_OPS]);

#endif
