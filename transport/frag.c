#include "transport/frag.h"

#include <string.h>

void frag_out_init(struct frag_out *out, const struct frame *model)
{
    *out = (struct frag_out){.model = *model};
}

bool frag_out_peek(const struct frag_out *out, struct frame *f)
{
    if (frag_out_all_sent(out) || out->sent - out->acked >= WIRE_CREDIT)
        return false;
    uint64_t left = out->model.h.total - out->at;
    *f = out->model;
    f->h.offset = out->at;
    f->h.length = left < WIRE_PAYLOAD_MAX ? (uint32_t)left : WIRE_PAYLOAD_MAX;
    f->h.flags = (uint8_t)((out->at == 0 ? WIRE_FIRST : 0) | (f->h.length == left ? WIRE_LAST : 0));
    if (f->payload != NULL)
        f->payload += out->at;
    return true;
}

void frag_out_sent(struct frag_out *out)
{
    struct frame f;
    if (frag_out_peek(out, &f)) {
        out->at += f.h.length;
        out->sent++;
    }
}

/* An empty message is one frame too, so bytes alone do not tell. */
bool frag_out_all_sent(const struct frag_out *out)
{
    return out->sent > 0 && out->at == out->model.h.total;
}

bool frag_out_ack(struct frag_out *out, const struct frame *ack)
{
    if (ack->h.arg[0] > out->sent || ack->h.arg[0] < out->acked)
        return false;
    out->acked = ack->h.arg[0];
    return true;
}

void frag_in_start(struct frag_in *in, const struct frame *f, void *dst)
{
    *in = (struct frag_in){.first = f->h, .dst = dst, .busy = true};
}

/* All that must not change from fragment to fragment. */
static bool continues(const struct wire_header *a, const struct wire_header *b)
{
    return a->type == b->type && a->epoch == b->epoch && a->seq == b->seq && a->total == b->total &&
           a->dtype == b->dtype && a->last_dim == b->last_dim && memcmp(a->session, b->session, sizeof a->session) == 0 &&
           memcmp(a->arg, b->arg, sizeof a->arg) == 0;
}

enum wire_code frag_in_add(struct frag_in *in, const struct frame *f, bool *complete, struct err *err)
{
    if (!in->busy || !continues(&in->first, &f->h) || f->h.offset != in->have) {
        (void)err_set(err, ERR_PEER, "%s frame: the fragment at offset %llu does not continue the message it belongs to",
                      wire_type_name(f->h.type), (unsigned long long)f->h.offset);
        in->busy = false;
        return WIRE_BAD_FRAME;
    }
    if (f->h.length > 0 && in->dst != NULL)
        memcpy(in->dst + in->have, f->payload, f->h.length);
    in->have += f->h.length;
    in->frames++;
    *complete = (f->h.flags & WIRE_LAST) != 0;
    in->busy = !*complete;
    return WIRE_OK;
}

struct frame frag_in_ack(const struct frag_in *in)
{
    struct frame f = wire_frame(WIRE_ACK, in->first.session, NULL, 0);
    f.h.epoch = in->first.epoch;
    f.h.seq = in->first.seq;
    f.h.arg[0] = in->frames;
    return f;
}

void frag_in_drop(struct frag_in *in)
{
    in->busy = false;
}
