/* What server and network do to an answer under way: it comes out as if nothing had happened, or ends with the reason. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/link.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#ifdef __SANITIZE_ADDRESS__
#define TOKENS "200"
#else
#define TOKENS "400"
#endif

static char dir[FILE_PATH_MAX], model[FILE_PATH_MAX];

static void open_slow(struct trio *t, const char *limits)
{
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open_limited(t, model, "server", limits);
}

static void close_slow(struct trio *t)
{
    trio_close(t);
    tempdir_remove(dir);
}

/* user.json: the server at `at`, and another at `or_at` unless that is NULL. */
static void write_user(const struct trio *t, const char *at, const char *or_at, int retry_s)
{
    char text[2048], other[256] = "";
    if (or_at != NULL)
        (void)snprintf(other, sizeof other, ",{\"endpoint\":\"%s\",\"key\":\"@server.id/identity.pub\"}", or_at);
    int n = snprintf(text, sizeof text,
                     "{\"role\":\"user\",\"identity\":\"user.id\",\"grant\":\"user.grant\",\"threads\":1,\"retry_s\":%d,"
                     "\"log\":{\"level\":\"warn\"},"
                     "\"peers\":{\"server\":[{\"endpoint\":\"%s\",\"key\":\"@server.id/identity.pub\"}%s]}}\n",
                     retry_s, at, other);
    tempdir_spill(trio_path(t, "user.json"), text, (size_t)n);
}

static const char *const GREEDY[] = {"generate", "--prompt", "Once upon a time", "--max-tokens", TOKENS, "--ignore-eos", NULL};
static const char *const SAMPLED[] = {"generate", "--prompt", "Once upon a time", "--max-tokens", TOKENS, "--ignore-eos",
                                      "--temperature", "1", "--seed", "7", "--repeat-penalty", "1.1", "--speculate", "4",
                                      "--wire", "bf16", NULL};

/* Until the answer has more than `bytes` bytes, and is not yet whole. */
static void wait_for_text(const struct shell *s, long bytes)
{
    struct stat st = {0};
    for (int i = 0; i < 6000 && fstat(s->out_fd, &st) == 0 && st.st_size <= bytes; i++)
        (void)poll(NULL, 0, 5);
    cr_assert_gt(st.st_size, bytes, "no answer came");
    cr_assert_eq(waitpid(s->pid, NULL, WNOHANG), 0, "it ended too early");
}

/* The same text as undisturbed, and it was disturbed. */
static void unharmed(struct shell *s, const struct shell *undisturbed)
{
    shell_wait(s);
    cr_expect_eq(s->status, 0, "exit status %d: %s", s->status, s->err);
    cr_expect_str_eq(s->out, undisturbed->out);
    cr_expect_not_null(strstr(s->err, "connected again"), "%s", s->err);
    shell_free(s);
}

static void restart(struct trio *t)
{
    (void)kill(t->server.pid, SIGKILL);
    (void)process_stop(&t->server);
    trio_start_server(t, NULL);
}

/* ------------------------------------------------------------------ the server */

static void killed_twice_with(const char *const flags[], const char *const words[])
{
    struct trio t;
    struct shell whole, s;
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open_protected(&t, model, flags);
    write_user(&t, t.users_at, NULL, 60);
    trio_user(&t, &whole, words);
    cr_assert_eq(whole.status, 0, "%s", whole.err);
    trio_start_as(&t, "user", &s, words);
    wait_for_text(&s, 0);
    restart(&t);
    wait_for_text(&s, (long)whole.out_len / 2);
    restart(&t);
    unharmed(&s, &whole);
    shell_free(&whole);
    close_slow(&t);
}

static void killed_twice(const char *const words[])
{
    killed_twice_with(SHELL_ARGV("--head", "server"), words);
}

/* The user's layers start anew with the session. Mutation: the cache is not cut when rows are sent again. */
Test(resume, the_users_layers_outlive_two_servers_killed)
{
    killed_twice_with(SHELL_ARGV("--local-layers", "1"), SAMPLED);
}

