/* tests/sim/world.h - a network, servers and a clock in one thread, all of them moved by one seed.
 *
 * Data flow   user/session.c -> user/connection.c -> transport/client.c -> transport/channel.c, as they are -> the functions of
 *             libzmq, which stand here instead -> lines that delay, hang and break -> server/core.c, as it is -> back.
 *             Time passes only while the user waits (zmq_poll, nanosleep).
 * Units       microseconds of the world.
 * Errors      anything unexpected fails the test.
 * Memory      one world per process; world_end releases.
 * Secrets     of a test.
 */
#ifndef STIP_TESTS_SIM_WORLD_H
#define STIP_TESTS_SIM_WORLD_H

#include <stdint.h>

#include "server/core.h"

#define WORLD_SERVERS 2

struct world_options {
    uint64_t seed;
    int troubles; /* how many at most; none: an undisturbed run */
    bool cuts_only; /* of all troubles */
    struct core_limits limits;
    size_t kv_bytes;
    struct peer_key user;
    const struct package *package; /* what both servers serve */
};

struct world_counts {
    unsigned frames, cuts, kills, holes, reloads, slow, strangers, restarts;
    uint64_t rows; /* that the servers which live computed */
};

/* From here on clock, randomness and libzmq's sockets are the world's. "tcp://server:1" and "tcp://server:2" are there. */
void world_begin(const struct world_options *o);
/* No trouble before this: a first connection is not repeated. */
void world_trouble(void);
/* A server that nobody reaches any more, or again; it goes on and keeps what it has. */
void world_reach(int server, bool reachable);
/* A handshake with this server takes so long from now on, as when many others are before ours. */
void world_handshake(int server, unsigned ms);
/* What the server says next is lost, and all that is sent on the same line from then on, without news of it. A new line is sound. */
void world_silence(int server);
/* Lets time pass, long enough for everything to be forgotten; sessions and bytes of keys and values that are left. */
void world_settle(uint64_t *sessions, uint64_t *kv_bytes);
struct world_counts world_counts(void);
void world_end(void);

/* A generator for the test's own choices. */
uint64_t world_random(uint64_t *state);

#endif
