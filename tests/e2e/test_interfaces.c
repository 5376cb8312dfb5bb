/* The names that others call: every command and flag that is promised is there, and results on stdout are one JSON object. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"

struct promised {
    const char *program, *command, *flags;
};

static const struct promised all[] = {
    {"stip-model-dev", "keygen", "--out --json"},
    {"stip-model-dev", "protect", "--model --out --profile --head --local-layers --dtype --seed --json"},
    {"stip-model-dev", "serve", "--config --json"},
    {"stip-model-dev", "push", "--config --json"},
    {"stip-model-dev", "grant", "--user --out --json"},
    {"stip-model-dev", "revoke", "--config --json"},
    {"stip-model-dev", "rotate", "--config --json"},
    {"stip-model-dev", "audit", "--json"},
    {"stip-model-dev", "verify", "--config --json"},
    {"stip-model-dev", "export", "--model --out --json"},
    {"stip-model-dev", "doctor", "--config --json"},
    {"stip-server", "serve", "--config --json"},
    {"stip-server", "keygen", "--out --json"},
    {"stip-server", "inspect", "--json"},
    {"stip-server", "doctor", "--config --json"},
    {"stip-user", "keygen", "--out --json"},
    {"stip-user", "join", "--config --grant --json"},
    {"stip-user", "generate", "--config --prompt --max-tokens --temperature --seed --logprobs --json"},
    {"stip-user", "classify", "--config --text --file --image --json"},
    {"stip-user", "score", "--config --file --stride --json"},
    {"stip-user", "chat", "--config --json"},
    {"stip-user", "embed", "--config --json"},
    {"stip-user", "serve", "--config --json"},
    {"stip-user", "bench", "--config --json"},
    {"stip-user", "peek", "--config --json"},
    {"stip-user", "tokenize", "--model --text --ids --json"},
    {"stip-user", "doctor", "--config --json"},
    {"stip-bench", "equality", "--model --text --prompt --profile --head --dtype --dump --json"},
    {"stip-bench", "speed", "--model --shape --dtype --threads --prompt --gen --batch --json"},
    {"stip-bench", "compare", "--systems --shape --seq --network --json --plot"},
    {"stip-bench", "loopback", "--model --profile --head --dtype"},
    {"stip-bench", "load", "--config --sessions --rps --duration --json"},
};

/* "    generate) words='--config ... --help' ;;" of the completion knows all commands and flags of a program. */
static void line_of(char *out, size_t cap, const char *completion, const char *command)
{
    char head[64];
    (void)snprintf(head, sizeof head, "\n    %s) words='", command);
    const char *at = strstr(completion, head);
    cr_assert_not_null(at, "no command %s", command);
    at += strlen(head);
    (void)snprintf(out, cap, " %.*s ", (int)strcspn(at, "'"), at);
}

Test(interfaces, promised_commands_and_flags_are_there)
{
    struct shell s = {0};
    const char *program = "";
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char known[1024], flags[256];
        if (strcmp(program, all[i].program) != 0) {
            shell_free(&s);
            program = all[i].program;
            shell_run(&s, SHELL_ARGV(program, "completion", "bash"));
            cr_assert_eq(s.status, 0, "%s", s.err);
        }
        line_of(known, sizeof known, s.out, all[i].command);
        (void)snprintf(flags, sizeof flags, "%s", all[i].flags);
        for (char *f = strtok(flags, " "); f != NULL; f = strtok(NULL, " ")) {
            char word[64];
            (void)snprintf(word, sizeof word, " %s ", f);
            cr_expect_not_null(strstr(known, word), "%s %s has no %s", program, all[i].command, f);
        }
    }
    shell_free(&s);
}

static struct json_doc *user_json(const struct trio *t, const char *const words[])
{
    struct shell s;
    trio_user(t, &s, words);
    struct json_doc *doc = shell_json(&s);
    cr_expect_eq(strchr(s.out, '\n'), s.out + s.out_len - 1, "%s: one line", s.command);
    shell_free(&s);
    return doc;
}