Test(resume, a_greedy_answer_outlives_two_servers_killed)
{
    killed_twice(GREEDY);
}

Test(resume, a_seeded_answer_with_guesses_in_bf16_outlives_two_servers_killed)
{
    killed_twice(SAMPLED);
}

Test(resume, an_answer_moves_to_another_server_that_holds_the_package_and_back)
{
    struct trio t;
    struct shell whole, s;
    open_slow(&t, NULL);
    trio_start_second(&t);
    write_user(&t, t.users_at, t.second_at, 60);
    trio_user(&t, &whole, GREEDY);
    cr_assert_eq(whole.status, 0, "%s", whole.err);
    trio_start_as(&t, "user", &s, GREEDY);
    wait_for_text(&s, 0);
    (void)kill(t.server.pid, SIGKILL);
    (void)process_stop(&t.server);
    wait_for_text(&s, (long)whole.out_len / 2);
    trio_start_server(&t, NULL);
    (void)kill(t.second.pid, SIGKILL);
    (void)process_stop(&t.second);
    unharmed(&s, &whole);
    /* The first of the list is gone, and the next command begins with the other. */
    write_user(&t, t.second_at, t.users_at, 60);
    trio_user(&t, &s, GREEDY);
    cr_expect_eq(s.status, 0, "%s", s.err);
    cr_expect_str_eq(s.out, whole.out);
    shell_free(&s);
    shell_free(&whole);
    close_slow(&t);
}

/* ------------------------------------------------------------------ signals */

Test(resume, a_server_that_is_stopped_ends_well_and_the_answer_goes_on_after_its_restart)
{
    struct trio t;
    struct shell whole, s;
    open_slow(&t, NULL);
    write_user(&t, t.users_at, NULL, 60);
    trio_user(&t, &whole, GREEDY);
    cr_assert_eq(whole.status, 0, "%s", whole.err);
    trio_start_as(&t, "user", &s, GREEDY);
    wait_for_text(&s, 0);
    cr_expect_eq(process_stop(&t.server), 0);
    trio_start_server(&t, NULL);
    unharmed(&s, &whole);
    shell_free(&whole);
    close_slow(&t);
}

/* server.json without user.id. */
static void forget_user(const struct trio *t)
{
    size_t len;
    char *text = tempdir_slurp(trio_path(t, "server.json"), &len), *at = strstr(text, "\"@user.id/identity.pub\",");
    cr_assert_not_null(at);
    size_t n = strlen("\"@user.id/identity.pub\",");
    memmove(at, at + n, strlen(at + n) + 1);
    tempdir_spill(trio_path(t, "server.json"), text, len - n);
    free(text);
}

Test(resume, a_key_that_leaves_the_list_loses_its_sessions_at_sighup)
{
    struct trio t;
    struct shell s;
    open_slow(&t, NULL);
    write_user(&t, t.users_at, NULL, 60);
    trio_start_as(&t, "user", &s, SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", "4000", "--ignore-eos"));
    wait_for_text(&s, 0);
    tempdir_spill(trio_path(&t, "server.json"), "{", 1); /* a config that is wrong changes nothing */
    (void)kill(t.server.pid, SIGHUP);
    (void)poll(NULL, 0, 100);
    cr_assert_eq(waitpid(s.pid, NULL, WNOHANG), 0, "a wrong config ended a session");
    process_stop(&t.server);
    trio_start_server(&t, NULL); /* writes it anew */
    forget_user(&t);
    (void)kill(t.server.pid, SIGHUP);
    shell_wait(&s);
    cr_expect_eq(s.status, 4, "exit status %d: %s", s.status, s.err);
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("generate", "--prompt", "Once", "--max-tokens", "4"));
    cr_expect_eq(s.status, 4, "exit status %d: %s", s.status, s.err);
    shell_free(&s);
    close_slow(&t);
}

/* ------------------------------------------------------------------ the network */

static volatile const int never;

