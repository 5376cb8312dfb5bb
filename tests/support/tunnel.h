/* tests/support/tunnel.h - a bad line on one machine: two network namespaces, and between them packets that come late, or never.
 *
 * Data flow   program in one namespace -> TUN device -> a process that holds every packet as long as the line says -> TUN device ->
 *             program in the other. Below TCP, unlike bench/link.h: what is lost is sent again by the kernels.
 *             A packet that enters at time t leaves at max(t, time the direction is free) + bits / rate + delay +- jitter, so that one
 *             may overtake another, as netem has it. Fate comes from a seed: the same packets in the same order share it.
 * Units       milliseconds, megabits per second, parts of one; each way.
 * Errors      no right to make namespaces or TUN devices (CAP_SYS_ADMIN, CAP_NET_ADMIN): an error, for which a test is skipped.
 * Memory      tunnel_open gives. The namespaces have no names: they end with the last process in them, however that ends.
 *             At most TUNNEL_PACKETS are under way, more are dropped and counted.
 * Secrets     sees what the network sees.
 *
 * Thread      tunnel_open forks, and namespaces belong to threads: before a process starts any.
 */
#ifndef STIP_TESTS_SUPPORT_TUNNEL_H
#define STIP_TESTS_SUPPORT_TUNNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define TUNNEL_PACKETS 4096
#define TUNNEL_USER_ADDRESS "10.77.0.1"
#define TUNNEL_SERVER_ADDRESS "10.77.0.2"

enum tunnel_side { TUNNEL_USER, TUNNEL_SERVER, TUNNEL_SIDES };

struct tunnel_line {
    double delay_ms, jitter_ms; /* even between delay - jitter and delay + jitter */
    double loss;                /* 0.05: one of 20 */
    double rate_mbit;           /* 0: as fast as it goes */
    bool hole;                  /* nothing passes, and nobody is told */
};

struct tunnel_counts {
    uint64_t packets, lost, dropped; /* lost: by chance or in a hole; dropped: too many under way */
};

struct tunnel;
/* A line without faults. Both sides have a loopback of their own. */
MUST_CHECK int tunnel_open(struct tunnel **out, uint64_t seed, struct err *err);
/* Ends the line. The calling process goes back to where it came from. */
void tunnel_close(struct tunnel *t);
/* From now on, for packets that enter. */
void tunnel_set(struct tunnel *t, const struct tunnel_line *line);
/* This process, its sockets and the programs it starts from now on are on that side. */
void tunnel_enter(const struct tunnel *t, enum tunnel_side side);
struct tunnel_counts tunnel_counts(const struct tunnel *t);

#endif
