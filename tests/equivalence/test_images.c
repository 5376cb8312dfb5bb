/* Models of images: the engine against the float64 reference, the permuted model against the plain one, and both against a program
 * that shares no code with either (torch's convolution and attention; tests/vectors/image/vit.py). */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ref/ref.h"
#include "tests/support/permuted.h"
#include "tests/support/tempdir.h"

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

TestSuite(images, .init = setup, .fini = teardown);

/* Largest difference, in units of the largest value. */
static double distance(const float *got, const double *want, size_t n)
{
    double most = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        most = d > most || isnan(d) ? d : most;
        scale = fmax(scale, fabs(want[i]));
    }
    return most / scale;
}

static void check_as(const char *name, const char *architecture, const struct synth_shape *shape, const struct protect_opts *how,
                     enum compute compute, double near)
{
    struct permuted p;
    double *logits;
    const int positions = 200;
    protected_synth(dir, architecture, shape, 7);
    cr_assert_eq(permuted_open_as(&p, dir, how, positions, &err), 0, "%s: %s", name, err.text);
    const struct config *c = p.plain.config;
    const size_t n = (size_t)c->C, pixel_count = (size_t)c->channels * (size_t)c->image[0] * (size_t)c->image[1];
    float *pixels = malloc(pixel_count * sizeof *pixels), *plain = malloc(n * sizeof *plain), *permuted = malloc(n * sizeof *permuted);
    synth_pixels(pixels, pixel_count, 5);
    cr_assert_eq(ref_image(p.plain.cp, compute, pixels, NULL, &logits, &err), 0, "%s", err.text);
    cr_assert_eq(plain_image(&p.plain, pixels, plain, &err), 0, "%s", err.text);
    cr_assert_eq(permuted_image(&p, pixels, permuted, &err), 0, "%s", err.text);
    double own = distance(plain, logits, n), ours = distance(permuted, logits, n);
    printf("%-34s head on %-6s plain %.1e  permuted %.1e\n", name, how->head, own, ours);
    cr_expect_lt(own, near, "%s: the plain engine is off by %.3g", name, own);
    cr_expect_lt(ours, 3 * own + near / 10, "%s: permuted %.3g, plain %.3g", name, ours, own);
    cr_expect_neq(memcmp(p.x_p, p.plain.x, (size_t)c->D * sizeof(float)), 0, "%s: rows went out as they are", name);
    free(logits);
    free(pixels);
    free(plain);
    free(permuted);
    permuted_close(&p);
    cr_assert_eq(file_remove_tree(tempdir_path(dir, "plain"), &err), 0);
}

static void check(const char *name, const char *architecture, const struct synth_shape *shape)
{
    check_as(name, architecture, shape, &(struct protect_opts){.head = "server"}, COMPUTE_F32, 1e-5);
    check_as(name, architecture, shape, &(struct protect_opts){.head = "user"}, COMPUTE_F32, 1e-5);
}

/* Catches patches gone through by columns, channels last, a pixel row of the image's height, the class token behind the patches,
 * positions from 1, the final norm left out, and a classifier in the pooler's order (each tried). */
Test(images, vit_is_the_same_plain_and_private)
{
    struct synth_shape s = {.D = 48, .H = 4, .L = 3, .F = 100, .classes = 5, .image = 24, .wide = 40};
    check("vit 24 x 40", "ViTForImageClassification", &s);
    s.patch = 9; /* what is left at the edges is not looked at */
    s.channels = 1;
    s.no_qkv_bias = true;
    s.act = "relu";
    check("vit grey, patches of 9, no biases", "ViTForImageClassification", &s);
    s.dtype = DTYPE_BF16;
    check("vit grey, stored in bf16", "ViTForImageClassification", &s);
}

/* Catches the two tokens in each other's place (tried). */
Test(images, deit_has_a_distillation_token)
{
    struct synth_shape s = {.D = 48, .H = 6, .L = 2, .F = 64, .classes = 7, .alias = 1};
    check("deit, names of transformers 5", "DeiTForImageClassification", &s);
}

Test(images, first_layers_on_the_user_and_other_dtypes)
{
    const struct synth_shape s = {.D = 48, .H = 4, .L = 3, .F = 100, .classes = 5};
    check_as("vit, one layer on the user", "ViTForImageClassification", &s, &(struct protect_opts){.head = "user", .local_layers = 1},
             COMPUTE_F32, 1e-5);
    check_as("vit in bf16", "ViTForImageClassification", &s, &(struct protect_opts){.head = "server", .dtype = "bf16"}, COMPUTE_BF16, 3e-2);
    check_as("vit in int8", "ViTForImageClassification", &s, &(struct protect_opts){.head = "server", .dtype = "int8"}, COMPUTE_INT8, 3e-2);
}

Test(images, what_cannot_be_is_refused_by_name)
{
    const struct synth_shape s = {.D = 48, .H = 4, .L = 3, .F = 100};
    static const char *const profiles[] = {"gauge", "engine"};
    struct permuted p;
    protected_synth(dir, "ViTForImageClassification", &s, 7);
    for (size_t i = 0; i < 2; i++) {
        cr_expect_eq(permuted_open_as(&p, dir, &(struct protect_opts){.profile = profiles[i]}, 64, &err), -1);
        cr_expect(strstr(err.text, profiles[i]) != NULL && strstr(err.text, "ViTForImageClassification") != NULL, "%s", err.text);
        cr_expect_eq(err.code, ERR_USAGE);
    }
}

/* A text for a model of images and the other way round. */
Test(images, embeddings_take_what_the_model_reads)
{
    const struct synth_shape vit = {.D = 48, .H = 4, .L = 1, .F = 100}, bert = {.D = 48, .H = 4, .L = 1, .V = 50, .F = 100};
    static float pixels[3 * 32 * 32], x[64 * 48];
    const int32_t ids[] = {1, 2};
    struct plain p;
    protected_synth(dir, "ViTForImageClassification", &vit, 7);
    cr_assert_eq(plain_open(&p, tempdir_path(dir, "plain"), true, 64, COMPUTE_F32, &err), 0, "%s", err.text);
    cr_expect_eq(embed_rows(p.embed, ids, NULL, 2, 0, x, &err), -1);
    cr_expect_str_eq(err.text, "a ViTForImageClassification reads images, not texts");
    plain_close(&p);
    protected_synth(dir, "BertForSequenceClassification", &bert, 7);
    cr_assert_eq(plain_open(&p, tempdir_path(dir, "plain"), true, 64, COMPUTE_F32, &err), 0, "%s", err.text);
    cr_expect_eq(embed_image(p.embed, pixels, x, &err), -1);
    cr_expect_str_eq(err.text, "a BertForSequenceClassification reads texts, not images");
    plain_close(&p);
}
