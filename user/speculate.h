/* user/speculate.h - several tokens per round trip: guesses go up with the token, and the answers tell which of them hold.
 *
 * Data flow   transcript -> lookup, draft -> guesses d1..dk (pace says how many) -> rows of [last token, d1..dk] in one ROWS ->
 *             logits of all -> the caller draws from the first; while the token drawn is the guess, the next row's logits
 *             were computed for the right text and the caller draws on. The rest is cut off by the position of the next rows.
 *             This is lossless: each token is drawn by the same sampler, with the same random numbers, from logits of the same
 *             text, as without guesses. Guesses are fixed before the draw (the most probable token of a draft model, not one drawn
 *             from it), so a guess d is accepted with probability p(d), which is what rejection sampling against a certain
 *             guess gives; and the answer with a seed is the same token by token. That is worth more here than the few
 *             percent that a drawn guess gains: it can be tested. (Where the server's product goes through OpenBLAS,
 *             logits of one row and of several may differ by rounding, as between any two batch sizes; its own kernels give equal bits.)
 * Units       tokens, microseconds.
 * Errors      those of the draft model.
 * Memory      speculate_new gives; borrows the draft model. NULL is "off" for all functions but speculate_new.
 * Secrets     the server learns how many guesses a message held and how many were kept: how predictable the text is.
 */
#ifndef STIP_USER_SPECULATE_H
#define STIP_USER_SPECULATE_H

#include <stdint.h>

#include "user/draft.h"
#include "user/pace.h"

#define SPECULATE_AUTO (-1)
#define SPECULATE_MOST 63 /* guesses of one message */

struct speculate;
/* guesses: SPECULATE_AUTO, or so many per step whenever there are any. draft may be NULL: look-up only. */
MUST_CHECK int speculate_new(struct speculate **out, int guesses, struct draft *draft, struct err *err);
void speculate_free(struct speculate *s);
/* Most guesses of one step: a session needs 1 + that many outputs. */
int speculate_most(const struct speculate *s);
/* At most `most` guesses behind `history`; *k says how many. */
MUST_CHECK int speculate_next(struct speculate *s, const int32_t *history, int n, int most, int32_t *drafts, int *k, struct err *err);
/* A prefill; the step that speculate_next made guesses for. */
void speculate_prefilled(struct speculate *s, const struct pace_cost *cost);
void speculate_answered(struct speculate *s, const struct pace_cost *cost, int held, bool failed);

#endif
