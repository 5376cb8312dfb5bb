/* Verified inference between three programs: an honest server passes, one that computes something else does not. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/gateway.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"

static double number(const struct json_doc *doc, const char *key)
{
    return json_number(json_get(json_root(doc), key));
}

static void passes(const char *model, const char *const flags[], const char *wire)
{
    struct trio t;
    struct shell s;
    trio_open_protected(&t, model, flags);
    trio_user(&t, &s, SHELL_ARGV("verify", "--count", "4", "--wire", wire, "--json"));
    struct json_doc *doc = shell_json(&s);
    cr_expect(json_true(json_get(json_root(doc), "passed")), "%s", s.out);
    cr_expect(number(doc, "asked") == 4 && number(doc, "failed") == 0 && number(doc, "asked_before") == 0, "%s", s.out);
    cr_expect_lt(number(doc, "max_diff"), number(doc, "tolerance"));
    json_free(doc);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("verify", "--count", "1"));
    cr_expect(s.status == 0 && strstr(s.out, "asked before") != NULL, "serve gives four: %s%s", s.out, s.err);
    shell_free(&s);
    trio_close(&t);
}

Test(verify, an_honest_server_passes)
{
    passes(DEMO_LM, (const char *const[]){"--head", "user", NULL}, "f32");
    passes(DEMO_LM, (const char *const[]){"--head", "server", NULL}, "bf16");
    passes(DEMO_CLASSIFIER, (const char *const[]){"--head", "server", NULL}, "f32");
}

/* The answers in the grant are those of the rotated weights, rounded. Mutations: plain answers; the users' layers left out of them;
 * the output key not undone where the server has the head. */
Test(verify, an_honest_server_of_rounded_gauge_passes)
{
    passes(DEMO_LM, (const char *const[]){"--profile", "gauge", "--dtype", "bf16", NULL}, "f32");
    passes(DEMO_LM, (const char *const[]){"--profile", "gauge", "--dtype", "int8", "--head", "server", NULL}, "f32");
    passes(DEMO_LM, (const char *const[]){"--profile", "gauge", "--dtype", "int8", "--local-layers", "1", NULL}, "f32");
}

/* Integers take their inputs to the nearest step, and a wire that rounds moves them to others. Mutation: the tolerance of a package
 * in f32, which blames most honest servers. */
Test(verify, a_wire_that_rounds_is_no_cheat_in_int8)
{
    passes(DEMO_LM, (const char *const[]){"--dtype", "int8", NULL}, "bf16");
    passes(DEMO_LM, (const char *const[]){"--profile", "gauge", "--dtype", "int8", "--local-layers", "1", NULL}, "bf16");
}

/* A text of one of the trio's files, with something put in front of a place in it. */
static void put(const struct trio *t, const char *file, const char *before, const char *what)
{
    size_t len;
    char *text = tempdir_slurp(trio_path(t, file), &len), *at = strstr(text, before);
    char *changed = malloc(len + strlen(what) + 1);
    cr_assert_not_null(at);
    const int n = sprintf(changed, "%.*s%s%s", (int)(at - text), text, what, at);
    tempdir_spill(trio_path(t, file), changed, (size_t)n);
    free(changed);
    free(text);
}

/* The cheat that needs no other key: keys and values that are rounded. Users ask again at the same address. */
static void start_cheating(struct trio *t)
{
    char exe[FILE_PATH_MAX], config[FILE_PATH_MAX];
    struct json_doc *ready;
    struct err err = {0};
    const char *value;
    process_stop(&t->server);
    put(t, "server.json", "\"threads\"", "\"kv_dtype\":\"int8\",");
    (void)snprintf(exe, sizeof exe, "%s", shell_program("stip-server"));
    (void)snprintf(config, sizeof config, "%s", trio_path(t, "server.json"));
    char *argv[] = {exe, "serve", "--config", config, "--json", NULL};
    cr_assert_eq(process_start(&t->server, "stip-server", argv, true, trio_path(t, "server.log"), &err), 0, "%s", err.text);
    cr_assert_eq(process_event(&t->server, "ready", 60000, &ready, &err), 0, "%s", err.text);
    cr_assert_eq(json_get_str(ready, json_root(ready), "endpoint", &value, &err), 0);
    (void)snprintf(t->users_at, sizeof t->users_at, "%s", value);
    json_free(ready);
    trio_write_user(t, "user");
}

/* What the server may choose in its config and must not choose silently. Mutation: a tolerance that is read and not used. */
Test(verify, a_server_with_a_cheaper_arithmetic_is_named)
{
    struct trio t;
    struct shell s;
    trio_open(&t, DEMO_LM, "user");
    start_cheating(&t);
    trio_user(&t, &s, SHELL_ARGV("verify", "--json"));
    cr_expect_eq(s.status, 1, "%s%s", s.out, s.err);
    cr_expect_not_null(strstr(s.err, "does not compute the model of this grant: step"), "%s", s.err);
    cr_expect_not_null(strstr(s.out, "\"passed\":false"), "%s", s.out);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("generate", "--prompt", "Once", "--max-tokens", "3"));
    cr_expect_eq(s.status, 0, "nothing else would have told");
    shell_free(&s);
    trio_close(&t);
}

