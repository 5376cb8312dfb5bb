#include "transport/channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "transport/msg_error.h"
#include "transport/msg_ping.h"
#include "transport/trace.h"
#include "transport/zmq_door.h"

#define ENDPOINT_MAX 256
#define CUT_SHORT_MAX 3 /* libzmq connects again by itself; nobody is killed that often in half a second */
#define CUT_AT_ONCE_MS 1000 /* a server that is in trouble with our handshake ends it sooner, one that is out of time later */
#define SETTLE_MS 20 /* frames that arrived before the connection broke may become readable a moment after the news */

/* What the socket monitor has said so far. */
struct events {
    bool connected, handshaken, refused_key, no_handshake, lost;
    uint64_t connected_ms;
    int cut_short; /* handshakes that soon ended without a word: a server that was killed, or one that cannot read ours */
    uint64_t closed; /* attempts that failed */
};

struct channel {
    void *socket, *monitor;
    char endpoint[ENDPOINT_MAX];
    struct peer_key peer;
    struct events seen;
    zmq_msg_t msg; /* the frame that the last receive gave, while `holds` */
    bool holds, asked; /* asked: something was sent since the last answer */
    bool broken;
    unsigned code;
    uint64_t heard_ms, pings;
    struct trace *trace;
    struct channel_stats stats;
};

/* ------------------------------------------------------------------ opening */

static const struct zmq_option OPTIONS[] = {
    {ZMQ_IMMEDIATE, 1}, /* nothing is queued for a connection that is not there */
    {ZMQ_RECONNECT_IVL, 100},
    {ZMQ_RECONNECT_IVL_MAX, 5000},
    {ZMQ_CONNECT_TIMEOUT, CHANNEL_CONNECT_MS},
    {ZMQ_SNDHWM, 16},
    {ZMQ_RCVHWM, 64},
    /* A hole in the network is left by a new connection, long before TCP's growing waits would send again in the old one. No keepalive:
     * the listener's is enough, and with this bound one lost probe would end a connection that nobody uses. */
    {ZMQ_TCP_MAXRT, CHANNEL_UNSENT_MS},
    {ZMQ_LINGER, 0},
};

static int watch(struct channel *ch, struct transport *t, struct err *err)
{
    char name[64];
    const int zero = 0;
    (void)snprintf(name, sizeof name, "inproc://stip-monitor-%u", transport_next(t));
    /* The ear first: libzmq waits for ever to tell a monitor without one that it ends. */
    if ((ch->monitor = zmq_socket(transport_context(t), ZMQ_PAIR)) == NULL ||
        zmq_setsockopt(ch->monitor, ZMQ_LINGER, &zero, sizeof zero) != 0 || zmq_connect(ch->monitor, name) != 0 ||
        zmq_socket_monitor(ch->socket, name, ZMQ_EVENT_ALL) != 0)
        return err_set(err, ERR_INTERNAL, "cannot watch the connection: %s", zmq_strerror(errno));
    return 0;
}

static int connect_socket(struct channel *ch, struct transport *t, const struct identity *id, int timeout_ms, struct err *err)
{
    const int64_t msg_max = ZMQ_DOOR_MSG_MAX;
    const struct zmq_option handshake = {ZMQ_HANDSHAKE_IVL, timeout_ms > 0 ? timeout_ms : CHANNEL_CONNECT_MS};
    if (transport_endpoint(ch->endpoint, false, err) != 0)
        return -1;
    const struct zmq_option ipv6 = transport_ipv6(ch->endpoint);
    if ((ch->socket = zmq_socket(transport_context(t), ZMQ_DEALER)) == NULL)
        return err_set(err, ERR_INTERNAL, "cannot make a socket: %s", zmq_strerror(errno));
    /* One handshake has all the time there is: who begins another one is behind all others again. */
    if (transport_options(ch->socket, OPTIONS, sizeof OPTIONS / sizeof *OPTIONS, err) != 0 ||
        transport_options(ch->socket, &handshake, 1, err) != 0 || transport_options(ch->socket, &ipv6, 1, err) != 0)
        return -1;
    if (zmq_setsockopt(ch->socket, ZMQ_MAXMSGSIZE, &msg_max, sizeof msg_max) != 0 ||
        zmq_setsockopt(ch->socket, ZMQ_CURVE_SERVERKEY, ch->peer.curve_pub, sizeof ch->peer.curve_pub) != 0 ||
        zmq_setsockopt(ch->socket, ZMQ_CURVE_PUBLICKEY, id->curve_pub, sizeof id->curve_pub) != 0 ||
        zmq_setsockopt(ch->socket, ZMQ_CURVE_SECRETKEY, id->curve_key, sizeof id->curve_key) != 0)
        return err_set(err, ERR_INTERNAL, "cannot set up the encrypted socket: %s", zmq_strerror(errno));
    if (watch(ch, t, err) != 0)
        return -1;
    if (zmq_connect(ch->socket, ch->endpoint) != 0)
        return err_set(err, ERR_USAGE, "address \"%s\": %s", ch->endpoint, zmq_strerror(errno));
    return 0;
}

