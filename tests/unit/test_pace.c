/* user/pace: how many guesses pay, learned from steps of a simulated line. Times are in microseconds. */
#include <criterion/criterion.h>
#include <stdint.h>

#include "user/pace.h"

#define MOST 16

/* A server and a line as they really are; the chooser sees what steps take only. */
struct world {
    double rtt, step, row, bytes, us_per_byte; /* bytes: of one row up and down */
    double holds; /* probability of a guess */
    double noise; /* of what is measured, as a share of it */
};

static uint64_t state;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

static struct pace_cost cost_of(const struct world *w, int rows)
{
    double server = w->step + (rows - 1) * w->row, wall = w->rtt + server + rows * w->bytes * w->us_per_byte;
    return (struct pace_cost){rows, wall, server, rows * w->bytes};
}

static struct pace_cost measured(const struct world *w, int rows)
{
    struct pace_cost c = cost_of(w, rows);
    c.wall_us *= 1 + w->noise * (uniform() - 0.5);
    return c;
}

/* Generates `tokens`; gives how many times faster than without guesses, and the k of the last step. */
static double run(const struct world *w, enum pace_kind kind, int tokens, int *last)
{
    struct pace p;
    double total = 0, plain = 0;
    state = 7;
    pace_init(&p);
    struct pace_cost prefill = measured(w, 40);
    pace_prefill(&p, &prefill);
    for (int made = 0; made < tokens;) {
        int k = pace_choose(&p, kind, MOST, 0).k, held = 0;
        struct pace_cost c = measured(w, 1 + k);
        while (held < k && uniform() < w->holds)
            held++;
        pace_step(&p, &c, kind, held, held < k, 0);
        total += cost_of(w, 1 + k).wall_us;
        made += 1 + held;
        plain += (1 + held) * cost_of(w, 1).wall_us;
        *last = k;
    }
    return plain / total;
}

static const struct world far = {.rtt = 50000, .step = 2000, .row = 300, .bytes = 9000, .us_per_byte = 0.08, .holds = 0.9, .noise = 0.1};

Test(pace, on_a_long_line_guesses_that_hold_are_sent_in_long_runs)
{
    int k;
    double faster = run(&far, PACE_LOOKUP_LONG, 300, &k);
    cr_expect_gt(faster, 4);
    cr_expect_geq(k, 8);
}

/* Mutations: no credit; the share of time that may be lost ten times as large; row_us never learned. */
Test(pace, text_that_does_not_repeat_is_never_slowed_by_three_percent)
{
    for (int kind = 0; kind < PACE_KINDS; kind++)
        for (int holds = 0; holds < 3; holds++)
            for (int where = 0; where < 4; where++) {
                struct world w = far;
                int k;
                w.holds = 0.01 * holds;
                if (where == 1)
                    w = (struct world){.rtt = 150, .step = 20000, .row = 18000, .bytes = 1000, .holds = w.holds}; /* near, rows dear */
                if (where == 2)
                    w.us_per_byte = 5; /* outputs are dear */
                if (where == 3)
                    w.noise = 0.5;
                double faster = run(&w, (enum pace_kind)kind, 64, &k);
                cr_expect_gt(faster, 0.97, "kind %d, holds %d %%, world %d: %g", kind, holds, where, faster);
            }
}

Test(pace, no_guess_is_sent_where_a_row_costs_as_much_as_a_step)
{
    const struct world near = {.rtt = 100, .step = 10000, .row = 10000, .holds = 0.5};
    int k;
    double faster = run(&near, PACE_LOOKUP_LONG, 300, &k);
    cr_expect_gt(faster, 0.97);
    cr_expect_eq(k, 0);
}

/* Mutation: cost of a row from the server's time alone. */
Test(pace, dear_outputs_make_short_runs)
{
    struct world thin = far;
    int wide_k, thin_k;
    thin.bytes = 130000;
    double faster = run(&thin, PACE_LOOKUP_LONG, 300, &thin_k);
    cr_expect_gt(faster, 1.5);
    (void)run(&far, PACE_LOOKUP_LONG, 300, &wide_k);
    cr_expect_lt(thin_k, wide_k);
}

/* 40 rows took 8 ms of the server and 500 ms of the line beyond a plain step: 0.2 ms and, at 20 kB a row, 10 ms each. Then they turn
 * out to cost 30 ms. Mutations: bytes left out; a price that is never learned. */
Test(pace, the_price_of_a_row_is_guessed_from_the_prefill_and_learned_from_steps)
{
    struct pace p;
    pace_init(&p);
    pace_prefill(&p, &(struct pace_cost){40, 558000, 8000, 1000000});
    pace_step(&p, &(struct pace_cost){1, 52000, 2000, 20000}, PACE_LOOKUP_1, 0, false, 0);
    cr_expect_float_eq(p.row_us, 10200, 1);
    for (int i = 0; i < 20; i++)
        pace_step(&p, &(struct pace_cost){3, 112000, 2400, 60000}, PACE_LOOKUP_LONG, 2, false, 0);
    cr_expect(p.row_us > 25000 && p.row_us < 31000, "%g", p.row_us);
}

/* Mutation: counts that do not fade. */
Test(pace, what_failed_long_ago_is_tried_again)
{
    struct pace p;
    struct pace_cost plain = cost_of(&far, 1), four = cost_of(&far, 5);
    pace_init(&p);
    pace_prefill(&p, &(struct pace_cost){40, 60000, 10000, 100000});
    pace_step(&p, &plain, PACE_LOOKUP_2, 0, false, 0);
    cr_expect_gt(pace_choose(&p, PACE_LOOKUP_2, MOST, 0).k, 0);
    for (int i = 0; i < 60; i++)
        pace_step(&p, &four, PACE_LOOKUP_2, 0, true, 0);
    cr_expect_eq(pace_choose(&p, PACE_LOOKUP_2, MOST, 0).k, 0);
    for (int i = 0; i < 400; i++)
        pace_step(&p, &plain, PACE_LOOKUP_2, 0, false, 0);
    cr_expect_gt(pace_choose(&p, PACE_LOOKUP_2, MOST, 0).k, 0);
}

Test(pace, the_first_step_is_plain_and_slow_drafting_counts)
{
    struct pace p;
    struct pace_cost plain = cost_of(&far, 1);
    pace_init(&p);
    cr_expect_eq(pace_choose(&p, PACE_MODEL, MOST, 0).k, 0);
    pace_prefill(&p, &(struct pace_cost){40, 60000, 10000, 100000});
    pace_step(&p, &plain, PACE_MODEL, 0, false, 0);
    p.credit_us = 1e9;
    int quick = pace_choose(&p, PACE_MODEL, MOST, 100).k, slow = pace_choose(&p, PACE_MODEL, MOST, 8000).k;
    cr_expect_gt(quick, slow);
    cr_expect_eq(pace_choose(&p, PACE_MODEL, MOST, 60000).k, 0);
}
