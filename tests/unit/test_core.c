/* The server's protocol without sockets: a recording sender, a fake clock, a small model. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/forward.h"
#include "model/checkpoint.h"
#include "server/core.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "transport/msg_blob.h"
#include "transport/msg_error.h"
#include "transport/msg_rows.h"
#include "transport/msg_session.h"
#include "transport/sealed.h"

#define SAID_MAX 64
#define EPOCH 5u
#define MANIFEST_BYTES (WIRE_PAYLOAD_MAX + 1000u)

/* ------------------------------------------------------------------ a server with nobody behind it */

struct said {
    struct listener_peer peer;
    struct frame f;
};

static struct said said[SAID_MAX]; /* since the last forget() */
static int said_n;
static enum listener_sent verdict; /* what the socket answers */
static int room;                   /* frames that it takes before it says that; -1: no end */

static char dir[FILE_PATH_MAX];
static struct checkpoint *cp;
static struct net *net;
static struct scratch *scratch;
static struct core *core;
static struct core_model model;
static struct core_limits limits;
static uint8_t *manifest;
static uint64_t now;
static struct err err;

static enum listener_sent record(void *arg, const struct listener_peer *peer, const struct frame *f)
{
    (void)arg;
    if (room == 0)
        return verdict;
    room -= room > 0 ? 1 : 0;
    cr_assert_eq(wire_check(&f->h, &err), WIRE_OK, "the server sends a bad frame: %s", err.text);
    cr_assert_lt(said_n, SAID_MAX);
    uint8_t *copy = malloc(f->h.length + 1);
    if (f->h.length > 0)
        memcpy(copy, f->payload, f->h.length);
    said[said_n] = (struct said){*peer, *f};
    said[said_n++].f.payload = copy;
    return LISTENER_SENT;
}

static void forget(void)
{
    for (int i = 0; i < said_n; i++)
        free((void *)(uintptr_t)said[i].f.payload);
    said_n = 0;
}

