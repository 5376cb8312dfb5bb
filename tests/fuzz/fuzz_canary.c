/* The reader of canaries over any bytes: what it accepts must print to the same bytes. The digest at the end is made right first, or
 * nothing would ever get past it.
 * Seed corpus: canaries.bin of a grant. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "transport/canary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct canary_list list = {0};
    struct err err = {0};
    uint8_t *bytes = malloc(size + 1), *again = NULL;
    size_t len = 0;
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data, size);
    if (size >= CRYPTO_HASH_LEN && crypto_sha256(bytes, size - CRYPTO_HASH_LEN, bytes + size - CRYPTO_HASH_LEN, &err) != 0)
        abort();
    if (canary_decode(&list, bytes, size, 2048, 2048, "fuzz", &err) != 0) {
        if (err.code != ERR_INPUT || err.text[0] == '\0' || list.item != NULL)
            abort();
    } else if (canary_encode(&list, &again, &len, &err) != 0 || len != size || memcmp(again, bytes, len) != 0) {
        abort();
    }
    canary_free(&list);
    free(again);
    free(bytes);
    return 0;
}