/* The relay as a process: killed, it resets its connections; stopped, it is a black hole. */
static pid_t start_relay(struct link *l)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct err err;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        _exit(link_run(l, &never, &err) == 0 ? 0 : 1);
    }
    return pid;
}

static void end_relay(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

/* The server is well and has the session still. `hole`: nothing passes any more and nobody says so, until PING notices. */
static void cut_line(bool hole)
{
    struct trio t;
    struct shell whole, s;
    struct link *l;
    struct err err = {0};
    open_slow(&t, NULL);
    cr_assert_eq(link_open(&l, "tcp://127.0.0.1:*", t.users_at, 0, 0, &err), 0, "%s", err.text);
    pid_t relay = start_relay(l);
    write_user(&t, link_endpoint(l), NULL, 60);
    trio_user(&t, &whole, GREEDY);
    cr_assert_eq(whole.status, 0, "%s", whole.err);
    trio_start_as(&t, "user", &s, GREEDY);
    wait_for_text(&s, 0);
    if (hole)
        (void)kill(relay, SIGSTOP);
    else
        end_relay(relay);
    pid_t next = start_relay(l);
    unharmed(&s, &whole);
    if (hole)
        end_relay(relay);
    end_relay(next);
    link_close(l);
    shell_free(&whole);
    close_slow(&t);
}

Test(resume, a_connection_reset_costs_nothing)
{
    cut_line(false);
}

Test(resume, a_black_hole_is_left_behind)
{
    cut_line(true);
}

/* ------------------------------------------------------------------ a server that is busy, or gone */

Test(resume, a_busy_server_is_asked_again_until_it_has_room_or_the_time_is_over)
{
    struct trio t;
    struct shell first, s;
    open_slow(&t, "\"user_sessions\":1");
    write_user(&t, t.users_at, NULL, 1);
    trio_start_as(&t, "user", &first,
                  SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", "4000", "--ignore-eos"));
    wait_for_text(&first, 0);
    trio_user(&t, &s, SHELL_ARGV("generate", "--prompt", "Once", "--max-tokens", "4"));
    cr_expect_eq(s.status, 5, "exit status %d: %s", s.status, s.err);
    cr_expect_not_null(strstr(s.err, "gave up after"), "%s", s.err);
    cr_expect_not_null(strstr(s.err, "BUSY"), "%s", s.err);
    shell_free(&s);
    write_user(&t, t.users_at, NULL, 60);
    trio_start_as(&t, "user", &s, SHELL_ARGV("generate", "--prompt", "Once", "--max-tokens", "4"));
    struct stat said = {0};
    for (int i = 0; i < 6000 && fstat(s.err_fd, &said) == 0 && said.st_size == 0; i++) /* "... BUSY ...; trying again" */
        (void)poll(NULL, 0, 5);
    cr_expect_gt(said.st_size, 0);
    (void)poll(NULL, 0, 300);
    cr_expect_eq(waitpid(s.pid, NULL, WNOHANG), 0, "it did not wait");
    (void)kill(first.pid, SIGTERM); /* its session is left behind: only a restart frees it at once */
    shell_wait(&first);
    shell_free(&first);
    restart(&t);
    shell_wait(&s);
    cr_expect_eq(s.status, 0, "exit status %d: %s", s.status, s.err);
    shell_free(&s);
    close_slow(&t);
}

Test(resume, a_server_that_stays_away_is_named_when_the_time_is_over)
{
    struct trio t;
    struct shell s;
    open_slow(&t, NULL);
    write_user(&t, t.users_at, NULL, 2);
    trio_start_as(&t, "user", &s, GREEDY);
    wait_for_text(&s, 0);
    (void)kill(t.server.pid, SIGKILL);
    (void)process_stop(&t.server);
    shell_wait(&s);
    cr_expect_eq(s.status, 5, "exit status %d: %s", s.status, s.err);
    cr_expect_not_null(strstr(s.err, "gave up after"), "%s", s.err);
    cr_expect_not_null(strstr(s.err, t.users_at), "%s", s.err);
    shell_free(&s);
    close_slow(&t);
}
