/* Users without pause while the server is killed at random: every answer is the undisturbed one, and memory and descriptors do not
 * grow. Some seconds in every run; `make soak` runs it for STIP_SOAK_SECONDS with STIP_SOAK_SESSIONS users at once and draws both
 * curves into STIP_SOAK_PLOT. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "bench/plot.h"
#include "tests/support/proc.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define SESSIONS_MAX 64
#define SAMPLES_MAX 100000
#define TICK_MS 250
#ifdef __SANITIZE_ADDRESS__
#define SLACK_MB 512 /* freed memory is kept back */
#else
#define SLACK_MB 64
#endif

TestSuite(soak, .timeout = 86400);

static struct trio trio;
static double seconds[SAMPLES_MAX], memory_mb[SAMPLES_MAX], descriptors[SAMPLES_MAX];
static size_t samples;

static long asked(const char *name, long fallback)
{
    const char *text = getenv(name);
    return text == NULL ? fallback : strtol(text, NULL, 10);
}

static void sample(double now)
{
    struct proc p;
    if (samples == SAMPLES_MAX || !proc_look(trio.server.pid, &p))
        return;
    seconds[samples] = now;
    memory_mb[samples] = (double)p.memory_kb / 1024;
    descriptors[samples++] = p.descriptors;
}

static void ask(struct shell *s)
{
    trio_start_as(&trio, "user", s, SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", "40"));
}

static void draw(const char *path, long sessions, unsigned kills)
{
    char title[128];
    struct err err = {0};
    const struct plot_series memory = {"resident memory", seconds, memory_mb, samples}, open = {"descriptors", seconds, descriptors, samples};
    const struct plot_panel panels[] = {{"Memory of the server", "seconds", "MiB", false, &memory, 1, false},
                                        {"Open descriptors of the server", "seconds", "number", false, &open, 1, false}};
    (void)snprintf(title, sizeof title, "%ld users without pause, %u kills of the server", sessions, kills);
    cr_expect_eq(plot_lines(path, title, panels, 2, &err), 0, "%s", err.text);
}

/* The largest of a part of the samples. */
static double largest(const double *v, size_t from, size_t to)
{
    double most = 0;
    for (size_t i = from; i < to; i++)
        most = v[i] > most ? v[i] : most;
    return most;
}

Test(soak, answers_stay_the_same_while_the_server_is_killed)
{
    const long wanted = asked("STIP_SOAK_SESSIONS", 3), sessions = wanted < SESSIONS_MAX ? wanted : SESSIONS_MAX;
    const uint64_t length = (uint64_t)asked("STIP_SOAK_SECONDS", 6) * 1000;
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX], *answer;
    static struct shell user[SESSIONS_MAX];
    unsigned answers = 0, wrong = 0, none = 0, kills = 0, seed = 1;
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open(&trio, model, "server");
    trio.retry_s = 60;
    trio_write_user(&trio, "user");
    ask(&user[0]);
    shell_wait(&user[0]);
    cr_assert_eq(user[0].status, 0, "%s", user[0].err);
    cr_assert_not_null(answer = strdup(user[0].out));
    shell_free(&user[0]);
    for (long i = 0; i < sessions; i++)
        ask(&user[i]);
    const uint64_t start = clock_ms();
    uint64_t next_kill = start + 2000;
    long running = sessions;
    while (running > 0) {
        const uint64_t now = clock_ms();
        /* On a slow machine as long as it takes until something has happened. */
        const bool over = now - start > length && answers >= (unsigned)sessions && kills > 0;
        for (long i = 0; i < sessions; i++) {
            siginfo_t info = {0};
            if (user[i].pid == 0 || waitid(P_PID, (id_t)user[i].pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
                continue;
            shell_wait(&user[i]);
            /* A first connection is not repeated: who comes while there is no server is told so, and has no word of an answer. */
            const bool absent = user[i].status == 5 && user[i].out_len == 0;
            const bool same = user[i].status == 0 && strcmp(user[i].out, answer) == 0;
            none += absent;
            answers += same;
            wrong += !same && !absent;
            cr_expect(same || absent, "exit status %d, after %u kills: %s%s", user[i].status, kills, user[i].out, user[i].err);
            shell_free(&user[i]);
            user[i].pid = 0;
            if (over)
                running--;
            else
                ask(&user[i]);
        }
        if (!over && now >= next_kill) {
            (void)kill(trio.server.pid, SIGKILL);
            (void)process_stop(&trio.server);
            trio_start_server(&trio, NULL);
            kills++;
            next_kill = clock_ms() + 1500 + (uint64_t)(rand_r(&seed) % 4000);
        }
        sample((double)(now - start) / 1000);
        (void)poll(NULL, 0, TICK_MS);
    }
    (void)fprintf(stderr, "soak: %.0f s, %ld users, %u kills: %u answers, %u wrong, %u came while there was no server; memory at most %.0f MiB, in the second half %.0f MiB; "
                          "descriptors %.0f and %.0f\n",
                  (double)(clock_ms() - start) / 1e3, sessions, kills, answers, wrong, none, largest(memory_mb, 0, samples),
                  largest(memory_mb, samples / 2, samples), largest(descriptors, 0, samples), largest(descriptors, samples / 2, samples));
    cr_expect(answers >= (unsigned)sessions && kills > 0, "nothing happened");
    cr_expect_leq(largest(memory_mb, samples / 2, samples), 1.3 * largest(memory_mb, 0, samples / 2) + SLACK_MB, "memory grows");
    cr_expect_leq(largest(descriptors, samples / 2, samples), 1.3 * largest(descriptors, 0, samples / 2) + 8, "descriptors grow");
    if (getenv("STIP_SOAK_PLOT") != NULL)
        draw(getenv("STIP_SOAK_PLOT"), sessions, kills);
    free(answer);
    trio_close(&trio);
    tempdir_remove(dir);
}
