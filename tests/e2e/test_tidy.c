/* Nothing is left behind: no process, no folder, whatever the end was. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"

static char dir[FILE_PATH_MAX];

/* All temporary files of what a test starts go where it can count them. */
static void make(void)
{
    tempdir_make(dir);
    cr_assert_eq(setenv("TMPDIR", dir, 1), 0);
}

static void drop(void)
{
    (void)unsetenv("TMPDIR");
    tempdir_remove(dir);
}

TestSuite(tidy, .init = make, .fini = drop);

/* Processes whose command line names our folder. */
static int ours(void)
{
    DIR *proc = opendir("/proc");
    int n = 0;
    cr_assert_not_null(proc);
    for (const struct dirent *e; (e = readdir(proc)) != NULL;) {
        char path[300], line[FILE_PATH_MAX * 2];
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        (void)snprintf(path, sizeof path, "/proc/%s/cmdline", e->d_name);
        FILE *f = fopen(path, "r");
        if (f == NULL)
            continue;
        size_t len = fread(line, 1, sizeof line, f);
        n += memmem(line, len, dir, strlen(dir)) != NULL ? 1 : 0;
        (void)fclose(f);
    }
    closedir(proc);
    return n;
}

static void nothing_left(const char *when)
{
    uint64_t end = clock_ms() + 60000;
    while (ours() > 0 && clock_ms() < end)
        (void)poll(NULL, 0, 5);
    cr_expect_eq(ours(), 0, "%s: processes run on", when);
    cr_expect_eq(tempdir_count(dir), 0, "%s: %d things lie in the temporary folder", when, tempdir_count(dir));
}

Test(tidy, loopback_leaves_nothing_after_success_and_failure)
{
    struct shell s;
    shell_run(
        &s, SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--", "generate", "--prompt", "Once", "--max-tokens", "4"));
    cr_expect_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    nothing_left("success");
    shell_run(&s, SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--", "classify", "--text", "x"));
    cr_expect_eq(s.status, 2, "%s", s.err);
    shell_free(&s);
    nothing_left("a user's command that fails");
    shell_run(&s,
              SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--head", "nobody", "--", "generate", "--prompt", "x"));
    cr_expect_eq(s.status, 2, "%d: %s", s.status, s.err);
    cr_expect_not_null(strstr(s.err, "nobody"), "%s", s.err);
    shell_free(&s);
    nothing_left("protect that fails");
    shell_run(&s, SHELL_ARGV("stip-bench", "loopback", "--model", "/nowhere", "--", "generate", "--prompt", "x"));
    cr_expect_eq(s.status, 3, "%d: %s", s.status, s.err);
    shell_free(&s);
    nothing_left("no model");
    shell_run(&s, SHELL_ARGV("stip-bench", "demo", "--model", DEMO_LM, "--max-tokens", "8"));
    cr_expect_eq(s.status, 0, "%s%s", s.out, s.err);
    shell_free(&s);
    nothing_left("demo");
}

/* SIGINT at any moment of the set-up and of the answer. Mutation: a wait that swallows the signal, children in no group. */
Test(tidy, loopback_leaves_nothing_after_being_interrupted)
{
    static const int moments[] = {0, 5, 15, 30, 60, 90, 120, 160, 200, 250, 300, 400};
    for (size_t i = 0; i < 2 * sizeof moments / sizeof *moments; i++) {
        struct shell s;
        char when[64];
        int signal_number = i % 2 == 0 ? SIGINT : SIGTERM, ms = moments[i / 2];
        shell_start(&s, SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--", "generate", "--prompt", "Once",
                                   "--max-tokens", "400", "--ignore-eos"));
        (void)poll(NULL, 0, ms);
        (void)kill(s.pid, signal_number);
        shell_wait(&s);
        (void)snprintf(when, sizeof when, "signal %d after %d ms (status %d)", signal_number, ms, s.status);
        cr_expect_neq(s.status, 128 + SIGSEGV, "%s", when);
        cr_expect_null(strstr(s.err, "Sanitizer"), "%s", s.err);
        shell_free(&s);
        nothing_left(when);
    }
}

/* A long answer does not hold it up, though only the bench gets the signal. Mutation: waiting for the user's command to end. */
Test(tidy, loopback_ends_soon_when_interrupted_in_a_long_answer)
{
    char home[FILE_PATH_MAX], model[FILE_PATH_MAX];
    (void)snprintf(home, sizeof home, "%s", dir);
    trio_slow_model(model, home, DEMO_LM "/tokenizer.json");
    for (int i = 0; i < 2; i++) {
        struct shell s;
        struct stat st = {0};
        shell_start(&s, SHELL_ARGV("stip-bench", "loopback", "--model", model, "--threads", "1", "--", "generate", "--prompt",
                                   "Once", "--max-tokens", "4000", "--ignore-eos"));
        for (int k = 0; k < 6000 && fstat(s.out_fd, &st) == 0 && st.st_size == 0; k++)
            (void)poll(NULL, 0, 10);
        cr_assert_gt(st.st_size, 0, "no answer began");
        (void)kill(s.pid, i == 0 ? SIGINT : SIGTERM);
        shell_wait(&s);
        cr_expect_lt(s.out_len, 4000, "the whole answer came first"); /* it is over 8,000 bytes */
        cr_expect_neq(s.status, 0);
        shell_free(&s);
    }
    cr_assert_eq(file_remove_tree(model, NULL), 0);
    nothing_left("interrupted in a long answer");
}

/* Even a bench that is killed takes its children with it; only the folder stays. */
Test(tidy, no_process_outlives_a_bench_that_is_killed)
{
    struct shell s;
    shell_start(&s, SHELL_ARGV("stip-bench", "loopback", "--model", DEMO_LM, "--", "generate", "--prompt", "Once", "--max-tokens",
                               "500", "--ignore-eos"));
    for (uint64_t end = clock_ms() + 60000; ours() < 3 && clock_ms() < end;)
        (void)poll(NULL, 0, 2);
    (void)kill(s.pid, SIGKILL);
    shell_wait(&s);
    shell_free(&s);
    for (uint64_t end = clock_ms() + 60000; ours() > 0 && clock_ms() < end;)
        (void)poll(NULL, 0, 20);
    cr_expect_eq(ours(), 0);
}
