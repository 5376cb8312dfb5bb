#include "server/core.h"

#include <stdlib.h>
#include <string.h>

#include "base/bf16.h"
#include "base/log.h"
#include "server/session.h"
#include "transport/msg_blob.h"
#include "transport/msg_error.h"
#include "transport/msg_session.h"
#include "transport/phase.h"

#define BUCKETS 4096u
#define CONNECTION_IDLE_MS 600000 /* a connection that said nothing for this long, and longer than a session lives, is forgotten */
#define SLOW_READER_MS 30000
#define RETRY_MS 20 /* of an answer that the socket did not take */

struct connection {
    struct connection *next;
    struct listener_peer peer;
    enum phase phase;
    uint64_t seen_ms;
};

struct core {
    struct core_limits limits;
    struct core_model model;
    bool has_model;
    struct core_sender sender;
    struct connection *connections[BUCKETS];
    int connection_count;
    struct session_table *sessions;
    struct msg_stats stats;
};

/* ------------------------------------------------------------------ connections */

static size_t bucket_of(const struct listener_peer *peer)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < peer->rid_len; i++)
        h = (h ^ peer->rid[i]) * 16777619u;
    return h % BUCKETS;
}

static struct connection *connection_of(struct core *c, const struct listener_peer *peer, uint64_t now_ms)
{
    struct connection **head = &c->connections[bucket_of(peer)], *k = *head;
    while (k != NULL && !listener_peer_equal(&k->peer, peer))
        k = k->next;
    if (k == NULL) {
        if ((k = calloc(1, sizeof *k)) == NULL)
            return NULL;
        *k = (struct connection){.next = *head, .peer = *peer, .phase = PHASE_NEW};
        *head = k;
        c->connection_count++;
    }
    k->seen_ms = now_ms;
    return k;
}

static void forget_connections(struct core *c, uint64_t now_ms, bool all)
{
    uint64_t idle_ms = c->limits.ttl_ms > CONNECTION_IDLE_MS ? (uint64_t)c->limits.ttl_ms : CONNECTION_IDLE_MS;
    for (size_t b = 0; b < BUCKETS; b++)
        for (struct connection **at = &c->connections[b]; *at != NULL;) {
            struct connection *k = *at;
            if (!all && now_ms - k->seen_ms <= idle_ms) {
                at = &k->next;
                continue;
            }
            *at = k->next;
            free(k);
            c->connection_count--;
        }
}

/* ------------------------------------------------------------------ sending */

static enum listener_sent send_frame(struct core *c, const struct listener_peer *peer, const struct frame *f)
{
    enum listener_sent sent = c->sender.send(c->sender.arg, peer, f);
    if (sent == LISTENER_SENT)
        c->stats.bytes_out += WIRE_HEADER_BYTES + f->h.length;
    return sent;
}

/* Steps the session's phase with a frame of ours and sends it. */
static enum listener_sent say(struct core *c, struct session *s, struct frame f)
{
    f.h.epoch = c->model.hello.epoch;
    enum listener_sent sent = send_frame(c, &s->peer, &f);
    if (sent == LISTENER_SENT && phase_step(PHASE_INFER, &s->phase, PHASE_SERVER, &f.h) == PHASE_ILLEGAL)
        log_error("session: %s sent in phase %s", wire_type_name(f.h.type), phase_name(s->phase));
    return sent;
}

static void refuse(struct core *c, const struct listener_peer *peer, const struct frame *to, enum wire_code code, const char *text)
{
    struct frame f = msg_error_encode(wire_session_zero(to->h.session) ? NULL : to->h.session, code, to->h.seq, text);
    f.h.epoch = c->model.hello.epoch;
    log_debug("refused %s: %s: %s", wire_type_name(to->h.type), wire_code_name(code), text);
    (void)send_frame(c, peer, &f);
}

/* Step `seq` failed: tell, and end the session if the code says so. An answer that is kept stays: the user may ask for it. */
static void fail(struct core *c, struct session *s, uint64_t seq, enum wire_code code, const char *text)
{
    frag_in_drop(&s->in);
    s->sending = false;
    (void)say(c, s, msg_error_encode(s->id, code, seq, text));
    log_debug("session %s: %s: %s", s->name, wire_code_name(code), text);
    if (!session_answered(s))
        session_drop_step(c->sessions, s);
    if (wire_code_ends_session(code))
        session_end(c->sessions, s);
}

