/* model_dev/context_key.h - the developer's secret of one context, as a file.
 *
 * Data flow   protect -> DIR/context.key -> grant, rotate, audit.
 *             148 bytes, little-endian: "STIPKEY1", version u32, seed 32, context id 32, D H G K F outputs rotary u32 each,
 *             head on user u32, profile u32, epoch u32, SHA-256 of all that 32.
 * Errors      names the file: truncated, another kind of file, another version, damaged, another context.
 * Memory      fills the caller's struct; context_key_wipe afterwards.
 * Secrets     the seed: whoever has it and the package has the model. The file is 0600 and refused when looser.
 */
#ifndef STIP_MODEL_DEV_CONTEXT_KEY_H
#define STIP_MODEL_DEV_CONTEXT_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/err.h"
#include "permute/keyset.h"

#define CONTEXT_KEY_LEN 148

struct context_key {
    uint8_t seed[CRYPTO_KEY_LEN];
    uint8_t context_id[CRYPTO_HASH_LEN];
    struct key_shape shape;
    bool head_user; /* the output head stays with the users */
    uint32_t epoch;
};

MUST_CHECK int context_key_write(const char *path, const struct context_key *key, struct err *err);
MUST_CHECK int context_key_read(struct context_key *out, const char *path, struct err *err);
/* The same from memory; `name` is how messages call it. */
MUST_CHECK int context_key_parse(struct context_key *out, const uint8_t *data, size_t len, const char *name, struct err *err);
/* ERR_INPUT unless the key belongs to this context. `name` is the key's file, `package` the other side. */
MUST_CHECK int context_key_check(const struct context_key *key, const uint8_t context_id[CRYPTO_HASH_LEN], const char *name,
                                 const char *package, struct err *err);
void context_key_wipe(struct context_key *key);

#endif
