#include "user/wordpiece.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct wordpiece {
    const struct vocab *vocab;
    int32_t unk;
    size_t max_chars;
    size_t prefix_len;
    char prefix[65];
};

static int read_options(struct wordpiece *w, const struct json_doc *doc, const struct json *model, struct err *err)
{
    const char *unk = "[UNK]", *prefix = "##";
    int64_t max_chars = 100;
    if (json_opt_str(doc, model, "unk_token", &unk, err) != 0 ||
        json_opt_str(doc, model, "continuing_subword_prefix", &prefix, err) != 0 ||
        json_opt_int(doc, model, "max_input_chars_per_word", 0, INT32_MAX, &max_chars, err) != 0)
        return -1;
    w->unk = vocab_find(w->vocab, unk, strlen(unk));
    if (w->unk < 0)
        return err_set(err, ERR_INPUT, "%s: field 'model.unk_token': '%.60s' is not in the vocabulary", json_name(doc), unk);
    w->prefix_len = strlen(prefix);
    if (w->prefix_len >= sizeof w->prefix)
        return err_set(err, ERR_INPUT, "%s: field 'model.continuing_subword_prefix': expected at most %zu bytes, found %zu",
                       json_name(doc), sizeof w->prefix - 1, w->prefix_len);
    memcpy(w->prefix, prefix, w->prefix_len + 1);
    w->max_chars = (size_t)max_chars;
    return 0;
}

int wordpiece_new(struct wordpiece **out, const struct json_doc *doc, const struct json *model, const struct vocab *vocab,
                  struct err *err)
{
    struct wordpiece *w = calloc(1, sizeof *w);
    if (w == NULL)
        return err_oom(err, sizeof *w);
    w->vocab = vocab;
    if (read_options(w, doc, model, err) != 0) {
        wordpiece_free(w);
        return -1;
    }
    *out = w;
    return 0;
}

void wordpiece_free(struct wordpiece *w)
{
    free(w);
}

static bool starts_char(char c)
{
    return ((unsigned char)c & 0xC0) != 0x80;
}

/* The longest piece at word[from..len); its id, or -1, and its length. */
static int32_t longest_piece(const struct wordpiece *w, const char *word, size_t from, size_t len, size_t *piece_len)
{
    char piece[sizeof w->prefix + VOCAB_TOKEN_MAX];
    size_t head = from == 0 ? 0 : w->prefix_len;
    /* Nothing longer than the longest token can be one. */
    size_t room = w->vocab->longest < head ? 0 : w->vocab->longest - head;
    size_t n = len - from < room ? len - from : room;
    memcpy(piece, w->prefix, head);
    memcpy(piece + head, word + from, n);
    for (; n > 0; n--) {
        if (from + n < len && !starts_char(word[from + n]))
            continue;
        int32_t id = vocab_find(w->vocab, piece, head + n);
        if (id >= 0) {
            *piece_len = n;
            return id;
        }
    }
    return -1;
}

int wordpiece_encode(const struct wordpiece *w, const char *word, size_t len, struct token_ids *out, struct err *err)
{
    size_t chars = 0, before = out->n;
    for (size_t i = 0; i < len; i++)
        chars += starts_char(word[i]);
    for (size_t at = 0, n = 0; at < len && chars <= w->max_chars; at += n) {
        int32_t id = longest_piece(w, word, at, len, &n);
        if (id < 0) { /* one unknown part makes the whole word unknown */
            out->n = before;
            return token_ids_push(out, w->unk, 0, err);
        }
        if (token_ids_push(out, id, 0, err) != 0)
            return -1;
    }
    return chars <= w->max_chars ? 0 : token_ids_push(out, w->unk, 0, err);
}
