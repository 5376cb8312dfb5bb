/* Profile gauge: rotated, bent and scaled weights answer as the plain ones, for every family with norms before its layers.
 * Mutations: R not transposed on one side; c left out of what adds to the residual; eps not scaled; A in place of A^-T; a gain or a
 * bias of a norm not folded; ups and downs by other scales; the final gain left out; LayerNorm's ones direction turned. With experts:
 * ups of one expert with the scales of another, the gain of layer 0 in all, the router's columns not turned or its gain left out, a
 * package held against its checkpoint by the wrong expert. Gains from one: 1 left out, or shipped twice. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"
#include "model_dev/grant.h"
#include "model_dev/release.h"
#include "tests/ref/ref.h"
#include "tests/support/permuted.h"
#include "tests/support/tempdir.h"

enum { T = 40, CAP = 96 };

static char dir[FILE_PATH_MAX];
static struct err err;

static void setup(void)
{
    tempdir_make(dir);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(gauge_model, .init = setup, .fini = teardown);

static struct permuted open_gauge(const char *head, const char *dtype, int layers)
{
    struct permuted p;
    const struct protect_opts how = {.profile = "gauge", .head = head, .dtype = dtype, .local_layers = layers};
    cr_assert_eq(permuted_open_as(&p, dir, &how, CAP, &err), 0, "%s", err.text);
    return p;
}

/* Largest difference to the reference, over the largest logit. */
static double off(const float *x, const double *ref, size_t n)
{
    double most = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - ref[i]);
        largest = fmax(largest, fabs(ref[i]));
        most = d > most || isnan(d) ? d : most;
    }
    return most / largest;
}

static void compare(const char *name, struct permuted *p, double most)
{
    const struct config *c = p->plain.config;
    int32_t ids[T];
    double *logits = NULL;
    const size_t n = (size_t)T * (size_t)config_outputs(c);
    float *plain = malloc(n * sizeof *plain), *ours = malloc(n * sizeof *ours);
    synth_ids(ids, T, c->V, 3);
    permuted_restart(p);
    cr_assert_eq(ref_forward(p->plain.cp, COMPUTE_F32, ids, NULL, T, NULL, &logits, &err), 0, "%s", err.text);
    cr_assert_eq(plain_append(&p->plain, ids, NULL, T, T, plain, &err), 0, "%s", err.text);
    cr_assert_eq(permuted_append(p, ids, NULL, T, T, ours, &err), 0, "%s", err.text);
    const double own = off(plain, logits, n), gauge = off(ours, logits, n);
    printf("%-24s head on %s: plain against float64 %.1e, gauge against float64 %.1e\n", name, p->head_user ? "user" : "server", own, gauge);
    cr_expect_lt(gauge, most > 0 ? most : 4 * own + 1e-6, "%s: %g, plain %g", name, gauge, own);
    free(logits);
    free(plain);
    free(ours);
}

static void check(const char *architecture, const struct synth_shape *shape, bool head_server)
{
    protected_synth(dir, architecture, shape, 5);
    for (int h = 0; h < (head_server ? 2 : 1); h++) {
        struct permuted p = open_gauge(h == 0 ? "user" : "server", NULL, 0);
        compare(architecture, &p, 0);
        permuted_close(&p);
    }
}

/* The registry is what is looped over: families to come are either exact or refused by name. Random gains and biases. */
Test(gauge_model, every_family_answers_as_the_plain_model_or_is_refused)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 3, .V = 101, .F = 80, .untied = true, .qkv_bias = true};
    int exact = 0, refused = 0;
    for (size_t i = 0; arch_at(i) != NULL; i++) {
        struct permuted p;
        const struct protect_opts how = {.profile = "gauge", .head = "user"};
        protected_synth(dir, arch_at(i)->name, &s, 5);
        if (permuted_open_as(&p, dir, &how, CAP, &err) == 0) {
            compare(arch_at(i)->name, &p, 0);
            permuted_close(&p);
            exact++;
        } else {
            cr_expect_eq(err.code, ERR_USAGE, "%s", err.text);
            cr_expect_not_null(strstr(err.text, "--profile stip"), "%s", err.text);
            cr_expect_not_null(strstr(err.text, arch_at(i)->name), "%s", err.text);
            refused++;
        }
    }
    cr_expect_geq(exact, 10, "%d", exact);
    cr_expect_geq(refused, 10, "%d", refused); /* norms on the residual, or of what layers add */
}

