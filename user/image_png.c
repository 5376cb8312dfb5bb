/* The door to libpng. It leaves a broken file by longjmp: what that must not lose is in struct reading. */
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "user/image.h"

#define METADATA_MAX ((png_alloc_size_t)8 << 20) /* bytes of a chunk that is not pixels */

struct reading {
    const uint8_t *data;
    size_t len, at, most;
    struct image im;
    png_bytepp rows;
    struct err *err;
};

static void on_error(png_structp png, png_const_charp text)
{
    const struct reading *r = png_get_error_ptr(png);
    (void)err_set(r->err, ERR_INPUT, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep out, size_t n)
{
    struct reading *r = png_get_io_ptr(png);
    if (n > r->len - r->at)
        png_error(png, "the file ends early");
    memcpy(out, r->data + r->at, n);
    r->at += n;
}

/* Grey of 8 bits or RGB, whatever is stored. */
static int read_pixels(struct reading *r, png_structp png, png_infop info)
{
    if (setjmp(png_jmpbuf(png)) != 0)
        return -1;
    png_set_read_fn(png, r, on_read);
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* image_new has its own */
    png_set_chunk_malloc_max(png, METADATA_MAX);
    png_read_info(png, info);
    if (png_get_bit_depth(png, info) == 16)
        return err_set(r->err, ERR_INPUT, "16 bits per channel are not supported; save it with 8");
    const int colour = png_get_color_type(png, info);
    if (colour == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(png);
    else if (png_get_bit_depth(png, info) < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    png_set_strip_alpha(png);
    (void)png_set_interlace_handling(png);
    if (image_new(&r->im, png_get_image_width(png, info), png_get_image_height(png, info), (colour & PNG_COLOR_MASK_COLOR) != 0 ? 3 : 1,
                  r->most, r->err) != 0)
        return -1;
    png_read_update_info(png, info);
    const size_t width = (size_t)r->im.width * (size_t)r->im.channels, height = (size_t)r->im.height;
    if (png_get_rowbytes(png, info) != width)
        return err_set(r->err, ERR_INTERNAL, "rows of %zu bytes, expected %zu", (size_t)png_get_rowbytes(png, info), width);
    if ((r->rows = malloc(height * sizeof *r->rows)) == NULL)
        return err_oom(r->err, height * sizeof *r->rows);
    for (size_t y = 0; y < height; y++)
        r->rows[y] = r->im.data + y * width;
    png_read_image(png, r->rows);
    png_read_end(png, info);
    return 0;
}

int image_png(struct image *out, int *orientation, const uint8_t *data, size_t len, size_t most, struct err *err)
{
    struct reading r = {.data = data, .len = len, .most = most, .err = err};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    png_infop info = png == NULL ? NULL : png_create_info_struct(png);
    png_uint_32 exif_len = 0;
    png_bytep exif = NULL;
    int rc = info == NULL ? err_oom(err, sizeof r) : read_pixels(&r, png, info);
    if (rc == 0 && png_get_eXIf_1(png, info, &exif_len, &exif) != 0)
        *orientation = image_orientation(exif, exif_len);
    png_destroy_read_struct(&png, &info, NULL);
    free(r.rows);
    if (rc == 0)
        *out = r.im;
    else
        image_free(&r.im);
    return rc;
}
