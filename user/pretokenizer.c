#include "user/pretokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "user/byte_level.h"
#include "user/pattern.h"
#include "user/splitter.h"
#include "user/tokenizer_steps.h"
#include "user/unicode.h"

enum step_kind { STEP_PATTERN, STEP_CLASS, STEP_WHITESPACE, STEP_BYTE_LEVEL, STEP_METASPACE };

enum prepend { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };

struct step {
    enum step_kind kind;
    enum split_behavior behavior;
    bool invert;
    struct pattern pattern;       /* STEP_PATTERN; of STEP_BYTE_LEVEL when it uses a regex */
    bool (*matches)(uint32_t cp); /* STEP_CLASS */
    bool use_regex, prefix_space; /* STEP_BYTE_LEVEL */
    char replacement[5];          /* STEP_METASPACE, one character */
    enum prepend prepend;
    bool split;
};

struct pretokenizer {
    struct step steps[TOKENIZER_STEPS_MAX];
    size_t n;
};

struct pretok_run {
    const struct pretokenizer *p;
    struct regex_scan *scan;
    pretok_piece_fn fn;
    void *ctx;
    struct buf whole[TOKENIZER_STEPS_MAX]; /* a step's changed text, before it is split */
    struct buf piece[TOKENIZER_STEPS_MAX]; /* and one changed piece */
};

/* ------------------------------------------------------------------ reading */

static int read_split(struct step *s, const struct json_doc *doc, const struct json *node, struct err *err)
{
    s->kind = STEP_PATTERN;
    if (pattern_read(&s->pattern, doc, node, err) != 0 || splitter_read_behavior(doc, node, true, &s->behavior, err) != 0)
        return -1;
    return json_opt_bool(doc, node, "invert", &s->invert, err);
}

static int read_byte_level(struct step *s, const struct json_doc *doc, const struct json *node, struct err *err)
{
    s->kind = STEP_BYTE_LEVEL;
    s->use_regex = true;
    if (json_get_bool(doc, node, "add_prefix_space", &s->prefix_space, err) != 0 ||
        json_opt_bool(doc, node, "use_regex", &s->use_regex, err) != 0)
        return -1;
    return s->use_regex ? pattern_from_regex(&s->pattern, BYTE_LEVEL_REGEX, err) : 0;
}

static int read_char(char out[5], const struct json_doc *doc, const struct json *node, const char *key, struct err *err)
{
    const char *text;
    if (json_get_str(doc, node, key, &text, err) != 0)
        return -1;
    uint32_t cp;
    size_t len = strlen(text);
    if (len == 0 || utf8_decode(text, len, &cp) != len)
        return err_set(err, ERR_INPUT, "%s: field '%s': expected one character, found '%.20s'", json_name(doc), key, text);
    memcpy(out, text, len + 1);
    return 0;
}

static int read_metaspace(struct step *s, const struct json_doc *doc, const struct json *node, struct err *err)
{
    const char *scheme = "always";
    bool prefix_space = true; /* the spelling before "prepend_scheme" */
    s->kind = STEP_METASPACE;
    s->split = true;
    if (read_char(s->replacement, doc, node, "replacement", err) != 0 ||
        json_opt_str(doc, node, "prepend_scheme", &scheme, err) != 0 ||
        json_opt_bool(doc, node, "add_prefix_space", &prefix_space, err) != 0 ||
        json_opt_bool(doc, node, "split", &s->split, err) != 0)
        return -1;
    if (strcmp(scheme, "never") == 0 || !prefix_space)
        s->prepend = PREPEND_NEVER;
    else if (strcmp(scheme, "first") == 0)
        s->prepend = PREPEND_FIRST;
    else if (strcmp(scheme, "always") == 0)
        s->prepend = PREPEND_ALWAYS;
    else
        return err_set(err, ERR_INPUT, "%s: field 'prepend_scheme': expected always, first or never, found '%.20s'",
                       json_name(doc), scheme);
    return 0;
}

static int read_class(struct step *s, bool (*matches)(uint32_t), enum split_behavior behavior)
{
    s->kind = STEP_CLASS;
    s->matches = matches;
    s->behavior = behavior;
    return 0;
}

