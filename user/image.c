#include "user/image.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* ------------------------------------------------------------------ which format */

static const struct format {
    const char *name;
    size_t at, n;
    const char *magic;
    int (*decode)(struct image *out, int *orientation, const uint8_t *data, size_t len, size_t most, struct err *err);
} formats[] = {
    {"PNG", 0, 8, "\x89PNG\r\n\x1a\n", image_png}, {"JPEG", 0, 3, "\xff\xd8\xff", image_jpeg},
    {"GIF", 0, 4, "GIF8", NULL},                   {"WebP", 8, 4, "WEBP", NULL},
    {"BMP", 0, 2, "BM", NULL},                     {"TIFF", 0, 4, "II*\0", NULL},
    {"TIFF", 0, 4, "MM\0*", NULL},                 {"AVIF", 4, 8, "ftypavif", NULL},
    {"HEIC", 4, 7, "ftyphei", NULL},               {"PNM", 0, 2, "P6", NULL},
    {"PNM", 0, 2, "P5", NULL},                     {"JPEG XL", 0, 2, "\xff\x0a", NULL},
    {"SVG", 0, 4, "<svg", NULL},                   {"PDF", 0, 5, "%PDF-", NULL},
};

static const struct format *format_of(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (len >= formats[i].at + formats[i].n && memcmp(data + formats[i].at, formats[i].magic, formats[i].n) == 0)
            return &formats[i];
    return NULL;
}

/* ------------------------------------------------------------------ memory */

int image_new(struct image *out, uint64_t width, uint64_t height, int channels, size_t most, struct err *err)
{
    if (width < 1 || height < 1 || width > IMAGE_SIDE_MAX || height > IMAGE_SIDE_MAX || width * height > most)
        return err_set(err, ERR_INPUT, "%llu x %llu pixels; expected 1 to %d a side and at most %zu in all: make it smaller",
                       (unsigned long long)width, (unsigned long long)height, IMAGE_SIDE_MAX, most);
    struct image im = {.width = (int)width, .height = (int)height, .channels = channels};
    const size_t bytes = (size_t)width * (size_t)height * (size_t)channels;
    if ((im.data = malloc(bytes)) == NULL)
        return err_oom(err, bytes);
    *out = im;
    return 0;
}

void image_free(struct image *im)
{
    free(im->data);
    *im = (struct image){0};
}

/* ------------------------------------------------------------------ which way up */

static unsigned number(const uint8_t *p, int bytes, bool big)
{
    unsigned v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | p[big ? i : bytes - 1 - i];
    return v;
}

int image_orientation(const uint8_t *exif, size_t len)
{
    enum { TAG = 0x0112, SHORT = 3, ENTRY = 12 };
    if (len < 8 || (memcmp(exif, "II*\0", 4) != 0 && memcmp(exif, "MM\0*", 4) != 0))
        return 1;
    const bool big = exif[0] == 'M';
    size_t at = number(exif + 4, 4, big);
    if (at > len - 2)
        return 1;
    unsigned entries = number(exif + at, 2, big);
    for (at += 2; entries > 0 && len - at >= ENTRY; entries--, at += ENTRY)
        if (number(exif + at, 2, big) == TAG && number(exif + at + 2, 2, big) == SHORT) {
            unsigned value = number(exif + at + 8, 2, big);
            return value >= 1 && value <= 8 ? (int)value : 1;
        }
    return 1;
}

/* Values 5 to 8 exchange rows and columns, after that rows or columns are counted from the end. */
static int turn(struct image *im, int orientation, struct err *err)
{
    static const struct {
        bool swap, down, left; /* source row, source column from the end */
    } how[9] = {[2] = {.left = true},          [3] = {.down = true, .left = true},
                [4] = {.down = true},          [5] = {.swap = true},
                [6] = {.swap = true, .down = true}, [7] = {.swap = true, .down = true, .left = true},
                [8] = {.swap = true, .left = true}};
    const bool swap = how[orientation].swap, down = how[orientation].down, left = how[orientation].left;
    struct image to;
    if (orientation == 1)
        return 0;
    if (image_new(&to, (uint64_t)(swap ? im->height : im->width), (uint64_t)(swap ? im->width : im->height), im->channels, SIZE_MAX, err) != 0)
        return -1;
    const size_t C = (size_t)im->channels;
    uint8_t *next = to.data;
    for (int y = 0; y < to.height; y++)
        for (int x = 0; x < to.width; x++, next += C) {
            int row = swap ? x : y, column = swap ? y : x;
            row = down ? im->height - 1 - row : row;
            column = left ? im->width - 1 - column : column;
            memcpy(next, im->data + ((size_t)row * (size_t)im->width + (size_t)column) * C, C);
        }
    image_free(im);
    *im = to;
    return 0;
}

/* ------------------------------------------------------------------ reading */

int image_decode(struct image *out, const uint8_t *data, size_t len, size_t most, struct err *err)
{
    const struct format *f = format_of(data, len);
    struct image im = {0};
    int orientation = 1;
    if (f == NULL)
        return err_set(err, ERR_INPUT, "not an image that is known; PNG and JPEG are");
    if (f->decode == NULL)
        return err_set(err, ERR_INPUT, "%s is not supported; save the image as PNG or JPEG", f->name);
    if (f->decode(&im, &orientation, data, len, most, err) != 0)
        return err_wrap(err, "%s", f->name);
    if (turn(&im, orientation, err) != 0) {
        image_free(&im);
        return -1;
    }
    *out = im;
    return 0;
}

int image_read(struct image *out, const char *path, struct err *err)
{
    char *data;
    size_t len;
    if (file_read(path, IMAGE_FILE_MAX, &data, &len, err) != 0)
        return -1;
    int rc = image_decode(out, (const uint8_t *)data, len, IMAGE_PIXELS_MAX, err);
    free(data);
    return rc == 0 ? 0 : err_wrap(err, "%s", path);
}
