/* user/image, resize, pixels: what PIL and transformers make of the same files (scripts/image_vectors.py), and what is refused. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/arch.h"
#include "model/safetensors.h"
#include "tests/support/tempdir.h"
#include "user/pixels.h"
#include "user/resize.h"

#define VECTORS STIP_SOURCE_DIR "/tests/vectors/image/"

static struct err err;

static const struct tensor *expected_at(const struct safetensors *st, const char *name)
{
    const struct tensor *t = safetensors_find(st, name);
    cr_assert_not_null(t, "no expected '%s'", name);
    return t;
}

static struct safetensors *open_expected(void)
{
    struct safetensors *st;
    cr_assert_eq(safetensors_open(&st, VECTORS "expected.safetensors", &err), 0, "%s", err.text);
    return st;
}

static struct image read_vector(const char *name)
{
    struct image im;
    char path[FILE_PATH_MAX];
    cr_assert_eq(file_join(path, VECTORS, name, &err), 0);
    cr_assert_eq(image_read(&im, path, &err), 0, "%s", err.text);
    return im;
}

static int byte_at(const struct image *im, const struct tensor *want, size_t i)
{
    return im->channels == 1 && want->rank == 3 ? im->data[i / 3] : im->data[i];
}

/* Largest difference in grey levels. */
static int distance(const struct image *im, const struct tensor *want, const char *name)
{
    int most = 0;
    cr_assert(want->dim[0] == (uint64_t)im->height && want->dim[1] == (uint64_t)im->width, "%s: %d x %d", name, im->width, im->height);
    for (size_t i = 0; i < want->count; i++) {
        int d = abs(byte_at(im, want, i) - want->data[i]);
        most = d > most ? d : most;
    }
    return most;
}

/* Every kind of PNG and JPEG, turned by EXIF. Catches palettes as grey, alpha as a fourth colour, grey of one bit not spread, each
 * orientation in another's place, interlaced rows one after the other (each tried). */
Test(image, files_are_read_as_pil_reads_them)
{
    struct safetensors *st = open_expected();
    int files = 0;
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct tensor *want = safetensors_at(st, i);
        const size_t n = strlen(want->name);
        if (strpbrk(want->name, "@ ") != NULL || n < 4)
            continue;
        struct image im = read_vector(want->name);
        /* A JPEG's colours are rounded as the machine's decoder likes. */
        const int most = distance(&im, want, want->name), may = strstr(want->name, ".jpg") != NULL ? 2 : 0;
        cr_expect_leq(most, may, "%s: off by %d", want->name, most);
        image_free(&im);
        files++;
    }
    cr_expect_eq(files, 19);
    safetensors_close(st);
}

/* Catches no antialiasing, columns before rows, a filter's other half, weights that are not rounded (each tried). */
Test(image, sizes_are_changed_as_pil_changes_them)
{
    static const struct {
        const char *name;
        enum resample kind;
    } kinds[] = {{"bilinear", RESAMPLE_BILINEAR}, {"bicubic", RESAMPLE_BICUBIC}, {"lanczos", RESAMPLE_LANCZOS}};
    struct safetensors *st = open_expected();
    struct image im = read_vector("rgb.png");
    int tried = 0;
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct tensor *want = safetensors_at(st, i);
        for (size_t k = 0; strncmp(want->name, "rgb.png@", 8) == 0 && k < 3; k++) {
            struct image to;
            if (strncmp(want->name + 8, kinds[k].name, strlen(kinds[k].name)) != 0)
                continue;
            cr_assert_eq(resize_image(&to, &im, (int)want->dim[1], (int)want->dim[0], kinds[k].kind, &err), 0, "%s", err.text);
            cr_expect_eq(distance(&to, want, want->name), 0, "%s: off by %d", want->name, distance(&to, want, want->name));
            image_free(&to);
            tried++;
        }
    }
    cr_expect_eq(tried, 24);
    image_free(&im);
    safetensors_close(st);
}

/* Catches the crop before the resize, a crop that is not of the middle, mean and deviation of another channel, channels last, grey
 * as a mean of the three, an edge rounded up (each tried). */
