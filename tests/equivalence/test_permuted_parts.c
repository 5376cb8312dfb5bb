/* Permuted inputs and weights through each operator give the permuted output, alone and as one layer. What is compared is
 * float32 with float32: sums in another order differ by rounding, a wrong key by the size of the values. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/activation.h"
#include "engine/kernels/norm.h"
#include "engine/kernels/rope.h"
#include "tests/support/permuted.h"
#include "tests/support/tempdir.h"
#include "tests/support/kernel.h"

enum { ROWS = 9, D = 48, H = 8, K = 6, F = 40, V = 70 };

#define TOLERANCE 2e-6

static uint64_t state;

static float *make(size_t n, float centre, float spread)
{
    float *x = malloc(n * sizeof *x);
    cr_assert_not_null(x);
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = centre + spread * ((float)(state >> 40) / (float)(1 << 23) - 1.0f);
    }
    return x;
}

static struct keyset *keys_of(int G, int rotary)
{
    const struct key_shape s = {.D = D, .H = H, .G = G, .K = K, .F = F, .outputs = V, .rotary = rotary};
    const uint8_t seed[CRYPTO_KEY_LEN] = {3};
    struct keyset *ks = NULL;
    cr_assert_eq(keyset_new(&ks, &s, seed, NULL), 0);
    return ks;
}

static struct perm get(const struct keyset *ks, enum key key)
{
    struct perm p = {0};
    cr_assert_eq(keyset_perm(ks, key, 0, &p, NULL), 0);
    return p;
}

/* The definition: rows by `out`, columns by `in`. */
static float *permute(const float *w, const struct perm *out, const struct perm *in)
{
    float *w_p = malloc((size_t)out->n * in->n * sizeof *w_p);
    for (uint32_t i = 0; i < out->n; i++)
        for (uint32_t j = 0; j < in->n; j++)
            w_p[(size_t)i * in->n + j] = w[(size_t)out->to[i] * in->n + in->to[j]];
    return w_p;
}

static float *permute_rows(const float *x, int rows, const struct perm *p)
{
    float *x_p = malloc((size_t)rows * p->n * sizeof *x_p);
    gather_cols(x_p, x, (size_t)rows, p);
    return x_p;
}

/* y_p against y in the order of p, in units of the largest value. */
static double distance(const float *y_p, const float *y, int rows, const struct perm *p)
{
    double most = 0, scale = 0;
    for (int t = 0; t < rows; t++)
        for (uint32_t j = 0; j < p->n; j++) {
            double want = (double)y[(size_t)t * p->n + p->to[j]], d = fabs((double)y_p[(size_t)t * p->n + j] - want);
            most = d > most || isnan(d) ? d : most;
            scale = fmax(scale, fabs(want));
        }
    return most / scale;
}

Test(permuted_parts, norms_with_random_gains)
{
    struct keyset *ks = keys_of(H, 0);
    struct perm p = get(ks, KEY_RESIDUAL);
    float *x = make(ROWS * D, 0.3f, 2), *w = make(D, 1, 0.5f), *b = make(D, 0, 0.4f), y[ROWS * D], y_p[ROWS * D];
    float *x_p = permute_rows(x, ROWS, &p), *w_p = permute_rows(w, 1, &p), *b_p = permute_rows(b, 1, &p);
    norm_rms(y, x, w, 1e-5, ROWS, D);
    norm_rms(y_p, x_p, w_p, 1e-5, ROWS, D);
    cr_expect_lt(distance(y_p, y, ROWS, &p), TOLERANCE);
    norm_rms(y_p, x_p, w, 1e-5, ROWS, D);
    cr_expect_gt(distance(y_p, y, ROWS, &p), 0.01, "gains left in plain order must show");
    norm_layer(y, x, w, b, 1e-5, ROWS, D);
    norm_layer(y_p, x_p, w_p, b_p, 1e-5, ROWS, D);
    cr_expect_lt(distance(y_p, y, ROWS, &p), TOLERANCE);
    norm_layer(y_p, x_p, w_p, b, 1e-5, ROWS, D);
    cr_expect_gt(distance(y_p, y, ROWS, &p), 0.01, "biases left in plain order must show");
    free(x), free(w), free(b), free(x_p), free(w_p), free(b_p);
    perm_wipe(&p);
    keyset_free(ks);
}

/* q, k, v of ROWS tokens through rotary positions (or none) and attention; y is the input of O. */
static void attend(int G, bool rotary, float *y, const float *q, const float *k, const float *v)
{
    const struct attention shape = {.H = H, .G = G, .K = K, .causal = true};
    const struct rope_config rope = {.kind = ROPE_DEFAULT, .theta = 100, .factor = 1};
    float turned_q[ROWS * H * K], turned_k[ROWS * H * K], cosine[K / 2], sine[K / 2];
    double frequency[K / 2];
    size_t kv = (size_t)(G * K);
    memcpy(turned_q, q, ROWS * H * K * sizeof *q);
    memcpy(turned_k, k, ROWS * kv * sizeof *k);
    rope_frequencies(frequency, &rope, K);
    for (int t = 0; rotary && t < ROWS; t++) {
        rope_angles(cosine, sine, frequency, 1.0, K, 10 * t);
        rope_rotate(turned_q + t * H * K, H, K, K, cosine, sine);
        rope_rotate(turned_k + (size_t)t * kv, G, K, K, cosine, sine);
    }
    kernel_attend(&shape, y, turned_q, turned_k, v, 0, ROWS, ROWS * H);
}

