#include "user/decoder.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "user/byte_level.h"
#include "user/pattern.h"
#include "user/tokenizer_steps.h"

#define DECODE_MAX ((size_t)1 << 30) /* bytes of held text */
#define REPLACEMENT "\xEF\xBF\xBD"   /* U+FFFD */

enum step_kind {
    STEP_JOIN,
    STEP_BYTE_LEVEL,
    STEP_BYTE_FALLBACK,
    STEP_WORDPIECE,
    STEP_METASPACE,
    STEP_REPLACE,
    STEP_STRIP,
    STEP_FUSE,
    STEP_BPE
};

struct step {
    enum step_kind kind;
    struct pattern pattern; /* STEP_REPLACE */
    char *text;             /* replacement, prefix, suffix or stripped character */
    size_t text_len;
    int64_t start, stop; /* STEP_STRIP */
    bool cleanup;        /* STEP_WORDPIECE */
    bool drop_first;     /* STEP_METASPACE */
};

struct decoder {
    struct step steps[TOKENIZER_STEPS_MAX];
    size_t n;
};

/* ------------------------------------------------------------------ reading */

static int keep_text(struct step *s, const char *text, struct err *err)
{
    s->text_len = strlen(text);
    s->text = strdup(text);
    return s->text == NULL ? err_oom(err, s->text_len + 1) : 0;
}

static int read_wordpiece(struct step *s, const struct json_doc *doc, const struct json *node, struct err *err)
{
    const char *prefix = "##";
    s->cleanup = true;
    if (json_opt_str(doc, node, "prefix", &prefix, err) != 0 || json_opt_bool(doc, node, "cleanup", &s->cleanup, err) != 0)
        return -1;
    return keep_text(s, prefix, err);
}

static int read_metaspace(struct step *s, const struct json_doc *doc, const struct json *node, struct err *err)
{
    const char *mark, *scheme = "always";
    bool prefix_space = true;
    if (json_get_str(doc, node, "replacement", &mark, err) != 0 || json_opt_str(doc, node, "prepend_scheme", &scheme, err) != 0 ||
        json_opt_bool(doc, node, "add_prefix_space", &prefix_space, err) != 0)
        return -1;
    s->drop_first = prefix_space && strcmp(scheme, "never") != 0;
    if (mark[0] == '\0')
        return err_set(err, ERR_INPUT, "%s: field 'replacement': expected one character, found nothing", json_name(doc));
    return keep_text(s, mark, err);
}

static int read_replace(struct step *s, const struct json_doc *doc, const struct json *node, struct err *err)
{
    const char *content;
    if (pattern_read(&s->pattern, doc, node, err) != 0 || json_get_str(doc, node, "content", &content, err) != 0)
        return -1;
    return keep_text(s, content, err);
}

static int read_strip(struct step *s, const struct json_doc *doc, const struct json *node, struct err *err)
{
    const char *content;
    uint32_t cp;
    if (json_get_str(doc, node, "content", &content, err) != 0 ||
        json_get_int(doc, node, "start", 0, 1000, &s->start, err) != 0 ||
        json_get_int(doc, node, "stop", 0, 1000, &s->stop, err) != 0)
        return -1;
    if (content[0] == '\0' || utf8_decode(content, strlen(content), &cp) != strlen(content))
        return err_set(err, ERR_INPUT, "%s: field 'content': expected one character, found '%.20s'", json_name(doc), content);
    return keep_text(s, content, err);
}

static int read_bpe(struct step *s, const struct json_doc *doc, const struct json *node, struct err *err)
{
    const char *suffix = "</w>";
    return json_opt_str(doc, node, "suffix", &suffix, err) != 0 ? -1 : keep_text(s, suffix, err);
}

static int read_step(void *ctx, const struct json_doc *doc, const char *type, const struct json *node, struct err *err)
{
    static const struct {
        const char *type;
        enum step_kind kind;
        int (*read)(struct step *, const struct json_doc *, const struct json *, struct err *);
    } kinds[] = {
        {"ByteLevel", STEP_BYTE_LEVEL, NULL},
        {"ByteFallback", STEP_BYTE_FALLBACK, NULL},
        {"Fuse", STEP_FUSE, NULL},
        {"WordPiece", STEP_WORDPIECE, read_wordpiece},
        {"Metaspace", STEP_METASPACE, read_metaspace},
        {"Replace", STEP_REPLACE, read_replace},
        {"Strip", STEP_STRIP, read_strip},
        {"BPEDecoder", STEP_BPE, read_bpe},
    };
    struct decoder *d = ctx;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].type, type) != 0)
            continue;
        struct step *s = &d->steps[d->n++];
        *s = (struct step){.kind = kinds[i].kind};
        return kinds[i].read == NULL ? 0 : kinds[i].read(s, doc, node, err);
    }
    return tokenizer_steps_unknown(doc, type, err);
}

