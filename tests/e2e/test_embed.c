/* Sentence embedders through three processes: the vector that the user gets is the one that plain inference gives, from the command
 * and from the gateway. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "tests/support/gateway.h"
#include "tests/support/plain.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "user/embedding.h"

enum { D = 48, CAP = 128 };

#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"
#define LONG_TEXT "this film is a long one and it does not end before the last of the people has left the room and the light goes on "

static char dir[FILE_PATH_MAX];

static void spill(const char *model, const char *name, const char *text)
{
    tempdir_spill(tempdir_path(model, name), text, strlen(text));
}

static void copy(const char *from, const char *model, const char *name)
{
    size_t len;
    char *text = tempdir_slurp(tempdir_path(from, name), &len);
    tempdir_spill(tempdir_path(model, name), text, len);
    free(text);
}

/* DIR/model as sentence-transformers saves one. */
static void make_model(char model[FILE_PATH_MAX], const char *architecture, const char *tokenizer, int V, const char *pooling)
{
    const struct synth_shape shape = {.D = D, .H = 4, .L = 3, .V = V, .positions = CAP};
    struct err err;
    tempdir_make(dir);
    (void)snprintf(model, FILE_PATH_MAX, "%s", tempdir_path(dir, "model"));
    cr_assert_eq(synth_checkpoint(model, architecture, &shape, 3, &err), 0, "%s", err.text);
    cr_assert_eq(file_mkdirs(tempdir_path(model, "1_Pooling"), 0755, &err), 0, "%s", err.text);
    copy(tokenizer, model, "tokenizer.json");
    copy(tokenizer, model, "tokenizer_config.json");
    spill(model, "modules.json", "[{\"idx\":0,\"name\":\"0\",\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"
                                 "{\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"},"
                                 "{\"idx\":2,\"name\":\"2\",\"path\":\"2_Normalize\",\"type\":\"sentence_transformers.models.Normalize\"}]");
    spill(model, "1_Pooling/config.json", pooling);
}

/* The same by plain inference in this process; its own arithmetic, so that a pooling of the wrong kind shows. */
static void plain_vector(const char *model, const char *text, bool last, float x[D])
{
    struct plain p;
    struct tokenizer *t = NULL;
    struct token_ids ids = {0};
    struct err err;
    cr_assert_eq(plain_open(&p, model, false, CAP, COMPUTE_F32, &err), 0, "%s", err.text);
    cr_assert_eq(tokenizer_load(&t, model, &err), 0, "%s", err.text);
    cr_assert_eq(tokenizer_encode(t, text, strlen(text), NULL, 0, true, &ids, &err), 0, "%s", err.text);
    const size_t n = ids.n < CAP ? ids.n : CAP;
    float *rows = malloc(n * D * sizeof *rows);
    cr_assert_eq(plain_append(&p, ids.ids, NULL, (int)n, (int)n, rows, &err), 0, "%s", err.text);
    double length = 0;
    for (size_t d = 0; d < D; d++) {
        double sum = 0;
        for (size_t i = last ? n - 1 : 0; i < n; i++)
            sum += (double)rows[i * D + d] / (last ? 1.0 : (double)n);
        x[d] = (float)sum;
        length += sum * sum;
    }
    for (size_t d = 0; d < D; d++)
        x[d] /= (float)sqrt(length);
    free(rows);
    token_ids_free(&ids);
    tokenizer_free(t);
    plain_close(&p);
}

static void expect_vector(const struct json *list, const float want[D], const char *what)
{
    size_t d = 0;
    cr_assert_eq(json_count(list), D, "%s", what);
    for (const struct json *v = json_first(list); v != NULL; v = json_next(v), d++)
        cr_expect_float_eq(json_number(v), (double)want[d], 1e-5, "%s: number %zu: %g, plain %g", what, d, json_number(v), (double)want[d]);
}

/* Mutations tried: the prompt left out (in each of both), rows that are not un-permuted, the limit of output rows as for vocabularies
 * (the long text has more than 64). */
