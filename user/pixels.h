/* user/pixels.h - an image as the numbers that the model reads.
 *
 * Data flow   struct image -> grey or RGB -> resized -> its middle -> times the factor -> normalised -> x [channels, high, wide].
 * Shapes      channels, high and wide of struct config.
 * Units       f32; the factor is applied in double and rounded, mean and deviation are f32, as transformers does.
 * Errors      ERR_INPUT where the sizes do not end in the model's, memory.
 * Memory      the caller's x, pixels_count floats.
 * Secrets     the user's image.
 * Source      Hugging Face transformers' ViTImageProcessor and DeiTImageProcessor.
 */
#ifndef STIP_USER_PIXELS_H
#define STIP_USER_PIXELS_H

#include "model/preprocess.h"
#include "user/image.h"

size_t pixels_count(const struct config *c);
MUST_CHECK int pixels_prepare(float *x, const struct image *im, const struct preprocess *how, const struct config *c, struct err *err);

#endif