int decoder_new(struct decoder **out, const struct json_doc *doc, const struct json *node, struct err *err)
{
    struct decoder *d = calloc(1, sizeof *d);
    if (d == NULL)
        return err_oom(err, sizeof *d);
    if (tokenizer_steps_read(doc, node, "decoder", "decoders", read_step, d, err) != 0) {
        decoder_free(d);
        return -1;
    }
    if (json_is_null(node))
        d->steps[d->n++].kind = STEP_JOIN;
    *out = d;
    return 0;
}

void decoder_free(struct decoder *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->n; i++) {
        pattern_free(&d->steps[i].pattern);
        free(d->steps[i].text);
    }
    free(d);
}

/* ------------------------------------------------------------------ running */

struct state {
    struct buf part; /* of a token that is not complete */
    struct buf held; /* bytes, characters or a token that wait for what comes next */
    struct buf made; /* what is passed on */
    size_t tokens;   /* seen so far */
    size_t stripped; /* STEP_STRIP: characters taken from the front of this token; and whether that is over */
    bool front_done;
};

struct decoder_run {
    const struct decoder *d;
    struct regex_scan *scan;
    struct buf *out;
    struct state states[TOKENIZER_STEPS_MAX];
};

/* Fuse and ByteLevel make one endless token of all tokens, so the steps behind them get it in parts: `last` says that
 * a token is complete. */
static int step_put(struct decoder_run *run, size_t i, const char *text, size_t len, bool last, struct err *err);

static int pass_made(struct decoder_run *run, size_t i, bool last, struct err *err)
{
    const struct buf *made = &run->states[i].made;
    if (buf_check(made, "decoded text", err) != 0)
        return -1;
    return step_put(run, i + 1, made->len == 0 ? "" : (const char *)made->data, made->len, last, err);
}

static void put_replaced(struct buf *out, const char *text, size_t len, const char *what, const char *with)
{
    size_t n = strlen(what);
    for (size_t at = 0; at < len;)
        if (n > 0 && len - at >= n && memcmp(text + at, what, n) == 0) {
            buf_put_str(out, with);
            at += n;
        } else {
            buf_put(out, text + at++, 1);
        }
}

/* BERT's detokenisation: punctuation and contractions move to the word before. */
static void wordpiece_cleanup(struct buf *text, struct buf *spare)
{
    static const char *const rules[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules && !text->failed; i++) {
        spare->len = 0;
        put_replaced(spare, text->len == 0 ? "" : (const char *)text->data, text->len, rules[i][0], rules[i][1]);
        struct buf now = *spare;
        *spare = *text;
        *text = now;
    }
}

static bool starts_with(const char *text, size_t len, const char *head, size_t head_len)
{
    return len >= head_len && memcmp(text, head, head_len) == 0;
}

static int wordpiece(struct decoder_run *run, size_t i, const char *text, size_t len, struct err *err)
{
    const struct step *s = &run->d->steps[i];
    struct state *st = &run->states[i];
    bool first = st->tokens == 0, goes_on = !first && starts_with(text, len, s->text, s->text_len);
    if (!first && !goes_on)
        buf_put8(&st->made, ' ');
    buf_put(&st->made, goes_on ? text + s->text_len : text, goes_on ? len - s->text_len : len);
    if (s->cleanup)
        wordpiece_cleanup(&st->made, &st->held);
    return pass_made(run, i, true, err);
}

/* A byte token "<0x41>". The original parses the digits as a number, so it also takes "<0x+A>". */
static bool byte_token(const char *text, size_t len, uint8_t *byte)
{
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return false;
    unsigned v = 0;
    for (size_t i = text[3] == '+' ? 4 : 3; i < 5; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9')
            v = v * 16 + (unsigned)(c - '0');
        else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            v = v * 16 + (unsigned)((c | 0x20) - 'a') + 10;
        else
            return false;
    }
    *byte = (uint8_t)v;
    return true;
}