Test(embed, an_encoder_gives_the_plain_vector_by_command_and_gateway)
{
    char model[FILE_PATH_MAX];
    struct trio t;
    struct gateway g;
    struct shell s;
    float film[D], cat[D], raw[D], whole[D];
    make_model(model, "BertModel", DEMO_CLASSIFIER, 2000, "{\"word_embedding_dimension\":48,\"pooling_mode_mean_tokens\":true}");
    spill(model, "sentence_bert_config.json", "{\"max_seq_length\":100,\"do_lower_case\":false}");
    spill(model, "config_sentence_transformers.json", "{\"prompts\":{\"query\":\"query: \",\"passage\":\"\"},\"default_prompt_name\":\"query\"}");
    plain_vector(model, "query: a good film", false, film);
    plain_vector(model, "query: a bad cat", false, cat);
    plain_vector(model, "a good film", false, raw);
    plain_vector(model, "query: " LONG_TEXT LONG_TEXT LONG_TEXT, false, whole);
    trio_open(&t, model, "auto");

    tempdir_spill(trio_path(&t, "texts"), "a good film\r\n\na bad cat\n", 24);
    trio_user(&t, &s, SHELL_ARGV("embed", "--file", trio_path(&t, "texts"), "--json"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    char *second = strchr(s.out, '\n');
    cr_assert_not_null(second);
    *second++ = '\0';
    for (int i = 0; i < 2; i++) {
        struct json_doc *doc;
        struct err err;
        const char *line = i == 0 ? s.out : second;
        cr_assert_eq(json_parse(&doc, line, strlen(line), false, "line", &err), 0, "%s", err.text);
        const struct json *root = json_root(doc);
        cr_expect(json_number(json_get(root, "index")) == i && json_number(json_get(root, "dimensions")) == D);
        cr_expect_str_eq(json_string(json_get(root, "pooling")), "mean");
        cr_expect(json_true(json_get(root, "normalised")) && !json_true(json_get(root, "truncated")));
        expect_vector(json_get(root, "embedding"), i == 0 ? film : cat, "command");
        json_free(doc);
    }
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("embed", "--text", "a good film", "--prompt-name", "passage", "--json"));
    struct json_doc *doc = shell_json(&s);
    expect_vector(json_get(json_root(doc), "embedding"), raw, "without a prompt");
    json_free(doc);
    shell_free(&s);

    /* Numbers for a pipe; what does not fit; what is not there. */
    trio_user(&t, &s, SHELL_ARGV("embed", "--text", "a good film"));
    cr_expect(s.status == 0 && fabs(strtod(s.out, NULL) - (double)film[0]) < 1e-5, "%s", s.out);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("embed", "--text", LONG_TEXT LONG_TEXT LONG_TEXT LONG_TEXT LONG_TEXT));
    cr_expect(s.status == 3 && strstr(s.err, "this model reads 100; --truncate") != NULL, "%d %s", s.status, s.err);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("embed", "--text", LONG_TEXT LONG_TEXT LONG_TEXT LONG_TEXT LONG_TEXT, "--truncate", "--json"));
    doc = shell_json(&s);
    cr_expect(json_number(json_get(json_root(doc), "tokens")) == 100 && json_true(json_get(json_root(doc), "truncated")));
    json_free(doc);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("embed", "--text", LONG_TEXT LONG_TEXT LONG_TEXT, "--json"));
    doc = shell_json(&s);
    cr_expect_gt(json_number(json_get(json_root(doc), "tokens")), 64);
    expect_vector(json_get(json_root(doc), "embedding"), whole, "more than 64 tokens");
    json_free(doc);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("embed", "--text", "x", "--prompt-name", "quark"));
    cr_expect(s.status == 2 && strstr(s.err, "no prompt 'quark'; one of its own is query") != NULL, "%d %s", s.status, s.err);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("classify", "--text", "x"));
    cr_expect(s.status == 2 && strstr(s.err, "BertModel is not a classifier") != NULL, "%d %s", s.status, s.err);
    shell_free(&s);

    gateway_open(&g, &t, SHELL_ARGV("--model", "mine"));
    doc = gateway_ask(&g, "/v1/embeddings", "{\"input\":[\"a good film\",\"a bad cat\"],\"model\":\"mine\"}");
    const struct json *data = json_first(json_get(json_root(doc), "data"));
    expect_vector(json_get(data, "embedding"), film, "gateway");
    expect_vector(json_get(json_next(data), "embedding"), cat, "gateway, second");
    json_free(doc);
    doc = gateway_ask(&g, "/v1/embeddings", "{\"input\":\"a bad cat\",\"encoding_format\":\"base64\"}");
    float packed[D];
    const char *text = json_string(json_get(json_first(json_get(json_root(doc), "data")), "embedding"));
    cr_assert(text != NULL && crypto_unbase64(text, packed, sizeof packed));
    for (int d = 0; d < D; d++)
        cr_expect_float_eq(packed[d], cat[d], 1e-5);
    json_free(doc);
    cr_expect_eq(gateway_status(&g, "/v1/embeddings", "", "{\"input\":\"" LONG_TEXT LONG_TEXT LONG_TEXT LONG_TEXT LONG_TEXT "\"}"), 400);
    cr_expect_eq(gateway_status(&g, "/v1/completions", "", "{\"prompt\":\"x\"}"), 400, "it generates no text");
    gateway_both_close(&t, &g);
    tempdir_remove(dir);
}

