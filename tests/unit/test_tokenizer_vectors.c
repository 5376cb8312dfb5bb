/* user/tokenizer against published vectors (llama.cpp, transformers.js) with real tokenizers, where ../shared/data is
 * there. Mutation caught: any; the vectors were made by other programs from the same files. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tests/support/tempdir.h"
#include "user/tokenizer.h"

#define DATA STIP_SOURCE_DIR "/../shared/data"

static const char *const FOLDERS[][2] = {
    {"bert-bge", "bert-base-uncased"},
    {"gpt-2", "gpt2"},
    {"llama-bpe", "llama3"},
    {"llama-spm", "llama2"},
    {"phi-3", "phi-3-mini"},
    {"qwen2", "qwen2"},
    {"roberta-bpe", "roberta-base"},
    {"falcon", "falcon"},
    {"Xenova/bert-base-uncased", "bert-base-uncased"},
    {"Xenova/gpt2", "gpt2"},
    {"openai-community/gpt2", "gpt2"},
    {"Xenova/llama-tokenizer", "llama2"},
    {"Xenova/llama3-tokenizer-new", "llama3"},
    {"Xenova/Qwen1.5-0.5B-Chat", "qwen2"},
    {"tiiuae/falcon-7b", "falcon"},
    {"Xenova/t5-small", "t5-small"},
    {"google-t5/t5-small", "t5-small"},
};

/* base/json refuses "\u0000"; one vector has it. It travels as U+E000, which no vector has. */
static struct json_doc *load_vectors(const char *path)
{
    struct err err = {0};
    struct json_doc *doc = NULL;
    size_t len;
    char *text = tempdir_slurp(path, &len);
    for (char *at = text; (at = strstr(at, "\\u0000")) != NULL; at++)
        memcpy(at, "\\uE000", 6);
    cr_assert_eq(json_parse(&doc, text, len, false, path, &err), 0, "%s", err.text);
    free(text);
    return doc;
}

static char *restore_nul(const char *text, size_t *len)
{
    char *out = strdup(text);
    cr_assert_not_null(out);
    *len = 0;
    for (const char *p = text; *p != '\0'; p++)
        if (strncmp(p, "\xEE\x80\x80", 3) == 0) {
            out[(*len)++] = '\0';
            p += 2;
        } else {
            out[(*len)++] = *p;
        }
    out[*len] = '\0';
    return out;
}

