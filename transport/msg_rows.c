#include "transport/msg_rows.h"

#include <string.h>

#include "base/bf16.h"
#include "base/finite.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(float) == 4,
               "rows are sent as they lie in memory: little-endian");

/* ------------------------------------------------------------------ both */

static struct frame tensor_frame(enum wire_type type, const uint8_t *session, uint32_t epoch, uint64_t seq,
                                 const void *data, uint64_t rows, uint32_t width, bool bf16)
{
    struct frame f = wire_frame(type, session, NULL, 0);
    f.h.epoch = epoch;
    f.h.seq = seq;
    f.h.dtype = bf16 ? WIRE_BF16 : WIRE_F32;
    f.h.rank = 2;
    f.h.last_dim = width;
    f.h.total = rows * width * wire_dtype_bytes(f.h.dtype);
    f.payload = data;
    return f;
}

/* Refuses what would not pass wire_check on the other side; the first fragment stands for all. */
static enum wire_code start(struct frag_out *out, const struct frame *model, struct err *err)
{
    struct frag_out made;
    struct frame first;
    frag_out_init(&made, model);
    (void)frag_out_peek(&made, &first);
    enum wire_code code = wire_check(&first.h, err);
    if (code == WIRE_OK)
        *out = made;
    return code;
}

static enum wire_code refuse(struct err *err, enum wire_code code, const char *message, const char *field,
                             unsigned long long found, unsigned long long limit)
{
    (void)err_set(err, wire_code_exit(code), "%s: %s is %llu, expected %s%llu", message, field, found,
                  code == WIRE_BAD_SHAPE ? "" : "at most ", limit);
    return code;
}

static float element(const struct frame *f, uint64_t i)
{
    return bf16_to_f32(le_get16(f->payload + 2 * i));
}

static enum wire_code receive(struct frag_in *in, const struct frame *f, float *dst, const char *what, bool *complete,
                              struct err *err)
{
    const bool bf16 = f->h.dtype == WIRE_BF16;
    bool last = false;
    if (f->h.flags & WIRE_FIRST)
        frag_in_start(in, f, bf16 ? NULL : dst);
    enum wire_code code = frag_in_add(in, f, &last, err);
    if (code != WIRE_OK)
        return code;
    for (uint64_t i = 0; bf16 && i < f->h.length / 2; i++)
        dst[f->h.offset / 2 + i] = element(f, i);
    if (last && !finite_all(dst, in->first.total / wire_dtype_bytes(in->first.dtype))) {
        (void)err_set(err, ERR_INPUT, "%s: a value is infinite or not a number", what);
        return WIRE_NONFINITE;
    }
    *complete = last;
    return WIRE_OK;
}

/* ------------------------------------------------------------------ ROWS */

enum wire_code msg_rows_send(struct frag_out *out, const struct msg_rows *m, const struct sealed_rows *x_p, struct err *err)
{
    if (x_p->rows == 0 || x_p->rows > UINT32_MAX || x_p->D == 0 || x_p->D > UINT32_MAX)
        return refuse(err, WIRE_TOO_LARGE, "ROWS", "number of rows", x_p->rows, UINT32_MAX);
    struct frame f = tensor_frame(WIRE_ROWS, m->session, m->epoch, m->seq, x_p->data, x_p->rows, (uint32_t)x_p->D, x_p->bf16);
    f.h.arg[0] = m->pos;
    f.h.arg[1] = m->out_from;
    f.h.arg[2] = m->out_n;
    return start(out, &f, err);
}

