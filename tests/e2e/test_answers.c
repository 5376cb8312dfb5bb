/* Three processes, one private answer: what the user gets is what independent programs computed from the plain checkpoint.
 * Mutation: swap two entries of a key, leave a bias unpermuted, shift a position, cut a cache wrongly: an id or a label changes.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "tests/support/plain.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"
#include "user/sample.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"
#define SHARED STIP_SOURCE_DIR "/../shared/data"

/* True with the path of something that only some machines have. */
static bool shared(char path[FILE_PATH_MAX], const char *folder, const char *name)
{
    (void)snprintf(path, FILE_PATH_MAX, "%s/%s/%s", SHARED, folder, name);
    return file_exists(path);
}

static struct json_doc *load(const char *path)
{
    struct json_doc *doc = NULL;
    struct err err = {0};
    cr_assert_eq(json_load(&doc, path, (size_t)16 << 20, false, &err), 0, "%s", err.text);
    return doc;
}

static const struct json *skip(const struct json *list, size_t n)
{
    const struct json *at = json_first(list);
    while (at != NULL && n-- > 0)
        at = json_next(at);
    return at;
}

/* The numbers of `found` are those of `expected` from `from` on; `most` of them, or all (0). */
static void same_ids(const struct json *found, const struct json *expected, size_t from, size_t most, const char *what)
{
    const struct json *a = json_first(found), *b = skip(expected, from);
    size_t i = 0;
    for (; a != NULL && b != NULL && (most == 0 || i < most); a = json_next(a), b = json_next(b), i++)
        if (json_number(a) != json_number(b)) /* NaN too */
            cr_assert_fail("%s: number %zu is %g, expected %g", what, i, json_number(a), json_number(b));
    if (most == 0)
        cr_expect(a == NULL && b == NULL, "%s: %zu numbers, expected %zu", what, json_count(found), json_count(expected) - from);
    else
        cr_expect(i == most, "%s: only %zu numbers", what, i);
}

static struct json_doc *generate(const struct trio *t, const char *prompt, const char *tokens)
{
    struct shell s;
    trio_user(t, &s, SHELL_ARGV("generate", "--prompt", prompt, "--max-tokens", tokens, "--json"));
    struct json_doc *doc = shell_json(&s);
    shell_free(&s);
    return doc;
}

/* Every case of an expected.json whose greedy_ids hold the prompt too (`whole`) or only what follows it. */
static void greedy_cases(const char *model, const char *head, const char *expected, bool whole, size_t most)
{
    struct trio t;
    struct json_doc *e = load(expected);
    size_t cases = 0;
    trio_open(&t, model, head);
    for (const struct json *c = json_first(json_get(json_root(e), "cases")); c != NULL; c = json_next(c), cases++) {
        const char *prompt = json_string(json_get(c, "prompt"));
        const struct json *ids = json_get(c, "input_ids"), *greedy = json_get(c, "greedy_ids");
        size_t from = whole ? json_count(ids) : 0;
        char tokens[32], what[256];
        (void)snprintf(tokens, sizeof tokens, "%zu", json_count(greedy) - from);
        (void)snprintf(what, sizeof what, "%s, head %s, '%.60s'", strrchr(model, '/') + 1, head, prompt);
        struct json_doc *got = generate(&t, prompt, tokens);
        same_ids(json_get(json_root(got), "prompt_tokens"), ids, 0, 0, what);
        const struct json *tokens_got = json_get(json_root(got), "tokens");
        bool stopped = strcmp(json_string(json_get(json_root(got), "finish_reason")), "stop") == 0;
        /* The recorded list ends with the end token, an answer does not hold it. */
        cr_expect(!stopped || json_count(tokens_got) == json_count(greedy) - from - 1, "%s: stopped after %zu", what,
                  json_count(tokens_got));
        same_ids(tokens_got, greedy, from, stopped ? json_count(tokens_got) : most, what);
        json_free(got);
    }
    cr_expect_geq(cases, 3);
    trio_close(&t);
    json_free(e);
}

/* ------------------------------------------------------------------ greedy text */

Test(answers, the_demo_model_writes_its_recorded_stories_with_either_head)
{
    greedy_cases(DEMO_LM, "server", DEMO_LM "/expected.json", false, 0);
    greedy_cases(DEMO_LM, "user", DEMO_LM "/expected.json", false, 0);
}

