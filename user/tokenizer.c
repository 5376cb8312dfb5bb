#include "user/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/utf8.h"
#include "user/tokenizer_impl.h"

#define NORMALIZED_MAX ((size_t)512 << 20) /* bytes; a normalizer may make a text longer */
#define DECODED_MAX ((size_t)1 << 30)

void tokenizer_free(struct tokenizer *t)
{
    if (t == NULL)
        return;
    added_tokens_free(t->added);
    normalizer_free(t->normalizer);
    pretokenizer_free(t->pretokenizer);
    bpe_free(t->bpe);
    wordpiece_free(t->wordpiece);
    unigram_free(t->unigram);
    post_processor_free(t->post_processor);
    decoder_free(t->decoder);
    vocab_free(&t->vocab);
    free(t);
}

/* ------------------------------------------------------------------ loading */

int tokenizer_parse(struct tokenizer **out, const char *json, size_t len, const char *name, struct err *err)
{
    struct json_doc *doc = NULL;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_oom(err, sizeof *t);
    int rc = json_parse(&doc, json, len, false, name, err);
    if (rc == 0)
        rc = tokenizer_json_read(t, doc, true, err);
    json_free(doc);
    if (rc != 0)
        tokenizer_free(t);
    else
        *out = t;
    return rc;
}

int tokenizer_load(struct tokenizer **out, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    if (file_join(path, dir, "tokenizer.json", err) != 0)
        return -1;
    if (file_exists(path)) {
        char *text = NULL;
        size_t len;
        if (file_read(path, TOKENIZER_FILE_MAX, &text, &len, err) != 0)
            return -1;
        int rc = tokenizer_parse(out, text, len, path, err);
        free(text);
        return rc;
    }
    struct tokenizer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_oom(err, sizeof *t);
    if (tokenizer_legacy_read(t, dir, err) != 0) {
        tokenizer_free(t);
        return -1;
    }
    *out = t;
    return 0;
}

/* ------------------------------------------------------------------ encoding */

/* One text on its way to ids: the working memory of every stage. */
struct encoding {
    const struct tokenizer *t;
    struct regex_scan *scan;
    struct pretok_run *pretok;
    struct bpe_work bpe;
    struct unigram_work unigram;
    struct buf normalized;
    bool at_start;
    struct token_ids ids;
};

static int encode_word(void *ctx, const char *word, size_t len, struct err *err)
{
    struct encoding *e = ctx;
    if (e->t->bpe != NULL)
        return bpe_encode(e->t->bpe, &e->bpe, word, len, &e->ids, err);
    if (e->t->wordpiece != NULL)
        return wordpiece_encode(e->t->wordpiece, word, len, &e->ids, err);
    return unigram_encode(e->t->unigram, &e->unigram, word, len, &e->ids, err);
}

static int encode_normalized(void *ctx, const char *text, size_t start, size_t end, int32_t id, struct err *err)
{
    struct encoding *e = ctx;
    if (id >= 0)
        return token_ids_push(&e->ids, id, 0, err);
    return pretok_run_text(e->pretok, text + start, end - start, e->at_start && start == 0, err);
}

static int encode_raw(void *ctx, const char *text, size_t start, size_t end, int32_t id, struct err *err)
{
    struct encoding *e = ctx;
    if (id >= 0)
        return token_ids_push(&e->ids, id, 0, err);
    e->normalized.len = 0;
    if (normalizer_run(e->t->normalizer, e->scan, text + start, end - start, &e->normalized, err) != 0)
        return -1;
    if (e->normalized.len == 0)
        return 0;
    e->at_start = start == 0;
    return added_tokens_split(e->t->added, true, (const char *)e->normalized.data, e->normalized.len, encode_normalized, e, err);
}

