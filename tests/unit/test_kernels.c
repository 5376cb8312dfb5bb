/* The kernels that work row by row against plain loops in double, on every vector level that this CPU has. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/activation.h"
#include "engine/kernels/norm.h"
#include "engine/kernels/rope.h"
#include "engine/kernels/table.h"

static uint64_t state = 88172645463325252u;

/* xorshift64: the same numbers in every run. */
static float noise(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)((double)(state >> 11) * 0x1p-52 - 1.0);
}

static float *random_floats(size_t n)
{
    float *p = malloc(n * sizeof *p);
    cr_assert_not_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = noise();
    return p;
}

static void on_each_level(void (*check)(void))
{
    struct err err;
    for (int level = 0; kernels_level(level) != NULL; level++) {
        cr_assert_eq(kernels_choose(kernels_level(level), &err), 0, "%s", err.text);
        check();
    }
}

static void assert_close(double got, double want, double tolerance, const char *what, int a, int b, int c)
{
    cr_assert(fabs(got - want) <= tolerance, "%s %d,%d,%d: got %.9g, want %.9g", what, a, b, c, got, want);
}

/* ------------------------------------------------------------------ norms */

/* Catches the gain ignored, eps left out (the row of tiny values), the mean not subtracted (each tried). */
static void check_norms_follow_the_formulas_with_random_gains(void)
{
    static const int widths[] = {1, 3, 8, 15, 64, 100, 769};
    for (size_t s = 0; s < sizeof widths / sizeof *widths; s++) {
        enum { ROWS = 3 };
        int D = widths[s];
        size_t n = (size_t)D;
        const double eps = 1e-5;
        float *x = random_floats(ROWS * n), *w = random_floats(n), *b = random_floats(n);
        float *rms = malloc(ROWS * n * sizeof *rms), *layer = malloc(ROWS * n * sizeof *layer);
        for (int d = 0; d < D; d++) {
            x[D + d] *= 1e-3f;     /* eps decides */
            x[2 * D + d] += 50.0f; /* the mean decides */
        }
        norm_rms(rms, x, w, eps, ROWS, D);
        norm_layer(layer, x, w, b, eps, ROWS, D);
        for (int r = 0; r < ROWS; r++) {
            const float *row = x + r * D;
            double square = 0, mean = 0, var = 0;
            for (int d = 0; d < D; d++) {
                square += (double)row[d] * (double)row[d];
                mean += (double)row[d];
            }
            mean /= D;
            for (int d = 0; d < D; d++)
                var += ((double)row[d] - mean) * ((double)row[d] - mean);
            for (int d = 0; d < D; d++) {
                assert_close((double)rms[r * D + d], (double)row[d] / sqrt(square / D + eps) * (double)w[d], 2e-6, "rms", D, r, d);
                assert_close((double)layer[r * D + d],
                             ((double)row[d] - mean) / sqrt(var / D + eps) * (double)w[d] + (double)b[d], 2e-6, "layer", D, r, d);
            }
        }
        norm_rms(x, x, w, eps, ROWS, D);
        cr_assert_arr_eq(x, rms, ROWS * n * sizeof *x, "in place");
        free(x);
        free(w);
        free(b);
        free(rms);
        free(layer);
    }
}

Test(kernels, norms_follow_the_formulas_with_random_gains)
{
    on_each_level(check_norms_follow_the_formulas_with_random_gains);
}

/* ------------------------------------------------------------------ activations */

static double exact(enum act_kind kind, double x)
{
    switch (kind) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU:
        return x * 0.5 * erfc(-x / sqrt(2));
    case ACT_GELU_TANH:
        return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_TANH:
        return tanh(x);
    }
    return NAN;
}

/* Catches the tanh form used for gelu and the other way round: they differ by up to 5e-4 (tried). */
static void check_activations_are_exact_to_a_few_roundings(void)
{
    for (int kind = ACT_SILU; kind <= ACT_TANH; kind++)
        for (int i = -120000; i <= 120000; i += 3) {
            float x = (float)i * 1e-4f, y = x;
            activate((enum act_kind)kind, &y, 1);
            double want = exact((enum act_kind)kind, (double)x);
            cr_assert(fabs((double)y - want) <= 4e-7 * fabs(want) + 2e-8, "kind %d x %g: got %.9g, want %.9g", kind, (double)x,
                      (double)y, want);
        }
}

