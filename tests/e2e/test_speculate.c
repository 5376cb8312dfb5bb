/* Guesses cost or save time and change nothing else: the same tokens, the same end, whatever is guessed and however it is drawn.
 * Mutations: the session is not rewound, or by one too many; a token is drawn from the row before or behind; a guess is taken for
 * the token; the guess that was never tested counts as sent. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"
#define WORDS 32

#define TALK                                                                                                                       \
    "<|user|>What is the capital of France?<|end|><|assistant|>The capital of France is Paris.<|end|>"                             \
    "<|user|>What is the capital of Italy?<|end|><|assistant|>"

static const char *const prompts[] = {
    "Once upon a time",
    TALK,
    "One day, a little fox found a drum. The fox found a drum. The fox",
};
#ifdef __SANITIZE_ADDRESS__
enum { FIRST = 1, LAST = 1, HELD = 50, HELD_DRAWN = 1 };
#else
enum { FIRST = 0, LAST = 2, HELD = 200, HELD_DRAWN = 50 };
#endif

struct words {
    const char *list[WORDS];
};

static void add(struct words *w, const char *const more[])
{
    size_t n = 0;
    while (w->list[n] != NULL)
        n++;
    for (size_t i = 0; more[i] != NULL && n < WORDS - 1; i++)
        w->list[n++] = more[i];
}

#define ADD(w, ...) add(w, (const char *const[]){__VA_ARGS__, NULL})

static struct json_doc *answer(const struct trio *t, const char *prompt, const char *tokens, const char *const how[],
                               const char *const guesses[])
{
    struct words w = {{"generate", "--prompt", prompt, "--max-tokens", tokens, "--json"}};
    struct shell s;
    add(&w, how);
    add(&w, guesses);
    trio_user(t, &s, w.list);
    struct json_doc *doc = shell_json(&s);
    shell_free(&s);
    return doc;
}

static int number(const struct json_doc *doc, const char *group, const char *key)
{
    return (int)json_number(json_get(json_get(json_root(doc), group), key));
}

static size_t count_of(const struct json_doc *doc)
{
    return json_count(json_get(json_root(doc), "tokens"));
}

static void same(const struct json_doc *a, const struct json_doc *b, const char *what)
{
    const struct json *x = json_first(json_get(json_root(a), "tokens")), *y = json_first(json_get(json_root(b), "tokens"));
    const struct json *p = json_first(json_get(json_root(a), "logprobs")), *q = json_first(json_get(json_root(b), "logprobs"));
    for (int i = 0; x != NULL && y != NULL; x = json_next(x), y = json_next(y), i++)
        cr_assert_eq(json_number(x), json_number(y), "%s: token %d is %g, without guesses %g", what, i, json_number(y), json_number(x));
    cr_expect(x == NULL && y == NULL, "%s: %zu tokens, without guesses %zu", what, count_of(b), count_of(a));
    for (; p != NULL && q != NULL; p = json_next(p), q = json_next(q))
        cr_expect_float_eq(json_number(json_get(p, "logprob")), json_number(json_get(q, "logprob")), 1e-3, "%s", what);
    cr_expect_str_eq(json_string(json_get(json_root(a), "text")), json_string(json_get(json_root(b), "text")), "%s", what);
    cr_expect_str_eq(json_string(json_get(json_root(a), "finish_reason")), json_string(json_get(json_root(b), "finish_reason")), "%s", what);
}

/* Every way to guess, against none; gives how many guesses held. */
static int all_ways(const struct trio *t, const char *prompt, const char *tokens, const char *const how[])
{
    static const char *const off[] = {"--speculate", "off", NULL};
    static const char *const ways[][5] = {{"--speculate", "auto"},
                                          {"--speculate", "1"},
                                          {"--speculate", "16"},
                                          {"--speculate", "7", "--draft-model", DEMO_LM},
                                          {"--speculate", "auto", "--draft-model", DEMO_LM}};
    struct json_doc *plain = answer(t, prompt, tokens, how, off);
    int accepted = 0;
    cr_expect_eq(number(plain, "timings", "drafted"), 0);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char what[256];
        struct json_doc *guessed = answer(t, prompt, tokens, how, ways[i]);
        (void)snprintf(what, sizeof what, "'%.40s', way %zu, %s", prompt, i, how[0] == NULL ? "greedy" : how[0]);
        same(plain, guessed, what);
        int held = number(guessed, "timings", "accepted");
        cr_expect(held <= number(guessed, "timings", "drafted"), "%s", what);
        /* Every token that was guessed has saved a trip. */
        cr_expect_eq(number(guessed, "wire", "round_trips"), number(plain, "wire", "round_trips") - held, "%s: %d held", what, held);
        accepted += held;
        json_free(guessed);
    }
    json_free(plain);
    return accepted;
}

