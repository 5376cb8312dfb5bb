#include "transport/listener.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "transport/backlog.h"
#include "transport/channel.h"
#include "transport/msg_error.h"
#include "transport/msg_ping.h"
#include "transport/trace.h"
#include "transport/zmq_door.h"

#define ENDPOINT_MAX 256
#define REFUSALS_PER_CALL 64 /* then the role gets its turn, whatever is queued */
/* Makes libzmq refuse a domain that no gatekeeper answers for; zmq.h shows the name to draft builds only. */
#define OPTION_ZAP_ENFORCE_DOMAIN 93

struct listener {
    struct transport *transport;
    void *socket;
    struct allow *allow;
    bool guarded, holds;
    char name[ZMQ_DOOR_DOMAIN_MAX], endpoint[ENDPOINT_MAX];
    struct peer_key self;
    zmq_msg_t msg; /* the frame that the last listener_recv gave, while `holds` */
    struct trace *trace;
    struct backlog *backlog;
    struct listener_stats stats;
};

bool listener_peer_equal(const struct listener_peer *a, const struct listener_peer *b)
{
    return a->rid_len == b->rid_len && memcmp(a->rid, b->rid, a->rid_len) == 0 && peer_key_equal(&a->key, &b->key);
}

/* ------------------------------------------------------------------ opening */

static const struct zmq_option OPTIONS[] = {
    {ZMQ_CURVE_SERVER, 1},
    {OPTION_ZAP_ENFORCE_DOMAIN, 1},
    {ZMQ_HANDSHAKE_IVL, LISTENER_HANDSHAKE_MS},
    {ZMQ_BACKLOG, 4096},
    {ZMQ_SNDHWM, 16},
    {ZMQ_RCVHWM, 64},
    {ZMQ_ROUTER_MANDATORY, 1},
    {ZMQ_HEARTBEAT_IVL, 0}, /* not 0 lets a dying client abort the process when its queue is full */
    {ZMQ_TCP_KEEPALIVE, 1},
    {ZMQ_TCP_KEEPALIVE_IDLE, 10},
    {ZMQ_TCP_KEEPALIVE_INTVL, 5},
    {ZMQ_TCP_KEEPALIVE_CNT, 3},
    {ZMQ_TCP_MAXRT, 30000},
    {ZMQ_LINGER, 0},
};

/* Connections are descriptors. Raising to the hard limit needs no right; failing to costs only capacity. */
static void raise_descriptors(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
}

static int bind_socket(struct listener *l, const char *endpoint, const struct identity *id, struct err *err)
{
    const int64_t msg_max = ZMQ_DOOR_MSG_MAX;
    size_t size = sizeof l->endpoint;
    if (transport_endpoint(endpoint, true, err) != 0)
        return -1;
    const struct zmq_option ipv6 = transport_ipv6(endpoint);
    if ((l->socket = zmq_socket(transport_context(l->transport), ZMQ_ROUTER)) == NULL)
        return err_set(err, ERR_INTERNAL, "cannot make a socket: %s", zmq_strerror(errno));
    if (transport_options(l->socket, OPTIONS, sizeof OPTIONS / sizeof *OPTIONS, err) != 0 ||
        transport_options(l->socket, &ipv6, 1, err) != 0)
        return -1;
    if (zmq_setsockopt(l->socket, ZMQ_MAXMSGSIZE, &msg_max, sizeof msg_max) != 0 ||
        zmq_setsockopt(l->socket, ZMQ_CURVE_SECRETKEY, id->curve_key, sizeof id->curve_key) != 0 ||
        zmq_setsockopt(l->socket, ZMQ_ZAP_DOMAIN, l->name, strlen(l->name)) != 0)
        return err_set(err, ERR_INTERNAL, "cannot set up the encrypted socket: %s", zmq_strerror(errno));
    if (zmq_bind(l->socket, endpoint) != 0)
        return err_set(err, ERR_USAGE, "cannot listen on %s: %s", endpoint, zmq_strerror(errno));
    if (zmq_getsockopt(l->socket, ZMQ_LAST_ENDPOINT, l->endpoint, &size) != 0)
        return err_set(err, ERR_INTERNAL, "cannot read the bound address: %s", zmq_strerror(errno));
    return 0;
}