/* A run of byte tokens is text if all of it is UTF-8, otherwise one U+FFFD per byte. */
static int flush_bytes(struct decoder_run *run, size_t i, struct err *err)
{
    struct buf *held = &run->states[i].held;
    size_t n = held->len;
    held->len = 0;
    if (n == 0)
        return 0;
    if (utf8_valid((const char *)held->data, n, NULL))
        return step_put(run, i + 1, (const char *)held->data, n, true, err);
    for (size_t k = 0; k < n; k++)
        if (step_put(run, i + 1, REPLACEMENT, strlen(REPLACEMENT), true, err) != 0)
            return -1;
    return 0;
}

/* How many bytes at p are one character, or one ill-formed piece that becomes one U+FFFD (Unicode 3.9, "maximal
 * subpart"); 0 if more bytes are needed to tell. */
static size_t next_part(const uint8_t *p, size_t n, bool *good)
{
    uint32_t cp;
    size_t len = utf8_decode((const char *)p, n, &cp);
    *good = len > 0;
    if (len > 0)
        return len;
    size_t need = p[0] >= 0xF0 && p[0] <= 0xF4 ? 4 : p[0] >= 0xE0 && p[0] < 0xF0 ? 3 : p[0] >= 0xC2 && p[0] < 0xE0 ? 2 : 1;
    for (size_t i = 1; i < need; i++) {
        if (i == n)
            return 0;
        uint8_t low = i > 1 ? 0x80 : p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
        uint8_t high = i > 1 ? 0xBF : p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
        if (p[i] < low || p[i] > high)
            return i;
    }
    return 1;
}

/* Held bytes to text; unless this is the end, a sequence that is still open waits. */
static int pass_utf8(struct decoder_run *run, size_t i, bool end, struct err *err)
{
    struct state *st = &run->states[i];
    size_t at = 0, n;
    bool good;
    st->made.len = 0;
    for (; at < st->held.len; at += n) {
        n = next_part(st->held.data + at, st->held.len - at, &good);
        if (n == 0 && !end)
            break;
        if (good)
            buf_put(&st->made, st->held.data + at, n);
        else
            buf_put_str(&st->made, REPLACEMENT);
        if (n == 0)
            n = st->held.len - at;
    }
    if (at > 0)
        memmove(st->held.data, st->held.data + at, st->held.len - at);
    st->held.len -= at;
    return pass_made(run, i, end, err);
}

/* In BPE's older style a suffix ends a word: it becomes a space, except at the end of the text. */
static int pass_bpe(struct decoder_run *run, size_t i, bool end, struct err *err)
{
    struct state *st = &run->states[i];
    st->made.len = 0;
    put_replaced(&st->made, st->held.len == 0 ? "" : (const char *)st->held.data, st->held.len, run->d->steps[i].text,
                 end ? "" : " ");
    st->held.len = 0;
    return pass_made(run, i, true, err);
}

/* Up to `start` characters go from the front of a token, up to `stop` from its end. */
static int strip(struct decoder_run *run, size_t i, const char *text, size_t len, bool last, struct err *err)
{
    const struct step *s = &run->d->steps[i];
    struct state *st = &run->states[i];
    while (!st->front_done && len > 0) {
        st->front_done = st->stripped == (size_t)s->start || !starts_with(text, len, s->text, s->text_len);
        if (st->front_done)
            break;
        text += s->text_len;
        len -= s->text_len;
        st->stripped++;
    }
    buf_put(&st->held, text, len);
    size_t keep = st->held.len;
    for (int64_t k = 0; k < s->stop && keep >= s->text_len; k++) {
        if (memcmp(st->held.data + keep - s->text_len, s->text, s->text_len) != 0)
            break;
        keep -= s->text_len;
    }
    st->made.len = 0;
    buf_put(&st->made, st->held.data, keep);
    if (buf_check(&st->held, "decoded text", err) != 0 || pass_made(run, i, last, err) != 0)
        return -1;
    if (keep > 0)
        memmove(st->held.data, st->held.data + keep, st->held.len - keep);
    st->held.len = last ? 0 : st->held.len - keep;
    if (last) {
        st->stripped = 0;
        st->front_done = false;
    }
    return 0;
}