/* Groups, widths, biases, odd sizes, windows, rotary positions in part, feed-forward beside attention or after it. */
Test(gauge_model, shapes_of_the_families)
{
    struct synth_shape s = {.D = 46, .H = 6, .G = 2, .K = 10, .L = 2, .V = 101, .F = 67, .qkv_bias = true, .mlp_bias = true};
    check("LlamaForCausalLM", &s, true);
    s.window = 7;
    check("Qwen2ForCausalLM", &s, true);
    check("Qwen3ForCausalLM", &(struct synth_shape){.D = 48, .H = 6, .G = 3, .K = 12, .L = 2, .V = 101, .F = 80}, true);
    check("Phi3ForCausalLM", &(struct synth_shape){.D = 48, .H = 6, .G = 3, .L = 2, .V = 101, .F = 80, .untied = true}, true);
    check("GPT2LMHeadModel", &(struct synth_shape){.D = 45, .H = 5, .L = 2, .V = 101, .F = 80}, false);
    struct synth_shape neox = {.D = 64, .H = 4, .L = 2, .V = 101, .F = 80, .untied = true, .partial = 0.25};
    check("GPTNeoXForCausalLM", &neox, false);
    neox.sequential = true;
    check("GPTNeoXForCausalLM", &neox, false);
    struct synth_shape experts = {.D = 46, .H = 6, .G = 2, .K = 10, .L = 3, .V = 101, .F = 67, .experts = 7, .experts_used = 3};
    check("MixtralForCausalLM", &experts, true);
    experts.renormalise = experts.untied = true;
    check("Qwen3MoeForCausalLM", &experts, true);
    check("GemmaForCausalLM", &(struct synth_shape){.D = 46, .H = 6, .G = 2, .K = 10, .L = 2, .V = 101, .F = 67}, true);
}

/* ------------------------------------------------------------------ text */