static const char *const greedy[] = {NULL};
static const char *const to_the_end[] = {"--ignore-eos", NULL};
static const char *const sampled[] = {"--temperature", "0.8", "--top-k", "40", "--top-p", "0.95", "--min-p", "0.02", "--repeat-penalty",
                                      "1.1", "--seed", "7", "--logprobs", "2", "--ignore-eos", NULL};
static const char *const hot[] = {"--temperature", "1.2", "--seed", "3", NULL};

Test(speculate, tokens_are_the_same_greedy_and_drawn_with_either_head)
{
    struct trio t;
    int held = 0, held_drawn = 0;
    trio_open(&t, DEMO_LM, "server");
    for (size_t i = FIRST; i <= LAST; i++) {
        held += all_ways(&t, prompts[i], "80", to_the_end);
        held_drawn += all_ways(&t, prompts[i], "60", sampled);
        held_drawn += all_ways(&t, prompts[i], "60", hot);
    }
    trio_close(&t);
    cr_expect_gt(held, HELD, "guesses hold: %d", held);
    cr_expect_gt(held_drawn, HELD_DRAWN, "guesses hold: %d", held_drawn);
    trio_open(&t, DEMO_LM, "user");
    held = all_ways(&t, prompts[1], "80", to_the_end);
    cr_expect_gt(held, 50, "guesses hold: %d", held);
    trio_close(&t);
}

/* The last tokens of an answer, the last places of the context, an end token that was guessed. Mutation: guesses that do not leave
 * room for the token behind them. */
Test(speculate, ends_are_the_same)
{
    static const char *const few[] = {"1", "2", "3", "9"};
    static const char *const off[] = {"--speculate", "off", NULL}, *const eight[] = {"--speculate", "8", NULL};
    static const char twice[] = "<|user|>What is the capital of Italy?<|end|><|assistant|>The capital of Italy is Rome.<|end|>"
                                "<|user|>What is the capital of Italy?<|end|><|assistant|>";
    struct trio t;
    trio_open(&t, DEMO_LM, "server");
    for (size_t i = 0; i < sizeof few / sizeof *few; i++)
        (void)all_ways(&t, prompts[1], few[i], to_the_end);
    cr_expect_gt(all_ways(&t, prompts[1], "100000", to_the_end), 200); /* the context's end */
    struct json_doc *plain = answer(&t, twice, "60", greedy, off), *guessed = answer(&t, twice, "60", greedy, eight);
    same(plain, guessed, "asked twice");
    cr_expect_str_eq(json_string(json_get(json_root(guessed), "finish_reason")), "stop");
    cr_expect_geq(number(guessed, "timings", "accepted"), 5, "the answer was guessed: %d of %d", number(guessed, "timings", "accepted"),
                  number(guessed, "timings", "drafted"));
    json_free(plain);
    json_free(guessed);
    trio_close(&t);
}

/* What an answer left in the server's cache beyond its end must not be there for the next turn. */
Test(speculate, a_talk_of_several_turns_is_the_same)
{
    static const char *const ways[] = {"--speculate off", "--speculate 8", "--speculate 16 --draft-model '" DEMO_LM "'"};
    char *first = NULL, command[4 * FILE_PATH_MAX];
    struct trio t;
    trio_open(&t, DEMO_LM, "server");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct shell s;
        (void)snprintf(command, sizeof command,
                       "printf 'What is the capital of Italy?\\nWhat is the capital of Italy?\\nTell me a story about a fox.\\nThank you!\\n' | "
                       "'%s' chat --config '%s' --turn '<|user|>%%s<|end|><|assistant|>' --max-tokens 40 %s",
                       shell_program("stip-user"), trio_path(&t, "user.json"), ways[i]);
        shell_run(&s, SHELL_ARGV("/bin/sh", "-c", command));
        cr_assert_eq(s.status, 0, "%s", s.err);
        if (first == NULL) {
            first = strdup(s.out);
            cr_expect_not_null(strstr(first, "Rome"), "%s", first);
        } else
            cr_expect_str_eq(s.out, first, "%s", ways[i]);
        shell_free(&s);
    }
    free(first);
    trio_close(&t);
}

static double perplexity(const struct trio *t, const char *wire)
{
    struct shell s;
    trio_user(t, &s, SHELL_ARGV("score", "--file", DEMO_LM "/sample.txt", "--wire", wire, "--json"));
    struct json_doc *doc = shell_json(&s);
    double p = json_number(json_get(json_root(doc), "perplexity"));
    json_free(doc);
    shell_free(&s);
    return p;
}

