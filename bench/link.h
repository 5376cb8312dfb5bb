/* bench/link.h - a slow line on one machine: a TCP relay that delays what passes, and passes only so much a second.
 *
 * Data flow   client -> [queue] -> server, and back. A piece that is read at time t leaves at
 *             max(t, time the line is free) + bytes / rate + rtt / 2. The line is shared by all connections of a direction.
 *             It relays bytes and understands none, so that CURVE is end to end. TCP's own handshake is not delayed.
 * Units       milliseconds, megabits per second.
 * Errors      an endpoint that is not tcp://ADDRESS:PORT, sockets. A connection that breaks costs that connection.
 * Memory      link_open gives; at most LINK_QUEUE bytes wait per direction and connection, then reading pauses.
 * Secrets     sees what the network sees.
 */
#ifndef STIP_BENCH_LINK_H
#define STIP_BENCH_LINK_H

#include <stddef.h>

#include "base/err.h"

#define LINK_QUEUE ((size_t)8 << 20)

struct link;
/* listen, to: "tcp://ADDRESS:PORT" with numeric addresses; port * of `listen` is a free one. rate_mbit 0: as fast as it goes. */
MUST_CHECK int link_open(struct link **out, const char *listen, const char *to, double rtt_ms, double rate_mbit, struct err *err);
void link_close(struct link *l);
const char *link_endpoint(const struct link *l);
/* Relays until *stop is not 0 (looked at every tenth of a second) or an error. */
MUST_CHECK int link_run(struct link *l, volatile const int *stop, struct err *err);

#endif