Test(answers, every_layout_of_the_llama_checkpoint_writes_the_published_story)
{
    /* Half precision rounds the weights: the first 60 tokens are known to survive that. */
    static const struct {
        const char *name;
        size_t most;
    } layouts[] = {{"llama-stories260K", 0},         {"llama-stories260K-sharded", 0}, {"llama-stories260K-untied", 0},
                   {"llama-stories260K-mistral", 0}, {"llama-stories260K-qwen2", 0},   {"llama-stories260K-bf16", 40},
                   {"llama-stories260K-f16", 40}};
    char model[FILE_PATH_MAX], expected[FILE_PATH_MAX];
    if (!shared(expected, "expected", "llama-stories260K.json"))
        cr_skip_test("no shared data on this machine");
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        for (int user = 0; user < 2; user++)
            if (shared(model, "models", layouts[i].name))
                greedy_cases(model, user ? "user" : "server", expected, true, layouts[i].most);
}

Test(answers, gpt2_recites_its_corpus_with_either_head)
{
    char model[FILE_PATH_MAX], expected[FILE_PATH_MAX];
    if (!shared(model, "models", "gpt2-slm4096") || !shared(expected, "expected", "gpt2-slm4096.json"))
        cr_skip_test("no shared data on this machine");
    greedy_cases(model, "server", expected, true, 0);
    greedy_cases(model, "user", expected, true, 0);
}

/* The front door that acceptance uses. Mutation: loopback that swallows output, or gives its own exit status. */
Test(answers, loopback_passes_the_answer_and_the_exit_status_through)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--", "generate", "--prompt", "Once upon a time",
                             "--max-tokens", "8", "--json"));
    struct json_doc *doc = shell_json(&s), *e = load(DEMO_LM "/expected.json");
    same_ids(json_get(json_root(doc), "tokens"), json_get(json_first(json_get(json_root(e), "cases")), "greedy_ids"), 0, 8,
             "loopback");
    const struct json *root = json_root(doc), *wire = json_get(root, "wire"), *timings = json_get(root, "timings");
    cr_expect_str_eq(json_string(json_get(root, "finish_reason")), "length");
    cr_expect(json_number(json_get(wire, "bytes_up")) > 8 * 4 * 64 && json_number(json_get(wire, "bytes_down")) > 0);
    cr_expect_geq(json_number(json_get(wire, "round_trips")), 8);
    cr_expect(json_number(json_get(timings, "prompt_ms")) > 0 && json_number(json_get(timings, "decode_tok_s")) > 0 &&
              json_number(json_get(timings, "server_ms")) > 0 && json_number(json_get(timings, "user_ms")) > 0);
    json_free(doc);
    json_free(e);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--", "generate", "--max-tokens", "8"));
    cr_expect_eq(s.status, 2, "generate without a prompt: %s", s.err);
    shell_free(&s);
}

static void equality(const char *model, const char *flag, const char *text, const char *head)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-bench", "equality", "--model", model, flag, text, "--head", head, "--gen", "256", "--limit",
                             "600", "--threads", "1", "--json"));
    struct json_doc *doc = shell_json(&s);
    const struct json *root = json_root(doc);
    cr_expect(json_true(json_get(root, "ok")) && json_true(json_get(root, "tokens_identical")), "%s, head %s: %s", model, head,
              s.out);
    if (json_get(root, "perplexity_plain") != NULL) {
        double plain = json_number(json_get(root, "perplexity_plain")),
               private = json_number(json_get(root, "perplexity_private"));
        cr_expect(fabs(plain - private) < 1e-6 * plain, "%s: perplexity %.9g, %.9g", model, plain, private);
    }
    json_free(doc);
    shell_free(&s);
}

