/* The manifest parser over any bytes: what it accepts must print, parse and verify consistently.
 * Seed corpus: manifests written by protect. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "model/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest m = {0};
    struct err err = {0};
    if (manifest_parse(&m, (const char *)data, size, "fuzz", &err) != 0) {
        if (err.code != ERR_INPUT || err.text[0] == '\0' || m.files != NULL)
            abort();
        return 0;
    }
    if (m.file_count == 0 || m.epoch == 0)
        abort();
    for (size_t i = 0; i < m.file_count; i++)
        if (m.files[i].chunk_count != (m.files[i].size + MANIFEST_CHUNK - 1) / MANIFEST_CHUNK)
            abort();
    manifest_free(&m);
    return 0;
}