Test(image, numbers_are_those_of_the_image_processors)
{
    struct safetensors *st = open_expected();
    struct json_doc *doc;
    cr_assert_eq(json_load(&doc, VECTORS "preprocess.json", JSON_CAP_CONFIG, false, &err), 0, "%s", err.text);
    cr_expect_eq(json_count(json_root(doc)), 7);
    for (const struct json *n = json_first(json_root(doc)); n != NULL; n = json_next(n)) {
        const struct json *image = json_get(n, "image"), *how = json_get(n, "config");
        struct config c = {.arch = arch_find("ViTForImageClassification"), .channels = (int)json_number(json_get(n, "channels")),
                           .image = {(int)json_number(json_first(image)), (int)json_number(json_next(json_first(image)))}};
        const char *name = json_string(json_get(n, "name"));
        char key[64];
        struct preprocess p;
        struct json_doc *own = json_new_object("preprocessor_config.json");
        for (const struct json *m = json_first(how); m != NULL; m = json_next(m))
            json_put_copy(own, json_node(own), json_key(m), m);
        cr_assert_eq(preprocess_parse(&p, own, &c, &err), 0, "%s: %s", name, err.text);
        struct image im = read_vector(json_string(json_get(n, "file")));
        (void)snprintf(key, sizeof key, "values %s", name);
        const struct tensor *want = expected_at(st, key);
        cr_assert_eq(want->count, pixels_count(&c));
        float *x = malloc(want->count * sizeof *x), *y = malloc(want->count * sizeof *y);
        cr_assert_eq(pixels_prepare(x, &im, &p, &c, &err), 0, "%s: %s", name, err.text);
        dtype_to_f32(DTYPE_F32, want->data, y, want->count);
        double most = 0, level = (p.rescale ? 1 / 255.0 : 1) / (p.normalise ? p.std[0] : 1);
        for (size_t i = 0; i < want->count; i++)
            most = fmax(most, fabs((double)x[i] - (double)y[i]));
        const bool jpeg = strstr(json_string(json_get(n, "file")), ".jpg") != NULL;
        cr_expect_lt(most, jpeg ? 2.5 * level : 1e-6 + 1e-6 * level, "%s: off by %.3g", name, most);
        free(x);
        free(y);
        image_free(&im);
        json_free(own);
    }
    json_free(doc);
    safetensors_close(st);
}

/* ------------------------------------------------------------------ what is refused */

static void refused(const char *name, const void *data, size_t len, size_t most, const char *why)
{
    struct image im = {0};
    cr_expect_eq(image_decode(&im, data, len, most, &err), -1, "%s was taken", name);
    cr_expect(strstr(err.text, why) != NULL, "%s: '%s', expected '%s'", name, err.text, why);
    cr_expect_eq(err.code, ERR_INPUT, "%s", name);
    cr_expect_null(im.data, "%s", name);
}

