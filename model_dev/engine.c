#include "model_dev/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define ID_SUFFIX "_token_id"
#define TOKEN_TEXT 16

int engine_check(const struct config *c, struct err *err)
{
    if (c->head != HEAD_LM || !c->causal)
        return err_set(err, ERR_USAGE, "--profile engine: %s generates no text, and engines are asked for text only; use --profile stip",
                       c->architecture);
    return 0;
}

/* ------------------------------------------------------------------ ids in configs */

static bool is_id(const char *key)
{
    size_t n = strlen(key), m = strlen(ID_SUFFIX);
    return n > m && strcmp(key + n - m, ID_SUFFIX) == 0;
}

static int place_of(const struct perm *inverse, const struct json *node, const char *key, int64_t *out, struct err *err)
{
    int64_t id;
    /* Some checkpoints say -1 for "none". */
    if (!json_integer(node, &id) || id < -1 || id >= (int64_t)inverse->n)
        return err_set(err, ERR_INPUT, "field '%s': expected token ids below %u", key, inverse->n);
    *out = id < 0 ? id : (int64_t)inverse->to[id];
    return 0;
}

/* One field of ids: a number or a list, moved to where the tokens are now. */
static int put_ids(struct json_doc *doc, const struct json *field, const struct perm *inverse, struct err *err)
{
    const char *key = json_key(field);
    int64_t place = -1;
    if (json_type(field) == JSON_ARRAY) {
        struct json *list = json_put_array(doc, json_node(doc), key);
        for (const struct json *item = json_first(field); item != NULL; item = json_next(item)) {
            if (place_of(inverse, item, key, &place, err) != 0)
                return -1;
            json_put_int(doc, list, NULL, place);
        }
        return 0;
    }
    if (json_is_null(field)) {
        json_put_null(doc, json_node(doc), key);
        return 0;
    }
    if (place_of(inverse, field, key, &place, err) != 0)
        return -1;
    json_put_int(doc, json_node(doc), key, place);
    return 0;
}

/* All fields but ids as they are; `numbers`: only numbers and switches, since text may name things. */
static int move_ids(const struct json_doc *from, bool numbers, const struct perm *vocabulary, char **out, struct err *err)
{
    struct perm inverse = {0};
    struct json_doc *doc = json_new_object(json_name(from));
    int rc = perm_inverse(&inverse, vocabulary, err);
    for (const struct json *m = json_first(json_root(from)); rc == 0 && m != NULL; m = json_next(m)) {
        if (is_id(json_key(m)))
            rc = put_ids(doc, m, &inverse, err);
        else if (!numbers || json_type(m) == JSON_NUMBER || json_type(m) == JSON_BOOL)
            json_put_copy(doc, json_node(doc), json_key(m), m);
    }
    if (rc == 0)
        rc = json_print(doc, true, out, err);
    else
        err_wrap(err, "%s", json_name(from));
    json_free(doc);
    perm_wipe(&inverse);
    return rc == 0 ? 0 : -1;
}

int engine_config(const char *text, const struct perm *vocabulary, char **out, struct err *err)
{
    struct json_doc *doc;
    if (json_parse(&doc, text, strlen(text), false, "config.json", err) != 0)
        return -1;
    int rc = move_ids(doc, false, vocabulary, out, err);
    json_free(doc);
    return rc;
}

/* ------------------------------------------------------------------ files */

static int write_text(const char *dir, const char *name, const char *text, struct err *err)
{
    char path[FILE_PATH_MAX];
    return file_join(path, dir, name, err) != 0 ? -1 : file_write(path, text, strlen(text), 0644, err);
}

static int write_generation_config(const struct checkpoint *cp, const struct perm *vocabulary, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX], *text = NULL;
    struct json_doc *doc;
    if (file_join(path, checkpoint_dir(cp), "generation_config.json", err) != 0)
        return -1;
    if (!file_exists(path))
        return 0;
    if (json_load(&doc, path, JSON_CAP_CONFIG, false, err) != 0)
        return -1;
    int rc = move_ids(doc, true, vocabulary, &text, err);
    if (rc == 0)
        rc = write_text(dir, "generation_config.json", text, err);
    free(text);
    json_free(doc);
    return rc;
}

static void token_text(char out[TOKEN_TEXT], int64_t place)
{
    (void)snprintf(out, TOKEN_TEXT, "<%lld>", (long long)place);
}

static void put_byte_level(struct json_doc *doc, const char *key)
{
    struct json *node = json_put_object(doc, json_node(doc), key);
    json_put_str(doc, node, "type", "ByteLevel");
    json_put_bool(doc, node, "add_prefix_space", false);
    json_put_bool(doc, node, "trim_offsets", false);
    json_put_bool(doc, node, "use_regex", false);
}