static int largest(const float *logits, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* Each model goes on with its own choice, so one other choice would make another text. */
Test(gauge_model, greedy_text_is_the_same_token_by_token)
{
    const struct synth_shape s = {.D = 48, .H = 6, .G = 3, .L = 3, .V = 101, .F = 80, .experts = 6, .experts_used = 2};
    static const char *const names[] = {"LlamaForCausalLM", "MixtralForCausalLM", "Qwen3MoeForCausalLM", "GemmaForCausalLM"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        float plain[101], ours[101];
        double most = 0;
        int32_t a[8], b[8], other = 0;
        protected_synth(dir, names[i], &s, 5);
        struct permuted p = open_gauge("user", NULL, 0);
        synth_ids(a, 8, s.V, 4);
        memcpy(b, a, sizeof b);
        for (int n = 0; n < 64; n++) {
            const int T_now = n == 0 ? 8 : 1;
            cr_assert_eq(plain_append(&p.plain, a, NULL, T_now, 1, plain, &err), 0, "%s", err.text);
            cr_assert_eq(permuted_append(&p, b, NULL, T_now, 1, ours, &err), 0, "%s", err.text);
            for (int v = 0; v < s.V; v++)
                most = fmax(most, fabs((double)plain[v] - (double)ours[v]));
            a[0] = largest(plain, s.V);
            b[0] = largest(ours, s.V);
            cr_assert_eq(a[0], b[0], "%s, token %d", names[i], n);
            other += a[0] != 0;
        }
        printf("%-24s 64 greedy tokens: max |dlogit| %.1e\n", names[i], most);
        cr_expect_gt(other, 0);
        permuted_close(&p);
    }
}

/* ------------------------------------------------------------------ the choice of experts */

enum { ROUTE_D = 46, ROUTE_E = 7, ROUTE_USED = 3 };

/* RMS norm, then the router's rows. */
static void route(const struct checkpoint *cp, int layer, const double *x, double *score)
{
    float gain[ROUTE_D], row[ROUTE_D];
    double square = 0;
    cr_assert_eq(checkpoint_rows_f32(checkpoint_tensor(cp, ROLE_MLP_NORM_W, layer), 0, ROUTE_D, gain, &err), 0);
    for (int d = 0; d < ROUTE_D; d++)
        square += x[d] * x[d];
    const double scale = 1 / sqrt(square / ROUTE_D + checkpoint_config(cp)->norm_eps);
    for (uint64_t e = 0; e < ROUTE_E; e++) {
        cr_assert_eq(checkpoint_rows_f32(checkpoint_tensor(cp, ROLE_ROUTER, layer), e, 1, row, &err), 0);
        score[e] = 0;
        for (int d = 0; d < ROUTE_D; d++)
            score[e] += scale * x[d] * (double)gain[d] * (double)row[d];
    }
}

static void top(const double *score, int out[ROUTE_USED])
{
    bool taken[ROUTE_E] = {false};
    for (int k = 0; k < ROUTE_USED; k++) {
        out[k] = -1;
        for (int e = 0; e < ROUTE_E; e++)
            if (!taken[e] && (out[k] < 0 || score[e] > score[out[k]]))
                out[k] = e;
        taken[out[k]] = true;
    }
}

/* The same experts by the same scores, under the places that the key gives them; and places they have, or nothing was shown. */
Test(gauge_model, a_row_chooses_the_same_experts)
{
    const struct synth_shape s = {.D = ROUTE_D, .H = 6, .G = 2, .K = 10, .L = 2, .V = 101, .F = 67, .experts = ROUTE_E, .experts_used = ROUTE_USED};
    int moved = 0;
    protected_synth(dir, "MixtralForCausalLM", &s, 5);
    struct permuted p = open_gauge("user", NULL, 0);
    for (int layer = 0; layer < 2; layer++) {
        struct perm order;
        cr_assert_eq(keyset_perm(p.keys, KEY_EXPERTS, layer, &order, &err), 0);
        for (int n = 0; n < 50; n++) {
            double x[ROUTE_D], turned[ROUTE_D], x_p[ROUTE_D], plain[ROUTE_E], ours[ROUTE_E];
            int a[ROUTE_USED], b[ROUTE_USED];
            for (int d = 0; d < ROUTE_D; d++)
                turned[d] = x[d] = sin(1.7 * (n * ROUTE_D + d) + 0.3) + 0.2 * cos(31.0 * d * n);
            gauge_end_turn(&p.turn, turned);
            for (int d = 0; d < ROUTE_D; d++)
                x_p[d] = p.turn.c * turned[p.residual.to[d]];
            route(p.plain.cp, layer, x, plain);
            route(p.cp, layer, x_p, ours);
            for (int e = 0; e < ROUTE_E; e++)
                cr_assert_float_eq(ours[e], plain[order.to[e]], 1e-5, "expert %d: %g, plain %g", e, ours[e], plain[order.to[e]]);
            top(plain, a);
            top(ours, b);
            for (int k = 0; k < ROUTE_USED; k++) {
                cr_assert_eq(a[k], (int)order.to[b[k]], "row %d, choice %d", n, k);
                moved += a[k] != b[k];
            }
        }
        perm_wipe(&order);
    }
    cr_expect_gt(moved, 0);
    permuted_close(&p);
}

/* Before a grant is made the package is held against the checkpoint, gains saying nothing. */
Test(gauge_model, a_grant_knows_the_checkpoint_of_its_package)
{
    static const char *const names[] = {"LlamaForCausalLM", "MixtralForCausalLM", "Qwen3MoeForCausalLM", "GemmaForCausalLM"};
    const struct synth_shape s = {.D = 48, .H = 6, .L = 3, .V = 101, .F = 80};
    for (size_t i = 0; i < 8; i++) {
        struct identity *id = NULL;
        struct release release;
        struct protect_report report;
        protected_synth(dir, names[i / 2], &s, 5);
        struct protect_opts o = protected_opts(dir, 1);
        o.profile = "gauge";
        o.local_layers = i % 2 == 0 ? 0 : 1;
        cr_assert_eq(identity_generate(&id, &err), 0);
        o.sign_pub = id->sign_pub;
        o.sign_key = id->sign_key;
        cr_assert_eq(file_remove_tree(o.out, &err), 0);
        cr_assert_eq(protect_checkpoint(&o, &report, &err), 0, "%s", err.text);
        cr_assert_eq(release_open(&release, o.out, id->sign_pub, &err), 0, "%s", err.text);
        const struct grant_source src = {.model = o.model, .from = &release, .identity = id};
        cr_expect_eq(grant_check(&src, &err), 0, "%s: %s", names[i / 2], err.text);
        protected_synth(dir, names[i / 2], &s, 6);
        cr_expect_eq(grant_check(&src, &err), -1, "%s", names[i / 2]);
        cr_expect_not_null(strstr(err.text, "was not made from this checkpoint: the feed-forward weights of layer"), "%s", err.text);
        release_close(&release);
        identity_free(id);
    }
}

Test(gauge_model, after_local_layers_too)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 3, .V = 101, .F = 80};
    static const char *const names[] = {"LlamaForCausalLM", "GPT2LMHeadModel"};
    for (int i = 0; i < 2; i++) {
        protected_synth(dir, names[i], &s, 5);
        struct permuted p = open_gauge("auto", NULL, 2);
        compare(names[i], &p, 0);
        permuted_close(&p);
    }
}

