#include "user/bpe.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/utf8.h"
#include "user/map64.h"

#define AFFIX_MAX ((size_t)64) /* bytes of a continuing prefix or end-of-word suffix */

struct bpe {
    const struct vocab *vocab;
    struct map64 ranks; /* left id << 32 | right id -> rank */
    int32_t *merged;    /* by rank: the id that the pair becomes */
    size_t n_merges, cap_merges;
    int32_t unk;           /* -1: none */
    int32_t byte_ids[256]; /* of "<0x00>" ... "<0xFF>", -1: none */
    bool byte_fallback, fuse_unk, ignore_merges;
    char prefix[AFFIX_MAX + 1], suffix[AFFIX_MAX + 1];
};

#define SYMBOL_NONE UINT32_MAX

struct bpe_symbol {
    int32_t id; /* -1: merged into its left neighbour */
    uint32_t prev, next;
};

/* ------------------------------------------------------------------ reading */

static int read_affix(char out[AFFIX_MAX + 1], const struct json_doc *doc, const struct json *model, const char *key,
                      struct err *err)
{
    const char *text = "";
    if (json_opt_str(doc, model, key, &text, err) != 0)
        return -1;
    if (strlen(text) > AFFIX_MAX)
        return err_set(err, ERR_INPUT, "%s: field '%s': expected at most %zu bytes, found %zu", json_name(doc), key, AFFIX_MAX,
                       strlen(text));
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static int read_options(struct bpe *b, const struct json_doc *doc, const struct json *model, struct err *err)
{
    double dropout = 0;
    const char *unk = NULL;
    if (json_opt_num(doc, model, "dropout", &dropout, err) != 0 || json_opt_str(doc, model, "unk_token", &unk, err) != 0 ||
        json_opt_bool(doc, model, "byte_fallback", &b->byte_fallback, err) != 0 ||
        json_opt_bool(doc, model, "fuse_unk", &b->fuse_unk, err) != 0 ||
        json_opt_bool(doc, model, "ignore_merges", &b->ignore_merges, err) != 0 ||
        read_affix(b->prefix, doc, model, "continuing_subword_prefix", err) != 0 ||
        read_affix(b->suffix, doc, model, "end_of_word_suffix", err) != 0)
        return -1;
    if (dropout != 0)
        return err_set(err, ERR_INPUT, "%s: field 'dropout': expected null or 0 (random merges are for training), found %g",
                       json_name(doc), dropout);
    b->unk = unk == NULL ? -1 : vocab_find(b->vocab, unk, strlen(unk));
    if (unk != NULL && b->unk < 0)
        return err_set(err, ERR_INPUT, "%s: field 'unk_token': '%.60s' is not in the vocabulary", json_name(doc), unk);
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        int n = snprintf(name, sizeof name, "<0x%02X>", i);
        b->byte_ids[i] = vocab_find(b->vocab, name, (size_t)n);
    }
    return 0;
}

int bpe_new(struct bpe **out, const struct json_doc *doc, const struct json *model, const struct vocab *vocab, struct err *err)
{
    struct bpe *b = calloc(1, sizeof *b);
    if (b == NULL)
        return err_oom(err, sizeof *b);
    b->vocab = vocab;
    if (read_options(b, doc, model, err) != 0) {
        bpe_free(b);
        return -1;
    }
    *out = b;
    return 0;
}

void bpe_free(struct bpe *b)
{
    if (b == NULL)
        return;
    map64_free(&b->ranks);
    free(b->merged);
    free(b);
}

static int add_merge(struct bpe *b, const char *left, size_t left_len, const char *right, size_t right_len, const char *where,
                     struct err *err)
{
    char both[2 * VOCAB_TOKEN_MAX];
    size_t cut = strlen(b->prefix);
    int32_t left_id = vocab_find(b->vocab, left, left_len);
    int32_t right_id = vocab_find(b->vocab, right, right_len);
    if (left_id < 0 || right_id < 0) {
        int n = (int)(left_id < 0 ? left_len : right_len);
        return err_set(err, ERR_INPUT, "%s: merge %zu: the token '%.*s' is not in the vocabulary", where, b->n_merges,
                       n < 60 ? n : 60, left_id < 0 ? left : right);
    }
    if (right_len < cut)
        return err_set(err, ERR_INPUT, "%s: merge %zu: the right token is shorter than continuing_subword_prefix", where,
                       b->n_merges);
    memcpy(both, left, left_len);
    memcpy(both + left_len, right + cut, right_len - cut);
    int32_t id = vocab_find(b->vocab, both, left_len + right_len - cut);
    if (id < 0)
        return err_set(err, ERR_INPUT, "%s: merge %zu: its result '%.60s%.60s' is not in the vocabulary", where, b->n_merges,
                       vocab_text(b->vocab, left_id, NULL), vocab_text(b->vocab, right_id, NULL) + cut);
    if (b->n_merges == b->cap_merges) {
        size_t cap = b->cap_merges * 2 + 1024;
        int32_t *merged = realloc(b->merged, cap * sizeof *merged);
        if (merged == NULL)
            return err_oom(err, cap * sizeof *merged);
        b->merged = merged;
        b->cap_merges = cap;
    }
    if (map64_put(&b->ranks, (uint64_t)(uint32_t)left_id << 32 | (uint32_t)right_id, (uint32_t)b->n_merges, err) != 0)
        return -1;
    b->merged[b->n_merges++] = id;
    return 0;
}