/* A language model whose last row is the vector, as Qwen3-Embedding. Mutation tried: the first row. */
Test(embed, a_decoder_gives_its_last_row)
{
    char model[FILE_PATH_MAX];
    struct trio t;
    struct shell s;
    float want[D];
    make_model(model, "Qwen3ForCausalLM", DEMO_LM, 2048, "{\"pooling_mode_lasttoken\":true}");
    plain_vector(model, "Once upon a time", true, want);
    trio_open(&t, model, "auto");
    trio_user(&t, &s, SHELL_ARGV("embed", "--text", "Once upon a time", "--json"));
    struct json_doc *doc = shell_json(&s);
    cr_expect_str_eq(json_string(json_get(json_root(doc), "pooling")), "last");
    expect_vector(json_get(json_root(doc), "embedding"), want, "last row");
    json_free(doc);
    shell_free(&s);
    trio_close(&t);
    tempdir_remove(dir);
}

/* Modules that we do not compute are found by the developer, before anything is written. Mutation tried: protect does not look. */
Test(embed, protect_refuses_what_would_give_another_vector)
{
    char model[FILE_PATH_MAX];
    struct shell s;
    make_model(model, "BertModel", DEMO_CLASSIFIER, 2000, "{\"pooling_mode_weightedmean_tokens\":true}");
    const char *id = tempdir_path(dir, "id"), *out = tempdir_path(dir, "out");
    shell_run(&s, SHELL_ARGV("stip-model-dev", "keygen", "--out", id));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", model, "--out", out, "--identity", id));
    cr_expect(s.status == 3 && strstr(s.err, "pooling_mode_weightedmean_tokens") != NULL, "%d %s", s.status, s.err);
    cr_expect_not(file_is_dir(out));
    shell_free(&s);
    spill(model, "1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true}");
    shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", model, "--out", out, "--identity", id, "--head", "server"));
    cr_expect(s.status == 2 && strstr(s.err, "a BertModel has no head") != NULL, "%d %s", s.status, s.err);
    shell_free(&s);
    tempdir_remove(dir);
}

/* ALBERT: the user's layers are one set of weights, the server's are copies. Mutation tried: the set written once a layer. */
Test(embed, layers_that_share_weights_are_split_between_user_and_server)
{
    char model[FILE_PATH_MAX];
    struct shell s;
    make_model(model, "AlbertModel", DEMO_CLASSIFIER, 2000, "{\"pooling_mode_cls_token\":true}");
    spill(model, "texts", "a good film\na bad cat\n");
    for (int layers = 0; layers < 2; layers++) {
        const char *text = tempdir_path(model, "texts");
        shell_run(&s, SHELL_ARGV("stip-bench", "equality", "--model", model, "--text", text, "--local-layers", layers == 0 ? "0" : "2",
                                 "--threads", "1", "--json"));
        struct json_doc *doc = shell_json(&s);
        const struct json *root = json_root(doc);
        cr_expect(json_true(json_get(root, "ok")) && json_number(json_get(root, "texts")) == 2, "%s", s.out);
        cr_expect_str_eq(json_string(json_get(root, "pooling")), "cls");
        cr_expect_lt(json_number(json_get(root, "max_abs_dembedding")), 1e-6, "%s", s.out);
        cr_expect_lt(json_number(json_get(root, "embedding_vs_f64")), 1e-6, "%s", s.out);
        json_free(doc);
        shell_free(&s);
    }
    tempdir_remove(dir);
}