/* Sends what is left of an OUT while the socket takes it. */
static void flush(struct core *c, struct session *s, uint64_t now_ms)
{
    struct frame f;
    while (s->sending && frag_out_peek(&s->out_frag, &f)) {
        switch (say(c, s, f)) {
        case LISTENER_SENT:
            frag_out_sent(&s->out_frag);
            s->blocked = false;
            break;
        case LISTENER_FULL:
            if (!s->blocked)
                s->blocked_ms = now_ms;
            s->blocked = true;
            if (now_ms - s->blocked_ms > SLOW_READER_MS) {
                log_warn("session %s: the user does not read its answer; the session ends", s->name);
                c->stats.peers_dropped++;
                session_end(c->sessions, s);
            }
            return;
        case LISTENER_GONE:
            s->sending = false; /* the answer stays for the same step asked again */
            s->phase = PHASE_OPEN;
            return;
        }
    }
    if (s->sending && frag_out_all_sent(&s->out_frag))
        s->sending = false;
}

static void answer(struct core *c, struct session *s, uint64_t now_ms)
{
    struct err err;
    struct msg_out m = {.epoch = c->model.hello.epoch, .seq = s->step.seq, .server_us = s->server_us,
                        .cached = (uint32_t)s->kv->len, .rows = s->step.out_n, .width = c->model.hello.out_width,
                        .bf16 = s->step.bf16};
    memcpy(m.session, s->id, sizeof m.session);
    if (msg_out_send(&s->out_frag, &m, s->y, &err) != WIRE_OK) {
        fail(c, s, s->step.seq, WIRE_INTERNAL, "the answer could not be encoded");
        return;
    }
    s->sending = true;
    s->blocked = false;
    c->stats.rows_out += s->step.out_n;
    flush(c, s, now_ms);
}

/* ------------------------------------------------------------------ frames about the connection */

static void on_hello(struct core *c, struct connection *k, const struct frame *f)
{
    struct msg_hello m;
    struct err err;
    uint8_t body[MSG_HELLO_OK_BYTES];
    struct msg_hello_ok ok = c->model.hello;
    enum wire_code code = msg_hello_decode(&m, f, &err);
    if (code == WIRE_OK)
        code = msg_hello_version(&m, &ok.protocol, &err);
    if (code != WIRE_OK) {
        k->phase = PHASE_NEW;
        refuse(c, &k->peer, f, code, err.text);
        return;
    }
    static const uint8_t any[WIRE_CONTEXT_BYTES];
    if (!c->has_model) {
        k->phase = PHASE_NEW;
        refuse(c, &k->peer, f, WIRE_NO_MODEL, "no package has been installed yet; the model's developer has to push it");
        return;
    }
    if (memcmp(m.context, any, sizeof any) != 0 && memcmp(m.context, ok.context, sizeof any) != 0) {
        k->phase = PHASE_NEW;
        refuse(c, &k->peer, f, WIRE_WRONG_CONTEXT, "this server holds another context; join again for a new grant");
        return;
    }
    struct frame reply = msg_hello_ok_encode(&ok, body);
    if (phase_step(PHASE_INFER, &k->phase, PHASE_SERVER, &reply.h) == PHASE_LEGAL)
        (void)send_frame(c, &k->peer, &reply);
}

static void on_get(struct core *c, struct connection *k, const struct frame *f)
{
    struct msg_get g = msg_get_decode(f);
    uint64_t size = c->model.hello.manifest_bytes, from = (uint64_t)g.chunk * WIRE_PAYLOAD_MAX;
    if (!c->has_model || g.file != BLOB_MANIFEST || from >= size) {
        refuse(c, &k->peer, f, WIRE_UNKNOWN_FILE, "only the manifest can be asked for here");
        return;
    }
    size_t n = size - from < WIRE_PAYLOAD_MAX ? (size_t)(size - from) : WIRE_PAYLOAD_MAX;
    struct frame reply = msg_chunk_encode(g.file, g.chunk, c->model.manifest + from, n);
    (void)send_frame(c, &k->peer, &reply);
}

static void on_connection_frame(struct core *c, struct connection *k, const struct frame *f)
{
    uint8_t body[MSG_STATS_BYTES];
    switch (f->h.type) {
    case WIRE_HELLO:
        on_hello(c, k, f);
        break;
    case WIRE_GET:
        on_get(c, k, f);
        break;
    case WIRE_STATS_GET: {
        struct msg_stats stats;
        core_stats(c, &stats);
        struct frame reply = msg_stats_encode(&stats, body);
        (void)send_frame(c, &k->peer, &reply);
        break;
    }
    default: /* legal by the table, and nothing to do */
        break;
    }
}

