#include "tests/support/rig.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "engine/forward.h"
#include "model/checkpoint.h"
#include "tests/support/tempdir.h"
#include "transport/msg_error.h"
#include "transport/sealed.h"

struct rig rig;

static char dir[FILE_PATH_MAX];
static struct checkpoint *cp;
static struct scratch *scratch;
static struct err err;

static enum listener_sent record(void *arg, const struct listener_peer *peer, const struct frame *f)
{
    (void)arg;
    if (rig.slow.rid_len == 0 || listener_peer_equal(&rig.slow, peer)) {
        if (rig.room == 0)
            return rig.verdict;
        rig.room -= rig.room > 0 ? 1 : 0;
    }
    cr_assert_eq(wire_check(&f->h, &err), WIRE_OK, "the server sends a bad frame: %s", err.text);
    cr_assert_lt(rig.said_n, RIG_SAID_MAX);
    uint8_t *copy = malloc(f->h.length + 1);
    if (f->h.length > 0)
        memcpy(copy, f->payload, f->h.length);
    rig.said[rig.said_n] = (struct rig_said){*peer, *f};
    rig.said[rig.said_n++].f.payload = copy;
    return LISTENER_SENT;
}

void rig_forget(void)
{
    for (int i = 0; i < rig.said_n; i++)
        free((void *)(uintptr_t)rig.said[i].f.payload);
    rig.said_n = 0;
}

