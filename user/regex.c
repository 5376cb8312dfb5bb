#define PCRE2_CODE_UNIT_WIDTH 8
#include "user/regex.h"

#include <pcre2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/utf8.h"

struct regex {
    pcre2_code *code;
};

struct regex_scan {
    pcre2_match_data *data;
    pcre2_match_context *context;
    time_t deadline; /* of this thread's CPU clock */
    unsigned calls;
};

/* ------------------------------------------------------------------ Oniguruma (Ruby) -> PCRE2 */

#define WORD_CLASS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORD "[" WORD_CLASS "]"

static const struct escape {
    char name;
    const char *outside, *inside; /* of a class; NULL: not supported there */
} escapes[] = {
    {'s', "\\p{White_Space}", "\\p{White_Space}"},
    {'S', "\\P{White_Space}", "\\P{White_Space}"},
    {'d', "\\p{Nd}", "\\p{Nd}"},
    {'D', "\\P{Nd}", "\\P{Nd}"},
    {'w', WORD, WORD_CLASS},
    {'W', "[^" WORD_CLASS "]", NULL},
    {'h', "[0-9A-Fa-f]", "0-9A-Fa-f"},
    {'H', "[^0-9A-Fa-f]", NULL},
    {'b', "(?:(?<=" WORD ")(?!" WORD ")|(?<!" WORD ")(?=" WORD "))", "\\x{08}"},
    {'B', "(?:(?<=" WORD ")(?=" WORD ")|(?<!" WORD ")(?!" WORD "))", NULL},
    {'v', "\\x{0B}", "\\x{0B}"},
    {'A', "\\A", NULL},
    {'z', "\\z", NULL},
    {'Z', "\\Z", NULL},
    {'t', "\\t", "\\t"},
    {'n', "\\n", "\\n"},
    {'r', "\\r", "\\r"},
    {'f', "\\f", "\\f"},
    {'a', "\\a", "\\a"},
    {'e', "\\e", "\\e"},
    {'p', "\\p", "\\p"},
    {'P', "\\P", "\\P"},
    {'x', "\\x", "\\x"},
};

struct translation {
    const char *at; /* what is left of the pattern */
    struct buf out;
    unsigned class_depth; /* nested classes are unions, so inner brackets can be dropped */
};

static int refuse(struct err *err, const char *what)
{
    return err_set(err, ERR_INPUT, "the regular expression uses %s, which is not supported", what);
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static int translate_escape(struct translation *t, struct err *err)
{
    char c = t->at[1];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    bool digit = c >= '0' && c <= '9';
    if (c == '\0')
        return err_set(err, ERR_INPUT, "the regular expression ends with a backslash");
    if (c == 'u') {
        for (int i = 2; i < 6; i++)
            if (!is_hex(t->at[i]))
                return err_set(err, ERR_INPUT, "the regular expression has '\\u' without four hexadecimal digits");
        buf_printf(&t->out, "\\x{%.4s}", t->at + 2);
        t->at += 6;
        return 0;
    }
    if (digit && (t->class_depth > 0 || c == '0'))
        return refuse(err, "an octal escape");
    if (!letter) {
        buf_put(&t->out, t->at, 2); /* the rest of a longer UTF-8 sequence follows as ordinary bytes */
        t->at += 2;
        return 0;
    }
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        const char *as = t->class_depth > 0 ? escapes[i].inside : escapes[i].outside;
        if (escapes[i].name != c || as == NULL)
            continue;
        buf_put_str(&t->out, as);
        t->at += 2;
        return 0;
    }
    char what[40] = "the escape '\\?' in a class";
    what[13] = c;
    if (t->class_depth == 0)
        what[15] = '\0';
    return refuse(err, what);
}

static int translate_class(struct translation *t, struct err *err)
{
    const char *p = t->at;
    if (p[0] == '&' && p[1] == '&')
        return refuse(err, "the intersection '&&' in a class");
    if (p[0] == '[' && p[1] == ':')
        return refuse(err, "a POSIX class '[:'");
    if (p[0] == '[') {
        if (p[1] == '^')
            return refuse(err, "a negated class inside a class");
        if (p[1] == ']' || p[-1] == '-')
            return refuse(err, "a class inside a class that is empty or ends a range");
        t->class_depth++;
        t->at++;
        return 0;
    }
    if (p[0] == ']' && --t->class_depth > 0) {
        if (p[1] == '-')
            return refuse(err, "a class inside a class that begins a range");
        t->at++;
        return 0;
    }
    buf_put(&t->out, t->at++, 1);
    return 0;
}

/* "(?": only the groups that mean the same in both dialects. Ruby's m is PCRE2's s. */
static int translate_group(struct translation *t, bool at_start, struct err *err)
{
    const char *p = t->at + 2;
    if (strchr(":=!><", *p) != NULL && *p != '\0') {
        buf_put(&t->out, t->at, 3);
        t->at += 3;
        return 0;
    }
    size_t n = strspn(p, "im-");
    if (n == 0 || (p[n] != ':' && p[n] != ')'))
        return refuse(err, "an unusual group '(?'");
    if (p[n] == ')' && !at_start)
        return refuse(err, "an option in the middle, as '(?i)'");
    buf_put_str(&t->out, "(?");
    for (size_t i = 0; i <= n; i++)
        buf_put8(&t->out, p[i] == 'm' ? (uint8_t)'s' : (uint8_t)p[i]);
    t->at = p + n + 1;
    return 0;
}