enum wire_code msg_rows_decode(struct msg_rows *out, const struct frame *f, const struct msg_rows_limits *limits,
                               struct err *err)
{
    const struct wire_header *h = &f->h;
    if (h->type != WIRE_ROWS || h->last_dim != limits->D)
        return refuse(err, WIRE_BAD_SHAPE, "ROWS", "row width", h->last_dim, limits->D);
    uint64_t rows = h->total / wire_dtype_bytes(h->dtype) / h->last_dim, pos = h->arg[0], out_from = h->arg[1], out_n = h->arg[2];
    if (rows > limits->max_rows)
        return refuse(err, WIRE_TOO_LARGE, "ROWS", "number of rows", rows, limits->max_rows);
    if (out_n > limits->max_out_rows)
        return refuse(err, WIRE_TOO_LARGE, "ROWS", "number of wanted outputs", out_n, limits->max_out_rows);
    if (pos + rows > limits->max_tokens)
        return refuse(err, WIRE_CONTEXT_FULL, "ROWS", "end position", pos + rows, limits->max_tokens);
    if (out_from + out_n > rows) {
        (void)err_set(err, ERR_INPUT, "ROWS: outputs %llu..%llu are wanted of %llu rows", (unsigned long long)out_from,
                      (unsigned long long)(out_from + out_n), (unsigned long long)rows);
        return WIRE_BAD_SHAPE;
    }
    *out = (struct msg_rows){.epoch = h->epoch, .seq = h->seq, .pos = (uint32_t)pos, .out_from = (uint32_t)out_from,
                             .out_n = (uint32_t)out_n, .rows = (uint32_t)rows, .bf16 = h->dtype == WIRE_BF16};
    memcpy(out->session, h->session, sizeof out->session);
    return WIRE_OK;
}

bool msg_rows_repeats(const struct frame *f, uint64_t total, const float *x_p)
{
    if (f->h.offset > total || f->h.length > total - f->h.offset)
        return false;
    if (f->h.dtype != WIRE_BF16)
        return f->h.length == 0 || memcmp((const uint8_t *)x_p + f->h.offset, f->payload, f->h.length) == 0;
    for (uint64_t i = 0; i < f->h.length / 2; i++) {
        float value = element(f, i);
        if (memcmp(x_p + f->h.offset / 2 + i, &value, sizeof value) != 0)
            return false;
    }
    return true;
}

enum wire_code msg_rows_recv(struct frag_in *in, const struct frame *f, float *x_p, bool *complete, struct err *err)
{
    return receive(in, f, x_p, "ROWS", complete, err);
}

/* ------------------------------------------------------------------ OUT */

enum wire_code msg_out_send(struct frag_out *out, const struct msg_out *m, const float *y, struct err *err)
{
    struct frame f = tensor_frame(WIRE_OUT, m->session, m->epoch, m->seq, y, m->rows, m->width, m->bf16);
    f.h.arg[0] = m->server_us;
    f.h.arg[1] = m->cached;
    return start(out, &f, err);
}

enum wire_code msg_out_decode(struct msg_out *out, const struct frame *f, const struct msg_rows *asked, uint32_t width,
                              struct err *err)
{
    const struct wire_header *h = &f->h;
    if (h->type != WIRE_OUT || h->seq != asked->seq) {
        (void)err_set(err, ERR_PEER, "OUT: it answers step %llu, expected %llu", (unsigned long long)h->seq,
                      (unsigned long long)asked->seq);
        return WIRE_BAD_SEQ;
    }
    if (h->last_dim != width)
        return refuse(err, WIRE_BAD_SHAPE, "OUT", "row width", h->last_dim, width);
    const unsigned size = asked->bf16 ? 2 : 4;
    if (wire_dtype_bytes(h->dtype) != size)
        return refuse(err, WIRE_BAD_SHAPE, "OUT", "bytes of an element", wire_dtype_bytes(h->dtype), size);
    if (h->total != (uint64_t)asked->out_n * width * size)
        return refuse(err, WIRE_BAD_SHAPE, "OUT", "number of rows", h->total / size / width, asked->out_n);
    *out = (struct msg_out){.epoch = h->epoch, .seq = h->seq, .server_us = h->arg[0], .cached = h->arg[1], .rows = asked->out_n,
                            .width = width, .bf16 = asked->bf16};
    memcpy(out->session, h->session, sizeof out->session);
    return WIRE_OK;
}

enum wire_code msg_out_recv(struct frag_in *in, const struct frame *f, float *y, bool *complete, struct err *err)
{
    return receive(in, f, y, "OUT", complete, err);
}