static void load(const char *architecture, const struct synth_shape *shape, bool head)
{
    tempdir_make(dir);
    cr_assert_eq(synth_checkpoint(dir, architecture, shape, 1, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&cp, dir, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(net_load(&net, cp, head, &err), 0, "%s", err.text);
    cr_assert_eq(scratch_new(&scratch, net, 2048, 16, &err), 0, "%s", err.text);
    manifest = malloc(MANIFEST_BYTES);
    for (size_t i = 0; i < MANIFEST_BYTES; i++)
        manifest[i] = (uint8_t)(i * 7);
    model = (struct core_model){.net = net, .manifest = manifest};
    model.hello = (struct msg_hello_ok){.head_kind = (uint8_t)net->config.head, .head_at_server = head ? 1 : 0, .epoch = EPOCH,
                                        .D = (uint32_t)net->config.D, .out_width = (uint32_t)net_outputs(net),
                                        .manifest_bytes = MANIFEST_BYTES, .context = {1, 2, 3}};
    limits = (struct core_limits){.context = 2000, .sessions = 100, .user_sessions = 50, .memory = (size_t)64 << 20, .ttl_ms = 60000,
                                  .rows = 1200, .out_rows = 1200};
    room = -1;
    now = 1000;
}

static void begin(void)
{
    cr_assert_eq(core_new(&core, &limits, &model, (struct core_sender){record, NULL}, &err), 0, "%s", err.text);
}

static const struct synth_shape small = {.D = 16, .H = 4, .G = 2, .L = 2, .V = 40, .F = 24, .positions = 128};
static const struct synth_shape wide = {.D = 1024, .H = 8, .L = 1, .V = 2048, .F = 16, .positions = 1200};

static void make(void)
{
    load("LlamaForCausalLM", &small, true);
    begin();
}

static void drop(void)
{
    forget();
    core_free(core);
    free(manifest);
    scratch_free(scratch);
    net_free(net);
    checkpoint_close(cp);
    tempdir_remove(dir);
}

TestSuite(core, .init = make, .fini = drop, .timeout = 120);
TestSuite(core_other, .fini = drop, .timeout = 120);

/* Users 0, 1, 2 ... each over connection `line`. */
static struct listener_peer peer_of(int user, int line)
{
    struct listener_peer p = {.rid_len = 5};
    p.rid[0] = (uint8_t)line;
    p.rid[1] = (uint8_t)user;
    p.key.curve_pub[0] = p.key.sign_pub[0] = (uint8_t)(user + 1);
    return p;
}

static struct listener_peer alice, bob;

static void give(const struct listener_peer *p, struct frame f)
{
    core_frame(core, now, p, &f);
}

/* The only frame said since the last forget(). */
static const struct frame *one(enum wire_type type)
{
    cr_assert_eq(said_n, 1, "%d frames, the first %s", said_n, said_n > 0 ? wire_type_name(said[0].f.h.type) : "-");
    cr_assert_eq(said[0].f.h.type, type, "%s instead of %s: %.*s", wire_type_name(said[0].f.h.type), wire_type_name(type),
                 (int)said[0].f.h.length, (const char *)said[0].f.payload);
    return &said[0].f;
}

#define error(code) error_at(code, __LINE__)
static void error_at(enum wire_code code, int line)
{
    cr_assert(said_n == 1 && said[0].f.h.type == WIRE_ERROR, "line %d: %d answers, the first %s", line, said_n, said_n > 0 ? wire_type_name(said[0].f.h.type) : "-");
    const struct frame *f = one(WIRE_ERROR);
    cr_expect_eq(f->h.code, code, "line %d: %s instead of %s: %.*s", line, wire_code_name(f->h.code), wire_code_name(code), (int)f->h.length,
                 (const char *)f->payload);
    forget();
}

static void quiet(void)
{
    cr_expect_eq(said_n, 0, "%s", wire_type_name(said[0].f.h.type));
    forget();
}

static void greet(const struct listener_peer *p)
{
    uint8_t body[MSG_HELLO_BYTES];
    struct msg_hello m = {.protocol_min = MSG_PROTOCOL_MIN, .protocol_max = MSG_PROTOCOL_MAX};
    give(p, msg_hello_encode(&m, body));
    (void)one(WIRE_HELLO_OK);
    forget();
}

static const uint8_t *id_of(int n)
{
    static uint8_t ids[4][WIRE_SESSION_BYTES];
    static unsigned turn;
    uint8_t *id = ids[turn++ % 4];
    memset(id, 0, WIRE_SESSION_BYTES);
    memcpy(id, &n, sizeof n);
    id[15] = 1;
    return id;
}

static void ask_open(const struct listener_peer *p, int session, uint32_t tokens)
{
    struct msg_open m = {.max_tokens = tokens};
    memcpy(m.session, id_of(session), sizeof m.session);
    give(p, msg_open_encode(&m));
}

static struct msg_opened opened(void)
{
    struct msg_opened m;
    cr_assert_eq(msg_opened_decode(&m, one(WIRE_OPENED), &err), WIRE_OK);
    forget();
    return m;
}

static void open_one(const struct listener_peer *p, int session, uint32_t tokens)
{
    ask_open(p, session, tokens);
    struct msg_opened m = opened();
    cr_expect(m.cached == 0 && m.seq == 0 && m.max_tokens == tokens);
}

/* Both users have said HELLO, alice has session 1. */
static void settle(void)
{
    alice = peer_of(0, 1);
    bob = peer_of(1, 2);
    greet(&alice);
    greet(&bob);
    open_one(&alice, 1, 100);
}

/* Row t of text `text`, the same wherever it is asked. */
static float *rows_of(int text, int from, int T)
{
    int D = net->config.D;
    float *x = malloc((size_t)T * (size_t)D * sizeof *x);
    for (int t = 0; t < T; t++)
        for (int d = 0; d < D; d++)
            x[(size_t)t * (size_t)D + (size_t)d] = sinf((float)(text * 977 + (from + t) * 31 + d * 7));
    return x;
}

struct step {
    uint64_t seq;
    int pos, T, out_from, out_n, text;
};

static struct frag_out cut(int session, const struct step *s, const float *x)
{
    struct frag_out out;
    struct msg_rows m = {.epoch = EPOCH, .seq = s->seq, .pos = (uint32_t)s->pos, .out_from = (uint32_t)s->out_from,
                         .out_n = (uint32_t)s->out_n};
    memcpy(m.session, id_of(session), sizeof m.session);
    struct sealed_rows sealed = {.rows = (size_t)s->T, .D = (size_t)net->config.D, .data = x};
    cr_assert_eq(msg_rows_send(&out, &m, &sealed, &err), WIRE_OK, "%s", err.text);
    return out;
}

/* Fragment by fragment, acknowledging ourselves: credit is tested on the other side. */
static void send_rows(const struct listener_peer *p, int session, const struct step *s, const float *x, int fragments)
{
    struct frag_out out = cut(session, s, x);
    struct frame f;
    for (int i = 0; (fragments < 0 || i < fragments) && frag_out_peek(&out, &f); i++) {
        give(p, f);
        frag_out_sent(&out);
        out.acked = out.sent;
    }
}

static void send_step(const struct listener_peer *p, int session, struct step s)
{
    float *x = rows_of(s.text, s.pos, s.T);
    send_rows(p, session, &s, x, -1);
    free(x);
}

static int take(struct core_job jobs[8])
{
    return core_take(core, jobs, 8, 4000);
}

static void compute(const struct core_job *job)
{
    struct forward_seq seq = job->seq;
    kvcache_truncate(seq.kv, job->pos);
    forward(net, scratch, &seq, 1);
}

/* What the worker does: everything that is queued. */
static int work(void)
{
    struct core_job jobs[8];
    int n = take(jobs);
    for (int i = 0; i < n; i++)
        compute(&jobs[i]);
    for (int i = 0; i < n; i++)
        core_done(core, now, &jobs[i], 77);
    return n;
}

/* Rows out_from.. of `text` after the first `pos` of it were cached, by a cache of our own. */
static float *fresh(const struct step *s)
{
    struct kvcache *kv;
    cr_assert_eq(kvcache_new(&kv, &net->config, s->pos + s->T, &err), 0);
    float *y = malloc((size_t)(s->out_n + 1) * (size_t)net_outputs(net) * sizeof *y), *x = rows_of(s->text, 0, s->pos + s->T);
    struct forward_seq seq = {.kv = kv, .x = x, .T = s->pos + s->T, .out_from = s->pos + s->out_from, .out_n = s->out_n, .out = y};
    forward(net, scratch, &seq, 1);
    kvcache_free(kv);
    free(x);
    return y;
}

/* The answer is right, and alone. */
static void answered(const struct step *s, uint32_t cached)
{
    struct msg_out m;
    const struct frame *f = one(WIRE_OUT);
    cr_assert_eq(msg_out_decode(&m, f, s->seq, (uint32_t)s->out_n, (uint32_t)net_outputs(net), &err), WIRE_OK, "%s", err.text);
    cr_expect_eq(m.cached, cached);
    cr_expect_eq(m.epoch, EPOCH);
    float *want = fresh(s);
    for (int i = 0; i < s->out_n * net_outputs(net); i++) {
        float got;
        memcpy(&got, f->payload + (size_t)i * sizeof got, sizeof got);
        cr_assert(fabsf(got - want[i]) < 1e-4f * (1 + fabsf(want[i])), "number %d is %g, expected %g", i, (double)got, (double)want[i]);
    }
    free(want);
    forget();
}

static void step(const struct listener_peer *p, int session, struct step s)
{
    send_step(p, session, s);
    cr_assert_eq(work(), 1);
    answered(&s, (uint32_t)(s.pos + s.T));
}

static struct msg_stats stats(void)
{
    struct msg_stats s;
    core_stats(core, &s);
    return s;
}

/* A session is alive and right. */
static void still_works(const struct listener_peer *p, int session, uint64_t seq, int pos)
{
    step(p, session, (struct step){.seq = seq, .pos = pos, .T = 2, .out_from = 1, .out_n = 1, .text = 9});
}

/* ------------------------------------------------------------------ the way it should go */

/* Mutation: pos ignored, out_from ignored, cached wrong: all change the numbers. */
Test(core, a_conversation_gives_the_numbers_of_a_fresh_computation)
{
    settle();
    step(&alice, 1, (struct step){.seq = 1, .pos = 0, .T = 9, .out_from = 8, .out_n = 1, .text = 1});
    step(&alice, 1, (struct step){.seq = 2, .pos = 9, .T = 1, .out_from = 0, .out_n = 1, .text = 1});
    step(&alice, 1, (struct step){.seq = 3, .pos = 10, .T = 5, .out_from = 1, .out_n = 3, .text = 1});
    step(&alice, 1, (struct step){.seq = 4, .pos = 15, .T = 3, .out_from = 0, .out_n = 0, .text = 1});
    give(&alice, msg_close_encode(id_of(1)));
    (void)one(WIRE_CLOSED);
    forget();
    cr_expect_eq(stats().sessions_open, 0);
    cr_expect_eq(stats().sessions_total, 1);
    cr_expect_eq(stats().rows_in, 18);
    cr_expect_eq(stats().rows_out, 5);
    cr_expect_eq(stats().busy_us, 4 * 77);
}

Test(core, hello_tells_the_limits_and_the_manifest_comes_in_chunks)
{
    uint8_t body[MSG_HELLO_BYTES];
    struct msg_hello m = {.protocol_min = 1, .protocol_max = 1};
    struct msg_hello_ok ok;
    alice = peer_of(0, 1);
    give(&alice, msg_hello_encode(&m, body));
    cr_assert_eq(msg_hello_ok_decode(&ok, one(WIRE_HELLO_OK), &err), WIRE_OK);
    cr_expect_eq(ok.max_tokens, 128, "the model's positions are fewer than the limit");
    cr_expect_eq(ok.max_sessions, 50);
    cr_expect_eq(ok.max_rows, 128);
    cr_expect_eq(ok.max_out_rows, 128);
    cr_expect(ok.D == 16 && ok.out_width == 40 && ok.epoch == EPOCH && ok.session_ttl_s == 60);
    forget();
    for (uint32_t i = 0; i < 2; i++) {
        give(&alice, msg_get_encode(BLOB_MANIFEST, i));
        const struct frame *f = one(WIRE_CHUNK);
        cr_expect_eq(f->h.length, i == 0 ? WIRE_PAYLOAD_MAX : 1000);
        cr_expect_arr_eq(f->payload, manifest + (size_t)i * WIRE_PAYLOAD_MAX, f->h.length);
        forget();
    }
    give(&alice, msg_get_encode(BLOB_MANIFEST, 2));
    error(WIRE_UNKNOWN_FILE);
    give(&alice, msg_get_encode(BLOB_MANIFEST, UINT32_MAX));
    error(WIRE_UNKNOWN_FILE);
    give(&alice, msg_get_encode(0, 0));
    error(WIRE_UNKNOWN_FILE);
}

Test(core, another_context_version_or_no_model_is_refused_at_hello)
{
    uint8_t body[MSG_HELLO_BYTES];
    struct msg_hello m = {.protocol_min = 1, .protocol_max = 1, .context = {9}};
    alice = peer_of(0, 1);
    give(&alice, msg_hello_encode(&m, body));
    error(WIRE_WRONG_CONTEXT);
    m = (struct msg_hello){.protocol_min = 2, .protocol_max = 9};
    give(&alice, msg_hello_encode(&m, body));
    error(WIRE_BAD_VERSION);
    core_set_model(core, NULL);
    m = (struct msg_hello){.protocol_min = 1, .protocol_max = 1};
    give(&alice, msg_hello_encode(&m, body));
    error(WIRE_NO_MODEL);
    core_set_model(core, &model);
    greet(&alice); /* the same connection may try again */
}

/* ------------------------------------------------------------------ what must not be said */

/* Every type from a client in every phase, whole and well formed: an answer or silence, never a crash, and a bystander is not
 * touched. Mutation: no phase check for session frames. */
Test(core, every_message_in_every_phase_does_no_harm)
{
    uint64_t bobs = 1;
    settle();
    open_one(&bob, 2, 100);
    for (int type = 1; type < WIRE_TYPE_END; type++)
        for (int phase = 0; phase < 7; phase++)
            for (int with_session = 0; with_session < 2; with_session++) {
                struct listener_peer p = peer_of(0, 10 + type);
                int session = 1000 + type * 20 + phase * 2 + with_session;
                static float row[16] = {1};
                uint8_t payload[64] = {1, 0, 1, 0};
                struct frame f = wire_frame((enum wire_type)type, with_session ? id_of(session) : NULL, NULL, 0);
                f.h.epoch = EPOCH;
                f.h.seq = 1;
                p.rid[2] = (uint8_t)session;
                p.rid[3] = (uint8_t)(session >> 8);
                if (phase >= 1) /* 0: before HELLO */
                    greet(&p);
                if (phase >= 2)
                    open_one(&p, session, 20);
                if (phase == 3) { /* a step waits */
                    send_step(&p, session, (struct step){.seq = 1, .T = 1, .out_n = 1});
                    quiet();
                }
                if (phase == 4) { /* a step was answered */
                    step(&p, session, (struct step){.seq = 1, .T = 1, .out_n = 1});
                }
                if (phase == 5) { /* closed */
                    give(&p, msg_close_encode(id_of(session)));
                    forget();
                }
                if (type == WIRE_ROWS || type == WIRE_OUT) {
                    f.h.dtype = WIRE_F32;
                    f.h.rank = 2;
                    f.h.last_dim = 16;
                    f.h.total = f.h.length = sizeof row;
                    f.payload = (const uint8_t *)row;
                } else if (type == WIRE_HELLO || type == WIRE_CHUNK || type == WIRE_GRANT || type == WIRE_OFFER ||
                           type == WIRE_STATS || type == WIRE_HELLO_OK || type == WIRE_ERROR) {
                    f.h.total = f.h.length = sizeof payload;
                    f.payload = payload;
                }
                give(&p, f);
                cr_expect_leq(said_n, 1, "%s in phase %d: %d answers", wire_type_name((unsigned)type), phase, said_n);
                bool listener_type = type == WIRE_HELLO_OK || type == WIRE_OPENED || type == WIRE_CLOSED || type == WIRE_CANCELLED ||
                                     type == WIRE_OUT || type == WIRE_CHUNK || type == WIRE_STATS;
                if (listener_type && phase >= 2)
                    cr_expect(said_n == 1 && said[0].f.h.type == WIRE_ERROR, "%s in phase %d", wire_type_name((unsigned)type), phase);
                forget();
                (void)work();
                forget();
                give(&p, msg_close_encode(id_of(session)));
                forget();
            }
    still_works(&bob, 2, bobs, 0);
    cr_expect_eq(stats().sessions_open, 2, "alice's and bob's own");
}

Test(core, a_session_of_another_key_or_connection_is_unknown)
{
    settle();
    step(&alice, 1, (struct step){.seq = 1, .T = 3, .out_from = 2, .out_n = 1, .text = 9});
    send_step(&bob, 1, (struct step){.seq = 2, .pos = 3, .T = 1, .out_n = 1});
    error(WIRE_UNKNOWN_SESSION);
    give(&bob, msg_cancel_encode(id_of(1)));
    error(WIRE_UNKNOWN_SESSION);
    give(&bob, msg_close_encode(id_of(1)));
    error(WIRE_UNKNOWN_SESSION);
    ask_open(&bob, 1, 10); /* the id is taken; which one has it is not said */
    error(WIRE_BUSY);
    struct listener_peer second = peer_of(0, 9);
    greet(&second);
    send_step(&second, 1, (struct step){.seq = 2, .pos = 3, .T = 1, .out_n = 1});
    error(WIRE_UNKNOWN_SESSION);
    still_works(&alice, 1, 2, 3);
}

Test(core, a_session_frame_before_hello_is_refused)
{
    alice = peer_of(0, 1);
    ask_open(&alice, 1, 10);
    error(WIRE_BAD_PHASE);
    give(&alice, msg_stats_get_encode());
    error(WIRE_BAD_PHASE);
    cr_expect_eq(stats().sessions_open, 0);
}

/* ------------------------------------------------------------------ steps: number, place, shape */

/* Mutation: computing again instead of answering from what is kept (the cache would hold the rows twice). */
Test(core, the_same_step_again_gets_the_same_bytes_again)
{
    struct step first = {.seq = 1, .T = 4, .out_from = 2, .out_n = 2, .text = 3};
    settle();
    send_step(&alice, 1, first);
    (void)work();
    struct frame kept = *one(WIRE_OUT);
    uint8_t *bytes = malloc(kept.h.length);
    memcpy(bytes, kept.payload, kept.h.length);
    forget();
    for (int i = 0; i < 3; i++) {
        send_step(&alice, 1, first);
        cr_expect_eq(work(), 0, "nothing to compute");
        const struct frame *f = one(WIRE_OUT);
        cr_expect(f->h.length == kept.h.length && f->h.seq == 1 && memcmp(f->h.arg, kept.h.arg, sizeof kept.h.arg) == 0);
        cr_expect_arr_eq(f->payload, bytes, kept.h.length);
        forget();
    }
    free(bytes);
    cr_expect_eq(stats().rows_in, 4, "repeated rows are not counted");
    step(&alice, 1, (struct step){.seq = 2, .pos = 4, .T = 1, .out_n = 1, .text = 3});
}

/* A user whose CANCEL crossed the answer may use the number for other rows: that must not get the old answer. Mutation: compare
 * the number only. */
Test(core, an_answered_number_with_other_rows_is_a_bad_seq_and_the_answer_stays)
{
    struct step first = {.seq = 1, .T = 4, .out_from = 2, .out_n = 2, .text = 3}, other = first;
    settle();
    step(&alice, 1, first);
    other.text = 4;
    send_step(&alice, 1, other);
    error(WIRE_BAD_SEQ);
    other = first;
    other.out_from = 1;
    send_step(&alice, 1, other);
    error(WIRE_BAD_SEQ);
    other = first;
    other.T = 3;
    other.out_from = 1;
    send_step(&alice, 1, other);
    error(WIRE_BAD_SEQ);
    send_step(&alice, 1, first);
    answered(&first, 4);
}

Test(core, a_gap_is_a_bad_seq_and_costs_nothing)
{
    struct step first = {.seq = 1, .T = 4, .out_from = 2, .out_n = 2, .text = 3};
    settle();
    send_step(&alice, 1, (struct step){.seq = 2, .T = 1, .out_n = 1});
    error(WIRE_BAD_SEQ);
    step(&alice, 1, first);
    send_step(&alice, 1, (struct step){.seq = 3, .pos = 4, .T = 1, .out_n = 1});
    error(WIRE_BAD_SEQ);
    send_step(&alice, 1, first); /* what was answered is still there */
    answered(&first, 4);
    step(&alice, 1, (struct step){.seq = 2, .pos = 4, .T = 1, .out_n = 1, .text = 3});
    send_step(&alice, 1, first);
    error(WIRE_BAD_SEQ);
}

/* Mutation: cutting the cache by the wrong number of rows, or not at all. */
Test(core, a_position_inside_the_cache_cuts_it_and_one_behind_it_is_refused)
{
    settle();
    step(&alice, 1, (struct step){.seq = 1, .T = 10, .out_from = 9, .out_n = 1, .text = 3});
    send_step(&alice, 1, (struct step){.seq = 2, .pos = 11, .T = 1, .out_n = 1});
    error(WIRE_BAD_SEQ);
    step(&alice, 1, (struct step){.seq = 2, .pos = 6, .T = 2, .out_n = 2, .text = 3});
    ask_open(&alice, 1, 100);
    cr_expect_eq(opened().cached, 8);
    step(&alice, 1, (struct step){.seq = 3, .pos = 0, .T = 3, .out_n = 1, .text = 4});
    step(&alice, 1, (struct step){.seq = 4, .pos = 3, .T = 1, .out_n = 1, .text = 4});
}

Test(core, shapes_and_numbers_that_do_not_fit_are_refused_and_the_session_goes_on)
{
    float *x = rows_of(0, 0, 128);
    struct step s = {.seq = 1, .T = 101, .out_n = 1};
    settle();
    send_rows(&alice, 1, &s, x, -1);
    error(WIRE_CONTEXT_FULL);
    s = (struct step){.seq = 1, .T = 2, .out_from = 1, .out_n = 2};
    send_rows(&alice, 1, &s, x, -1);
    error(WIRE_BAD_SHAPE);
    s = (struct step){.seq = 1, .T = 2, .out_n = 1};
    struct frag_out out = cut(1, &s, x);
    struct frame f;
    cr_assert(frag_out_peek(&out, &f));
    f.h.last_dim = 8;
    give(&alice, f);
    error(WIRE_BAD_SHAPE);
    x[17] = NAN;
    send_rows(&alice, 1, &s, x, -1);
    error(WIRE_NONFINITE);
    x[17] = INFINITY;
    send_rows(&alice, 1, &s, x, -1);
    error(WIRE_NONFINITE);
    cr_expect_eq(work(), 0);
    still_works(&alice, 1, 1, 0);
    free(x);
}

/* Mutation: NaN rows that reach a batch with others. */
Test(core, rows_that_are_not_finite_do_not_touch_the_others_of_a_batch)
{
    struct step good = {.seq = 1, .T = 3, .out_from = 2, .out_n = 1, .text = 6};
    float *x = rows_of(0, 0, 3);
    settle();
    open_one(&bob, 2, 100);
    send_step(&bob, 2, good);
    x[5] = NAN;
    send_rows(&alice, 1, &good, x, -1);
    error(WIRE_NONFINITE);
    cr_expect_eq(work(), 1);
    answered(&good, 3);
    free(x);
}

Test(core, rows_of_another_epoch_end_the_session)
{
    struct step s = {.seq = 1, .T = 1, .out_n = 1};
    float *x = rows_of(0, 0, 1);
    struct frame f;
    settle();
    struct frag_out out = cut(1, &s, x);
    cr_assert(frag_out_peek(&out, &f));
    f.h.epoch = EPOCH + 1;
    give(&alice, f);
    error(WIRE_WRONG_EPOCH);
    cr_expect_eq(stats().sessions_open, 0);
    send_step(&alice, 1, s);
    error(WIRE_UNKNOWN_SESSION);
    free(x);
}

/* A step that was begun and not ended left a buffer that was never written; asking for the step before must not send it.
 * Mutation: "again" decided by the number and by any buffer being there. */
Test(core, an_unfinished_step_is_never_sent_as_the_answer_of_the_one_before)
{
    struct step first = {.seq = 1, .T = 2, .out_from = 1, .out_n = 1, .text = 3};
    settle();
    step(&alice, 1, first);
    send_step(&alice, 1, (struct step){.seq = 2, .pos = 2, .T = 2, .out_from = 1, .out_n = 1, .text = 3});
    give(&alice, msg_cancel_encode(id_of(1))); /* before it was computed */
    (void)one(WIRE_CANCELLED);
    forget();
    send_step(&alice, 1, first);
    error(WIRE_BAD_SEQ); /* its answer gave way to step 2 */
    step(&alice, 1, (struct step){.seq = 2, .pos = 2, .T = 2, .out_from = 1, .out_n = 1, .text = 3});
}

/* ------------------------------------------------------------------ cancel */

Test(core, a_step_can_be_taken_back_before_while_and_after_it_is_computed)
{
    struct step first = {.seq = 1, .T = 3, .out_from = 2, .out_n = 1, .text = 3}, second = {.seq = 2, .pos = 3, .T = 2, .out_n = 2, .text = 3};
    struct core_job jobs[8];
    settle();
    give(&alice, msg_cancel_encode(id_of(1))); /* nothing to take back */
    (void)one(WIRE_CANCELLED);
    forget();
    send_step(&alice, 1, first); /* waiting */
    give(&alice, msg_cancel_encode(id_of(1)));
    (void)one(WIRE_CANCELLED);
    forget();
    cr_expect_eq(work(), 0);
    step(&alice, 1, first);
    send_step(&alice, 1, second); /* being computed */
    cr_assert_eq(take(jobs), 1);
    give(&alice, msg_cancel_encode(id_of(1)));
    quiet();
    send_step(&alice, 1, second);
    error(WIRE_BAD_PHASE);
    ask_open(&alice, 1, 10);
    error(WIRE_BUSY);
    compute(&jobs[0]);
    core_done(core, now, &jobs[0], 1);
    (void)one(WIRE_CANCELLED);
    forget();
    step(&alice, 1, second);
    give(&alice, msg_cancel_encode(id_of(1))); /* after: the answer has left, it stays */
    (void)one(WIRE_CANCELLED);
    forget();
    send_step(&alice, 1, second);
    answered(&second, 5);
    step(&alice, 1, (struct step){.seq = 3, .pos = 5, .T = 1, .out_n = 1, .text = 3});
}

/* Mutation: freeing a session whose step is with the worker. */
Test(core, a_session_that_ends_while_its_step_is_computed_waits_for_the_worker)
{
    struct core_job jobs[8];
    settle();
    open_one(&alice, 2, 50);
    for (int i = 1; i <= 2; i++)
        send_step(&alice, i, (struct step){.seq = 1, .T = 3, .out_n = 1});
    cr_assert_eq(take(jobs), 2);
    give(&alice, msg_close_encode(id_of(1)));
    (void)one(WIRE_CLOSED);
    forget();
    give(&alice, msg_cancel_encode(id_of(2)));
    give(&alice, msg_close_encode(id_of(2)));
    (void)one(WIRE_CLOSED);
    forget();
    now += 10000000;
    (void)core_tick(core, now); /* nor does time end it */
    for (int i = 0; i < 2; i++) {
        compute(&jobs[i]);
        core_done(core, now, &jobs[i], 1);
    }
    quiet();
    cr_expect_eq(stats().sessions_open, 0);
    core_set_model(core, &model);
}

Test(core, closing_a_session_takes_its_step_out_of_the_queue)
{
    struct step s = {.seq = 1, .T = 1, .out_n = 1};
    settle();
    open_one(&alice, 2, 50);
    open_one(&alice, 3, 50);
    for (int i = 1; i <= 3; i++)
        send_step(&alice, i, s);
    give(&alice, msg_close_encode(id_of(3))); /* the last: the queue's end moves */
    give(&alice, msg_close_encode(id_of(1))); /* the first */
    forget();
    open_one(&alice, 4, 50);
    send_step(&alice, 4, s);
    cr_expect_eq(work(), 2);
    cr_expect_eq(said_n, 2);
}

/* ------------------------------------------------------------------ limits */

Test(core, ten_thousand_sessions_leave_nothing_behind)
{
    settle();
    give(&alice, msg_close_encode(id_of(1)));
    forget();
    for (int i = 0; i < 10000; i++) {
        open_one(&alice, 2 + i, 100);
        if (i % 10 == 0)
            step(&alice, 2 + i, (struct step){.seq = 1, .T = 2, .out_n = 1});
        if (i % 3 == 0)
            send_step(&alice, 2 + i, (struct step){.seq = i % 10 == 0 ? 2 : 1, .T = 2, .out_n = 1});
        give(&alice, msg_close_encode(id_of(2 + i)));
        (void)one(WIRE_CLOSED);
        forget();
    }
    cr_expect_eq(stats().sessions_open, 0);
    cr_expect_eq(stats().sessions_total, 10001);
    cr_expect_eq(work(), 0);
}

/* Mutation: a budget that is not given back by a refused, closed or failed session. */
Test(core_other, sessions_users_and_memory_are_bounded_and_given_back)
{
    load("LlamaForCausalLM", &small, true);
    size_t one_cache = kvcache_bytes(&net->config, 100);
    limits.sessions = 6;
    limits.user_sessions = 4;
    limits.memory = 5 * one_cache + one_cache / 2;
    begin();
    settle();
    for (int round = 0; round < 200; round++) {
        for (int i = 2; i <= 4; i++)
            open_one(&alice, i, 100);
        ask_open(&alice, 5, 100);
        error(WIRE_BUSY); /* of one user */
        open_one(&bob, 6, 100);
        ask_open(&bob, 7, 100);
        error(WIRE_BUSY); /* memory */
        ask_open(&bob, 7, 1);
        (void)opened();
        ask_open(&bob, 8, 1);
        error(WIRE_BUSY); /* in all */
        for (int i = 2; i <= 4; i++)
            give(&alice, msg_close_encode(id_of(i)));
        give(&bob, msg_close_encode(id_of(6)));
        give(&bob, msg_close_encode(id_of(7)));
        forget();
        cr_assert_eq(stats().sessions_open, 1);
    }
    ask_open(&alice, 9, 129);
    error(WIRE_CONTEXT_FULL);
    ask_open(&alice, 9, UINT32_MAX);
    error(WIRE_CONTEXT_FULL);
}

/* The step's own buffers count too. */
Test(core_other, a_step_that_does_not_fit_the_memory_is_busy_and_can_be_tried_again)
{
    load("LlamaForCausalLM", &small, true);
    limits.memory = kvcache_bytes(&net->config, 100) + 4096 + 1024;
    begin();
    settle();
    float *x = rows_of(9, 0, 100);
    for (int i = 0; i < 1000; i++) {
        struct step s = {.seq = 1, .T = 100, .out_from = 0, .out_n = 100};
        send_rows(&alice, 1, &s, x, -1);
        error(WIRE_BUSY);
    }
    free(x);
    still_works(&alice, 1, 1, 0);
}

Test(core, an_idle_session_ends_and_a_busy_one_does_not)
{
    struct core_job jobs[8];
    settle();
    open_one(&bob, 2, 50);
    send_step(&bob, 2, (struct step){.seq = 1, .T = 1, .out_n = 1});
    cr_assert_eq(take(jobs), 1);
    now += 60000;
    cr_expect_leq(core_tick(core, now), 1000);
    cr_expect_eq(stats().sessions_open, 2);
    now += 2;
    (void)core_tick(core, now);
    cr_expect_eq(stats().sessions_open, 1, "alice's is gone, bob's is being computed");
    compute(&jobs[0]);
    core_done(core, now, &jobs[0], 1);
    (void)one(WIRE_OUT);
    forget();
    (void)core_tick(core, now + 60000);
    cr_expect_eq(stats().sessions_open, 1);
    (void)core_tick(core, now + 60001);
    cr_expect_eq(stats().sessions_open, 0);
    send_step(&alice, 1, (struct step){.seq = 1, .T = 1, .out_n = 1});
    error(WIRE_UNKNOWN_SESSION);
}

/* Mutation: connections forgotten after a fixed time, though a session may live longer. */
Test(core_other, a_connection_is_remembered_as_long_as_its_sessions)
{
    load("LlamaForCausalLM", &small, true);
    limits.ttl_ms = 7200000;
    begin();
    settle();
    now += 7200000;
    (void)core_tick(core, now);
    still_works(&alice, 1, 1, 0);
    now += 7200001;
    (void)core_tick(core, now);
    cr_expect_eq(stats().sessions_open, 0);
    ask_open(&alice, 2, 10);
    error(WIRE_BAD_PHASE);
    greet(&alice);
}

/* ------------------------------------------------------------------ connections that break */

Test(core, a_user_who_comes_back_finds_the_session_and_the_answer)
{
    struct step first = {.seq = 1, .T = 3, .out_from = 2, .out_n = 1, .text = 3}, second = {.seq = 2, .pos = 3, .T = 2, .out_n = 1, .text = 3};
    settle();
    step(&alice, 1, first);
    send_step(&alice, 1, second);
    room = 0;
    verdict = LISTENER_GONE; /* the line breaks while the step is computed */
    cr_expect_eq(work(), 1);
    room = -1;
    (void)core_tick(core, now);
    quiet();
    struct listener_peer again = peer_of(0, 9);
    greet(&again);
    ask_open(&again, 1, 100);
    struct msg_opened m = opened();
    cr_expect(m.seq == 2 && m.cached == 5 && m.max_tokens == 100);
    send_step(&again, 1, second);
    cr_expect_eq(work(), 0);
    answered(&second, 5);
    step(&again, 1, (struct step){.seq = 3, .pos = 5, .T = 1, .out_n = 1, .text = 3});
    give(&alice, msg_close_encode(id_of(1))); /* the old connection has lost it */
    error(WIRE_UNKNOWN_SESSION);
}

/* ------------------------------------------------------------------ large messages */

static void make_wide(void)
{
    load("LlamaForCausalLM", &wide, true);
    limits.memory = (size_t)256 << 20;
    begin();
}

Test(core_other, fragments_of_several_sessions_may_come_mixed)
{
    struct step s = {.seq = 1, .T = 600, .out_from = 599, .out_n = 1, .text = 2}; /* 2.4 MB: three fragments */
    struct frag_out out[3];
    make_wide();
    alice = peer_of(0, 1);
    bob = peer_of(1, 2);
    greet(&alice);
    greet(&bob);
    float *x = rows_of(2, 0, 600);
    for (int i = 0; i < 3; i++) {
        open_one(i < 2 ? &alice : &bob, i, 600);
        out[i] = cut(i, &s, x);
    }
    for (int part = 0; part < 3; part++)
        for (int i = 0; i < 3; i++) {
            struct frame f;
            cr_assert(frag_out_peek(&out[i], &f));
            give(i < 2 ? &alice : &bob, f);
            frag_out_sent(&out[i]);
            if (part < 2) {
                const struct frame *ack = one(WIRE_ACK);
                cr_expect(ack->h.arg[0] == (uint32_t)part + 1 && memcmp(ack->h.session, id_of(i), WIRE_SESSION_BYTES) == 0);
            } else {
                quiet();
            }
            forget();
        }
    struct core_job jobs[8];
    cr_assert_eq(core_take(core, jobs, 8, 1200), 2, "as many as fit a batch");
    for (int i = 0; i < 2; i++) {
        compute(&jobs[i]);
        core_done(core, now, &jobs[i], 1);
        answered(&s, 600);
    }
    cr_assert_eq(work(), 1);
    answered(&s, 600);
    free(x);
}

/* Mutation: a fragment taken at an offset that skips or overlaps. */
Test(core_other, a_fragment_out_of_place_ends_its_message_only)
{
    struct step s = {.seq = 1, .T = 600, .out_from = 599, .out_n = 1, .text = 2};
    struct frame f;
    make_wide();
    settle();
    give(&alice, msg_close_encode(id_of(1)));
    forget();
    open_one(&alice, 1, 600);
    float *x = rows_of(2, 0, 600);
    send_rows(&alice, 1, &s, x, 1);
    forget();
    struct frag_out out = cut(1, &s, x);
    for (int i = 0; i < 2; i++)
        frag_out_sent(&out);
    cr_assert(frag_out_peek(&out, &f));
    give(&alice, f); /* the third after the first */
    error(WIRE_BAD_FRAME);
    give(&alice, f); /* what follows a refusal is dropped */
    quiet();
    send_rows(&alice, 1, &s, x, 2); /* half a message, then the line is taken up anew */
    forget();
    ask_open(&alice, 1, 600);
    (void)opened();
    send_rows(&alice, 1, &s, x, -1);
    forget();
    cr_assert_eq(work(), 1);
    answered(&s, 600);
    /* The repeated step, fragment by fragment, with one wrong number near the end. */
    x[599 * 1024 + 3] += 1;
    send_rows(&alice, 1, &s, x, 2);
    cr_expect_eq(said_n, 2);
    forget();
    cr_assert(frag_out_peek(&out, &f));
    f.payload = (const uint8_t *)x + f.h.offset;
    give(&alice, f);
    error(WIRE_BAD_SEQ);
    free(x);
}

/* 1100 rows of 2048 outputs are 9 MB: nine fragments, of which eight may be without an ACK. */
static struct step large(uint64_t seq)
{
    return (struct step){.seq = seq, .T = 1100, .out_n = 1100, .text = 2};
}

static void start_large(void)
{
    struct step s = large(1);
    make_wide();
    alice = peer_of(0, 1);
    greet(&alice);
    open_one(&alice, 1, 1200);
    float *x = rows_of(2, 0, 1100);
    send_rows(&alice, 1, &s, x, -1);
    free(x);
    forget();
}

static struct frame ack_of(uint64_t seq, uint32_t arrived)
{
    struct frame f = wire_frame(WIRE_ACK, id_of(1), NULL, 0);
    f.h.seq = seq;
    f.h.epoch = EPOCH;
    f.h.arg[0] = arrived;
    return f;
}

Test(core_other, a_large_answer_waits_for_credit)
{
    start_large();
    cr_assert_eq(work(), 1);
    cr_expect_eq(said_n, 8);
    forget();
    (void)core_tick(core, now);
    quiet();
    give(&alice, ack_of(1, 1));
    const struct frame *last = one(WIRE_OUT);
    cr_expect(last->h.flags == WIRE_LAST && last->h.offset == 8u * WIRE_PAYLOAD_MAX);
    forget();
    give(&alice, ack_of(1, 9)); /* late */
    quiet();
    step(&alice, 1, (struct step){.seq = 2, .pos = 1100, .T = 1, .out_n = 1, .text = 2});
}

Test(core_other, an_ack_of_what_was_not_sent_is_refused_and_the_answer_can_be_asked_again)
{
    struct step s = large(1);
    start_large();
    cr_assert_eq(work(), 1);
    forget();
    give(&alice, ack_of(1, 9));
    error(WIRE_BAD_FRAME);
    float *x = rows_of(2, 0, 1100);
    send_rows(&alice, 1, &s, x, -1);
    cr_expect_eq(said_n, 4 + 8, "the acknowledgements of five fragments but one, then the answer from its start");
    free(x);
}

Test(core_other, a_cancel_in_the_middle_of_an_answer_takes_the_step_back)
{
    start_large();
    cr_assert_eq(work(), 1);
    forget();
    give(&alice, msg_cancel_encode(id_of(1)));
    (void)one(WIRE_CANCELLED);
    forget();
    give(&alice, ack_of(1, 8)); /* crossed */
    quiet();
    ask_open(&alice, 1, 1200);
    struct msg_opened m = opened();
    cr_expect(m.cached == 0 && m.seq == 0);
    step(&alice, 1, (struct step){.seq = 1, .T = 4, .out_from = 3, .out_n = 1, .text = 5});
}

/* Mutation: no end to a peer that does not read, or a count that never starts at time 0. */
Test(core_other, a_user_who_does_not_read_is_dropped_after_half_a_minute)
{
    start_large();
    now = 0;
    room = 3;
    verdict = LISTENER_FULL;
    cr_assert_eq(work(), 1);
    cr_expect_eq(said_n, 3);
    forget();
    now = 20000;
    cr_expect_leq(core_tick(core, now), 100, "it is tried again soon");
    room = 1; /* a little goes: the time starts anew */
    (void)core_tick(core, now);
    cr_expect_eq(said_n, 1);
    now = 50000;
    (void)core_tick(core, now);
    cr_expect_eq(stats().sessions_open, 1);
    now = 50001;
    (void)core_tick(core, now);
    cr_expect_eq(stats().sessions_open, 0);
    cr_expect_eq(stats().peers_dropped, 1);
    room = -1;
    (void)core_tick(core, now);
    cr_expect_eq(said_n, 1, "nothing more is sent");
}

/* Mutation: a session with an answer under way never counts as idle. */
Test(core_other, a_user_who_reads_but_never_acknowledges_is_forgotten_like_an_idle_one)
{
    start_large();
    cr_assert_eq(work(), 1);
    cr_expect_eq(said_n, 8);
    now += 60001;
    cr_expect_geq(core_tick(core, now), 1000, "there is nothing to try again");
    cr_expect_eq(stats().sessions_open, 0);
}

/* ------------------------------------------------------------------ another package */

Test(core, another_package_ends_all_sessions_and_all_greetings)
{
    settle();
    open_one(&bob, 2, 50);
    step(&bob, 2, (struct step){.seq = 1, .T = 1, .out_n = 1, .text = 9});
    send_step(&alice, 1, (struct step){.seq = 1, .T = 1, .out_n = 1}); /* waits */
    model.hello.epoch = EPOCH + 1;
    core_set_model(core, &model);
    cr_assert_eq(said_n, 2);
    for (int i = 0; i < 2; i++)
        cr_expect(said[i].f.h.type == WIRE_ERROR && said[i].f.h.code == WIRE_EPOCH_CHANGED);
    forget();
    cr_expect_eq(stats().sessions_open, 0);
    cr_expect_eq(work(), 0);
    ask_open(&alice, 1, 50);
    error(WIRE_BAD_PHASE);
    greet(&alice);
    open_one(&alice, 1, 50);
    model.hello.epoch = EPOCH;
}

/* ------------------------------------------------------------------ bidirectional models */

Test(core_other, a_classifier_takes_whole_texts_and_answers_the_first_row)
{
    const struct synth_shape shape = {.D = 16, .H = 4, .L = 2, .V = 40, .F = 24, .positions = 64, .classes = 3};
    load("BertForSequenceClassification", &shape, true);
    limits.rows = 8; /* does not hold for them: a text cannot be cut */
    begin();
    alice = peer_of(0, 1);
    greet(&alice);
    open_one(&alice, 1, 64);
    step(&alice, 1, (struct step){.seq = 1, .T = 20, .out_n = 1, .text = 1});
    step(&alice, 1, (struct step){.seq = 2, .T = 11, .out_n = 1, .text = 2}); /* the text before is forgotten */
    send_step(&alice, 1, (struct step){.seq = 3, .pos = 11, .T = 2, .out_n = 1});
    error(WIRE_BAD_SHAPE);
    send_step(&alice, 1, (struct step){.seq = 3, .T = 5, .out_from = 1, .out_n = 1});
    error(WIRE_BAD_SHAPE);
    send_step(&alice, 1, (struct step){.seq = 3, .T = 5, .out_n = 2});
    error(WIRE_BAD_SHAPE);
    step(&alice, 1, (struct step){.seq = 3, .T = 64, .out_n = 1, .text = 3});
}

Test(core_other, a_classifier_whose_head_is_the_users_gives_any_hidden_rows)
{
    const struct synth_shape shape = {.D = 16, .H = 4, .L = 2, .V = 40, .F = 24, .positions = 64, .classes = 3};
    load("BertForSequenceClassification", &shape, false);
    begin();
    alice = peer_of(0, 1);
    greet(&alice);
    open_one(&alice, 1, 64);
    step(&alice, 1, (struct step){.seq = 1, .T = 20, .out_from = 3, .out_n = 4, .text = 1});
}
