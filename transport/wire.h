/* transport/wire.h - one frame: a header of fixed size, then a payload of at most 1 MiB.
 *
 * Data flow   msg_*_encode -> struct frame -> wire_put -> bytes on a socket -> wire_get -> struct frame -> msg_*_decode.
 * Shapes      tensor messages (ROWS, OUT): rank 2, f32 or bf16, [total / (bytes of an element * last_dim), last_dim].
 * Units       bytes; little-endian on the wire.
 * Errors      wire_get gives the code to send back and a sentence; everything is checked against the table of types
 *             before anything is allocated: a frame that comes out obeys its row of the table.
 * Memory      no allocation. A decoded frame borrows its payload from the bytes it was read from.
 * Secrets     payloads of ROWS and OUT are permuted values; codes and texts never carry values or keys.
 * Source      docs/PROTOCOL.md draws the bytes.
 */
#ifndef STIP_TRANSPORT_WIRE_H
#define STIP_TRANSPORT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define WIRE_VERSION 1
#define WIRE_HEADER_BYTES 80u
#define WIRE_PAYLOAD_MAX 1048576u
#define WIRE_FRAME_MAX (WIRE_HEADER_BYTES + WIRE_PAYLOAD_MAX)
#define WIRE_SESSION_BYTES 16u
#define WIRE_CONTEXT_BYTES 32u  /* a context id: SHA-256 of the package */
#define WIRE_CREDIT 8u          /* fragments or chunks on their way at once */
#define WIRE_TENSOR_MAX ((uint64_t)1 << 32)   /* bytes of one ROWS or OUT message */
#define WIRE_TEXT_MAX 512u      /* bytes of an error text */

enum wire_flag { WIRE_FIRST = 1, WIRE_LAST = 2 };
enum wire_dtype { WIRE_BYTES = 0, WIRE_F32 = 1, WIRE_BF16 = 2 };

enum wire_type {
    WIRE_HELLO = 1, WIRE_HELLO_OK, WIRE_OPEN, WIRE_OPENED, WIRE_CLOSE, WIRE_CLOSED, WIRE_CANCEL, WIRE_CANCELLED,
    WIRE_ROWS, WIRE_OUT, WIRE_ACK, WIRE_ERROR, WIRE_PING, WIRE_PONG,
    WIRE_GRANT, WIRE_OFFER, WIRE_GET, WIRE_CHUNK, WIRE_DONE, WIRE_STATS_GET, WIRE_STATS,
    WIRE_TYPE_END
};

/* Five classes: 1xx try the same again, 2xx rebuild the session, 3xx the caller's fault, 4xx not authorised,
 * 5xx the server's fault. */
enum wire_code {
    WIRE_OK = 0,
    WIRE_BUSY = 101, WIRE_NO_CREDIT, WIRE_DRAINING,
    WIRE_UNKNOWN_SESSION = 201, WIRE_BAD_SEQ, WIRE_EPOCH_CHANGED, WIRE_WORKER_LOST, WIRE_OVERFLOW,
    WIRE_BAD_FRAME = 301, WIRE_BAD_VERSION, WIRE_BAD_SHAPE, WIRE_NONFINITE, WIRE_TOO_LARGE, WIRE_CONTEXT_FULL,
    WIRE_BAD_PHASE, WIRE_BAD_CHUNK, WIRE_UNKNOWN_FILE,
    WIRE_UNKNOWN_KEY = 401, WIRE_REVOKED, WIRE_WRONG_EPOCH, WIRE_NOT_OWNER, WIRE_WRONG_CONTEXT, WIRE_BAD_SIGNATURE,
    WIRE_NOT_GRANTED, WIRE_EXPIRED,
    WIRE_INTERNAL = 501, WIRE_OOM, WIRE_DISK_FULL, WIRE_MODEL_CORRUPT, WIRE_NO_MODEL,
};

struct wire_header {
    uint8_t type, flags, dtype, rank;
    uint16_t code;   /* ERROR only */
    uint32_t epoch;  /* context epoch of the sender, 0 before HELLO_OK */
    uint8_t session[WIRE_SESSION_BYTES]; /* zero for messages about the connection */
    uint64_t seq;    /* ROWS, OUT, ACK: number of the step, from 1 */
    uint64_t offset; /* of this payload in the whole message */
    uint64_t total;  /* payload bytes of the whole message */
    uint32_t last_dim;
    uint32_t arg[3]; /* meaning per type, see the msg_*.h; zero where unused */
    uint32_t length; /* payload bytes of this frame */
};

struct frame {
    struct wire_header h;
    const uint8_t *payload; /* h.length bytes, borrowed */
};

/* A one-frame message of `length` payload bytes (FIRST and LAST set); session NULL means zero. */
struct frame wire_frame(enum wire_type type, const uint8_t *session, const void *payload, size_t length);
void wire_put(const struct wire_header *h, uint8_t out[WIRE_HEADER_BYTES]);
/* 0, or the code to answer with. `out` is untouched unless 0. */
MUST_CHECK enum wire_code wire_get(struct frame *out, const uint8_t *data, size_t len, struct err *err);
/* The rules that wire_get applies after the bytes were read; for frames that were built, not received. */
MUST_CHECK enum wire_code wire_check(const struct wire_header *h, struct err *err);

unsigned wire_dtype_bytes(unsigned dtype);      /* of one element: 4, 2; 1 for plain bytes */
const char *wire_type_name(unsigned type);      /* "HELLO_OK"; "?" for none */
const char *wire_code_name(unsigned code);      /* "BUSY"; "?" for none */
enum err_code wire_code_exit(unsigned code);    /* exit code of a command that ends with it */
bool wire_code_retry(unsigned code);            /* 1xx */
bool wire_code_ends_session(unsigned code);     /* the session is gone on the server's side */
bool wire_session_zero(const uint8_t session[WIRE_SESSION_BYTES]);

#endif