static int read_step(void *ctx, const struct json_doc *doc, const char *type, const struct json *node, struct err *err)
{
    struct pretokenizer *p = ctx;
    bool bert = strcmp(type, "BertPreTokenizer") == 0; /* two steps in one */
    if (p->n + bert >= TOKENIZER_STEPS_MAX)
        return err_set(err, ERR_INPUT, "%s: expected at most %d steps", json_name(doc), TOKENIZER_STEPS_MAX);
    struct step *s = &p->steps[p->n++];
    *s = (struct step){0};
    if (strcmp(type, "Split") == 0)
        return read_split(s, doc, node, err);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(s, doc, node, err);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(s, doc, node, err);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return read_class(s, unicode_is_space, SPLIT_REMOVED);
    if (bert) {
        (void)read_class(s, unicode_is_space, SPLIT_REMOVED);
        s = &p->steps[p->n++];
        *s = (struct step){0};
        return read_class(s, unicode_is_punct, SPLIT_ISOLATED);
    }
    if (strcmp(type, "Punctuation") == 0) {
        (void)read_class(s, unicode_is_punct, SPLIT_ISOLATED);
        return splitter_read_behavior(doc, node, false, &s->behavior, err);
    }
    if (strcmp(type, "Digits") == 0) {
        bool one_by_one = false;
        (void)read_class(s, unicode_is_numeric, SPLIT_CONTIGUOUS);
        if (json_opt_bool(doc, node, "individual_digits", &one_by_one, err) != 0)
            return -1;
        s->behavior = one_by_one ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
        return 0;
    }
    if (strcmp(type, "Whitespace") == 0) {
        s->kind = STEP_WHITESPACE;
        return 0;
    }
    if (strcmp(type, "CharDelimiterSplit") == 0) {
        char delimiter[5];
        s->kind = STEP_PATTERN;
        s->behavior = SPLIT_REMOVED;
        if (read_char(delimiter, doc, node, "delimiter", err) != 0)
            return -1;
        s->pattern.literal_len = strlen(delimiter);
        s->pattern.literal = strdup(delimiter);
        return s->pattern.literal == NULL ? err_oom(err, sizeof delimiter) : 0;
    }
    return tokenizer_steps_unknown(doc, type, err);
}

int pretokenizer_new(struct pretokenizer **out, const struct json_doc *doc, const struct json *node, struct err *err)
{
    struct pretokenizer *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_oom(err, sizeof *p);
    if (tokenizer_steps_read(doc, node, "pre_tokenizer", "pretokenizers", read_step, p, err) != 0) {
        pretokenizer_free(p);
        return -1;
    }
    *out = p;
    return 0;
}

void pretokenizer_free(struct pretokenizer *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n; i++)
        pattern_free(&p->steps[i].pattern);
    free(p);
}

/* ------------------------------------------------------------------ running */

/* Step number `step` at work on one text: where its pieces go. */
struct at_work {
    struct pretok_run *run;
    size_t step;
    bool at_start;
};

static int run_from(struct pretok_run *run, size_t step, const char *text, size_t len, bool at_start, struct err *err);

/* A splitter's callback: one piece of step w->step. */
static int pass_on(void *ctx, const char *text, size_t start, size_t end, struct err *err)
{
    const struct at_work *w = ctx;
    const struct step *s = &w->run->p->steps[w->step];
    const char *piece = text + start;
    size_t len = end - start;
    if (s->kind == STEP_BYTE_LEVEL) {
        struct buf *b = &w->run->piece[w->step];
        b->len = 0;
        byte_level_encode(piece, len, b);
        if (buf_check(b, "text after a ByteLevel step", err) != 0)
            return -1;
        piece = (const char *)b->data;
        len = b->len;
    }
    return run_from(w->run, w->step + 1, piece, len, w->at_start && start == 0, err);
}

static int split_by_pattern(const struct at_work *w, const struct step *s, const struct pattern *pattern, const char *text,
                            size_t len, struct splitter *sp, struct err *err)
{
    struct pattern_cursor c = {0};
    size_t start, end, done = 0;
    int found;
    while ((found = pattern_next(pattern, w->run->scan, text, len, &c, &start, &end, err)) == 1) {
        if (start > done && splitter_put(sp, done, start, s->invert, err) != 0)
            return -1;
        if (splitter_put(sp, start, end, !s->invert, err) != 0)
            return -1;
        done = end;
    }
    if (found < 0 || (done < len && splitter_put(sp, done, len, s->invert, err) != 0))
        return -1;
    return splitter_end(sp, err);
}

static int split_by_class(const struct step *s, const char *text, size_t len, struct splitter *sp, struct err *err)
{
    size_t done = 0;
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(text + at, len - at, &cp);
        if (s->matches(cp)) {
            if (at > done && splitter_put(sp, done, at, false, err) != 0)
                return -1;
            if (splitter_put(sp, at, at + n, true, err) != 0)
                return -1;
            done = at + n;
        }
        at += n;
    }
    if (done < len && splitter_put(sp, done, len, false, err) != 0)
        return -1;
    return splitter_end(sp, err);
}

