/* model/preprocess: any JSON is refused, or says steps that user/pixels can take. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "model/arch.h"
#include "model/preprocess.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct config c = {.arch = arch_find("ViTForImageClassification"), .channels = size % 2 == 0 ? 1 : 3, .image = {224, 224}};
    struct json_doc *doc = NULL;
    struct preprocess p;
    struct err err;
    if (json_parse(&doc, (const char *)data, size, false, "preprocessor_config.json", &err) != 0)
        return 0;
    if (preprocess_parse(&p, doc, &c, &err) == 0) {
        require(p.resample <= RESAMPLE_LANCZOS && isfinite(p.factor));
        for (int i = 0; i < 2; i++) {
            require(p.size[i] >= 1 && p.size[i] <= SHAPE_MAX_IMAGE);
            require(!p.crop || p.crop_size[i] == c.image[i]);
            require(p.crop || !p.resize || p.shortest || p.size[i] == c.image[i]);
        }
        for (int k = 0; k < c.channels; k++)
            require(isfinite(p.mean[k]) && p.std[k] > 0);
    }
    json_free(doc);
    return 0;
}
