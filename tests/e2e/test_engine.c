/* export, grant, generate --backend: a program that knows no key answers, and the user reads the plain model's answer. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/support/gateway.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "tests/support/toy_engine.h"
#include "tests/support/trio.h"

#define PROMPT "Once upon a time"
#define TOKENS "24"

static char dir[FILE_PATH_MAX];

static void run(const char *const argv[])
{
    struct shell s;
    shell_run(&s, argv);
    cr_assert_eq(s.status, 0, "%s: %s", s.command, s.err);
    shell_free(&s);
}

static const char *path(const char *name)
{
    return tempdir_path(dir, name);
}

/* Exported model, joined user; user.json names `backend` unless it is NULL. rows: the grant has them. */
static void make_of(const char *model, const char *backend, bool rows)
{
    char text[1024], field[256] = "";
    run(SHELL_ARGV("stip-model-dev", "export", "--model", model, "--out", path("exported")));
    run(SHELL_ARGV("stip-user", "keygen", "--out", path("user.id")));
    run(SHELL_ARGV("stip-model-dev", "grant", "--user", path("user.id/identity.pub"), "--protected", path("exported"), "--model", model,
                   "--out", path("user.sealed"), "--canaries", "0", rows ? "--prompt-embeds" : NULL));
    if (backend != NULL)
        (void)snprintf(field, sizeof field, "\"backend\":{\"url\":\"%s\"},", backend);
    int n = snprintf(text, sizeof text,
                     "{\"role\":\"user\",\"identity\":\"user.id\",\"grant\":\"grant\",%s\"peers\":{%s\"model_dev\":{\"endpoint\":"
                     "\"tcp://127.0.0.1:1\",\"key\":\"@exported/identity/identity.pub\"}}}\n",
                     field, backend != NULL ? "" : "\"server\":{\"endpoint\":\"tcp://127.0.0.1:1\",\"key\":\"@user.id/identity.pub\"},");
    tempdir_spill(path("user.json"), text, (size_t)n);
    run(SHELL_ARGV("stip-user", "join", "--config", path("user.json"), "--grant", path("user.sealed")));
}

static void make_with(const char *backend, bool rows)
{
    tempdir_make(dir);
    make_of(DEMO_LM, backend, rows);
}

static void make(const char *backend)
{
    make_with(backend, false);
}

static void url_of(char out[64], const struct toy_engine *e)
{
    (void)snprintf(out, 64, "openai:http://127.0.0.1:%d/v1", e->port);
}

/* The plain model's words for the same prompt, by three processes of ours. */
static char *plain_answer(void)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--", "generate", "--prompt", PROMPT, "--max-tokens", TOKENS));
    cr_assert_eq(s.status, 0, "%s", s.err);
    char *text = strdup(s.out);
    shell_free(&s);
    return text;
}

/* Mutation: prompts go out in plain order; answers are not moved back. */
Test(engine, an_engine_without_keys_writes_the_same_answer)
{
    struct toy_engine e;
    struct shell s;
    char url[64], *want = plain_answer();
    make("openai:http://127.0.0.1:1/v1");
    toy_engine_start(&e, path("exported/package"), TOY_WELL);
    url_of(url, &e);
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--config", path("user.json"), "--prompt", PROMPT, "--max-tokens", TOKENS, "--backend",
                             url));
    cr_expect_eq(s.status, 0, "%s", s.err);
    cr_expect_str_eq(s.out, want);
    cr_expect_not_null(strstr(s.err, "profile engine"), "%s", s.err);
    shell_free(&s);
    /* --json, and a model by its name; the ids are the plain ones. */
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--config", path("user.json"), "--prompt", PROMPT, "--max-tokens", "5", "--backend", url,
                             "--backend-model", "exported", "--json"));
    struct json_doc *doc = shell_json(&s);
    cr_expect_eq(json_count(json_get(json_root(doc), "tokens")), 5);
    cr_expect_eq(strncmp(want, json_string(json_get(json_root(doc), "text")), 8), 0);
    cr_expect_str_eq(json_string(json_get(json_root(doc), "finish_reason")), "length");
    cr_expect_str_eq(json_string(json_get(json_root(doc), "profile")), "engine");
    cr_expect_eq((int)json_number(json_get(json_get(json_root(doc), "wire"), "round_trips")), 1);
    json_free(doc);
    shell_free(&s);
    toy_engine_stop(&e);
    free(want);
    tempdir_remove(dir);
}

