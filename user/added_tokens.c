#include "user/added_tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "user/trie.h"
#include "user/unicode.h"

/* A longer one would make the search slow; real ones have fewer than 100 bytes. */
#define ADDED_TOKEN_MAX ((size_t)1024)

struct flags {
    bool known, special, single_word, lstrip, rstrip;
};

struct added_tokens {
    struct trie raw, normalized;
    bool starts[2][256]; /* [normalized][first byte]: some token starts so */
    struct flags *flags; /* by id */
    size_t n;
};

/* ------------------------------------------------------------------ reading */

int added_tokens_new(struct added_tokens **out, struct err *err)
{
    struct added_tokens *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_oom(err, sizeof *a);
    *out = a;
    return 0;
}

void added_tokens_free(struct added_tokens *a)
{
    if (a == NULL)
        return;
    trie_free(&a->raw);
    trie_free(&a->normalized);
    free(a->flags);
    free(a);
}

/* A token that is looked for in normalised text is itself normalised first. */
static int put_pattern(struct added_tokens *a, const struct added_token *token, uint32_t id, const struct normalizer *norm,
                       struct err *err)
{
    if (!token->normalized) {
        a->starts[0][(uint8_t)token->content[0]] = true;
        return trie_put(&a->raw, token->content, strlen(token->content), id, err);
    }
    int rc = -1;
    struct buf text;
    struct regex_scan *scan = NULL;
    buf_init(&text, 64 * ADDED_TOKEN_MAX);
    if (regex_scan_new(&scan, err) != 0 || normalizer_run(norm, scan, token->content, strlen(token->content), &text, err) != 0)
        goto done;
    rc = 0;
    if (text.len > 0) {
        a->starts[1][text.data[0]] = true;
        rc = trie_put(&a->normalized, (const char *)text.data, text.len, id, err);
    }
done:
    regex_scan_free(scan);
    buf_free(&text);
    return rc;
}

int added_tokens_add(struct added_tokens *a, const struct added_token *token, int64_t id, const struct normalizer *norm,
                     struct vocab *vocab, const char *where, struct err *err)
{
    size_t len = strlen(token->content);
    if (len == 0 || len > ADDED_TOKEN_MAX)
        return err_set(err, ERR_INPUT, "%s: id %lld: expected 1 to %zu bytes of content, found %zu", where, (long long)id,
                       ADDED_TOKEN_MAX, len);
    int32_t known = vocab_find(vocab, token->content, len);
    if (known >= 0 && known != id)
        return err_set(err, ERR_INPUT, "%s: token '%.60s': id %lld, but the vocabulary says %d", where, token->content,
                       (long long)id, (int)known);
    if (known < 0 && vocab_add(vocab, token->content, len, id, where, err) != 0)
        return -1;
    if ((size_t)id >= a->n) {
        size_t n = (size_t)id + (size_t)id / 2 + 64;
        struct flags *flags = realloc(a->flags, n * sizeof *flags);
        if (flags == NULL)
            return err_oom(err, n * sizeof *flags);
        memset(flags + a->n, 0, (n - a->n) * sizeof *flags);
        a->flags = flags;
        a->n = n;
    }
    if (a->flags[id].known)
        return err_set(err, ERR_INPUT, "%s: the token '%.60s' stands twice", where, token->content);
    a->flags[id] = (struct flags){.known = true,
                                  .special = token->special,
                                  .single_word = token->single_word,
                                  .lstrip = token->lstrip,
                                  .rstrip = token->rstrip};
    return put_pattern(a, token, (uint32_t)id, norm, err);
}

