#include "user/post_processor.h"

#include <stdlib.h>
#include <string.h>

#include "user/tokenizer_steps.h"

#define PIECES_MAX 64

struct piece {
    enum { PIECE_TOKEN, PIECE_A, PIECE_B } kind;
    int32_t id; /* PIECE_TOKEN */
    int32_t type_id;
};

struct template
{
    struct piece pieces[PIECES_MAX];
    size_t n;
};

struct post_processor {
    const struct vocab *vocab;
    struct template single, pair;
    bool set; /* a step has filled the templates */
};

static int put(struct template *t, struct piece piece, const struct json_doc *doc, struct err *err)
{
    if (t->n == PIECES_MAX)
        return err_set(err, ERR_INPUT, "%s: expected a template of at most %d tokens", json_name(doc), PIECES_MAX);
    t->pieces[t->n++] = piece;
    return 0;
}

/* ------------------------------------------------------------------ TemplateProcessing */

static int put_special(struct post_processor *p, struct template *t, const struct json_doc *doc, const struct json *step,
                       const char *name, int64_t type_id, struct err *err)
{
    const struct json *ids = json_get(json_get(json_get(step, "special_tokens"), name), "ids");
    if (ids == NULL || json_type(ids) != JSON_ARRAY)
        return err_set(err, ERR_INPUT, "%s: field 'special_tokens': expected an entry with ids for '%.60s', found %s",
                       json_name(doc), name, json_type_name(ids));
    for (const struct json *i = json_first(ids); i != NULL; i = json_next(i)) {
        int64_t id;
        if (!json_integer(i, &id) || vocab_text(p->vocab, id, NULL) == NULL)
            return err_set(err, ERR_INPUT, "%s: field 'special_tokens': '%.60s': expected ids of the vocabulary, found %g",
                           json_name(doc), name, json_number(i));
        if (put(t, (struct piece){.kind = PIECE_TOKEN, .id = (int32_t)id, .type_id = (int32_t)type_id}, doc, err) != 0)
            return -1;
    }
    return 0;
}

static int read_piece(struct post_processor *p, struct template *t, const struct json_doc *doc, const struct json *step,
                      const struct json *node, bool pair, struct err *err)
{
    const struct json *special = json_get(node, "SpecialToken"), *text = json_get(node, "Sequence");
    const struct json *of = special != NULL ? special : text;
    const char *name;
    int64_t type_id = 0;
    if (of == NULL)
        return err_set(err, ERR_INPUT, "%s: field '%s': expected SpecialToken or Sequence, found %s", json_name(doc),
                       pair ? "pair" : "single", json_type_name(node));
    if (json_get_str(doc, of, "id", &name, err) != 0 || json_opt_int(doc, of, "type_id", 0, 1, &type_id, err) != 0)
        return -1;
    if (special != NULL)
        return put_special(p, t, doc, step, name, type_id, err);
    bool is_a = strcmp(name, "A") == 0, is_b = strcmp(name, "B") == 0;
    if (!is_a && !(is_b && pair))
        return err_set(err, ERR_INPUT, "%s: field '%s': expected Sequence %s, found '%.20s'", json_name(doc),
                       pair ? "pair" : "single", pair ? "A or B" : "A", name);
    return put(t, (struct piece){.kind = is_a ? PIECE_A : PIECE_B, .type_id = (int32_t)type_id}, doc, err);
}

static int read_template(struct post_processor *p, struct template *t, const struct json_doc *doc, const struct json *step,
                         bool pair, struct err *err)
{
    const struct json *list = json_get(step, pair ? "pair" : "single");
    if (list == NULL || json_type(list) != JSON_ARRAY)
        return err_set(err, ERR_INPUT, "%s: field '%s': expected a list, found %s", json_name(doc), pair ? "pair" : "single",
                       json_type_name(list));
    for (const struct json *node = json_first(list); node != NULL; node = json_next(node))
        if (read_piece(p, t, doc, step, node, pair, err) != 0)
            return -1;
    return 0;
}

