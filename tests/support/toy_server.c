#include "tests/support/toy_server.h"

#include <pthread.h>
#include <math.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bf16.h"
#include "base/file.h"
#include "transport/msg_blob.h"
#include "transport/msg_error.h"
#include "transport/msg_hello.h"
#include "transport/msg_rows.h"
#include "transport/msg_session.h"
#include "transport/msg_stats.h"

#define PEERS 64

struct toy_peer {
    bool used;
    struct listener_peer who;
    enum phase connection, session;
    uint64_t seq, cached;
    struct msg_rows rows;
    struct frag_in in;
    struct frag_out out;
    float *x, *y;
    struct blob_source *source;
    struct blob_memory manifest;
    struct blob_sink *sink;
    struct blob_list list;
};

struct toy_server {
    struct toy_config config;
    struct transport *transport;
    struct listener *listener;
    pthread_t thread;
    int wake;
    atomic_bool stop;
    unsigned chunks_sent;
    uint8_t *manifest, *grant_list;
    size_t manifest_len, grant_list_len;
    struct toy_peer peer[PEERS];
};

uint8_t toy_server_manifest(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

static void die(const struct err *err)
{
    (void)fprintf(stderr, "toy server: %s\n", err->text);
    abort();
}

static struct toy_peer *peer_for(struct toy_server *s, const struct listener_peer *who)
{
    struct toy_peer *p = NULL;
    for (size_t i = 0; i < PEERS; i++) {
        if (s->peer[i].used && listener_peer_equal(&s->peer[i].who, who))
            return &s->peer[i];
        if (!s->peer[i].used && p == NULL)
            p = &s->peer[i];
    }
    if (p == NULL)
        abort();
    *p = (struct toy_peer){.used = true, .who = *who, .connection = PHASE_NEW, .session = PHASE_CLOSED};
    return p;
}

static bool say(struct toy_server *s, struct toy_peer *p, const struct frame *f)
{
    enum phase *phase = phase_of_session(&f->h) ? &p->session : &p->connection;
    enum phase before = *phase;
    if (phase_step(s->config.link, phase, PHASE_SERVER, &f->h) != PHASE_LEGAL && f->h.type != WIRE_ERROR) {
        (void)fprintf(stderr, "toy server: sends %s in phase %s\n", wire_type_name(f->h.type), phase_name(*phase));
        abort();
    }
    if (listener_send(s->listener, &p->who, f) == LISTENER_SENT)
        return true;
    *phase = before;
    return false;
}

static void refuse(struct toy_server *s, struct toy_peer *p, const uint8_t *session, enum wire_code code, const char *text)
{
    struct frame f = msg_error_encode(session, code, 0, text);
    (void)say(s, p, &f);
}

static void greet(struct toy_server *s, struct toy_peer *p, const struct frame *f)
{
    struct msg_hello hello;
    struct err err;
    uint8_t body[MSG_HELLO_OK_BYTES];
    struct msg_hello_ok ok = {.max_tokens = TOY_MAX_ROWS, .max_sessions = 1, .max_rows = TOY_MAX_ROWS, .max_out_rows = TOY_MAX_ROWS,
                              .D = TOY_D, .out_width = TOY_D, .epoch = 3, .manifest_bytes = TOY_MANIFEST_BYTES, .context = {1, 2, 3}};
    if (s->config.hello != NULL)
        ok = *s->config.hello;
    enum wire_code code = msg_hello_decode(&hello, f, &err);
    if (code == WIRE_OK)
        code = msg_hello_version(&hello, &ok.protocol, &err);
    if (code != WIRE_OK) {
        refuse(s, p, NULL, code, err.text);
        return;
    }
    struct frame answer = msg_hello_ok_encode(&ok, body);
    (void)say(s, p, &answer);
}

static void flush_out(struct toy_server *s, struct toy_peer *p)
{
    struct frame f;
    while (frag_out_peek(&p->out, &f) && say(s, p, &f))
        frag_out_sent(&p->out);
}

static void compute(struct toy_server *s, struct toy_peer *p)
{
    struct err err;
    struct msg_out out = {.epoch = 3, .seq = p->rows.seq, .cached = p->rows.pos + p->rows.rows, .rows = p->rows.out_n, .width = TOY_D,
                          .bf16 = p->rows.bf16};
    memcpy(out.session, p->rows.session, sizeof out.session);
    for (size_t i = 0; i < (size_t)p->rows.out_n * TOY_D; i++)
        p->y[i] = s->config.nan ? NAN : 2 * p->x[(size_t)p->rows.out_from * TOY_D + i];
    (void)poll(NULL, 0, (int)s->config.late_ms);
    if (p->rows.bf16)
        bf16_narrow(p->y, (size_t)p->rows.out_n * TOY_D);
    p->seq = p->rows.seq;
    p->cached = out.cached;
    if (msg_out_send(&p->out, &out, p->y, &err) != WIRE_OK)
        die(&err);
    flush_out(s, p);
}

static void take_rows(struct toy_server *s, struct toy_peer *p, const struct frame *f)
{
    const struct msg_rows_limits limits = {TOY_D, TOY_MAX_ROWS, TOY_MAX_ROWS, TOY_MAX_ROWS};
    struct err err;
    bool complete = false;
    enum wire_code code = WIRE_OK;
    if (f->h.flags & WIRE_FIRST) {
        code = msg_rows_decode(&p->rows, f, &limits, &err);
        if (code == WIRE_OK && (p->rows.seq != p->seq + 1 || p->rows.pos > p->cached)) {
            (void)err_set(&err, ERR_PEER, "gap");
            code = WIRE_BAD_SEQ;
        }
    }
    if (code == WIRE_OK)
        code = msg_rows_recv(&p->in, f, p->x, &complete, &err);
    if (code != WIRE_OK)
        refuse(s, p, f->h.session, code, err.text);
    else if (complete && !s->config.silent)
        compute(s, p);
    else {
        struct frame ack = frag_in_ack(&p->in);
        (void)say(s, p, &ack);
    }
}

/* Asks for what is missing; installs when all is there. */
static void pull(struct toy_server *s, struct toy_peer *p)
{
    struct err err;
    struct frame f;
    char path[FILE_PATH_MAX];
    if (p->sink == NULL) {
        while (blob_memory_next(&p->manifest, &f))
            (void)say(s, p, &f);
        if (!blob_memory_complete(&p->manifest))
            return;
        bool done = false;
        (void)snprintf(path, sizeof path, "%s/package", s->config.folder);
        if (blob_list_decode(&p->list, p->manifest.data, p->manifest.size, &err) != 0 ||
            blob_sink_open(&p->sink, path, &p->list, &err) != 0) {
            refuse(s, p, NULL, WIRE_DISK_FULL, err.text);
            return;
        }
        while (!done)
            if (blob_sink_check(p->sink, 16, &done, &err) != 0)
                die(&err);
    }
    while (blob_sink_next(p->sink, &f))
        (void)say(s, p, &f);
    if (!blob_sink_complete(p->sink))
        return;
    if (blob_sink_install(p->sink, &err) != 0)
        die(&err);
    f = msg_done_encode();
    (void)say(s, p, &f);
}

static void offered(struct toy_server *s, struct toy_peer *p, const struct frame *f)
{
    struct msg_offer offer;
    struct err err;
    if (msg_offer_decode(&offer, f, &err) != WIRE_OK || blob_memory_open(&p->manifest, offer.manifest_bytes, &err) != 0)
        refuse(s, p, NULL, WIRE_BAD_FRAME, err.text);
    else
        pull(s, p);
}

static void take_chunk(struct toy_server *s, struct toy_peer *p, const struct frame *f)
{
    struct err err;
    enum wire_code code = p->sink == NULL ? blob_memory_take(&p->manifest, f, &err) : blob_sink_take(p->sink, f, &err);
    if (code != WIRE_OK)
        refuse(s, p, NULL, code, err.text);
    else
        pull(s, p);
}

static void grant(struct toy_server *s, struct toy_peer *p)
{
    struct err err;
    uint8_t body[MSG_OFFER_BYTES];
    struct msg_offer offer = {.manifest_bytes = s->grant_list_len, .files = (uint32_t)s->config.list->count, .epoch = 3};
    if (p->source == NULL && blob_source_open(&p->source, s->config.folder, s->config.list, s->grant_list, s->grant_list_len, &err) != 0)
        die(&err);
    struct frame f = msg_offer_encode(&offer, body);
    (void)say(s, p, &f);
}

static void get(struct toy_server *s, struct toy_peer *p, const struct frame *f)
{
    struct err err;
    struct frame chunk;
    struct msg_get want = msg_get_decode(f);
    if (p->source != NULL) {
        enum wire_code code = blob_source_answer(p->source, f, &chunk, &err);
        if (code != WIRE_OK) {
            refuse(s, p, NULL, code, err.text);
            return;
        }
    } else if (want.file == BLOB_MANIFEST && want.chunk < blob_chunks(s->manifest_len)) {
        chunk = msg_chunk_encode(want.file, want.chunk, s->manifest + (size_t)want.chunk * WIRE_PAYLOAD_MAX,
                                 blob_chunk_bytes(s->manifest_len, want.chunk));
    } else {
        refuse(s, p, NULL, WIRE_UNKNOWN_FILE, "no such file");
        return;
    }
    if (++s->chunks_sent == s->config.corrupt_chunk)
        ((uint8_t *)(uintptr_t)chunk.payload)[chunk.h.length / 2] ^= 0x10; /* the source's own buffer */
    (void)say(s, p, &chunk);
}

static void open_session(struct toy_server *s, struct toy_peer *p, const struct frame *f)
{
    struct msg_open open;
    struct err err;
    if (msg_open_decode(&open, f, &err) != WIRE_OK) {
        refuse(s, p, f->h.session, WIRE_BAD_FRAME, err.text);
        return;
    }
    size_t bytes = (size_t)TOY_MAX_ROWS * TOY_D * sizeof(float);
    free(p->x);
    free(p->y);
    p->x = malloc(bytes);
    p->y = malloc(bytes);
    struct msg_opened opened = {.max_tokens = open.max_tokens};
    memcpy(opened.session, open.session, sizeof opened.session);
    struct frame answer = msg_opened_encode(&opened);
    (void)say(s, p, &answer);
}

static void handle(struct toy_server *s, struct toy_peer *p, const struct frame *f)
{
    bool in_session = phase_of_session(&f->h);
    enum phase *phase = in_session ? &p->session : &p->connection;
    enum phase_verdict verdict = in_session && p->connection != PHASE_READY ? PHASE_ILLEGAL
                                                                            : phase_step(s->config.link, phase, PHASE_CLIENT, &f->h);
    struct frame answer;
    struct msg_stats stats = {.rows_in = p->seq};
    uint8_t body[MSG_STATS_BYTES];
    if (verdict == PHASE_IGNORE)
        return;
    if (verdict == PHASE_ILLEGAL) {
        bool gone = in_session && *phase == PHASE_CLOSED;
        refuse(s, p, in_session ? f->h.session : NULL, gone ? WIRE_UNKNOWN_SESSION : WIRE_BAD_PHASE, phase_name(*phase));
        return;
    }
    switch ((enum wire_type)f->h.type) {
    case WIRE_HELLO: greet(s, p, f); break;
    case WIRE_OPEN: open_session(s, p, f); break;
    case WIRE_ROWS: take_rows(s, p, f); break;
    case WIRE_ACK:
        if (frag_out_ack(&p->out, f))
            flush_out(s, p);
        break;
    case WIRE_CANCEL: answer = msg_cancelled_encode(f->h.session); (void)say(s, p, &answer); break;
    case WIRE_CLOSE: answer = msg_closed_encode(f->h.session); (void)say(s, p, &answer); break;
    case WIRE_STATS_GET: answer = msg_stats_encode(&stats, body); (void)say(s, p, &answer); break;
    case WIRE_OFFER: offered(s, p, f); break;
    case WIRE_CHUNK: take_chunk(s, p, f); break;
    case WIRE_GRANT: grant(s, p); break;
    case WIRE_GET: get(s, p, f); break;
    default: break;
    }
}

static void *run(void *arg)
{
    struct toy_server *s = arg;
    struct err err;
    while (!atomic_load(&s->stop)) {
        bool ready = false, woken = false;
        if (listener_poll(&s->listener, 1, s->wake, 1000, &ready, &woken, &err) != 0)
            die(&err);
        for (enum listener_got got = LISTENER_FRAME; ready && got == LISTENER_FRAME;) {
            struct listener_peer who;
            struct frame f;
            if (listener_recv(s->listener, &got, &who, &f, &err) != 0)
                die(&err);
            if (got == LISTENER_FRAME && !s->config.mute)
                handle(s, peer_for(s, &who), &f);
        }
    }
    return NULL;
}

struct toy_server *toy_server_start(const char *endpoint, const struct identity *id, const struct peer_key *allow, size_t n,
                                    const struct toy_config *config)
{
    struct err err;
    struct toy_server *s = calloc(1, sizeof *s);
    const size_t len = config->manifest == NULL ? TOY_MANIFEST_BYTES : (size_t)config->hello->manifest_bytes;
    if (s == NULL || (s->manifest = malloc(len)) == NULL)
        abort();
    s->config = *config;
    s->manifest_len = len;
    for (size_t i = 0; i < len; i++)
        s->manifest[i] = config->manifest == NULL ? toy_server_manifest(i) : ((const uint8_t *)config->manifest)[i];
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (config->list != NULL && blob_list_encode(config->list, &s->grant_list, &s->grant_list_len, &err) != 0)
        die(&err);
    if (transport_open(&s->transport, &err) != 0 ||
        listener_open(&s->listener, s->transport, "toy", endpoint, id, allow, n, &err) != 0 ||
        listener_self_check(s->listener, &err) != 0)
        die(&err);
    if (pthread_create(&s->thread, NULL, run, s) != 0)
        abort();
    return s;
}

const char *toy_server_endpoint(const struct toy_server *s)
{
    return listener_endpoint(s->listener);
}

struct listener *toy_server_listener(struct toy_server *s)
{
    return s->listener;
}

void toy_server_halt(struct toy_server *s)
{
    const uint64_t one = 1;
    if (atomic_exchange(&s->stop, true))
        return;
    if (write(s->wake, &one, sizeof one) != (ssize_t)sizeof one)
        abort();
    (void)pthread_join(s->thread, NULL);
}

void toy_server_stop(struct toy_server *s)
{
    if (s == NULL)
        return;
    toy_server_halt(s);
    for (size_t i = 0; i < PEERS; i++) {
        free(s->peer[i].x);
        free(s->peer[i].y);
        blob_source_close(s->peer[i].source);
        blob_memory_close(&s->peer[i].manifest);
        blob_sink_close(s->peer[i].sink);
        blob_list_free(&s->peer[i].list);
    }
    listener_close(s->listener);
    transport_close(s->transport);
    close(s->wake);
    free(s->manifest);
    free(s->grant_list);
    free(s);
}