/* Fills *out (zero before) with the ids of one text, without special tokens around it. */
static int encode_text(const struct tokenizer *t, const char *text, size_t len, struct token_ids *out, struct err *err)
{
    size_t where;
    if (len > TOKENIZER_TEXT_MAX)
        return err_set(err, ERR_INPUT, "the text has %zu bytes, at most %zu are allowed", len, TOKENIZER_TEXT_MAX);
    if (!utf8_valid(text, len, &where))
        return err_set(err, ERR_INPUT, "the text is not valid UTF-8 at byte %zu", where);
    struct encoding e = {.t = t};
    buf_init(&e.normalized, NORMALIZED_MAX);
    int rc = -1;
    if (regex_scan_new(&e.scan, err) == 0 && pretok_run_new(&e.pretok, t->pretokenizer, e.scan, encode_word, &e, err) == 0 &&
        added_tokens_split(t->added, false, text, len, encode_raw, &e, err) == 0) {
        *out = e.ids;
        e.ids = (struct token_ids){0};
        rc = 0;
    }
    token_ids_free(&e.ids);
    buf_free(&e.normalized);
    bpe_work_free(&e.bpe);
    unigram_work_free(&e.unigram);
    pretok_run_free(e.pretok);
    regex_scan_free(e.scan);
    return rc;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, const char *pair, size_t pair_len, bool add_special,
                     struct token_ids *out, struct err *err)
{
    struct token_ids a = {0}, b = {0};
    size_t before = out->n, dropped = out->dropped;
    int rc = encode_text(t, text, len, &a, err);
    if (rc == 0 && pair != NULL && (rc = encode_text(t, pair, pair_len, &b, err)) != 0)
        err_wrap(err, "second text");
    if (rc == 0)
        rc = post_processor_run(t->post_processor, &a, pair == NULL ? NULL : &b, add_special, out, err);
    if (rc != 0) {
        out->n = before;
        out->dropped = dropped;
    }
    token_ids_free(&a);
    token_ids_free(&b);
    return rc;
}

/* ------------------------------------------------------------------ decoding */

struct tokenizer_stream {
    const struct tokenizer *t;
    struct decoder_run *run;
    bool skip_special;
    struct buf text;
};

int tokenizer_stream_new(struct tokenizer_stream **out, const struct tokenizer *t, bool skip_special, struct err *err)
{
    struct tokenizer_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    s->t = t;
    s->skip_special = skip_special;
    buf_init(&s->text, DECODED_MAX);
    if (decoder_run_new(&s->run, t->decoder, err) != 0) {
        free(s);
        return -1;
    }
    *out = s;
    return 0;
}

void tokenizer_stream_free(struct tokenizer_stream *s)
{
    if (s == NULL)
        return;
    decoder_run_free(s->run);
    buf_free(&s->text);
    free(s);
}

static int stream_put(struct tokenizer_stream *s, int32_t id, struct buf *text, struct err *err)
{
    size_t len;
    const char *token = vocab_text(&s->t->vocab, id, &len);
    if (token == NULL || (s->skip_special && tokenizer_is_special(s->t, id)))
        return 0;
    return decoder_run_token(s->run, token, len, text, err);
}

static void lend(const struct tokenizer_stream *s, const char **text, size_t *len)
{
    *text = s->text.len == 0 ? "" : (const char *)s->text.data;
    *len = s->text.len;
}

int tokenizer_stream_feed(struct tokenizer_stream *s, int32_t id, const char **text, size_t *len, struct err *err)
{
    s->text.len = 0;
    if (stream_put(s, id, &s->text, err) != 0)
        return -1;
    lend(s, text, len);
    return 0;
}

int tokenizer_stream_end(struct tokenizer_stream *s, const char **text, size_t *len, struct err *err)
{
    s->text.len = 0;
    if (decoder_run_end(s->run, &s->text, err) != 0)
        return -1;
    lend(s, text, len);
    return 0;
}

/* The same stream, fed with everything: so both ways of decoding cannot differ. */
int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special, char **text, size_t *len,
                     struct err *err)
{
    struct tokenizer_stream *s = NULL;
    struct buf all;
    char *given;
    int rc = -1;
    buf_init(&all, DECODED_MAX);
    if (tokenizer_stream_new(&s, t, skip_special, err) != 0)
        goto done;
    for (size_t i = 0; i < n; i++)
        if (stream_put(s, ids[i], &all, err) != 0)
            goto done;
    if (decoder_run_end(s->run, &all, err) != 0 || buf_check(&all, "decoded text", err) != 0)
        goto done;
    given = buf_take(&all, len);
    if (given == NULL) {
        err_oom(err, 1);
        goto done;
    }
    *text = given;
    rc = 0;
done:
    tokenizer_stream_free(s);
    buf_free(&all);
    return rc;
}

/* ------------------------------------------------------------------ the vocabulary */

int32_t tokenizer_id(const struct tokenizer *t, const char *token)
{
    return vocab_find(&t->vocab, token, strlen(token));
}

const char *tokenizer_token(const struct tokenizer *t, int32_t id, size_t *len)
{
    return vocab_text(&t->vocab, id, len);
}

int32_t tokenizer_vocab_size(const struct tokenizer *t)
{
    return (int32_t)t->vocab.n_ids;
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return added_tokens_is_special(t->added, id);
}
