/* model/preprocess.h - what becomes of an image before the model sees it: preprocessor_config.json.
 *
 * Data flow   DIR/preprocessor_config.json -> struct preprocess -> user/pixels.c.
 * Units       pixels; sizes are high, wide.
 * Errors      a missing file, a kind of processor, filter or option that is not implemented, sizes that do not end in the
 *             model's: by field, with what was expected.
 * Memory      none given.
 * Secrets     none: public, like config.json.
 * Source      Hugging Face transformers' ViTImageProcessor and DeiTImageProcessor, as versions 4 and 5 and the feature
 *             extractors before them write them.
 */
#ifndef STIP_MODEL_PREPROCESS_H
#define STIP_MODEL_PREPROCESS_H

#include "model/config.h"

#define PREPROCESS_NAME "preprocessor_config.json"

enum resample { RESAMPLE_BILINEAR, RESAMPLE_BICUBIC, RESAMPLE_LANCZOS };

/* In this order. */
struct preprocess {
    bool resize, crop, rescale, normalise;
    enum resample resample;
    bool shortest;    /* size[0] is for the shorter side, the other keeps the proportion */
    int size[2];
    int crop_size[2]; /* of the middle */
    double factor;
    double mean[3], std[3]; /* of each channel: (x - mean) / std */
};

MUST_CHECK int preprocess_read(struct preprocess *out, const char *dir, const struct config *c, struct err *err);
/* Whether users will find what they need: nothing to check where texts are read. */
MUST_CHECK int preprocess_check(const char *dir, const struct config *c, struct err *err);
MUST_CHECK int preprocess_parse(struct preprocess *out, const struct json_doc *doc, const struct config *c, struct err *err);

#endif
