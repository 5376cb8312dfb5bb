/* transport/transport.h - what all sockets of a process share: the messaging context and the gatekeeper thread.
 *
 * Data flow   transport_open -> listener_open, channel_open -> ... -> transport_close, after everything opened on it.
 * Errors      ERR_INTERNAL: memory, randomness, descriptors.
 * Memory      transport_open gives; transport_close releases (blocks until all sockets are closed).
 * Secrets     seeds the C library's rand() from the system first: libzmq draws connection ids from it, and a peer that
 *             guesses the next id can abort the process.
 */
#ifndef STIP_TRANSPORT_TRANSPORT_H
#define STIP_TRANSPORT_TRANSPORT_H

#include <stdbool.h>

#include "base/err.h"

struct transport;
MUST_CHECK int transport_open(struct transport **out, struct err *err);
void transport_close(struct transport *t);

/* The number of a port, 0 to 65535, or -1: libzmq and getaddrinfo take the low 16 bits of any number. */
int transport_port(const char *text);
/* Refuses what is not tcp://HOST:PORT; port "*" is for listening. */
MUST_CHECK int transport_endpoint(const char *endpoint, bool listening, struct err *err);

#endif