/* Takes the news that is there, without waiting. */
static void read_events(struct channel *ch)
{
    uint8_t head[6], address[ENDPOINT_MAX];
    while (zmq_recv(ch->monitor, head, sizeof head, ZMQ_DONTWAIT) == (int)sizeof head) {
        uint16_t event;
        memcpy(&event, head, sizeof event);
        (void)zmq_recv(ch->monitor, address, sizeof address, ZMQ_DONTWAIT);
        switch (event) {
        case ZMQ_EVENT_CONNECTED:
            ch->seen.connected = true;
            ch->seen.connected_ms = clock_ms();
            break;
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED: ch->seen.handshaken = true; break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH: ch->seen.refused_key = true; break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL: ch->seen.no_handshake = true; break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            ch->seen.cut_short += clock_ms() - ch->seen.connected_ms < CUT_AT_ONCE_MS;
            ch->seen.no_handshake = ch->seen.cut_short >= CUT_SHORT_MAX;
            break;
        case ZMQ_EVENT_CLOSED: ch->seen.closed++; break;
        case ZMQ_EVENT_DISCONNECTED: ch->seen.lost = true; break;
        default: break;
        }
    }
}

static int refused(const struct channel *ch, const struct identity *id, struct err *err)
{
    char mine[FINGERPRINT_TEXT];
    struct peer_key self = identity_public(id);
    peer_key_fingerprint(&self, mine);
    return err_set(err, ERR_AUTH,
                   "%s: the peer does not know this key (fingerprint %s); ask its operator to add the line in identity.pub "
                   "to the allow-list",
                   ch->endpoint, mine);
}

static int other_key(const struct channel *ch, struct err *err)
{
    char pinned[FINGERPRINT_TEXT];
    peer_key_fingerprint(&ch->peer, pinned);
    return err_set(err, ERR_AUTH,
                   "%s: what answers there does not hold the key with fingerprint %s, or is another kind of server; check "
                   "address and public key in the config",
                   ch->endpoint, pinned);
}

static int no_answer(const struct channel *ch, int timeout_ms, struct err *err)
{
    if (ch->seen.connected)
        return err_set(err, ERR_PEER, "%s: connected, but no answer to the handshake within %d ms", ch->endpoint, timeout_ms);
    if (ch->seen.closed > 0)
        return err_set(err, ERR_PEER, "%s: nothing listens there (tried for %d ms); is the peer running?", ch->endpoint,
                       timeout_ms);
    return err_set(err, ERR_PEER, "%s: no answer from the network within %d ms; check the address and the firewall",
                   ch->endpoint, timeout_ms);
}

static int shake_hands(struct channel *ch, const struct identity *id, int timeout_ms, struct err *err)
{
    uint64_t now = clock_ms(), end = now + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);
    for (;; now = clock_ms()) {
        read_events(ch);
        if (ch->seen.handshaken)
            return 0;
        if (ch->seen.refused_key)
            return refused(ch, id, err);
        if (ch->seen.no_handshake)
            return other_key(ch, err);
        if (now >= end)
            return no_answer(ch, timeout_ms, err);
        zmq_pollitem_t item = {.socket = ch->monitor, .events = ZMQ_POLLIN};
        if (zmq_poll(&item, 1, (long)(end - now)) < 0 && errno != EINTR)
            return err_set(err, ERR_INTERNAL, "%s: waiting for the handshake: %s", ch->endpoint, zmq_strerror(errno));
    }
}

