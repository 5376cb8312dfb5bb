/* user/sample: the filters against a slow double implementation, and the draw against its distribution. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/sample.h"

#define V 50

static uint64_t state;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

static const struct sample_opts off = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};

/* ------------------------------------------------------------------ the slow twin: probabilities, filter by filter */

static const double *order_by;

static int more_probable(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return order_by[x] != order_by[y] ? (order_by[x] > order_by[y] ? -1 : 1) : x - y;
}

static void normalise(double *p)
{
    double sum = 0;
    for (int i = 0; i < V; i++)
        sum += p[i];
    for (int i = 0; i < V; i++)
        p[i] /= sum;
}

static void slow_probabilities(const struct sample_opts *o, const float *logits, const int32_t *history, size_t n, double *p)
{
    double x[V], max = -INFINITY;
    int rank[V];
    for (int i = 0; i < V; i++) {
        x[i] = (double)logits[i];
        for (size_t h = 0; h < n; h++)
            if (history[h] == i) {
                x[i] = x[i] > 0 ? x[i] / o->repeat_penalty : x[i] * o->repeat_penalty;
                break;
            }
        max = x[i] > max ? x[i] : max;
    }
    for (int i = 0; i < V; i++) {
        p[i] = exp((x[i] - max) / o->temperature);
        rank[i] = i;
    }
    normalise(p);
    order_by = p;
    qsort(rank, V, sizeof *rank, more_probable);
    for (int r = 0; r < V; r++)
        if (o->top_k > 0 && r >= o->top_k)
            p[rank[r]] = 0;
    normalise(p);
    double before = 0;
    for (int r = 0; r < V; r++) {
        double mine = p[rank[r]];
        if (o->top_p < 1 && r > 0 && before >= o->top_p)
            p[rank[r]] = 0;
        before += mine;
    }
    for (int i = 0; i < V; i++)
        if (p[i] < o->min_p * p[rank[0]])
            p[i] = 0;
    normalise(p);
}

/* Draws `n` tokens for one row and compares the counts with the twin's probabilities: nothing outside the kept set, and
 * chi-square within the kept set. */
static void compare(const struct sample_opts *o, const float *logits, const int32_t *history, size_t n_history, int n)
{
    double p[V], chi = 0;
    int count[V] = {0}, cells = 0;
    struct sampler *s = NULL;
    slow_probabilities(o, logits, history, n_history, p);
    cr_assert_eq(sampler_new(&s, o, V, NULL), 0);
    for (int k = 0; k < n; k++) {
        float scratch[V];
        int32_t token = -1;
        memcpy(scratch, logits, sizeof scratch);
        cr_assert_eq(sampler_next(s, scratch, history, n_history, &token, NULL), 0);
        cr_assert(token >= 0 && token < V);
        cr_assert_gt(p[token], 0.0, "token %d was filtered (k %d, p %g, m %g, t %g)", token, o->top_k, o->top_p, o->min_p,
                     o->temperature);
        count[token]++;
    }
    double rare = 0;
    int rare_count = 0;
    for (int i = 0; i < V; i++)
        if (p[i] * n >= 8) {
            chi += pow(count[i] - p[i] * n, 2) / (p[i] * n);
            cells++;
        } else {
            rare += p[i] * n;
            rare_count += count[i];
        }
    if (rare >= 8) {
        chi += pow(rare_count - rare, 2) / rare;
        cells++;
    }
    /* Wilson and Hilferty: five standard deviations. */
    double df = cells > 1 ? cells - 1 : 1, limit = df * pow(1 - 2 / (9 * df) + 5 * sqrt(2 / (9 * df)), 3);
    cr_expect_lt(chi, limit, "chi-square %g with %g degrees (k %d, p %g, m %g, t %g)", chi, df, o->top_k, o->top_p, o->min_p,
                 o->temperature);
    sampler_free(s);
}

/* Catches: top-p that keeps one token too few or too many, top-p before top-k, min-p against the sum instead of the largest,
 * no temperature, history counted twice (all tried). */