/* Mutations: pool_verify not called; pool_take without verifier_check. */
Test(verify, the_gateway_asks_between_requests_and_stops_when_an_answer_is_wrong)
{
    static const char body[] = "{\"prompt\":\"Once\",\"max_tokens\":4}";
    struct trio t;
    struct gateway g;
    struct web w;
    trio_open(&t, DEMO_LM, "user");
    put(&t, "user.json", "\"threads\"", "\"verify_rate\":1,");
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN));
    json_free(gateway_ask(&g, TEXT, body));
    json_free(gateway_ask(&g, TEXT, body));
    gateway_wait_metric(&g, "verify_asked_total", 2);
    cr_expect_eq(gateway_metric(&g, "verify_failed_total"), 0);
    cr_expect_eq(gateway_close(&g), 0);
    start_cheating(&t);
    put(&t, "user.json", "\"threads\"", "\"verify_rate\":1,");
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN));
    json_free(gateway_ask(&g, TEXT, body));
    gateway_wait_metric(&g, "verify_failed_total", 1);
    web_call(g.port, TEXT, "", body, &w);
    cr_expect_eq(w.status, 502, "%s", w.body);
    cr_expect_not_null(strstr(w.body, "server_not_verified"), "%s", w.body);
    web_free(&w);
    cr_expect_eq(gateway_close(&g), 0);
    trio_close(&t);
}

Test(verify, a_talk_ends_when_an_answer_between_its_turns_is_wrong)
{
    struct trio t;
    struct shell s;
    char command[FILE_PATH_MAX * 3];
    trio_open(&t, DEMO_LM, "user");
    put(&t, "user.json", "\"threads\"", "\"verify_rate\":1,");
    (void)snprintf(command, sizeof command, "printf '%%s\\n' one two three | '%s' chat --config '%s' --max-tokens 4", shell_program("stip-user"),
                   trio_path(&t, "user.json"));
    shell_run(&s, SHELL_ARGV("/bin/sh", "-c", command));
    cr_expect_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    start_cheating(&t);
    put(&t, "user.json", "\"threads\"", "\"verify_rate\":1,");
    shell_run(&s, SHELL_ARGV("/bin/sh", "-c", command));
    cr_expect(s.status == 1 && strstr(s.err, "does not compute the model of this grant") != NULL, "%d %s", s.status, s.err);
    shell_free(&s);
    trio_close(&t);
}

/* A server that stops in the middle of a question: named, within the time. Before there was one it is a peer's error. */
Test(verify, a_server_that_is_late_is_named)
{
    struct trio t;
    struct shell s;
    struct stat st = {0};
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX], trace[FILE_PATH_MAX];
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open(&t, model, "server");
    (void)snprintf(trace, sizeof trace, "%s", trio_path(&t, "trace"));
    trio_start_as(&t, "user", &s, SHELL_ARGV("verify", "--count", "1000", "--timeout", "3", "--trace", trace));
    for (int i = 0; i < 20000 && (stat(trace, &st) != 0 || st.st_size < 40000); i++) /* more than greetings and a manifest */
        (void)poll(NULL, 0, 5);
    cr_assert_gt(st.st_size, 40000);
    cr_assert_eq(kill(t.server.pid, SIGSTOP), 0);
    shell_wait(&s);
    cr_assert_eq(kill(t.server.pid, SIGCONT), 0);
    cr_expect(s.status == 1 && strstr(s.err, "no answer to a question that the model can answer") != NULL, "%d %s", s.status, s.err);
    shell_free(&s);
    trio_close(&t);
    tempdir_remove(dir);
}

Test(verify, a_grant_without_canaries_says_what_to_do)
{
    struct trio t;
    struct shell s;
    char grant[FILE_PATH_MAX];
    trio_open(&t, DEMO_LM, "user");
    (void)snprintf(grant, sizeof grant, "%s", trio_path(&t, "none.grant"));
    shell_run(&s, SHELL_ARGV("stip-model-dev", "grant", "--config", trio_path(&t, "model_dev.json"), "--user",
                             trio_path(&t, "user.id/identity.pub"), "--out", grant, "--canaries", "0"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("join", "--grant", grant));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("verify"));
    cr_expect(s.status == 3 && strstr(s.err, "has no canaries") != NULL, "%s", s.err);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("join"));
    shell_free(&s);
    size_t len;
    char *bytes = tempdir_slurp(trio_path(&t, "user.grant/canaries.bin"), &len);
    bytes[len / 2] ^= 1;
    tempdir_spill(trio_path(&t, "user.grant/canaries.bin"), bytes, len);
    free(bytes);
    trio_user(&t, &s, SHELL_ARGV("verify"));
    cr_expect(s.status == 3 && strstr(s.err, "damaged") != NULL, "%s", s.err);
    shell_free(&s);
    trio_close(&t);
}

/* Two users get different ones, and joining as another does not help. */
Test(verify, canaries_are_each_users_own)
{
    struct trio t;
    struct shell s;
    size_t a, b;
    trio_open(&t, DEMO_LM, "user");
    trio_write_user(&t, "other");
    trio_start_as(&t, "other", &s, SHELL_ARGV("join"));
    shell_wait(&s);
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    char *x = tempdir_slurp(trio_path(&t, "user.grant/canaries.bin"), &a), *y = tempdir_slurp(trio_path(&t, "other.grant/canaries.bin"), &b);
    cr_expect(a != b || memcmp(x, y, a) != 0);
    free(x);
    free(y);
    trio_close(&t);
}