static int translate_interval(struct translation *t, struct err *err)
{
    const char *p = t->at + 1;
    bool from_zero = *p == ',' && p[1] >= '0' && p[1] <= '9';
    const char *end = p + strspn(p, "0123456789,");
    if (*end == '}' && end > p && end[1] == '+')
        return refuse(err, "an interval followed by '+'");
    buf_put_str(&t->out, from_zero ? "{0" : "{");
    t->at++;
    return 0;
}

static int translate(struct translation *t, struct err *err)
{
    const char *start = t->at;
    while (*t->at != '\0') {
        int rc = 0;
        if (*t->at == '\\')
            rc = translate_escape(t, err);
        else if (t->class_depth > 0)
            rc = translate_class(t, err);
        else if (t->at[0] == '(' && t->at[1] == '*')
            rc = refuse(err, "a verb '(*'");
        else if (t->at[0] == '(' && t->at[1] == '?')
            rc = translate_group(t, t->at == start, err);
        else if (*t->at == '{')
            rc = translate_interval(t, err);
        else {
            if (*t->at == '[') {
                t->class_depth = 1;
                if (t->at[1] == '^') {
                    buf_put8(&t->out, '[');
                    t->at++;
                }
                if (t->at[1] == ']')
                    return refuse(err, "an empty class '[]'");
            }
            buf_put(&t->out, t->at++, 1);
        }
        if (rc != 0)
            return -1;
    }
    return buf_check(&t->out, "regular expression", err);
}

/* ------------------------------------------------------------------ compile */

static int compile(struct regex *r, const struct buf *pattern, struct err *err)
{
    int code;
    PCRE2_SIZE at;
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context == NULL)
        return err_oom(err, 0);
    (void)pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    r->code = pcre2_compile(pattern->data, pattern->len, options, &code, &at, context);
    pcre2_compile_context_free(context);
    if (r->code == NULL) {
        PCRE2_UCHAR text[128] = "";
        (void)pcre2_get_error_message(code, text, sizeof text);
        return err_set(err, ERR_INPUT, "the regular expression does not compile: %s", (const char *)text);
    }
    return 0;
}

int regex_new(struct regex **out, const char *pattern, struct err *err)
{
    size_t len = strlen(pattern);
    if (len > REGEX_PATTERN_MAX)
        return err_set(err, ERR_INPUT, "expected a regular expression of at most %zu bytes, found %zu", REGEX_PATTERN_MAX, len);
    int rc = -1;
    struct translation t = {.at = pattern};
    buf_init(&t.out, 64 * REGEX_PATTERN_MAX);
    struct regex *r = calloc(1, sizeof *r);
    if (r == NULL) {
        err_oom(err, sizeof *r);
        goto done;
    }
    (void)buf_extend(&t.out, 0); /* an empty pattern is a pattern too */
    if (translate(&t, err) != 0 || compile(r, &t.out, err) != 0)
        goto done;
    *out = r;
    r = NULL;
    rc = 0;
done:
    regex_free(r);
    buf_free(&t.out);
    return rc;
}

void regex_free(struct regex *r)
{
    if (r == NULL)
        return;
    pcre2_code_free(r->code);
    free(r);
}

/* ------------------------------------------------------------------ match */

static time_t cpu_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec;
}

int regex_scan_new(struct regex_scan **out, struct err *err)
{
    struct regex_scan *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    s->data = pcre2_match_data_create(1, NULL);
    s->context = pcre2_match_context_create(NULL);
    if (s->data == NULL || s->context == NULL) {
        regex_scan_free(s);
        return err_oom(err, 0);
    }
    (void)pcre2_set_heap_limit(s->context, 512 * 1024); /* KiB */
    s->deadline = cpu_seconds() + REGEX_CPU_SECONDS_MAX;
    *out = s;
    return 0;
}

void regex_scan_free(struct regex_scan *s)
{
    if (s == NULL)
        return;
    pcre2_match_data_free(s->data);
    pcre2_match_context_free(s->context);
    free(s);
}

int regex_find(const struct regex *r, struct regex_scan *s, const char *text, size_t len, size_t from, size_t *start, size_t *end,
               struct err *err)
{
    /* A sound pattern backtracks at most once over the text at one place. */
    uint64_t limit = 1000000u + 8u * (uint64_t)len;
    (void)pcre2_set_match_limit(s->context, limit > UINT32_MAX ? UINT32_MAX : (uint32_t)limit);
    /* One anchored attempt per place: only so can the clock stop a pattern that rescans the text from everywhere. */
    for (size_t at = from; at <= len; at++) {
        if (at < len && at > from && ((unsigned char)text[at] & 0xC0) == 0x80)
            continue;
        if (++s->calls % 64 == 0 && cpu_seconds() > s->deadline)
            return err_set(err, ERR_INPUT, "the tokenizer's regular expression took more than %d s of CPU time on this text",
                           REGEX_CPU_SECONDS_MAX);
        int rc = pcre2_match(r->code, (PCRE2_SPTR)text, len, at, PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, s->data, s->context);
        if (rc >= 0) {
            const PCRE2_SIZE *place = pcre2_get_ovector_pointer(s->data);
            *start = place[0];
            *end = place[1];
            /* \K is refused, so a match can neither start elsewhere nor run backwards. */
            return 1;
        }
        if (rc != PCRE2_ERROR_NOMATCH) {
            PCRE2_UCHAR what[128] = "";
            (void)pcre2_get_error_message(rc, what, sizeof what);
            return err_set(err, ERR_INPUT, "the tokenizer's regular expression gave up on this text: %s", (const char *)what);
        }
    }
    return 0;
}
