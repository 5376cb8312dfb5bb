/* tests/support/zmtp.h - a CURVE client of ZeroMQ on a plain socket, for what libzmq does not send.
 *
 * Data flow   identity -> handshake -> zmtp_send(part, more) -> listener.
 * Units       bytes.
 * Errors      false when the peer closed the connection or answered something else.
 * Memory      the caller owns the struct and its descriptor.
 * Secrets     of a test.
 * Source      RFC 23 (ZMTP 3.0), RFC 26 (CurveZMQ).
 */
#ifndef STIP_TESTS_SUPPORT_ZMTP_H
#define STIP_TESTS_SUPPORT_ZMTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/identity.h"

struct zmtp {
    int fd;
    uint64_t nonce;
    uint8_t shared[32]; /* of both transient keys */
};

/* endpoint: "tcp://127.0.0.1:PORT". */
bool zmtp_open(struct zmtp *z, const char *endpoint, const struct identity *id, const struct peer_key *server);
/* One part of a message, at most 1 MiB + 4 KiB. */
bool zmtp_send(struct zmtp *z, const void *part, size_t len, bool more);

#endif
