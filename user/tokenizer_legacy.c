/* A folder without tokenizer.json: the class named in tokenizer_config.json (or, failing that, the model type in
 * config.json) decides which tokenizer.json is written in memory for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "user/byte_level.h"
#include "user/tokenizer_impl.h"

#define QWEN2_REGEX                                                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"            \
    "\\s+(?!\\S)|\\s+"

struct legacy {
    struct tokenizer *t;
    const char *dir;
    struct json_doc *tokenizer_config, *config, *added; /* NULL when absent */
    struct json_doc *built;                             /* the tokenizer.json */
    bool bert, roberta, qwen2;                          /* none: GPT-2 */
};

static int load_optional(struct json_doc **out, const char *dir, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX];
    if (file_join(path, dir, name, err) != 0)
        return -1;
    return file_exists(path) ? json_load(out, path, TOKENIZER_FILE_MAX, false, err) : 0;
}

static int has_file(const char *dir, const char *name, bool *has, struct err *err)
{
    char path[FILE_PATH_MAX];
    if (file_join(path, dir, name, err) != 0)
        return -1;
    *has = file_exists(path);
    return 0;
}

/* ------------------------------------------------------------------ which family */

static bool one_of(const char *name, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

static int choose_family(struct legacy *l, bool vocab_txt, struct err *err)
{
    static const char *const bert[] = {"BertTokenizer",
                                       "BertTokenizerFast",
                                       "DistilBertTokenizer",
                                       "DistilBertTokenizerFast",
                                       "ElectraTokenizer",
                                       "ElectraTokenizerFast",
                                       "bert",
                                       "distilbert",
                                       "electra",
                                       NULL};
    static const char *const gpt2[] = {"GPT2Tokenizer", "GPT2TokenizerFast", "gpt2", NULL};
    static const char *const roberta[] = {"RobertaTokenizer", "RobertaTokenizerFast", "roberta", NULL};
    static const char *const qwen2[] = {"Qwen2Tokenizer", "Qwen2TokenizerFast", "qwen2", "qwen3", NULL};
    const char *name = json_string(json_get(json_root(l->tokenizer_config), "tokenizer_class"));
    if (name == NULL)
        name = json_string(json_get(json_root(l->config), "model_type"));
    if (name == NULL)
        name = vocab_txt ? "bert" : "gpt2";
    l->bert = vocab_txt && one_of(name, bert);
    l->roberta = !vocab_txt && one_of(name, roberta);
    l->qwen2 = !vocab_txt && one_of(name, qwen2);
    if (l->bert || l->roberta || l->qwen2 || (!vocab_txt && one_of(name, gpt2)))
        return 0;
    return err_set(err, ERR_INPUT,
                   "%s: there is no tokenizer.json, and '%.60s' with %s is not supported; save the tokenizer with a current "
                   "version of transformers, which writes tokenizer.json",
                   l->dir, name, vocab_txt ? "vocab.txt" : "vocab.json and merges.txt");
}

/* ------------------------------------------------------------------ files */

typedef int (*line_fn)(struct legacy *l, const char *line, size_t len, size_t number, const char *path, struct err *err);

static int each_line(struct legacy *l, const char *name, line_fn fn, struct err *err)
{
    char path[FILE_PATH_MAX], *text = NULL;
    size_t size, number = 0;
    if (file_join(path, l->dir, name, err) != 0 || file_read(path, TOKENIZER_FILE_MAX, &text, &size, err) != 0)
        return -1;
    int rc = 0;
    for (size_t at = 0; at < size && rc == 0; number++) {
        const char *line = text + at, *end = memchr(line, '\n', size - at);
        size_t len = end == NULL ? size - at : (size_t)(end - line);
        at += len + 1;
        if (len > 0 && line[len - 1] == '\r')
            len--;
        rc = fn(l, line, len, number, path, err);
    }
    free(text);
    return rc;
}

static int vocab_line(struct legacy *l, const char *line, size_t len, size_t number, const char *path, struct err *err)
{
    char token[VOCAB_TOKEN_MAX + 2]; /* messages want a NUL */
    size_t n = len < sizeof token ? len : sizeof token - 1;
    memcpy(token, line, n);
    token[n] = '\0';
    return vocab_add(&l->t->vocab, token, n, (int64_t)number, path, err);
}

static int merge_line(struct legacy *l, const char *line, size_t len, size_t number, const char *path, struct err *err)
{
    (void)number;
    if (len == 0 || (len >= 8 && memcmp(line, "#version", 8) == 0))
        return 0;
    return bpe_add_merge_line(l->t->bpe, line, len, path, err);
}

static int read_vocab_json(struct legacy *l, struct err *err)
{
    struct json_doc *doc = NULL;
    char path[FILE_PATH_MAX];
    if (file_join(path, l->dir, "vocab.json", err) != 0 || json_load(&doc, path, TOKENIZER_FILE_MAX, false, err) != 0)
        return -1;
    int rc = tokenizer_json_read_vocab(&l->t->vocab, doc, json_root(doc), "(the whole file)", err);
    json_free(doc);
    return rc;
}

/* ------------------------------------------------------------------ the tokenizer.json that says the same */

/* A special token: its name in tokenizer_config.json if there, otherwise the usual one. */
static const char *special_name(const struct legacy *l, const char *key, const char *usual)
{
    const struct json *node = json_get(json_root(l->tokenizer_config), key);
    const char *name = json_string(node) != NULL ? json_string(node) : json_string(json_get(node, "content"));
    return name != NULL ? name : usual;
}

static bool option(const struct legacy *l, const char *key, bool usual)
{
    const struct json *node = json_get(json_root(l->tokenizer_config), key);
    return node != NULL && json_type(node) == JSON_BOOL ? json_true(node) : usual;
}

static void put_added(struct legacy *l, struct json *list, const char *content, int64_t id, const struct json *flags, bool lstrip)
{
    struct json *token = json_put_object(l->built, list, NULL);
    static const char *const keys[] = {"special", "normalized", "single_word", "lstrip", "rstrip"};
    json_put_str(l->built, token, "content", content);
    json_put_int(l->built, token, "id", id);
    for (size_t i = 0; flags != NULL && i < sizeof keys / sizeof *keys; i++)
        if (json_get(flags, keys[i]) != NULL)
            json_put_copy(l->built, token, keys[i], json_get(flags, keys[i]));
    if (flags == NULL) {
        json_put_bool(l->built, token, "special", true);
        json_put_bool(l->built, token, "lstrip", lstrip);
    }
}

/* added_tokens_decoder says all there is; before it existed, added_tokens.json and the named special tokens did. */
static int put_added_tokens(struct legacy *l, struct json *list, struct err *err)
{
    static const char *const named[][2] = {
        {"unk_token", "[UNK]"}, {"sep_token", "[SEP]"}, {"pad_token", "[PAD]"}, {"cls_token", "[CLS]"}, {"mask_token", "[MASK]"}};
    static const char *const roberta[] = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"};
    const struct json *known = json_get(json_root(l->tokenizer_config), "added_tokens_decoder");
    for (const struct json *m = json_first(known); m != NULL; m = json_next(m)) {
        char *end;
        const char *content;
        long long id = strtoll(json_key(m), &end, 10);
        if (*end != '\0' || end == json_key(m))
            return err_set(err, ERR_INPUT, "%s: field 'added_tokens_decoder': expected ids as keys, found '%.60s'",
                           json_name(l->tokenizer_config), json_key(m));
        if (json_get_str(l->tokenizer_config, m, "content", &content, err) != 0)
            return -1;
        put_added(l, list, content, id, m, false);
    }
    if (known != NULL)
        return 0;
    for (const struct json *m = json_first(json_root(l->added)); m != NULL; m = json_next(m)) {
        int64_t id;
        if (json_key(m) == NULL || !json_integer(m, &id))
            return err_set(err, ERR_INPUT, "%s: expected {token: id}, found %s", json_name(l->added), json_type_name(m));
        put_added(l, list, json_key(m), id, NULL, false);
    }
    for (size_t i = 0; i < 5 && (l->bert || l->roberta); i++) {
        const char *name = l->bert ? special_name(l, named[i][0], named[i][1]) : roberta[i];
        int32_t id = tokenizer_id(l->t, name);
        if (id >= 0)
            put_added(l, list, name, id, NULL, strcmp(name, "<mask>") == 0);
    }
    int32_t end_of_text = l->bert || l->roberta ? -1 : tokenizer_id(l->t, "<|endoftext|>");
    if (end_of_text >= 0 && json_get(json_root(l->added), "<|endoftext|>") == NULL)
        put_added(l, list, "<|endoftext|>", end_of_text, NULL, false);
    return 0;
}

static int put_ends(struct legacy *l, struct json *root, const char *type, const char *cls, const char *sep, struct err *err)
{
    struct json *post = json_put_object(l->built, root, "post_processor");
    const char *const names[] = {cls, sep};
    json_put_str(l->built, post, "type", type);
    for (int i = 0; i < 2; i++) {
        struct json *pair = json_put_array(l->built, post, i == 0 ? "cls" : "sep");
        int32_t id = tokenizer_id(l->t, names[i]);
        if (id < 0)
            return err_set(err, ERR_INPUT, "%s: the vocabulary lacks the token '%.60s'", l->dir, names[i]);
        json_put_str(l->built, pair, NULL, names[i]);
        json_put_int(l->built, pair, NULL, id);
    }
    return 0;
}

static struct json *put_typed(struct legacy *l, struct json *parent, const char *key, const char *type)
{
    struct json *node = json_put_object(l->built, parent, key);
    json_put_str(l->built, node, "type", type);
    return node;
}

static int build_bert(struct legacy *l, struct json *root, struct err *err)
{
    struct json *model = put_typed(l, root, "model", "WordPiece");
    json_put_str(l->built, model, "unk_token", special_name(l, "unk_token", "[UNK]"));
    struct json *norm = put_typed(l, root, "normalizer", "BertNormalizer");
    json_put_bool(l->built, norm, "lowercase", option(l, "do_lower_case", true));
    json_put_bool(l->built, norm, "handle_chinese_chars", option(l, "tokenize_chinese_chars", true));
    json_put_bool(l->built, norm, "strip_accents", option(l, "strip_accents", option(l, "do_lower_case", true)));
    (void)put_typed(l, root, "pre_tokenizer", "BertPreTokenizer");
    (void)put_typed(l, root, "decoder", "WordPiece");
    return put_ends(l, root, "BertProcessing", special_name(l, "cls_token", "[CLS]"), special_name(l, "sep_token", "[SEP]"), err);
}

static int build_bpe(struct legacy *l, struct json *root, struct err *err)
{
    (void)put_typed(l, root, "model", "BPE");
    (void)put_typed(l, root, "decoder", "ByteLevel");
    struct json *parent = root;
    const char *key = "pre_tokenizer";
    if (l->qwen2) {
        (void)put_typed(l, root, "normalizer", "NFC");
        struct json *sequence = put_typed(l, root, "pre_tokenizer", "Sequence");
        parent = json_put_array(l->built, sequence, "pretokenizers");
        key = NULL;
        struct json *split = put_typed(l, parent, NULL, "Split");
        json_put_str(l->built, json_put_object(l->built, split, "pattern"), "Regex", QWEN2_REGEX);
        json_put_str(l->built, split, "behavior", "Isolated");
    }
    struct json *bytes = put_typed(l, parent, key, "ByteLevel");
    json_put_bool(l->built, bytes, "add_prefix_space", option(l, "add_prefix_space", false));
    json_put_bool(l->built, bytes, "use_regex", !l->qwen2);
    return l->roberta ? put_ends(l, root, "RobertaProcessing", "<s>", "</s>", err) : 0;
}

static int build(struct legacy *l, struct err *err)
{
    l->built = json_new_object(l->dir);
    struct json *root = l->built == NULL ? NULL : json_node(l->built);
    if (root == NULL)
        return err_oom(err, 1);
    if (put_added_tokens(l, json_put_array(l->built, root, "added_tokens"), err) != 0)
        return -1;
    return l->bert ? build_bert(l, root, err) : build_bpe(l, root, err);
}

/* json builders report a failed allocation when printing, so the text goes round once. */
static int read_built(struct legacy *l, struct err *err)
{
    char *text = NULL;
    struct json_doc *doc = NULL;
    if (json_print(l->built, false, &text, err) != 0)
        return -1;
    int rc = json_parse(&doc, text, strlen(text), false, l->dir, err);
    if (rc == 0)
        rc = tokenizer_json_read(l->t, doc, false, err);
    json_free(doc);
    free(text);
    return rc;
}

int tokenizer_legacy_read(struct tokenizer *t, const char *dir, struct err *err)
{
    struct legacy l = {.t = t, .dir = dir};
    bool vocab_json, merges, vocab_txt;
    int rc = -1;
    if (has_file(dir, "vocab.json", &vocab_json, err) != 0 || has_file(dir, "merges.txt", &merges, err) != 0 ||
        has_file(dir, "vocab.txt", &vocab_txt, err) != 0)
        return -1;
    if (!(vocab_json && merges) && !vocab_txt)
        return err_set(err, ERR_INPUT, "%s: there is no tokenizer.json, nor vocab.json with merges.txt, nor vocab.txt", dir);
    vocab_txt = !(vocab_json && merges);
    if (load_optional(&l.tokenizer_config, dir, "tokenizer_config.json", err) != 0 ||
        load_optional(&l.config, dir, "config.json", err) != 0 || load_optional(&l.added, dir, "added_tokens.json", err) != 0 ||
        choose_family(&l, vocab_txt, err) != 0 ||
        (vocab_txt ? each_line(&l, "vocab.txt", vocab_line, err) : read_vocab_json(&l, err)) != 0 || build(&l, err) != 0 ||
        read_built(&l, err) != 0)
        goto done;
    rc = vocab_txt ? 0 : each_line(&l, "merges.txt", merge_line, err);
done:
    json_free(l.tokenizer_config);
    json_free(l.config);
    json_free(l.added);
    json_free(l.built);
    return rc;
}
