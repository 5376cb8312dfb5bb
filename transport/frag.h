/* transport/frag.h - a message larger than one frame: cut into fragments, put together again.
 *
 * Data flow   bytes -> frag_out -> frames (at most WIRE_CREDIT unacknowledged) -> frag_in -> caller's buffer.
 * Units       bytes. Every fragment but the last carries WIRE_PAYLOAD_MAX bytes; order is kept by the connection.
 * Errors      frag_in_add: WIRE_BAD_FRAME when a fragment does not continue the message it claims to.
 * Memory      borrows the sender's bytes and the receiver's buffer; no allocation.
 * Secrets     carries what the caller gives it.
 */
#ifndef STIP_TRANSPORT_FRAG_H
#define STIP_TRANSPORT_FRAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/wire.h"

struct frag_out {
    struct frame model; /* header of the whole message; payload is its first byte */
    uint64_t at;
    unsigned sent, acked;
};

/* `model` as wire_frame made it, with h.total the whole length. */
void frag_out_init(struct frag_out *out, const struct frame *model);
/* True with the next frame while credit lasts; false when all was sent or credit is used up. Call frag_out_sent after
 * the frame is really gone, so that a full socket can be tried again. */
bool frag_out_peek(const struct frag_out *out, struct frame *f);
void frag_out_sent(struct frag_out *out);
bool frag_out_all_sent(const struct frag_out *out);
/* An ACK of the peer: arg[0] fragments have arrived. False when it acknowledges more than was sent. */
MUST_CHECK bool frag_out_ack(struct frag_out *out, const struct frame *ack);

struct frag_in {
    struct wire_header first;
    uint8_t *dst;
    uint64_t have;
    unsigned frames;
    bool busy;
};

/* Takes the FIRST frame of a message whose h.total bytes fit into dst (the caller has checked that). dst NULL: only counts, the
 * caller stores what each frame brings. */
void frag_in_start(struct frag_in *in, const struct frame *f, void *dst);
/* Adds a frame (also the first). *complete says whether it was the last. */
MUST_CHECK enum wire_code frag_in_add(struct frag_in *in, const struct frame *f, bool *complete, struct err *err);
/* The ACK that answers the fragment just added; not needed for the last one. */
struct frame frag_in_ack(const struct frag_in *in);
void frag_in_drop(struct frag_in *in);

#endif
