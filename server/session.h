/* server/session.h - the table of sessions, the users that own them, and the memory that their steps hold.
 *
 * Data flow   OPEN -> session_new -> steps (rows in, outputs back) -> CLOSE, idle or error -> session_end.
 * Shapes      x [step.rows, D], y [step.out_n, width]; ids[t] names the first t rows of the cache (server/prefix.h).
 * Units       milliseconds, bytes, tokens.
 * Errors      session_new: BUSY (too many sessions, or the memory of steps), OOM.
 * Memory      sessions belong to the table; pointers live until session_end. A session that ends while its step is being
 *             computed is kept, hidden, until the pass is done. Buffers count against a budget of their own; pages of keys and
 *             values against that of the pool (engine/kvcache.h).
 * Secrets     permuted rows and KV caches, wiped by nobody: they are what the server may see.
 */
#ifndef STIP_SERVER_SESSION_H
#define STIP_SERVER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/crypto.h"
#include "engine/kvcache.h"
#include "transport/listener.h"
#include "transport/msg_rows.h"
#include "transport/phase.h"

/* Steps of few rows that are all asked for, which somebody watches token by token, and the others. */
enum turn { TURN_SHORT, TURN_LONG, TURNS };

TAILQ_HEAD(session_list, session);
TAILQ_HEAD(user_list, user);

/* A key that has sessions. */
struct user {
    struct user *hash_next;
    struct peer_key key;
    int open, held;                      /* sessions; with the hidden ones */
    struct session_list waiting[TURNS];  /* server/schedule.c */
    TAILQ_ENTRY(user) ring[TURNS];
};

struct session {
    TAILQ_ENTRY(session) all;            /* of the table, newest first */
    TAILQ_ENTRY(session) waiting;        /* of its user, server/schedule.c */
    struct session *hash_next;
    uint8_t id[WIRE_SESSION_BYTES];
    char name[9];                        /* first bytes of the id, for the log */
    struct user *user;
    struct listener_peer peer;           /* the connection it is on now */
    enum phase phase;
    uint64_t used_ms, blocked_ms;        /* last sign of life; since when the socket takes nothing */
    struct kvcache *kv;
    uint8_t (*ids)[CRYPTO_HASH_LEN];     /* [kv->cap + 1], NULL where pages are not shared */
    int named;                           /* ids that hold, counted from the first */
    uint64_t answered;                   /* last step that was computed */
    struct msg_rows step;                /* the one being received, computed, or kept for asking again */
    int done;                            /* its rows that are in the cache */
    bool again;                          /* the message being received repeats the answered step */
    struct frag_in in;
    struct frag_out out_frag;
    bool sending, blocked, queued, running, cancelled, ended;
    enum turn turn;                      /* while queued, and of the last pass */
    uint64_t pass;                       /* number of the pass that answered it last */
    float *x, *y;
    size_t own_bytes, step_bytes;
    uint32_t server_us;
};

struct session_table;
MUST_CHECK int session_table_new(struct session_table **out, int max, int max_per_user, size_t memory, struct err *err);
void session_table_free(struct session_table *t);
int session_count(const struct session_table *t);

/* named: with ids. */
MUST_CHECK enum wire_code session_new(struct session **out, struct session_table *t, const uint8_t id[WIRE_SESSION_BYTES],
                                      const struct peer_key *owner, struct kvpool *pool, int tokens, bool named, struct err *err);
/* NULL unless this key owns it. */
struct session *session_find(struct session_table *t, const uint8_t id[WIRE_SESSION_BYTES], const struct peer_key *owner);
/* Not while it is queued. */
void session_end(struct session_table *t, struct session *s);
struct session *session_first(const struct session_table *t);
struct session *session_after(const struct session *s);

/* True while the answer of the last step, and its rows, are kept. */
bool session_answered(const struct session *s);
/* Room for a new step's rows and outputs; replaces the kept answer. BUSY (with the numbers) or OOM. */
MUST_CHECK enum wire_code session_step_buffers(struct session_table *t, struct session *s, const struct msg_rows *m, int D,
                                               int width, struct err *err);
void session_drop_step(struct session_table *t, struct session *s);
/* Forgets the cache from `len` tokens on, and what was reserved for more. */
void session_cut(struct session *s, int len);

#endif
