#include "server/core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/core_state.h"
#include "transport/msg_blob.h"
#include "transport/msg_error.h"
#include "transport/msg_session.h"

#define CONNECTION_IDLE_MS 600000 /* a connection that said nothing for this long, and longer than a session lives, is forgotten */
#define RETRY_MS 20 /* of what the socket did not take */
#define EXPIRED_TEXT "the package that this server holds is past its day; its developer has to push another"

/* ------------------------------------------------------------------ what step.c needs too */

static void count_error(struct core *c, const struct frame *f)
{
    if (f->h.type == WIRE_ERROR && f->h.code / 100 < sizeof c->load.errors / sizeof *c->load.errors)
        c->load.errors[f->h.code / 100]++;
}

void core_say(struct core *c, struct session *s, struct frame f)
{
    count_error(c, &f);
    f.h.epoch = c->model.hello.epoch;
    if (connections_say(c->connections, &s->peer, &f, c->now_ms) == LISTENER_SENT &&
        phase_step(PHASE_INFER, &s->phase, PHASE_SERVER, &f.h) == PHASE_ILLEGAL)
        log_error("session: %s sent in phase %s", wire_type_name(f.h.type), phase_name(s->phase));
}

void core_back(struct core *c, struct session *s)
{
    c->away -= s->pass != 0 && s->pass == c->pass ? 1 : 0;
    s->pass = 0;
}

int core_waiting(const struct core *c)
{
    return c->waiting.sessions;
}

int core_away(const struct core *c)
{
    return c->away;
}

void core_end(struct core *c, struct session *s)
{
    core_back(c, s);
    schedule_remove(&c->waiting, s);
    session_end(c->sessions, s);
}

void core_fail(struct core *c, struct session *s, uint64_t seq, enum wire_code code, const char *text)
{
    frag_in_drop(&s->in);
    s->sending = false;
    core_say(c, s, msg_error_encode(s->id, code, seq, text));
    log_debug("session %s: %s: %s", s->name, wire_code_name(code), text);
    if (!session_answered(s))
        session_drop_step(c->sessions, s);
    if (wire_code_ends_session(code))
        core_end(c, s);
}

static void refuse(struct core *c, const struct listener_peer *peer, const struct frame *to, enum wire_code code, const char *text)
{
    struct frame f = msg_error_encode(wire_session_zero(to->h.session) ? NULL : to->h.session, code, to->h.seq, text);
    count_error(c, &f);
    f.h.epoch = c->model.hello.epoch;
    log_debug("refused %s: %s: %s", wire_type_name(to->h.type), wire_code_name(code), text);
    (void)connections_say(c->connections, peer, &f, c->now_ms);
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
    if (c->expired) {
        k->phase = PHASE_NEW;
        refuse(c, &k->peer, f, WIRE_EXPIRED, EXPIRED_TEXT);
        return;
    }
    if (!c->has_model) {
        k->phase = PHASE_NEW;
        refuse(c, &k->peer, f, WIRE_NO_MODEL,
               c->loading ? "the package is being loaded; try again in a while"
                          : "no package has been installed yet; the model's developer has to push it");
        return;
    }
    if (c->draining) {
        k->phase = PHASE_NEW;
        refuse(c, &k->peer, f, WIRE_DRAINING, DRAINING_TEXT);
        return;
    }
    if (memcmp(m.context, any, sizeof any) != 0 && memcmp(m.context, ok.context, sizeof any) != 0) {
        k->phase = PHASE_NEW;
        refuse(c, &k->peer, f, WIRE_WRONG_CONTEXT, "this server holds another context; join again for a new grant");
        return;
    }
    struct frame reply = msg_hello_ok_encode(&ok, body);
    if (phase_step(PHASE_INFER, &k->phase, PHASE_SERVER, &reply.h) == PHASE_LEGAL)
        (void)connections_say(c->connections, &k->peer, &reply, c->now_ms);
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
    if (connections_send(c->connections, &k->peer, &reply) != LISTENER_SENT)
        log_debug("a user asks for more of the manifest than it reads");
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
        (void)connections_say(c->connections, &k->peer, &reply, c->now_ms);
        break;
    }
    default: /* legal by the table, and nothing to do */
        break;
    }
}

/* ------------------------------------------------------------------ frames about a session */

