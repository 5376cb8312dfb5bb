/* The HE baselines' packed products and layers, on small rings without security, against float64.
 *
 * Mutations that were tried, and what catches them: giant steps turned by baby - 1, r + g for r - g in diagonal(), a turn of T instead of 2T
 * (product_is_the_matrix_product and all layers); keys turned by 2 instead of 1, one doubling less in the sum over a head, the residual left out of
 * blend(), the client's shrink left out, scores' factor 1/4 for 1/2, values turned the other way, the norm's factor D not put into the scale or its
 * shift left out (layers_are_their_twin); a counted run that counts twice; variance for deviation (exact_layers_are_the_reference);
 * small rings for short texts (lengths_that_are_taken_are_secure). */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "bench/baselines/he/poly_net.h"
#include "bench/baselines/he/primer.h"
#include "bench/baselines/he/systems.h"
#include "bench/baselines/he/the_x.h"
#include "tests/ref/ref.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"

static struct err err;

struct rig {
    struct ckks *c;
    struct ckks_keys *keys;
    struct ckks_eval e;
};

static void rig_open(struct rig *g, const struct ckks_params *p)
{
    cr_assert_eq(ckks_new(&g->c, p, &err), 0, "%s", err.text);
    cr_assert_eq(ckks_keys_new(&g->keys, g->c, &err), 0);
    cr_assert_eq(ckks_eval_init(&g->e, g->c, g->keys, &err), 0);
}

static void rig_close(struct rig *g)
{
    cr_assert_eq(ckks_check(&g->e, &err), 0, "%s", err.text);
    ckks_eval_free(&g->e);
    ckks_keys_free(g->keys);
    ckks_free(g->c);
}

static double *waves(size_t n, double step, double size)
{
    double *v = malloc(n * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i] = size * sin(step * (double)i * (double)(i % 7 + 1));
    return v;
}

static double off(const double *a, const double *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}

/* ------------------------------------------------------------------ packed */

/* One and several ciphertexts on either side, and features that fill none of them. */
Test(he_packed, product_is_the_matrix_product)
{
    enum { T = 4 };
    static const int shapes[][2] = {{16, 16}, {32, 16}, {16, 48}, {32, 32}, {10, 20}};
    struct ckks_params p;
    struct rig g = {0};
    cr_assert(the_x_params(&p, T, 16, 16, true));
    rig_open(&g, &p);
    cr_assert_eq(packed_per(g.c, T), 16);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
        for (int baby = 1; baby <= 16; baby *= 4) {
            int in = shapes[k][0], out = shapes[k][1];
            double *x = waves((size_t)(T * in), 0.7, 1), *w = waves((size_t)(in * out), 0.37, 0.5), *b = waves((size_t)out, 2.1, 3);
            double *want = malloc((size_t)(T * out) * sizeof *want), *got = malloc((size_t)(T * out) * sizeof *got);
            struct packed px = {0}, py = {0};
            struct packed_turns turns = {0};
            encoder_linear(want, x, w, b, T, in, out);
            packed_seal(&g.e, &px, x, in, T, 3);
            packed_turn(&g.e, &turns, &px, baby);
            packed_product(&g.e, &py, &turns, w, b, out, 2);
            cr_assert_eq(py.part[0].level, 1);
            packed_open(&g.e, got, &py);
            cr_assert_lt(off(got, want, (size_t)(T * out)), 1e-6, "%d -> %d, %d baby steps", in, out, baby);
            packed_turns_free(&turns);
            packed_free(&px);
            packed_free(&py);
            free(x);
            free(w);
            free(b);
            free(want);
            free(got);
        }
    rig_close(&g);
}

Test(he_packed, a_turn_moves_tokens_and_the_affine_map_scales_features)
{
    enum { T = 4, D = 16 };
    struct ckks_params p;
    struct rig g = {0};
    struct packed px = {0}, py = {0};
    double *x = waves(T * D, 0.7, 1), *scale = waves(D, 1.3, 2), *b = waves(D, 0.2, 1), got[T * D], want[T * D];
    cr_assert(the_x_params(&p, T, D, D, true));
    rig_open(&g, &p);
    packed_seal(&g.e, &px, x, D, T, 3);
    packed_affine(&g.e, &py, &px, scale, b, 3);
    packed_open(&g.e, got, &py);
    for (int i = 0; i < T * D; i++)
        want[i] = x[i] * scale[i % D] + b[i % D];
    cr_assert_lt(off(got, want, T * D), 1e-6);
    for (int r = 1; r < T; r++) {
        ckks_rotate(&g.e, &py.part[0], &px.part[0], r);
        packed_open(&g.e, got, &py);
        for (int t = 0; t < T; t++)
            cr_assert_lt(off(got + t * D, x + (t + r) % T * D, D), 1e-6);
    }
    packed_free(&px);
    packed_free(&py);
    free(x);
    free(scale);
    free(b);
    rig_close(&g);
}

