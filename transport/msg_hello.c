#include "transport/msg_hello.h"

#include <string.h>

#include "base/le.h"
#include "base/reader.h"

struct frame msg_hello_encode(const struct msg_hello *m, uint8_t body[MSG_HELLO_BYTES])
{
    le_put16(body, m->protocol_min);
    le_put16(body + 2, m->protocol_max);
    memcpy(body + 4, m->context, WIRE_CONTEXT_BYTES);
    return wire_frame(WIRE_HELLO, NULL, body, MSG_HELLO_BYTES);
}

static enum wire_code refuse(struct err *err, const char *message, const char *why)
{
    (void)err_set(err, ERR_PEER, "%s: %s", message, why);
    return WIRE_BAD_FRAME;
}

enum wire_code msg_hello_decode(struct msg_hello *out, const struct frame *f, struct err *err)
{
    struct reader r;
    struct msg_hello m;
    reader_init(&r, f->payload, f->h.length);
    m.protocol_min = reader_u16(&r);
    m.protocol_max = reader_u16(&r);
    reader_copy(&r, m.context, sizeof m.context);
    if (f->h.type != WIRE_HELLO || !reader_end(&r) || m.protocol_min == 0 || m.protocol_min > m.protocol_max)
        return refuse(err, "HELLO", "its protocol range makes no sense");
    *out = m;
    return WIRE_OK;
}

enum wire_code msg_hello_version(const struct msg_hello *m, uint16_t *version, struct err *err)
{
    uint16_t highest = m->protocol_max < MSG_PROTOCOL_MAX ? m->protocol_max : MSG_PROTOCOL_MAX;
    if (highest < m->protocol_min || highest < MSG_PROTOCOL_MIN) {
        (void)err_set(err, ERR_PEER, "the peer speaks protocol %u to %u, this program %u to %u; update the older one",
                      m->protocol_min, m->protocol_max, MSG_PROTOCOL_MIN, MSG_PROTOCOL_MAX);
        return WIRE_BAD_VERSION;
    }
    *version = highest;
    return WIRE_OK;
}

struct frame msg_hello_ok_encode(const struct msg_hello_ok *m, uint8_t body[MSG_HELLO_OK_BYTES])
{
    const uint32_t numbers[8] = {m->max_tokens, m->max_sessions, m->max_rows,      m->max_out_rows,
                                 m->D,          m->out_width,    m->session_ttl_s, m->epoch};
    le_put16(body, m->protocol);
    body[2] = m->head_kind;
    body[3] = m->head_at_server;
    for (size_t i = 0; i < 8; i++)
        le_put32(body + 4 + 4 * i, numbers[i]);
    le_put64(body + 36, m->manifest_bytes);
    memcpy(body + 44, m->context, WIRE_CONTEXT_BYTES);
    struct frame f = wire_frame(WIRE_HELLO_OK, NULL, body, MSG_HELLO_OK_BYTES);
    f.h.epoch = m->epoch;
    return f;
}

enum wire_code msg_hello_ok_decode(struct msg_hello_ok *out, const struct frame *f, struct err *err)
{
    struct reader r;
    struct msg_hello_ok m;
    reader_init(&r, f->payload, f->h.length);
    m.protocol = reader_u16(&r);
    m.head_kind = reader_u8(&r);
    m.head_at_server = reader_u8(&r);
    m.max_tokens = reader_u32(&r);
    m.max_sessions = reader_u32(&r);
    m.max_rows = reader_u32(&r);
    m.max_out_rows = reader_u32(&r);
    m.D = reader_u32(&r);
    m.out_width = reader_u32(&r);
    m.session_ttl_s = reader_u32(&r);
    m.epoch = reader_u32(&r);
    m.manifest_bytes = reader_u64(&r);
    reader_copy(&r, m.context, sizeof m.context);
    if (f->h.type != WIRE_HELLO_OK || !reader_end(&r) || m.head_at_server > 1 || m.epoch != f->h.epoch)
        return refuse(err, "HELLO_OK", "its fields contradict each other");
    *out = m;
    return WIRE_OK;
}
