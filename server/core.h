/* server/core.h - the server's half of the inference protocol as a state machine: no sockets, no threads, no clock.
 *
 * Data flow   frame + time -> core_frame -> answers through `send`; complete ROWS -> core_take -> forward() elsewhere ->
 *             core_done -> the rest of the step in later passes -> OUT through `send`. core_tick ends what is overdue and
 *             retries what did not fit.
 * Shapes      rows [T,D] in, outputs [out_n, width] back; both permuted.
 * Units       milliseconds (any monotonic clock), bytes.
 * Errors      a peer's mistake is answered with an ERROR frame and costs at most its session. core_new: memory.
 * Memory      core_new gives. A session takes pages of keys and values from the model's pool as its steps come, and buffers
 *             for its rows and outputs, counted against limits.steps; what does not fit is refused with BUSY, and the session
 *             lives on. The pool outlives the model's time in the core.
 * Secrets     sees permuted rows only. A session belongs to the key that opened it; others get UNKNOWN_SESSION.
 */
#ifndef STIP_SERVER_CORE_H
#define STIP_SERVER_CORE_H

#include "base/err.h"
#include "engine/forward.h"
#include "engine/kvcache.h"
#include "server/prefix.h"
#include "transport/listener.h"
#include "transport/msg_hello.h"
#include "transport/msg_stats.h"

struct core_limits {
    int context;       /* tokens per session */
    int sessions;      /* in all */
    int user_sessions; /* per key */
    size_t steps;      /* bytes of rows and outputs that are held for sessions */
    int ttl_ms;        /* an idle session lives this long */
    int rows, out_rows; /* of one message */
    int chunk_rows;    /* of one step in one pass, SCHEDULE_SHORT or more; a bidirectional model takes whole texts */
    int queue_rows;    /* waiting to be computed */
    enum prefix_scope prefix;
};

/* The model that is served. Borrowed. */
struct core_model {
    const struct net *net;
    struct kvpool *pool;
    struct msg_hello_ok hello; /* limits are filled in by the core */
    const uint8_t *manifest;   /* manifest and signature, as GET(BLOB_MANIFEST) sends them */
};

struct core_sender {
    enum listener_sent (*send)(void *arg, const struct listener_peer *peer, const struct frame *f);
    void *arg;
};

/* Rows to compute in one pass: a step, or a piece of one. */
struct core_job {
    struct session *session;
    struct forward_seq seq;
};

struct core;
/* model NULL: greets nobody (NO_MODEL) until core_model. */
MUST_CHECK int core_new(struct core **out, const struct core_limits *limits, const struct core_model *model,
                        struct core_sender sender, struct err *err);
void core_free(struct core *c);
/* Another model: all sessions end with EPOCH_CHANGED. Only while no job is out. */
void core_set_model(struct core *c, const struct core_model *model);
/* Until there is a model users are told whether one is being loaded. */
void core_set_loading(struct core *c, bool loading);
/* The package is past its day: sessions end with EXPIRED and nobody is served until another model comes, or the day is over no more
 * (a clock was put right). */
void core_set_expired(struct core *c, bool expired);
/* From now on only steps that have begun are answered; all else is told DRAINING. */
void core_set_draining(struct core *c);
/* A step waits, is being computed, or its answer is on its way to a user that reads. */
bool core_busy(const struct core *c);
/* Ends the sessions of keys that are no longer allowed. */
void core_revoke(struct core *c, bool (*allowed)(void *arg, const struct peer_key *key), void *arg);
/* Most rows that core_take gives with this model. */
int core_pass_rows(const struct core_limits *limits, const struct config *config);

/* True when this connection has said HELLO here, and was answered. */
bool core_greeted(const struct core *c, const struct listener_peer *peer);
void core_frame(struct core *c, uint64_t now_ms, const struct listener_peer *peer, const struct frame *f);
/* Sessions that the last pass answered and that have neither ended nor said what comes next: most are about to. */
int core_away(const struct core *c);
/* Sessions whose steps wait to be computed. */
int core_waiting(const struct core *c);
/* What to compute next, of every session at most one piece (server/schedule.h). Gives how many; needs max_jobs of 2 or more. */
int core_take(struct core *c, struct core_job *jobs, int max_jobs);
/* The jobs of one core_take are computed; it took so long. */
void core_done(struct core *c, uint64_t now_ms, const struct core_job *jobs, int n, uint32_t server_us);
/* Milliseconds until it wants to be called again. */
int core_tick(struct core *c, uint64_t now_ms);
/* What only the socket knows, for STATS. */
void core_count(struct core *c, uint64_t uptime_ms, uint64_t keys_refused, uint64_t frames_refused);
void core_stats(const struct core *c, struct msg_stats *out);
/* What STATS does not carry. */
struct core_load {
    uint64_t errors[6];  /* told to users, by class: code / 100 */
    uint64_t queue_rows; /* waiting to be computed */
    uint64_t batches, batch_steps, batch_rows; /* what core_take gave so far */
};
void core_load(const struct core *c, struct core_load *out);

#endif