int listener_open(struct listener **out, struct transport *t, const char *name, const char *endpoint,
                  const struct identity *id, const struct peer_key *allow, size_t n, struct err *err)
{
    struct listener *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_oom(err, sizeof *l);
    l->transport = t;
    l->self = identity_public(id);
    (void)snprintf(l->name, sizeof l->name, "%s", name);
    raise_descriptors();
    /* The gatekeeper stands before the door opens: without one libzmq admits every key. */
    if (allow_new(&l->allow, err) != 0 || allow_set(l->allow, allow, n, err) != 0 ||
        transport_guard(t, name, l->allow, err) != 0)
        goto fail;
    l->guarded = true;
    if (bind_socket(l, endpoint, id, err) != 0 ||
        backlog_new(&l->backlog, (unsigned)strtoul(strrchr(l->endpoint, ':') + 1, NULL, 10), err) != 0)
        goto fail;
    *out = l;
    return 0;
fail:
    listener_close(l);
    return err_wrap(err, "opening the listener \"%s\"", name);
}

void listener_close(struct listener *l)
{
    if (l == NULL)
        return;
    if (l->holds)
        zmq_msg_close(&l->msg);
    if (l->socket != NULL)
        zmq_close(l->socket);
    if (l->guarded)
        transport_unguard(l->transport, l->name);
    allow_free(l->allow);
    backlog_free(l->backlog);
    free(l);
}

const char *listener_endpoint(const struct listener *l)
{
    return l->endpoint;
}

const char *listener_name(const struct listener *l)
{
    return l->name;
}

int listener_allow(struct listener *l, const struct peer_key *allow, size_t n, struct err *err)
{
    return allow_set(l->allow, allow, n, err);
}

bool listener_allows(const struct listener *l, const struct peer_key *key)
{
    struct peer_key known;
    return allow_find(l->allow, key->curve_pub, &known) && peer_key_equal(&known, key);
}

void listener_trace(struct listener *l, struct trace *trace)
{
    l->trace = trace;
}

/* A wildcard is an address to listen on, not one to connect to. */
static void reachable(const char *bound, char out[ENDPOINT_MAX])
{
    const char *port = strrchr(bound, ':');
    if (strncmp(bound, "tcp://0.0.0.0:", 14) == 0)
        (void)snprintf(out, ENDPOINT_MAX, "tcp://127.0.0.1%s", port);
    else if (strncmp(bound, "tcp://[::]:", 11) == 0)
        (void)snprintf(out, ENDPOINT_MAX, "tcp://[::1]%s", port);
    else
        (void)snprintf(out, ENDPOINT_MAX, "%s", bound);
}

int listener_self_check(struct listener *l, struct err *err)
{
    char endpoint[ENDPOINT_MAX];
    struct identity *stranger = NULL;
    struct channel *ch = NULL;
    struct err refusal = {0};
    if (identity_generate(&stranger, err) != 0)
        return -1;
    reachable(l->endpoint, endpoint);
    allow_probe(l->allow, stranger->curve_pub);
    int rc = channel_open(&ch, l->transport, endpoint, &l->self, stranger, CHANNEL_CONNECT_MS, &refusal);
    channel_close(ch);
    identity_free(stranger);
    if (rc == 0)
        return err_set(err, ERR_INTERNAL, "listener \"%s\" admits a key that is not on its allow-list; not serving", l->name);
    if (refusal.code != ERR_AUTH || !allow_probe_refused(l->allow))
        return err_set(err, ERR_INTERNAL, "listener \"%s\": no proof that unknown keys are refused (%s); not serving", l->name,
                       refusal.text);
    return 0;
}

/* ------------------------------------------------------------------ waiting, receiving */

