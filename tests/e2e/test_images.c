/* An image to its class through three processes, as torch computes it (scripts/image_vectors.py); and what is refused on the way.
 * Mutations: two rows of pixels in each other's place, rows sealed with another key: a logit changes (both tried). */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/safetensors.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define VECTORS STIP_SOURCE_DIR "/tests/vectors/image/"
#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"

static struct err err;

static void expected(const char *key, double out[4])
{
    struct safetensors *st;
    cr_assert_eq(safetensors_open(&st, VECTORS "expected.safetensors", &err), 0, "%s", err.text);
    const struct tensor *t = safetensors_find(st, key);
    cr_assert(t != NULL && t->dtype == DTYPE_F64 && t->count == 4, "%s", key);
    memcpy(out, t->data, 4 * sizeof *out);
    safetensors_close(st);
}

/* One line of JSON: the file, its logits, its label. */
static void check_line(const char *line, const char *path, const double want[4], double near)
{
    struct json_doc *doc = NULL;
    cr_assert(line != NULL && json_parse(&doc, line, strlen(line), false, "a line", &err) == 0, "%s", err.text);
    const struct json *root = json_root(doc), *at = json_first(json_get(root, "logits"));
    int best = 0;
    cr_expect_str_eq(json_string(json_get(root, "image")), path);
    for (int i = 0; i < 4; i++, at = json_next(at)) {
        cr_expect(fabs(json_number(at) - want[i]) < near, "%s: %g, expected %g", path, json_number(at), want[i]);
        best = want[i] > want[best] ? i : best;
    }
    cr_expect_null(at);
    char label[16];
    (void)snprintf(label, sizeof label, "class %d", best);
    cr_expect_str_eq(json_string(json_get(root, "label")), label, "%s", path);
    json_free(doc);
}