/* 256 tokens where the context allows, and logits within four times the plain run's own rounding. */
Test(answers, plain_and_private_are_equal_in_tokens_perplexity_and_classes)
{
    static const char *const models[] = {"llama-stories260K",        "llama-stories260K-bf16",  "llama-stories260K-f16",
                                         "llama-stories260K-untied", "llama-stories260K-qwen2", "llama-stories260K-mistral"};
    char model[FILE_PATH_MAX], text[FILE_PATH_MAX];
    equality(DEMO_LM, "--text", DEMO_LM "/sample.txt", "server");
    equality(DEMO_LM, "--text", DEMO_LM "/sample.txt", "user");
    equality(DEMO_CLASSIFIER, "--text", DEMO_CLASSIFIER "/heldout.tsv", "server");
    if (!shared(text, "text", "tinystories_sample.txt"))
        return;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (shared(model, "models", models[i]))
            equality(model, "--text", text, i % 2 == 0 ? "server" : "user");
    if (shared(model, "models", "gpt2-slm4096"))
        equality(model, "--prompt", "Q: What is SLM?\nA:", "server");
    if (shared(model, "models", "bert-tiny-sst2") && shared(text, "text", "sst2_dev_a.tsv"))
        equality(model, "--text", text, "server");
}

/* ------------------------------------------------------------------ classes */

/* The recorded cases: class, and logits as far as two float programs agree. */
static void classify_cases(const struct trio *t, const char *expected, const char *logits)
{
    struct json_doc *e = load(expected);
    for (const struct json *c = json_first(json_get(json_root(e), "cases")); c != NULL; c = json_next(c)) {
        const char *text = json_string(json_get(c, "text"));
        struct shell s;
        trio_user(t, &s, SHELL_ARGV("classify", "--text", text, "--json"));
        struct json_doc *got = shell_json(&s);
        const struct json *a = json_first(json_get(json_root(got), "logits")), *b = json_first(json_get(c, logits));
        cr_expect_str_eq(json_string(json_get(json_root(got), "label")), json_string(json_get(c, "label")), "%s", text);
        double sum = 0;
        for (; a != NULL && b != NULL; a = json_next(a), b = json_next(b))
            cr_expect(fabs(json_number(a) - json_number(b)) < 2e-5 * (1 + fabs(json_number(b))), "%s: %g, expected %g", text,
                      json_number(a), json_number(b));
        cr_expect(a == NULL && b == NULL);
        for (const struct json *p = json_first(json_get(json_root(got), "probs")); p != NULL; p = json_next(p))
            sum += json_number(p);
        cr_expect_float_eq(sum, 1, 1e-9);
        json_free(got);
        shell_free(&s);
    }
    json_free(e);
}

