/* model_dev/audit_match.h - what the attacks share: sorting, nearest neighbours, matrices in float32.
 *
 * Data flow   package or base -> float32 matrices -> features -> nearest rows.
 * Shapes      row-major; letters of model/shape.h.
 * Units       none.
 * Errors      memory; NaN or infinity in a checkpoint.
 * Memory      functions with a float ** give (free()).
 * Secrets     works on what an attacker has.
 */
#ifndef STIP_MODEL_DEV_AUDIT_MATCH_H
#define STIP_MODEL_DEV_AUDIT_MATCH_H

#include "model_dev/audit.h"

/* Sorts each row of x [n,width], ascending. */
MUST_CHECK int audit_sort_rows(float *x, size_t n, size_t width, struct err *err);
/* y [n,m] = x [n,width] times w [m,width] transposed. */
MUST_CHECK int audit_product(float *y, const float *x, size_t n, const float *w, size_t m, size_t width, struct err *err);
/* For each row of x [n,width] the index of the nearest of w [m,width]. */
MUST_CHECK int audit_nearest(uint32_t *out, const float *x, size_t n, const float *w, size_t m, size_t width, struct err *err);
/* Each column to mean 0 and variance 1; a column of one value becomes 0. */
void audit_standardise(float *x, size_t n, size_t width);

/* A matrix of a role as [out,in]; an int8 one times its scales. NULL when the checkpoint has none. */
MUST_CHECK int audit_matrix(float **out, const struct checkpoint *cp, enum role role, int layer, struct err *err);
/* A vector, or NULL. */
MUST_CHECK int audit_vector(float **out, const struct checkpoint *cp, enum role role, int layer, struct err *err);
size_t audit_neuron_count(const struct config *c);
/* What the feed-forward neurons of a layer read, [N,D]: gate (or up) with the norm before it multiplied in, so that it does not
 * matter whether a package ships gains or has them folded. */
MUST_CHECK int audit_neurons(float **out, const struct checkpoint *cp, int layer, struct err *err);
/* Places of the k->sample (or N) neurons that are looked at, into a->place; a->neurons and room in a->neuron. */
MUST_CHECK int audit_pick_neurons(const struct audit_known *k, struct audit_answer *a, struct err *err);
/* What the residual key is good for that the attack found (a->channel or a->matrix) or knows (k->residual): fills a->neuron from
 * neurons in plain order against those of the base, and a->token from rows in plain order against the tables. */
MUST_CHECK int audit_use_key(const struct audit_known *k, struct audit_answer *a, struct err *err);
/* Rows x [n,D] in the package's order to the plain one, into y, by a key from any of these (others NULL). */
MUST_CHECK int audit_open_rows(float *y, const float *x, size_t n, size_t D, const uint32_t *channel, const float *matrix,
                               struct err *err);

#endif
