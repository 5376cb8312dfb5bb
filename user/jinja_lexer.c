#include "user/jinja_lexer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

struct lexer {
    struct jinja_arena *arena;
    const char *name;
    struct err *err;
    struct jinja_text src;
    size_t at;
    unsigned line;
    struct jinja_token *tokens;
    size_t n, cap;
};

static int fail(const struct lexer *x, const char *what)
{
    return err_set(x->err, ERR_INPUT, "%s: line %u: %s", x->name, x->line, what);
}

static int no_room(const struct lexer *x)
{
    return err_set(x->err, ERR_INPUT, "%s: the template is too large (more than %zu bytes of working memory)", x->name, x->arena->limit);
}

static void *take(const struct lexer *x, size_t n)
{
    void *p = jinja_arena_take(x->arena, n);
    if (p == NULL)
        no_room(x);
    return p;
}

static struct jinja_token *push(struct lexer *x, enum jinja_token_type type)
{
    if (x->n == x->cap) {
        size_t cap = x->cap == 0 ? 64 : 2 * x->cap;
        struct jinja_token *more = take(x, cap * sizeof *more);
        if (more == NULL)
            return NULL;
        if (x->n > 0)
            memcpy(more, x->tokens, x->n * sizeof *more);
        x->tokens = more;
        x->cap = cap;
    }
    struct jinja_token *t = &x->tokens[x->n++];
    *t = (struct jinja_token){.type = type, .line = x->line};
    return t;
}

static char peek(const struct lexer *x, size_t ahead)
{
    return x->at + ahead < x->src.n ? x->src.at[x->at + ahead] : '\0';
}

static bool here(const struct lexer *x, const char *s)
{
    size_t n = strlen(s);
    return x->src.n - x->at >= n && memcmp(x->src.at + x->at, s, n) == 0;
}

/* Everything that moves on counts lines. */
static void skip(struct lexer *x, size_t n)
{
    for (; n > 0; n--)
        x->line += x->src.at[x->at++] == '\n';
}

static void skip_space(struct lexer *x)
{
    struct jinja_text rest = {x->src.at + x->at, x->src.n - x->at};
    skip(x, rest.n - jinja_text_strip(rest, JINJA_LEFT, (struct jinja_text){0}).n);
}

/* ------------------------------------------------------------------ between the tags */

/* Text before a tag: "-" takes all white space away, nothing (for blocks and comments) takes the indent of the line. */
static int push_data(struct lexer *x, size_t start, size_t end, bool line_start, bool lstrip, char sign)
{
    struct jinja_text t = {x->src.at + start, end - start};
    if (sign == '-') {
        t = jinja_text_strip(t, JINJA_RIGHT, (struct jinja_text){0});
    } else if (sign != '+' && lstrip) {
        size_t from = t.n;
        while (from > 0 && t.at[from - 1] != '\n')
            from--;
        if ((from > 0 || line_start) && jinja_text_blank((struct jinja_text){t.at + from, t.n - from}))
            t.n = from;
    }
    if (t.n == 0)
        return 0;
    struct jinja_token *tok = push(x, JT_DATA);
    if (tok == NULL)
        return -1;
    tok->text = t;
    return 0;
}

/* After "%}" or "#}": +: nothing, -: white space goes, else: one newline goes. */
static void after_block(struct lexer *x, char sign)
{
    if (sign == '-')
        skip_space(x);
    else if (sign != '+' && peek(x, 0) == '\n')
        skip(x, 1);
}

static char sign_at(const struct lexer *x, size_t ahead)
{
    char c = peek(x, ahead);
    return c == '-' || c == '+' ? c : '\0';
}

static int comment(struct lexer *x)
{
    size_t end = jinja_text_find(x->src, jinja_text_of("#}"), x->at);
    if (end == SIZE_MAX)
        return fail(x, "a comment without '#}'");
    char last = end > x->at ? x->src.at[end - 1] : '\0';
    skip(x, end + 2 - x->at);
    after_block(x, last == '-' || last == '+' ? last : '\0');
    return 0;
}

/* Whether x stands at {% word %} (any signs); then *sign is that before the end, and *n the length of the tag. */
static bool bare_tag(const struct lexer *x, const char *word, char *sign, size_t *n)
{
    struct lexer y = *x;
    if (!here(&y, "{%"))
        return false;
    skip(&y, sign_at(&y, 2) != '\0' ? 3 : 2);
    skip_space(&y);
    if (!here(&y, word))
        return false;
    skip(&y, strlen(word));
    skip_space(&y);
    *sign = sign_at(&y, 0);
    skip(&y, *sign != '\0');
    if (!here(&y, "%}"))
        return false;
    *n = y.at + 2 - x->at;
    return true;
}

