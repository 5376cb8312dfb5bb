#include "user/precompiled.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "base/utf8.h"
#include "user/unicode.h"

struct precompiled {
    uint8_t *table; /* owns all */
    const uint8_t *units;
    size_t n_units;
    const uint8_t *strings;
    size_t strings_len;
};

/* Standard alphabet, padding at the end; SIZE_MAX if it is not base64. */
static size_t decode_base64(const char *text, uint8_t *out)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(text), n = 0;
    if (len % 4 != 0)
        return SIZE_MAX;
    while (len > 0 && text[len - 1] == '=')
        len--;
    uint32_t bits = 0;
    for (size_t i = 0; i < len; i++) {
        const char *at = strchr(alphabet, text[i]);
        if (at == NULL)
            return SIZE_MAX;
        bits = bits << 6 | (uint32_t)(at - alphabet);
        if (i % 4 != 0)
            out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return n;
}

int precompiled_new(struct precompiled **out, const struct json_doc *doc, const struct json *step, struct err *err)
{
    const char *text;
    if (json_get_str(doc, step, "precompiled_charsmap", &text, err) != 0)
        return -1;
    struct precompiled *p = calloc(1, sizeof *p);
    uint8_t *table = malloc(strlen(text) + 1);
    if (p == NULL || table == NULL) {
        free(p);
        free(table);
        return err_oom(err, strlen(text) + 1);
    }
    p->table = table;
    size_t n = decode_base64(text, table);
    if (n == SIZE_MAX || n < 4 || le_get32(table) > n - 4 || le_get32(table) % 4 != 0 || le_get32(table) == 0) {
        precompiled_free(p);
        return err_set(err, ERR_INPUT, "%s: field 'precompiled_charsmap': expected the base64 of a SentencePiece table, found %s",
                       json_name(doc), n == SIZE_MAX ? "something else" : "one that is cut or inconsistent");
    }
    p->units = table + 4;
    p->n_units = le_get32(table) / 4;
    p->strings = p->units + 4 * p->n_units;
    p->strings_len = n - 4 - 4 * p->n_units;
    *out = p;
    return 0;
}

void precompiled_free(struct precompiled *p)
{
    if (p == NULL)
        return;
    free(p->table);
    free(p);
}

static uint32_t unit_at(const struct precompiled *p, size_t i)
{
    return i < p->n_units ? le_get32(p->units + 4 * i) : 0;
}

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The replacement of the shortest entry that `text` begins with; NULL if there is none. */
static const char *lookup(const struct precompiled *p, const char *text, size_t len, size_t *out_len)
{
    size_t node = offset_of(unit_at(p, 0));
    for (size_t i = 0; i < len && text[i] != '\0'; i++) {
        uint8_t c = (uint8_t)text[i];
        node ^= c;
        uint32_t unit = unit_at(p, node);
        if ((unit & (1u << 31 | 0xFFu)) != c)
            return NULL;
        node ^= offset_of(unit);
        bool has_value = (unit >> 8 & 1) != 0;
        if (!has_value)
            continue;
        size_t at = unit_at(p, node) & ((1u << 31) - 1);
        if (at >= p->strings_len)
            return NULL;
        *out_len = strnlen((const char *)p->strings + at, p->strings_len - at);
        return (const char *)p->strings + at;
    }
    return NULL;
}

static bool replace(const struct precompiled *p, const char *text, size_t len, struct buf *out)
{
    size_t n;
    const char *with = lookup(p, text, len, &n);
    if (with == NULL || !utf8_valid(with, n, NULL))
        return false;
    buf_put(out, with, n);
    return true;
}

/* The original looks up short grapheme clusters whole, and otherwise character by character. */
static void run_cluster(const struct precompiled *p, const char *text, size_t len, struct buf *out)
{
    if (len < 6 && replace(p, text, len, out))
        return;
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(text + at, len - at, &cp);
        if (!replace(p, text + at, n, out))
            buf_put(out, text + at, n);
        at += n;
    }
}

void precompiled_run(const struct precompiled *p, const char *text, size_t len, struct buf *out)
{
    int32_t state = 0;
    size_t start = 0;
    uint32_t before = 0;
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(text + at, len - at, &cp);
        if (at > 0 && unicode_grapheme_break(before, cp, &state)) {
            run_cluster(p, text + start, at - start, out);
            start = at;
        }
        before = cp;
        at += n;
    }
    if (len > start)
        run_cluster(p, text + start, len - start, out);
}
