/* server/session.h - the table of sessions and the memory they hold.
 *
 * Data flow   OPEN -> session_new (KV cache) -> steps (rows in, outputs back) -> CLOSE, idle or error -> session_end.
 * Shapes      x [step.rows, D], y [step.out_n, width].
 * Units       milliseconds, bytes, tokens.
 * Errors      session_new: BUSY (too many sessions, or the memory budget), OOM.
 * Memory      sessions belong to the table; pointers live until session_end. A session that ends while its step is being
 *             computed is kept, hidden, until the step is done.
 * Secrets     permuted rows and KV caches, wiped by nobody: they are what the server may see.
 */
#ifndef STIP_SERVER_SESSION_H
#define STIP_SERVER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/forward.h"
#include "transport/listener.h"
#include "transport/msg_rows.h"
#include "transport/phase.h"

struct session {
    struct session *prev, *next;           /* all sessions */
    struct session *queue_next;            /* steps waiting */
    uint8_t id[WIRE_SESSION_BYTES];
    char name[9];                          /* first bytes of the id, for the log */
    struct peer_key owner;
    struct listener_peer peer;             /* the connection it is on now */
    enum phase phase;
    uint64_t used_ms, blocked_ms;          /* last sign of life; since when the socket takes nothing */
    struct kvcache *kv;
    uint64_t answered;                     /* last step that was computed */
    struct msg_rows step;                  /* the one being received, computed, or kept for asking again */
    bool again;                            /* the message being received repeats the answered step */
    struct frag_in in;
    struct frag_out out_frag;
    bool sending, blocked, queued, running, cancelled, ended;
    float *x, *y;
    size_t kv_bytes, step_bytes;
    uint32_t server_us;
};

struct session_table;
MUST_CHECK int session_table_new(struct session_table **out, int max, int max_per_user, size_t memory, struct err *err);
void session_table_free(struct session_table *t);
int session_count(const struct session_table *t);

MUST_CHECK enum wire_code session_new(struct session **out, struct session_table *t, const uint8_t id[WIRE_SESSION_BYTES],
                                      const struct peer_key *owner, const struct config *c, int tokens, struct err *err);
/* NULL unless this key owns it. */
struct session *session_find(const struct session_table *t, const uint8_t id[WIRE_SESSION_BYTES], const struct peer_key *owner);
void session_end(struct session_table *t, struct session *s);
struct session *session_first(const struct session_table *t);
struct session *session_after(const struct session *s);

/* True while the answer of the last step, and its rows, are kept. */
bool session_answered(const struct session *s);
/* Room for a new step's rows and outputs; replaces the kept answer. False: over the budget. */
bool session_step_buffers(struct session_table *t, struct session *s, const struct msg_rows *m, int D, int width);
void session_drop_step(struct session_table *t, struct session *s);

/* First in, first out. */
void session_queue(struct session_table *t, struct session *s);
void session_unqueue(struct session_table *t, struct session *s);
struct session *session_next(const struct session_table *t);

#endif
