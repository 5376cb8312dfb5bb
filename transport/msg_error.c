#include "transport/msg_error.h"

#include <string.h>

#include "base/utf8.h"

struct frame msg_error_encode(const uint8_t *session, enum wire_code code, uint64_t seq, const char *text)
{
    size_t n = strlen(text);
    struct frame f = wire_frame(WIRE_ERROR, session, text, n < WIRE_TEXT_MAX ? n : WIRE_TEXT_MAX);
    f.h.code = (uint16_t)code;
    f.h.seq = seq;
    return f;
}

void msg_error_decode(struct msg_error *out, const struct frame *f)
{
    size_t n = f->h.length < WIRE_TEXT_MAX ? f->h.length : WIRE_TEXT_MAX;
    const char *text = (const char *)f->payload;
    out->code = f->h.code;
    out->text[n] = '\0';
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        size_t step = utf8_decode(text + i, n - i, &cp);
        /* C0 and C1 controls could drive the terminal that the text is printed on. */
        bool plain = step > 0 && cp >= 0x20 && (cp < 0x7f || cp > 0x9f);
        if (plain)
            memcpy(out->text + i, text + i, step);
        else
            memset(out->text + i, '?', step > 0 ? step : 1);
        i += step > 0 ? step : 1;
    }
}

int msg_error_to_err(const struct frame *f, const char *who, struct err *err)
{
    struct msg_error m;
    msg_error_decode(&m, f);
    return err_set(err, wire_code_exit(m.code), "%s answers %s (%u): %s", who, wire_code_name(m.code), m.code,
                   m.text[0] == '\0' ? "no reason given" : m.text);
}
