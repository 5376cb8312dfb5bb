/* The life of a context between three programs: rotated while it is used, expired, revoked, brought back. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"

#ifdef __SANITIZE_ADDRESS__
#define TOKENS "300"
#else
#define TOKENS "1500"
#endif

static const char *const SHORT[] = {"generate", "--prompt", "Once upon a time", "--max-tokens", "8", NULL};
static const char *const LONG[] = {"generate", "--prompt", "Once upon a time", "--max-tokens", TOKENS, "--ignore-eos", "--speculate", "off", NULL};

static void developer(const struct trio *t, struct shell *s, const char *const words[])
{
    const char *argv[32] = {"stip-model-dev", words[0], "--config", trio_path(t, "model_dev.json")};
    size_t n = 4;
    for (size_t i = 1; words[i] != NULL && n < 31; i++)
        argv[n++] = words[i];
    shell_run(s, argv);
}

/* How often the developer's serve has made grants. */
static int times_taken(const struct trio *t)
{
    size_t len;
    int n = 0;
    char *log = tempdir_slurp(trio_path(t, "model_dev.log"), &len);
    for (const char *at = log; (at = strstr(at, "the grants are made")) != NULL; at++)
        n++;
    free(log);
    return n;
}

static void wait_taken(const struct trio *t, int before)
{
    for (const uint64_t end = clock_ms() + 120000; times_taken(t) == before && clock_ms() < end;)
        (void)poll(NULL, 0, 10);
    cr_assert_gt(times_taken(t), before, "the developer does not grant again");
}

