/* transport/msg_rows.h - ROWS and OUT: what inference is made of.
 *
 * Data flow   user ROWS{seq, pos, rows x_p [T,D]} -> server -> OUT{seq, rows [n,width]}. Prefill and step are the same
 *             message. Rows go to positions pos..pos+T-1; a pos below the cached length first cuts the cache (a
 *             speculation taken back), one above it is refused. Outputs are wanted for rows out_from..out_from+out_n-1
 *             of this message; out_n 0 answers an empty OUT.
 *             seq counts 1, 2, 3 ...: the same seq again gets the same OUT again, a gap WIRE_BAD_SEQ.
 * Shapes      ROWS [T,D], OUT [out_n, width]; width is HELLO_OK's out_width. On the wire f32, or bf16 where the user chose so: OUT
 *             comes in the type that ROWS had. In memory both are f32 on the receiving side, so that nobody behind this file
 *             sees a difference; the user's rows are narrowed when they are sealed, the server's
 *             outputs when they are computed (base/bf16.h).
 * Errors      WIRE_BAD_SHAPE, WIRE_TOO_LARGE, WIRE_CONTEXT_FULL from the header alone, before any buffer is touched;
 *             WIRE_NONFINITE when the last fragment is in; WIRE_BAD_FRAME for fragments that do not fit together.
 * Memory      sending borrows the rows; receiving fills a buffer that the caller planned. No allocation.
 * Secrets     permuted values only: the sender takes struct sealed_rows.
 */
#ifndef STIP_TRANSPORT_MSG_ROWS_H
#define STIP_TRANSPORT_MSG_ROWS_H

#include "transport/frag.h"
#include "transport/sealed.h"
#include "transport/wire.h"

struct msg_rows {
    uint8_t session[WIRE_SESSION_BYTES];
    uint32_t epoch;
    uint64_t seq;
    uint32_t pos;             /* position of the first row */
    uint32_t out_from, out_n; /* rows of this message whose outputs are wanted */
    uint32_t rows;            /* T; on sending taken from the sealed rows */
    bool bf16;                /* element type of ROWS and of its OUT; on sending taken from the sealed rows */
};

/* User: frames come from frag_out_peek. */
MUST_CHECK enum wire_code msg_rows_send(struct frag_out *out, const struct msg_rows *m, const struct sealed_rows *x_p,
                                        struct err *err);

struct msg_rows_limits {
    uint32_t D, max_tokens, max_rows, max_out_rows;
};
/* Server: checks the header of a ROWS frame against the limits; the caller then knows seq, pos and rows and may answer
 * from its cache or refuse before taking any fragment. */
MUST_CHECK enum wire_code msg_rows_decode(struct msg_rows *out, const struct frame *f, const struct msg_rows_limits *limits,
                                          struct err *err);
/* True when a fragment brings what x_p, received before, holds already. */
bool msg_rows_repeats(const struct frame *f, uint64_t total, const float *x_p);
/* Every fragment, first or later, into x_p [max_rows, D]. After *complete, x_p holds [m->rows, D] finite values. */
MUST_CHECK enum wire_code msg_rows_recv(struct frag_in *in, const struct frame *f, float *x_p, bool *complete,
                                        struct err *err);

struct msg_out {
    uint8_t session[WIRE_SESSION_BYTES];
    uint32_t epoch;
    uint64_t seq;
    uint32_t server_us; /* time the server spent on the step, saturated */
    uint32_t cached;    /* tokens in the cache afterwards */
    uint32_t rows, width;
    bool bf16;
};

/* Server: y [m->rows, m->width], bf16_narrow()ed once if m->bf16; frames come from frag_out_peek. y must stay until all are sent. */
MUST_CHECK enum wire_code msg_out_send(struct frag_out *out, const struct msg_out *m, const float *y, struct err *err);
/* User: checks the header against what was asked: seq, element type and out_n of `asked`, width. */
MUST_CHECK enum wire_code msg_out_decode(struct msg_out *out, const struct frame *f, const struct msg_rows *asked, uint32_t width,
                                         struct err *err);
MUST_CHECK enum wire_code msg_out_recv(struct frag_in *in, const struct frame *f, float *y, bool *complete,
                                       struct err *err);

#endif
