/* tests/support/rig.h - server/core without sockets: a recording sender, a fake clock, a small model of random weights.
 *
 * Data flow   rig_give(frame) -> core -> rig.said; rig_work: what the worker does -> rig.said.
 * Shapes      letters of model/shape.h.
 * Units       milliseconds of rig.now, which only the test moves.
 * Errors      anything unexpected fails the test.
 * Memory      one rig per test process; rig_drop releases.
 * Secrets     none.
 */
#ifndef STIP_TESTS_SUPPORT_RIG_H
#define STIP_TESTS_SUPPORT_RIG_H

#include "server/core.h"
#include "tests/support/synth.h"
#include "transport/msg_rows.h"
#include "transport/msg_session.h"

#define RIG_SAID_MAX 64
#define RIG_EPOCH 5u
#define RIG_MANIFEST_BYTES (WIRE_PAYLOAD_MAX + 1000u)

struct rig_said {
    struct listener_peer peer;
    struct frame f;
};

struct rig {
    struct rig_said said[RIG_SAID_MAX]; /* since the last rig_forget */
    int said_n;
    enum listener_sent verdict; /* what the socket says ... */
    int room;                   /* ... after it took so many frames; -1: it takes all */
    struct listener_peer slow;  /* the only one that `room` is for; without a name: it is for all */
    struct net *net;
    struct core *core;
    struct core_model model;
    struct core_limits limits;
    size_t kv_bytes; /* budget and ... */
    enum kv_dtype kv_dtype; /* ... kind of the pool that rig_begin makes */
    uint8_t *manifest;
    uint64_t now;
    struct listener_peer alice, bob;
};
extern struct rig rig;

/* rig_load, changes to rig.limits, rig_begin. */
void rig_load(const char *architecture, const struct synth_shape *shape, bool head);
void rig_begin(void);
extern const struct synth_shape rig_small, rig_long; /* contexts of 128 and 1024 tokens */
void rig_make(void);      /* a small Llama */
void rig_make_wide(void); /* rows of 1024 and outputs of 2048 numbers: messages of several fragments */
void rig_drop(void);

/* Users 0, 1, 2 ... each over connection `line`. */
struct listener_peer rig_peer_of(int user, int line);
const uint8_t *rig_id_of(int session);
/* HELLO; OPEN without and with its check; both for rig.alice (with session 1) and rig.bob. */
void rig_greet(const struct listener_peer *p);
void rig_ask_open(const struct listener_peer *p, int session, uint32_t tokens);
void rig_open_one(const struct listener_peer *p, int session, uint32_t tokens);
void rig_settle(void);
void rig_give(const struct listener_peer *p, struct frame f);

/* What was said: nothing, exactly one frame, an error of this code, OPENED. All but rig_one forget it. */
void rig_forget(void);
void rig_quiet(void);
const struct frame *rig_one(enum wire_type type);
#define rig_error(code) rig_error_at(code, __LINE__)
void rig_error_at(enum wire_code code, int line);
struct msg_opened rig_opened(void);

/* Rows pos .. pos+T-1 of text number `text`. */
struct rig_step {
    uint64_t seq;
    int pos, T, out_from, out_n, text;
    bool bf16; /* rows and outputs on the wire; then in all steps of a text */
};
/* Row t of a text is the same wherever it is asked, made of numbers that are bfloat16 too (free()). */
float *rig_rows_of(int text, int from, int T);
struct frag_out rig_cut(int session, const struct rig_step *s, const float *x);
/* fragments -1: all. */
void rig_send_rows(const struct listener_peer *p, int session, const struct rig_step *s, const float *x, int fragments);
void rig_send_step(const struct listener_peer *p, int session, struct rig_step s);
/* core_take; one job of the worker; a pass over these jobs, and core_done; passes until nothing waits (gives the jobs). */
int rig_take(struct core_job jobs[8]);
void rig_compute(const struct core_job *job);
void rig_pass(const struct core_job *jobs, int n);
int rig_work(void);
/* The one frame said is this step's OUT with the numbers of a computation of our own. */
void rig_answered(const struct rig_step *s, uint32_t cached);
/* Sent, computed and right. */
void rig_step(const struct listener_peer *p, int session, struct rig_step s);
/* The session is alive and right. */
void rig_still_works(const struct listener_peer *p, int session, uint64_t seq, int pos);
struct msg_stats rig_stats(void);

#endif
