/* transport/channel.h - the connecting side: one encrypted connection to one peer whose key is pinned.
 *
 * Data flow   role -> channel_send -> peer; peer -> channel_recv -> role. A channel is one connection: when it is lost,
 *             channel_recv says so at once and the role opens another and greets again.
 * Units       bytes, milliseconds.
 * Errors      ERR_PEER: nothing listens there, no answer, connection lost (each names the endpoint).
 *             ERR_AUTH: the peer does not know our key, or has another key than the pinned one.
 *             ERR_USAGE: malformed endpoint.
 * Memory      channel_open gives. A received frame borrows its payload until the next channel_recv.
 * Secrets     holds the identity's CURVE key inside libzmq until closed. A trace holds what the wire holds.
 * Source      design notes "Sockets"; libzmq 4.3.4.
 *
 * Thread      a channel belongs to one thread.
 */
#ifndef STIP_TRANSPORT_CHANNEL_H
#define STIP_TRANSPORT_CHANNEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "transport/identity.h"
#include "transport/transport.h"
#include "transport/wire.h"

#define CHANNEL_CONNECT_MS 5000
#define CHANNEL_HELLO_MS 5000
#define CHANNEL_PING_MS 1000   /* silence after which channel_recv asks */
#define CHANNEL_UNSENT_MS 4000 /* what the peer's kernel has not confirmed by then was lost, and the connection with it */
#define CHANNEL_DEAD_MS 15000  /* silence after which a peer whose kernel lives counts as dead */
#define CHANNEL_CHUNK_MS 30000 /* of a blob transfer */

struct channel_stats {
    uint64_t bytes_up, bytes_down, frames_up, frames_down; /* headers included, encryption not */
    uint64_t round_trips; /* times that sending was followed by an answer; pings not counted */
};

struct channel;

/* Connects and finishes the encrypted handshake, for which a server that has many of them takes its time. A refused connection is tried
 * again until timeout_ms is over. */
MUST_CHECK int channel_open(struct channel **out, struct transport *t, const char *endpoint, const struct peer_key *peer,
                            const struct identity *id, int timeout_ms, struct err *err);
void channel_close(struct channel *ch);
const char *channel_endpoint(const struct channel *ch);

/* Waits for room up to CHANNEL_DEAD_MS. */
MUST_CHECK int channel_send(struct channel *ch, const struct frame *f, struct err *err);
/* Waits until a frame comes, at most until deadline_ms (clock_ms of base/clock.h). Malformed frames are ERR_PEER.
 * PONGs are swallowed; during long silence PINGs go out and a dead peer is noticed before the deadline. */
MUST_CHECK int channel_recv(struct channel *ch, struct frame *f, uint64_t deadline_ms, struct err *err);
/* The same without waiting: *got says whether there was one. */
MUST_CHECK int channel_try_recv(struct channel *ch, struct frame *f, bool *got, struct err *err);
/* channel_recv that turns ERROR frames into err. */
MUST_CHECK int channel_answer(struct channel *ch, struct frame *f, uint64_t deadline_ms, struct err *err);
/* The same that refuses other types than the wanted one. */
MUST_CHECK int channel_expect(struct channel *ch, enum wire_type type, struct frame *f, uint64_t deadline_ms,
                              struct err *err);
/* Code of the last ERROR frame that channel_expect or channel_answer met, WIRE_OK if none: lets a caller rebuild or try again. */
unsigned channel_code(const struct channel *ch);
/* The connection was lost or its peer did not answer in time: nothing more will come of it, another may fare better. */
bool channel_broken(const struct channel *ch);
/* From now on waiting for an answer ends with ERR_PEER once *unwanted (borrowed; NULL: it does not). The peer has not been told. */
void channel_heed(struct channel *ch, const atomic_bool *unwanted);

struct channel_stats channel_stats(const struct channel *ch);
/* Tees every frame to a file until the channel closes (transport/trace.h). */
MUST_CHECK int channel_trace(struct channel *ch, const char *path, struct err *err);

#endif