static void on_open(struct core *c, const struct listener_peer *peer, const struct frame *f)
{
    struct msg_open m;
    struct err err;
    enum wire_code code = msg_open_decode(&m, f, &err);
    if (code != WIRE_OK) {
        refuse(c, peer, f, code, err.text);
        return;
    }
    if (c->draining) {
        refuse(c, peer, f, WIRE_DRAINING, DRAINING_TEXT);
        return;
    }
    struct session *s = session_find(c->sessions, m.session, &peer->key);
    if (c->expired) {
        refuse(c, peer, f, WIRE_EXPIRED, EXPIRED_TEXT);
        return;
    }
    if (s == NULL) {
        if (m.max_tokens < 1 || m.max_tokens > c->model.hello.max_tokens) {
            refuse(c, peer, f, WIRE_CONTEXT_FULL, "more tokens than this server gives a session");
            return;
        }
        bool named = c->limits.prefix != PREFIX_OFF && c->model.net->config.causal;
        code = session_new(&s, c->sessions, m.session, &peer->key, c->model.pool, (int)m.max_tokens, named, &err);
        if (code != WIRE_OK) {
            refuse(c, peer, f, code, err.text);
            return;
        }
        if (named) {
            prefix_begin(c->prefix, &peer->key, s->ids[0]);
            s->named = 1;
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
    s->used_ms = c->now_ms;
    s->phase = PHASE_OPENING;
    struct msg_opened opened = {.max_tokens = (uint32_t)s->kv->cap, .cached = (uint32_t)s->kv->len, .seq = s->answered};
    memcpy(opened.session, s->id, sizeof opened.session);
    core_say(c, s, msg_opened_encode(&opened));
}

static void on_session_frame(struct core *c, const struct listener_peer *peer, const struct frame *f)
{
    struct session *s = session_find(c->sessions, f->h.session, &peer->key);
    if (f->h.type == WIRE_OPEN) {
        on_open(c, peer, f);
        return;
    }
    if (s == NULL || !listener_peer_equal(&s->peer, peer)) {
        /* Answers to what is long gone are not worth an error each. */
        if (f->h.type == WIRE_ROWS ? (f->h.flags & WIRE_FIRST) != 0 : f->h.type != WIRE_ACK)
            refuse(c, peer, f, WIRE_UNKNOWN_SESSION, "no such session on this connection; open it first");
        return;
    }
    const enum phase before = s->phase;
    s->used_ms = c->now_ms;
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
        step_rows(c, s, f);
        break;
    case WIRE_ACK:
        if (!s->sending || frag_out_ack(&s->out_frag, f))
            step_flush(c, s);
        else
            core_fail(c, s, f->h.seq, WIRE_BAD_FRAME, "acknowledges more than was sent");
        break;
    case WIRE_CANCEL:
        step_cancel(c, s, before);
        break;
    case WIRE_CLOSE:
        core_say(c, s, msg_closed_encode(s->id));
        core_end(c, s);
        break;
    default:
        break;
    }
}

bool core_greeted(const struct core *c, const struct listener_peer *peer)
{
    const struct connection *k = connections_find(c->connections, peer);
    return k != NULL && k->phase == PHASE_READY;
}

void core_frame(struct core *c, uint64_t now_ms, const struct listener_peer *peer, const struct frame *f)
{
    struct connection *k = connections_get(c->connections, peer, now_ms);
    c->now_ms = now_ms;
    c->stats.bytes_in += WIRE_HEADER_BYTES + f->h.length;
    if (k == NULL) {
        refuse(c, peer, f, WIRE_OOM, "out of memory");
        return;
    }
    if (phase_of_session(&f->h)) {
        if (k->phase != PHASE_READY)
            refuse(c, peer, f, WIRE_BAD_PHASE, "say HELLO first");
        else
            on_session_frame(c, peer, f);
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

/* ------------------------------------------------------------------ time */

int core_tick(struct core *c, uint64_t now_ms)
{
    const uint64_t ttl_ms = (uint64_t)c->limits.ttl_ms;
    int wait = 1000;
    c->now_ms = now_ms;
    if (connections_tick(c->connections, now_ms, ttl_ms > CONNECTION_IDLE_MS ? ttl_ms : CONNECTION_IDLE_MS))
        wait = RETRY_MS;
    for (struct session *s = session_first(c->sessions), *next; s != NULL; s = next) {
        next = session_after(s);
        const struct connection *k = connections_find(c->connections, &s->peer);
        if (k != NULL && k->deaf) {
            core_end(c, s);
        } else if (!s->running && !s->queued && now_ms - s->used_ms > ttl_ms) {
            log_info("session %s: idle for %d s, its memory is freed", s->name, c->limits.ttl_ms / 1000);
            core_end(c, s);
        } else if (s->sending && s->blocked) {
            step_flush(c, s);
            wait = RETRY_MS;
        }
    }
    c->stats.peers_dropped += (uint64_t)connections_drop_deaf(c->connections);
    return wait;
}

/* ------------------------------------------------------------------ life */

int core_new(struct core **out, const struct core_limits *limits, const struct core_model *model, struct core_sender sender,
             struct err *err)
{
    assert(limits->chunk_rows >= SCHEDULE_SHORT);
    struct core *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_oom(err, sizeof *c);
    c->limits = *limits;
    schedule_init(&c->waiting);
    if (connections_new(&c->connections, sender, err) != 0 || prefix_new(&c->prefix, limits->prefix, err) != 0 ||
        session_table_new(&c->sessions, limits->sessions, limits->user_sessions, limits->steps, err) != 0) {
        core_free(c);
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
    session_table_free(c->sessions);
    prefix_free(c->prefix);
    connections_free(c->connections);
    free(c);
}

static int most_tokens(const struct core_limits *limits, const struct config *config)
{
    return limits->context < config->positions ? limits->context : config->positions;
}

static int chunk_of(const struct core_limits *limits, const struct config *config)
{
    return config->causal ? limits->chunk_rows : most_tokens(limits, config);
}

int core_pass_rows(const struct core_limits *limits, const struct config *config)
{
    return TURNS * chunk_of(limits, config);
}

/* What a session may hold at most: no more than all pages. */
static void announce(struct core *c)
{
    struct msg_hello_ok *h = &c->model.hello;
    const struct config *config = &c->model.net->config;
    const size_t pages = kvpool_budget(c->model.pool) / kvpool_page_bytes(c->model.pool);
    int context = most_tokens(&c->limits, config);
    if (pages < (size_t)context / KV_PAGE + 1)
        context = (int)(pages * KV_PAGE) < context ? (int)(pages * KV_PAGE) : context;
    const int rows = config->causal && c->limits.rows < context ? c->limits.rows : context;
    h->max_tokens = (uint32_t)context;
    h->max_sessions = (uint32_t)c->limits.user_sessions;
    h->max_rows = (uint32_t)rows;
    /* The limit is for rows as wide as a vocabulary. A model that reads all rows at once gives hidden ones back at once. */
    const bool hidden = !config->causal && h->head_at_server == 0;
    h->max_out_rows = (uint32_t)(c->limits.out_rows < rows && !hidden ? c->limits.out_rows : rows);
    h->session_ttl_s = (uint32_t)(c->limits.ttl_ms / 1000);
}

static void end_all(struct core *c, enum wire_code code, const char *text)
{
    for (struct session *s = session_first(c->sessions), *next; s != NULL; s = next) {
        next = session_after(s);
        core_say(c, s, msg_error_encode(s->id, code, 0, text));
        core_end(c, s);
    }
}

void core_set_expired(struct core *c, bool expired)
{
    if (expired && !c->expired)
        end_all(c, WIRE_EXPIRED, EXPIRED_TEXT);
    c->expired = expired;
}

void core_set_model(struct core *c, const struct core_model *model)
{
    end_all(c, WIRE_EPOCH_CHANGED, "another package is served now; join and open again");
    c->expired = false;
    connections_reset(c->connections);
    c->has_model = model != NULL;
    c->model = model != NULL ? *model : (struct core_model){0};
    prefix_reset(c->prefix, c->model.pool);
    if (model == NULL)
        return;
    c->chunk = chunk_of(&c->limits, &model->net->config);
    announce(c);
}

void core_set_loading(struct core *c, bool loading)
{
    c->loading = loading;
}

void core_set_draining(struct core *c)
{
    c->draining = true;
}

bool core_busy(const struct core *c)
{
    for (const struct session *s = session_first(c->sessions); s != NULL; s = session_after(s))
        if (s->running || s->queued || (s->sending && !s->blocked))
            return true;
    return false;
}

void core_revoke(struct core *c, bool (*allowed)(void *arg, const struct peer_key *key), void *arg)
{
    for (struct session *s = session_first(c->sessions), *next; s != NULL; s = next) {
        next = session_after(s);
        if (allowed(arg, &s->user->key))
            continue;
        core_say(c, s, msg_error_encode(s->id, WIRE_REVOKED, 0, "this key was taken off the allow-list"));
        core_end(c, s);
    }
}

void core_count(struct core *c, uint64_t uptime_ms, uint64_t keys_refused, uint64_t frames_refused)
{
    c->stats.uptime_ms = uptime_ms;
    c->stats.keys_refused = keys_refused;
    c->stats.frames_refused = frames_refused;
}

void core_load(const struct core *c, struct core_load *out)
{
    *out = c->load;
    out->queue_rows = (uint64_t)c->waiting.rows;
}

void core_stats(const struct core *c, struct msg_stats *out)
{
    *out = c->stats;
    out->bytes_out = connections_bytes_out(c->connections);
    out->sessions_open = (uint64_t)session_count(c->sessions);
    out->kv_used = c->has_model ? kvpool_used(c->model.pool) : 0;
    out->kv_budget = c->has_model ? kvpool_budget(c->model.pool) : 0;
}
