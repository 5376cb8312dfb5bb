/* model_dev/rehearsal.h - what an honest server of a gauge package and a user of its context compute together, in one process.
 *
 * Data flow   ids -> embedding (-> the users' first layers) -> turned, permuted -> net of the package -> back (-> final norm, head) ->
 *             logits in plain order.
 * Shapes      letters of model/shape.h; logits [V].
 * Errors      those of checkpoint, net and keys.
 * Memory      the package and what the users hold of the model, for sequences of at most `cap` tokens.
 * Secrets     the end keys, and the plain parts of the model that users hold.
 * Source      docs/decisions/0013-gauge.md: rotated weights in bf16 or int8 are rounded on another grid than the plain ones, so
 *             that only the package itself says what an honest server answers.
 */
#ifndef STIP_MODEL_DEV_REHEARSAL_H
#define STIP_MODEL_DEV_REHEARSAL_H

#include "model_dev/release.h"

struct checkpoint;
struct rehearsal;
/* The plain checkpoint is borrowed. */
MUST_CHECK int rehearsal_open(struct rehearsal **out, const struct release *from, const struct checkpoint *plain, int cap, struct err *err);
void rehearsal_free(struct rehearsal *r);
/* Appends n tokens; logits of token `at` of them. */
MUST_CHECK int rehearsal_rows(struct rehearsal *r, const int32_t *ids, int n, int at, float *logits, struct err *err);
void rehearsal_restart(struct rehearsal *r);

#endif
