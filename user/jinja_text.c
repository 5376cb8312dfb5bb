#include "user/jinja_text.h"

#include <string.h>

#include "base/utf8.h"
#include "user/unicode.h"

struct jinja_text jinja_text_of(const char *s)
{
    return (struct jinja_text){s, strlen(s)};
}

bool jinja_text_is(struct jinja_text t, const char *s)
{
    return jinja_text_same(t, jinja_text_of(s));
}

bool jinja_text_same(struct jinja_text a, struct jinja_text b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.at, b.at, a.n) == 0);
}

int jinja_text_compare(struct jinja_text a, struct jinja_text b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.at, b.at, n);
    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

size_t jinja_text_find(struct jinja_text t, struct jinja_text what, size_t from)
{
    if (from > t.n)
        return SIZE_MAX;
    if (what.n == 0)
        return from;
    const char *found = from == t.n ? NULL : memmem(t.at + from, t.n - from, what.at, what.n);
    return found == NULL ? SIZE_MAX : (size_t)(found - t.at);
}

size_t jinja_text_rfind(struct jinja_text t, struct jinja_text what)
{
    for (size_t i = t.n + 1; i-- > 0;)
        if (t.n - i >= what.n && (what.n == 0 || memcmp(t.at + i, what.at, what.n) == 0))
            return i;
    return SIZE_MAX;
}

size_t jinja_text_chars(struct jinja_text t)
{
    size_t chars = 0;
    for (size_t i = 0; i < t.n; i++)
        chars += ((unsigned char)t.at[i] & 0xC0) != 0x80;
    return chars;
}

size_t jinja_text_at(struct jinja_text t, size_t i)
{
    size_t at = 0;
    for (; at < t.n; at++)
        if (((unsigned char)t.at[at] & 0xC0) != 0x80 && i-- == 0)
            break;
    return at;
}

bool jinja_text_is_space(uint32_t cp)
{
    return unicode_is_space(cp) || (cp >= 0x1C && cp <= 0x1F);
}

bool jinja_text_blank(struct jinja_text t)
{
    return jinja_text_strip(t, JINJA_LEFT, (struct jinja_text){0}).n == 0;
}

static bool stripped(uint32_t cp, const char *at, size_t n, struct jinja_text chars)
{
    return chars.at == NULL ? jinja_text_is_space(cp) : jinja_text_find(chars, (struct jinja_text){at, n}, 0) != SIZE_MAX;
}

struct jinja_text jinja_text_strip(struct jinja_text t, enum jinja_side side, struct jinja_text chars)
{
    uint32_t cp = 0;
    size_t n;
    while ((side & JINJA_LEFT) != 0 && t.n > 0 && (n = utf8_decode(t.at, t.n, &cp)) > 0 && stripped(cp, t.at, n, chars)) {
        t.at += n;
        t.n -= n;
    }
    while ((side & JINJA_RIGHT) != 0 && t.n > 0) {
        for (n = 1; n < t.n && ((unsigned char)t.at[t.n - n] & 0xC0) == 0x80; n++)
            ;
        if (utf8_decode(t.at + t.n - n, n, &cp) == 0 || !stripped(cp, t.at + t.n - n, n, chars))
            break;
        t.n -= n;
    }
    return t;
}

static bool ends_line(uint32_t cp)
{
    return (cp >= 0x0A && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

bool jinja_text_line(struct jinja_text t, size_t *at, struct jinja_text *line)
{
    size_t end = *at, n;
    uint32_t cp = 0;
    if (end >= t.n)
        return false;
    for (; end < t.n && (n = utf8_decode(t.at + end, t.n - end, &cp)) > 0; end += n)
        if (ends_line(cp)) {
            *line = (struct jinja_text){t.at + *at, end - *at};
            *at = end + n + (cp == '\r' && end + 1 < t.n && t.at[end + 1] == '\n');
            return true;
        }
    *line = (struct jinja_text){t.at + *at, end - *at};
    *at = t.n;
    return true;
}

uint32_t jinja_text_case(struct jinja_text t, enum jinja_case how, struct buf *out)
{
    bool in_word = false; /* titles: after a letter with case; capitals: after the first character */
    size_t n;
    uint32_t cp = 0;
    for (size_t at = 0; at < t.n && (n = utf8_decode(t.at + at, t.n - at, &cp)) > 0; at += n) {
        char bytes[4];
        if (unicode_case_is_special(cp))
            return cp;
        uint32_t to = how == JINJA_UPPER                  ? unicode_upper(cp)
                      : how == JINJA_LOWER || in_word ? unicode_lower_one(cp)
                                                          : unicode_title(cp);
        in_word = how == JINJA_TITLE ? unicode_has_case(cp, false) || unicode_has_case(cp, true) : true;
        buf_put(out, bytes, utf8_encode(to, bytes));
    }
    return 0;
}

bool jinja_text_has_case(struct jinja_text t, bool upper)
{
    bool found = false;
    size_t n;
    uint32_t cp = 0;
    for (size_t at = 0; at < t.n && (n = utf8_decode(t.at + at, t.n - at, &cp)) > 0; at += n) {
        if (unicode_has_case(cp, !upper))
            return false;
        found = found || unicode_has_case(cp, upper);
    }
    return found;
}

void jinja_text_repr(struct jinja_text t, struct buf *out)
{
    const bool single = t.n > 0 && memchr(t.at, '\'', t.n) != NULL, dbl = t.n > 0 && memchr(t.at, '"', t.n) != NULL;
    const char quote = single && !dbl ? '"' : '\'';
    size_t n;
    uint32_t cp = 0;
    buf_put8(out, (uint8_t)quote);
    for (size_t at = 0; at < t.n && (n = utf8_decode(t.at + at, t.n - at, &cp)) > 0; at += n) {
        if (cp == (uint32_t)quote || cp == '\\')
            buf_printf(out, "\\%c", (char)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            buf_put_str(out, cp == '\n' ? "\\n" : cp == '\r' ? "\\r" : "\\t");
        else if (unicode_is_printable(cp))
            buf_put(out, t.at + at, n);
        else
            buf_printf(out, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
    }
    buf_put8(out, (uint8_t)quote);
}
