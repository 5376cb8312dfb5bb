/* user/image, pixels: any file is refused, or becomes an image of the size it says and then as many finite numbers as the model
 * reads. */
#include <stdint.h>
#include <stdlib.h>

#include "user/pixels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST ((size_t)1 << 12) /* pixels: more are the same ways through the code, more slowly */

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float x[3 * 20 * 24];
    struct image im = {0};
    struct err err;
    if (image_decode(&im, data, size, MOST, &err) != 0) {
        require(im.data == NULL && err.code == ERR_INPUT);
        return 0;
    }
    require(im.width >= 1 && im.height >= 1 && (size_t)im.width * (size_t)im.height <= MOST && (im.channels == 1 || im.channels == 3));
    for (int channels = 1; channels <= 3; channels += 2)
        for (int shortest = 0; shortest <= 1; shortest++) {
            const struct config c = {.channels = channels, .image = {20, 24}};
            const struct preprocess how = {.resize = true, .crop = true, .rescale = true, .normalise = true, .shortest = shortest != 0,
                                           .resample = (enum resample)(im.width % 3), .size = {24, 24}, .crop_size = {20, 24},
                                           .factor = 1.0 / 255, .mean = {0.5, 0.5, 0.5}, .std = {0.5, 0.5, 0.5}};
            if (pixels_prepare(x, &im, &how, &c, &err) != 0) {
                require(shortest != 0);
                continue;
            }
            for (size_t i = 0; i < pixels_count(&c); i++)
                require(x[i] >= -1.001f && x[i] <= 1.001f);
        }
    image_free(&im);
    return 0;
}