/* \w+|[^\w\s]+ : runs of word characters and runs of other characters; white space goes away. */
static int split_words(const char *text, size_t len, struct splitter *sp, struct err *err)
{
    enum { SPACE, WORD, OTHER } last = SPACE;
    size_t start = 0;
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(text + at, len - at, &cp);
        int now = unicode_is_word(cp) ? WORD : unicode_is_space(cp) ? SPACE : OTHER;
        if (now != (int)last) {
            if (last != SPACE && splitter_put(sp, start, at, false, err) != 0)
                return -1;
            start = at;
            last = now == WORD ? WORD : now == SPACE ? SPACE : OTHER;
        }
        at += n;
    }
    if (last != SPACE && splitter_put(sp, start, len, false, err) != 0)
        return -1;
    return splitter_end(sp, err);
}

static bool starts_with(const char *text, size_t len, const char *head)
{
    return len >= strlen(head) && memcmp(text, head, strlen(head)) == 0;
}

static int run_byte_level(struct at_work *w, const struct step *s, const char *text, size_t len, struct err *err)
{
    if (s->prefix_space && !starts_with(text, len, " ")) {
        struct buf *b = &w->run->whole[w->step];
        b->len = 0;
        buf_put8(b, ' ');
        buf_put(b, text, len);
        if (buf_check(b, "text before a ByteLevel step", err) != 0)
            return -1;
        text = (const char *)b->data;
        len = b->len;
    }
    struct splitter sp = {.behavior = SPLIT_ISOLATED, .text = text, .fn = pass_on, .ctx = w};
    if (s->use_regex)
        return split_by_pattern(w, s, &s->pattern, text, len, &sp, err);
    return splitter_put(&sp, 0, len, false, err) != 0 ? -1 : splitter_end(&sp, err);
}

static int run_metaspace(struct at_work *w, const struct step *s, const char *text, size_t len, struct err *err)
{
    struct buf *b = &w->run->whole[w->step];
    b->len = 0;
    bool marked = len > 0 && (text[0] == ' ' || starts_with(text, len, s->replacement));
    if (!marked && (s->prepend == PREPEND_ALWAYS || (s->prepend == PREPEND_FIRST && w->at_start)))
        buf_put_str(b, s->replacement);
    for (size_t i = 0; i < len; i++)
        if (text[i] == ' ')
            buf_put_str(b, s->replacement);
        else
            buf_put(b, text + i, 1);
    if (buf_check(b, "text after a Metaspace step", err) != 0)
        return -1;
    struct pattern mark = {.literal = (char *)(uintptr_t)s->replacement, .literal_len = strlen(s->replacement)};
    struct splitter sp = {.behavior = SPLIT_MERGED_WITH_NEXT, .text = (const char *)b->data, .fn = pass_on, .ctx = w};
    if (s->split)
        return split_by_pattern(w, s, &mark, sp.text, b->len, &sp, err);
    return splitter_put(&sp, 0, b->len, false, err) != 0 ? -1 : splitter_end(&sp, err);
}

static int run_from(struct pretok_run *run, size_t step, const char *text, size_t len, bool at_start, struct err *err)
{
    if (len == 0)
        return 0;
    if (step == run->p->n)
        return run->fn(run->ctx, text, len, err);
    const struct step *s = &run->p->steps[step];
    struct at_work w = {.run = run, .step = step, .at_start = at_start};
    struct splitter sp = {.behavior = s->behavior, .text = text, .fn = pass_on, .ctx = &w};
    switch (s->kind) {
    case STEP_PATTERN:
        return split_by_pattern(&w, s, &s->pattern, text, len, &sp, err);
    case STEP_CLASS:
        return split_by_class(s, text, len, &sp, err);
    case STEP_WHITESPACE:
        return split_words(text, len, &sp, err);
    case STEP_BYTE_LEVEL:
        return run_byte_level(&w, s, text, len, err);
    case STEP_METASPACE:
        return run_metaspace(&w, s, text, len, err);
    }
    return 0;
}

int pretok_run_new(struct pretok_run **out, const struct pretokenizer *p, struct regex_scan *scan, pretok_piece_fn fn, void *ctx,
                   struct err *err)
{
    enum { CEILING = 1 << 30 };
    struct pretok_run *run = calloc(1, sizeof *run);
    if (run == NULL)
        return err_oom(err, sizeof *run);
    *run = (struct pretok_run){.p = p, .scan = scan, .fn = fn, .ctx = ctx};
    for (size_t i = 0; i < TOKENIZER_STEPS_MAX; i++) {
        buf_init(&run->whole[i], CEILING);
        buf_init(&run->piece[i], CEILING);
    }
    *out = run;
    return 0;
}

void pretok_run_free(struct pretok_run *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < TOKENIZER_STEPS_MAX; i++) {
        buf_free(&run->whole[i]);
        buf_free(&run->piece[i]);
    }
    free(run);
}

int pretok_run_text(struct pretok_run *run, const char *text, size_t len, bool at_start, struct err *err)
{
    return run_from(run, 0, text, len, at_start, err);
}