static int read_one(struct added_tokens *a, const struct json_doc *doc, const struct json *node, const struct normalizer *norm,
                    struct vocab *vocab, const char *where, struct err *err)
{
    int64_t id = 0;
    struct added_token t = {0};
    if (json_type(node) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: expected an object, found %s", where, json_type_name(node));
    if (json_get_str(doc, node, "content", &t.content, err) != 0 ||
        json_get_int(doc, node, "id", 0, VOCAB_ID_MAX, &id, err) != 0 ||
        json_opt_bool(doc, node, "special", &t.special, err) != 0)
        return -1;
    t.normalized = !t.special;
    if (json_opt_bool(doc, node, "normalized", &t.normalized, err) != 0 ||
        json_opt_bool(doc, node, "single_word", &t.single_word, err) != 0 ||
        json_opt_bool(doc, node, "lstrip", &t.lstrip, err) != 0 || json_opt_bool(doc, node, "rstrip", &t.rstrip, err) != 0)
        return -1;
    return added_tokens_add(a, &t, id, norm, vocab, where, err);
}

int added_tokens_read(struct added_tokens *a, const struct json_doc *doc, const struct json *list, const struct normalizer *norm,
                      struct vocab *vocab, struct err *err)
{
    char where[512];
    if (json_is_null(list))
        return 0;
    if (json_type(list) != JSON_ARRAY)
        return err_set(err, ERR_INPUT, "%s: field 'added_tokens': expected a list, found %s", json_name(doc),
                       json_type_name(list));
    (void)snprintf(where, sizeof where, "%s: field 'added_tokens'", json_name(doc));
    for (const struct json *t = json_first(list); t != NULL; t = json_next(t))
        if (read_one(a, doc, t, norm, vocab, where, err) != 0)
            return -1;
    return 0;
}

bool added_tokens_is_special(const struct added_tokens *a, int32_t id)
{
    return id >= 0 && (size_t)id < a->n && a->flags[id].special;
}

/* ------------------------------------------------------------------ splitting */

static size_t char_before(const char *text, size_t at, uint32_t *cp)
{
    size_t n = 1;
    while (n < at && ((unsigned char)text[at - n] & 0xC0) == 0x80)
        n++;
    return utf8_decode(text + at - n, n, cp);
}

static bool inside_word(const char *text, size_t len, size_t start, size_t end)
{
    uint32_t cp = 0;
    if (start > 0 && char_before(text, start, &cp) > 0 && unicode_is_word(cp))
        return true;
    return end < len && utf8_decode(text + end, len - end, &cp) > 0 && unicode_is_word(cp);
}

/* The longest token that starts here; its id or MAP64_NONE. */
static uint32_t match_at(const struct trie *trie, const char *text, size_t len, size_t at, size_t *end)
{
    uint32_t node = TRIE_ROOT, found = MAP64_NONE;
    for (size_t i = at; i < len && (node = trie_step(trie, node, text[i])) != MAP64_NONE; i++) {
        uint32_t id = trie_value(trie, node);
        if (id != MAP64_NONE) {
            found = id;
            *end = i + 1;
        }
    }
    return found;
}

int added_tokens_split(const struct added_tokens *a, bool normalized, const char *text, size_t len, added_tokens_fn fn, void *ctx,
                       struct err *err)
{
    const struct trie *trie = normalized ? &a->normalized : &a->raw;
    size_t done = 0, next;
    for (size_t at = 0; at < len; at = next) {
        size_t end = at;
        uint32_t cp, id = a->starts[normalized][(uint8_t)text[at]] ? match_at(trie, text, len, at, &end) : MAP64_NONE;
        next = id == MAP64_NONE ? at + 1 : end;
        if (id == MAP64_NONE)
            continue;
        const struct flags *f = &a->flags[id];
        if (f->single_word && inside_word(text, len, at, end))
            continue;
        size_t start = at, n;
        while (f->lstrip && start > done && (n = char_before(text, start, &cp)) > 0 && unicode_is_space(cp))
            start -= n;
        if (start < done)
            start = done;
        while (f->rstrip && end < len && (n = utf8_decode(text + end, len - end, &cp)) > 0 && unicode_is_space(cp))
            end += n;
        if (start > done && fn(ctx, text, done, start, -1, err) != 0)
            return -1;
        if (fn(ctx, text, start, end, (int32_t)id, err) != 0)
            return -1;
        done = end;
    }
    return done < len ? fn(ctx, text, done, len, -1, err) : 0;
}