/* Groups 1, 2, 4, 8, with and without rotary positions. */
Test(permuted_parts, attention_of_every_group_ratio)
{
    for (int G = 1; G <= H; G *= 2)
        for (int rotary = 0; rotary <= 1; rotary++) {
            struct keyset *ks = keys_of(G, rotary ? K : 0);
            struct perm pq = get(ks, KEY_QUERY), pk = get(ks, KEY_KEY), pv = get(ks, KEY_VALUE), mix = get(ks, KEY_MIX);
            size_t kv = (size_t)(ROWS * G * K);
            float *q = make(ROWS * H * K, 0, 1.5f), *k = make(kv, 0, 1.5f), *v = make(kv, 0, 1.5f);
            float *q_p = permute_rows(q, ROWS, &pq), *k_p = permute_rows(k, ROWS, &pk), *v_p = permute_rows(v, ROWS, &pv);
            float y[ROWS * H * K], y_p[ROWS * H * K];
            attend(G, rotary, y, q, k, v);
            attend(G, rotary, y_p, q_p, k_p, v_p);
            double d = distance(y_p, y, ROWS, &mix);
            cr_expect_lt(d, TOLERANCE, "G %d, rotary %d: %g", G, rotary, d);
            free(q), free(k), free(v), free(q_p), free(k_p), free(v_p);
            perm_wipe(&pq), perm_wipe(&pk), perm_wipe(&pv), perm_wipe(&mix);
            keyset_free(ks);
        }
}

Test(permuted_parts, fused_query_key_value_is_the_three_side_by_side)
{
    const int G = 4;
    struct keyset *ks = keys_of(G, 0);
    struct perm residual = get(ks, KEY_RESIDUAL), all = get(ks, KEY_QKV);
    struct perm parts[] = {get(ks, KEY_QUERY), get(ks, KEY_KEY), get(ks, KEY_VALUE)};
    int n = (int)all.n, at = 0;
    float *x = make(ROWS * D, 0, 1), *w = make((size_t)n * D, 0, 0.2f), *b = make((size_t)n, 0, 0.3f);
    float *x_p = permute_rows(x, ROWS, &residual), *w_p = permute(w, &all, &residual), *b_p = permute_rows(b, 1, &all);
    float *y = malloc((size_t)(ROWS * n) * sizeof *y), *y_p = malloc((size_t)(ROWS * n) * sizeof *y_p);
    kernel_matmul(y, x, w, b, ROWS, n, D);
    kernel_matmul(y_p, x_p, w_p, b_p, ROWS, n, D);
    cr_expect_lt(distance(y_p, y, ROWS, &all), TOLERANCE);
    for (int i = 0; i < 3; i++) {
        cr_expect_lt(distance(y_p + at, y + at, 1, &parts[i]), TOLERANCE, "part %d of the first row", i);
        at += (int)parts[i].n;
        perm_wipe(&parts[i]);
    }
    free(x), free(w), free(b), free(x_p), free(w_p), free(b_p), free(y), free(y_p);
    perm_wipe(&residual), perm_wipe(&all);
    keyset_free(ks);
}

/* down(silu(gate x) * up x): gate and up in one order, or a gate meets another neuron's up. */
static void gated(float *y, const float *x, const float *gate, const float *up, const float *down)
{
    float both[ROWS * 2 * F], product[ROWS * F], g[ROWS * F], u[ROWS * F];
    kernel_matmul(g, x, gate, NULL, ROWS, F, D);
    kernel_matmul(u, x, up, NULL, ROWS, F, D);
    for (int t = 0; t < ROWS; t++) {
        memcpy(both + t * 2 * F, g + t * F, F * sizeof *g);
        memcpy(both + t * 2 * F + F, u + t * F, F * sizeof *u);
    }
    activate_gated(ACT_SILU, product, both, ROWS, F);
    kernel_matmul(y, product, down, NULL, ROWS, D, F);
}

Test(permuted_parts, gated_feed_forward)
{
    struct keyset *ks = keys_of(H, 0);
    struct perm p = get(ks, KEY_RESIDUAL), f = get(ks, KEY_FFN), none;
    cr_assert_eq(perm_identity(&none, F, NULL), 0);
    float *x = make(ROWS * D, 0, 1), *x_p = permute_rows(x, ROWS, &p), y[ROWS * D], y_p[ROWS * D];
    float *gate = make(F * D, 0, 0.3f), *up = make(F * D, 0, 0.3f), *down = make(D * F, 0, 0.3f);
    float *gate_p = permute(gate, &f, &p), *up_p = permute(up, &f, &p), *down_p = permute(down, &p, &f);
    float *gate_misprint = permute(gate, &none, &p);
    gated(y, x, gate, up, down);
    gated(y_p, x_p, gate_p, up_p, down_p);
    cr_expect_lt(distance(y_p, y, ROWS, &p), TOLERANCE);
    gated(y_p, x_p, gate_misprint, up_p, down_p);
    cr_expect_gt(distance(y_p, y, ROWS, &p), 0.1, "the gate without its key, as printed, must be wrong");
    free(x), free(x_p), free(gate), free(up), free(down), free(gate_p), free(up_p), free(down_p), free(gate_misprint);
    perm_wipe(&p), perm_wipe(&f), perm_wipe(&none);
    keyset_free(ks);
}

