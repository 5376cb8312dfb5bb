/* transport/msg_session.h - OPEN, OPENED, CLOSE, CLOSED, CANCEL, CANCELLED.
 *
 * Data flow   user OPEN{session id, max tokens} -> server OPENED{what it has of that session}. The id is 128 random bits
 *             of the user. OPEN of a session that this key already has (after a lost connection) takes it up again:
 *             `seq` and `cached` say how far it is. CANCEL drops the step that is running, CLOSE the session.
 * Units       tokens.
 * Errors      decode: WIRE_BAD_FRAME.
 * Memory      everything is in the header; frames have no payload.
 * Secrets     none.
 */
#ifndef STIP_TRANSPORT_MSG_SESSION_H
#define STIP_TRANSPORT_MSG_SESSION_H

#include <stdbool.h>

#include "transport/wire.h"

struct msg_open {
    uint8_t session[WIRE_SESSION_BYTES];
    uint32_t max_tokens; /* room that the cache needs */
};

struct msg_opened {
    uint8_t session[WIRE_SESSION_BYTES];
    uint32_t max_tokens; /* room that was granted */
    uint32_t cached;     /* tokens in the cache */
    uint64_t seq;        /* last step that was answered, 0 for none */
};

struct frame msg_open_encode(const struct msg_open *m);
MUST_CHECK enum wire_code msg_open_decode(struct msg_open *out, const struct frame *f, struct err *err);
struct frame msg_opened_encode(const struct msg_opened *m);
MUST_CHECK enum wire_code msg_opened_decode(struct msg_opened *out, const struct frame *f, struct err *err);
/* The four that say only which session. */
struct frame msg_close_encode(const uint8_t session[WIRE_SESSION_BYTES]);
struct frame msg_closed_encode(const uint8_t session[WIRE_SESSION_BYTES]);
struct frame msg_cancel_encode(const uint8_t session[WIRE_SESSION_BYTES]);
struct frame msg_cancelled_encode(const uint8_t session[WIRE_SESSION_BYTES]);

#endif
