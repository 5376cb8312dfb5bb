/* transport/msg_hello.h - HELLO and HELLO_OK: versions, context, limits.
 *
 * Data flow   client HELLO{protocol range, context} -> listener HELLO_OK{version, limits, context, epoch}. The client then
 *             pulls the signed manifest (msg_blob.h, file BLOB_MANIFEST) and checks that its key belongs to it.
 * Shapes      D, out_width as in model/shape.h.
 * Errors      decode: WIRE_BAD_FRAME; msg_hello_version: WIRE_BAD_VERSION.
 * Memory      encode writes into the caller's body buffer, which the frame borrows.
 * Secrets     none.
 */
#ifndef STIP_TRANSPORT_MSG_HELLO_H
#define STIP_TRANSPORT_MSG_HELLO_H

#include "transport/wire.h"

#define MSG_PROTOCOL_MIN 1
#define MSG_PROTOCOL_MAX 2
#define MSG_PROTOCOL_BF16 2 /* from here on ROWS and OUT may be bf16 */

#define MSG_HELLO_BYTES 36u
struct msg_hello {
    uint16_t protocol_min, protocol_max;
    uint8_t context[WIRE_CONTEXT_BYTES]; /* the one this key belongs to; zero: any */
};

#define MSG_HELLO_OK_BYTES 76u
struct msg_hello_ok {
    uint16_t protocol;
    uint8_t head_kind;      /* enum head_kind of model/config.h */
    uint8_t head_at_server; /* 1: outputs are logits; 0: final hidden rows */
    uint32_t max_tokens;    /* of one session */
    uint32_t max_sessions;  /* of this peer */
    uint32_t max_rows;      /* of one ROWS message */
    uint32_t max_out_rows;  /* of one OUT message */
    uint32_t D, out_width;
    uint32_t session_ttl_s;
    uint32_t epoch;
    uint64_t manifest_bytes; /* 0: none (admin and grant links, or no model yet) */
    uint8_t context[WIRE_CONTEXT_BYTES];
};

struct frame msg_hello_encode(const struct msg_hello *m, uint8_t body[MSG_HELLO_BYTES]);
MUST_CHECK enum wire_code msg_hello_decode(struct msg_hello *out, const struct frame *f, struct err *err);
/* The highest protocol both know. */
MUST_CHECK enum wire_code msg_hello_version(const struct msg_hello *m, uint16_t *version, struct err *err);

struct frame msg_hello_ok_encode(const struct msg_hello_ok *m, uint8_t body[MSG_HELLO_OK_BYTES]);
MUST_CHECK enum wire_code msg_hello_ok_decode(struct msg_hello_ok *out, const struct frame *f, struct err *err);

#endif
