/* Attention over pages against plain loops in double, on every vector level that this CPU has, for every type of cache. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/dtype.h"
#include "model/quant.h"
#include "tests/support/kernel.h"

static struct err err;
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

/* What a cache of this type gives back for the heads of one row. */
static void as_cached(enum kv_dtype dtype, float *x, int heads, int K)
{
    for (int h = 0; h < heads; h++, x += K) {
        uint16_t half[256];
        int8_t q[256];
        float scale;
        if (dtype == KV_BF16) {
            dtype_from_f32(DTYPE_BF16, x, half, (size_t)K);
            dtype_to_f32(DTYPE_BF16, half, x, (size_t)K);
        } else if (dtype == KV_INT8) {
            quant_row(q, &scale, x, (size_t)K);
            for (int d = 0; d < K; d++)
                x[d] = (float)q[d] * scale;
        }
    }
}

static void check(const struct attention *a, int S, int T, int step)
{
    int H = a->H, G = a->G, K = a->K, all = S + T;
    size_t queries = (size_t)(H * K), keys = (size_t)(G * K);
    float *q = random_floats((size_t)T * queries), *k = random_floats((size_t)all * keys), *v = random_floats((size_t)all * keys);
    float *y = malloc((size_t)T * queries * sizeof *y);
    double *p = calloc((size_t)all, sizeof *p);
    for (size_t i = 0; i < (size_t)T * queries; i++)
        q[i] *= 6.0f; /* peaked weights, so that a wrong key shows */
    kernel_attend(a, y, q, k, v, S, T, step);
    for (int j = 0; j < all; j++) {
        as_cached(a->dtype, k + (size_t)j * keys, G, K);
        as_cached(a->dtype, v + (size_t)j * keys, G, K);
    }
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++) {
            int g = h / (H / G), i = S + t;
            double max = -INFINITY, sum = 0;
            for (int j = 0; j < all; j++) {
                p[j] = 0;
                for (int d = 0; d < K; d++)
                    p[j] += (double)q[(size_t)t * queries + (size_t)(h * K + d)] * (double)k[(size_t)j * keys + (size_t)(g * K + d)];
                p[j] *= a->scale > 0 ? a->scale : 1 / sqrt(K);
                p[j] = a->cap > 0 ? a->cap * tanh(p[j] / a->cap) : p[j];
                if ((a->causal && j > i) || (a->window > 0 && i - j >= a->window))
                    p[j] = -INFINITY;
                max = fmax(max, p[j]);
            }
            for (int j = 0; j < all; j++)
                sum += p[j] = exp(p[j] - max);
            for (int d = 0; d < K; d++) {
                double want = 0;
                for (int j = 0; j < all; j++)
                    want += p[j] / sum * (double)v[(size_t)j * keys + (size_t)(g * K + d)];
                cr_assert(fabs((double)y[(t * H + h) * K + d] - want) < 4e-6,
                          "%s %s H %d G %d K %d window %d causal %d S %d T %d: row %d head %d: got %.9g, want %.9g", kernels_get()->name,
                          kv_dtype_name(a->dtype), H, G, K, a->window, a->causal, S, T, t, h, (double)y[(t * H + h) * K + d], want);
            }
        }
    free(q);
    free(k);
    free(v);
    free(y);
    free(p);
}

/* Catches key heads taken as h % G, the window one too long or too short, the mask one off, a page skipped, the correction to a new
 * maximum left out, the scale left out, the scales of keys and values exchanged, a cap
 * left out or put before the scales of int8 keys (each tried). */
Test(attention, is_softmax_over_visible_keys_for_odd_shapes)
{
    static const int heads[][2] = {{1, 1}, {4, 4}, {4, 1}, {6, 2}, {8, 4}, {40, 1}};
    static const int widths[] = {2, 8, 16, 20, 64, 80, 128};
    static const int spans[][2] = {{0, 1}, {0, 5}, {3, 1}, {63, 1}, {64, 2}, {60, 70}, {200, 1}};
    static const int windows[] = {0, 1, 2, 64, 65};
    for (int level = 0; kernels_level(level) != NULL; level++) {
        cr_assert_eq(kernels_choose(kernels_level(level), &err), 0, "%s", err.text);
        for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                for (size_t s = 0; s < sizeof spans / sizeof *spans; s++)
                    for (size_t n = 0; n < sizeof windows / sizeof *windows; n++) {
                        struct attention a = {heads[h][0], heads[h][1], widths[w], windows[n], true, (enum kv_dtype)((h + s) % 3), 0, 0, 0};
                        if ((h + w + s + n) % 5 == 0) /* a fifth of all, each value with each other one */
                            check(&a, spans[s][0], spans[s][1], 1 + (int)((h + 7 * w) % 60));
                    }
        for (int dtype = KV_F32; dtype <= KV_INT8; dtype++) {
            const struct attention a = {4, 2, 24, 70, true, (enum kv_dtype)dtype, 0, 0.3, 2.5};
            check(&a, 30, 90, 17);
        }
        for (int T = 1; T < 140; T += 46) {
            struct attention a = {4, 4, 16, 0, false, KV_F32, 0, 0, 0};
            check(&a, 0, T, 1000);
        }
    }
}

/* A row's bits depend neither on the rows that share the call nor on how queries are split: chunked and whole prefill agree exactly.
 * Catches a maximum that is corrected per call instead of per row (tried). */
Test(attention, rows_have_the_same_bits_alone_and_together)
{
    enum { H = 6, G = 2, K = 24, N = 150 };
    for (int level = 0; kernels_level(level) != NULL; level++)
        for (int dtype = KV_F32; dtype <= KV_INT8; dtype++) {
            const struct attention a = {H, G, K, 70, true, (enum kv_dtype)dtype, 0, 0.3, 4};
            size_t queries = H * K, keys = G * K;
            float *q = random_floats(N * queries), *k = random_floats(N * keys), *v = random_floats(N * keys);
            float *together = malloc(N * queries * sizeof *together), alone[H * K];
            cr_assert_eq(kernels_choose(kernels_level(level), &err), 0, "%s", err.text);
            kernel_attend(&a, together, q, k, v, 0, N, 31);
            for (int t = 0; t < N; t += 7) {
                kernel_attend(&a, alone, q + (size_t)t * queries, k, v, t, 1, 1);
                cr_assert_arr_eq(alone, together + (size_t)t * queries, sizeof alone);
            }
            free(q);
            free(k);
            free(v);
            free(together);
        }
}

/* Scores of +-1e4 overflow exp without the subtraction of the maximum (tried). */
Test(attention, survives_huge_scores_and_gives_nan_for_nan)
{
    const struct attention a = {1, 1, 16, 0, true, KV_F32, 0, 0, 0};
    float q[16], k[3 * 16], v[3 * 16], y[16];
    for (int d = 0; d < 16; d++) {
        q[d] = 100.0f;
        for (int j = 0; j < 3; j++) {
            k[j * 16 + d] = j == 1 ? 100.0f : -100.0f;
            v[j * 16 + d] = (float)j;
        }
    }
    for (int level = 0; kernels_level(level) != NULL; level++) {
        cr_assert_eq(kernels_choose(kernels_level(level), &err), 0, "%s", err.text);
        k[0] = -100.0f;
        kernel_attend(&a, y, q, k, v, 2, 1, 1);
        for (int d = 0; d < 16; d++)
            cr_assert_eq(y[d], 1.0f);
        k[0] = NAN;
        kernel_attend(&a, y, q, k, v, 2, 1, 1);
        for (int d = 0; d < 16; d++)
            cr_assert(isnan(y[d]));
    }
}