static void rotate(struct trio *t)
{
    struct shell s;
    const int before = times_taken(t);
    developer(t, &s, SHELL_ARGV("rotate", "--json"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    cr_expect(strstr(s.out, "\"previous\"") != NULL, "%s", s.out);
    shell_free(&s);
    trio_wait_serving(t); /* model_dev serve has noticed and pushed */
    wait_taken(t, before);
}

static void expect_ok(const struct trio *t, const char *const words[], const char *text)
{
    struct shell s;
    trio_user(t, &s, words);
    cr_expect_eq(s.status, 0, "%s: %s", words[0], s.err);
    if (text != NULL)
        cr_expect_str_eq(s.out, text);
    shell_free(&s);
}

static void expect_refusal(const struct trio *t, const char *const words[], int status, const char *said)
{
    struct shell s;
    trio_user(t, &s, words);
    cr_expect(s.status == status && strstr(s.err, said) != NULL, "expected %d and '%s', got %d: %s", status, said, s.status, s.err);
    cr_expect_eq(s.out_len, 0, "an answer all the same");
    shell_free(&s);
}

static bool runs(const struct shell *s)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

/* A long answer that is begun, and goes on when it is told to: however long what happens meanwhile takes, it is under way. */
static void hold_in_the_middle(struct trio *t, struct shell *s)
{
    struct stat st = {0};
    t->retry_s = 60; /* held for longer than CHANNEL_DEAD_MS, it connects again */
    trio_write_user(t, "user");
    trio_start_as(t, "user", s, LONG);
    for (int i = 0; i < 30000 && fstat(s->out_fd, &st) == 0 && st.st_size == 0; i++)
        (void)poll(NULL, 0, 2);
    cr_assert_gt(st.st_size, 0, "no answer came");
    (void)kill(s->pid, SIGSTOP);
    cr_assert(runs(s), "it ended too early");
}

static void go_on(struct shell *s)
{
    (void)kill(s->pid, SIGCONT);
    shell_wait(s);
}

/* Mutations: one core for both packages (the answer under way ends); HELLO that is not looked at (the old grant is refused, or the
 * new one computed with the old weights). */
Test(keylife, both_generations_are_served_while_users_change_over)
{
    struct trio t;
    struct shell under_way, free_running, whole;
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX], old_grant[FILE_PATH_MAX];
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open_limited(&t, model, "server", "\"overlap_s\":600");
    (void)snprintf(old_grant, sizeof old_grant, "%s", trio_path(&t, "old.grant"));
    developer(&t, &whole, SHELL_ARGV("grant", "--user", trio_path(&t, "user.id/identity.pub"), "--out", old_grant));
    cr_assert_eq(whole.status, 0, "%s", whole.err);
    shell_free(&whole);
    trio_user(&t, &whole, LONG);
    cr_assert_eq(whole.status, 0, "%s", whole.err);
    trio_start_as(&t, "user", &free_running, LONG); /* computed while the package comes */
    hold_in_the_middle(&t, &under_way);
    rotate(&t);
    expect_ok(&t, SHORT, NULL); /* the old grant, on a new connection */
    go_on(&under_way);
    cr_expect_eq(under_way.status, 0, "%s", under_way.err);
    cr_expect_str_eq(under_way.out, whole.out);
    shell_wait(&free_running);
    cr_expect_eq(free_running.status, 0, "%s", free_running.err);
    cr_expect_str_eq(free_running.out, whole.out);
    shell_free(&free_running);
    expect_ok(&t, SHELL_ARGV("join"), NULL);
    expect_ok(&t, LONG, whole.out); /* the new one: the same model */
    expect_refusal(&t, SHELL_ARGV("join", "--grant", old_grant), 4, "an old grant does not replace a later one");
    expect_ok(&t, SHORT, NULL);
    shell_free(&under_way);
    shell_free(&whole);
    trio_close(&t);
    tempdir_remove(dir);
}

/* Mutations: the old grant until nobody has asked for a while; a developer who does not listen until the new grants are made; a user
 * who does not wait for them. */
Test(keylife, whoever_joins_at_once_after_a_rotation_gets_the_new_grant)
{
    struct trio t;
    struct shell s;
    char context[128];
    const char *found;
    struct err err;
    trio_open(&t, DEMO_LM, "user");
    t.retry_s = 120;
    trio_write_user(&t, "user");
    developer(&t, &s, SHELL_ARGV("rotate", "--json"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    struct json_doc *doc = shell_json(&s);
    cr_assert_eq(json_get_str(doc, json_root(doc), "context", &found, &err), 0, "%s", s.out);
    (void)snprintf(context, sizeof context, "%s", found);
    json_free(doc);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("join", "--json"));
    cr_expect_eq(s.status, 0, "%s", s.err);
    cr_expect_not_null(strstr(s.out, context), "%s", s.out);
    shell_free(&s);
    trio_close(&t);
}

/* The developer's config with other users, and the signal. */
static void allow_only(struct trio *t, const char *users)
{
    size_t len;
    const int before = times_taken(t);
    char *text = tempdir_slurp(trio_path(t, "model_dev.json"), &len), *list = strstr(text, "\"allow\":["), out[3 * FILE_PATH_MAX];
    cr_assert_not_null(list);
    const char *end = strchr(list, ']');
    cr_assert_not_null(end);
    const int n = snprintf(out, sizeof out, "%.*s\"allow\":[%s%s", (int)(list - text), text, users, end);
    tempdir_spill(trio_path(t, "model_dev.json"), out, (size_t)n);
    free(text);
    cr_assert_eq(kill(t->model_dev.pid, SIGHUP), 0);
    wait_taken(t, before);
}

static void join_as_other(const struct trio *t, int status)
{
    struct shell s;
    trio_start_as(t, "other", &s, SHELL_ARGV("join"));
    shell_wait(&s);
    cr_expect_eq(s.status, status, "%d: %s", s.status, s.err);
    shell_free(&s);
}

/* Mutations: the signal ends it; grants and handshakes go by the list of before. */
Test(keylife, on_sighup_the_developer_reads_its_allow_list_again)
{
    struct trio t;
    trio_open(&t, DEMO_LM, "user");
    trio_write_user(&t, "other");
    allow_only(&t, "\"@user.id/identity.pub\"");
    join_as_other(&t, 4);
    expect_ok(&t, SHELL_ARGV("join"), NULL);
    allow_only(&t, "\"@user.id/identity.pub\",\"@other.id/identity.pub\"");
    join_as_other(&t, 0);
    cr_expect_eq(process_stop(&t.model_dev), 0);
    trio_close(&t);
}

Test(keylife, without_overlap_sessions_end_and_the_old_grant_is_told_to_join_again)
{
    struct trio t;
    struct shell under_way;
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX];
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open_limited(&t, model, "user", "\"overlap_s\":0");
    hold_in_the_middle(&t, &under_way);
    rotate(&t);
    go_on(&under_way);
    cr_expect_neq(under_way.status, 0);
    cr_expect(strstr(under_way.err, "EPOCH_CHANGED") != NULL || strstr(under_way.err, "join again") != NULL, "%s", under_way.err);
    expect_refusal(&t, SHORT, 4, "join again");
    expect_ok(&t, SHELL_ARGV("join"), NULL);
    expect_ok(&t, SHORT, NULL);
    shell_free(&under_way);
    trio_close(&t);
    tempdir_remove(dir);
}

/* That it is served until then is seen above, where the overlap is longer than any machine is slow. */
Test(keylife, when_the_overlap_is_over_the_old_generation_ends)
{
    struct trio t;
    struct shell s = {.status = 0};
    trio_open_limited(&t, DEMO_LM, "user", "\"overlap_s\":2");
    t.retry_s = 30; /* who is in the middle of it when it ends connects again, and is told then */
    trio_write_user(&t, "user");
    rotate(&t);
    for (const uint64_t end = clock_ms() + 60000; s.status == 0 && clock_ms() < end;) {
        trio_user(&t, &s, SHORT);
        cr_expect(s.status == 0 || strstr(s.err, "join again") != NULL, "%s", s.err);
        shell_free(&s);
    }
    expect_refusal(&t, SHORT, 4, "join again");
    expect_ok(&t, SHELL_ARGV("join"), NULL);
    expect_ok(&t, SHORT, NULL);
    rotate(&t); /* a third one, while nothing of the first is left */
    expect_ok(&t, SHORT, NULL);
    trio_close(&t);
}

/* Mutation: a check after the connection is made (then a trace is there). */
Test(keylife, an_expired_grant_is_refused_before_anything_is_sent)
{
    struct trio t;
    struct shell s;
    char end[32], grant[FILE_PATH_MAX], trace[FILE_PATH_MAX];
    trio_open(&t, DEMO_LM, "user");
    (void)snprintf(grant, sizeof grant, "%s", trio_path(&t, "short.grant"));
    (void)snprintf(trace, sizeof trace, "%s", trio_path(&t, "trace"));
    int64_t over = 0;
    /* A slow machine needs longer to grant, to join and to ask. */
    for (int seconds = 3; over <= clock_unix(); seconds *= 2) {
        cr_assert_lt(seconds, 200, "an answer in time is not to be had");
        over = clock_unix() + seconds;
        clock_iso(over, end);
        developer(&t, &s, SHELL_ARGV("grant", "--user", trio_path(&t, "user.id/identity.pub"), "--out", grant, "--expires", end, "--json"));
        cr_assert((s.status == 0 && strstr(s.out, end) != NULL) || over <= clock_unix(), "%s%s", s.out, s.err);
        shell_free(&s);
        trio_user(&t, &s, SHELL_ARGV("join", "--grant", grant, "--json"));
        cr_assert((s.status == 0 && strstr(s.out, end) != NULL) || over <= clock_unix(), "%s%s", s.out, s.err);
        shell_free(&s);
        trio_user(&t, &s, SHORT);
        cr_expect((s.status == 0 && strstr(s.err, "this grant expires in 0 days") != NULL) || over <= clock_unix(), "%s", s.err);
        shell_free(&s);
    }
    while (clock_unix() < over)
        (void)poll(NULL, 0, 100);
    expect_refusal(&t, SHELL_ARGV("generate", "--prompt", "Once", "--trace", trace), 4, "this grant expired on");
    cr_expect_not(file_exists(trace));
    expect_refusal(&t, SHELL_ARGV("join", "--grant", grant), 4, "this grant expired on");
    expect_ok(&t, SHELL_ARGV("join"), NULL);
    expect_ok(&t, SHORT, NULL);
    developer(&t, &s, SHELL_ARGV("grant", "--user", trio_path(&t, "user.id/identity.pub"), "--out", grant, "--expires", end));
    cr_expect(s.status == 2 && strstr(s.err, "is over already") != NULL, "%s", s.err);
    shell_free(&s);
    trio_close(&t);
}

Test(keylife, revoking_says_whether_the_user_has_the_keys)
{
    struct trio t;
    struct shell s;
    trio_open(&t, DEMO_LM, "user");
    developer(&t, &s, SHELL_ARGV("revoke", "--user", trio_path(&t, "user.id/identity.pub"), "--json"));
    struct json_doc *doc = shell_json(&s);
    cr_expect(json_true(json_get(json_root(doc), "rotate")), "%s", s.out);
    cr_expect_eq(json_number(json_get(json_root(doc), "removed")), 1);
    cr_expect_eq(json_count(json_get(json_root(doc), "servers")), 1);
    json_free(doc);
    shell_free(&s);
    developer(&t, &s, SHELL_ARGV("revoke", "--user", trio_path(&t, "other.id/identity.pub")));
    cr_expect(s.status == 0 && strstr(s.out, "not needed") != NULL, "%s%s", s.out, s.err);
    shell_free(&s);
    size_t len;
    char *config = tempdir_slurp(trio_path(&t, "model_dev.json"), &len);
    cr_expect_not_null(strstr(config, "\"allow\":[]"), "%s", config);
    free(config);
    developer(&t, &s, SHELL_ARGV("revoke", "--user", "0123-4567-89ab-cdef"));
    cr_expect(s.status == 0 && strstr(s.out, "0 entries removed") != NULL, "%s%s", s.out, s.err);
    shell_free(&s);
    trio_close(&t);
}
