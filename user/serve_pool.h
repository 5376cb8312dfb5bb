/* user/serve_pool.h - connections to the stip server that the gateway's requests share, one generation on each at a time.
 * With an engine of others (user/backend.h) a lease is a place among the `most`, without a connection.
 *
 * Data flow   request -> pool_take (waits for a free place; an idle connection, or a new one) -> session -> pool_give.
 * Units       tokens, bytes.
 * Errors      ERR_PEER: the server does not answer (the next request tries again with a new connection); ERR_AUTH: it serves
 *             another package, or does not know us; ERR_CHECK: it answered a known question wrong; ERR_INPUT: more tokens than it gives a session.
 * Memory      pool_open gives and borrows the setup; a lease is the caller's until pool_give.
 * Secrets     connections only.
 *
 * Thread      any; a lease belongs to one thread at a time.
 */
#ifndef STIP_USER_SERVE_POOL_H
#define STIP_USER_SERVE_POOL_H

#include <stdatomic.h>

#include "user/setup.h"

struct pool;

struct lease {
    const struct setup *engine; /* whose backend answers; NULL: c does */
    struct channel_stats moved; /* by an engine: the caller says */
    struct connection *c;
    struct speculate *speculate; /* belongs to the connection; NULL when it is off */
    struct session *s;
    struct channel_stats before; /* of the connection, when the lease began */
    bool fresh;                  /* was opened for this lease */
    bool broken;                 /* the caller says so: not to be used again */
};

struct pool_stats {
    int open, idle, busy, waiting;              /* connections; requests that wait for a place */
    int context;                                /* tokens of a session as the server last said, 0 before the first connection */
    uint64_t bytes_up, bytes_down, round_trips; /* of leases that were given back */
};

/* The setup is open, with its backend where the grant is for an engine. At most `most` generations at once, with `guesses` as setup_guesses gives them. */
MUST_CHECK int pool_open(struct pool **out, const struct setup *set, int most, int guesses, struct err *err);
void pool_close(struct pool *p);
/* A connection without a session. Waits while all places are taken, until *cancel. */
MUST_CHECK int pool_take(struct pool *p, struct lease *out, atomic_bool *cancel, struct err *err);
/* Opens lease->s on it, with room for `outputs` and for guesses. An idle connection may have died unseen: then once more on a new
 * one. From then on the session outlives broken lines and restarts for the setup's retry_ms at a time, until *cancel. */
MUST_CHECK int pool_session(struct pool *p, struct lease *l, int tokens, int outputs, const atomic_bool *cancel, struct err *err);
/* Ends the session and gives the place free. What the lease moved over the wire is in *used (may be NULL). */
void pool_give(struct pool *p, struct lease *l, struct channel_stats *used);
/* Perhaps a known question (verify_rate), after an answer for which there was room for so many tokens. Once one was answered wrong,
 * pool_take refuses with ERR_CHECK. */
void pool_verify(struct pool *p, int room);
/* Known questions so far. */
void pool_verified(const struct pool *p, unsigned long long *asked, unsigned long long *failed);
/* 0 if the server answers now. */
MUST_CHECK int pool_check(struct pool *p, struct err *err);
struct pool_stats pool_stats(struct pool *p);

#endif