/* What transformers does to decoded text unless clean_up_tokenization_spaces is false; the tokenizer itself does not. */
static void clean_up(char *text)
{
    static const char *const rules[][2] = {{" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
                                           {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        for (char *at = text; (at = strstr(at, rules[i][0])) != NULL;) {
            size_t from = strlen(rules[i][0]), to = strlen(rules[i][1]);
            memcpy(at, rules[i][1], to);
            memmove(at + to, at + from, strlen(at + from) + 1);
            at += to;
        }
}

static bool same_ids(const struct json *list, const struct token_ids *ids)
{
    size_t i = 0;
    for (const struct json *n = json_first(list); n != NULL; n = json_next(n), i++)
        if (i >= ids->n || (int32_t)json_number(n) != ids->ids[i])
            return false;
    return i == ids->n;
}

static void check_decoded(const struct tokenizer *t, const struct token_ids *ids, const char *expected)
{
    struct err err = {0};
    char *text = NULL;
    size_t len, expected_len;
    char *wanted = restore_nul(expected, &expected_len);
    cr_assert_eq(tokenizer_decode(t, ids->ids, ids->n, false, &text, &len, &err), 0, "%s", err.text);
    if (len != expected_len || memcmp(text, wanted, len) != 0) {
        clean_up(text);
        cr_expect_str_eq(text, wanted);
    }
    free(wanted);
    free(text);
}

static size_t check_vectors(const struct tokenizer *t, const struct json_doc *doc, const char *name, bool special)
{
    size_t n = 0;
    for (const struct json *v = json_first(json_root(doc)); v != NULL; v = json_next(v)) {
        if (strcmp(json_string(json_get(v, "tokenizer")), name) != 0)
            continue;
        struct err err = {0};
        struct token_ids ids = {0};
        size_t len;
        char *text = restore_nul(json_string(json_get(v, "text")), &len);
        const char *pair = json_string(json_get(v, "text_pair"));
        cr_assert_eq(tokenizer_encode(t, text, len, pair, pair == NULL ? 0 : strlen(pair), special, &ids, &err), 0, "%s",
                     err.text);
        cr_expect(same_ids(json_get(v, "ids"), &ids), "%s: '%s'", name, text);
        if (json_get(v, "decoded") != NULL)
            check_decoded(t, &ids, json_string(json_get(v, "decoded")));
        token_ids_free(&ids);
        free(text);
        n++;
    }
    return n;
}

Test(tokenizer_vectors, published_vectors_hold_where_they_are_there)
{
    if (!file_is_dir(DATA "/vectors"))
        cr_skip_test("no ../shared/data");
    struct json_doc *plain = load_vectors(DATA "/vectors/llamacpp.json");
    struct json_doc *special = load_vectors(DATA "/vectors/transformersjs.json");
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        struct err err = {0};
        struct tokenizer *t = NULL;
        char dir[FILE_PATH_MAX];
        cr_assert_eq(file_join(dir, DATA "/tokenizers", FOLDERS[i][1], &err), 0);
        cr_assert_eq(tokenizer_load(&t, dir, &err), 0, "%s", err.text);
        size_t n = check_vectors(t, plain, FOLDERS[i][0], false) + check_vectors(t, special, FOLDERS[i][0], true);
        cr_expect_gt(n, 10, "%s: %zu vectors", FOLDERS[i][0], n);
        tokenizer_free(t);
    }
    json_free(plain);
    json_free(special);
}

/* The older files of a checkpoint say the same as its tokenizer.json. */
Test(tokenizer_vectors, older_files_of_real_tokenizers_agree_with_their_tokenizer_json)
{
    static const struct {
        const char *name, *files[4];
    } cases[] = {{"gpt2", {"vocab.json", "merges.txt"}},
                 {"qwen2", {"vocab.json", "merges.txt", "tokenizer_config.json"}},
                 {"bert-base-uncased", {"vocab.txt", "tokenizer_config.json"}}};
    static const char text[] =
        "Hello  World's na\xC3\xAFve caf\xC3\xA9\n\n12345 \xE4\xB8\x96\xE7\x95\x8C <|endoftext|><|im_end|>[MASK]!";
    if (!file_is_dir(DATA "/tokenizers"))
        cr_skip_test("no ../shared/data");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        struct tokenizer *new = NULL, *old = NULL;
        struct token_ids a = {0}, b = {0};
        char dir[FILE_PATH_MAX], from[FILE_PATH_MAX], path[FILE_PATH_MAX];
        tempdir_make(dir);
        cr_assert_eq(file_join(from, DATA "/tokenizers", cases[i].name, &err), 0);
        for (const char *const *f = cases[i].files; *f != NULL; f++) {
            size_t len;
            cr_assert_eq(file_join(path, from, *f, &err), 0);
            char *bytes = tempdir_slurp(path, &len);
            tempdir_spill(tempdir_path(dir, *f), bytes, len);
            free(bytes);
        }
        cr_assert_eq(tokenizer_load(&new, from, &err), 0, "%s", err.text);
        cr_assert_eq(tokenizer_load(&old, dir, &err), 0, "%s", err.text);
        cr_assert_eq(tokenizer_encode(new, text, strlen(text), NULL, 0, true, &a, &err), 0, "%s", err.text);
        cr_assert_eq(tokenizer_encode(old, text, strlen(text), NULL, 0, true, &b, &err), 0, "%s", err.text);
        cr_expect(a.n == b.n && memcmp(a.ids, b.ids, a.n * sizeof *a.ids) == 0, "%s", cases[i].name);
        token_ids_free(&a);
        token_ids_free(&b);
        tokenizer_free(new);
        tokenizer_free(old);
        tempdir_remove(dir);
    }
}
