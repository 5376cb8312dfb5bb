/* model_dev/audit_judge.h - how much of an attack's answer is true, by the developer's keys and the plain tokens.
 *
 * Data flow   keys + plain tokens -> struct audit_truth; answer of an attack -> hits of tries for each target.
 * Shapes      letters of model/shape.h.
 * Units       a column of the residual is found when the answer names it, or points to it within 8 degrees (cosine 0.99).
 * Errors      memory, key derivation.
 * Memory      audit_truth_open fills a struct (audit_truth_close, fine on a zeroed one).
 * Secrets     all of the struct. No attack gets it.
 */
#ifndef STIP_MODEL_DEV_AUDIT_JUDGE_H
#define STIP_MODEL_DEV_AUDIT_JUDGE_H

#include "model_dev/audit.h"
#include "permute/keyset.h"

struct audit_truth {
    size_t D, F, V, experts, outputs, n; /* experts: 1 without */
    float *residual;     /* [D,D] row i: what becomes of the plain unit row i */
    struct perm neurons; /* of the package's layer 0, [experts F]: which neuron stands at a place */
    struct perm output;
    const int32_t *ids;  /* [n] tokens; of images the numbers of patches, -1 for rows that no patch made */
    const float *patches; /* [n,M], NULL: texts */
    size_t M;
};

MUST_CHECK int audit_truth_open(struct audit_truth *out, const struct keyset *keys, const struct config *c, bool gauge,
                                int first, const int32_t *ids, size_t n, struct err *err);
void audit_truth_close(struct audit_truth *t);
/* The rows [n,D] that a server would receive, of plain ones, which are lost. */
MUST_CHECK int audit_seal(const struct keyset *keys, const struct config *c, bool gauge, float *sealed, float *rows, size_t n,
                          struct err *err);
/* known: the attacker had the residual key. */
MUST_CHECK int audit_judge(struct audit_cell *cell, const struct audit_truth *t, const struct audit_answer *a,
                           enum audit_target target, bool known, struct err *err);

#endif
