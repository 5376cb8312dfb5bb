/* One step: from its first fragment, through the passes that compute it, to its answer. */
#include <stdio.h>
#include <string.h>

#include "base/bf16.h"
#include "base/finite.h"
#include "base/log.h"
#include "model/arch.h"
#include "server/core_state.h"
#include "transport/msg_session.h"

#define GONE_MS 1000 /* who cannot be reached has left; tried again for so long, since who is there after all would wait in vain */

/* ------------------------------------------------------------------ the answer */

void step_flush(struct core *c, struct session *s)
{
    struct frame f;
    while (s->sending && frag_out_peek(&s->out_frag, &f)) {
        f.h.epoch = c->model.hello.epoch;
        switch (connections_send(c->connections, &s->peer, &f)) {
        case LISTENER_SENT:
            if (phase_step(PHASE_INFER, &s->phase, PHASE_SERVER, &f.h) == PHASE_ILLEGAL)
                log_error("session %s: OUT sent in phase %s", s->name, phase_name(s->phase));
            frag_out_sent(&s->out_frag);
            s->blocked = false;
            break;
        case LISTENER_FULL:
            if (!s->blocked)
                s->blocked_ms = c->now_ms;
            s->blocked = true;
            if (c->now_ms - s->blocked_ms > CONNECTION_SLOW_MS) {
                log_warn("session %s: the user does not read its answer; the session ends", s->name);
                c->stats.peers_dropped++;
                core_end(c, s);
            }
            return;
        case LISTENER_GONE:
            if (!s->blocked)
                s->blocked_ms = c->now_ms;
            s->blocked = true;
            if (c->now_ms - s->blocked_ms > GONE_MS) {
                s->sending = false; /* the answer stays for the same step asked again */
                s->phase = PHASE_OPEN;
            }
            return;
        }
    }
    if (s->sending && frag_out_all_sent(&s->out_frag))
        s->sending = false;
}

static void answer(struct core *c, struct session *s)
{
    struct err err;
    struct msg_out m = {.epoch = c->model.hello.epoch, .seq = s->step.seq, .server_us = s->server_us,
                        .cached = (uint32_t)s->kv->len, .rows = s->step.out_n, .width = c->model.hello.out_width,
                        .bf16 = s->step.bf16};
    memcpy(m.session, s->id, sizeof m.session);
    s->answered = s->step.seq;
    if (msg_out_send(&s->out_frag, &m, s->y, &err) != WIRE_OK) {
        core_fail(c, s, s->step.seq, WIRE_INTERNAL, "the answer could not be encoded");
        return;
    }
    s->sending = true;
    s->blocked = false;
    c->stats.rows_out += s->step.out_n;
    step_flush(c, s);
}

/* ------------------------------------------------------------------ rows arrive */

/* The same question; the rows themselves are compared as they arrive. */
static bool same_step(const struct msg_rows *a, const struct msg_rows *b)
{
    return a->pos == b->pos && a->rows == b->rows && a->out_from == b->out_from && a->out_n == b->out_n && a->bf16 == b->bf16;
}

static enum wire_code refused(struct err *err, enum wire_code code, const char *why)
{
    err_set(err, wire_code_exit(code), "%s", why);
    return code;
}

/* Whether a step that is well formed can be taken. */
static enum wire_code check_step(const struct core *c, const struct session *s, const struct msg_rows *m, struct err *err)
{
    const struct config *config = &c->model.net->config;
    if (m->epoch != c->model.hello.epoch)
        return refused(err, WIRE_WRONG_EPOCH, "rows of another epoch");
    if (s->again)
        return same_step(m, &s->step) ? WIRE_OK : refused(err, WIRE_BAD_SEQ, "this step was answered for other rows");
    if (c->draining)
        return refused(err, WIRE_DRAINING, DRAINING_TEXT);
    if (m->seq != s->answered + 1)
        return refused(err, WIRE_BAD_SEQ, "steps count up by one");
    if (m->pos > (uint32_t)s->kv->len)
        return refused(err, WIRE_BAD_SEQ, "the rows start behind the cached ones");
    if (!config->causal && m->pos != 0)
        return refused(err, WIRE_BAD_SHAPE, "a bidirectional model takes whole texts from position 0");
    if (config->head == HEAD_CLASSIFY && c->model.hello.head_at_server != 0 &&
        (m->out_from != 0 || m->out_n > (uint32_t)arch_answer_rows(config)))
        return refused(err, WIRE_BAD_SHAPE, "a classifier answers the first row only");
    /* Short steps are bounded by the number of sessions, and refusing them would stop answers that are half told. */
    if (m->rows > SCHEDULE_SHORT && c->waiting.rows > 0 && c->waiting.rows + (long)m->rows > c->limits.queue_rows) {
        err_set(err, ERR_PEER, "%ld rows are waiting to be computed, with these %u more than %d; try again later", c->waiting.rows,
                m->rows, c->limits.queue_rows);
        return WIRE_BUSY;
    }
    return WIRE_OK;
}