Test(sample, every_mix_of_filters_equals_the_slow_twin)
{
    static const double temperatures[] = {0.3, 1, 1.7}, ps[] = {1, 0.95, 0.5, 0.05, 0}, ms[] = {0, 0.05, 0.5};
    static const int ks[] = {0, 1, 2, 7, V, V + 10};
    uint64_t seed = 1;
    state = 42;
    for (size_t t = 0; t < 3; t++)
        for (size_t p = 0; p < 5; p++)
            for (size_t m = 0; m < 3; m++)
                for (size_t k = 0; k < 6; k++) {
                    float logits[V];
                    int32_t history[20];
                    for (int i = 0; i < V; i++)
                        logits[i] = (float)(8 * uniform() - 4);
                    for (int i = 0; i < 20; i++)
                        history[i] = (int32_t)(V * uniform());
                    struct sample_opts o = {.temperature = temperatures[t], .top_k = ks[k], .top_p = ps[p], .min_p = ms[m],
                                            .repeat_penalty = seed % 3 == 0 ? 1.3 : 1, .seed = seed};
                    compare(&o, logits, history, seed % 2 == 0 ? 20 : 0, 400);
                    seed++;
                }
}

Test(sample, the_draw_has_the_distribution_of_the_softmax)
{
    float logits[V];
    struct sample_opts o = off;
    state = 7;
    for (int i = 0; i < V; i++)
        logits[i] = (float)(4 * uniform());
    o.seed = 99;
    compare(&o, logits, NULL, 0, 200000);
    o.top_k = 10;
    o.top_p = 0.8;
    compare(&o, logits, NULL, 0, 100000);
}

/* The smallest set that reaches p, not one more. Catches: <= for < (tried). */
Test(sample, top_p_that_is_reached_exactly_keeps_no_more)
{
    for (int k = 0; k < 2; k++) {
        const struct sample_opts o = {.temperature = 1, .top_k = k == 0 ? 0 : 4, .top_p = 0.5, .repeat_penalty = 1, .seed = 1};
        struct sampler *s = NULL;
        unsigned seen = 0;
        cr_assert_eq(sampler_new(&s, &o, 5, NULL), 0);
        for (int i = 0; i < 200; i++) {
            float logits[5] = {0, 0, -1000, 0, 0}; /* four equal ones */
            int32_t token = -1;
            cr_assert_eq(sampler_next(s, logits, NULL, 0, &token, NULL), 0);
            seen |= 1u << token;
        }
        cr_expect_eq(seen, 3, "tokens 0 and 1, of equals the first");
        sampler_free(s);
    }
}

Test(sample, temperature_zero_is_greedy_and_takes_the_first_of_equals)
{
    const struct sample_opts greedy = {.temperature = 0, .top_k = 3, .top_p = 0.1, .repeat_penalty = 1};
    float logits[V] = {0};
    struct sampler *s = NULL;
    int32_t token = -1;
    logits[7] = logits[9] = 3.0f;
    cr_assert_eq(sampler_new(&s, &greedy, V, NULL), 0);
    cr_assert_eq(sampler_next(s, logits, NULL, 0, &token, NULL), 0);
    cr_expect_eq(token, 7);
    sampler_free(s);
    sampler_free(NULL);
    cr_expect_eq(sample_argmax((const float[]){-3, -1, -2}, 3), 1);
    cr_expect_eq(sample_argmax((const float[]){-3}, 1), 0);
    /* Mutations: the last of equals; the rest beyond whole vectors forgotten; a NaN that wins. */
    float v[200];
    for (int n = 1; n <= 200; n++)
        for (int at = 0; at < n; at++) {
            for (int i = 0; i < n; i++)
                v[i] = -5.0f - (float)(i % 7);
            v[n - 1] = v[at] = -1.0f;
            if (at > 0)
                v[at / 2] = at / 2 > 0 ? NAN : -5.0f;
            cr_assert_eq(sample_argmax(v, n), at, "%d of %d", at, n);
        }
}

static void draw_sixty_four(uint64_t seed, int32_t *out)
{
    struct sample_opts o = off;
    struct sampler *s = NULL;
    o.seed = seed;
    cr_assert_eq(sampler_new(&s, &o, V, NULL), 0);
    for (int k = 0; k < 64; k++) {
        float logits[V] = {0};
        cr_assert_eq(sampler_next(s, logits, NULL, 0, &out[k], NULL), 0);
    }
    sampler_free(s);
}

Test(sample, a_seed_gives_the_same_tokens_again_and_another_seed_others)
{
    int32_t a[64], b[64], c[64], d[64];
    draw_sixty_four(5, a);
    draw_sixty_four(5, b);
    draw_sixty_four(6, c);
    draw_sixty_four(5 + ((uint64_t)1 << 40), d);
    cr_expect_arr_eq(a, b, sizeof a);
    cr_expect_arr_neq(a, c, sizeof a);
    cr_expect_arr_neq(a, d, sizeof a, "all 64 bits of the seed count");
}

