#include "user/pixels.h"

#include <string.h>

#include "user/resize.h"

size_t pixels_count(const struct config *c)
{
    return (size_t)c->channels * (size_t)c->image[0] * (size_t)c->image[1];
}

/* Luma of ITU-R 601 in 16 bits, as PIL's convert("L"). */
static uint8_t grey_of(const uint8_t *rgb)
{
    return (uint8_t)((19595U * rgb[0] + 38470U * rgb[1] + 7471U * rgb[2] + 0x8000U) >> 16);
}

static int with_channels(struct image *out, const struct image *in, int channels, struct err *err)
{
    const size_t n = (size_t)in->width * (size_t)in->height;
    if (image_new(out, (uint64_t)in->width, (uint64_t)in->height, channels, IMAGE_PIXELS_MAX, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (channels == in->channels)
            memcpy(out->data + i * (size_t)channels, in->data + i * (size_t)channels, (size_t)channels);
        else if (channels == 1)
            out->data[i] = grey_of(in->data + 3 * i);
        else
            memset(out->data + 3 * i, in->data[i], 3);
    return 0;
}

/* The size that it is resized to. */
static int target(int out[2], const struct image *im, const struct preprocess *how, struct err *err)
{
    memcpy(out, how->size, 2 * sizeof *out);
    if (!how->shortest)
        return 0;
    const bool high = im->height > im->width;
    const int64_t shorter = high ? im->width : im->height, longer = high ? im->height : im->width;
    const int64_t side = how->size[0] * longer / shorter;
    if (side > IMAGE_SIDE_MAX)
        return err_set(err, ERR_INPUT, "%d x %d pixels are too long and narrow", im->width, im->height);
    out[high ? 0 : 1] = (int)side;
    out[high ? 1 : 0] = how->size[0];
    return 0;
}

static int fit(struct image *im, const struct preprocess *how, struct err *err)
{
    int size[2];
    struct image to;
    if (!how->resize)
        return 0;
    if (target(size, im, how, err) != 0)
        return -1;
    if (size[0] == im->height && size[1] == im->width)
        return 0;
    if (resize_image(&to, im, size[1], size[0], how->resample, err) != 0)
        return -1;
    image_free(im);
    *im = to;
    return 0;
}

static int check_size(const struct image *im, const struct preprocess *how, const struct config *c, struct err *err)
{
    const bool large = im->height >= c->image[0] && im->width >= c->image[1];
    if (how->crop ? large : im->height == c->image[0] && im->width == c->image[1])
        return 0;
    return err_set(err, ERR_INPUT, "%d x %d pixels (width x height)%s, the model takes %s%d x %d", im->width, im->height,
                   how->resize ? " after resizing" : " and no resizing", how->crop ? "at least " : "", c->image[1], c->image[0]);
}

static float value(uint8_t byte, int channel, const struct preprocess *how)
{
    float v = how->rescale ? (float)(byte * how->factor) : (float)byte;
    return how->normalise ? (v - (float)how->mean[channel]) / (float)how->std[channel] : v;
}

int pixels_prepare(float *x, const struct image *im, const struct preprocess *how, const struct config *c, struct err *err)
{
    struct image own = {0};
    int rc = with_channels(&own, im, c->channels, err);
    if (rc == 0)
        rc = fit(&own, how, err);
    if (rc == 0)
        rc = check_size(&own, how, c, err);
    if (rc == 0) {
        const int top = (own.height - c->image[0]) / 2, left = (own.width - c->image[1]) / 2;
        for (int k = 0; k < c->channels; k++)
            for (int r = 0; r < c->image[0]; r++) {
                const uint8_t *row = own.data + ((size_t)(top + r) * (size_t)own.width + (size_t)left) * (size_t)c->channels;
                for (int q = 0; q < c->image[1]; q++)
                    *x++ = value(row[(size_t)q * (size_t)c->channels + (size_t)k], k, how);
            }
    }
    image_free(&own);
    return rc;
}
