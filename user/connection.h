/* user/connection.h - the line to a server that holds our package, made again when it breaks.
 *
 * Data flow   peers -> connection_open -> session.c asks on c->channel -> an error -> connection_recover -> asks again.
 * Units       milliseconds.
 * Errors      ERR_PEER, ERR_AUTH from the wire; the server's manifest must be signed by the grant's developer and be the one
 *             the grant names, and neither may be past its day, or nothing is sent: checked again for every server and after every reconnect.
 * Memory      connection_open gives and borrows identity, grant, endpoints and the path of the trace until it is closed.
 * Secrets     none of its own.
 */
#ifndef STIP_USER_CONNECTION_H
#define STIP_USER_CONNECTION_H

#include <stdint.h>

#include "transport/client.h"
#include "transport/role_config.h"
#include "user/grant.h"
#include "user/retry.h"

#define CONNECTION_PEERS 8
#define CONNECTION_BUCKETS 16

/* Lengths that prompts are rounded up to (user/session.h, session_prompt), ascending; 0 of them: no rounding. */
struct connection_pad {
    int to[CONNECTION_BUCKETS], n;
};

struct connection {
    struct channel *channel;
    struct msg_hello_ok server;
    const struct grant *grant;
    bool bf16; /* rows and outputs travel as bfloat16 */
    struct connection_pad pad;
    /* What it takes to make it again. */
    struct transport *transport;
    const struct identity *id;
    const char *trace; /* NULL: none */
    struct role_peer peers[CONNECTION_PEERS];
    int peer_count, at; /* at: of the peer that is connected */
    int retry_ms;       /* 0: an error is an error */
    int step_ms;        /* how long a step may take; 0: as session.c has it */
    const atomic_bool *abandoned; /* ends waiting, may be NULL; borrowed */
    int reconnects;
    uint64_t generation;         /* counts connections, from 1: a session of an older one has to be opened again */
    struct channel_stats before; /* of the connections before this one */
};

/* Connects, greets, checks the manifest. */
MUST_CHECK int connection_open(struct connection **out, struct transport *t, const char *endpoint, const struct peer_key *server,
                               const struct identity *id, const struct grant *grant, const char *trace, struct err *err);
/* From now on rows and outputs travel as bfloat16: half the bytes, and no longer bit-exact. Refuses a server that is too old. */
MUST_CHECK int connection_bf16(struct connection *c, struct err *err);
/* From now on trouble is met for up to retry_ms at a time, with any of these servers; it is connected to peers[at]. */
void connection_keep(struct connection *c, const struct role_peer *peers, int n, int at, int retry_ms);
void connection_close(struct connection *c);
/* Of this connection and those before it. */
struct channel_stats connection_stats(const struct connection *c);

/* After a question that failed with err: waits or connects again, so that it may be asked again (0), or leaves err, which then
 * says why that was the end (-1). `r` is zeroed before the first failure of a question. *rebuild is set when the server
 * has another idea of the session than we have. */
MUST_CHECK int connection_recover(struct connection *c, struct retry *r, bool *rebuild, struct err *err);

#endif