void rig_load(const char *architecture, const struct synth_shape *shape, bool head)
{
    tempdir_make(dir);
    cr_assert_eq(synth_checkpoint(dir, architecture, shape, 1, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&cp, dir, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(net_load(&rig.net, cp, head, COMPUTE_F32, &err), 0, "%s", err.text);
    cr_assert_eq(scratch_new(&scratch, rig.net, 4096, 16, &err), 0, "%s", err.text);
    rig.manifest = malloc(RIG_MANIFEST_BYTES);
    for (size_t i = 0; i < RIG_MANIFEST_BYTES; i++)
        rig.manifest[i] = (uint8_t)(i * 7);
    rig.model = (struct core_model){.net = rig.net, .manifest = rig.manifest};
    rig.model.hello = (struct msg_hello_ok){.head_kind = (uint8_t)rig.net->config.head,
                                            .head_at_server = head ? 1 : 0,
                                            .epoch = RIG_EPOCH,
                                            .D = (uint32_t)rig.net->config.D,
                                            .out_width = (uint32_t)net_outputs(rig.net),
                                            .manifest_bytes = RIG_MANIFEST_BYTES,
                                            .context = {1, 2, 3}};
    rig.limits = (struct core_limits){.context = 2000,
                                      .sessions = 100,
                                      .user_sessions = 50,
                                      .steps = (size_t)64 << 20,
                                      .ttl_ms = 60000,
                                      .rows = 1200,
                                      .out_rows = 1200,
                                      .chunk_rows = 2000,
                                      .queue_rows = 1 << 20};
    rig.kv_bytes = (size_t)64 << 20;
    rig.room = -1;
    rig.now = 1000;
}

void rig_begin(void)
{
    cr_assert_eq(kvpool_new(&rig.model.pool, &rig.net->config, rig.kv_dtype, rig.kv_bytes, &err), 0, "%s", err.text);
    cr_assert_eq(core_new(&rig.core, &rig.limits, &rig.model, (struct core_sender){record, NULL}, &err), 0, "%s", err.text);
}

const struct synth_shape rig_small = {.D = 16, .H = 4, .G = 2, .L = 2, .V = 40, .F = 24, .positions = 128};
const struct synth_shape rig_long = {.D = 16, .H = 4, .G = 2, .L = 2, .V = 40, .F = 24, .positions = 1024};
static const struct synth_shape wide = {.D = 1024, .H = 8, .L = 1, .V = 2048, .F = 16, .positions = 1200};

void rig_make(void)
{
    rig_load("LlamaForCausalLM", &rig_small, true);
    rig_begin();
}

void rig_drop(void)
{
    rig_forget();
    core_free(rig.core);
    kvpool_free(rig.model.pool);
    free(rig.manifest);
    scratch_free(scratch);
    net_free(rig.net);
    checkpoint_close(cp);
    tempdir_remove(dir);
}

void rig_make_wide(void)
{
    rig_load("LlamaForCausalLM", &wide, true);
    rig.limits.steps = (size_t)256 << 20;
    rig_begin();
}

struct listener_peer rig_peer_of(int user, int line)
{
    struct listener_peer p = {.rid_len = 5};
    p.rid[0] = (uint8_t)line;
    p.rid[1] = (uint8_t)user;
    p.key.curve_pub[0] = p.key.sign_pub[0] = (uint8_t)(user + 1);
    return p;
}

void rig_give(const struct listener_peer *p, struct frame f)
{
    core_frame(rig.core, rig.now, p, &f);
}

const struct frame *rig_one(enum wire_type type)
{
    cr_assert_eq(rig.said_n, 1, "%d frames, the first %s", rig.said_n,
                 rig.said_n > 0 ? wire_type_name(rig.said[0].f.h.type) : "-");
    cr_assert_eq(rig.said[0].f.h.type, type, "%s instead of %s: %.*s", wire_type_name(rig.said[0].f.h.type), wire_type_name(type),
                 (int)rig.said[0].f.h.length, (const char *)rig.said[0].f.payload);
    return &rig.said[0].f;
}

void rig_error_at(enum wire_code code, int line)
{
    cr_assert(rig.said_n == 1 && rig.said[0].f.h.type == WIRE_ERROR, "line %d: %d answers, the first %s", line, rig.said_n,
              rig.said_n > 0 ? wire_type_name(rig.said[0].f.h.type) : "-");
    const struct frame *f = rig_one(WIRE_ERROR);
    cr_expect_eq(f->h.code, code, "line %d: %s instead of %s: %.*s", line, wire_code_name(f->h.code), wire_code_name(code),
                 (int)f->h.length, (const char *)f->payload);
    rig_forget();
}

void rig_quiet(void)
{
    cr_expect_eq(rig.said_n, 0, "%s", wire_type_name(rig.said[0].f.h.type));
    rig_forget();
}

void rig_greet(const struct listener_peer *p)
{
    uint8_t body[MSG_HELLO_BYTES];
    struct msg_hello m = {.protocol_min = MSG_PROTOCOL_MIN, .protocol_max = MSG_PROTOCOL_MAX};
    rig_give(p, msg_hello_encode(&m, body));
    (void)rig_one(WIRE_HELLO_OK);
    rig_forget();
}

const uint8_t *rig_id_of(int n)
{
    static uint8_t ids[4][WIRE_SESSION_BYTES];
    static unsigned turn;
    uint8_t *id = ids[turn++ % 4];
    memset(id, 0, WIRE_SESSION_BYTES);
    memcpy(id, &n, sizeof n);
    id[15] = 1;
    return id;
}

void rig_ask_open(const struct listener_peer *p, int session, uint32_t tokens)
{
    struct msg_open m = {.max_tokens = tokens};
    memcpy(m.session, rig_id_of(session), sizeof m.session);
    rig_give(p, msg_open_encode(&m));
}

struct msg_opened rig_opened(void)
{
    struct msg_opened m;
    cr_assert_eq(msg_opened_decode(&m, rig_one(WIRE_OPENED), &err), WIRE_OK);
    rig_forget();
    return m;
}

void rig_open_one(const struct listener_peer *p, int session, uint32_t tokens)
{
    rig_ask_open(p, session, tokens);
    struct msg_opened m = rig_opened();
    cr_expect(m.cached == 0 && m.seq == 0 && m.max_tokens == tokens);
}

void rig_settle(void)
{
    rig.alice = rig_peer_of(0, 1);
    rig.bob = rig_peer_of(1, 2);
    rig_greet(&rig.alice);
    rig_greet(&rig.bob);
    rig_open_one(&rig.alice, 1, 100);
}

float *rig_rows_of(int text, int from, int T)
{
    int D = rig.net->config.D;
    float *x = malloc((size_t)T * (size_t)D * sizeof *x);
    for (int t = 0; t < T; t++)
        for (int d = 0; d < D; d++)
            x[(size_t)t * (size_t)D + (size_t)d] =
                bf16_to_f32(bf16_from_f32(sinf((float)(text * 977 + (from + t) * 31 + d * 7))));
    return x;
}

struct frag_out rig_cut(int session, const struct rig_step *s, const float *x)
{
    struct frag_out out;
    struct msg_rows m = {.epoch = RIG_EPOCH,
                         .seq = s->seq,
                         .pos = (uint32_t)s->pos,
                         .out_from = (uint32_t)s->out_from,
                         .out_n = (uint32_t)s->out_n};
    memcpy(m.session, rig_id_of(session), sizeof m.session);
    struct sealed_rows sealed = {.rows = (size_t)s->T, .D = (size_t)rig.net->config.D, .data = x, .bf16 = s->bf16};
    cr_assert_eq(msg_rows_send(&out, &m, &sealed, &err), WIRE_OK, "%s", err.text);
    return out;
}

/* Fragment by fragment, acknowledging ourselves: credit is tested on the other side. */
void rig_send_rows(const struct listener_peer *p, int session, const struct rig_step *s, const float *x, int fragments)
{
    struct frag_out out = rig_cut(session, s, x);
    struct frame f;
    for (int i = 0; (fragments < 0 || i < fragments) && frag_out_peek(&out, &f); i++) {
        rig_give(p, f);
        frag_out_sent(&out);
        out.acked = out.sent;
    }
}

void rig_send_step(const struct listener_peer *p, int session, struct rig_step s)
{
    float *x = rig_rows_of(s.text, s.pos, s.T);
    if (s.bf16)
        bf16_narrow(x, (size_t)s.T * (size_t)rig.net->config.D);
    rig_send_rows(p, session, &s, x, -1);
    free(x);
}

int rig_take(struct core_job jobs[8])
{
    return core_take(rig.core, jobs, 8);
}

void rig_compute(const struct core_job *job)
{
    struct forward_seq seq = job->seq;
    forward(rig.net, scratch, &seq, 1);
}

void rig_pass(const struct core_job *jobs, int n)
{
    struct forward_seq seqs[8];
    for (int i = 0; i < n; i++)
        seqs[i] = jobs[i].seq;
    forward(rig.net, scratch, seqs, n);
    core_done(rig.core, rig.now, jobs, n, 77);
}

int rig_work(void)
{
    struct core_job jobs[8];
    int n, all = 0;
    while ((n = rig_take(jobs)) > 0) {
        rig_pass(jobs, n);
        all += n;
    }
    return all;
}

/* Rows out_from.. of `text` after the first `pos` of it were cached, by a cache of our own. */
static float *fresh(const struct rig_step *s)
{
    struct kvcache *kv;
    cr_assert_eq(kvcache_new_alone(&kv, &rig.net->config, KV_F32, s->pos + s->T, &err), 0);
    float *y = malloc((size_t)(s->out_n + 1) * (size_t)net_outputs(rig.net) * sizeof *y),
          *x = rig_rows_of(s->text, 0, s->pos + s->T);
    struct forward_seq seq = {
        .kv = kv, .x = x, .T = s->pos + s->T, .out_from = s->pos + s->out_from, .out_n = s->out_n, .out = y};
    forward(rig.net, scratch, &seq, 1);
    kvcache_free(kv);
    free(x);
    return y;
}

void rig_answered(const struct rig_step *s, uint32_t cached)
{
    struct msg_out m;
    const struct frame *f = rig_one(WIRE_OUT);
    const struct msg_rows asked = {.seq = s->seq, .out_n = (uint32_t)s->out_n, .bf16 = s->bf16};
    cr_assert_eq(msg_out_decode(&m, f, &asked, (uint32_t)net_outputs(rig.net), &err), WIRE_OK, "%s",
                 err.text);
    cr_expect_eq(m.cached, cached);
    cr_expect_eq(m.epoch, RIG_EPOCH);
    float *want = fresh(s);
    for (int i = 0; i < s->out_n * net_outputs(rig.net); i++) {
        float got;
        if (s->bf16)
            got = bf16_to_f32(le_get16(f->payload + (size_t)i * 2));
        else
            memcpy(&got, f->payload + (size_t)i * sizeof got, sizeof got);
        cr_assert(fabsf(got - want[i]) < (s->bf16 ? 1e-2f : 1e-4f) * (1 + fabsf(want[i])), "number %d is %g, expected %g", i, (double)got,
                  (double)want[i]);
    }
    free(want);
    rig_forget();
}

void rig_step(const struct listener_peer *p, int session, struct rig_step s)
{
    rig_send_step(p, session, s);
    cr_assert_eq(rig_work(), 1);
    rig_answered(&s, (uint32_t)(s.pos + s.T));
}

struct msg_stats rig_stats(void)
{
    struct msg_stats s;
    core_stats(rig.core, &s);
    return s;
}

void rig_still_works(const struct listener_peer *p, int session, uint64_t seq, int pos)
{
    rig_step(p, session, (struct rig_step){.seq = seq, .pos = pos, .T = 2, .out_from = 1, .out_n = 1, .text = 9});
}
