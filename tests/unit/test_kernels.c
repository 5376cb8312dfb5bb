/* The kernels against plain loops in double. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/activation.h"
#include "engine/kernels/attention.h"
#include "engine/kernels/fast_exp.h"
#include "engine/kernels/matmul.h"
#include "engine/kernels/norm.h"
#include "engine/kernels/rope.h"

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

static void assert_close(double got, double want, double tolerance, const char *what, int a, int b, int c)
{
    cr_assert(fabs(got - want) <= tolerance, "%s %d,%d,%d: got %.9g, want %.9g", what, a, b, c, got, want);
}

/* ------------------------------------------------------------------ matmul */

static void check_matmul(int rows, int out, int in, bool biased)
{
    float *x = random_floats((size_t)rows * (size_t)in), *w = random_floats((size_t)out * (size_t)in);
    float *b = random_floats((size_t)out), *y = malloc((size_t)rows * (size_t)out * sizeof *y);
    for (int i = 0; i < rows * out; i++)
        y[i] = NAN; /* whatever was there must not matter */
    matmul(y, x, w, biased ? b : NULL, rows, out, in);
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < out; o++) {
            double sum = biased ? (double)b[o] : 0.0;
            for (int i = 0; i < in; i++)
                sum += (double)x[r * in + i] * (double)w[o * in + i];
            assert_close((double)y[r * out + o], sum, 1e-6 * (2 + in), "matmul", rows, out, in);
        }
    free(x);
    free(w);
    free(b);
    free(y);
}

/* Catches W used as [in,out], the bias left out, old bytes of y added (each tried). */
Test(kernels, matmul_is_x_times_w_transposed_plus_bias_for_odd_shapes)
{
    static const int shapes[][3] = {{1, 1, 1}, {1, 7, 5}, {1, 64, 64}, {1, 513, 257}, {2, 3, 9}, {3, 17, 31},
                                    {5, 64, 172}, {16, 33, 65}, {33, 129, 7}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int biased = 0; biased < 2; biased++)
            check_matmul(shapes[i][0], shapes[i][1], shapes[i][2], biased != 0);
}

Test(kernels, matmul_keeps_a_nan_in_its_row)
{
    enum { ROWS = 9, OUT = 40, IN = 70 };
    float *x = random_floats(ROWS * IN), *w = random_floats(OUT * IN), y[ROWS * OUT];
    x[4 * IN + 3] = NAN;
    matmul(y, x, w, NULL, ROWS, OUT, IN);
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUT; o++)
            cr_assert_eq(isnan(y[r * OUT + o]) != 0, r == 4);
    free(x);
    free(w);
}

Test(kernels, matmul_gives_the_same_bits_in_every_run)
{
    enum { ROWS = 24, OUT = 300, IN = 500 };
    float *x = random_floats(ROWS * IN), *w = random_floats(OUT * IN);
    float *first = malloc(ROWS * OUT * sizeof *first), *again = malloc(ROWS * OUT * sizeof *again);
    for (int rows = 1; rows <= ROWS; rows += ROWS - 1) {
        matmul(first, x, w, NULL, rows, OUT, IN);
        for (int i = 0; i < 20; i++) {
            matmul(again, x, w, NULL, rows, OUT, IN);
            cr_assert_arr_eq(first, again, (size_t)rows * OUT * sizeof *first);
        }
    }
    free(x);
    free(w);
    free(first);
    free(again);
}

/* ------------------------------------------------------------------ norms */

/* Catches the gain ignored, eps left out (the row of tiny values), the mean not subtracted (each tried). */
Test(kernels, norms_follow_the_formulas_with_random_gains)
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

/* ------------------------------------------------------------------ activations */

Test(kernels, fast_exp_is_exact_to_two_roundings_and_right_at_its_ends)
{
    double worst = 0;
    for (int i = -870000; i <= 887000; i++) {
        float x = (float)i * 1e-4f;
        worst = fmax(worst, fabs((double)fast_exp(x) / exp((double)x) - 1));
    }
    cr_assert_lt(worst, 2e-7, "relative error %.3g", worst);
    cr_assert_eq(fast_exp(0.0f), 1.0f);
    cr_assert_eq(fast_exp(-INFINITY), 0.0f);
    cr_assert_eq(fast_exp(-1e30f), 0.0f);
    cr_assert(isinf(fast_exp(89.0f)) && isinf(fast_exp(INFINITY)));
    cr_assert(isnan(fast_exp(NAN)));
    cr_assert_float_eq(fast_exp(-100.0f), expf(-100.0f), 2e-45f); /* subnormal */
}

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
    }
    return NAN;
}

