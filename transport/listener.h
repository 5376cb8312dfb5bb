/* transport/listener.h - the listening side: an encrypted, authenticated socket that only known keys reach.
 *
 * Data flow   peers' frames -> key check -> frame check -> listener_recv -> the role; the role -> listener_send -> one peer.
 *             PINGs are answered, malformed frames and revoked keys refused with ERROR here: none reaches the role.
 * Units       bytes, milliseconds.
 * Errors      listener_open: address in use or malformed (ERR_USAGE), memory. A peer's misbehaviour is never an err.
 * Memory      listener_open gives. A received frame borrows its payload until the next listener_recv on this listener.
 *             A peer that does not read costs at most 16 queued frames; then listener_send says LISTENER_FULL.
 * Secrets     holds the identity's CURVE key inside libzmq until closed.
 * Source      design notes "Sockets"; libzmq 4.3.4.
 *
 * Thread      a listener belongs to one thread; listener_allow may be called from any.
 */
#ifndef STIP_TRANSPORT_LISTENER_H
#define STIP_TRANSPORT_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "transport/identity.h"
#include "transport/transport.h"
#include "transport/wire.h"

#define LISTENER_MAX 8        /* in one listener_poll */
#define LISTENER_RID_MAX 16
#define LISTENER_HANDSHAKE_MS 10000 /* who says nothing is gone sooner (transport/backlog.h) */

/* One connection of one key. Sessions belong to `key`, never to `rid`: that changes with every connection. */
struct listener_peer {
    uint8_t rid[LISTENER_RID_MAX];
    uint8_t rid_len;
    struct peer_key key;
};
bool listener_peer_equal(const struct listener_peer *a, const struct listener_peer *b);

struct listener_stats {
    uint64_t bytes_in, bytes_out, frames_in, frames_out;
    uint64_t keys_refused;   /* handshakes of unknown keys */
    uint64_t frames_refused; /* malformed, or of a revoked key */
    uint64_t sends_full;
};

struct listener;
struct trace;

/* `name` ("infer", "admin") is the domain of its allow-list and stands in logs. endpoint: "tcp://ADDR:PORT"; port "*"
 * picks a free one. The allow-list is copied; empty admits nobody. */
MUST_CHECK int listener_open(struct listener **out, struct transport *t, const char *name, const char *endpoint,
                             const struct identity *id, const struct peer_key *allow, size_t n, struct err *err);
void listener_close(struct listener *l);
/* The address really bound, with its port. */
const char *listener_endpoint(const struct listener *l);
/* Replaces the allow-list. Frames of keys that are gone are refused (REVOKED) from now on. */
MUST_CHECK int listener_allow(struct listener *l, const struct peer_key *allow, size_t n, struct err *err);
/* True if this key may talk to this listener now. */
bool listener_allows(const struct listener *l, const struct peer_key *key);
/* Connects with a random key and fails unless it is refused. Call once before serving. */
MUST_CHECK int listener_self_check(struct listener *l, struct err *err);

/* Waits until a listener has a frame or wake_fd (an eventfd, -1 for none) is readable; the caller reads wake_fd.
 * ready[i] is set per listener, *woken for wake_fd. timeout_ms -1: no limit. A signal ends the wait early. */
MUST_CHECK int listener_poll(struct listener *const *l, size_t n, int wake_fd, int timeout_ms, bool *ready, bool *woken,
                             struct err *err);

enum listener_got { LISTENER_NONE, LISTENER_FRAME };
/* Never waits. Take frames until LISTENER_NONE. */
MUST_CHECK int listener_recv(struct listener *l, enum listener_got *got, struct listener_peer *peer, struct frame *f,
                             struct err *err);

enum listener_sent {
    LISTENER_SENT,
    LISTENER_FULL, /* the peer does not read: try later or give it up */
    LISTENER_GONE, /* the peer has left: forget it. Learnt while receiving: keep calling listener_poll, listener_recv */
};
MUST_CHECK enum listener_sent listener_send(struct listener *l, const struct listener_peer *peer, const struct frame *f);
struct listener_stats listener_stats(const struct listener *l);

#endif
