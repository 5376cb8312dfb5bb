#include "base/json_scan.h"

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

struct scan {
    const char *text;
    size_t len, at;
};

static int bad(const char *name, size_t at, const char *what, struct err *err)
{
    return err_set(err, ERR_INPUT, "%s: byte %zu: %s", name, at, what);
}

static int scan_string(struct scan *s, const char *name, struct err *err)
{
    for (s->at++; s->at < s->len; s->at++) {
        unsigned char c = (unsigned char)s->text[s->at];
        if (c == '"')
            return 0;
        if (c < 0x20)
            return bad(name, s->at, "control character inside a string", err);
        if (c != '\\')
            continue;
        s->at++;
        if (s->len - s->at >= 5 && memcmp(s->text + s->at, "u0000", 5) == 0)
            return bad(name, s->at, "\\u0000 inside a string is not supported", err);
    }
    return bad(name, s->len, "string without end", err);
}

static bool digit(const struct scan *s)
{
    return s->at < s->len && s->text[s->at] >= '0' && s->text[s->at] <= '9';
}

static int scan_number(struct scan *s, const char *name, struct err *err)
{
    size_t start = s->at;
    if (s->text[s->at] == '-')
        s->at++;
    if (!digit(s))
        return bad(name, start, "not a number", err);
    if (s->text[s->at++] == '0' && digit(s))
        return bad(name, start, "number with a leading zero", err);
    while (digit(s))
        s->at++;
    if (s->at < s->len && s->text[s->at] == '.') {
        s->at++;
        if (!digit(s))
            return bad(name, start, "number without digits after the point", err);
        while (digit(s))
            s->at++;
    }
    if (s->at < s->len && (s->text[s->at] == 'e' || s->text[s->at] == 'E')) {
        s->at++;
        if (s->at < s->len && (s->text[s->at] == '+' || s->text[s->at] == '-'))
            s->at++;
        if (!digit(s))
            return bad(name, start, "number without digits in its exponent", err);
        while (digit(s))
            s->at++;
    }
    s->at--; /* the loop steps on */
    return 0;
}

int json_scan(const char *text, size_t len, const char *name, struct err *err)
{
    size_t where;
    if (!utf8_valid(text, len, &where))
        return bad(name, where, "invalid UTF-8", err);
    struct scan s = {.text = text, .len = len};
    for (; s.at < len; s.at++) {
        char c = text[s.at];
        int rc = 0;
        if ((unsigned char)c < 0x20 && c != '\t' && c != '\n' && c != '\r')
            return bad(name, s.at, c == '\0' ? "NUL byte" : "control character", err);
        if (c == '"')
            rc = scan_string(&s, name, err);
        else if (c == '-' || (c >= '0' && c <= '9'))
            rc = scan_number(&s, name, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}