Test(kernels, activations_are_exact_to_a_few_roundings)
{
    on_each_level(check_activations_are_exact_to_a_few_roundings);
}

static void check_activations_survive_large_values_and_keep_nan(void)
{
    for (int kind = ACT_SILU; kind <= ACT_RELU; kind++) {
        float x[4] = {1e20f, -1e20f, NAN, 0.0f};
        activate((enum act_kind)kind, x, 4);
        cr_assert_eq(x[0], 1e20f);
        cr_assert_eq(x[1], 0.0f);
        cr_assert(isnan(x[2]));
        cr_assert_eq(x[3], 0.0f);
    }
}

Test(kernels, activations_survive_large_values_and_keep_nan)
{
    on_each_level(check_activations_survive_large_values_and_keep_nan);
}

/* Catches gate and up exchanged (tried). */
static void check_gated_activation_multiplies_the_second_half(void)
{
    enum { ROWS = 5, F = 37 };
    float *up = random_floats(ROWS * 2 * F), y[ROWS * F];
    activate_gated(ACT_SILU, y, up, ROWS, F);
    for (int r = 0; r < ROWS; r++)
        for (int f = 0; f < F; f++)
            assert_close((double)y[r * F + f],
                         exact(ACT_SILU, (double)up[r * 2 * F + f]) * (double)up[r * 2 * F + F + f], 1e-6, "gated", r, f, 0);
    free(up);
}

Test(kernels, gated_activation_multiplies_the_second_half)
{
    on_each_level(check_gated_activation_multiplies_the_second_half);
}

static void check_tanh_ends_at_one_keeps_small_numbers_and_nan(void)
{
    float x[6] = {1e20f, -1e20f, NAN, 0.0f, 1e-30f, -3e-5f};
    activate(ACT_TANH, x, 6);
    cr_assert(x[0] == 1.0f && x[1] == -1.0f && isnan(x[2]) && x[3] == 0.0f && x[4] == 1e-30f);
    cr_assert_float_eq(x[5], -3e-5f, 1e-11f);
}

Test(kernels, tanh_ends_at_one_keeps_small_numbers_and_nan)
{
    on_each_level(check_tanh_ends_at_one_keeps_small_numbers_and_nan);
}

/* ------------------------------------------------------------------ rotary positions */

/* Catches pairs (2i, 2i+1) instead of (i, i+K/2), and the rotation turned round (both tried). */
static void check_rope_turns_the_halves_of_a_head_against_each_other(void)
{
    enum { HEADS = 3, K = 10 };
    const struct rope_config rope = {.kind = ROPE_DEFAULT, .theta = 10000, .factor = 1};
    double frequency[K / 2];
    float cosine[K / 2], sine[K / 2], *x = random_floats(HEADS * K), y[HEADS * K];
    const int position = 1234;
    rope_frequencies(frequency, &rope, K);
    rope_angles(cosine, sine, frequency, 1.0, K, position);
    memcpy(y, x, sizeof y);
    rope_rotate(y, HEADS, K, K, cosine, sine);
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < K / 2; i++) {
            double angle = position / pow(10000, 2.0 * i / K), a = (double)x[h * K + i], b = (double)x[h * K + i + K / 2];
            assert_close((double)y[h * K + i], a * cos(angle) - b * sin(angle), 2e-7, "rope", h, i, 0);
            assert_close((double)y[h * K + i + K / 2], a * sin(angle) + b * cos(angle), 2e-7, "rope", h, i, 1);
        }
    free(x);
}

Test(kernels, rope_turns_the_halves_of_a_head_against_each_other)
{
    on_each_level(check_rope_turns_the_halves_of_a_head_against_each_other);
}

