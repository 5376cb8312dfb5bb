/* model_dev/canary.h - makes prompts whose answers the developer computes, fresh for every user.
 *
 * Data flow   checkpoint -> plain net -> a prompt of the model's own sampling (temperature 1, random length) -> its greedy answer and
 *             the log-probabilities of each step -> struct canary_list -> the grant. For packages of profile gauge that round, the
 *             package answers in place of the plain net (model_dev/rehearsal.h).
 *             Models that are not causal have no sampling: tokens at random, between the ones that a text begins and ends with.
 * Shapes      letters of model/shape.h.
 * Units       tokens, natural logarithms.
 * Errors      those of checkpoint and net; a model that this machine's memory cannot hold, with the numbers.
 * Memory      canary_maker_open loads the whole model; canary_make gives (canary_free).
 * Secrets     the plain model. The list is for one user; the server sees its rows only when they are asked.
 */
#ifndef STIP_MODEL_DEV_CANARY_H
#define STIP_MODEL_DEV_CANARY_H

#include <stdatomic.h>

#include "model_dev/release.h"
#include "transport/canary.h"

struct canary_maker;
/* from: the package whose server is asked. */
MUST_CHECK int canary_maker_open(struct canary_maker **out, const char *model, const struct release *from, struct err *err);
void canary_maker_close(struct canary_maker *m);
/* From now on canary_make fails, before its next canary, once *stop (borrowed; NULL: it does not). */
void canary_maker_heed(struct canary_maker *m, const atomic_bool *stop);
MUST_CHECK int canary_make(struct canary_maker *m, struct canary_list *out, size_t count, struct err *err);
/* canaries.bin in this folder, 0600. */
MUST_CHECK int canary_write(struct canary_maker *m, const char *dir, size_t count, struct err *err);

#endif
