#include "user/byte_level.h"

#include "base/utf8.h"

static bool stands_for_itself(uint32_t byte)
{
    return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

/* The others, in order: 00..20 -> U+0100..0120, 7F..A0 -> U+0121..0142, AD -> U+0143. */
static uint32_t char_of(uint8_t byte)
{
    if (stands_for_itself(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    return byte <= 0xA0 ? 0x121u + (byte - 0x7Fu) : 0x143u;
}

static bool byte_of(uint32_t cp, uint8_t *byte)
{
    if (cp < 0x100 ? !stands_for_itself(cp) : cp > 0x143)
        return false;
    if (cp < 0x100)
        *byte = (uint8_t)cp;
    else if (cp <= 0x120)
        *byte = (uint8_t)(cp - 0x100);
    else
        *byte = cp <= 0x142 ? (uint8_t)(cp - 0x121 + 0x7F) : 0xAD;
    return true;
}

void byte_level_encode(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        char utf8[4];
        buf_put(out, utf8, utf8_encode(char_of((uint8_t)text[i]), utf8));
    }
}

bool byte_level_decode(const char *text, size_t len, struct buf *out)
{
    size_t before = out->len;
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        uint8_t byte = 0;
        size_t n = utf8_decode(text + at, len - at, &cp);
        if (n == 0 || !byte_of(cp, &byte)) {
            out->len = before;
            return false;
        }
        buf_put8(out, byte);
        at += n;
    }
    return true;
}
