#include "user/unigram.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/utf8.h"
#include "user/trie.h"

#define UNK_PENALTY 10.0 /* below the least likely piece */

struct unigram {
    const struct vocab *vocab;
    struct trie pieces;
    double *scores; /* by id */
    double unk_score;
    int64_t unk; /* -1: none */
    bool byte_fallback;
    int32_t byte_ids[256];
};

#define NO_START SIZE_MAX

struct unigram_node { /* the best way to write the text that ends here */
    double score;
    size_t start; /* of its last piece */
    int32_t id;   /* of its last piece, -1: unknown */
};

static int add_piece(struct unigram *u, struct vocab *vocab, const struct json_doc *doc, const struct json *piece, size_t id,
                     const char *where, struct err *err)
{
    const struct json *first = json_first(piece), *second = first == NULL ? NULL : json_next(first);
    const char *text = json_string(first);
    if (json_type(piece) != JSON_ARRAY || text == NULL || second == NULL || json_type(second) != JSON_NUMBER)
        return err_set(err, ERR_INPUT, "%s: field 'model.vocab': entry %zu: expected [token, score], found %s", json_name(doc),
                       id, json_type_name(piece));
    u->scores[id] = json_number(second);
    return vocab_add(vocab, text, strlen(text), (int64_t)id, where, err) != 0
               ? -1
               : trie_put(&u->pieces, text, strlen(text), (uint32_t)id, err);
}

static int read_model(struct unigram *u, const struct json_doc *doc, const struct json *model, struct vocab *vocab,
                      struct err *err)
{
    char where[512];
    const struct json *list = json_get(model, "vocab");
    size_t n = json_count(list), id = 0;
    if (list == NULL || json_type(list) != JSON_ARRAY || n == 0)
        return err_set(err, ERR_INPUT, "%s: field 'model.vocab': expected a list of [token, score], found %s", json_name(doc),
                       n == 0 && list != NULL ? "nothing in it" : json_type_name(list));
    (void)snprintf(where, sizeof where, "%s: field 'model.vocab'", json_name(doc));
    u->scores = malloc(n * sizeof *u->scores);
    if (u->scores == NULL)
        return err_oom(err, n * sizeof *u->scores);
    u->unk = -1;
    if (json_opt_int(doc, model, "unk_id", 0, (int64_t)n - 1, &u->unk, err) != 0 ||
        json_opt_bool(doc, model, "byte_fallback", &u->byte_fallback, err) != 0)
        return -1;
    double least = 0;
    for (const struct json *p = json_first(list); p != NULL; p = json_next(p), id++) {
        if (add_piece(u, vocab, doc, p, id, where, err) != 0)
            return -1;
        least = id == 0 || u->scores[id] < least ? u->scores[id] : least;
    }
    u->unk_score = least - UNK_PENALTY;
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        int len = snprintf(name, sizeof name, "<0x%02X>", i);
        u->byte_ids[i] = vocab_find(vocab, name, (size_t)len);
    }
    return 0;
}

int unigram_new(struct unigram **out, const struct json_doc *doc, const struct json *model, struct vocab *vocab, struct err *err)
{
    struct unigram *u = calloc(1, sizeof *u);
    if (u == NULL)
        return err_oom(err, sizeof *u);
    u->vocab = vocab;
    if (read_model(u, doc, model, vocab, err) != 0) {
        unigram_free(u);
        return -1;
    }
    *out = u;
    return 0;
}

void unigram_free(struct unigram *u)
{
    if (u == NULL)
        return;
    trie_free(&u->pieces);
    free(u->scores);
    free(u);
}

void unigram_work_free(struct unigram_work *w)
{
    free(w->nodes);
    *w = (struct unigram_work){0};
}

/* ------------------------------------------------------------------ encoding */

static int reserve(struct unigram_work *w, size_t n, struct err *err)
{
    size_t bytes;
    if (n <= w->cap)
        return 0;
    struct unigram_node *nodes = size_mul(n, sizeof *nodes, &bytes) ? NULL : realloc(w->nodes, bytes);
    if (nodes == NULL)
        return err_oom(err, n * sizeof *nodes);
    w->nodes = nodes;
    w->cap = n;
    return 0;
}

static void improve(struct unigram_node *node, double score, size_t start, int32_t id)
{
    if (node->start == NO_START || score > node->score)
        *node = (struct unigram_node){.score = score, .start = start, .id = id};
}

/* All pieces that begin at `at` extend the best way to write what stands before. */
static void extend(const struct unigram *u, struct unigram_node *nodes, const char *word, size_t len, size_t at, size_t char_len)
{
    double so_far = nodes[at].score;
    bool single = false;
    uint32_t node = TRIE_ROOT;
    for (size_t i = at; i < len && (node = trie_step(&u->pieces, node, word[i])) != MAP64_NONE; i++) {
        uint32_t id = trie_value(&u->pieces, node);
        if (id == MAP64_NONE)
            continue;
        improve(&nodes[i + 1], u->scores[id] + so_far, at, (int32_t)id);
        single = single || i + 1 - at == char_len;
    }
    if (!single)
        improve(&nodes[at + char_len], u->unk_score + so_far, at, -1);
}

static int put_unknown(const struct unigram *u, const char *text, size_t len, struct token_ids *out, struct err *err)
{
    bool bytes = u->byte_fallback;
    for (size_t i = 0; i < len && bytes; i++)
        bytes = u->byte_ids[(uint8_t)text[i]] >= 0;
    if (!bytes && u->unk < 0)
        return err_set(err, ERR_INPUT, "the text has a character that this Unigram vocabulary lacks, and it has no unk_id");
    if (!bytes)
        return token_ids_push(out, (int32_t)u->unk, 0, err);
    for (size_t i = 0; i < len; i++)
        if (token_ids_push(out, u->byte_ids[(uint8_t)text[i]], 0, err) != 0)
            return -1;
    return 0;
}

/* A run of unknown characters is one unknown token, as in the original ("fuse_unk"). */
static bool is_unknown(const struct unigram *u, const struct unigram_node *node)
{
    return node->id < 0 || node->id == u->unk;
}

int unigram_encode(const struct unigram *u, struct unigram_work *w, const char *word, size_t len, struct token_ids *out,
                   struct err *err)
{
    if (reserve(w, len + 1, err) != 0)
        return -1;
    struct unigram_node *nodes = w->nodes;
    for (size_t i = 0; i <= len; i++)
        nodes[i] = (struct unigram_node){.start = NO_START};
    for (size_t at = 0, n; at < len; at += n) {
        uint32_t cp = 0;
        n = utf8_decode(word + at, len - at, &cp);
        extend(u, nodes, word, len, at, n);
    }
    /* Walk back along the best path; each node now says where the piece behind it ends. */
    size_t next = len;
    for (size_t end = len; end > 0;) {
        size_t start = nodes[end].start;
        nodes[end].start = next;
        next = end;
        end = start;
    }
    for (size_t start = 0, end = next; start < len;) {
        size_t last = end;
        bool unknown = is_unknown(u, &nodes[end]);
        while (unknown && last < len && is_unknown(u, &nodes[nodes[last].start]))
            last = nodes[last].start;
        int rc = unknown ? put_unknown(u, word + start, last - start, out, err) : token_ids_push(out, nodes[end].id, 0, err);
        if (rc != 0)
            return -1;
        start = last;
        end = last < len ? nodes[last].start : len;
    }
    return 0;
}
