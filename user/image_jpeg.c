/* The door to libjpeg. It leaves a broken file by longjmp: what that must not lose is in struct reading. */
#include <setjmp.h>
#include <stdio.h> /* before jpeglib.h, which needs it */

#include <jpeglib.h>

#include <jerror.h>
#include <string.h>

#include "user/image.h"

#define SCANS_MAX 200 /* a file of many tiny scans over a large image takes minutes */
#define EXIF (JPEG_APP0 + 1)

struct reading {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    struct image im;
    int orientation;
    size_t most;
    struct err *err;
};

static void on_error(j_common_ptr jpeg)
{
    struct reading *r = jpeg->client_data;
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    (void)err_set(r->err, ERR_INPUT, "%s", text);
    longjmp(r->back, 1);
}

/* libjpeg goes on with grey where a file is damaged or ends, and warns; bytes between two markers harm nobody. */
static void on_message(j_common_ptr jpeg, int level)
{
    if (level < 0 && jpeg->err->msg_code != JWRN_EXTRANEOUS_DATA)
        on_error(jpeg);
}

static void on_progress(j_common_ptr jpeg)
{
    struct reading *r = jpeg->client_data;
    if (r->jpeg.input_scan_number <= SCANS_MAX)
        return;
    (void)err_set(r->err, ERR_INPUT, "more than %d scans", SCANS_MAX);
    longjmp(r->back, 1);
}

static int check_colours(const struct reading *r)
{
    switch (r->jpeg.jpeg_color_space) {
    case JCS_GRAYSCALE:
    case JCS_RGB:
    case JCS_YCbCr:
        return 0;
    case JCS_CMYK:
    case JCS_YCCK:
        return err_set(r->err, ERR_INPUT, "CMYK is not supported; save it as RGB");
    default:
        return err_set(r->err, ERR_INPUT, "an image of %d channels is not supported; save it as RGB", r->jpeg.num_components);
    }
}

static int orientation_of(const struct reading *r)
{
    for (jpeg_saved_marker_ptr m = r->jpeg.marker_list; m != NULL; m = m->next)
        if (m->marker == EXIF && m->data_length > 6 && memcmp(m->data, "Exif\0\0", 6) == 0)
            return image_orientation(m->data + 6, m->data_length - 6);
    return 1;
}

static int read_pixels(struct reading *r, const uint8_t *data, size_t len)
{
    if (setjmp(r->back) != 0)
        return -1;
    jpeg_create_decompress(&r->jpeg);
    r->jpeg.progress = &r->progress;
    jpeg_mem_src(&r->jpeg, data, (unsigned long)len);
    jpeg_save_markers(&r->jpeg, EXIF, 0xffff);
    (void)jpeg_read_header(&r->jpeg, TRUE);
    r->orientation = orientation_of(r); /* the marker is gone when all is read */
    if (check_colours(r) != 0)
        return -1;
    r->jpeg.out_color_space = r->jpeg.jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
    if (image_new(&r->im, r->jpeg.image_width, r->jpeg.image_height, r->jpeg.out_color_space == JCS_GRAYSCALE ? 1 : 3, r->most, r->err) != 0)
        return -1;
    (void)jpeg_start_decompress(&r->jpeg);
    while (r->jpeg.output_scanline < r->jpeg.output_height) {
        JSAMPROW row = r->im.data + (size_t)r->jpeg.output_scanline * (size_t)r->im.width * (size_t)r->im.channels;
        (void)jpeg_read_scanlines(&r->jpeg, &row, 1);
    }
    (void)jpeg_finish_decompress(&r->jpeg);
    return 0;
}

int image_jpeg(struct image *out, int *orientation, const uint8_t *data, size_t len, size_t most, struct err *err)
{
    struct reading r = {.most = most, .err = err};
    r.jpeg.err = jpeg_std_error(&r.errors);
    r.jpeg.client_data = &r;
    r.errors.error_exit = on_error;
    r.errors.emit_message = on_message;
    r.progress.progress_monitor = on_progress;
    int rc = read_pixels(&r, data, len);
    if (rc == 0) {
        *orientation = r.orientation;
        *out = r.im;
    } else {
        image_free(&r.im);
    }
    jpeg_destroy_decompress(&r.jpeg);
    return rc;
}
