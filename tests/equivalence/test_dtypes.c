/* bf16 and int8 products through the whole network: plain and permuted against the reference in the same compute, for every
 * family, with the head on either side, on every kernel level of this CPU.
 *
 * What enters a product is rounded. The engine's float error (1e-7) decides how a number falls that lies on an edge between two
 * steps; that happens to about one number in 20,000, and then a row is off by one step of one input: 1/254 (int8) or 2^-9 (bf16) of
 * it, over the root of the width. So most rows must be exact but for float errors, and no row may be off by more than a few steps. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/private.h"
#include "engine/kernels/table.h"
#include "tests/ref/ref.h"
#include "tests/support/permuted.h"
#include "tests/support/tempdir.h"

#ifdef __SANITIZE_ADDRESS__
enum { T = 12, TEXTS = 3, ROWS = T * TEXTS };
#else
enum { T = 12, TEXTS = 7, ROWS = T * TEXTS };
#endif

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

TestSuite(dtypes, .init = setup, .fini = teardown);

static const struct way {
    const char *dtype;
    double most, row; /* of any row; of the row in the middle */
} ways[] = {{"keep", 1e-5, 1e-5}, {"bf16", 0.01, 1e-5}, {"int8", 0.05, 1e-5}};

struct errors {
    double row[ROWS];
    int n;
};

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void judge(struct errors *e, const struct way *way, const char *what, const char *name, const char *level)
{
    qsort(e->row, (size_t)e->n, sizeof *e->row, ascending);
    cr_expect(e->row[e->n / 2] < way->row, "%s %s %s on %s: the middle row is off by %.3g", name, way->dtype, what, level,
              e->row[e->n / 2]);
    cr_expect(e->row[e->n - 1] < way->most, "%s %s %s on %s: a row is off by %.3g", name, way->dtype, what, level, e->row[e->n - 1]);
}

/* Difference of each row, in units of the largest number of all. */
static void differences(struct errors *e, const double *x, const double *y, int rows, int width)
{
    double largest = 0;
    for (int i = 0; i < rows * width; i++)
        largest = fmax(largest, fabs(y[i]));
    for (int r = 0; r < rows; r++) {
        double most = 0;
        for (int i = r * width; i < (r + 1) * width; i++)
            most = isnan(x[i] - y[i]) ? INFINITY : fmax(most, fabs(x[i] - y[i]));
        e->row[e->n++] = most / largest;
    }
}

static double *widened(const float *x, int n)
{
    double *y = malloc((size_t)n * sizeof *y);
    cr_assert_not_null(y);
    for (int i = 0; i < n; i++)
        y[i] = (double)x[i];
    return y;
}

static void compare(struct permuted *p, const struct way *way, const char *name, const char *level)
{
    const struct config *c = p->plain.config;
    struct errors plain = {.n = 0}, permuted = {.n = 0};
    int rows = c->head == HEAD_CLASSIFY ? 1 : T, width = config_outputs(c);
    float *a = malloc((size_t)(rows * width) * sizeof *a), *b = malloc((size_t)(rows * width) * sizeof *b);
    for (int text = 0; text < TEXTS; text++) {
        int32_t ids[T];
        double *want = NULL;
        synth_ids(ids, T, c->V, 30 + (uint64_t)text);
        permuted_restart(p);
        cr_assert_eq(ref_forward(p->plain.cp, p->plain.net->layers[0].qkv.w.compute, ids, NULL, T, NULL, &want, &err), 0, "%s", err.text);
        cr_assert_eq(plain_append(&p->plain, ids, NULL, T, rows, a, &err), 0, "%s", err.text);
        cr_assert_eq(permuted_append(p, ids, NULL, T, rows, b, &err), 0, "%s", err.text);
        double *x = widened(a, rows * width), *y = widened(b, rows * width);
        differences(&plain, x, want, rows, width);
        differences(&permuted, y, x, rows, width);
        free(want);
        free(x);
        free(y);
    }
    judge(&plain, way, "plain against float64", name, level);
    judge(&permuted, way, "permuted against plain", name, level);
    free(a);
    free(b);
}

static void check_families(const struct way *way, const struct synth_shape *shape)
{
    static const char *const heads[] = {"server", "user"};
    for (size_t family = 0; arch_at(family) != NULL; family++) {
        if (strstr(arch_at(family)->name, "Image") != NULL) /* test_images.c */
            continue;
        protected_synth(dir, arch_at(family)->name, shape, 5);
        for (int level = 0; kernels_level(level) != NULL; level++)
            for (int h = 0; h < 2; h++) {
                struct permuted p;
                cr_assert_eq(kernels_choose(kernels_level(level), &err), 0, "%s", err.text);
                cr_assert_eq(permuted_open(&p, dir, heads[h], way->dtype, T, &err), 0, "%s", err.text);
                compare(&p, way, arch_at(family)->name, kernels_level(level));
                permuted_close(&p);
            }
    }
}