/* Catches the tanh form used for gelu and the other way round: they differ by up to 5e-4 (tried). */
Test(kernels, activations_are_exact_to_a_few_roundings)
{
    for (int kind = ACT_SILU; kind <= ACT_RELU; kind++)
        for (int i = -120000; i <= 120000; i += 3) {
            float x = (float)i * 1e-4f, y = x;
            activate((enum act_kind)kind, &y, 1);
            double want = exact((enum act_kind)kind, (double)x);
            cr_assert(fabs((double)y - want) <= 4e-7 * fabs(want) + 2e-8, "kind %d x %g: got %.9g, want %.9g", kind, (double)x,
                      (double)y, want);
        }
}

Test(kernels, activations_survive_large_values_and_keep_nan)
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

/* Catches gate and up exchanged (tried). */
Test(kernels, gated_activation_multiplies_the_second_half)
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

Test(kernels, tanh_is_tanh)
{
    float x[3] = {-2.0f, 0.1f, NAN};
    activate_tanh(x, 3);
    cr_assert_float_eq(x[0], tanhf(-2.0f), 1e-7f);
    cr_assert_float_eq(x[1], tanhf(0.1f), 1e-8f);
    cr_assert(isnan(x[2]));
}

/* ------------------------------------------------------------------ rotary positions */

/* Catches pairs (2i, 2i+1) instead of (i, i+K/2), and the rotation turned round (both tried). */
Test(kernels, rope_turns_the_halves_of_a_head_against_each_other)
{
    enum { HEADS = 3, K = 10 };
    const struct rope_config rope = {.kind = ROPE_DEFAULT, .theta = 10000, .factor = 1};
    double frequency[K / 2];
    float cosine[K / 2], sine[K / 2], *x = random_floats(HEADS * K), y[HEADS * K];
    const int position = 1234;
    rope_frequencies(frequency, &rope, K);
    rope_angles(cosine, sine, frequency, K, position);
    memcpy(y, x, sizeof y);
    rope_rotate(y, HEADS, K, cosine, sine);
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < K / 2; i++) {
            double angle = position / pow(10000, 2.0 * i / K), a = (double)x[h * K + i], b = (double)x[h * K + i + K / 2];
            assert_close((double)y[h * K + i], a * cos(angle) - b * sin(angle), 2e-7, "rope", h, i, 0);
            assert_close((double)y[h * K + i + K / 2], a * sin(angle) + b * cos(angle), 2e-7, "rope", h, i, 1);
        }
    free(x);
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

/* ------------------------------------------------------------------ attention */

static void check_attention(const struct attention *a, int S, int T)
{
    int H = a->H, G = a->G, K = a->K, all = S + T;
    size_t q_stride = (size_t)((H + 2 * G) * K), kv_stride = (size_t)(G * K); /* as in a fused row and in a cache */
    float *q = random_floats((size_t)T * q_stride), *k = random_floats((size_t)all * kv_stride);
    float *v = random_floats((size_t)all * kv_stride), *y = malloc((size_t)(T * H * K) * sizeof *y);
    double *p = calloc((size_t)all, sizeof *p);
    for (size_t i = 0; i < (size_t)T * q_stride; i++)
        q[i] *= 6.0f; /* peaked weights, so that a wrong key shows */
    attention(a, y, q, q_stride, k, v, kv_stride, S, T);
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++) {
            int g = h / (H / G), i = S + t;
            double max = -INFINITY, sum = 0;
            for (int j = 0; j < all; j++) {
                p[j] = 0;
                for (int d = 0; d < K; d++)
                    p[j] += (double)q[(size_t)t * q_stride + (size_t)(h * K + d)] * (double)k[(size_t)j * kv_stride + (size_t)(g * K + d)];
                p[j] /= sqrt(K);
                if ((a->causal && j > i) || (a->window > 0 && i - j >= a->window))
                    p[j] = -INFINITY;
                max = fmax(max, p[j]);
            }
            for (int j = 0; j < all; j++)
                sum += p[j] = exp(p[j] - max);
            for (int d = 0; d < K; d++) {
                double want = 0;
                for (int j = 0; j < all; j++)
                    want += p[j] / sum * (double)v[(size_t)j * kv_stride + (size_t)(g * K + d)];
                cr_assert(fabs((double)y[(t * H + h) * K + d] - want) < 3e-6,
                          "H %d G %d K %d window %d causal %d S %d T %d: row %d head %d: got %.9g, want %.9g", H, G, K, a->window,
                          a->causal, S, T, t, h, (double)y[(t * H + h) * K + d], want);
            }
        }
    free(q);
    free(k);
    free(v);
    free(y);
    free(p);
}