/* Mutation: what follows an end is printed. */
Test(engine, an_end_that_the_engine_does_not_know_ends_the_answer_all_the_same)
{
    struct toy_engine e;
    struct shell s, want;
    char url[64];
    shell_run(&want, SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--", "generate", "--prompt", PROMPT, "--max-tokens", "200"));
    make("openai:http://127.0.0.1:1/v1");
    toy_engine_start(&e, path("exported/package"), TOY_GOES_ON);
    url_of(url, &e);
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--config", path("user.json"), "--prompt", PROMPT, "--max-tokens", "200", "--backend",
                             url, "--json"));
    struct json_doc *doc = shell_json(&s);
    cr_expect_str_eq(json_string(json_get(json_root(doc), "finish_reason")), "stop");
    cr_expect(strncmp(want.out, json_string(json_get(json_root(doc), "text")), strlen(want.out) - 1) == 0, "%s", s.out);
    cr_expect_eq(strlen(json_string(json_get(json_root(doc), "text"))), strlen(want.out) - 1);
    cr_expect_lt(json_count(json_get(json_root(doc), "tokens")), 199, "the demo model's text ends before that");
    json_free(doc);
    shell_free(&s);
    toy_engine_stop(&e);
    shell_free(&want);
    tempdir_remove(dir);
}

/* Mutation: such an end is believed. */
Test(engine, an_end_of_the_engines_own_is_no_answer_of_a_model_without_one)
{
    static const char *const files[] = {"config.json", "tokenizer.json", "model.safetensors"};
    struct toy_engine e;
    struct shell s;
    struct err err;
    char url[64], *data, *at;
    size_t len;
    tempdir_make(dir);
    cr_assert_eq(file_mkdirs(path("endless"), 0700, &err), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
        cr_assert_eq(file_join(from, DEMO_LM, files[i], &err) | file_join(to, path("endless"), files[i], &err), 0);
        cr_assert_eq(file_read(from, 64 << 20, &data, &len, &err), 0, "%s", err.text);
        if (i == 0) {
            cr_assert_not_null(at = strstr(data, "\"eos_token_id\": 1"));
            memcpy(at, "\"eos_none\":     1", 17);
        }
        cr_assert_eq(file_write(to, data, len, 0600, &err), 0, "%s", err.text);
        free(data);
    }
    make_of(path("endless"), "openai:http://127.0.0.1:1/v1", false);
    toy_engine_start(&e, path("exported/package"), TOY_STOPS);
    url_of(url, &e);
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--config", path("user.json"), "--prompt", PROMPT, "--max-tokens", "8", "--backend", url));
    cr_expect_eq(s.status, 5, "%d: %s", s.status, s.err);
    cr_expect_not_null(strstr(s.err, "ended its answer after 3 tokens at an end token, and this model has none"), "%s", s.err);
    shell_free(&s);
    toy_engine_stop(&e);
    tempdir_remove(dir);
}

static void asks_with(struct shell *s, const char *url, const char *how)
{
    shell_run(s, SHELL_ARGV("stip-user", "generate", "--config", path("user.json"), "--prompt", PROMPT, "--max-tokens", TOKENS, "--backend", url,
                            "--prompt-embeds", how));
}

/* Mutation: rows by plain ids, in the order of the ids; `on` falls back to ids as `try` does. */
Test(engine, rows_in_place_of_ids_give_the_same_answer_where_they_are_taken)
{
    struct toy_engine e;
    struct shell s;
    char url[64], *want = plain_answer();
    make_with("openai:http://127.0.0.1:1/v1", true);
    toy_engine_start(&e, path("exported/package"), TOY_TAKES_ROWS);
    url_of(url, &e);
    asks_with(&s, url, "on");
    cr_expect_eq(s.status, 0, "%s", s.err);
    cr_expect_str_eq(s.out, want);
    cr_expect_not_null(strstr(s.err, "each is worth as much as its token id"), "%s", s.err);
    shell_free(&s);
    toy_engine_stop(&e);
    toy_engine_start(&e, path("exported/package"), TOY_WELL);
    url_of(url, &e);
    asks_with(&s, url, "on");
    cr_expect(s.status == 5 && strstr(s.err, "You must set `--enable-prompt-embeds`") != NULL && strstr(s.err, "--prompt-embeds try") != NULL,
              "%d: %s", s.status, s.err);
    cr_expect_str_eq(s.out, "");
    shell_free(&s);
    asks_with(&s, url, "try");
    cr_expect(s.status == 0 && strstr(s.err, "the prompt is sent as token ids") != NULL, "%d: %s", s.status, s.err);
    cr_expect_str_eq(s.out, want);
    shell_free(&s);
    asks_with(&s, url, "maybe");
    cr_expect(s.status == 2 && strstr(s.err, "expected off, on or try") != NULL, "%d: %s", s.status, s.err);
    shell_free(&s);
    run(SHELL_ARGV("/bin/cp", "-f", DEMO_LM "/model.safetensors", path("grant/rows.safetensors")));
    asks_with(&s, url, "off");
    cr_expect(s.status == 3 && strstr(s.err, "rows.safetensors: expected tensor 'rows'") != NULL, "%d: %s", s.status, s.err);
    shell_free(&s);
    toy_engine_stop(&e);
    free(want);
    tempdir_remove(dir);
}

