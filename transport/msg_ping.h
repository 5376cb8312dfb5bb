/* transport/msg_ping.h - PING and PONG: is the peer alive while nothing is said?
 *
 * Data flow   client PING after CHANNEL_PING_MS of silence -> listener PONG at once, whatever its phase.
 * Errors      none: frames without content.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_TRANSPORT_MSG_PING_H
#define STIP_TRANSPORT_MSG_PING_H

#include "transport/wire.h"

struct frame msg_ping_encode(uint64_t seq);
/* Answers `ping`. */
struct frame msg_pong_encode(const struct frame *ping);

#endif