/* ------------------------------------------------------------------ frames about a session */

static void on_open(struct core *c, uint64_t now_ms, const struct listener_peer *peer, const struct frame *f)
{
    struct msg_open m;
    struct err err;
    enum wire_code code = msg_open_decode(&m, f, &err);
    if (code != WIRE_OK) {
        refuse(c, peer, f, code, err.text);
        return;
    }
    struct session *s = session_find(c->sessions, m.session, &peer->key);
    if (s == NULL) {
        if (m.max_tokens < 1 || m.max_tokens > c->model.hello.max_tokens) {
            refuse(c, peer, f, WIRE_CONTEXT_FULL, "more tokens than this server gives a session");
            return;
        }
        code = session_new(&s, c->sessions, m.session, &peer->key, &c->model.net->config, (int)m.max_tokens, &err);
        if (code != WIRE_OK) {
            refuse(c, peer, f, code, err.text);
            return;
        }
        c->stats.sessions_total++;
    } else if (s->running || s->queued) {
        refuse(c, peer, f, WIRE_BUSY, "a step of this session is still being computed");
        return;
    } else {
        /* The user comes back after a lost connection: half a message is worth nothing. */
        frag_in_drop(&s->in);
        s->sending = false;
    }
    s->peer = *peer;
    s->used_ms = now_ms;
    s->phase = PHASE_OPENING;
    struct msg_opened opened = {.max_tokens = (uint32_t)s->kv->cap, .cached = (uint32_t)s->kv->len, .seq = s->answered};
    memcpy(opened.session, s->id, sizeof opened.session);
    (void)say(c, s, msg_opened_encode(&opened));
}

/* The same question; the rows themselves are compared as they arrive. */
static bool same_step(const struct msg_rows *a, const struct msg_rows *b)
{
    return a->pos == b->pos && a->rows == b->rows && a->out_from == b->out_from && a->out_n == b->out_n &&
           a->bf16 == b->bf16;
}

/* Why a step that is well formed cannot be taken, or NULL. */
static const char *step_refused(const struct core *c, const struct session *s, const struct msg_rows *m, enum wire_code *code)
{
    const struct config *config = &c->model.net->config;
    *code = WIRE_BAD_SEQ;
    if (m->epoch != c->model.hello.epoch) {
        *code = WIRE_WRONG_EPOCH;
        return "rows of another epoch";
    }
    if (s->again)
        return same_step(m, &s->step) ? NULL : "this step was answered for other rows";
    if (m->seq != s->answered + 1)
        return "steps count up by one";
    if (m->pos > (uint32_t)s->kv->len)
        return "the rows start behind the cached ones";
    *code = WIRE_BAD_SHAPE;
    if (!config->causal && m->pos != 0)
        return "a bidirectional model takes whole texts from position 0";
    if (config->head == HEAD_CLASSIFY && c->model.hello.head_at_server != 0 && (m->out_from != 0 || m->out_n > 1))
        return "a classifier answers the first row only";
    return NULL;
}

/* The first fragment says everything about the step; nothing was allocated for it yet. */
static bool start_step(struct core *c, struct session *s, const struct frame *f)
{
    struct err err;
    struct msg_rows m;
    const struct msg_rows_limits limits = {.D = c->model.hello.D, .max_tokens = (uint32_t)s->kv->cap,
                                           .max_rows = c->model.hello.max_rows, .max_out_rows = c->model.hello.max_out_rows};
    enum wire_code code = msg_rows_decode(&m, f, &limits, &err);
    if (code != WIRE_OK) {
        fail(c, s, f->h.seq, code, err.text);
        return false;
    }
    s->again = session_answered(s) && m.seq == s->answered;
    const char *refused = step_refused(c, s, &m, &code);
    if (refused == NULL && !s->again &&
        !session_step_buffers(c->sessions, s, &m, (int)c->model.hello.D, (int)c->model.hello.out_width)) {
        code = WIRE_BUSY;
        refused = "no memory left for this step";
    }
    if (refused != NULL) {
        fail(c, s, m.seq, code, refused);
        return false;
    }
    frag_in_start(&s->in, f, s->x);
    return true;
}

