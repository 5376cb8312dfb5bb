#include <stdio.h>
#include <string.h>

#include "user/tokenizer_impl.h"

int tokenizer_json_read_vocab(struct vocab *vocab, const struct json_doc *doc, const struct json *object, const char *field,
                              struct err *err)
{
    char where[512];
    if (json_is_null(object) || json_type(object) != JSON_OBJECT || json_first(object) == NULL)
        return err_set(err, ERR_INPUT, "%s: field '%s': expected an object {token: id}, found %s", json_name(doc), field,
                       json_is_null(object) || json_type(object) != JSON_OBJECT ? json_type_name(object) : "an empty one");
    (void)snprintf(where, sizeof where, "%s: field '%s'", json_name(doc), field);
    for (const struct json *m = json_first(object); m != NULL; m = json_next(m)) {
        int64_t id;
        if (!json_integer(m, &id)) {
            char number[40];
            (void)snprintf(number, sizeof number, "%g", json_number(m));
            return err_set(err, ERR_INPUT, "%s: token '%.60s': expected an id, found %s", where, json_key(m),
                           json_type(m) == JSON_NUMBER ? number : json_type_name(m));
        }
        if (vocab_add(vocab, json_key(m), strlen(json_key(m)), id, where, err) != 0)
            return -1;
    }
    return 0;
}

/* Files from before 2021 leave "type" out. */
static const char *infer_type(const struct json *model)
{
    const struct json *vocab = json_get(model, "vocab");
    if (json_get(model, "merges") != NULL)
        return "BPE";
    if (vocab != NULL && json_type(vocab) == JSON_ARRAY)
        return "Unigram";
    return json_get(model, "max_input_chars_per_word") != NULL ? "WordPiece" : "unknown";
}

static int read_model(struct tokenizer *t, const struct json_doc *doc, bool with_vocab, struct err *err)
{
    const struct json *model = json_get(json_root(doc), "model");
    if (json_is_null(model) || json_type(model) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: field 'model': expected an object, found %s", json_name(doc), json_type_name(model));
    const char *type = infer_type(model);
    if (json_opt_str(doc, model, "type", &type, err) != 0)
        return err_wrap(err, "model");
    bool bpe = strcmp(type, "BPE") == 0, wordpiece = strcmp(type, "WordPiece") == 0;
    if (strcmp(type, "Unigram") == 0)
        return unigram_new(&t->unigram, doc, model, &t->vocab, err);
    if (!bpe && !wordpiece)
        return err_set(err, ERR_INPUT, "%s: field 'model.type': '%.60s' is not supported (BPE, WordPiece and Unigram are)",
                       json_name(doc), type);
    if (with_vocab && tokenizer_json_read_vocab(&t->vocab, doc, json_get(model, "vocab"), "model.vocab", err) != 0)
        return -1;
    if (wordpiece)
        return wordpiece_new(&t->wordpiece, doc, model, &t->vocab, err) != 0 ? err_wrap(err, "model") : 0;
    if (bpe_new(&t->bpe, doc, model, &t->vocab, err) != 0)
        return err_wrap(err, "model");
    return with_vocab ? bpe_read_merges(t->bpe, doc, model, err) : 0;
}

int tokenizer_json_read(struct tokenizer *t, const struct json_doc *doc, bool with_vocab, struct err *err)
{
    const struct json *root = json_root(doc);
    if (json_type(root) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: expected an object, found %s", json_name(doc), json_type_name(root));
    /* Added tokens come before the post-processor, which names them, and after the normalizer, which changes them. */
    if (read_model(t, doc, with_vocab, err) != 0 || normalizer_new(&t->normalizer, doc, json_get(root, "normalizer"), err) != 0 ||
        added_tokens_new(&t->added, err) != 0 ||
        added_tokens_read(t->added, doc, json_get(root, "added_tokens"), t->normalizer, &t->vocab, err) != 0 ||
        pretokenizer_new(&t->pretokenizer, doc, json_get(root, "pre_tokenizer"), err) != 0 ||
        post_processor_new(&t->post_processor, doc, json_get(root, "post_processor"), &t->vocab, err) != 0)
        return -1;
    return decoder_new(&t->decoder, doc, json_get(root, "decoder"), err);
}
