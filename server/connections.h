/* server/connections.h - the connections that have said something, and what could not be sent to them yet.
 *
 * Data flow   frame of a peer -> connections_get (its phase); answers -> connections_say, connections_send -> socket.
 * Units       milliseconds.
 * Errors      none: memory that is missing for a record or a waiting frame costs that frame.
 * Memory      connections_new gives. Per connection at most 32 waiting control frames, each with its text (512 bytes at most).
 * Secrets     none.
 */
#ifndef STIP_SERVER_CONNECTIONS_H
#define STIP_SERVER_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "server/core.h"
#include "transport/phase.h"

#define CONNECTION_SLOW_MS 30000 /* a peer whose socket takes nothing for so long does not read */

STAILQ_HEAD(waiting_list, waiting_frame);

struct connection {
    struct connection *hash_next;
    TAILQ_ENTRY(connection) all;
    struct listener_peer peer;
    enum phase phase;
    uint64_t seen_ms, blocked_ms; /* last sign of life; since when its socket takes nothing, while frames wait */
    struct waiting_list waiting;
    int waiting_n;
    bool deaf;                    /* reads nothing: its sessions shall end */
};

struct connections;
MUST_CHECK int connections_new(struct connections **out, struct core_sender sender, struct err *err);
void connections_free(struct connections *cs);

/* The connection's record, made if need be (phase NEW); NULL without memory. */
struct connection *connections_get(struct connections *cs, const struct listener_peer *peer, uint64_t now_ms);
/* NULL if it is not known. */
struct connection *connections_find(struct connections *cs, const struct listener_peer *peer);
/* All have to greet again. */
void connections_reset(struct connections *cs);

/* Now or, when the socket is full, later; in order. LISTENER_GONE, or LISTENER_FULL when it had to be dropped. */
enum listener_sent connections_say(struct connections *cs, const struct listener_peer *peer, const struct frame *f, uint64_t now_ms);
/* Now or not at all: large frames, which the caller keeps. */
enum listener_sent connections_send(struct connections *cs, const struct listener_peer *peer, const struct frame *f);
/* Tries again. True while frames wait. Forgets connections that were silent for idle_ms. */
bool connections_tick(struct connections *cs, uint64_t now_ms, uint64_t idle_ms);
/* After their sessions were ended. Gives how many were deaf. */
int connections_drop_deaf(struct connections *cs);
uint64_t connections_bytes_out(const struct connections *cs);

#endif