int bpe_add_merge_line(struct bpe *b, const char *line, size_t len, const char *where, struct err *err)
{
    const char *space = memchr(line, ' ', len);
    if (space == NULL || memchr(space + 1, ' ', (size_t)(line + len - space - 1)) != NULL)
        return err_set(err, ERR_INPUT, "%s: merge %zu: expected two tokens with one space between, found '%.*s'", where,
                       b->n_merges, (int)(len < 60 ? len : 60), line);
    size_t left = (size_t)(space - line);
    return add_merge(b, line, left, space + 1, len - left - 1, where, err);
}

int bpe_read_merges(struct bpe *b, const struct json_doc *doc, const struct json *model, struct err *err)
{
    char where[512];
    const struct json *merges = json_get(model, "merges");
    if (merges == NULL || json_type(merges) != JSON_ARRAY)
        return err_set(err, ERR_INPUT, "%s: field 'model.merges': expected a list, found %s", json_name(doc),
                       json_type_name(merges));
    (void)snprintf(where, sizeof where, "%s: field 'model.merges'", json_name(doc));
    for (const struct json *m = json_first(merges); m != NULL; m = json_next(m)) {
        const char *line = json_string(m);
        if (line != NULL) {
            if (bpe_add_merge_line(b, line, strlen(line), where, err) != 0)
                return -1;
            continue;
        }
        const char *left = json_type(m) == JSON_ARRAY && json_count(m) == 2 ? json_string(json_first(m)) : NULL;
        const char *right = left == NULL ? NULL : json_string(json_next(json_first(m)));
        if (right == NULL)
            return err_set(err, ERR_INPUT, "%s: merge %zu: expected \"left right\" or [\"left\", \"right\"], found %s", where,
                           b->n_merges, json_type_name(m));
        if (add_merge(b, left, strlen(left), right, strlen(right), where, err) != 0)
            return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------ heap of candidates, smallest first */

static int heap_push(struct bpe_work *w, uint64_t item, struct err *err)
{
    if (w->heap_n == w->heap_cap) {
        size_t cap = w->heap_cap * 2 + 256;
        uint64_t *heap = realloc(w->heap, cap * sizeof *heap);
        if (heap == NULL)
            return err_oom(err, cap * sizeof *heap);
        w->heap = heap;
        w->heap_cap = cap;
    }
    size_t i = w->heap_n++;
    for (; i > 0 && w->heap[(i - 1) / 2] > item; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = item;
    return 0;
}

static uint64_t heap_pop(struct bpe_work *w)
{
    uint64_t top = w->heap[0], last = w->heap[--w->heap_n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->heap_n; i = child) {
        if (child + 1 < w->heap_n && w->heap[child + 1] < w->heap[child])
            child++;
        if (w->heap[child] >= last)
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

/* ------------------------------------------------------------------ encoding */

static int add_symbol(struct bpe_work *w, int32_t id, struct err *err)
{
    if (w->n == w->cap) {
        size_t cap = w->cap * 2 + 256;
        struct bpe_symbol *symbols = cap > INT32_MAX ? NULL : realloc(w->symbols, cap * sizeof *symbols);
        if (symbols == NULL)
            return err_oom(err, cap * sizeof *symbols);
        w->symbols = symbols;
        w->cap = cap;
    }
    uint32_t at = (uint32_t)w->n++;
    w->symbols[at] = (struct bpe_symbol){.id = id, .prev = at == 0 ? SYMBOL_NONE : at - 1, .next = at + 1};
    return 0;
}

static int32_t find_char(const struct bpe *b, const char *c, size_t n, bool first, bool last)
{
    bool prefixed = !first && b->prefix[0] != '\0', suffixed = last && b->suffix[0] != '\0';
    if (!prefixed && !suffixed)
        return vocab_find(b->vocab, c, n);
    char text[2 * AFFIX_MAX + 8];
    int len = snprintf(text, sizeof text, "%s%.*s%s", prefixed ? b->prefix : "", (int)n, c, suffixed ? b->suffix : "");
    return vocab_find(b->vocab, text, (size_t)len);
}

static bool has_bytes(const struct bpe *b, const char *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (b->byte_ids[(uint8_t)c[i]] < 0)
            return false;
    return b->byte_fallback;
}

/* Characters to symbols. Unknown ones become bytes, or the unknown token, or nothing. */
static int add_chars(const struct bpe *b, struct bpe_work *w, const char *word, size_t len, size_t *dropped, struct err *err)
{
    bool unk_pending = false;
    for (size_t at = 0, n; at < len; at += n) {
        uint32_t cp = 0;
        n = utf8_decode(word + at, len - at, &cp);
        int32_t id = find_char(b, word + at, n, at == 0, at + n == len);
        if (id < 0 && has_bytes(b, word + at, n)) {
            for (size_t i = 0; i < n; i++)
                if (add_symbol(w, b->byte_ids[(uint8_t)word[at + i]], err) != 0)
                    return -1;
            continue;
        }
        if (id < 0 && b->unk < 0) {
            ++*dropped;
            continue;
        }
        bool flush = unk_pending && (id >= 0 || !b->fuse_unk);
        if (flush && add_symbol(w, b->unk, err) != 0)
            return -1;
        unk_pending = id < 0;
        if (id >= 0 && add_symbol(w, id, err) != 0)
            return -1;
    }
    return unk_pending ? add_symbol(w, b->unk, err) : 0;
}

static uint32_t rank_at(const struct bpe *b, const struct bpe_work *w, uint32_t left)
{
    uint32_t right = w->symbols[left].next;
    if (right >= w->n)
        return MAP64_NONE;
    return map64_get(&b->ranks, (uint64_t)(uint32_t)w->symbols[left].id << 32 | (uint32_t)w->symbols[right].id);
}

static int offer(const struct bpe *b, struct bpe_work *w, uint32_t left, struct err *err)
{
    uint32_t rank = rank_at(b, w, left);
    return rank == MAP64_NONE ? 0 : heap_push(w, (uint64_t)rank << 32 | left, err);
}

static int merge_all(const struct bpe *b, struct bpe_work *w, struct err *err)
{
    for (uint32_t i = 0; i < w->n; i++)
        if (offer(b, w, i, err) != 0)
            return -1;
    while (w->heap_n > 0) {
        uint64_t top = heap_pop(w);
        uint32_t left = (uint32_t)top;
        int32_t id = b->merged[top >> 32];
        if (w->symbols[left].id < 0)
            continue;
        /* An entry is out of date unless the pair that stands here now becomes the same token. */
        uint32_t rank = rank_at(b, w, left);
        if (rank == MAP64_NONE || b->merged[rank] != id)
            continue;
        uint32_t right = w->symbols[left].next;
        w->symbols[left].id = id;
        w->symbols[left].next = w->symbols[right].next;
        w->symbols[right].id = -1;
        if (w->symbols[left].next < w->n)
            w->symbols[w->symbols[left].next].prev = left;
        if (w->symbols[left].prev != SYMBOL_NONE && offer(b, w, w->symbols[left].prev, err) != 0)
            return -1;
        if (offer(b, w, left, err) != 0)
            return -1;
    }
    return 0;
}

int bpe_encode(const struct bpe *b, struct bpe_work *w, const char *word, size_t len, struct token_ids *out, struct err *err)
{
    int32_t whole = b->ignore_merges ? vocab_find(b->vocab, word, len) : -1;
    if (whole >= 0)
        return token_ids_push(out, whole, 0, err);
    w->n = 0;
    w->heap_n = 0;
    if (add_chars(b, w, word, len, &out->dropped, err) != 0 || merge_all(b, w, err) != 0)
        return -1;
    for (uint32_t i = 0; i < w->n; i = w->symbols[i].next)
        if (token_ids_push(out, w->symbols[i].id, 0, err) != 0)
            return -1;
    return 0;
}

void bpe_work_free(struct bpe_work *w)
{
    free(w->symbols);
    free(w->heap);
    *w = (struct bpe_work){0};
}
