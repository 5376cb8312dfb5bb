/* server/core.h - the server's half of the inference protocol as a state machine: no sockets, no threads, no clock.
 *
 * Data flow   frame + time -> core_frame -> answers through `send`; complete ROWS -> core_take -> forward() elsewhere ->
 *             core_done -> OUT through `send`. core_tick ends what is overdue and retries what did not fit.
 * Shapes      rows [T,D] in, outputs [out_n, width] back; both permuted.
 * Units       milliseconds (any monotonic clock), bytes.
 * Errors      a peer's mistake is answered with an ERROR frame and costs at most its session. core_new: memory.
 * Memory      core_new gives. Sessions own KV caches and step buffers, all counted against limits.memory; what does not
 *             fit is refused with BUSY.
 * Secrets     sees permuted rows only. A session belongs to the key that opened it; others get UNKNOWN_SESSION.
 */
#ifndef STIP_SERVER_CORE_H
#define STIP_SERVER_CORE_H

#include "base/err.h"
#include "engine/forward.h"
#include "transport/listener.h"
#include "transport/msg_hello.h"
#include "transport/msg_stats.h"

struct core_limits {
    int context;       /* tokens per session */
    int sessions;      /* in all */
    int user_sessions; /* per key */
    size_t memory;     /* bytes of KV caches and step buffers */
    int ttl_ms;        /* an idle session lives this long */
    int rows, out_rows; /* of one message */
};

/* The model that is served. Borrowed. */
struct core_model {
    const struct net *net;
    struct msg_hello_ok hello; /* limits are filled in by the core */
    const uint8_t *manifest;   /* manifest and signature, as GET(BLOB_MANIFEST) sends them */
};

struct core_sender {
    enum listener_sent (*send)(void *arg, const struct listener_peer *peer, const struct frame *f);
    void *arg;
};

/* One step to compute: kvcache_truncate(seq.kv, pos), then forward(). */
struct core_job {
    struct session *session;
    int pos;
    struct forward_seq seq;
};

struct core;
/* model NULL: greets nobody (NO_MODEL) until core_model. */
MUST_CHECK int core_new(struct core **out, const struct core_limits *limits, const struct core_model *model,
                        struct core_sender sender, struct err *err);
void core_free(struct core *c);
/* Another model: all sessions end with EPOCH_CHANGED. Only while no job is out. */
void core_set_model(struct core *c, const struct core_model *model);

void core_frame(struct core *c, uint64_t now_ms, const struct listener_peer *peer, const struct frame *f);
/* Steps that are ready, oldest first, while their rows fit into max_rows. Gives how many. */
int core_take(struct core *c, struct core_job *jobs, int max_jobs, int max_rows);
void core_done(struct core *c, uint64_t now_ms, const struct core_job *job, uint32_t server_us);
/* Milliseconds until it wants to be called again. */
int core_tick(struct core *c, uint64_t now_ms);
/* What only the socket knows, for STATS. */
void core_count(struct core *c, uint64_t uptime_ms, uint64_t keys_refused, uint64_t frames_refused);
void core_stats(const struct core *c, struct msg_stats *out);

#endif
