/* user/resize.h - an image in another size, as PIL does it: a filter as wide as a new pixel is in old ones (antialiasing), first
 * along the rows, then along the columns, sums in integers.
 *
 * Data flow   struct image -> [in height, out width] -> struct image.
 * Units       pixels; weights in 2^-22.
 * Errors      memory; an image so narrow that the step between would be larger than any image may be.
 * Memory      gives *out (image_free).
 * Secrets     the user's image.
 * Source      Pillow's documentation of its filters; equal to Pillow 9.4 in every byte of tests/vectors/image.
 */
#ifndef STIP_USER_RESIZE_H
#define STIP_USER_RESIZE_H

#include "model/preprocess.h"
#include "user/image.h"

MUST_CHECK int resize_image(struct image *out, const struct image *in, int width, int height, enum resample resample, struct err *err);

#endif