int listener_poll(struct listener *const *l, size_t n, int wake_fd, int timeout_ms, bool *ready, bool *woken, struct err *err)
{
    zmq_pollitem_t item[LISTENER_MAX + 1];
    const uint64_t start = clock_ms();
    uint64_t passed = 0;
    int rc;
    assert(n <= LISTENER_MAX);
    for (size_t i = 0; i < n; i++)
        item[i] = (zmq_pollitem_t){.socket = l[i]->socket, .events = ZMQ_POLLIN};
    item[n] = (zmq_pollitem_t){.fd = wake_fd, .events = ZMQ_POLLIN};
    do {
        int wait = timeout_ms < 0 ? BACKLOG_LOOK_MS : timeout_ms - (int)passed;
        for (size_t i = 0; i < n; i++) {
            const int look = backlog_look(l[i]->backlog, start + passed);
            wait = look < wait ? look : wait;
        }
        rc = zmq_poll(item, (int)(n + (wake_fd >= 0 ? 1 : 0)), wait);
        passed = clock_ms() - start;
    } while (rc == 0 && (timeout_ms < 0 || passed < (uint64_t)timeout_ms));
    if (rc < 0 && errno != EINTR)
        return err_set(err, ERR_INTERNAL, "waiting for peers: %s", zmq_strerror(errno));
    for (size_t i = 0; i < n; i++)
        ready[i] = rc > 0 && (item[i].revents & ZMQ_POLLIN) != 0;
    *woken = rc > 0 && wake_fd >= 0 && (item[n].revents & ZMQ_POLLIN) != 0;
    return 0;
}

enum part { PART_NONE, PART_TAKEN, PART_FAILED };

/* One part of a message into l->msg, without waiting. */
static enum part take_part(struct listener *l, struct err *err)
{
    if (l->holds)
        zmq_msg_close(&l->msg);
    l->holds = true;
    (void)zmq_msg_init(&l->msg);
    int rc;
    while ((rc = zmq_msg_recv(&l->msg, l->socket, ZMQ_DONTWAIT)) < 0 && errno == EINTR)
        continue;
    if (rc >= 0) {
        backlog_took(l->backlog, zmq_msg_get(&l->msg, ZMQ_SRCFD), zmq_msg_size(&l->msg));
        return PART_TAKEN;
    }
    if (errno == EAGAIN)
        return PART_NONE;
    (void)err_set(err, ERR_INTERNAL, "listener \"%s\": receiving: %s", l->name, zmq_strerror(errno));
    return PART_FAILED;
}

static void refuse(struct listener *l, const struct listener_peer *peer, enum wire_code code, const char *text)
{
    struct frame f = msg_error_encode(NULL, code, 0, text);
    l->stats.frames_refused++;
    (void)!listener_send(l, peer, &f);
}

/* The key was proved in the handshake and is written into every frame by libzmq, not by the peer. */
static bool peer_of(struct listener *l, struct listener_peer *peer)
{
    uint8_t curve_pub[32];
    const char *user = zmq_msg_gets(&l->msg, "User-Id");
    return user != NULL && crypto_unhex(user, curve_pub, sizeof curve_pub) && allow_find(l->allow, curve_pub, &peer->key);
}

/* The frame in l->msg: for the role, or dealt with here. */
static bool examine(struct listener *l, const struct listener_peer *peer, bool known, bool single, struct frame *f)
{
    const uint8_t *data = zmq_msg_data(&l->msg);
    size_t len = zmq_msg_size(&l->msg);
    struct err why;
    struct frame got;
    enum wire_code code;
    if (!known) {
        refuse(l, peer, WIRE_REVOKED, "this key was taken off the allow-list");
        return false;
    }
    if (!single) {
        refuse(l, peer, WIRE_BAD_FRAME, "a message of several parts");
        return false;
    }
    if ((code = wire_get(&got, data, len, &why)) != WIRE_OK) {
        refuse(l, peer, code, why.text);
        return false;
    }
    if (got.h.type == WIRE_PING) {
        struct frame pong = msg_pong_encode(&got);
        (void)!listener_send(l, peer, &pong);
        return false;
    }
    if (got.h.type == WIRE_HELLO)
        transport_steady(&l->msg);
    *f = got;
    return true;
}