/* Width and neurons that fill no whole group of four, panel of 32 or tile of 64. Catches activations of a product left unrounded,
 * one scale for all rows, bf16 cut off instead of rounded, a scale vector left in plain order (each tried). */
Test(dtypes, every_family_follows_the_reference_in_its_compute_on_every_level)
{
    const struct synth_shape s = {.D = 42, .H = 3, .L = 1, .V = 67, .F = 70, .classes = 5, .untied = true};
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
        check_families(&ways[w], &s);
}

/* Tied tables, biases, grouped heads and two layers. Half precision as stored, which int8 reads and keep widens. */
Test(dtypes, tied_models_of_stored_halves_too)
{
    const struct synth_shape s = {.D = 48, .H = 4, .G = 2, .L = 2, .V = 50, .qkv_bias = true, .mlp_bias = true, .dtype = DTYPE_BF16};
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        protected_synth(dir, "LlamaForCausalLM", &s, 6);
        for (int h = 0; h < 2; h++) {
            struct permuted p;
            cr_assert_eq(permuted_open(&p, dir, h == 0 ? "server" : "user", ways[w].dtype, T, &err), 0, "%s", err.text);
            compare(&p, &ways[w], "llama tied", "best");
            permuted_close(&p);
        }
    }
}

/* protect quantises what the server gets, head_load what a user computes. Catches one of them with another scale (tried: 128 for
 * 127 in protect). */
Test(dtypes, protect_and_head_load_quantise_a_head_alike)
{
    const struct synth_shape s = {.D = 42, .H = 3, .L = 1, .V = 67, .F = 70, .untied = true};
    struct permuted p;
    protected_synth(dir, "GPT2LMHeadModel", &s, 5);
    cr_assert_eq(permuted_open(&p, dir, "server", "int8", T, &err), 0, "%s", err.text);
    struct head *head = NULL;
    cr_assert_eq(head_load(&head, p.plain.cp, COMPUTE_INT8, &err), 0, "%s", err.text);
    const struct weights *here = &head->out.w, *there = &p.net->head->out.w;
    cr_assert(here->format == WEIGHT_INT8 && there->format == WEIGHT_INT8 && here->out == there->out);
    for (int o = 0; o < there->out; o++) {
        cr_assert_eq(there->scale[o], here->scale[p.output.to[o]], "output %d", o);
        cr_assert_eq(there->total[o], here->total[p.output.to[o]], "output %d", o);
    }
    head_free(head);
    permuted_close(&p);
}

/* The numbers of a row decide its scale, not their order, and sums of integers have no order: what is left is the float error of
 * norms and attention, which one product alone does not have. */
Test(dtypes, one_int8_product_of_a_package_is_the_plain_one_bit_for_bit)
{
    const struct synth_shape s = {.D = 42, .H = 3, .L = 1, .V = 67, .F = 70, .untied = true};
    enum { N = 9 };
    struct permuted p;
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    for (int level = 0; kernels_level(level) != NULL; level++) {
        cr_assert_eq(kernels_choose(kernels_level(level), &err), 0, "%s", err.text);
        cr_assert_eq(permuted_open(&p, dir, "server", "int8", N, &err), 0, "%s", err.text);
        float x[N * 42], x_p[N * 42], want[N * 67], got_p[N * 67], got[N * 67];
        void *work;
        cr_assert_eq(head_work_new(&work, p.net->head, N, &err), 0);
        for (int i = 0; i < N * 42; i++)
            x[i] = (float)((i * 7919) % 1013 - 500) / 97.0f;
        gather_cols(x_p, x, N, &p.residual);
        head_apply(p.plain.config, p.plain.net->head, x, N, work, want);
        head_apply(p.plain.config, p.net->head, x_p, N, work, got_p);
        scatter_cols(got, got_p, N, &p.output);
        cr_assert_arr_eq(got, want, sizeof want, "level %s", kernels_level(level));
        free(work);
        permuted_close(&p);
    }
}

/* The user's share of the work, by the grant alone. Catches a grant_open that loads its head in f32 (tried). */
Test(dtypes, a_users_head_is_computed_as_the_grant_says)
{
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        static const enum compute computes[] = {COMPUTE_F32, COMPUTE_BF16, COMPUTE_INT8};
        struct cli_opt opts[] = {{.name = "dtype", .value = ways[w].dtype}, {.name = "head", .value = "user"}, {.name = NULL}};
        const struct cli_cmd cmd = {.name = "test", .opts = opts};
        struct private *p;
        cr_assert_eq(private_open(&p, STIP_SOURCE_DIR "/examples/demo-lm", &cmd, T, &err), 0, "%s", err.text);
        cr_expect_eq(private_grant(p)->compute, computes[w]);
        cr_expect_eq(private_grant(p)->head->out.w.compute, computes[w], "%s", ways[w].dtype);
        cr_expect_eq(private_net(p)->layers[0].qkv.w.compute, computes[w], "%s", ways[w].dtype);
        private_close(p);
    }
}