Test(image, other_formats_are_refused_by_their_names)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *why;
    } others[] = {{"GIF89a....", 10, "GIF is not supported; save the image as PNG or JPEG"},
                  {"RIFF\x04\0\0\0WEBPVP8 ", 16, "WebP"},
                  {"BM......", 8, "BMP"},
                  {"II*\0....", 8, "TIFF"},
                  {"\0\0\0\x1c" "ftypheic", 12, "HEIC"},
                  {"\0\0\0\x1c" "ftypavif", 12, "AVIF"},
                  {"%PDF-1.4", 8, "PDF"},
                  {"this is text", 12, "not an image that is known; PNG and JPEG are"},
                  {"", 0, "not an image that is known"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        refused(others[i].why, others[i].bytes, others[i].n, IMAGE_PIXELS_MAX, others[i].why);
}

static char *load(const char *name, size_t *len)
{
    char path[FILE_PATH_MAX], *data;
    cr_assert_eq(file_join(path, VECTORS, name, &err), 0);
    cr_assert_eq(file_read(path, IMAGE_FILE_MAX, &data, len, &err), 0, "%s", err.text);
    return data;
}

/* Catches memory before the size is looked at, libjpeg's warnings that are only warnings, 16 bits cut to 8 (each tried). */
Test(image, what_is_damaged_too_large_or_of_another_kind_is_refused)
{
    static const struct {
        const char *name, *why;
    } kinds[] = {{"deep.png", "PNG: 16 bits per channel are not supported"}, {"cmyk.jpg", "JPEG: CMYK is not supported"}};
    size_t len;
    for (size_t i = 0; i < 2; i++) {
        char *data = load(kinds[i].name, &len);
        refused(kinds[i].name, data, len, IMAGE_PIXELS_MAX, kinds[i].why);
        free(data);
    }
    static const char *const whole[] = {"rgb.png", "interlaced.png", "photo.jpg", "progressive.jpg", "grey.jpg"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        char *data = load(whole[i], &len);
        struct image im;
        cr_assert_eq(image_decode(&im, (const uint8_t *)data, len, 53 * 41, &err), 0, "%s", err.text);
        image_free(&im);
        refused(whole[i], data, len, 400, "at most 400 in all");
        for (size_t cut = 8; cut < len; cut += 1 + len / 60)
            refused(whole[i], data, len - cut, IMAGE_PIXELS_MAX, i < 2 ? "PNG: " : "");
        free(data);
    }
    char *data = load("rgb.png", &len);
    data[60] = (char)(data[60] ^ 1);
    refused("flipped bit", data, len, IMAGE_PIXELS_MAX, "PNG: ");
    memcpy(data + 16, "\0\x1e\x84\x80\0\x1e\x84\x80", 8); /* two million pixels a side, and a wrong checksum */
    refused("huge", data, len, IMAGE_PIXELS_MAX, "PNG: ");
    free(data);
}

/* An EXIF block that lies about itself says nothing. */
Test(image, orientations_are_read_within_their_block)
{
    static const uint8_t little[] = "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", big[] = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0";
    cr_expect_eq(image_orientation(little, 22), 6);
    cr_expect_eq(image_orientation(big, 22), 8);
    for (size_t n = 0; n < 22; n++)
        cr_expect_eq(image_orientation(little, n), 1);
    uint8_t far[22], nine[22];
    memcpy(far, little, 22);
    far[4] = 0xff;
    far[7] = 0xff;
    cr_expect_eq(image_orientation(far, 22), 1);
    memcpy(nine, little, 22);
    nine[18] = 9;
    cr_expect_eq(image_orientation(nine, 22), 1);
}

Test(image, sizes_that_do_not_end_in_the_models_are_refused)
{
    struct config c = {.arch = arch_find("ViTForImageClassification"), .channels = 3, .image = {16, 16}};
    struct preprocess p = {.resize = false, .rescale = true, .factor = 1};
    struct image im = read_vector("rgb.png");
    static float x[3 * 16 * 16];
    cr_expect_eq(pixels_prepare(x, &im, &p, &c, &err), -1);
    cr_expect_str_eq(err.text, "37 x 29 pixels (width x height) and no resizing, the model takes 16 x 16");
    p.crop = true;
    cr_expect_eq(pixels_prepare(x, &im, &p, &c, &err), 0, "%s", err.text);
    c.image[0] = 30;
    cr_expect_eq(pixels_prepare(x, &im, &p, &c, &err), -1);
    image_free(&im);
}

/* Catches a step between whose size nobody looked at (tried: 65535 x 1 to 4096 a side would take 800 MB). */
Test(image, long_and_narrow_images_end_in_an_error_not_in_memory)
{
    struct image line = {.width = 1, .height = 65535, .channels = 3, .data = calloc(65535, 3)}, to = {0};
    cr_expect_eq(resize_image(&to, &line, 4096, 4096, RESAMPLE_BICUBIC, &err), -1);
    cr_expect(strstr(err.text, "resizing 1 x 65535 pixels") != NULL, "%s", err.text);
    struct config c = {.arch = arch_find("ViTForImageClassification"), .channels = 3, .image = {16, 16}};
    struct preprocess p = {.resize = true, .shortest = true, .size = {16, 16}, .crop = true, .crop_size = {16, 16}};
    static float x[3 * 16 * 16];
    cr_expect_eq(pixels_prepare(x, &line, &p, &c, &err), -1);
    cr_expect(strstr(err.text, "too long and narrow") != NULL, "%s", err.text);
    image_free(&line);
}
