/* bench/tunnel.h - slow or bad lines on one machine: network namespaces, and between them packets that come late, or never.
 *
 * Data flow   program in one namespace -> TUN device -> a process that holds every packet as long as the line says -> TUN device ->
 *             program in another. Below TCP, unlike bench/link.h: windows, acknowledgements and what is lost are the kernels' affair.
 *             A packet that enters at time t leaves at max(t, time the direction is free) + bits / rate + delay +- jitter, so that one
 *             may overtake another, as netem has it. Each two ends have a line of their own, in each direction.
 *             Fate comes from a seed: the same packets in the same order share it.
 * Units       milliseconds, megabits per second (IP and its payload), parts of one; each way.
 * Errors      no right to make namespaces or TUN devices (CAP_SYS_ADMIN, CAP_NET_ADMIN): an error, for which a test is skipped.
 * Memory      tunnel_open gives. The namespaces have no names: they end with the last process in them, however that ends.
 *             At most TUNNEL_PACKETS are under way, more are dropped and counted.
 * Secrets     sees what the network sees.
 *
 * Thread      tunnel_open forks, and namespaces belong to threads: before a process starts any.
 */
#ifndef STIP_BENCH_TUNNEL_H
#define STIP_BENCH_TUNNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define TUNNEL_PACKETS 4096
#define TUNNEL_ENDS_MAX 4
/* Of the block that is kept for measurements (RFC 2544): on no real network. */
#define TUNNEL_NET "198.18.0."
#define TUNNEL_USER_ADDRESS TUNNEL_NET "1"
#define TUNNEL_SERVER_ADDRESS TUNNEL_NET "2"

enum tunnel_side { TUNNEL_USER, TUNNEL_SERVER, TUNNEL_SIDES };

struct tunnel_opts {
    int ends;      /* 0: TUNNEL_SIDES */
    bool segments; /* devices cut packets, as network cards do: the line then carries up to 64 KB of TCP at once, as the packets of 1500
                      bytes that it stands for. Cheaper by far; but what is lost is lost whole */
    uint64_t seed;
};

struct tunnel_line {
    double delay_ms, jitter_ms; /* even between delay - jitter and delay + jitter */
    double loss;                /* 0.05: one of 20 */
    double rate_mbit;           /* 0: as fast as it goes */
    bool hole;                  /* nothing passes, and nobody is told */
    int ends;                   /* between the first so many ends only, at once between the others; 0: all */
};

struct tunnel_counts {
    uint64_t packets, bytes, lost, dropped; /* what entered; bytes as on the line; lost: by chance or in a hole; dropped: too many under way */
};

struct tunnel;
/* Lines without faults. Every end has a loopback of its own. */
MUST_CHECK int tunnel_open(struct tunnel **out, const struct tunnel_opts *opts, struct err *err);
/* Ends the line. The calling process goes back to where it came from. */
void tunnel_close(struct tunnel *t);
/* From now on, for packets that enter. */
void tunnel_set(struct tunnel *t, const struct tunnel_line *line);
/* This thread, its sockets and the programs and threads it starts from now on are at that end. */
void tunnel_enter(const struct tunnel *t, int end);
/* ... where the process came from. */
void tunnel_leave(const struct tunnel *t);
/* "198.18.0.1" for end 0. */
const char *tunnel_address(int end);
struct tunnel_counts tunnel_counts(const struct tunnel *t);

#endif
