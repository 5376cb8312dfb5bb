/* user/embedding.h - a text as one vector: what `stip-user embed` and the gateway's /v1/embeddings do.
 *
 * Data flow   text, prompt before it -> ids -> session (private rows there and back) -> rows [T,D] -> pooled -> length 1 -> [D].
 *             Pooling, length and prompts are the grant's (model/sentence.h): the server never learns which.
 * Shapes      letters of model/shape.h.
 * Units       tokens.
 * Errors      ERR_INPUT: no hidden rows (the head is the server's), a text that is too long, no tokens; those of the session.
 * Memory      embedding_encode appends to ids; vectors are the caller's.
 * Secrets     texts, rows and vectors stay with the user: a vector tells much of its text.
 * Source      sentence-transformers' Pooling and Normalize.
 */
#ifndef STIP_USER_EMBEDDING_H
#define STIP_USER_EMBEDDING_H

#include "model/sentence.h"
#include "user/session.h"

/* Refuses models whose hidden rows do not come back. */
MUST_CHECK int embedding_check(const struct grant *g, struct err *err);
/* Most tokens of a text: the model's positions, or fewer where it was trained so. */
int embedding_most(const struct grant *g);
/* Appends to ids, however many there are. prompt NULL: none. */
MUST_CHECK int embedding_encode(const struct grant *g, const char *prompt, const char *text, size_t len, struct token_ids *ids,
                                struct err *err);
/* Leaves out the end of ids that are more than embedding_most; the tokens that stand behind every text stay. */
MUST_CHECK int embedding_shorten(const struct grant *g, struct token_ids *ids, struct err *err);
/* Rows of output that a session needs for T tokens. */
int embedding_outputs(enum pooling pooling, int T);
/* x [D]; the session is fresh. */
MUST_CHECK int embedding_vector(struct session *s, const struct grant *g, enum pooling pooling, const struct token_ids *ids, float *x,
                                struct err *err);
/* The arithmetic alone: rows [n,D] are all of a text's, or the one that embedding_outputs asks for. */
void embedding_pool(float *x, const float *rows, size_t n, size_t D, enum pooling pooling);
void embedding_normalise(float *x, size_t D);

#endif