static void has(const struct json_doc *doc, const struct json *node, const char *names)
{
    char copy[256];
    (void)snprintf(copy, sizeof copy, "%s", names);
    for (char *n = strtok(copy, " "); n != NULL; n = strtok(NULL, " "))
        cr_expect_not_null(json_get(node, n), "%s has no '%s'", json_name(doc), n);
}

static void answers(const struct trio *t)
{
    struct json_doc *doc = user_json(t, SHELL_ARGV("generate", "--prompt", "Once", "--max-tokens", "3", "--json"));
    const struct json *root = json_root(doc);
    has(doc, root, "prompt_tokens tokens text finish_reason timings wire");
    has(doc, json_get(root, "timings"), "prompt_ms prompt_tok_s decode_tok_s user_ms server_ms");
    has(doc, json_get(root, "wire"), "bytes_up bytes_down round_trips");
    json_free(doc);
    doc = user_json(t, SHELL_ARGV("score", "--text", "Once upon a time", "--json"));
    has(doc, json_root(doc), "tokens nll perplexity token_logprobs");
    json_free(doc);
    doc = user_json(t, SHELL_ARGV("join", "--json"));
    has(doc, json_root(doc), "context architecture profile head local_layers epoch expires");
    json_free(doc);
}

static void bench(const struct trio *t)
{
    struct shell s;
    struct json_doc *doc = user_json(t, SHELL_ARGV("bench", "--prompt-tokens", "5", "--max-tokens", "4", "--repeats", "3", "--json"));
    has(doc, json_root(doc), "prompt_tokens max_tokens repeats prompt_ms prompt_tok_s decode_tok_s answer_ms user_ms server_ms line_ms wire");
    cr_expect_geq(json_number(json_get(json_root(doc), "answer_ms")), json_number(json_get(json_root(doc), "prompt_ms")));
    /* HELLO and session apart, a token is a round trip. */
    cr_expect_geq(json_number(json_get(json_get(json_root(doc), "wire"), "round_trips")), 3 * 4);
    json_free(doc);
    trio_user(t, &s, SHELL_ARGV("bench", "--prompt-tokens", "512", "--max-tokens", "1"));
    cr_expect_eq(s.status, 2, "%s", s.err);
    cr_expect_not_null(strstr(s.err, "do not fit the context of 512 tokens"), "%s", s.err);
    shell_free(&s);
}

static void verified(const struct trio *t, int status, const char *identity, const char *sentence)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-model-dev", "verify", "--protected", trio_path(t, "protected"), "--identity", trio_path(t, identity)));
    cr_expect_eq(s.status, status, "%s", s.err);
    cr_expect_not_null(strstr(status == 0 ? s.out : s.err, sentence), "%s%s", s.out, s.err);
    cr_expect_eq(s.out_len == 0, status != 0, "%s", s.out);
    shell_free(&s);
}

/* Mutations: manifest_check_files left out; release_open without the signer. */
static void own_package(const struct trio *t)
{
    size_t len;
    char *config = tempdir_slurp(trio_path(t, "protected/package/config.json"), &len);
    verified(t, 0, "model_dev.id", "signed by this identity");
    verified(t, 4, "other.id", "is not signed by the trusted developer key");
    config[len - 2] ^= 1;
    tempdir_spill(trio_path(t, "protected/package/config.json"), config, len);
    verified(t, 1, "model_dev.id", "is not what was signed");
    config[len - 2] ^= 1;
    tempdir_spill(trio_path(t, "protected/package/config.json"), config, len);
    free(config);
    cr_assert_eq(rename(trio_path(t, "protected/context.key"), trio_path(t, "away.key")), 0);
    verified(t, 3, "model_dev.id", "context.key");
}

Test(interfaces, results_are_one_object_with_the_promised_members)
{
    struct trio t;
    trio_open(&t, DEMO_LM, "user");
    answers(&t);
    bench(&t);
    own_package(&t);
    trio_close(&t);
}
