/* export, grant, generate --backend: a program that knows no key answers, and the user reads the plain model's answer. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/tempdir.h"
#include "tests/support/toy_engine.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
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

/* Exported model, joined user; user.json names `backend` unless it is NULL. */
static void make(const char *backend)
{
    char text[1024], field[256] = "";
    tempdir_make(dir);
    run(SHELL_ARGV("stip-model-dev", "export", "--model", DEMO_LM, "--out", path("exported")));
    run(SHELL_ARGV("stip-user", "keygen", "--out", path("user.id")));
    run(SHELL_ARGV("stip-model-dev", "grant", "--user", path("user.id/identity.pub"), "--protected", path("exported"), "--model", DEMO_LM,
                   "--out", path("user.sealed")));
    if (backend != NULL)
        (void)snprintf(field, sizeof field, "\"backend\":{\"url\":\"%s\"},", backend);
    int n = snprintf(text, sizeof text,
                     "{\"role\":\"user\",\"identity\":\"user.id\",\"grant\":\"grant\",%s\"peers\":{%s\"model_dev\":{\"endpoint\":"
                     "\"tcp://127.0.0.1:1\",\"key\":\"@exported/identity/identity.pub\"}}}\n",
                     field, backend != NULL ? "" : "\"server\":{\"endpoint\":\"tcp://127.0.0.1:1\",\"key\":\"@user.id/identity.pub\"},");
    tempdir_spill(path("user.json"), text, (size_t)n);
    run(SHELL_ARGV("stip-user", "join", "--config", path("user.json"), "--grant", path("user.sealed")));
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
    shell_run(&s, SHELL_ARGV("stip-user", "score", "--config", path("user.json"), "--file", DEMO_LM "/sample.txt"));
    cr_expect(s.status == 2 && strstr(s.err, "serves generate only") != NULL, "%d: %s", s.status, s.err);
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
