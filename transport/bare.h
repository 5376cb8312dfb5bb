/* transport/bare.h - a bare line between two processes of a measurement on this machine: whole messages, in order, not encrypted.
 *
 * Data flow   one end listens on a free port of 127.0.0.1, or of an address that is kept for measurements (RFC 2544: 198.18.0.0/15, in
 *             network namespaces of this machine), the other connects; then both send and receive.
 * Units       bytes, milliseconds.
 * Errors      ERR_PEER: silence, a message of another length than the wanted one (the texts say "the peer"; callers wrap its name).
 *             ERR_USAGE: any other address.
 * Memory      bare_listen and bare_connect give. What waits is the library's, at both ends.
 * Secrets     none may go over it: it exists so that the baselines of bench/baselines are charged for their bytes and rounds, as
 *             their authors charged them, and not for an encryption that those programs do not have. Roles use transport/channel.h.
 * Source      libzmq 4.3.4, PAIR sockets.
 */
#ifndef STIP_TRANSPORT_BARE_H
#define STIP_TRANSPORT_BARE_H

#include <stddef.h>

#include "base/err.h"
#include "transport/transport.h"

#define BARE_ENDPOINT 64
#define BARE_HERE "127.0.0.1"
#define BARE_SEND_MS 600000

struct bare;
/* at: a numeric address; BARE_HERE where there is no other. queue: so many messages may wait at each end, then sending waits (BARE_SEND_MS at most);
 * 0: any number, for lines on which both may send first. Writes where it listens. */
MUST_CHECK int bare_listen(struct bare **out, struct transport *t, const char *at, int queue, char endpoint[BARE_ENDPOINT], struct err *err);
MUST_CHECK int bare_connect(struct bare **out, struct transport *t, const char *endpoint, int queue, struct err *err);
void bare_close(struct bare *l);
/* Hands the message to the library, which copies it. */
MUST_CHECK int bare_send(struct bare *l, const void *data, size_t n, struct err *err);
/* A message of exactly n bytes. */
MUST_CHECK int bare_recv(struct bare *l, void *data, size_t n, int timeout_ms, struct err *err);

#endif