/* Catches pairs that lie K/2 apart (tried). */
static void check_rope_turns_the_first_dims_of_a_head_only(void)
{
    enum { HEADS = 2, K = 12, ROTARY = 6 };
    const struct rope_config rope = {.kind = ROPE_DEFAULT, .theta = 100, .factor = 1};
    double frequency[ROTARY / 2];
    float cosine[ROTARY / 2], sine[ROTARY / 2], *x = random_floats(HEADS * K), y[HEADS * K];
    rope_frequencies(frequency, &rope, ROTARY);
    rope_angles(cosine, sine, frequency, 1.0, ROTARY, 7);
    memcpy(y, x, sizeof y);
    rope_rotate(y, HEADS, K, ROTARY, cosine, sine);
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < K; i++) {
            double angle = 7 / pow(100, 2.0 * (i % 3) / ROTARY), a = (double)x[h * K + i % 3], b = (double)x[h * K + i % 3 + 3];
            double want = i < 3 ? a * cos(angle) - b * sin(angle) : a * sin(angle) + b * cos(angle);
            assert_close((double)y[h * K + i], i < ROTARY ? want : (double)x[h * K + i], 2e-7, "partial rope", h, i, 0);
        }
    free(x);
}

Test(kernels, rope_turns_the_first_dims_of_a_head_only)
{
    on_each_level(check_rope_turns_the_first_dims_of_a_head_only);
}

/* Values worked out by hand from the published rule: long waves stretched, short ones kept, a blend between. Catches the
 * comparison with low and high exchanged, the factor forgotten (both tried). */
Test(kernels, rope_scaling_stretches_long_waves)
{
    enum { K = 128 };
    double plain[K / 2], linear[K / 2], llama3[K / 2];
    struct rope_config rope = {.kind = ROPE_DEFAULT, .theta = 500000, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4,
                               .original = 8192};
    rope_frequencies(plain, &rope, K);
    rope.kind = ROPE_LINEAR;
    rope_frequencies(linear, &rope, K);
    rope.kind = ROPE_LLAMA3;
    rope_frequencies(llama3, &rope, K);
    int kept = 0, stretched = 0, blended = 0;
    for (int i = 0; i < K / 2; i++) {
        double wave = 2 * M_PI / plain[i];
        cr_assert_float_eq(plain[i], pow(500000, -i / 64.0), 1e-15);
        cr_assert_float_eq(linear[i], plain[i] / 8, 1e-15);
        if (wave < 2048) {
            cr_assert_eq(llama3[i], plain[i]);
            kept++;
        } else if (wave > 8192) {
            cr_assert_eq(llama3[i], plain[i] / 8);
            stretched++;
        } else {
            double smooth = (8192 / wave - 1) / 3;
            cr_assert_float_eq(llama3[i], plain[i] * ((1 - smooth) / 8 + smooth), 1e-15);
            cr_assert(llama3[i] < plain[i] && llama3[i] > plain[i] / 8);
            blended++;
        }
    }
    cr_assert(kept == 29 && blended == 6 && stretched == 29, "%d %d %d", kept, blended, stretched);
}

/* Numbers of a separate program that follows the published formula (the head of Qwen's 32K models, and borders between dims). */
Test(kernels, yarn_stretches_slow_pairs_and_blends_by_their_number)
{
    static const int at[2][6] = {{0, 20, 30, 40, 50, 63}, {0, 8, 16, 20, 24, 31}};
    static const double want[2][6] = {
        {1, 0.0133352143216332, 0.001064360981247, 4.44569852509731e-05, 5.13381256614287e-06, 3.1023444018793e-07},
        {1, 0.1, 0.00569621440141179, 0.000816470623366265, 6.25e-05, 8.33450895102077e-06}};
    const struct rope_config rope[2] = {
        {.kind = ROPE_YARN, .theta = 1e6, .factor = 4, .original = 32768, .beta_fast = 32, .beta_slow = 1, .truncate = true},
        {.kind = ROPE_YARN, .theta = 1e4, .factor = 16, .original = 4096, .beta_fast = 32, .beta_slow = 1}};
    for (int r = 0; r < 2; r++) {
        double frequency[64];
        rope_frequencies(frequency, &rope[r], r == 0 ? 128 : 64);
        for (int i = 0; i < 6; i++)
            cr_expect_float_eq(frequency[at[r][i]] / want[r][i], 1, 1e-13, "pair %d: %.15g", at[r][i], frequency[at[r][i]]);
    }
}