/* Pooler with classifier and masked-LM transform with decoder: the inner key cancels between the two. */
static void check_head(enum head_kind kind, enum key inner_key)
{
    const struct config c = {.D = D,
                             .V = V,
                             .C = V,
                             .head = kind,
                             .head_act = kind == HEAD_MLM ? ACT_GELU : ACT_TANH,
                             .norm = NORM_LAYER,
                             .norm_eps = 1e-5};
    struct keyset *ks = keys_of(H, 0);
    struct perm p = get(ks, KEY_RESIDUAL), inner = get(ks, inner_key), out = get(ks, KEY_OUTPUT);
    float *x = make(ROWS * D, 0, 1), *x_p = permute_rows(x, ROWS, &p), y[ROWS * V], y_p[ROWS * V];
    float *dense = make(D * D, 0, 0.3f), *dense_b = make(D, 0, 0.3f), *last = make(V * D, 0, 0.3f), *last_b = make(V, 0, 0.3f);
    float *dense_p = permute(dense, &inner, &p), *dense_b_p = permute_rows(dense_b, 1, &inner);
    float *last_p = permute(last, &out, &inner), *last_b_p = permute_rows(last_b, 1, &out);
    struct head plain = {.kind = kind, .dense = kernel_linear(dense, dense_b, D, D), .norm = {make(D, 1, 0.5f), make(D, 0, 0.3f)},
                         .out = kernel_linear(last, last_b, V, D)};
    struct head permuted = {.kind = kind, .dense = kernel_linear(dense_p, dense_b_p, D, D),
                            .norm = {permute_rows(plain.norm.w, 1, &inner), permute_rows(plain.norm.b, 1, &inner)},
                            .out = kernel_linear(last_p, last_b_p, V, D)};
    void *work;
    cr_assert_eq(head_work_new(&work, &plain, ROWS, NULL), 0);
    head_apply(&c, &plain, x, ROWS, work, y);
    head_apply(&c, &permuted, x_p, ROWS, work, y_p);
    cr_expect_lt(distance(y_p, y, ROWS, &out), TOLERANCE);
    struct head *both[] = {&plain, &permuted};
    for (int i = 0; i < 2; i++) {
        linear_free(&both[i]->dense), linear_free(&both[i]->out);
        norm_free(&both[i]->norm);
    }
    free(work), free(dense), free(dense_b), free(last), free(last_b), free(dense_p), free(dense_b_p), free(last_p), free(last_b_p);
    free(x), free(x_p);
    perm_wipe(&p), perm_wipe(&inner), perm_wipe(&out);
    keyset_free(ks);
}

Test(permuted_parts, pooler_and_masked_lm_transform)
{
    check_head(HEAD_CLASSIFY, KEY_POOL);
    check_head(HEAD_MLM, KEY_MLM);
}

/* One layer of every family: the hidden rows, before any head could hide a difference. */
Test(permuted_parts, one_layer_of_every_family)
{
    const struct synth_shape s = {.D = D, .H = H, .L = 1, .V = V, .F = F, .untied = true};
    char dir[FILE_PATH_MAX];
    struct err err = {0};
    int32_t ids[ROWS];
    float plain[ROWS * D], out[ROWS * V];
    synth_ids(ids, ROWS, V, 4);
    tempdir_make(dir);
    for (size_t i = 0; arch_at(i) != NULL; i++) {
        struct permuted p;
        struct plain q;
        if (strstr(arch_at(i)->name, "Image") != NULL) /* test_images.c */
            continue;
        protected_synth(dir, arch_at(i)->name, &s, 6);
        cr_assert_eq(permuted_open(&p, dir, "user", NULL, ROWS, &err), 0, "%s", err.text);
        cr_assert_eq(plain_open(&q, tempdir_path(dir, "plain"), false, ROWS, COMPUTE_F32, &err), 0, "%s", err.text);
        bool classify = p.plain.config->head == HEAD_CLASSIFY;
        int rows = classify ? 1 : ROWS;
        cr_assert_eq(permuted_append(&p, ids, NULL, ROWS, rows, out, &err), 0, "%s", err.text);
        cr_assert_eq(plain_append(&q, ids, NULL, ROWS, ROWS, plain, &err), 0, "%s", err.text);
        double d = distance(p.y_p, plain, rows, &p.residual);
        cr_expect_lt(d, TOLERANCE, "%s: %g", arch_at(i)->name, d);
        permuted_close(&p);
        plain_close(&q);
    }
    tempdir_remove(dir);
}
