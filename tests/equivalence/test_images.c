/* Models of images: the engine against the float64 reference, the permuted model against the plain one, and both against a program
 * that shares no code with either (torch's convolution and attention; scripts/image_vectors.py). */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/ref/ref.h"
#include "tests/support/permuted.h"
#include "tests/support/tempdir.h"
#include "user/pixels.h"

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

#define VECTORS STIP_SOURCE_DIR "/tests/vectors/image/"

/* From the file to the classes, by the engine and by the reference, against torch. Values of JPEGs may be a level apart. */
Test(images, a_small_vit_and_a_small_deit_answer_as_torch_does)
{
    static const char *const models[] = {"vit", "deit"};
    struct safetensors *st;
    cr_assert_eq(safetensors_open(&st, VECTORS "expected.safetensors", &err), 0, "%s", err.text);
    for (size_t m = 0; m < 2; m++) {
        char path[FILE_PATH_MAX], key[64];
        struct plain p;
        struct preprocess how;
        struct image im;
        double *ref, want[4];
        float got[4];
        (void)snprintf(path, sizeof path, VECTORS "%s", models[m]);
        cr_assert_eq(plain_open(&p, path, true, 64, COMPUTE_F32, &err), 0, "%s", err.text);
        cr_assert_eq(preprocess_read(&how, path, p.config, &err), 0, "%s", err.text);
        float *pixels = malloc(pixels_count(p.config) * sizeof *pixels);
        cr_assert_eq(image_read(&im, VECTORS "rgb.png", &err), 0, "%s", err.text);
        cr_assert_eq(pixels_prepare(pixels, &im, &how, p.config, &err), 0, "%s", err.text);
        cr_assert_eq(plain_image(&p, pixels, got, &err), 0, "%s", err.text);
        cr_assert_eq(ref_image(p.cp, COMPUTE_F32, pixels, NULL, &ref, &err), 0, "%s", err.text);
        (void)snprintf(key, sizeof key, "%s rgb.png", models[m]);
        const struct tensor *t = safetensors_find(st, key);
        cr_assert(t != NULL && t->dtype == DTYPE_F64 && t->count == 4, "%s", key);
        memcpy(want, t->data, sizeof want);
        double off = distance(got, want, 4), ref_off = 0;
        for (int i = 0; i < 4; i++)
            ref_off = fmax(ref_off, fabs(ref[i] - want[i]));
        printf("%s: engine %.1e, reference %.1e from torch\n", models[m], off, ref_off);
        cr_expect_lt(off, 2e-6, "%s: engine off by %.3g", models[m], off);
        cr_expect_lt(ref_off, 1e-12, "%s: reference off by %.3g", models[m], ref_off);
        free(ref);
        free(pixels);
        image_free(&im);
        plain_close(&p);
    }
    safetensors_close(st);
}

#define DATA STIP_SOURCE_DIR "/../shared/data/"

/* A trained model on handwritten digits: labels known, logits recorded from an independent program. Runs where the data are. */
Test(images, a_trained_vit_reads_digits_plain_and_private)
{
    enum { HEADER = 16, SIDE = 28, N = 1003 };
    struct safetensors *st;
    struct permuted p;
    char *bytes, path[FILE_PATH_MAX];
    size_t len;
    static const char *const files[] = {"config.json", "model.safetensors", "preprocessor_config.json"};
    if (!file_is_dir(DATA "models/vit-mnist3"))
        cr_skip_test("no shared data beside the repository");
    cr_assert_eq(file_mkdirs(tempdir_path(dir, "plain"), 0755, &err), 0);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", tempdir_path(dir, "plain"), files[i]);
        char from[FILE_PATH_MAX];
        (void)snprintf(from, sizeof from, DATA "models/vit-mnist3/%s", files[i]);
        cr_assert_eq(file_read(from, (size_t)1 << 24, &bytes, &len, &err), 0, "%s", err.text);
        cr_assert_eq(file_write(path, bytes, len, 0644, &err), 0, "%s", err.text);
        free(bytes);
    }
    cr_assert_eq(permuted_open(&p, dir, "server", NULL, 64, &err), 0, "%s", err.text);
    struct preprocess how;
    cr_assert_eq(preprocess_read(&how, DATA "models/vit-mnist3", p.plain.config, &err), 0, "%s", err.text);
    cr_assert_eq(safetensors_open(&st, DATA "expected/vit-mnist3.safetensors", &err), 0, "%s", err.text);
    cr_assert_eq(file_read(DATA "images/mnist/t10k-first1003-images-idx3-ubyte", (size_t)1 << 20, &bytes, &len, &err), 0, "%s", err.text);
    cr_assert_eq(len, HEADER + N * SIDE * SIDE);
    const struct tensor *index = safetensors_find(st, "t10k_index"), *label = safetensors_find(st, "label"),
                        *logits = safetensors_find(st, "logits");
    double plain_off = 0, private_off = 0;
    int right = 0, wrong = -1;
    for (size_t i = 0; i < index->count; i++) {
        int64_t at, want;
        float expected[3], a[3], b[3], x[SIDE * SIDE];
        memcpy(&at, index->data + i * 8, 8);
        memcpy(&want, label->data + i * 8, 8);
        memcpy(expected, logits->data + i * 12, 12);
        struct image im = {.width = SIDE, .height = SIDE, .channels = 1, .data = (uint8_t *)bytes + HEADER + (size_t)at * SIDE * SIDE};
        cr_assert_eq(pixels_prepare(x, &im, &how, p.plain.config, &err), 0, "%s", err.text);
        cr_assert_eq(plain_image(&p.plain, x, a, &err), 0, "%s", err.text);
        cr_assert_eq(permuted_image(&p, x, b, &err), 0, "%s", err.text);
        int best = b[1] > b[0] ? (b[2] > b[1] ? 2 : 1) : (b[2] > b[0] ? 2 : 0);
        right += best == want;
        wrong = best == want ? wrong : (int)at;
        for (int k = 0; k < 3; k++) {
            plain_off = fmax(plain_off, fabs((double)a[k] - (double)expected[k]));
            private_off = fmax(private_off, fabs((double)b[k] - (double)a[k]));
        }
    }
    printf("%zu digits: %d right, plain %.1e from the recorded logits, private %.1e from plain\n", (size_t)index->count, right, plain_off,
           private_off);
    cr_expect(right == 328 && wrong == 956, "%d right, %d wrong", right, wrong);
    cr_expect_lt(plain_off, 1e-5);
    cr_expect_lt(private_off, 1e-5);
    free(bytes);
    safetensors_close(st);
    permuted_close(&p);
}
