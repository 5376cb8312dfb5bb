/* user/session.h - one private conversation with the server.
 *
 * Data flow   ids -embed-> x [T,D] (-first layers-> x, where they are the user's) -seal-> x_p -msg_rows-> |wire| -> server -> |wire| -msg_out-> y_p -unseal-> y -head-> logits
 * Shapes      logits [out_n, outputs]; outputs = V or C.
 * Units       microseconds, bytes.
 * Errors      ERR_PEER, ERR_AUTH from the wire, those that pass are met here as connection_keep allows: a session that the
 *             server has lost is built again from the ids sent so far, and callers see a slower call. ERR_PEER for NaN in answers.
 * Memory      session_open gives; all buffers are planned when a session opens.
 * Secrets     ids, x and logits stay here; only sealed rows go out.
 */
#ifndef STIP_USER_SESSION_H
#define STIP_USER_SESSION_H

#include <stdint.h>

#include "user/connection.h"

struct session_timing {
    uint64_t user_us, server_us, wall_us; /* summed over all calls */
    uint64_t bytes;                       /* of rows and outputs */
};

struct session;
/* Room for `tokens` tokens and `outputs` rows of logits at once. */
MUST_CHECK int session_open(struct session **out, struct connection *c, int tokens, int outputs, struct err *err);
/* Tells the server; NULL is fine. */
void session_close(struct session *s);
/* Appends T tokens; logits of rows out_from..out_from+out_n-1 of them go to `logits`. types NULL: all 0. */
MUST_CHECK int session_forward(struct session *s, const int32_t *ids, const int32_t *types, int T, int out_from, int out_n,
                               float *logits, struct err *err);
/* A whole image, its pixels as user/pixels.h prepares them, in a session of the config's positions and arch_answer_rows outputs that
 * has nothing yet: its classes. */
MUST_CHECK int session_image(struct session *s, const float *pixels, float *logits, struct err *err);
/* A prompt: logits [outputs] of its last token. Behind it go rows of random tokens, until the length is one of the connection's
 * buckets (a multiple of the largest above it), as far as the session has room; then they are cut off as guesses are that
 * failed. A causal model's answer is the same; who counts bytes on the line learns the bucket, the server the length, from where
 * the next rows start. *rows: how many were computed (may be NULL). */
MUST_CHECK int session_prompt(struct session *s, const int32_t *ids, int T, float *logits, int *rows, struct err *err);
/* Appends T tokens; the final hidden rows out_from..out_from+out_n-1 of them, in plain order, go to x [out_n, D]. Only where the head
 * is the user's. */
MUST_CHECK int session_hidden_rows(struct session *s, const int32_t *ids, int T, int out_from, int out_n, float *x, struct err *err);
/* Forgets tokens from `length` on; the server does so with the next rows. */
void session_rewind(struct session *s, int length);
int session_length(const struct session *s);
/* The last message: its number (0: none yet) and how many rows it had. */
uint64_t session_sent(const struct session *s, int *T);
/* One of its rows as the server got it, x_p [D]. */
void session_sent_row(const struct session *s, int row, float *x_p);
/* Rows of logits that one message can ask for. */
int session_outputs(const struct session *s);
struct session_timing session_timing(const struct session *s);

#endif
