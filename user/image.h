/* user/image.h - an image file in memory, as rows of bytes.
 *
 * Data flow   PNG or JPEG file -> image_png.c, image_jpeg.c (the doors to libpng and libjpeg) -> turned as its EXIF says -> struct
 *             image -> user/pixels.c.
 * Shapes      data [height, width, channels]; 1 channel is grey, 3 are RGB. Palettes are looked up, alpha is left out, as
 *             transformers does by PIL's convert("RGB").
 * Units       pixels of 8 bits.
 * Errors      ERR_INPUT, each with the file's name: other formats (by name where they are known), CMYK, 16 bits, files that end
 *             early or are damaged, more than IMAGE_SIDE_MAX pixels a side or `most` in all: found before memory is taken.
 * Memory      image_read and image_decode give (image_free): 3 bytes a pixel at most, and while a progressive JPEG is read 6 more.
 * Secrets     the user's image; errors never carry pixels.
 * Source      libpng-manual.txt, libjpeg.txt; EXIF 2.3, tag 0x0112.
 */
#ifndef STIP_USER_IMAGE_H
#define STIP_USER_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define IMAGE_FILE_MAX ((size_t)64 << 20) /* bytes */
#define IMAGE_SIDE_MAX 65535
#define IMAGE_PIXELS_MAX ((size_t)1 << 26)

struct image {
    int width, height, channels;
    uint8_t *data;
};

MUST_CHECK int image_read(struct image *out, const char *path, struct err *err);
/* The same from memory; most: pixels. */
MUST_CHECK int image_decode(struct image *out, const uint8_t *data, size_t len, size_t most, struct err *err);
void image_free(struct image *im);

/* The formats, for image.c: *orientation as image_orientation gives it. */
MUST_CHECK int image_png(struct image *out, int *orientation, const uint8_t *data, size_t len, size_t most, struct err *err);
MUST_CHECK int image_jpeg(struct image *out, int *orientation, const uint8_t *data, size_t len, size_t most, struct err *err);
/* For them: memory of an image, its size checked. */
MUST_CHECK int image_new(struct image *out, uint64_t width, uint64_t height, int channels, size_t most, struct err *err);
/* 1 to 8 of an EXIF block that starts with its TIFF header; 1 (as it is) where it says nothing. */
int image_orientation(const uint8_t *exif, size_t len);

#endif