/* The first fragment says everything about the step; nothing was allocated for it yet. */
static bool start_step(struct core *c, struct session *s, const struct frame *f)
{
    struct err err;
    struct msg_rows m;
    const struct msg_rows_limits limits = {.D = c->model.hello.D, .max_tokens = (uint32_t)s->kv->cap,
                                           .max_rows = c->model.hello.max_rows, .max_out_rows = c->model.hello.max_out_rows};
    enum wire_code code = msg_rows_decode(&m, f, &limits, &err);
    if (code == WIRE_OK) {
        s->again = session_answered(s) && m.seq == s->answered;
        code = check_step(c, s, &m, &err);
        if (code == WIRE_OK && !s->again)
            code = session_step_buffers(c->sessions, s, &m, (int)c->model.hello.D, (int)c->model.hello.out_width, &err);
    }
    if (code != WIRE_OK) {
        core_fail(c, s, f->h.seq, code, err.text);
        return false;
    }
    frag_in_start(&s->in, f, s->x);
    return true;
}

/* Pages that hold these very rows already take the place of computing them; a row whose output is asked is computed. */
static int reuse(struct core *c, struct session *s)
{
    const int pos = (int)s->step.pos, rows = (int)s->step.rows, D = (int)c->model.hello.D;
    if (s->ids == NULL || s->named != pos + 1)
        return 0;
    s->named = prefix_name(c->prefix, s->ids, pos, s->x, rows, D);
    int limit = pos + (s->step.out_n > 0 ? (int)s->step.out_from : rows);
    return prefix_adopt(c->prefix, s->kv, s->ids, limit < s->named ? limit : s->named - 1);
}

/* All rows are here: room for their keys and values, then the queue. */
static void begin_step(struct core *c, struct session *s)
{
    const int pos = (int)s->step.pos, end = pos + (int)s->step.rows;
    struct kvpool *pool = c->model.pool;
    core_back(c, s);
    session_cut(s, pos);
    s->done = reuse(c, s);
    while (!kvcache_reserve(s->kv, end)) {
        if (prefix_evict(c->prefix))
            continue;
        char text[WIRE_TEXT_MAX];
        (void)snprintf(text, sizeof text,
                       "%d tokens need %d pages of %zu bytes for keys and values, %zu of %zu bytes are in use; try again later", end,
                       (end + KV_PAGE - 1) / KV_PAGE, kvpool_page_bytes(pool), kvpool_used(pool), kvpool_budget(pool));
        session_cut(s, pos);
        core_fail(c, s, s->step.seq, WIRE_BUSY, text);
        return;
    }
    c->stats.rows_in += s->step.rows;
    c->stats.rows_reused += (uint64_t)s->done;
    if (s->done == (int)s->step.rows)
        answer(c, s);
    else
        schedule_add(&c->waiting, s);
}

void step_rows(struct core *c, struct session *s, const struct frame *f)
{
    struct err err;
    bool complete = false;
    if ((f->h.flags & WIRE_FIRST) != 0 && !start_step(c, s, f))
        return;
    /* A step that is asked again brings the rows that are here already. */
    if (s->again && !msg_rows_repeats(f, s->in.first.total, s->x)) {
        core_fail(c, s, f->h.seq, WIRE_BAD_SEQ, "this step was answered for other rows");
        return;
    }
    enum wire_code code = msg_rows_recv(&s->in, f, s->x, &complete, &err);
    if (code != WIRE_OK)
        core_fail(c, s, f->h.seq, code, err.text);
    else if (!complete)
        core_say(c, s, frag_in_ack(&s->in));
    else if (s->again)
        answer(c, s);
    else
        begin_step(c, s);
}

