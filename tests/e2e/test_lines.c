/* An answer over a bad line (bench/tunnel.h) is the undisturbed one, and never pauses for long. A short answer in every run; with
 * STIP_LONG=1 (make test-long) long ones, and the longest pause against the figure that is to be reached. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/support/fault.h"
#include "tests/support/pulse.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"
#include "bench/tunnel.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define LOSSY_PAUSE_MS 2000
#define HOLE_MS 4000
#define HOLE_PAUSE_MS 6000
#define BUSY_MS 30000 /* a short answer among other tests */

static struct tunnel *tunnel;
static struct trio trio;
static struct shell undisturbed;

static const struct tunnel_line clean = {0};

static void open_line(uint64_t seed, const char *const words[])
{
    struct err err;
    if (tunnel_open(&tunnel, &(struct tunnel_opts){.seed = seed}, &err) != 0)
        cr_skip_test("%s", err.text);
    tunnel_enter(tunnel, TUNNEL_SERVER); /* the developer too: it is reached over the loopback there */
    trio_open_at(&trio, DEMO_LM, "server", "tcp://" TUNNEL_SERVER_ADDRESS ":7401");
    trio.retry_s = 60;
    trio_write_user(&trio, "user");
    tunnel_enter(tunnel, TUNNEL_USER);
    trio_user(&trio, &undisturbed, words);
    cr_assert_eq(undisturbed.status, 0, "%s", undisturbed.err);
}

static void close_line(void)
{
    shell_free(&undisturbed);
    trio_close(&trio);
    tunnel_close(tunnel);
}

static void unharmed(struct shell *s)
{
    shell_wait(s);
    cr_expect_eq(s->status, 0, "exit status %d: %s", s->status, s->err);
    cr_expect_str_eq(s->out, undisturbed.out);
    shell_free(s);
}

/* ------------------------------------------------------------------ delay and loss */

/* part: how much of the delay and the loss is on each way; the figure to reach is for both together. */
static void over_lossy_line(const char *const words[], double part)
{
    struct shell s;
    open_line(11, words);
    tunnel_set(tunnel, &(struct tunnel_line){.delay_ms = part * 75, .jitter_ms = part * 20, .loss = part * 0.05});
    const uint64_t start = clock_ms();
    trio_start_as(&trio, "user", &s, words);
    struct pulse *p = pulse_start(&s);
    while (pulse_running(p))
        (void)poll(NULL, 0, 20);
    const double pause = pulse_longest(p);
    pulse_stop(p);
    shell_wait(&s);
    const bool again = strstr(s.err, "connected again") != NULL;
    cr_expect_eq(s.status, 0, "exit status %d: %s", s.status, s.err);
    cr_expect_str_eq(s.out, undisturbed.out);
    shell_free(&s);
    const struct tunnel_counts c = tunnel_counts(tunnel);
    (void)fprintf(stderr, "lines: %.1f ms +-%.0f ms and %.1f %% loss each way: %s tokens in %.1f s, longest pause %.0f ms; %llu packets, %llu lost%s\n",
                  part * 75, part * 20, part * 5, words[4], (double)(clock_ms() - start) / 1e3, pause, (unsigned long long)c.packets, (unsigned long long)c.lost, again ? ", connected again" : "");
    cr_expect_gt(c.lost, 0);
    cr_expect_lt(pause, fault_all() ? (part < 1 ? 1 : 3) * LOSSY_PAUSE_MS : BUSY_MS);
    close_line();
}

Test(lines, an_answer_comes_over_a_line_with_delay_and_loss)
{
    over_lossy_line(SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", fault_all() ? "480" : "16", "--ignore-eos",
                               "--speculate", "off"),
                    0.5);
}

Test(lines, also_where_each_way_is_as_bad)
{
    if (!fault_all())
        cr_skip_test("only with STIP_LONG=1");
    over_lossy_line(SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", "480", "--ignore-eos", "--speculate", "off"), 1);
}

Test(lines, so_does_a_seeded_one_with_guesses)
{
    if (!fault_all())
        cr_skip_test("only with STIP_LONG=1");
    over_lossy_line(SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", "480", "--ignore-eos", "--temperature", "1", "--seed",
                               "7"),
                    0.5);
}

/* ------------------------------------------------------------------ black holes */

/* Mutation: a channel's ZMQ_TCP_MAXRT of 30000: what was lost in the hole is sent again when TCP's growing waits have it, up to 4 s
 * behind its end. (CHANNEL_PING_MS of 5000 is not noticed, with all of its 20 holes neither: at most 5.1 s.) */
Test(lines, a_black_hole_of_four_seconds_costs_little_more_than_that)
{
    const struct tunnel_line line = {.delay_ms = 10, .jitter_ms = 2};
    const char *const *words = SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", fault_all() ? "480" : "100",
                                          "--ignore-eos", "--speculate", "off");
    const int holes = fault_all() ? 20 : 1;
    unsigned seed = 3;
    double worst = 0, sum = 0;
    open_line(12, words);
    for (int made = 0; made < holes;) {
        struct shell s;
        tunnel_set(tunnel, &line);
        trio_start_as(&trio, "user", &s, words);
        struct pulse *p = pulse_start(&s);
        cr_assert(pulse_wait(p, 0), "no answer came");
        for (int i = 0; i < 4 && made < holes; i++) {
            (void)poll(NULL, 0, 100 + rand_r(&seed) % 1000);
            if (!pulse_running(p))
                break;
            (void)pulse_longest(p);
            tunnel_set(tunnel, &(struct tunnel_line){.delay_ms = 10, .jitter_ms = 2, .hole = true});
            (void)poll(NULL, 0, HOLE_MS);
            tunnel_set(tunnel, &line);
            (void)pulse_wait(p, pulse_bytes(p));
            const double pause = pulse_longest(p);
            if (pause < HOLE_MS - 500 && !pulse_running(p))
                break; /* the answer was over before the hole was dug */
            worst = pause > worst ? pause : worst;
            sum += pause;
            made++;
        }
        pulse_stop(p);
        unharmed(&s);
    }
    (void)fprintf(stderr, "lines: %d black holes of %d ms: longest pause %.0f ms, mean %.0f ms\n", holes, HOLE_MS, worst, sum / holes);
    cr_expect_gt(worst, HOLE_MS - 500, "the hole was none");
    cr_expect_lt(worst, fault_all() ? HOLE_PAUSE_MS : BUSY_MS);
    tunnel_set(tunnel, &clean);
    close_line();
}