int channel_open(struct channel **out, struct transport *t, const char *endpoint, const struct peer_key *peer,
                 const struct identity *id, int timeout_ms, struct err *err)
{
    struct channel *ch = calloc(1, sizeof *ch);
    if (ch == NULL)
        return err_oom(err, sizeof *ch);
    ch->peer = *peer;
    (void)snprintf(ch->endpoint, sizeof ch->endpoint, "%s", endpoint);
    if (connect_socket(ch, t, id, timeout_ms, err) != 0 || shake_hands(ch, id, timeout_ms, err) != 0) {
        channel_close(ch);
        return -1;
    }
    ch->heard_ms = clock_ms();
    *out = ch;
    return 0;
}

void channel_close(struct channel *ch)
{
    if (ch == NULL)
        return;
    if (ch->holds)
        zmq_msg_close(&ch->msg);
    if (ch->socket != NULL) {
        (void)zmq_socket_monitor(ch->socket, NULL, 0);
        zmq_close(ch->socket);
    }
    if (ch->monitor != NULL)
        zmq_close(ch->monitor);
    (void)!trace_close(ch->trace, NULL);
    free(ch);
}

const char *channel_endpoint(const struct channel *ch)
{
    return ch->endpoint;
}

/* ------------------------------------------------------------------ sending */

static int lost(struct channel *ch, struct err *err)
{
    ch->broken = true;
    return err_set(err, ERR_PEER, "%s: the connection was lost", ch->endpoint);
}

/* Waits for the socket event or for news of the connection. */
static int wait_for(struct channel *ch, short event, uint64_t ms, struct err *err)
{
    zmq_pollitem_t item[2] = {{.socket = ch->socket, .events = event}, {.socket = ch->monitor, .events = ZMQ_POLLIN}};
    if (zmq_poll(item, 2, (long)ms) < 0 && errno != EINTR)
        return err_set(err, ERR_INTERNAL, "%s: waiting: %s", ch->endpoint, zmq_strerror(errno));
    read_events(ch);
    return 0;
}

static int send_bytes(struct channel *ch, zmq_msg_t *msg, struct err *err)
{
    uint64_t end = clock_ms() + CHANNEL_DEAD_MS;
    for (;;) {
        if (ch->seen.lost)
            return lost(ch, err);
        if (zmq_msg_send(msg, ch->socket, ZMQ_DONTWAIT) >= 0)
            return 0;
        if (errno != EAGAIN && errno != EINTR)
            return err_set(err, ERR_PEER, "%s: sending: %s", ch->endpoint, zmq_strerror(errno));
        uint64_t now = clock_ms();
        if (now >= end) {
            ch->broken = true;
            return err_set(err, ERR_PEER, "%s: the peer has taken nothing for %d ms", ch->endpoint, CHANNEL_DEAD_MS);
        }
        if (wait_for(ch, ZMQ_POLLOUT, end - now, err) != 0)
            return -1;
    }
}

int channel_send(struct channel *ch, const struct frame *f, struct err *err)
{
    zmq_msg_t msg;
    size_t len = WIRE_HEADER_BYTES + f->h.length;
    read_events(ch);
    if (zmq_msg_init_size(&msg, len) != 0)
        return err_oom(err, len);
    uint8_t *bytes = zmq_msg_data(&msg);
    wire_put(&f->h, bytes);
    if (f->h.length > 0)
        memcpy(bytes + WIRE_HEADER_BYTES, f->payload, f->h.length);
    if (trace_frame(ch->trace, '>', bytes, len, NULL, 0, err) != 0 || send_bytes(ch, &msg, err) != 0) {
        zmq_msg_close(&msg);
        return -1;
    }
    ch->stats.bytes_up += len;
    ch->stats.frames_up++;
    if (f->h.type != WIRE_PING)
        ch->asked = true;
    return 0;
}

/* ------------------------------------------------------------------ receiving */

