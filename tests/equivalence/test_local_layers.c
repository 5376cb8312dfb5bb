/* The first layers on the user, the others permuted on the server: the same answers as all of them in one place.
 * Mutations: the package counts its layers from 0 of the model; windows keep their layer numbers; the user's cache is not cut when
 * a session goes back, or is cut one token too far; the final norm is applied between the two parts; a bidirectional model keeps
 * the text before. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"
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

TestSuite(local_layers, .init = setup, .fini = teardown);

static struct permuted open_local(const char *head, const char *dtype, int layers)
{
    struct permuted p;
    cr_assert_eq(permuted_open_local(&p, dir, head, dtype, layers, CAP, &err), 0, "%s", err.text);
    return p;
}

static double distance(const float *x, const double *ref, size_t n, double *largest)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - ref[i]);
        *largest = fmax(*largest, fabs(ref[i]));
        most = d > most || isnan(d) ? d : most;
    }
    return most;
}

/* Both runs over the same tokens, judged by the float64 reference. */
static void compare(const char *name, struct permuted *p, int layers)
{
    const struct config *c = p->plain.config;
    int32_t ids[T];
    double *logits = NULL, largest = 0;
    const int out_n = c->head == HEAD_CLASSIFY ? 1 : T;
    const size_t n = (size_t)out_n * (size_t)config_outputs(c);
    float *plain = malloc(n * sizeof *plain), *ours = malloc(n * sizeof *ours);
    synth_ids(ids, T, c->V, 3);
    cr_assert_eq(ref_forward(p->plain.cp, COMPUTE_F32, ids, NULL, T, NULL, &logits, &err), 0, "%s", err.text);
    cr_assert_eq(plain_append(&p->plain, ids, NULL, T, out_n, plain, &err), 0, "%s", err.text);
    for (int again = 0; again < 2; again++) { /* the second text finds the caches of the first */
        permuted_restart(p);
        cr_assert_eq(permuted_append(p, ids, NULL, T, out_n, ours, &err), 0, "%s", err.text);
        double off = distance(ours, logits, n, &largest), own = distance(plain, logits, n, &largest);
        cr_expect_lt(off, 3 * own + 1e-6 * largest, "%s, %d layers, head on %s: %g, plain %g", name, layers,
                     p->head_user ? "user" : "server", off, own);
    }
    free(logits);
    free(plain);
    free(ours);
}

static void check(const char *architecture, const struct synth_shape *shape)
{
    protected_synth(dir, architecture, shape, 5);
    for (int layers = 1; layers < shape->L; layers++) {
        struct permuted p = open_local(layers % 2 == 0 ? "server" : "user", NULL, layers);
        cr_expect_eq(p.net->config.L, shape->L - layers, "%s", architecture);
        compare(architecture, &p, layers);
        permuted_close(&p);
    }
}

Test(local_layers, every_family_answers_as_the_plain_model)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 3, .V = 101, .F = 80, .classes = 5};
    for (size_t i = 0; arch_at(i) != NULL; i++)
        if (strstr(arch_at(i)->name, "Image") == NULL) /* those are in test_images.c */
            check(arch_at(i)->name, &s);
}

/* From layer 2 on only 7 tokens are seen: in the package that is layer 1, then 0, then all. */
Test(local_layers, windows_start_at_the_same_layer)
{
    struct synth_shape s = {.D = 48, .H = 6, .L = 4, .V = 101, .F = 80, .window = 7, .window_from = 2};
    check("Qwen2ForCausalLM", &s);
    s.window_from = 0;
    check("MistralForCausalLM", &s);
}

/* int8 is equal bit for bit: the user quantises its layers as the package has the others. */
Test(local_layers, the_users_layers_are_computed_in_the_packages_way)
{
    const struct synth_shape s = {.D = 64, .H = 4, .L = 3, .V = 101, .F = 128};
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    struct permuted p = open_local("user", "int8", 2);
    int32_t ids[T];
    const size_t n = (size_t)T * (size_t)s.V;
    float *plain = malloc(n * sizeof *plain), *ours = malloc(n * sizeof *ours);
    synth_ids(ids, T, s.V, 3);
    cr_assert_eq(plain_append(&p.plain, ids, NULL, T, T, plain, &err), 0);
    cr_assert_eq(permuted_append(&p, ids, NULL, T, T, ours, &err), 0);
    for (size_t i = 0; i < n; i++)
        cr_assert_float_eq(plain[i], ours[i], 2e-2F, "%zu: %g, plain %g", i, (double)ours[i], (double)plain[i]);
    free(plain);
    free(ours);
    permuted_close(&p);
}

/* Guesses that do not hold are taken back, and other tokens take their place. */
Test(local_layers, going_back_forgets_what_came_after)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 3, .V = 101, .F = 80};
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    struct permuted p = open_local("user", NULL, 2);
    int32_t ids[T], wrong[8];
    float straight[101], bent[101];
    synth_ids(ids, T, s.V, 3);
    synth_ids(wrong, 8, s.V, 99);
    cr_assert_eq(permuted_append(&p, ids, NULL, T, 1, straight, &err), 0);
    permuted_restart(&p);
    for (int at = 0; at < T; at += 5) {
        cr_assert_eq(permuted_append(&p, wrong, NULL, 8, 1, bent, &err), 0);
        kvcache_truncate(p.kv, at);
        cr_assert_eq(permuted_append(&p, ids + at, NULL, 5, 1, bent, &err), 0);
    }
    cr_expect_arr_eq(straight, bent, sizeof straight);
    permuted_close(&p);
}

Test(local_layers, rows_that_were_skipped_are_refused)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 2, .V = 101, .F = 80};
    float x[48] = {0};
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    struct permuted p = open_local("user", NULL, 1);
    cr_expect_eq(local_rows(p.local, 3, x, 1, &err), -1);
    cr_expect_eq(err.code, ERR_INTERNAL);
    permuted_close(&p);
}

Test(local_layers, the_package_has_no_tensor_of_them)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 3, .V = 101, .F = 80};
    protected_synth(dir, "GPT2LMHeadModel", &s, 5);
    struct permuted p = open_local("user", NULL, 1);
    const struct tensor *plain = checkpoint_tensor(p.plain.cp, ROLE_QKV, 0), *packed = checkpoint_tensor(p.cp, ROLE_QKV, 0);
    double a = 0, b = 0;
    for (uint64_t i = 0; i < plain->count; i++) { /* a sum does not see the order */
        float v;
        dtype_to_f32(DTYPE_F32, plain->data + 4 * i, &v, 1);
        a += (double)v;
        dtype_to_f32(DTYPE_F32, packed->data + 4 * i, &v, 1);
        b += (double)v;
    }
    cr_expect_gt(fabs(a - b), 1e-3);
    permuted_close(&p);
}

Test(local_layers, numbers_that_leave_the_server_nothing_are_refused)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 3, .V = 101, .F = 80};
    struct protect_report report;
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    for (int layers = -1; layers <= 4; layers += layers < 0 ? 4 : 1) {
        struct protect_opts o = protected_opts(dir, 1);
        o.local_layers = layers;
        cr_expect_eq(protect_checkpoint(&o, &report, &err), -1, "%d", layers);
        cr_expect_eq(err.code, ERR_USAGE);
        cr_expect_not_null(strstr(err.text, "3 layers"), "%s", err.text);
    }
    struct protect_opts o = protected_opts(dir, 1);
    o.local_layers = 1;
    o.profile = "engine";
    cr_expect_eq(protect_checkpoint(&o, &report, &err), -1);
    cr_expect_not_null(strstr(err.text, "--local-layers"), "%s", err.text);
}