static void on_rows(struct core *c, uint64_t now_ms, struct session *s, const struct frame *f)
{
    struct err err;
    bool complete = false;
    if ((f->h.flags & WIRE_FIRST) != 0 && !start_step(c, s, f))
        return;
    /* A step that is asked again brings the rows that are here already. */
    if (s->again && !msg_rows_repeats(f, s->in.first.total, s->x)) {
        fail(c, s, f->h.seq, WIRE_BAD_SEQ, "this step was answered for other rows");
        return;
    }
    enum wire_code code = msg_rows_recv(&s->in, f, s->x, &complete, &err);
    if (code != WIRE_OK) {
        fail(c, s, f->h.seq, code, err.text);
        return;
    }
    if (!complete) {
        (void)say(c, s, frag_in_ack(&s->in));
        return;
    }
    if (s->again) {
        answer(c, s, now_ms);
        return;
    }
    c->stats.rows_in += s->step.rows;
    session_queue(c->sessions, s);
}

/* Takes back the step that is being received, computed or sent: the cache returns to where it began, and its number may be used
 * again. */
static void cancel(struct core *c, struct session *s, enum phase before)
{
    frag_in_drop(&s->in);
    session_unqueue(c->sessions, s);
    if (s->running) {
        s->cancelled = true; /* core_done answers */
        return;
    }
    if (before == PHASE_WAITING && session_answered(s)) {
        kvcache_truncate(s->kv, (int)s->step.pos);
        s->answered--;
    }
    if (!session_answered(s))
        session_drop_step(c->sessions, s);
    s->sending = false;
    (void)say(c, s, msg_cancelled_encode(s->id));
}

static void on_session_frame(struct core *c, uint64_t now_ms, const struct listener_peer *peer, const struct frame *f)
{
    struct session *s = session_find(c->sessions, f->h.session, &peer->key);
    if (f->h.type == WIRE_OPEN) {
        on_open(c, now_ms, peer, f);
        return;
    }
    if (s == NULL || !listener_peer_equal(&s->peer, peer)) {
        /* Answers to what is long gone are not worth an error each. */
        if (f->h.type == WIRE_ROWS ? (f->h.flags & WIRE_FIRST) != 0 : f->h.type != WIRE_ACK)
            refuse(c, peer, f, WIRE_UNKNOWN_SESSION, "no such session on this connection; open it first");
        return;
    }
    const enum phase before = s->phase;
    s->used_ms = now_ms;
    switch (phase_step(PHASE_INFER, &s->phase, PHASE_CLIENT, &f->h)) {
    case PHASE_IGNORE:
        return;
    case PHASE_ILLEGAL:
        refuse(c, peer, f, WIRE_BAD_PHASE, "this message is not legal now");
        return;
    case PHASE_LEGAL:
        break;
    }
    switch (f->h.type) {
    case WIRE_ROWS:
        on_rows(c, now_ms, s, f);
        break;
    case WIRE_ACK:
        if (!s->sending || frag_out_ack(&s->out_frag, f))
            flush(c, s, now_ms);
        else
            fail(c, s, f->h.seq, WIRE_BAD_FRAME, "acknowledges more than was sent");
        break;
    case WIRE_CANCEL:
        cancel(c, s, before);
        break;
    case WIRE_CLOSE:
        (void)say(c, s, msg_closed_encode(s->id));
        session_end(c->sessions, s);
        break;
    default:
        break;
    }
}

void core_frame(struct core *c, uint64_t now_ms, const struct listener_peer *peer, const struct frame *f)
{
    struct connection *k = connection_of(c, peer, now_ms);
    c->stats.bytes_in += WIRE_HEADER_BYTES + f->h.length;
    if (k == NULL) {
        refuse(c, peer, f, WIRE_OOM, "out of memory");
        return;
    }
    if (phase_of_session(&f->h)) {
        if (k->phase != PHASE_READY)
            refuse(c, peer, f, WIRE_BAD_PHASE, "say HELLO first");
        else
            on_session_frame(c, now_ms, peer, f);
        return;
    }
    switch (phase_step(PHASE_INFER, &k->phase, PHASE_CLIENT, &f->h)) {
    case PHASE_LEGAL:
        on_connection_frame(c, k, f);
        break;
    case PHASE_ILLEGAL:
        refuse(c, peer, f, WIRE_BAD_PHASE, "this message is not legal now");
        break;
    case PHASE_IGNORE:
        break;
    }
}

/* ------------------------------------------------------------------ work */

