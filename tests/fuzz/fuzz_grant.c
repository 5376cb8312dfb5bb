/* A grant folder of which one file is replaced; the first byte says which. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model_dev/grant.h"
#include "tests/fuzz/folder.h"
#include "tests/support/developer.h"
#include "user/grant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const FILES[] = {"grant/grant.json", "grant/keys.bin", "grant/config.json", "grant/manifest.json"};
#define COUNT (sizeof FILES / sizeof *FILES)

static struct {
    char *data;
    size_t len;
} sound[COUNT];

static void make(void)
{
    static const struct synth_shape shape = {.D = 8, .H = 2, .L = 1, .V = 10, .F = 8, .positions = 16};
    static const char tokenizer[] = "{\"version\":\"1.0\",\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0},\"unk_token\":\"a\"}}";
    struct developer dev;
    struct err err;
    developer_make(&dev, folder(), "LlamaForCausalLM", &shape, 3, "server");
    const struct grant_source source = {.model = dev.plain, .from = &dev.release, .identity = dev.identity};
    if (file_mkdirs(folder_path("grant"), 0700, &err) != 0 || grant_folder(&source, folder_path("grant"), &err) != 0)
        abort();
    developer_free(&dev);
    folder_take();
    folder_put("grant/tokenizer.json", tokenizer, sizeof tokenizer - 1);
    for (size_t i = 0; i < COUNT; i++)
        if (file_read(folder_path(FILES[i]), 1 << 20, &sound[i].data, &sound[i].len, &err) != 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct grant *g = NULL;
    struct err err;
    if (sound[0].data == NULL)
        make();
    if (size < 1)
        return 0;
    const size_t which = data[0] % COUNT;
    folder_put(FILES[which], data + 1, size - 1);
    if (grant_open(&g, folder_path("grant"), &err) == 0)
        grant_free(g);
    folder_put(FILES[which], sound[which].data, sound[which].len);
    return 0;
}