static void check_model(const char *model, const char *head)
{
    struct trio t;
    struct shell s;
    double png[4], jpg[4];
    char path[FILE_PATH_MAX], key[64];
    (void)snprintf(path, sizeof path, VECTORS "%s", model);
    trio_open(&t, path, head);
    (void)snprintf(key, sizeof key, "%s rgb.png", model);
    expected(key, png);
    (void)snprintf(key, sizeof key, "%s photo.jpg", model);
    expected(key, jpg);
    trio_user(&t, &s, SHELL_ARGV("classify", "--json", "--image", VECTORS "rgb.png", VECTORS "photo.jpg", VECTORS "rgb.png"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    char *save = NULL;
    check_line(strtok_r(s.out, "\n", &save), VECTORS "rgb.png", png, 2e-5);
    check_line(strtok_r(NULL, "\n", &save), VECTORS "photo.jpg", jpg, 2e-2); /* a JPEG's colours may be a level apart */
    check_line(strtok_r(NULL, "\n", &save), VECTORS "rgb.png", png, 2e-5);
    cr_expect_null(strtok_r(NULL, "\n", &save), "more answers than images");
    shell_free(&s);
    trio_user(&t, &s, SHELL_ARGV("classify", "--image", VECTORS "rgb.png"));
    cr_expect(s.status == 0 && strncmp(s.out, "class ", 6) == 0 && strstr(s.out, "rgb.png\n") != NULL, "%s%s", s.out, s.err);
    shell_free(&s);
    trio_close(&t);
}

Test(images, a_vit_with_its_head_on_the_server_answers_as_torch_does)
{
    check_model("vit", "server");
}

Test(images, a_deit_with_its_head_on_the_user_answers_as_torch_does)
{
    check_model("deit", "user");
}

/* Two classifiers of two rows. */
Test(images, a_deit_with_teacher_answers_as_torch_does)
{
    check_model("teacher", "server");
    check_model("teacher", "user");
}

static void refused(const struct trio *t, int status, const char *sentence, const char *const words[])
{
    struct shell s;
    trio_user(t, &s, words);
    cr_expect_eq(s.status, status, "%s: %d: %s", s.command, s.status, s.err);
    cr_expect(strstr(s.err, sentence) != NULL, "%s: %s", s.command, s.err);
    cr_expect_eq(s.out_len, 0, "%s: stdout is for results: %s", s.command, s.out);
    shell_free(&s);
}

/* Texts to a model of images, images that cannot be read, and images to a model of texts. */
Test(images, each_mistake_has_its_own_sentence)
{
    struct trio t;
    struct shell s;
    size_t len;
    trio_open(&t, VECTORS "vit", "server");
    static const char *const texts[][6] = {{"classify", "--text", "x"}, {"generate", "--prompt", "x"}, {"fill", "--text", "x"},
                                           {"score", "--text", "x"},    {"peek", "--text", "x"},       {"verify"},
                                           {"chat"},                    {"serve", "--listen", "127.0.0.1:0"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        refused(&t, 2, "a ViTForImageClassification reads images: stip-user classify --config FILE --image FILE", texts[i]);
    char *jpg = tempdir_slurp(VECTORS "photo.jpg", &len);
    tempdir_spill(trio_path(&t, "cut.jpg"), jpg, len / 2);
    free(jpg);
    refused(&t, 3, "cut.jpg: JPEG: Premature end of JPEG file", SHELL_ARGV("classify", "--image", trio_path(&t, "cut.jpg")));
    refused(&t, 3, "other.gif: GIF is not supported; save the image as PNG or JPEG", SHELL_ARGV("classify", "--image", VECTORS "other.gif"));
    refused(&t, 3, "deep.png: PNG: 16 bits per channel are not supported", SHELL_ARGV("classify", "--image", VECTORS "deep.png"));
    refused(&t, 3, "none.png", SHELL_ARGV("classify", "--image", trio_path(&t, "none.png")));
    refused(&t, 2, "not both", SHELL_ARGV("classify", "--text", "x", "--image", VECTORS "rgb.png"));
    refused(&t, 2, "behind --image", SHELL_ARGV("classify", "--text", "x", VECTORS "rgb.png"));
    trio_user(&t, &s, SHELL_ARGV("doctor"));
    cr_expect(strstr(s.out, "ViTForImageClassification, profile stip") != NULL, "%s%s", s.out, s.err);
    shell_free(&s);
    trio_close(&t);
    trio_open(&t, DEMO_CLASSIFIER, "server");
    refused(&t, 2, "a BertForSequenceClassification reads texts, not images", SHELL_ARGV("classify", "--image", VECTORS "rgb.png"));
    trio_close(&t);
}

/* Plain and private in one process, from the command line; the reference judges both. */
Test(images, equality_holds_and_takes_what_the_model_reads)
{
    static const char *const models[] = {"vit", "deit", "teacher"}, *const flags[][4] = {{"--head", "server"}, {"--head", "user"}, {"--dtype", "int8"}, {"--dtype", "bf16"}};
    struct shell s;
    char model[FILE_PATH_MAX];
    for (size_t m = 0; m < 3; m++)
        for (size_t f = 0; f < 4; f++) {
            (void)snprintf(model, sizeof model, VECTORS "%s", models[m]);
            shell_run(&s, SHELL_ARGV("stip-bench", "equality", "--model", model, flags[f][0], flags[f][1], "--json", "--image", VECTORS "rgb.png", VECTORS "photo.jpg",
                                     VECTORS "palette.png"));
            struct json_doc *doc = shell_json(&s);
            cr_expect(json_true(json_get(json_root(doc), "ok")) && json_true(json_get(json_root(doc), "classes_identical")), "%s", s.out);
            cr_expect(json_number(json_get(json_root(doc), "texts")) >= 3 && json_number(json_get(json_root(doc), "rows_judged")) >= 3, "%s", s.out);
            json_free(doc);
            shell_free(&s);
        }
    shell_run(&s, SHELL_ARGV("stip-bench", "equality", "--model", VECTORS "vit", "--prompt", "x"));
    cr_expect(s.status == 2 && strstr(s.err, "this model reads images: --image FILE") != NULL, "%d %s", s.status, s.err);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-bench", "equality", "--model", DEMO_CLASSIFIER, "--image", VECTORS "rgb.png"));
    cr_expect(s.status == 2 && strstr(s.err, "this model reads texts") != NULL, "%d %s", s.status, s.err);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-bench", "demo", "--model", VECTORS "vit"));
    cr_expect(s.status == 2 && strstr(s.err, "demo needs a model of texts") != NULL, "%d %s", s.status, s.err);
    shell_free(&s);
}