/* Lines "text TAB label": writes the texts alone to `texts`; the first letters of the labels go to `labels`. */
static size_t split_labels(const char *tsv, const char *texts, size_t header, char *labels, size_t cap)
{
    size_t len, n = 0, lines = 0;
    char *all = tempdir_slurp(tsv, &len), *left = malloc(len + 1), *save = NULL;
    for (char *line = strtok_r(all, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        char *tab = strrchr(line, '\t');
        cr_assert(tab != NULL && lines < cap);
        if (header > 0) {
            header--;
            continue;
        }
        *tab = '\0';
        n += (size_t)sprintf(left + n, "%s\n", line);
        labels[lines++] = tab[1];
    }
    tempdir_spill(texts, left, n);
    free(left);
    free(all);
    return lines;
}

/* `classify --file`: one JSON line per text; the logits [n,2] of all. */
static void classify_file(const struct trio *t, const char *texts, double *logits, size_t n)
{
    struct shell s;
    trio_user(t, &s, SHELL_ARGV("classify", "--file", texts, "--json"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    char *save = NULL, *line = strtok_r(s.out, "\n", &save);
    for (size_t i = 0; i < n; i++, line = strtok_r(NULL, "\n", &save)) {
        struct json_doc *doc = NULL;
        struct err err = {0};
        cr_assert(line != NULL && json_parse(&doc, line, strlen(line), false, "a line", &err) == 0, "text %zu: %s", i, err.text);
        const struct json *list = json_get(json_root(doc), "logits");
        logits[2 * i] = json_number(json_first(list));
        logits[2 * i + 1] = json_number(json_next(json_first(list)));
        cr_expect_eq(json_number(json_get(json_root(doc), "id")), logits[2 * i + 1] > logits[2 * i] ? 1 : 0);
        json_free(doc);
    }
    cr_expect_null(line, "more answers than texts");
    shell_free(&s);
}

Test(answers, the_demo_classifier_labels_as_recorded_and_as_often_right_as_its_readme_says)
{
    struct trio t;
    char labels[512];
    double logits[2 * 512];
    size_t right = 0, by_hand = 0;
    trio_open(&t, DEMO_CLASSIFIER, "server");
    size_t n = split_labels(DEMO_CLASSIFIER "/heldout.tsv", trio_path(&t, "texts"), 0, labels, sizeof labels);
    cr_assert_eq(n, 260);
    classify_file(&t, trio_path(&t, "texts"), logits, n);
    for (size_t i = 0; i < n; i++) {
        bool hit = (logits[2 * i + 1] > logits[2 * i]) == (labels[i] == 'P');
        right += hit ? 1 : 0;
        by_hand += hit && i >= 200 ? 1 : 0; /* the hand-written ones stand at the end */
    }
    cr_expect_eq(by_hand, 54, "%zu", by_hand);
    cr_expect_geq(right, 200 * 96 / 100 + 54, "%zu", right);
    classify_cases(&t, DEMO_CLASSIFIER "/expected.json", "logits");
    trio_close(&t);
    trio_open(&t, DEMO_CLASSIFIER, "user");
    classify_cases(&t, DEMO_CLASSIFIER "/expected.json", "logits");
    trio_close(&t);
}

Test(answers, bert_tiny_gives_the_logits_of_the_reference_implementation_for_every_sentence)
{
    char model[FILE_PATH_MAX], expected[FILE_PATH_MAX], tsv[FILE_PATH_MAX], recorded[FILE_PATH_MAX], labels[512];
    struct trio t;
    struct safetensors *st = NULL;
    struct err err = {0};
    double logits[2 * 512];
    size_t right = 0;
    if (!shared(model, "models", "bert-tiny-sst2") || !shared(expected, "expected", "bert-tiny-sst2.json") ||
        !shared(recorded, "expected", "bert-tiny-sst2.safetensors") || !shared(tsv, "text", "sst2_dev_a.tsv"))
        cr_skip_test("no shared data on this machine");
    trio_open(&t, model, "server");
    classify_cases(&t, expected, "logits_ref_f64");
    size_t n = split_labels(tsv, trio_path(&t, "texts"), 1, labels, sizeof labels);
    cr_assert_eq(n, 436);
    classify_file(&t, trio_path(&t, "texts"), logits, n);
    trio_close(&t);
    /* The recorded ones are of the whole set; ours are its first half. */
    cr_assert_eq(safetensors_open(&st, recorded, &err), 0, "%s", err.text);
    const struct tensor *y = safetensors_find(st, "logits");
    cr_assert(y != NULL && y->dtype == DTYPE_F32 && y->count >= 2 * n);
    for (size_t i = 0; i < 2 * n; i++) {
        float want;
        memcpy(&want, y->data + i * sizeof want, sizeof want);
        cr_expect(fabs(logits[i] - (double)want) < 1e-4, "sentence %zu: %.7g, expected %.7g", i / 2, logits[i], (double)want);
        right += i % 2 == 1 && (logits[i] > logits[i - 1]) == (labels[i / 2] == '1') ? 1 : 0;
    }
    safetensors_close(st);
    cr_expect_eq(right, 362, "%zu of 436", right); /* counted from the recorded logits */
}

/* ------------------------------------------------------------------ masked words */

/* Mutation: the position of the mask off by one, or output rows not brought back into the vocabulary's order. */
Test(answers, a_masked_word_is_filled_as_plain_inference_fills_it)
{
    static const char text[] = "the food was [MASK] and the room was [MASK] .";
    const struct synth_shape shape = {.D = 48, .H = 4, .L = 2, .V = 4096};
    struct err err = {0};
    char dir[FILE_PATH_MAX];
    struct plain plain;
    int32_t ids[64];
    tempdir_make(dir);
    char model[FILE_PATH_MAX];
    (void)snprintf(model, sizeof model, "%s/masked", dir);
    cr_assert_eq(synth_checkpoint(model, "BertForMaskedLM", &shape, 3, &err), 0, "%s", err.text);
    size_t len;
    char *tokenizer = tempdir_slurp(DEMO_CLASSIFIER "/tokenizer.json", &len);
    tempdir_spill(tempdir_path(model, "tokenizer.json"), tokenizer, len);
    free(tokenizer);
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-user", "tokenize", "--model", model, "--text", text, "--json"));
    struct json_doc *doc = shell_json(&s);
    int n = 0;
    for (const struct json *j = json_first(json_get(json_root(doc), "ids")); j != NULL && n < 64; j = json_next(j))
        ids[n++] = (int32_t)json_number(j);
    json_free(doc);
    shell_free(&s);
    cr_assert_eq(plain_open(&plain, model, true, n, COMPUTE_F32, &err), 0, "%s", err.text);
    float *logits = malloc((size_t)n * 4096 * sizeof *logits);
    cr_assert_eq(plain_append(&plain, ids, NULL, n, n, logits, &err), 0, "%s", err.text);
    for (int user = 0; user < 2; user++) {
        struct trio t;
        size_t masks = 0;
        trio_open(&t, model, user ? "user" : "server");
        trio_user(&t, &s, SHELL_ARGV("fill", "--text", text, "--top", "3", "--json"));
        doc = shell_json(&s);
        for (const struct json *m = json_first(json_get(json_root(doc), "masks")); m != NULL; m = json_next(m), masks++) {
            int64_t at = -1;
            double before = 2;
            cr_assert(json_integer(json_get(m, "position"), &at) && at > 0 && at < n);
            int32_t best = sample_argmax(logits + (size_t)at * 4096, 4096);
            const struct json *tokens = json_get(m, "tokens");
            cr_expect_eq(json_number(json_get(json_first(tokens), "id")), best);
            cr_expect_eq(json_count(tokens), 3);
            for (const struct json *k = json_first(tokens); k != NULL; k = json_next(k)) {
                double p = json_number(json_get(k, "prob"));
                cr_expect(p > 0 && p <= before, "probabilities fall");
                before = p;
            }
        }
        cr_expect_eq(masks, 2);
        json_free(doc);
        shell_free(&s);
        trio_user(&t, &s, SHELL_ARGV("fill", "--text", "no mask here"));
        cr_expect(s.status == 3 && strstr(s.err, "no [MASK]") != NULL, "%d: %s", s.status, s.err);
        shell_free(&s);
        trio_close(&t);
    }
    free(logits);
    plain_close(&plain);
    tempdir_remove(dir);
}

/* ------------------------------------------------------------------ probabilities */

static double score(const struct trio *t, const char *flag, const char *text, double *tokens)
{
    struct shell s;
    trio_user(t, &s, SHELL_ARGV("score", flag, text, "--json"));
    struct json_doc *doc = shell_json(&s);
    const struct json *root = json_root(doc);
    double nll = json_number(json_get(root, "nll")), sum = 0;
    *tokens = json_number(json_get(root, "tokens"));
    for (const struct json *j = json_first(json_get(root, "token_logprobs")); j != NULL; j = json_next(j))
        sum -= json_number(j);
    cr_expect_eq((double)json_count(json_get(root, "token_logprobs")), *tokens);
    cr_expect(fabs(sum / *tokens - nll) < 1e-9, "the tokens' log-probabilities add up");
    cr_expect(fabs(exp(nll) - json_number(json_get(root, "perplexity"))) < 1e-9 * exp(nll));
    json_free(doc);
    shell_free(&s);
    return nll;
}

Test(answers, each_story_has_the_likelihood_that_an_independent_program_computed)
{
    static const char mark[] = "<|endoftext|>", space[] = " \n\r\t";
    char model[FILE_PATH_MAX], expected[FILE_PATH_MAX], text[FILE_PATH_MAX];
    if (!shared(model, "models", "llama-stories260K") || !shared(expected, "expected", "llama-stories260K.json") ||
        !shared(text, "text", "tinystories_sample.txt"))
        cr_skip_test("no shared data on this machine");
    struct json_doc *e = load(expected);
    for (int user = 0; user < 2; user++) {
        struct trio t;
        size_t len, stories = 0;
        char *all = tempdir_slurp(text, &len), *at = all;
        trio_open(&t, model, user ? "user" : "server");
        for (const struct json *c = json_first(json_get(json_get(json_root(e), "tinystories_sample"), "nll_per_story"));
             c != NULL; c = json_next(c), stories++) {
            double want = json_number(json_first(c)), want_tokens = json_number(json_next(json_first(c))), tokens;
            char *end = strstr(at, mark), *stop = end == NULL ? at + strlen(at) : end;
            at += strspn(at, space);
            while (stop > at && strchr(space, stop[-1]) != NULL)
                stop--;
            tempdir_spill(trio_path(&t, "story"), at, (size_t)(stop - at));
            double nll = score(&t, "--file", trio_path(&t, "story"), &tokens);
            cr_expect(fabs(nll - want) < 1e-4, "story %zu: %.7g, expected %.7g", stories, nll, want);
            cr_expect_eq(tokens, want_tokens);
            at = end == NULL ? stop : end + strlen(mark);
        }
        cr_expect_eq(stories, 5);
        free(all);
        trio_close(&t);
    }
    json_free(e);
}

/* Mutation: rows of one message placed by the message's own index; outputs of a cut message taken from the wrong place. */
Test(answers, small_messages_change_nothing)
{
    struct trio whole, cut;
    double tokens[2];
    size_t len;
    char *sample = tempdir_slurp(DEMO_LM "/sample.txt", &len);
    sample[len < 600 ? len : 600] = '\0';
    trio_open(&whole, DEMO_LM, "server");
    trio_open_limited(&cut, DEMO_LM, "server", "\"rows\":7,\"out_rows\":3");
    struct json_doc *a = generate(&whole, sample, "24"), *b = generate(&cut, sample, "24");
    cr_expect_gt(json_count(json_get(json_root(a), "prompt_tokens")), 70);
    same_ids(json_get(json_root(b), "tokens"), json_get(json_root(a), "tokens"), 0, 0, "seven rows per message");
    cr_expect_gt(json_number(json_get(json_get(json_root(b), "wire"), "round_trips")),
                 json_number(json_get(json_get(json_root(a), "wire"), "round_trips")) + 9);
    double x = score(&whole, "--text", sample, &tokens[0]), y = score(&cut, "--text", sample, &tokens[1]);
    cr_expect(fabs(x - y) < 1e-6 && tokens[0] == tokens[1], "%.9g %.9g", x, y);
    json_free(a);
    json_free(b);
    free(sample);
    trio_close(&whole);
    trio_close(&cut);
}

/* A row of 1024 numbers: 400 of them are two fragments. */
Test(answers, a_prompt_of_several_fragments_is_answered_as_by_plain_inference)
{
    const struct synth_shape shape = {.D = 1024, .H = 8, .G = 2, .L = 1, .V = 2048, .F = 64, .positions = 1024, .bos = 1};
    struct err err = {0};
    struct trio t;
    struct plain plain;
    struct shell s;
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX];
    int32_t ids[1024];
    int n = 0;
    size_t len;
    tempdir_make(dir);
    (void)snprintf(model, sizeof model, "%s/wide", dir);
    cr_assert_eq(synth_checkpoint(model, "LlamaForCausalLM", &shape, 5, &err), 0, "%s", err.text);
    char *tokenizer = tempdir_slurp(DEMO_LM "/tokenizer.json", &len);
    tempdir_spill(tempdir_path(model, "tokenizer.json"), tokenizer, len);
    free(tokenizer);
    char *sample = tempdir_slurp(DEMO_LM "/sample.txt", &len);
    tempdir_spill(tempdir_path(dir, "prompt"), sample, len < 3000 ? len : 3000);
    free(sample);
    trio_open(&t, model, "server");
    trio_user(&t, &s,
              SHELL_ARGV("generate", "--file", tempdir_path(dir, "prompt"), "--max-tokens", "12", "--ignore-eos", "--json"));
    struct json_doc *doc = shell_json(&s);
    for (const struct json *j = json_first(json_get(json_root(doc), "prompt_tokens")); j != NULL && n < 1000; j = json_next(j))
        ids[n++] = (int32_t)json_number(j);
    cr_expect_gt(n, 400, "%d", n);
    cr_assert_eq(plain_open(&plain, model, true, n + 12, COMPUTE_F32, &err), 0, "%s", err.text);
    cr_assert_eq(plain_greedy(&plain, ids, n, n + 12, &err), 0, "%s", err.text);
    const struct json *j = json_first(json_get(json_root(doc), "tokens"));
    for (int i = 0; i < 12; i++, j = json_next(j))
        cr_expect_eq(json_number(j), ids[n + i], "token %d", i);
    json_free(doc);
    shell_free(&s);
    plain_close(&plain);
    trio_close(&t);
    tempdir_remove(dir);
}

/* ------------------------------------------------------------------ sampling, several users, a grant as a file */

/* Mutation: a seed that is not used, or time mixed into it. */
Test(answers, a_seed_repeats_a_sampled_text_and_another_one_does_not)
{
    struct trio t;
    struct json_doc *doc[3];
    trio_open(&t, DEMO_LM, "server");
    for (int i = 0; i < 3; i++) {
        struct shell s;
        trio_user(&t, &s,
                  SHELL_ARGV("generate", "--prompt", "One day", "--max-tokens", "48", "--temperature", "1.3", "--top-k", "200",
                             "--seed", i < 2 ? "7" : "8", "--json"));
        doc[i] = shell_json(&s);
        shell_free(&s);
    }
    const char *text[3] = {json_string(json_get(json_root(doc[0]), "text")), json_string(json_get(json_root(doc[1]), "text")),
                           json_string(json_get(json_root(doc[2]), "text"))};
    cr_expect_str_eq(text[0], text[1]);
    cr_expect_str_neq(text[0], text[2]);
    for (int i = 0; i < 3; i++)
        json_free(doc[i]);
    trio_close(&t);
}

/* Mutation: one cache, one queue entry or one answer given to the wrong session. */
Test(answers, users_at_the_same_time_each_get_the_answer_they_get_alone)
{
    enum { AT_ONCE = 6 };
    static const char *const prompts[AT_ONCE] = {"Once upon a time", "Lily found a",  "One day, a little fox",
                                                 "The sky",          "Sam had a big", "In the forest"};
    struct trio t;
    struct shell s[AT_ONCE], joined;
    struct json_doc *alone[AT_ONCE];
    trio_open(&t, DEMO_LM, "server");
    trio_write_user(&t, "other");
    trio_start_as(&t, "other", &joined, SHELL_ARGV("join"));
    shell_wait(&joined);
    cr_assert_eq(joined.status, 0, "%s", joined.err);
    shell_free(&joined);
    for (int i = 0; i < AT_ONCE; i++)
        alone[i] = generate(&t, prompts[i], "200");
    for (int i = 0; i < AT_ONCE; i++)
        trio_start_as(&t, i % 2 == 0 ? "user" : "other", &s[i],
                      SHELL_ARGV("generate", "--prompt", prompts[i], "--max-tokens", "200", "--json"));
    for (int i = 0; i < AT_ONCE; i++) {
        shell_wait(&s[i]);
        struct json_doc *doc = shell_json(&s[i]);
        same_ids(json_get(json_root(doc), "tokens"), json_get(json_root(alone[i]), "tokens"), 0, 0, prompts[i]);
        json_free(doc);
        json_free(alone[i]);
        shell_free(&s[i]);
    }
    trio_close(&t);
}

/* Mutation: a sealed grant that another user can open. */
Test(answers, a_grant_as_a_file_serves_the_user_it_is_sealed_to_and_nobody_else)
{
    struct trio t;
    struct shell s;
    trio_make(&t, DEMO_LM, "server");
    trio_start_server(&t, NULL);
    trio_start_model_dev(&t);
    trio_wait_serving(&t);
    trio_write_user(&t, "user");
    trio_write_user(&t, "other");
    shell_run(&s, SHELL_ARGV("stip-model-dev", "grant", "--config", trio_path(&t, "model_dev.json"), "--user",
                             trio_path(&t, "user.id/identity.pub"), "--out", trio_path(&t, "sealed"), "--json"));
    json_free(shell_json(&s));
    shell_free(&s);
    process_stop(&t.model_dev); /* offline: the developer is not needed */
    trio_start_as(&t, "other", &s, SHELL_ARGV("join", "--grant", trio_path(&t, "sealed")));
    shell_wait(&s);
    cr_expect_eq(s.status, 4, "%d: %s", s.status, s.err);
    cr_expect(!file_exists(trio_path(&t, "other.grant")));
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("join", "--grant", trio_path(&t, "sealed")));
    cr_expect_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    struct json_doc *doc = generate(&t, "Once upon a time", "64"), *e = load(DEMO_LM "/expected.json");
    same_ids(json_get(json_root(doc), "tokens"), json_get(json_first(json_get(json_root(e), "cases")), "greedy_ids"), 0, 0,
             "sealed");
    json_free(doc);
    json_free(e);
    trio_close(&t);
}
