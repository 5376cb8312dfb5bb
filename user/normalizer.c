#include "user/normalizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "user/byte_level.h"
#include "user/pattern.h"
#include "user/precompiled.h"
#include "user/tokenizer_steps.h"
#include "user/unicode.h"

enum step_kind {
    STEP_FORM,
    STEP_LOWERCASE,
    STEP_STRIP_ACCENTS,
    STEP_STRIP,
    STEP_PREPEND,
    STEP_REPLACE,
    STEP_BERT,
    STEP_BYTE_LEVEL,
    STEP_PRECOMPILED,
};

struct step {
    enum step_kind kind;
    enum unicode_form form;
    bool left, right;                                         /* Strip */
    bool clean_text, chinese_chars, strip_accents, lowercase; /* Bert */
    char *content;                                            /* Prepend, Replace */
    struct pattern pattern;
    struct precompiled *precompiled;
};

struct normalizer {
    struct step steps[TOKENIZER_STEPS_MAX];
    size_t n;
};

/* ------------------------------------------------------------------ reading */

static int read_content(struct step *s, const struct json_doc *doc, const struct json *node, const char *key, struct err *err)
{
    const char *content;
    if (json_get_str(doc, node, key, &content, err) != 0)
        return -1;
    s->content = strdup(content);
    return s->content == NULL ? err_oom(err, strlen(content) + 1) : 0;
}

static int read_bert(struct step *s, const struct json_doc *doc, const struct json *node, struct err *err)
{
    s->clean_text = s->chinese_chars = s->lowercase = true;
    if (json_opt_bool(doc, node, "clean_text", &s->clean_text, err) != 0 ||
        json_opt_bool(doc, node, "handle_chinese_chars", &s->chinese_chars, err) != 0 ||
        json_opt_bool(doc, node, "lowercase", &s->lowercase, err) != 0)
        return -1;
    s->strip_accents = s->lowercase;
    return json_opt_bool(doc, node, "strip_accents", &s->strip_accents, err);
}

static int read_step(void *ctx, const struct json_doc *doc, const char *type, const struct json *node, struct err *err)
{
    static const struct {
        const char *type;
        enum step_kind kind;
        enum unicode_form form;
    } kinds[] = {
        {"NFC", STEP_FORM, UNICODE_NFC},   {"NFD", STEP_FORM, UNICODE_NFD},   {"NFKC", STEP_FORM, UNICODE_NFKC},
        {"NFKD", STEP_FORM, UNICODE_NFKD}, {"Lowercase", STEP_LOWERCASE, 0},  {"StripAccents", STEP_STRIP_ACCENTS, 0},
        {"Strip", STEP_STRIP, 0},          {"Prepend", STEP_PREPEND, 0},      {"Replace", STEP_REPLACE, 0},
        {"BertNormalizer", STEP_BERT, 0},  {"ByteLevel", STEP_BYTE_LEVEL, 0}, {"Precompiled", STEP_PRECOMPILED, 0},
    };
    struct normalizer *n = ctx;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].type, type) != 0)
            continue;
        struct step *s = &n->steps[n->n++];
        *s = (struct step){.kind = kinds[i].kind, .form = kinds[i].form};
        switch (s->kind) {
        case STEP_STRIP:
            return json_get_bool(doc, node, "strip_left", &s->left, err) != 0 ||
                           json_get_bool(doc, node, "strip_right", &s->right, err) != 0
                       ? -1
                       : 0;
        case STEP_PREPEND:
            return read_content(s, doc, node, "prepend", err);
        case STEP_REPLACE:
            return pattern_read(&s->pattern, doc, node, err) != 0 ? -1 : read_content(s, doc, node, "content", err);
        case STEP_BERT:
            return read_bert(s, doc, node, err);
        case STEP_PRECOMPILED:
            return precompiled_new(&s->precompiled, doc, node, err);
        case STEP_FORM:
        case STEP_LOWERCASE:
        case STEP_STRIP_ACCENTS:
        case STEP_BYTE_LEVEL:
            return 0;
        }
    }
    return tokenizer_steps_unknown(doc, type, err);
}

int normalizer_new(struct normalizer **out, const struct json_doc *doc, const struct json *node, struct err *err)
{
    struct normalizer *n = calloc(1, sizeof *n);
    if (n == NULL)
        return err_oom(err, sizeof *n);
    if (tokenizer_steps_read(doc, node, "normalizer", "normalizers", read_step, n, err) != 0) {
        normalizer_free(n);
        return -1;
    }
    *out = n;
    return 0;
}

void normalizer_free(struct normalizer *n)
{
    if (n == NULL)
        return;
    for (size_t i = 0; i < n->n; i++) {
        free(n->steps[i].content);
        pattern_free(&n->steps[i].pattern);
        precompiled_free(n->steps[i].precompiled);
    }
    free(n);
}

/* ------------------------------------------------------------------ running */

static void put_cp(struct buf *out, uint32_t cp)
{
    char utf8[4];
    buf_put(out, utf8, utf8_encode(cp, utf8));
}