/* Tokens' names as they are, one after another. */
static void put_decoder(struct json_doc *doc)
{
    struct json *node = json_put_object(doc, json_node(doc), "decoder");
    json_put_str(doc, node, "type", "Sequence");
    json_put_str(doc, json_put_object(doc, json_put_array(doc, node, "decoders"), NULL), "type", "Fuse");
}

/* Engines leave special tokens out of their texts. The first end is one: all engines stop at it. Others are plain tokens: llama.cpp knows
 * one end only, and must show the user that another one came. */
static void put_special(struct json_doc *doc, const struct config *c, const struct perm *inverse)
{
    struct json *list = json_put_array(doc, json_node(doc), "added_tokens");
    char text[TOKEN_TEXT];
    if (c->eos_count > 0) {
        struct json *token = json_put_object(doc, list, NULL);
        const int64_t place = inverse->to[c->eos[0]];
        token_text(text, place);
        json_put_int(doc, token, "id", place);
        json_put_str(doc, token, "content", text);
        json_put_bool(doc, token, "single_word", false);
        json_put_bool(doc, token, "lstrip", false);
        json_put_bool(doc, token, "rstrip", false);
        json_put_bool(doc, token, "normalized", false);
        json_put_bool(doc, token, "special", true);
    }
}

/* BPE without merges: every tokenizer library can hold it, and its texts are plain. Byte fallback (there are no bytes to fall back to) and
 * a decoder that is a sequence make llama.cpp's converter take it for a Llama's and ask no further. */
static int write_tokenizer(const struct config *c, const struct perm *inverse, const char *dir, struct err *err)
{
    char *text = NULL, token[TOKEN_TEXT];
    struct json_doc *doc = json_new_object("tokenizer.json");
    struct json *root = json_node(doc);
    json_put_str(doc, root, "version", "1.0");
    json_put_null(doc, root, "truncation");
    json_put_null(doc, root, "padding");
    put_special(doc, c, inverse);
    json_put_null(doc, root, "normalizer");
    put_byte_level(doc, "pre_tokenizer");
    json_put_null(doc, root, "post_processor");
    put_decoder(doc);
    struct json *model = json_put_object(doc, root, "model");
    json_put_str(doc, model, "type", "BPE");
    json_put_null(doc, model, "dropout");
    json_put_null(doc, model, "unk_token");
    json_put_null(doc, model, "continuing_subword_prefix");
    json_put_null(doc, model, "end_of_word_suffix");
    json_put_bool(doc, model, "fuse_unk", false);
    json_put_bool(doc, model, "byte_fallback", true);
    struct json *vocab = json_put_object(doc, model, "vocab");
    for (int64_t i = 0; i < c->V; i++) {
        token_text(token, i);
        json_put_int(doc, vocab, token, i);
    }
    (void)json_put_array(doc, model, "merges");
    int rc = json_print(doc, false, &text, err);
    json_free(doc);
    if (rc == 0)
        rc = write_text(dir, "tokenizer.json", text, err);
    free(text);
    return rc;
}

static int write_tokenizer_config(const struct config *c, const struct perm *inverse, const char *dir, struct err *err)
{
    char *text = NULL, token[TOKEN_TEXT];
    struct json_doc *doc = json_new_object("tokenizer_config.json");
    struct json *root = json_node(doc);
    json_put_str(doc, root, "tokenizer_class", "PreTrainedTokenizerFast");
    json_put_bool(doc, root, "clean_up_tokenization_spaces", false);
    json_put_bool(doc, root, "add_bos_token", false); /* prompts arrive whole, as ids */
    json_put_int(doc, root, "model_max_length", c->positions);
    if (c->eos_count > 0) {
        token_text(token, inverse->to[c->eos[0]]);
        json_put_str(doc, root, "eos_token", token);
    }
    int rc = json_print(doc, true, &text, err);
    json_free(doc);
    if (rc == 0)
        rc = write_text(dir, "tokenizer_config.json", text, err);
    free(text);
    return rc;
}

int engine_files(const struct checkpoint *cp, const struct perm *vocabulary, const char *dir, struct err *err)
{
    struct perm inverse = {0};
    if (perm_inverse(&inverse, vocabulary, err) != 0)
        return -1;
    int rc = write_generation_config(cp, vocabulary, dir, err);
    if (rc == 0) /* for llama.cpp alone, which loads no vocabulary of GPT-2's kind without one; it joins nothing */
        rc = write_text(dir, "merges.txt", "#version: 0.2\n< >\n", err);
    if (rc == 0)
        rc = write_tokenizer(checkpoint_config(cp), &inverse, dir, err);
    if (rc == 0)
        rc = write_tokenizer_config(checkpoint_config(cp), &inverse, dir, err);
    perm_wipe(&inverse);
    return rc;
}