Test(sample, the_penalty_counts_each_token_once_and_passes_over_foreign_ids)
{
    const struct sample_opts o = {.temperature = 0, .top_p = 1, .repeat_penalty = 2};
    static const int32_t history[] = {1, 1, 1, 2, -1, V, V + 1000, INT32_MAX, INT32_MIN};
    float logits[V];
    struct sampler *s = NULL;
    int32_t token = -1;
    cr_assert_eq(sampler_new(&s, &o, V, NULL), 0);
    for (int round = 0; round < 2; round++) { /* the second round finds no marks of the first */
        for (int i = 0; i < V; i++)
            logits[i] = -10.0f;
        logits[1] = 4.0f;
        logits[2] = -4.0f;
        logits[3] = 1.5f;
        cr_assert_eq(sampler_next(s, logits, history, sizeof history / sizeof *history, &token, NULL), 0);
        cr_expect_eq(logits[1], 2.0f, "halved once");
        cr_expect_eq(logits[2], -8.0f, "a negative one grows");
        cr_expect_eq(logits[3], 1.5f);
        cr_expect_eq(token, 1);
    }
    sampler_free(s);
}

Test(sample, extreme_logits_and_temperatures_stay_finite)
{
    static const double temperatures[] = {1e-300, 1e-6, 1, 1e6, 1e300};
    for (size_t t = 0; t < 5; t++)
        for (int k = 0; k < 3; k++) {
            struct sample_opts o = {.temperature = temperatures[t], .top_k = k == 1 ? 3 : 0, .top_p = k == 2 ? 0.9 : 1,
                                    .min_p = 0.1, .repeat_penalty = 1, .seed = 3};
            struct sampler *s = NULL;
            int32_t token = -1;
            float logits[V];
            for (int i = 0; i < V; i++)
                logits[i] = i % 2 == 0 ? -3e38f : 3e38f;
            cr_assert_eq(sampler_new(&s, &o, V, NULL), 0);
            cr_assert_eq(sampler_next(s, logits, NULL, 0, &token, NULL), 0);
            cr_expect(token >= 0 && token < V);
            cr_expect(t > 2 || token % 2 == 1, "the large ones are all that count");
            sampler_free(s);
        }
}

Test(sample, log_probabilities_sum_to_one)
{
    float logits[V];
    double sum = 0;
    state = 3;
    for (int i = 0; i < V; i++)
        logits[i] = (float)(200 * uniform() - 100);
    for (int i = 0; i < V; i++)
        sum += exp(sample_logprob(logits, V, i));
    cr_expect_float_eq(sum, 1, 1e-12);
    cr_expect_float_eq(sample_logprob((const float[]){0, 0, 0, 0}, 4, 2), -log(4), 1e-15);
}

/* ------------------------------------------------------------------ bias, and penalties of what was drawn */

/* Mutation: count the history, count before drawing, a bias that is added once only. */
Test(sample, penalties_count_what_was_drawn_and_bias_stays)
{
    const struct sample_bias bias[] = {{3, 5}, {4, -100}, {V + 7, 100}, {-1, 100}};
    const struct sample_opts o = {.temperature = 0, .top_p = 1, .repeat_penalty = 1, .frequency_penalty = 1.5, .presence_penalty = 0.25, .bias = bias,
                                  .bias_count = 4};
    const int32_t history[] = {3, 3, 3, 3};
    struct sampler *s;
    struct err err;
    double expected[V];
    cr_assert_eq(sampler_new(&s, &o, V, &err), 0);
    for (int i = 0; i < V; i++)
        expected[i] = i == 4 ? 50.0 - 100.0 : i == 3 ? 5.0 + 1.0 : i == 9 ? 4.0 : 0.0;
    for (int step = 0; step < 30; step++) {
        float logits[V] = {[3] = 1, [4] = 50, [9] = 4};
        int32_t token, best = 0;
        for (int32_t i = 1; i < V; i++)
            if (expected[i] > expected[best])
                best = i;
        cr_assert_eq(sampler_next(s, logits, history, 4, &token, &err), 0);
        cr_assert_eq(token, best, "step %d", step);
        double so_far = expected[token], plain = token == 3 ? 6 : token == 9 ? 4 : 0;
        expected[token] = so_far == plain ? plain - 1.75 : so_far - 1.5;
    }
    sampler_free(s);
}