/* ------------------------------------------------------------------ BertProcessing, RobertaProcessing */

/* A member ["</s>", 2]. */
static int read_token(const struct post_processor *p, const struct json_doc *doc, const struct json *step, const char *key,
                      struct piece *out, struct err *err)
{
    const struct json *pair = json_get(step, key);
    int64_t id;
    if (json_count(pair) != 2 || json_type(pair) != JSON_ARRAY || !json_integer(json_next(json_first(pair)), &id) ||
        vocab_text(p->vocab, id, NULL) == NULL)
        return err_set(err, ERR_INPUT, "%s: field '%s': expected [token, id] with an id of the vocabulary, found %s",
                       json_name(doc), key, json_type_name(pair));
    *out = (struct piece){.kind = PIECE_TOKEN, .id = (int32_t)id};
    return 0;
}

/* BERT: [CLS] A [SEP] B [SEP], the second part with type 1. RoBERTa: <s> A </s> </s> B </s>, all with type 0. */
static int read_bert(struct post_processor *p, const struct json_doc *doc, const struct json *step, bool roberta, struct err *err)
{
    struct piece cls, sep;
    if (read_token(p, doc, step, "cls", &cls, err) != 0 || read_token(p, doc, step, "sep", &sep, err) != 0)
        return -1;
    struct piece b = {.kind = PIECE_B, .type_id = roberta ? 0 : 1}, last = sep;
    last.type_id = b.type_id;
    p->single = (struct template){.pieces = {cls, {.kind = PIECE_A}, sep}, .n = 3};
    p->pair = p->single;
    if ((roberta && put(&p->pair, sep, doc, err) != 0) || put(&p->pair, b, doc, err) != 0)
        return -1;
    return put(&p->pair, last, doc, err);
}

static int read_step(void *ctx, const struct json_doc *doc, const char *type, const struct json *step, struct err *err)
{
    struct post_processor *p = ctx;
    if (strcmp(type, "ByteLevel") == 0) /* changes offsets only */
        return 0;
    if (p->set)
        return err_set(err, ERR_INPUT, "%s: a second step that adds special tokens is not supported", json_name(doc));
    p->set = true;
    p->single.n = p->pair.n = 0;
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(p, &p->single, doc, step, false, err) != 0 ? -1 : read_template(p, &p->pair, doc, step, true, err);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0)
        return read_bert(p, doc, step, type[0] == 'R', err);
    return tokenizer_steps_unknown(doc, type, err);
}

int post_processor_new(struct post_processor **out, const struct json_doc *doc, const struct json *node,
                       const struct vocab *vocab, struct err *err)
{
    struct post_processor *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_oom(err, sizeof *p);
    p->vocab = vocab;
    p->single = (struct template){.pieces = {{.kind = PIECE_A}}, .n = 1};
    p->pair = (struct template){.pieces = {{.kind = PIECE_A}, {.kind = PIECE_B, .type_id = 1}}, .n = 2};
    if (tokenizer_steps_read(doc, node, "post_processor", "processors", read_step, p, err) != 0) {
        post_processor_free(p);
        return -1;
    }
    *out = p;
    return 0;
}

void post_processor_free(struct post_processor *p)
{
    free(p);
}

int post_processor_run(const struct post_processor *p, const struct token_ids *a, const struct token_ids *b, bool add_special,
                       struct token_ids *out, struct err *err)
{
    const struct template *t = b == NULL ? &p->single : &p->pair;
    for (size_t i = 0; i < t->n; i++) {
        const struct piece *piece = &t->pieces[i];
        int rc = 0;
        if (piece->kind != PIECE_TOKEN)
            rc = token_ids_append(out, piece->kind == PIECE_A ? a : b, piece->type_id, err);
        else if (add_special)
            rc = token_ids_push(out, piece->id, piece->type_id, err);
        if (rc != 0)
            return -1;
    }
    return 0;
}