/* ------------------------------------------------------------------ layers */

struct fixture {
    char dir[FILE_PATH_MAX];
    struct checkpoint *cp;
    struct encoder m;
    int T;
    double *x; /* [T,D] */
    int32_t ids[16];
};

static void fixture_open(struct fixture *f, int T, int D, int H)
{
    struct synth_shape shape = {.D = D, .H = H, .L = 2, .V = 40, .F = 2 * D};
    f->T = T;
    strcpy(f->dir, "/tmp/stip-he-XXXXXX");
    cr_assert_not_null(mkdtemp(f->dir));
    cr_assert_eq(synth_checkpoint(f->dir, "BertForSequenceClassification", &shape, 5, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&f->cp, f->dir, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(encoder_read(&f->m, f->cp, &err), 0, "%s", err.text);
    f->x = malloc((size_t)(T * D) * sizeof *f->x);
    synth_ids(f->ids, T, 40, 3);
    cr_assert_eq(encoder_embed(f->cp, f->ids, T, f->x, &err), 0, "%s", err.text);
}

static void fixture_close(struct fixture *f)
{
    free(f->x);
    encoder_free(&f->m);
    checkpoint_close(f->cp);
    cr_assert_eq(file_remove_tree(f->dir, &err), 0);
}

Test(he_encoder, exact_layers_are_the_reference)
{
    struct fixture f;
    double *hidden = NULL;
    fixture_open(&f, 6, 16, 2);
    for (int l = 0; l < f.m.L; l++)
        cr_assert_eq(encoder_exact(&f.m, l, f.x, f.T, &err), 0);
    cr_assert_eq(ref_forward(f.cp, COMPUTE_F32, f.ids, NULL, f.T, &hidden, NULL, &err), 0, "%s", err.text);
    cr_assert_lt(off(f.x, hidden, (size_t)(f.T * f.m.D)), 1e-4); /* embeddings passed through float32 */
    free(hidden);
    fixture_close(&f);
}

/* The two systems alike. */
struct system {
    int top;
    uint64_t messages; /* of two layers */
    bool (*params)(struct ckks_params *out, int T, int D, int K, bool toy);
    bool poly;
};

static const struct system the_x = {THE_X_TOP, 1 + 2 * 4 + 2 * 2, the_x_params, false}, poly = {POLY_NET_TOP, 1 + 2 * 6 + 2 * 2, poly_net_params, true};

static void layer_of(const struct system *s, struct ckks_eval *e, struct fixture *f, int l, double *twin, struct packed *x)
{
    struct the_x_fit tf = {0};
    struct poly_net_fit pf = {0};
    if (twin != NULL && s->poly)
        cr_assert_eq(poly_net_twin(&f->m, l, twin, f->T, &pf, &err), 0, "%s", err.text);
    else if (twin != NULL)
        cr_assert_eq(the_x_twin(&f->m, l, twin, f->T, &tf, &err), 0, "%s", err.text);
    if (s->poly)
        cr_assert_eq(poly_net_layer(e, &f->m, l, &pf, x, &err), 0, "%s", err.text);
    else
        cr_assert_eq(the_x_layer(e, &f->m, l, &tf, x, &err), 0, "%s", err.text);
    the_x_fit_free(&tf);
    poly_net_fit_free(&pf);
}

/* Two layers against the twin, and a counted run of the same shape, which counts the same. width: features in a ciphertext. */
static void agrees(const struct system *s, int D, int H, int width, double allowed)
{
    struct fixture f;
    struct ckks_params p;
    struct rig g = {0};
    struct packed x = {0}, dry_x = {0};
    struct ckks_eval dry;
    fixture_open(&f, 4, D, H);
    cr_assert(s->params(&p, f.T, width, f.m.K, true));
    rig_open(&g, &p);
    size_t n = (size_t)(f.T * D);
    double *opened = malloc(n * sizeof *opened), *twin = malloc(n * sizeof *twin);
    memcpy(twin, f.x, n * sizeof *twin);
    cr_assert_eq(ckks_eval_init(&dry, g.c, NULL, &err), 0);
    packed_seal(&g.e, &x, f.x, D, f.T, s->top);
    packed_seal(&dry, &dry_x, NULL, D, f.T, s->top);
    for (int l = 0; l < f.m.L; l++) {
        layer_of(s, &g.e, &f, l, twin, &x);
        layer_of(s, &dry, &f, l, NULL, &dry_x);
        cr_assert_eq(packed_refresh(&g.e, &x, false, s->top, opened, &err), 0);
        cr_assert_eq(packed_refresh(&dry, &dry_x, false, s->top, NULL, &err), 0);
        cr_assert_lt(off(opened, twin, n), allowed, "layer %d: %g", l, off(opened, twin, n));
    }
    cr_assert_eq(memcmp(dry.tally.count, g.e.tally.count, sizeof dry.tally.count), 0);
    cr_assert_eq(dry.tally.up, g.e.tally.up);
    cr_assert_eq(dry.tally.down, g.e.tally.down);
    cr_assert_eq(dry.tally.messages, s->messages);
    packed_free(&x);
    packed_free(&dry_x);
    free(opened);
    free(twin);
    rig_close(&g);
    fixture_close(&f);
}

Test(he_the_x, layers_are_their_twin)
{
    agrees(&the_x, 16, 2, 16, 1e-4);
}

Test(he_the_x, layers_in_several_ciphertexts_are_their_twin)
{
    agrees(&the_x, 32, 4, 16, 1e-4);
}

Test(he_poly_net, layers_are_their_twin)
{
    agrees(&poly, 16, 2, 8, 1e-3);
}

/* The twins' approximations are not the exact layer, but not far from it: they are no other network. */
Test(he_encoder, twins_are_near_the_exact_layer)
{
    struct fixture f;
    struct the_x_fit fit = {0};
    struct poly_net_fit poly_fit = {0};
    fixture_open(&f, 4, 16, 2);
    size_t n = (size_t)(f.T * f.m.D);
    double *exact = malloc(n * sizeof *exact), *twin = malloc(n * sizeof *twin), mean = 0, poly_mean = 0;
    memcpy(exact, f.x, n * sizeof *exact);
    memcpy(twin, f.x, n * sizeof *twin);
    cr_assert_eq(encoder_exact(&f.m, 0, exact, f.T, &err), 0);
    cr_assert_eq(the_x_twin(&f.m, 0, f.x, f.T, &fit, &err), 0);
    cr_assert_eq(poly_net_twin(&f.m, 0, twin, f.T, &poly_fit, &err), 0);
    for (size_t i = 0; i < n; i++) {
        mean += fabs(f.x[i] - exact[i]) / (double)n;
        poly_mean += fabs(twin[i] - exact[i]) / (double)n;
    }
    cr_assert(mean > 0 && mean < 0.5, "%g", mean);
    cr_assert(poly_mean > 0 && poly_mean < 0.2, "%g", poly_mean);
    the_x_fit_free(&fit);
    poly_net_fit_free(&poly_fit);
    free(twin);
    free(exact);
    fixture_close(&f);
}

/* ------------------------------------------------------------------ whole systems */

/* Every length that is taken has parameters that are secure: ckks_new refuses others. */
Test(he_systems, lengths_that_are_taken_are_secure)
{
    static const struct encoder tiny = {.L = 2, .D = 128, .H = 2, .K = 64, .F = 512}, base = {.L = 12, .D = 768, .H = 12, .K = 64, .F = 3072},
                                odd = {.L = 2, .D = 96, .H = 4, .K = 24, .F = 384};
    static const struct encoder *const shapes[] = {&tiny, &base, &odd};
    int taken[SYSTEMS_COUNT][3] = {{0}};
    for (int kind = 0; kind < SYSTEMS_COUNT; kind++)
        for (int s = 0; s < 3; s++)
            for (int T = 1; T <= 128; T += T < 8 ? 1 : T) {
                struct ckks_params p;
                struct ckks *c;
                if (!systems_params(&p, (enum systems_kind)kind, shapes[s], T))
                    continue;
                cr_assert_eq(T & (T - 1), 0);
                cr_assert_eq(ckks_new(&c, &p, &err), 0, "%s, %d tokens: %s", systems_name((enum systems_kind)kind), T, err.text);
                cr_assert_leq(c->log_qp, ckks_secure_bits(p.log_n) + 0.01);
                ckks_free(c);
                taken[kind][s]++;
            }
    cr_assert_eq(taken[SYSTEMS_THE_X][0], 8);
    cr_assert_eq(taken[SYSTEMS_THE_X][1], 8);
    cr_assert_eq(taken[SYSTEMS_THE_X][2], 0); /* heads of 24 numbers */
    cr_assert_eq(taken[SYSTEMS_POLY][0], 2);  /* 64 and 128 tokens */
    cr_assert_eq(taken[SYSTEMS_POLY][1], 2);
}

Test(he_systems, memory_is_known_before_it_is_taken)
{
    struct encoder m = {.L = 12, .D = 768, .H = 12, .K = 64, .F = 3072};
    struct ckks_params p;
    cr_assert(systems_params(&p, SYSTEMS_THE_X, &m, 128));
    double base = systems_bytes(SYSTEMS_THE_X, &m, 128, &p);
    cr_assert(base > 3e9 && base < 3e10, "%g", base); /* 1536 ciphertexts of weights at 3.7 MB are 5.6 GB */
    m.F *= 100;
    cr_assert_not(systems_params(&p, SYSTEMS_THE_X, &m, 128)); /* more ciphertexts than a matrix may have */
    cr_assert_not(primer_takes(&m, 128));
}