/* Rounded once to the grid of their dtype, off by what that grid costs. */
Test(gauge_model, rounded_weights_are_rounded_once)
{
    const struct synth_shape s = {.D = 64, .H = 4, .L = 2, .V = 101, .F = 128};
    static const struct { const char *dtype; double most; } ways[] = {{"bf16", 0.03}, {"int8", 0.08}};
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    for (int i = 0; i < 2; i++) {
        struct permuted p = open_gauge("user", ways[i].dtype, 0);
        compare(ways[i].dtype, &p, ways[i].most);
        permuted_close(&p);
    }
}

/* Halves hold what they hold: stored ones need a dtype that is asked for, and are exact in f32. */
Test(gauge_model, halves_are_kept_only_as_f32)
{
    struct synth_shape s = {.D = 48, .H = 6, .L = 2, .V = 101, .F = 80, .dtype = DTYPE_F16};
    struct protect_report report;
    for (int i = 0; i < 2; i++) {
        protected_synth(dir, "LlamaForCausalLM", &s, 5);
        struct protect_opts o = protected_opts(dir, 1);
        o.profile = "gauge";
        cr_expect_eq(protect_checkpoint(&o, &report, &err), -1);
        cr_expect_eq(err.code, ERR_USAGE);
        cr_expect_not_null(strstr(err.text, i == 0 ? "is F16" : "is BF16"), "%s", err.text);
        cr_expect_not_null(strstr(err.text, "--dtype f32"), "%s", err.text);
        struct permuted p = open_gauge("user", "f32", 0);
        compare("halves", &p, 0);
        permuted_close(&p);
        s.dtype = DTYPE_BF16;
    }
}