static void lowercase(const char *text, size_t len, struct buf *out)
{
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0, lower[2];
        at += utf8_decode(text + at, len - at, &cp);
        size_t n = unicode_lower(cp, lower);
        for (size_t i = 0; i < n; i++)
            put_cp(out, lower[i]);
    }
}

static void remove_chars(const char *text, size_t len, bool (*unwanted)(uint32_t), struct buf *out)
{
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(text + at, len - at, &cp);
        if (!unwanted(cp))
            buf_put(out, text + at, n);
        at += n;
    }
}

static void strip(const struct step *s, const char *text, size_t len, struct buf *out)
{
    size_t start = 0, end = s->right ? 0 : len;
    bool seen = !s->left;
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(text + at, len - at, &cp);
        if (!unicode_is_space(cp)) {
            if (!seen)
                start = at;
            seen = true;
            if (s->right)
                end = at + n;
        } else if (!seen) {
            start = at + n;
        }
        at += n;
    }
    if (end > start)
        buf_put(out, text + start, end - start);
}

/* The ranges of the original, its slip at U+2B920 (instead of U+2B820) included. */
static bool is_chinese(uint32_t cp)
{
    static const uint32_t ranges[][2] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
                                         {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (cp >= ranges[i][0] && cp <= ranges[i][1])
            return true;
    return false;
}

static void bert_chars(const struct step *s, const char *text, size_t len, struct buf *out)
{
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        at += utf8_decode(text + at, len - at, &cp);
        if (s->clean_text && (cp == 0 || cp == 0xFFFD || unicode_is_other(cp)))
            continue;
        if (s->clean_text && unicode_is_space(cp))
            cp = ' ';
        bool apart = s->chinese_chars && is_chinese(cp);
        if (apart)
            buf_put8(out, ' ');
        put_cp(out, cp);
        if (apart)
            buf_put8(out, ' ');
    }
}

static int bert(const struct step *s, const char *text, size_t len, struct buf *out, struct err *err)
{
    struct buf chars, decomposed, plain;
    buf_init(&chars, out->ceiling);
    buf_init(&decomposed, out->ceiling);
    buf_init(&plain, out->ceiling);
    bert_chars(s, text, len, &chars);
    int rc = buf_check(&chars, "text cleaned by BertNormalizer", err);
    struct buf *now = &chars;
    if (rc == 0 && s->strip_accents) {
        rc = unicode_normalize(UNICODE_NFD, (const char *)chars.data, chars.len, &decomposed, err);
        remove_chars((const char *)decomposed.data, decomposed.len, unicode_is_nonspacing, &plain);
        now = &plain;
    }
    if (rc == 0 && s->lowercase)
        lowercase((const char *)now->data, now->len, out);
    else
        buf_put(out, now->data, now->len);
    if (rc == 0)
        rc = buf_check(&plain, "text stripped by BertNormalizer", err);
    buf_free(&chars);
    buf_free(&decomposed);
    buf_free(&plain);
    return rc;
}

static int run_step(const struct step *s, struct regex_scan *scan, const char *text, size_t len, struct buf *out, struct err *err)
{
    switch (s->kind) {
    case STEP_FORM:
        return unicode_normalize(s->form, text, len, out, err);
    case STEP_LOWERCASE:
        lowercase(text, len, out);
        break;
    case STEP_STRIP_ACCENTS:
        remove_chars(text, len, unicode_is_mark, out);
        break;
    case STEP_STRIP:
        strip(s, text, len, out);
        break;
    case STEP_PREPEND:
        if (len > 0)
            buf_put_str(out, s->content);
        buf_put(out, text, len);
        break;
    case STEP_REPLACE:
        return pattern_replace(&s->pattern, scan, text, len, s->content, strlen(s->content), out, err);
    case STEP_BERT:
        if (bert(s, text, len, out, err) != 0)
            return -1;
        break;
    case STEP_BYTE_LEVEL:
        byte_level_encode(text, len, out);
        break;
    case STEP_PRECOMPILED:
        precompiled_run(s->precompiled, text, len, out);
        break;
    }
    return buf_check(out, "normalised text", err);
}

int normalizer_run(const struct normalizer *n, struct regex_scan *scan, const char *text, size_t len, struct buf *out,
                   struct err *err)
{
    struct buf now, next;
    buf_init(&now, out->ceiling);
    buf_init(&next, out->ceiling);
    int rc = 0;
    for (size_t i = 0; i < n->n && rc == 0; i++) {
        rc = run_step(&n->steps[i], scan, text, len, &next, err);
        struct buf done = next;
        next = now;
        next.len = 0;
        now = done;
        text = now.data == NULL ? "" : (const char *)now.data;
        len = now.len;
    }
    if (rc == 0) {
        buf_put(out, text, len);
        rc = buf_check(out, "normalised text", err);
    }
    buf_free(&now);
    buf_free(&next);
    return rc;
}
