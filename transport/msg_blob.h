/* transport/msg_blob.h - GRANT, OFFER, GET, CHUNK, DONE: files from one party to another, pulled by the receiver.
 *
 * Data flow   package: model_dev OFFER -> server GET(BLOB_MANIFEST, 0..) -> CHUNK.. -> checks signature -> GET(file, chunk),
 *             8 in flight -> CHUNK -> server DONE. Grant: user GRANT -> model_dev OFFER -> the same with the sides changed.
 *             The manifest of HELLO_OK is pulled with the same GET.
 * Units       bytes; chunks of WIRE_PAYLOAD_MAX, the last of a file may be shorter. An empty file has no chunk.
 * Errors      decode: WIRE_BAD_FRAME.
 * Memory      small bodies go into the caller's buffer; CHUNK borrows its bytes.
 * Secrets     a grant's chunks hold the end keys: only on a link to the user they are for.
 */
#ifndef STIP_TRANSPORT_MSG_BLOB_H
#define STIP_TRANSPORT_MSG_BLOB_H

#include "transport/wire.h"

#define BLOB_MANIFEST 0xffffffffu              /* file index of the manifest */
#define BLOB_MANIFEST_MAX ((size_t)16 << 20)   /* bytes */

#define MSG_OFFER_BYTES 48u
struct msg_offer {
    uint8_t context[WIRE_CONTEXT_BYTES];
    uint64_t manifest_bytes; /* 1..BLOB_MANIFEST_MAX */
    uint32_t files;          /* 1..65535 */
    uint32_t epoch;
};

struct frame msg_offer_encode(const struct msg_offer *m, uint8_t body[MSG_OFFER_BYTES]);
MUST_CHECK enum wire_code msg_offer_decode(struct msg_offer *out, const struct frame *f, struct err *err);

/* User asks for its grant of a context (zero: the current one). */
struct frame msg_grant_encode(const uint8_t context[WIRE_CONTEXT_BYTES]);
void msg_grant_decode(uint8_t context[WIRE_CONTEXT_BYTES], const struct frame *f);

struct msg_get {
    uint32_t file, chunk;
};
struct frame msg_get_encode(uint32_t file, uint32_t chunk);
struct msg_get msg_get_decode(const struct frame *f);
/* Answers a GET: data holds 1..WIRE_PAYLOAD_MAX bytes. */
struct frame msg_chunk_encode(uint32_t file, uint32_t chunk, const void *data, size_t len);
/* Which one a CHUNK is; its bytes are the frame's payload. */
struct msg_get msg_chunk_decode(const struct frame *f);
struct frame msg_done_encode(void);

#endif