Test(gauge_model, what_cannot_be_exact_is_refused)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 2, .V = 101, .F = 80};
    struct protect_report report;
    struct protect_opts o;
    protected_synth(dir, "GPT2LMHeadModel", &s, 5);
    o = protected_opts(dir, 1);
    o.profile = "gauge";
    o.head = "server";
    cr_expect_eq(protect_checkpoint(&o, &report, &err), -1);
    cr_expect_not_null(strstr(err.text, "--head user"), "%s", err.text);
    protected_synth(dir, "BertForMaskedLM", &s, 5);
    o = protected_opts(dir, 1);
    o.profile = "gauge";
    cr_expect_eq(protect_checkpoint(&o, &report, &err), -1);
    cr_expect_not_null(strstr(err.text, "--profile stip"), "%s", err.text);
    protected_synth(dir, "Gemma2ForCausalLM", &s, 5);
    o = protected_opts(dir, 1);
    o.profile = "gauge";
    cr_expect_eq(protect_checkpoint(&o, &report, &err), -1);
    cr_expect_not_null(strstr(err.text, "let no rotation pass"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "0013"), "%s", err.text);
}

/* ------------------------------------------------------------------ what the server can no longer do */

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The sorted numbers of a row: a permutation of columns leaves them as they are. */
static void sorted_row(const struct tensor *t, uint64_t row, float *out)
{
    cr_assert_eq(checkpoint_rows_f32(t, row, 1, out, &err), 0);
    qsort(out, t->dim[1], sizeof *out, by_value);
}

/* How many rows of the package's ups have a twin among the plain ones. */
static int twins(const struct permuted *p)
{
    enum { F = 80, D = 48 };
    const struct tensor *plain = checkpoint_tensor(p->plain.cp, ROLE_UP, 0), *packed = checkpoint_tensor(p->cp, ROLE_UP, 0);
    static float a[F][D], b[D];
    int found = 0;
    for (uint64_t i = 0; i < F; i++)
        sorted_row(plain, i, a[i]);
    for (uint64_t i = 0; i < F; i++) {
        sorted_row(packed, i, b);
        for (int j = 0; j < F; j++)
            found += memcmp(a[j], b, sizeof b) == 0;
    }
    return found;
}

Test(gauge_model, gains_and_sorted_rows_are_no_fingerprints)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 2, .V = 101, .F = 80};
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    struct permuted stip, gauge;
    cr_assert_eq(permuted_open(&stip, dir, "user", NULL, CAP, &err), 0, "%s", err.text);
    cr_expect_eq(twins(&stip), 80); /* the attack works where it must */
    permuted_close(&stip);
    gauge = open_gauge("user", NULL, 0);
    cr_expect_eq(twins(&gauge), 0);
    for (int l = 0; l < 2; l++) {
        float gain[48];
        cr_assert_eq(checkpoint_rows_f32(checkpoint_tensor(gauge.cp, ROLE_ATTN_NORM_W, l), 0, 48, gain, &err), 0);
        for (int i = 0; i < 48; i++)
            cr_expect_eq(gain[i], 1.0F);
    }
    const double c = gauge.turn.c;
    cr_expect_float_eq(checkpoint_config(gauge.cp)->norm_eps, c * c * gauge.plain.config->norm_eps, 1e-15);
    permuted_close(&gauge);
}

Test(gauge_model, equal_seeds_give_equal_packages)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 2, .V = 101, .F = 80};
    uint8_t first[CRYPTO_HASH_LEN];
    struct protect_report report;
    protected_synth(dir, "GPT2LMHeadModel", &s, 5);
    for (int i = 0; i < 3; i++) {
        struct protect_opts o = protected_opts(dir, i == 2 ? 8 : 7);
        o.profile = "gauge";
        cr_assert_eq(file_remove_tree(o.out, &err), 0);
        cr_assert_eq(protect_checkpoint(&o, &report, &err), 0, "%s", err.text);
        if (i == 0)
            memcpy(first, report.context_id, sizeof first);
        cr_expect_eq(memcmp(first, report.context_id, sizeof first) == 0, i < 2, "%d", i);
    }
}