/* Catches key heads taken as h % G, the window one too long or too short, the mask one off, a block border skipped,
 * the correction to a new maximum left out, the scale left out (each tried). */
Test(kernels, attention_is_softmax_over_visible_keys_for_odd_shapes)
{
    static const int heads[][2] = {{1, 1}, {4, 4}, {4, 1}, {6, 2}, {8, 4}, {40, 1}};
    static const int widths[] = {2, 8, 16, 20, 64, 80};
    static const int spans[][2] = {{0, 1}, {0, 5}, {3, 1}, {63, 1}, {64, 2}, {60, 70}, {200, 1}};
    static const int windows[] = {0, 1, 2, 64, 65};
    for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            for (size_t s = 0; s < sizeof spans / sizeof *spans; s++)
                for (size_t n = 0; n < sizeof windows / sizeof *windows; n++) {
                    struct attention a = {heads[h][0], heads[h][1], widths[w], windows[n], true};
                    if ((h + w + s + n) % 3 == 0) /* a third of all, each value with each other one */
                        check_attention(&a, spans[s][0], spans[s][1]);
                }
    for (int T = 1; T < 140; T += 46) {
        struct attention a = {4, 4, 16, 0, false};
        check_attention(&a, 0, T);
    }
}

/* A row's bits do not depend on the rows that share the call: chunked and whole prefill agree in attention exactly. */
Test(kernels, attention_rows_have_the_same_bits_alone_and_together)
{
    enum { H = 6, G = 2, K = 24, N = 150 };
    const struct attention a = {H, G, K, 70, true};
    size_t q_stride = H * K, kv_stride = G * K;
    float *q = random_floats(N * q_stride), *k = random_floats(N * kv_stride), *v = random_floats(N * kv_stride);
    float *together = malloc(N * q_stride * sizeof *together), alone[H * K];
    attention(&a, together, q, q_stride, k, v, kv_stride, 0, N);
    for (int t = 0; t < N; t++) {
        attention(&a, alone, q + (size_t)t * q_stride, q_stride, k, v, kv_stride, t, 1);
        cr_assert_arr_eq(alone, together + (size_t)t * q_stride, sizeof alone);
    }
    free(q);
    free(k);
    free(v);
    free(together);
}

/* Scores of +-1e4 overflow exp without the subtraction of the maximum (tried). */
Test(kernels, attention_survives_huge_scores_and_gives_nan_for_nan)
{
    const struct attention a = {1, 1, 16, 0, true};
    float q[16], k[3 * 16], v[3 * 16], y[16];
    for (int d = 0; d < 16; d++) {
        q[d] = 100.0f;
        for (int j = 0; j < 3; j++) {
            k[j * 16 + d] = j == 1 ? 100.0f : -100.0f;
            v[j * 16 + d] = (float)j;
        }
    }
    attention(&a, y, q, 16, k, v, 16, 2, 1);
    for (int d = 0; d < 16; d++)
        cr_assert_eq(y[d], 1.0f);
    k[0] = NAN;
    attention(&a, y, q, 16, k, v, 16, 2, 1);
    for (int d = 0; d < 16; d++)
        cr_assert(isnan(y[d]));
}