/* Mutation: rows of a table whose rows the model scales are given out. */
Test(engine, rows_of_a_model_that_scales_them_are_not_granted)
{
    const struct synth_shape shape = {.D = 32, .H = 4, .L = 1, .V = 2048};
    struct shell s;
    struct err err;
    tempdir_make(dir);
    cr_assert_eq(synth_checkpoint(path("gemma"), "GemmaForCausalLM", &shape, 7, &err), 0, "%s", err.text);
    run(SHELL_ARGV("/bin/cp", DEMO_LM "/tokenizer.json", path("gemma")));
    run(SHELL_ARGV("stip-model-dev", "export", "--model", path("gemma"), "--out", path("exported")));
    run(SHELL_ARGV("stip-user", "keygen", "--out", path("user.id")));
    shell_run(&s, SHELL_ARGV("stip-model-dev", "grant", "--user", path("user.id/identity.pub"), "--protected", path("exported"), "--model",
                             path("gemma"), "--out", path("user.sealed"), "--canaries", "0", "--prompt-embeds"));
    cr_expect(s.status == 2 && strstr(s.err, "GemmaForCausalLM scales embedded rows") != NULL, "%d: %s", s.status, s.err);
    cr_expect(!file_exists(path("user.sealed")));
    shell_free(&s);
    run(SHELL_ARGV("stip-model-dev", "grant", "--user", path("user.id/identity.pub"), "--protected", path("exported"), "--model",
                   path("gemma"), "--out", path("user.sealed"), "--canaries", "0"));
    tempdir_remove(dir);
}

/* The plain model's text after a prompt, without the line's end. */
static void plain_after(char out[1024], const char *prompt)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--", "generate", "--prompt", prompt, "--max-tokens", "16"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    (void)snprintf(out, 1024, "%.*s", (int)strlen(s.out) - 1, s.out);
    shell_free(&s);
}

static void gateway_to(struct gateway *g, const char *url)
{
    struct trio t = {0};
    (void)snprintf(t.dir, sizeof t.dir, "%s", dir);
    gateway_open(g, &t, SHELL_ARGV("--backend", url));
}

/* The gateway, by the model's template.
 * Mutation: log-probabilities that nobody computed; the server's promise on the page and in /stip/info. */
static void asks_gateway(struct toy_engine *e, const char *want)
{
    struct gateway g;
    struct heard h;
    struct web w;
    char url[64];
    url_of(url, e);
    gateway_to(&g, url);
    struct json_doc *doc = gateway_ask(&g, CHAT, "{" GREEDY "\"max_tokens\":16," SAY("Who are you?") "}");
    cr_expect_str_eq(gateway_answer(doc), want);
    json_free(doc);
    gateway_stream(&g, CHAT, "{" GREEDY "\"max_tokens\":16,\"stream\":true,\"stip\":{\"trace\":true}," SAY("Who are you?") "}", &h);
    cr_expect_str_eq((const char *)h.text.data, want);
    cr_expect(h.role && h.done && !h.error);
    buf_free(&h.text);
    doc = gateway_ask(&g, TEXT, "{" GREEDY "\"max_tokens\":24,\"prompt\":\"" PROMPT "\",\"stop\":\"boy\"}");
    cr_expect(strstr(gateway_answer(doc), "friendly ") != NULL && strstr(gateway_answer(doc), "boy") == NULL, "%s", gateway_answer(doc));
    json_free(doc);
    cr_expect_eq(gateway_status(&g, TEXT, "", "{\"prompt\":\"x\",\"logprobs\":1}"), 400);
    cr_expect_eq(gateway_status(&g, TEXT, "", "{\"prompt\":\"x\",\"logit_bias\":{\"7\":1}}"), 400);
    cr_expect_eq(gateway_status(&g, "/v1/embeddings", "", "{\"input\":\"x\"}"), 400);
    web_call(g.port, "/stip/info", "", NULL, &w);
    cr_expect(w.status == 200 && strstr(w.body, "\"profile\":\"engine\"") != NULL && strstr(w.body, url + 7) != NULL, "%s", w.body);
    web_free(&w);
    cr_expect_gt(gateway_metric(&g, "wire_up_bytes_total"), 0);
    toy_engine_stop(e);
    cr_expect_eq(gateway_status(&g, TEXT, "", "{\"prompt\":\"x\"}"), 503);
    cr_expect_eq(gateway_close(&g), 0);
}

