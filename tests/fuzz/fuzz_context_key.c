/* The context key parser over any bytes. The checksum would stop almost every input, so it is made right first; a shape that
 * the parser lets through must be refused or served by keyset_new, never crash it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model_dev/context_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[CONTEXT_KEY_LEN];
    struct context_key key = {0};
    struct err err = {0};
    if (context_key_parse(&key, data, size, "fuzz", &err) != 0 && (err.code != ERR_INPUT || err.text[0] == '\0'))
        abort();
    if (size < CONTEXT_KEY_LEN)
        return 0;
    memcpy(bytes, data, sizeof bytes);
    if (crypto_sha256(bytes, sizeof bytes - CRYPTO_HASH_LEN, bytes + sizeof bytes - CRYPTO_HASH_LEN, NULL) != 0)
        abort();
    if (context_key_parse(&key, bytes, sizeof bytes, "fuzz", &err) == 0) {
        struct keyset *ks = NULL;
        if (keyset_new(&ks, &key.shape, key.seed, &err) == 0 && key.shape.D <= 4096) {
            struct perm p = {0};
            if (keyset_perm(ks, KEY_RESIDUAL, 0, &p, &err) != 0 || !perm_valid(&p))
                abort();
            perm_wipe(&p);
        }
        keyset_free(ks);
    }
    context_key_wipe(&key);
    return 0;
}
