#include "transport/msg_session.h"

#include <string.h>

static enum wire_code refuse(struct err *err, const char *message)
{
    (void)err_set(err, ERR_PEER, "%s: a session of 0 tokens, or more tokens cached than there is room for", message);
    return WIRE_BAD_FRAME;
}

struct frame msg_open_encode(const struct msg_open *m)
{
    struct frame f = wire_frame(WIRE_OPEN, m->session, NULL, 0);
    f.h.arg[0] = m->max_tokens;
    return f;
}

enum wire_code msg_open_decode(struct msg_open *out, const struct frame *f, struct err *err)
{
    if (f->h.type != WIRE_OPEN || f->h.arg[0] == 0)
        return refuse(err, "OPEN");
    memcpy(out->session, f->h.session, sizeof out->session);
    out->max_tokens = f->h.arg[0];
    return WIRE_OK;
}

struct frame msg_opened_encode(const struct msg_opened *m)
{
    struct frame f = wire_frame(WIRE_OPENED, m->session, NULL, 0);
    f.h.seq = m->seq;
    f.h.arg[0] = m->max_tokens;
    f.h.arg[1] = m->cached;
    return f;
}

enum wire_code msg_opened_decode(struct msg_opened *out, const struct frame *f, struct err *err)
{
    if (f->h.type != WIRE_OPENED || f->h.arg[0] == 0 || f->h.arg[1] > f->h.arg[0])
        return refuse(err, "OPENED");
    memcpy(out->session, f->h.session, sizeof out->session);
    out->seq = f->h.seq;
    out->max_tokens = f->h.arg[0];
    out->cached = f->h.arg[1];
    return WIRE_OK;
}

struct frame msg_close_encode(const uint8_t session[WIRE_SESSION_BYTES])
{
    return wire_frame(WIRE_CLOSE, session, NULL, 0);
}

struct frame msg_closed_encode(const uint8_t session[WIRE_SESSION_BYTES])
{
    return wire_frame(WIRE_CLOSED, session, NULL, 0);
}

struct frame msg_cancel_encode(const uint8_t session[WIRE_SESSION_BYTES])
{
    return wire_frame(WIRE_CANCEL, session, NULL, 0);
}

struct frame msg_cancelled_encode(const uint8_t session[WIRE_SESSION_BYTES])
{
    return wire_frame(WIRE_CANCELLED, session, NULL, 0);
}