/* The whole talk goes up with each turn, in the model's own turns.
 * Mutation: a turn without those before it. */
Test(engine, a_talk_and_the_gateway_through_an_engine_give_the_plain_model_s_words)
{
    struct toy_engine e;
    struct shell s;
    char url[64], first[1024], second[1024], prompt[4096], command[FILE_PATH_MAX * 2];
    plain_after(first, "<|user|>Who are you?<|end|><|assistant|>");
    (void)snprintf(prompt, sizeof prompt, "<|user|>Who are you?<|end|><|assistant|>%s<|end|><|user|>And who am I?<|end|><|assistant|>", first);
    plain_after(second, prompt);
    make("openai:http://127.0.0.1:1/v1");
    toy_engine_start(&e, path("exported/package"), TOY_WELL);
    url_of(url, &e);
    (void)snprintf(command, sizeof command, "printf '%%s\\n' 'Who are you?' 'And who am I?' | '%s' chat --config '%s' --max-tokens 16 --backend %s "
                                            "--turn '<|user|>%%s<|end|><|assistant|>'", shell_program("stip-user"), path("user.json"), url);
    shell_run(&s, SHELL_ARGV("/bin/sh", "-c", command));
    cr_expect_eq(s.status, 0, "%s", s.err);
    (void)snprintf(prompt, sizeof prompt, "%s\n%s\n", first, second);
    cr_expect_str_eq(s.out, prompt);
    cr_expect_not_null(strstr(s.err, "profile engine"), "%s", s.err);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-user", "chat", "--config", path("user.json"), "--speculate", "4"));
    cr_expect(s.status == 2 && strstr(s.err, "--speculate: of the line to a stip-server") != NULL, "%d: %s", s.status, s.err);
    shell_free(&s);
    asks_gateway(&e, first);
    tempdir_remove(dir);
}

static void leaves(enum toy_mood mood)
{
    struct toy_engine e;
    struct gateway g;
    struct web w;
    char url[64];
    static const char body[] = "{\"prompt\":\"x\",\"model\":\"stip\"}";
    toy_engine_start(&e, path("exported/package"), mood);
    url_of(url, &e);
    gateway_to(&g, url);
    int fd = web_send(g.port, "POST", TEXT, "", body, sizeof body - 1);
    gateway_wait_metric(&g, "connections_busy", 1);
    (void)shutdown(fd, SHUT_RDWR);
    gateway_wait_metric(&g, "connections_busy", 0);
    web_finish(fd, &w);
    web_free(&w);
    cr_expect_eq(gateway_close(&g), 0);
    toy_engine_stop(&e);
}

/* Mutations: a job that waits for the engine's next word before it looks whether anybody still listens; one that looks only once the
 * engine has said which model it serves. */
Test(engine, a_client_that_leaves_does_not_keep_a_place_at_a_silent_engine)
{
    make("openai:http://127.0.0.1:1/v1");
    leaves(TOY_SILENT);
    leaves(TOY_FALLS_SILENT);
    tempdir_remove(dir);
}

static void fails(enum toy_mood mood, int status, const char *why)
{
    struct toy_engine e;
    struct shell s;
    char url[64];
    toy_engine_start(&e, path("exported/package"), mood);
    url_of(url, &e);
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--config", path("user.json"), "--prompt", PROMPT, "--max-tokens", "8", "--backend", url));
    cr_expect_eq(s.status, status, "%d: %s", s.status, s.err);
    cr_expect_not_null(strstr(s.err, why), "%s", s.err);
    shell_free(&s);
    toy_engine_stop(&e);
}

