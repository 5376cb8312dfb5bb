/* user/draft.h - guesses by a small model of the same vocabulary that runs on the user's machine, in plain.
 *
 * Data flow   transcript -> embed -> forward (engine) -> most probable token, again and again -> guesses.
 * Shapes      letters of model/shape.h, of the small model.
 * Units       tokens.
 * Errors      draft_open: a folder that is not a checkpoint of a text model, or one whose vocabulary has another size, both by
 *             name. draft_next: an id outside the small model's table.
 * Memory      draft_open gives: weights, and a KV cache for `tokens` tokens.
 * Secrets     the transcript, as ids and as a KV cache, stays in this process.
 */
#ifndef STIP_USER_DRAFT_H
#define STIP_USER_DRAFT_H

#include "base/err.h"
#include "model/config.h"

struct draft;
/* model: of the large one. tokens: the longest transcript; a small model that takes fewer stops guessing there. */
MUST_CHECK int draft_open(struct draft **out, const char *dir, const struct config *model, int tokens, struct err *err);
void draft_close(struct draft *d);
/* At most k guesses for what follows; *count says how many, *rows how many tokens went through the small model for them. What the
 * last call left in the cache is used as far as it agrees with the transcript. */
MUST_CHECK int draft_next(struct draft *d, const int32_t *history, int n, int k, int32_t *drafts, int *count, int *rows,
                          struct err *err);

#endif
