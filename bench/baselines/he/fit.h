/* bench/baselines/he/fit.h - the polynomial nearest to given values.
 *
 * Data flow   samples (z, value, weight) -> coefficients of 1, z, z^2, ... with the least sum of (weight (p(z) - value))^2.
 * Units       z in about [-1,1], or the equations are ill-conditioned.
 * Errors      ERR_INPUT when the samples do not determine the polynomial.
 * Memory      the caller's.
 * Secrets     none.
 */
#ifndef STIP_BENCH_BASELINES_HE_FIT_H
#define STIP_BENCH_BASELINES_HE_FIT_H

#include <stddef.h>

#include "base/err.h"

#define FIT_DEGREE_MAX 15

struct fit_sample {
    double z, value, weight;
};

MUST_CHECK int fit_poly(double *c, int degree, const struct fit_sample *s, size_t n, struct err *err);
double fit_at(const double *c, int degree, double z);

#endif
