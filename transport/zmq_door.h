/* transport/zmq_door.h - the one line that includes libzmq, and what the files behind the door share.
 *
 * Data flow   transport.c (context, gatekeeper), listener.c, channel.c. Nobody else includes this.
 * Errors      as transport.h.
 * Memory      as transport.h.
 * Secrets     none of its own.
 * Source      libzmq 4.3.4; RFC 27 (ZAP).
 */
#ifndef STIP_TRANSPORT_ZMQ_DOOR_H
#define STIP_TRANSPORT_ZMQ_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <zmq.h>

#include "base/err.h"
#include "transport/allow.h"
#include "transport/transport.h"
#include "transport/wire.h"

/* What a peer can make libzmq take into memory: one frame and some. */
#define ZMQ_DOOR_MSG_MAX ((int64_t)WIRE_PAYLOAD_MAX + 4096)
#define ZMQ_DOOR_DOMAIN_MAX 32

void *transport_context(struct transport *t);
/* Starts the gatekeeper thread unless it runs, and puts the list under the domain's name (borrowed until removed). */
MUST_CHECK int transport_guard(struct transport *t, const char *domain, struct allow *allow, struct err *err);
void transport_unguard(struct transport *t, const char *domain);
/* A number that is not used twice, for names. */
unsigned transport_next(struct transport *t);

struct zmq_option {
    int option, value;
};
/* ZMQ_IPV6 for a checked endpoint. Only for an address: of a name libzmq tries one address, and a machine whose name has an IPv6 one
 * need not be reachable there, so names stay with IPv4. */
struct zmq_option transport_ipv6(const char *endpoint);
/* Sets int options from a list; names the one that fails. */
MUST_CHECK int transport_options(void *socket, const struct zmq_option *list, size_t n, struct err *err);

/* What is lost of the connection that this message came from is sent again after equal waits, not doubled ones (tcp(7),
 * TCP_THIN_LINEAR_TIMEOUTS): a line with losses delays a token less. */
void transport_steady(zmq_msg_t *msg);

#endif