static int raw(struct lexer *x, char sign, size_t tag)
{
    size_t n = 0;
    skip(x, tag);
    if (sign == '-')
        skip_space(x);
    const size_t start = x->at;
    const bool line_start = x->src.at[start - 1] == '\n';
    struct lexer y = *x;
    while (y.at < y.src.n && !bare_tag(&y, "endraw", &sign, &n))
        skip(&y, 1);
    if (y.at == y.src.n)
        return fail(x, "'raw' without 'endraw'");
    if (push_data(x, start, y.at, line_start, true, sign_at(&y, 2)) != 0)
        return -1;
    skip(x, y.at + n - x->at);
    after_block(x, sign);
    return 0;
}

/* ------------------------------------------------------------------ inside a tag */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(char c)
{
    return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t digits(const struct lexer *x, size_t ahead)
{
    size_t n = 0;
    while (is_digit(peek(x, ahead + n)))
        n++;
    return n;
}

static int number(struct lexer *x)
{
    char text[64], *end;
    size_t n = digits(x, 0), whole = n, more;
    bool is_float = false;
    if ((x->at == 0 || x->src.at[x->at - 1] != '.')) {
        if (peek(x, n) == '.' && (more = digits(x, n + 1)) > 0) {
            n += 1 + more;
            is_float = true;
        }
        if (peek(x, n) == 'e' || peek(x, n) == 'E') {
            size_t sign = peek(x, n + 1) == '-' || peek(x, n + 1) == '+';
            if ((more = digits(x, n + 1 + sign)) > 0) {
                n += 1 + sign + more;
                is_float = true;
            }
        }
    }
    if (n >= sizeof text || is_name(peek(x, n)) || (!is_float && whole > 1 && peek(x, 0) == '0'))
        return fail(x, "this form of a number is not implemented (known: 12, 1.5, 1e-3)");
    memcpy(text, x->src.at + x->at, n);
    text[n] = '\0';
    struct jinja_token *t = push(x, is_float ? JT_FLOAT : JT_INT);
    if (t == NULL)
        return -1;
    errno = 0;
    if (is_float)
        t->number = strtod(text, NULL);
    else
        t->whole = strtoll(text, &end, 10);
    if (!is_float && errno != 0)
        return fail(x, "whole numbers beyond 64 bits are not implemented");
    skip(x, n);
    return 0;
}

static int hex(const char *at, size_t have, size_t n, uint32_t *cp)
{
    *cp = 0;
    if (have < n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        char c = at[i];
        uint32_t d = is_digit(c) ? (uint32_t)(c - '0') : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                                                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                                            : 16;
        if (d == 16)
            return -1;
        *cp = *cp << 4 | d;
    }
    return 0;
}

/* One escape at `at`, after the backslash. Appends to out and returns how many bytes it took, 0 for a bad one. */
static size_t escape(const char *at, size_t have, char *out, size_t *len)
{
    static const char from[] = "ntrabfv\\'\"", to[] = "\n\t\r\a\b\f\v\\'\"";
    const char *simple = have > 0 && at[0] != '\0' ? strchr(from, at[0]) : NULL;
    uint32_t cp = 0;
    size_t n;
    if (have == 0)
        return 0;
    if (simple != NULL) {
        out[(*len)++] = to[simple - from];
        return 1;
    }
    if (at[0] == '\n')
        return 1;
    if (at[0] >= '0' && at[0] <= '7') {
        for (n = 0; n < 3 && n < have && at[n] >= '0' && at[n] <= '7'; n++)
            cp = cp << 3 | (uint32_t)(at[n] - '0');
        *len += utf8_encode(cp, out + *len);
        return n;
    }
    n = at[0] == 'x' ? 2 : at[0] == 'u' ? 4 : at[0] == 'U' ? 8 : 0;
    if (n == 0 && at[0] != 'N') { /* unknown: the backslash stays */
        out[(*len)++] = '\\';
        return SIZE_MAX;
    }
    if (n == 0 || hex(at + 1, have - 1, n, &cp) != 0 || cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF))
        return 0;
    *len += utf8_encode(cp, out + *len);
    return 1 + n;
}

static int string(struct lexer *x)
{
    const char quote = peek(x, 0);
    size_t end = x->at + 1, len = 0;
    while (end < x->src.n && x->src.at[end] != quote)
        end += x->src.at[end] == '\\' ? 2 : 1;
    if (end >= x->src.n)
        return fail(x, "a string without its closing quote");
    struct jinja_token *t = push(x, JT_STRING);
    const char *in = x->src.at + x->at + 1, *stop = x->src.at + end;
    char *out = take(x, end - x->at); /* never longer than it was written */
    if (t == NULL || out == NULL)
        return -1;
    while (in < stop) {
        if (*in != '\\') {
            out[len++] = *in++;
            continue;
        }
        size_t n = escape(in + 1, (size_t)(stop - in - 1), out, &len);
        if (n == 0)
            return fail(x, "this escape in a string is not implemented (\\N, half a surrogate pair, or not hexadecimal)");
        in += n == SIZE_MAX ? 1 : 1 + n;
    }
    t->text = (struct jinja_text){out, len};
    skip(x, end + 1 - x->at);
    return 0;
}