int core_take(struct core *c, struct core_job *jobs, int max_jobs, int max_rows)
{
    int n = 0, rows = 0;
    while (n < max_jobs) {
        struct session *s = session_next(c->sessions);
        if (s == NULL || (n > 0 && rows + (int)s->step.rows > max_rows))
            break;
        session_unqueue(c->sessions, s);
        s->running = true;
        rows += (int)s->step.rows;
        jobs[n++] = (struct core_job){
            .session = s,
            .pos = (int)s->step.pos,
            .seq = {.kv = s->kv, .x = s->x, .T = (int)s->step.rows, .out_from = (int)s->step.out_from,
                    .out_n = (int)s->step.out_n, .out = s->y},
        };
    }
    return n;
}

void core_done(struct core *c, uint64_t now_ms, const struct core_job *job, uint32_t server_us)
{
    struct session *s = job->session;
    s->running = false;
    s->used_ms = now_ms;
    c->stats.busy_us += server_us;
    if (s->ended) {
        session_end(c->sessions, s);
        return;
    }
    if (s->cancelled) {
        s->cancelled = false;
        kvcache_truncate(s->kv, job->pos);
        session_drop_step(c->sessions, s);
        (void)say(c, s, msg_cancelled_encode(s->id));
        return;
    }
    if (s->step.bf16)
        bf16_narrow(s->y, (size_t)s->step.out_n * c->model.hello.out_width);
    s->answered = s->step.seq;
    s->server_us = server_us;
    answer(c, s, now_ms);
}

int core_tick(struct core *c, uint64_t now_ms)
{
    int wait = 1000;
    for (struct session *s = session_first(c->sessions), *next; s != NULL; s = next) {
        next = session_after(s);
        if (!s->running && !s->queued && now_ms - s->used_ms > (uint64_t)c->limits.ttl_ms) {
            log_info("session %s: idle for %d s, its memory is freed", s->name, c->limits.ttl_ms / 1000);
            session_end(c->sessions, s);
        } else if (s->sending && s->blocked) {
            flush(c, s, now_ms);
            wait = RETRY_MS;
        }
    }
    forget_connections(c, now_ms, false);
    return wait;
}

/* ------------------------------------------------------------------ life */

int core_new(struct core **out, const struct core_limits *limits, const struct core_model *model, struct core_sender sender,
             struct err *err)
{
    struct core *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_oom(err, sizeof *c);
    c->limits = *limits;
    c->sender = sender;
    if (session_table_new(&c->sessions, limits->sessions, limits->user_sessions, limits->memory, err) != 0) {
        free(c);
        return -1;
    }
    core_set_model(c, model);
    *out = c;
    return 0;
}

void core_free(struct core *c)
{
    if (c == NULL)
        return;
    forget_connections(c, 0, true);
    session_table_free(c->sessions);
    free(c);
}

void core_set_model(struct core *c, const struct core_model *model)
{
    for (struct session *s = session_first(c->sessions), *next; s != NULL; s = next) {
        next = session_after(s);
        (void)say(c, s, msg_error_encode(s->id, WIRE_EPOCH_CHANGED, 0, "another package is served now; join and open again"));
        session_end(c->sessions, s);
    }
    for (size_t b = 0; b < BUCKETS; b++)
        for (struct connection *k = c->connections[b]; k != NULL; k = k->next)
            k->phase = PHASE_NEW;
    c->has_model = model != NULL;
    c->model = (struct core_model){0};
    if (model == NULL)
        return;
    c->model = *model;
    struct msg_hello_ok *h = &c->model.hello;
    const struct config *config = &model->net->config;
    int context = c->limits.context < config->positions ? c->limits.context : config->positions;
    int rows = config->causal ? c->limits.rows : context;
    h->max_tokens = (uint32_t)context;
    h->max_sessions = (uint32_t)c->limits.user_sessions;
    h->max_rows = (uint32_t)(rows < context ? rows : context);
    h->max_out_rows = (uint32_t)(c->limits.out_rows < (int)h->max_rows ? c->limits.out_rows : (int)h->max_rows);
    h->session_ttl_s = (uint32_t)(c->limits.ttl_ms / 1000);
}

void core_count(struct core *c, uint64_t uptime_ms, uint64_t keys_refused, uint64_t frames_refused)
{
    c->stats.uptime_ms = uptime_ms;
    c->stats.keys_refused = keys_refused;
    c->stats.frames_refused = frames_refused;
}

void core_stats(const struct core *c, struct msg_stats *out)
{
    *out = c->stats;
    out->sessions_open = (uint64_t)session_count(c->sessions);
}