int listener_recv(struct listener *l, enum listener_got *got, struct listener_peer *peer, struct frame *f, struct err *err)
{
    *got = LISTENER_NONE;
    for (int tries = 0; tries < REFUSALS_PER_CALL; tries++) {
        struct listener_peer from = {0};
        enum part part = take_part(l, err);
        if (part != PART_TAKEN)
            return part == PART_NONE ? 0 : -1;
        size_t n = zmq_msg_size(&l->msg);
        bool sane = n <= sizeof from.rid && zmq_msg_more(&l->msg);
        if (sane) {
            memcpy(from.rid, zmq_msg_data(&l->msg), n);
            from.rid_len = (uint8_t)n;
        }
        bool known = false;
        unsigned parts = 0;
        for (; zmq_msg_more(&l->msg); parts++) {
            if ((part = take_part(l, err)) != PART_TAKEN)
                return part == PART_NONE ? 0 : -1;
            known = peer_of(l, &from);
            l->stats.bytes_in += zmq_msg_size(&l->msg);
        }
        if (!sane)
            continue;
        l->stats.frames_in++;
        if (!examine(l, &from, known, parts == 1, f))
            continue;
        if (trace_frame(l->trace, '<', zmq_msg_data(&l->msg), zmq_msg_size(&l->msg), NULL, 0, err) != 0)
            return -1;
        *peer = from;
        *got = LISTENER_FRAME;
        return 0;
    }
    return 0;
}

/* Names the peer of the next part. */
static int send_rid(struct listener *l, const struct listener_peer *peer)
{
    int rc;
    while ((rc = zmq_send(l->socket, peer->rid, peer->rid_len, ZMQ_SNDMORE | ZMQ_DONTWAIT)) < 0 && errno == EINTR)
        continue;
    return rc;
}

enum listener_sent listener_send(struct listener *l, const struct listener_peer *peer, const struct frame *f)
{
    zmq_msg_t msg;
    size_t len = WIRE_HEADER_BYTES + f->h.length;
    int rc;
    if (zmq_msg_init_size(&msg, len) != 0)
        return LISTENER_FULL;
    uint8_t *bytes = zmq_msg_data(&msg);
    wire_put(&f->h, bytes);
    if (f->h.length > 0)
        memcpy(bytes + WIRE_HEADER_BYTES, f->payload, f->h.length);
    rc = send_rid(l, peer);
    if (rc < 0 && errno == EAGAIN) {
        /* Not always true: in a busy millisecond libzmq does not look at what the peer has taken meanwhile. Asking for the
         * events makes it look. */
        int events = 0;
        size_t size = sizeof events;
        (void)zmq_getsockopt(l->socket, ZMQ_EVENTS, &events, &size);
        rc = send_rid(l, peer);
    }
    if (rc >= 0) {
        /* A failing trace must not look like a failing peer; the next receive meets the same disk and reports it. */
        (void)!trace_frame(l->trace, '>', bytes, len, NULL, 0, NULL);
        while ((rc = zmq_msg_send(&msg, l->socket, ZMQ_DONTWAIT)) < 0 && errno == EINTR)
            continue;
    }
    if (rc < 0) {
        bool full = errno == EAGAIN;
        zmq_msg_close(&msg);
        if (full)
            l->stats.sends_full++;
        return full ? LISTENER_FULL : LISTENER_GONE;
    }
    l->stats.frames_out++;
    l->stats.bytes_out += len;
    return LISTENER_SENT;
}

struct listener_stats listener_stats(const struct listener *l)
{
    struct listener_stats s = l->stats;
    s.keys_refused = allow_refused(l->allow);
    return s;
}