Test(speculate, bf16_on_the_wire_halves_the_bytes_and_moves_little)
{
    static const char *const wide[] = {"--wire", "f32", "--speculate", "4", NULL}, *const narrow[] = {"--wire", "bf16", "--speculate", "4", NULL};
    struct trio t;
    for (int user = 0; user < 2; user++) {
        trio_open(&t, DEMO_LM, user ? "user" : "server");
        struct json_doc *f32 = answer(&t, prompts[0], "40", to_the_end, wide), *bf16 = answer(&t, prompts[0], "40", to_the_end, narrow);
        cr_expect_eq(count_of(bf16), 40);
        double saved = (double)number(bf16, "wire", "bytes_up") / number(f32, "wire", "bytes_up");
        cr_expect(saved > 0.45 && saved < 0.75, "%g of the bytes up", saved);
        json_free(f32);
        json_free(bf16);
        double a = perplexity(&t, "f32"), b = perplexity(&t, "bf16");
        cr_expect(a != b && fabs(a - b) < 0.02 * a, "perplexity %g and %g", a, b);
        trio_close(&t);
    }
}

/* Mutation: a key of the config that is not read. */
Test(speculate, the_config_says_it_too_and_wrong_words_are_refused_by_name)
{
    static const struct {
        const char *flag, *value;
        int status;
        const char *says;
    } bad[] = {{"--speculate", "64", 2, "auto, off or 1 to 63"},    {"--speculate", "0", 2, "'0'"},
               {"--speculate", "4x", 2, "'4x'"},                    {"--wire", "f16", 2, "f32 or bf16"},
               {"--draft-model", DEMO_CLASSIFIER, 3, "BertForSeq"}, {"--draft-model", "nowhere", 3, "nowhere"}};
    static const struct synth_shape other = {.D = 32, .H = 4, .L = 1, .V = 60, .F = 48};
    struct trio t;
    struct shell s;
    struct err err;
    size_t len;
    trio_open(&t, DEMO_LM, "server");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        trio_user(&t, &s, SHELL_ARGV("generate", "--prompt", "x", "--max-tokens", "2", bad[i].flag, bad[i].value));
        cr_expect_eq(s.status, bad[i].status, "%s %s: %s", bad[i].flag, bad[i].value, s.err);
        cr_expect_not_null(strstr(s.err, bad[i].says), "%s", s.err);
        shell_free(&s);
    }
    cr_assert_eq(synth_checkpoint(trio_path(&t, "other.model"), "LlamaForCausalLM", &other, 1, &err), 0, "%s", err.text);
    char *text = tempdir_slurp(trio_path(&t, "user.json"), &len), changed[4096];
    text[len] = '\0';
    const char *const keys[] = {"\"speculate\":\"5\",\"wire\":\"bf16\"", "\"draft\":{\"model\":\"other.model\"}", "\"draft\":{\"path\":\"x\"}"};
    for (int i = 0; i < 3; i++) {
        int n = snprintf(changed, sizeof changed, "{%s,%s", keys[i], text + 1);
        tempdir_spill(trio_path(&t, "user.json"), changed, (size_t)n);
        trio_user(&t, &s, SHELL_ARGV("generate", "--prompt", prompts[2], "--max-tokens", "20", "--ignore-eos", "--json"));
        cr_expect_eq(s.status, i == 0 ? 0 : i == 1 ? 3 : 2, "%s: %s", keys[i], s.err);
        if (i == 0) {
            static const char *const over[] = {"--ignore-eos", "--wire", "f32", NULL}, *const none[] = {NULL};
            struct json_doc *doc = shell_json(&s), *flag = answer(&t, prompts[2], "20", over, none);
            cr_expect_geq(number(doc, "timings", "drafted"), 5);
            cr_expect_lt(number(doc, "wire", "bytes_up"), 0.75 * number(flag, "wire", "bytes_up"), "a flag wins over the config");
            json_free(doc);
            json_free(flag);
        } else
            cr_expect_not_null(strstr(s.err, i == 1 ? "60 tokens" : "path"), "%s", s.err);
        shell_free(&s);
    }
    free(text);
    trio_close(&t);
}

/* So many milliseconds there and back: one by one not more than a token in each, and with guesses that hold several. */
Test(speculate, over_a_slow_line_guesses_save_round_trips)
{
    static const char *const ways[][3] = {{"off", "30", "40"}, {"auto", "80", "200"}}; /* the longer, the more a guess may cost */
    int trips[2];
    for (int i = 0; i < 2; i++) {
        struct shell s;
        shell_run(&s, SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--threads", "1", "--rtt", ways[i][2], "--", "generate",
                                 "--prompt", prompts[1], "--max-tokens", ways[i][1], "--ignore-eos", "--json", "--speculate", ways[i][0],
                                 "--draft-model", DEMO_LM));
        struct json_doc *doc = shell_json(&s);
        trips[i] = number(doc, "wire", "round_trips");
        cr_expect_geq(number(doc, "timings", "prompt_ms"), atoi(ways[i][2]));
        if (i == 0)
            cr_expect_lt(json_number(json_get(json_get(json_root(doc), "timings"), "decode_tok_s")), 25.0);
        json_free(doc);
        shell_free(&s);
    }
    cr_expect_geq(trips[0], 30);
    cr_expect_lt(trips[1], 40, "%d round trips for 80 tokens", trips[1]);
}