void step_cancel(struct core *c, struct session *s, enum phase before)
{
    frag_in_drop(&s->in);
    if (s->running) {
        s->cancelled = true; /* core_done answers */
        return;
    }
    if (s->queued) {
        schedule_remove(&c->waiting, s);
        session_cut(s, (int)s->step.pos);
    } else if (before == PHASE_WAITING && session_answered(s)) {
        session_cut(s, (int)s->step.pos);
        s->answered--;
    }
    if (!session_answered(s))
        session_drop_step(c->sessions, s);
    s->sending = false;
    core_say(c, s, msg_cancelled_encode(s->id));
}

/* ------------------------------------------------------------------ passes */

/* The next `rows` rows of the session's step, and the asked ones among them. */
static struct core_job piece(const struct core *c, struct session *s, int rows)
{
    int begin = (int)s->step.out_from, end = begin + (int)s->step.out_n, from = begin > s->done ? begin : s->done;
    int to = end < s->done + rows ? end : s->done + rows;
    struct core_job job = {
        .session = s,
        .seq = {.kv = s->kv, .x = s->x + (size_t)s->done * c->model.hello.D, .T = rows, .out = s->y},
    };
    if (from < to) {
        job.seq.out_from = from - s->done;
        job.seq.out_n = to - from;
        job.seq.out = s->y + (size_t)(from - begin) * c->model.hello.out_width;
    }
    return job;
}

int core_take(struct core *c, struct core_job *jobs, int max_jobs)
{
    const bool whole = c->has_model && !c->model.net->config.causal;
    const bool watched = !whole && (c->away > 0 || schedule_watched(&c->waiting));
    struct schedule_pass pass = schedule_begin(c->chunk, watched ? budget_rows(&c->budget, c->chunk) : c->chunk, max_jobs);
    struct session *s;
    int n = 0, rows = 0, of[TURNS] = {0};
    while ((s = schedule_next(&c->waiting, &pass, whole, &rows)) != NULL) {
        s->running = true;
        of[s->turn] += rows;
        jobs[n++] = piece(c, s, rows);
        c->load.batch_rows += (uint64_t)jobs[n - 1].seq.T;
    }
    c->load.batch_steps += (uint64_t)n;
    if (n > 0) {
        c->load.batches++;
        c->pass++;
        c->away = 0;
        c->token_rows = of[TURN_SHORT];
        c->prompt_rows = of[TURN_LONG];
    }
    return n;
}

static void piece_done(struct core *c, const struct core_job *job, uint32_t server_us)
{
    struct session *s = job->session;
    s->running = false;
    s->used_ms = c->now_ms;
    s->server_us = server_us > UINT32_MAX - s->server_us ? UINT32_MAX : s->server_us + server_us;
    if (s->ended) {
        core_end(c, s);
        return;
    }
    if (s->cancelled) {
        s->cancelled = false;
        session_cut(s, (int)s->step.pos);
        session_drop_step(c->sessions, s);
        core_say(c, s, msg_cancelled_encode(s->id));
        return;
    }
    if (!finite_all(job->seq.out, (size_t)job->seq.out_n * c->model.hello.out_width)) {
        log_warn("session %s: its computation gave a value that is infinite or not a number; the session ends", s->name);
        core_fail(c, s, s->step.seq, WIRE_OVERFLOW, "these rows give values that are infinite or not a number; the session has ended");
        return;
    }
    s->done += job->seq.T;
    if (s->ids != NULL)
        prefix_publish(c->prefix, s->kv, s->ids, s->named, s->kv->len - job->seq.T);
    if (s->done < (int)s->step.rows) {
        schedule_add(&c->waiting, s);
        return;
    }
    if (s->step.bf16)
        bf16_narrow(s->y, (size_t)s->step.out_n * c->model.hello.out_width);
    s->pass = c->pass;
    c->away++;
    answer(c, s);
}

void core_done(struct core *c, uint64_t now_ms, const struct core_job *jobs, int n, uint32_t server_us)
{
    c->now_ms = now_ms;
    c->stats.busy_us += server_us;
    if (n > 0)
        budget_learn(&c->budget, c->token_rows, c->prompt_rows, server_us);
    for (int i = 0; i < n; i++)
        piece_done(c, &jobs[i], server_us);
}
