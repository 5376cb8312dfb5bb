/* tests/ref/ref.h - the reference twin: what the network computes, as plainly as it can be written.
 *
 * Data flow   checkpoint + token ids -> embedding, layers, head in float64 -> the judge of engine/ and of permuted packages.
 * Shapes      letters of model/shape.h. hidden [T,D] after the final norm; logits [T,V], or [1,C] for a classifier.
 * Units       stored weights as float64, sums in float64, no cache, no BLAS, no code of engine/. What enters a matrix product is
 *             rounded as model/compute.h says: weights and rows to bf16, or to int8 (model/quant.h) with exact sums. So this is
 *             the value that an engine without rounding errors of its own would give in the same compute.
 * Errors      memory, ids outside the table, a checkpoint without the needed parts.
 * Memory      gives hidden and logits (free()); either pointer may be NULL.
 * Secrets     none: tests and benches only.
 * Source      the papers and Hugging Face transformers' description of each architecture.
 */
#ifndef STIP_TESTS_REF_REF_H
#define STIP_TESTS_REF_REF_H

#include <stdint.h>

#include "base/err.h"
#include "model/checkpoint.h"
#include "model/compute.h"

/* types NULL: all 0. */
MUST_CHECK int ref_forward(const struct checkpoint *cp, enum compute compute, const int32_t *ids, const int32_t *types, int T, double **hidden,
                           double **logits, struct err *err);
/* pixels [channels, high, wide], prepared. */
MUST_CHECK int ref_image(const struct checkpoint *cp, enum compute compute, const float *pixels, double **hidden, double **logits,
                         struct err *err);

#endif