Test(engine, an_engine_that_does_otherwise_is_named_with_the_reason)
{
    struct shell s;
    make("openai:http://127.0.0.1:1/v1");
    fails(TOY_OTHER_VOCABULARY, 5, "not of the exported vocabulary");
    fails(TOY_BREAKS_OFF, 5, "broke off its answer after 2 tokens");
    fails(TOY_FAILS, 5, "ended the answer: context shift is disabled");
    fails(TOY_REFUSES, 5, "answered 400: no such thing");
    /* Nobody there; a name that is no engine's; what this way cannot do. */
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--config", path("user.json"), "--prompt", PROMPT));
    cr_expect(s.status == 5 && strstr(s.err, "is the engine running?") != NULL, "%d: %s", s.status, s.err);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--config", path("user.json"), "--prompt", PROMPT, "--backend", "ftp://x"));
    cr_expect(s.status == 2 && strstr(s.err, "expected openai:http://") != NULL, "%d: %s", s.status, s.err);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--config", path("user.json"), "--prompt", PROMPT, "--logprobs", "1"));
    cr_expect(s.status == 2 && strstr(s.err, "--logprobs") != NULL, "%d: %s", s.status, s.err);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-user", "generate", "--config", path("user.json"), "--prompt", PROMPT, "--prompt-embeds", "on"));
    cr_expect(s.status == 2 && strstr(s.err, "this grant has no rows") != NULL, "%d: %s", s.status, s.err);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-user", "score", "--config", path("user.json"), "--file", DEMO_LM "/sample.txt"));
    cr_expect(s.status == 2 && strstr(s.err, "serves generate, chat and serve only") != NULL, "%d: %s", s.status, s.err);
    shell_free(&s);
    tempdir_remove(dir);
}

/* Mutation: the server loads whatever is signed. */
Test(engine, a_stip_server_does_not_take_what_an_engine_is_given)
{
    struct trio t;
    struct shell s;
    trio_make(&t, DEMO_LM, "server");
    run(SHELL_ARGV("stip-model-dev", "export", "--model", DEMO_LM, "--out", trio_path(&t, "exported"), "--identity", trio_path(&t, "model_dev.id")));
    shell_run(&s, SHELL_ARGV("stip-model-dev", "grant", "--user", trio_path(&t, "user.id/identity.pub"), "--protected", trio_path(&t, "protected"),
                             "--identity", trio_path(&t, "model_dev.id"), "--model", DEMO_LM, "--out", trio_path(&t, "x.grant"), "--prompt-embeds"));
    cr_expect(s.status == 2 && strstr(s.err, "has profile stip; only an export") != NULL, "%d: %s", s.status, s.err);
    shell_free(&s);
    trio_start_server(&t, NULL);
    shell_run(&s, SHELL_ARGV("stip-model-dev", "push", "--protected", trio_path(&t, "exported"), "--identity", trio_path(&t, "model_dev.id"),
                             "--to", t.developers_at, "--key", trio_path(&t, "server.id/identity.pub")));
    cr_expect_eq(s.status, 3, "%d", s.status);
    cr_expect_not_null(strstr(s.err, "engine"), "%s", s.err);
    shell_free(&s);
    trio_close(&t);
}

static void doctor_says(const char *line)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-user", "doctor", "--config", path("user.json")));
    cr_expect_eq(s.status, 1);
    cr_expect_not_null(strstr(s.out, line), "%s: %s", line, s.out);
    cr_expect_not_null(strstr(s.out, "\nok    grant "), "%s", s.out);
    cr_expect_null(strstr(s.out, "server handshake"), "%s", s.out);
    shell_free(&s);
    tempdir_remove(dir);
}

Test(engine, doctor_looks_for_the_engine_and_not_for_a_server)
{
    make("openai:http://127.0.0.1:1/v1");
    doctor_says("\nfail  engine tcp             tcp://127.0.0.1:1: Connection refused");
    make("openai:http://no-such-host.invalid/v1");
    doctor_says("\nfail  engine dns             no-such-host.invalid: ");
    make(NULL);
    doctor_says("\nfail  engine                 this grant is of profile 'engine'");
}