int channel_try_recv(struct channel *ch, struct frame *f, bool *got, struct err *err)
{
    *got = false;
    for (;;) {
        if (ch->holds)
            zmq_msg_close(&ch->msg);
        ch->holds = true;
        (void)zmq_msg_init(&ch->msg);
        if (zmq_msg_recv(&ch->msg, ch->socket, ZMQ_DONTWAIT) < 0) {
            if (errno == EINTR)
                continue;
            return errno == EAGAIN ? 0 : err_set(err, ERR_PEER, "%s: receiving: %s", ch->endpoint, zmq_strerror(errno));
        }
        size_t len = zmq_msg_size(&ch->msg);
        struct frame in;
        if (zmq_msg_more(&ch->msg))
            return err_set(err, ERR_PEER, "%s: a message of several parts; is this a stip server?", ch->endpoint);
        if (wire_get(&in, zmq_msg_data(&ch->msg), len, err) != WIRE_OK)
            return err_wrap(err, "%s", ch->endpoint);
        if (ch->stats.frames_down++ == 0)
            transport_steady(&ch->msg);
        ch->stats.bytes_down += len;
        ch->heard_ms = clock_ms();
        if (trace_frame(ch->trace, '<', zmq_msg_data(&ch->msg), len, NULL, 0, err) != 0)
            return -1;
        if (in.h.type == WIRE_PONG)
            continue;
        if (ch->asked)
            ch->stats.round_trips++;
        ch->asked = false;
        *f = in;
        *got = true;
        return 0;
    }
}

static int ping(struct channel *ch, struct err *err)
{
    struct frame f = msg_ping_encode(++ch->pings);
    return channel_send(ch, &f, err);
}

int channel_recv(struct channel *ch, struct frame *f, uint64_t deadline_ms, struct err *err)
{
    uint64_t start = clock_ms(), pinged = start;
    bool settled = false;
    for (;;) {
        bool got = false;
        if (channel_try_recv(ch, f, &got, err) != 0)
            return -1;
        if (got)
            return 0;
        if (ch->seen.lost && settled)
            return lost(ch, err);
        uint64_t now = clock_ms(), heard = ch->heard_ms > start ? ch->heard_ms : start;
        if (now >= deadline_ms || now - heard >= CHANNEL_DEAD_MS)
            ch->broken = true;
        if (now >= deadline_ms)
            return err_set(err, ERR_PEER, "%s: no answer within %llu ms", ch->endpoint, (unsigned long long)(now - start));
        if (now - heard >= CHANNEL_DEAD_MS)
            return err_set(err, ERR_PEER, "%s: the peer has been silent for %d ms", ch->endpoint, CHANNEL_DEAD_MS);
        uint64_t quiet = heard > pinged ? heard : pinged;
        if (now - quiet >= CHANNEL_PING_MS && !ch->seen.lost) {
            if (ping(ch, err) != 0)
                return -1;
            quiet = pinged = now;
        }
        uint64_t until = quiet + CHANNEL_PING_MS;
        if (until > deadline_ms)
            until = deadline_ms;
        settled = ch->seen.lost;
        if (settled) {
            zmq_pollitem_t item = {.socket = ch->socket, .events = ZMQ_POLLIN};
            (void)zmq_poll(&item, 1, SETTLE_MS);
        } else if (wait_for(ch, ZMQ_POLLIN, until > now ? until - now : 0, err) != 0)
            return -1;
    }
}

int channel_answer(struct channel *ch, struct frame *f, uint64_t deadline_ms, struct err *err)
{
    struct frame in;
    ch->code = WIRE_OK;
    if (channel_recv(ch, &in, deadline_ms, err) != 0)
        return -1;
    if (in.h.type == WIRE_ERROR) {
        ch->code = in.h.code;
        return msg_error_to_err(&in, ch->endpoint, err);
    }
    *f = in;
    return 0;
}

int channel_expect(struct channel *ch, enum wire_type type, struct frame *f, uint64_t deadline_ms, struct err *err)
{
    struct frame in;
    if (channel_answer(ch, &in, deadline_ms, err) != 0)
        return -1;
    if (in.h.type != type)
        return err_set(err, ERR_PEER, "%s: answered %s where %s was expected", ch->endpoint, wire_type_name(in.h.type),
                       wire_type_name(type));
    *f = in;
    return 0;
}

unsigned channel_code(const struct channel *ch)
{
    return ch->code;
}

bool channel_broken(const struct channel *ch)
{
    return ch->broken;
}

int channel_fd(const struct channel *ch)
{
    int fd = -1;
    size_t size = sizeof fd;
    (void)zmq_getsockopt(ch->socket, ZMQ_FD, &fd, &size);
    return fd;
}

struct channel_stats channel_stats(const struct channel *ch)
{
    return ch->stats;
}

int channel_trace(struct channel *ch, const char *path, struct err *err)
{
    struct trace *t = NULL;
    if (trace_open(&t, path, err) != 0)
        return -1;
    (void)!trace_close(ch->trace, NULL);
    ch->trace = t;
    return 0;
}