static int op(struct lexer *x)
{
    static const char *const ops[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(",
                                      ")",  "{",  "}",  ">",  "<",  "=",  ".", ":", "|", ",", ";", NULL};
    const char *const *o = ops;
    while (*o != NULL && !here(x, *o))
        o++;
    if (*o == NULL)
        return fail(x, "this character is not part of any expression");
    struct jinja_token *t = push(x, JT_OP);
    if (t == NULL)
        return -1;
    t->text = jinja_text_of(*o);
    skip(x, t->text.n);
    return 0;
}

/* Open brackets hide the end of the tag: {{ {'a': {}} }} */
static int balance(const struct lexer *x, size_t *open)
{
    const struct jinja_text t = x->tokens[x->n - 1].text;
    if (x->tokens[x->n - 1].type != JT_OP || t.n != 1)
        return 0;
    if (strchr("([{", t.at[0]) != NULL)
        (*open)++;
    else if (strchr(")]}", t.at[0]) != NULL && (*open)-- == 0)
        return fail(x, "a closing bracket without its opening one");
    return 0;
}

static int inside(struct lexer *x, bool block)
{
    size_t open = 0;
    for (;;) {
        char c = peek(x, 0), sign = c == '-' || (c == '+' && block) ? c : '\0';
        const char *const end = block ? "%}" : "}}";
        if (open == 0 && x->at < x->src.n) {
            struct lexer y = *x;
            skip(&y, sign != '\0');
            if (here(&y, end)) {
                if (push(x, block ? JT_BLOCK_END : JT_PRINT_END) == NULL)
                    return -1;
                skip(x, (sign != '\0') + 2u);
                if (block)
                    after_block(x, sign);
                else if (sign == '-')
                    skip_space(x);
                return 0;
            }
        }
        size_t before = x->at;
        skip_space(x);
        if (x->at != before)
            continue;
        if (x->at == x->src.n)
            return fail(x, block ? "a tag without '%}'" : "an expression without '}}'");
        int rc;
        if (is_digit(c)) {
            rc = number(x);
        } else if (c == '\'' || c == '"') {
            rc = string(x);
        } else if (is_name(c)) {
            struct jinja_token *t = push(x, JT_NAME);
            size_t n = 0;
            while (is_name(peek(x, n)))
                n++;
            rc = t == NULL ? -1 : 0;
            if (t != NULL)
                t->text = (struct jinja_text){x->src.at + x->at, n};
            skip(x, n);
        } else {
            rc = op(x);
        }
        if (rc != 0 || balance(x, &open) != 0)
            return -1;
    }
}

/* ------------------------------------------------------------------ the whole */

/* A copy with "\n" for every kind of line end, without the last one. */
static int normal_source(struct lexer *x, const char *source, size_t len)
{
    char *out = take(x, len + 1);
    size_t n = 0;
    if (out == NULL)
        return -1;
    for (size_t i = 0; i < len; i++) {
        out[n++] = source[i] == '\r' ? '\n' : source[i];
        if (source[i] == '\r' && i + 1 < len && source[i + 1] == '\n')
            i++;
    }
    if (n > 0 && out[n - 1] == '\n')
        n--;
    x->src = (struct jinja_text){out, n};
    return 0;
}

int jinja_lexer_run(struct jinja_arena *arena, const char *source, size_t len, const char *name, struct jinja_token **tokens,
                    struct err *err)
{
    struct lexer x = {.arena = arena, .name = name, .err = err, .line = 1};
    size_t bad;
    if (!utf8_valid(source, len, &bad))
        return err_set(err, ERR_INPUT, "%s: not valid UTF-8 at byte %zu", name, bad);
    if (normal_source(&x, source, len) != 0)
        return -1;
    while (x.at < x.src.n) {
        const size_t start = x.at;
        const bool line_start = start == 0 || x.src.at[start - 1] == '\n';
        size_t tag = start, n = 0;
        while (tag < x.src.n && !(x.src.at[tag] == '{' && tag + 1 < x.src.n && memchr("{%#", x.src.at[tag + 1], 3) != NULL))
            tag++;
        struct lexer y = x;
        skip(&y, tag - start);
        const char kind = peek(&y, 1), sign = tag == x.src.n ? '+' : sign_at(&y, 2);
        if (push_data(&x, start, tag, line_start, kind != '{', sign) != 0)
            return -1;
        x.at = y.at;
        x.line = y.line;
        if (tag == x.src.n)
            break;
        char raw_sign;
        if (bare_tag(&x, "raw", &raw_sign, &n)) {
            if (raw_sign == '+')
                return fail(&x, "'raw +%}' is not implemented");
            if (raw(&x, raw_sign, n) != 0)
                return -1;
            continue;
        }
        if (kind != '#' && push(&x, kind == '{' ? JT_PRINT_BEGIN : JT_BLOCK_BEGIN) == NULL)
            return -1;
        skip(&x, sign != '\0' ? 3 : 2);
        if ((kind == '#' ? comment(&x) : inside(&x, kind == '%')) != 0)
            return -1;
    }
    if (push(&x, JT_END) == NULL)
        return -1;
    *tokens = x.tokens;
    return 0;
}