static int whole_token(struct decoder_run *run, size_t i, const char *text, size_t len, struct err *err)
{
    const struct step *s = &run->d->steps[i];
    struct state *st = &run->states[i];
    bool first = st->tokens == 0;
    uint8_t byte;
    st->made.len = 0;
    switch (s->kind) {
    case STEP_BYTE_LEVEL:
        if (!byte_level_decode(text, len, &st->held))
            buf_put(&st->held, text, len);
        return buf_check(&st->held, "decoded bytes", err) != 0 ? -1 : pass_utf8(run, i, false, err);
    case STEP_BYTE_FALLBACK:
        if (byte_token(text, len, &byte)) {
            buf_put8(&st->held, byte);
            return buf_check(&st->held, "decoded bytes", err);
        }
        return flush_bytes(run, i, err) != 0 ? -1 : step_put(run, i + 1, text, len, true, err);
    case STEP_BPE:
        if (!first && pass_bpe(run, i, false, err) != 0)
            return -1;
        buf_put(&st->held, text, len);
        return buf_check(&st->held, "decoded token", err);
    case STEP_WORDPIECE:
        return wordpiece(run, i, text, len, err);
    case STEP_REPLACE:
        if (pattern_replace(&s->pattern, run->scan, text, len, s->text, s->text_len, &st->made, err) != 0)
            return -1;
        return pass_made(run, i, true, err);
    case STEP_METASPACE:
        put_replaced(&st->made, text, len, s->text, first && s->drop_first ? "" : " ");
        return pass_made(run, i, true, err);
    case STEP_JOIN:
        if (!first)
            buf_put8(&st->made, ' ');
        buf_put(&st->made, text, len);
        return pass_made(run, i, true, err);
    case STEP_STRIP:
    case STEP_FUSE:
        break;
    }
    return 0;
}

static int step_put(struct decoder_run *run, size_t i, const char *text, size_t len, bool last, struct err *err)
{
    if (i == run->d->n) {
        buf_put(run->out, text, len);
        return buf_check(run->out, "decoded text", err);
    }
    struct state *st = &run->states[i];
    if (run->d->steps[i].kind == STEP_FUSE)
        return step_put(run, i + 1, text, len, false, err);
    if (run->d->steps[i].kind == STEP_STRIP)
        return strip(run, i, text, len, last, err);
    if (!last || st->part.len > 0) {
        buf_put(&st->part, text, len);
        if (buf_check(&st->part, "decoded token", err) != 0 || !last)
            return st->part.failed ? -1 : 0;
        text = (const char *)st->part.data;
        len = st->part.len;
    }
    int rc = whole_token(run, i, text, len, err);
    st->part.len = 0;
    st->tokens++;
    return rc;
}

/* No more tokens will come. */
static int step_end(struct decoder_run *run, size_t i, struct err *err)
{
    int rc = 0;
    switch (run->d->steps[i].kind) {
    case STEP_FUSE:
        rc = step_put(run, i + 1, "", 0, true, err);
        break;
    case STEP_BYTE_LEVEL:
        rc = pass_utf8(run, i, true, err);
        break;
    case STEP_BYTE_FALLBACK:
        rc = flush_bytes(run, i, err);
        break;
    case STEP_BPE:
        rc = run->states[i].tokens > 0 ? pass_bpe(run, i, true, err) : 0;
        break;
    case STEP_JOIN:
    case STEP_WORDPIECE:
    case STEP_METASPACE:
    case STEP_REPLACE:
    case STEP_STRIP:
        break;
    }
    return rc;
}

int decoder_run_new(struct decoder_run **out, const struct decoder *d, struct err *err)
{
    struct decoder_run *run = calloc(1, sizeof *run);
    if (run == NULL)
        return err_oom(err, sizeof *run);
    run->d = d;
    if (regex_scan_new(&run->scan, err) != 0) {
        free(run);
        return -1;
    }
    for (size_t i = 0; i < TOKENIZER_STEPS_MAX; i++) {
        buf_init(&run->states[i].part, DECODE_MAX);
        buf_init(&run->states[i].held, DECODE_MAX);
        buf_init(&run->states[i].made, DECODE_MAX);
    }
    *out = run;
    return 0;
}

void decoder_run_free(struct decoder_run *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < TOKENIZER_STEPS_MAX; i++) {
        buf_free(&run->states[i].part);
        buf_free(&run->states[i].held);
        buf_free(&run->states[i].made);
    }
    regex_scan_free(run->scan);
    free(run);
}

int decoder_run_token(struct decoder_run *run, const char *token, size_t len, struct buf *out, struct err *err)
{
    run->out = out;
    return step_put(run, 0, token, len, true, err);
}

int decoder_run_end(struct decoder_run *run, struct buf *out, struct err *err)
{
    run->out = out;
    for (size_t i = 0; i < run->d->n; i++)
        if (step_end(run, i, err) != 0)
            return -1;
    return 0;
}
