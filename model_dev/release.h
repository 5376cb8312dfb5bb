/* model_dev/release.h - what `protect` left in a folder: the package, its manifest, and the developer's key of it.
 *
 * Data flow   DIR/package -> manifest and signature checked -> inspect, push; DIR/context.key -> grant.
 * Units       bytes.
 * Errors      no package there, a manifest that another identity signed (ERR_AUTH), a key of another package.
 * Memory      release_open fills a struct that owns its strings (release_close, fine on a zeroed struct).
 * Secrets     release_key fills the caller's secret memory; nothing else here is secret.
 */
#ifndef STIP_MODEL_DEV_RELEASE_H
#define STIP_MODEL_DEV_RELEASE_H

#include "base/file.h"
#include "model/manifest.h"
#include "model_dev/context_key.h"

struct release {
    char dir[FILE_PATH_MAX], package[FILE_PATH_MAX], key[FILE_PATH_MAX];
    struct manifest manifest;
    char *text; /* manifest.json, byte for byte */
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    uint8_t context[CRYPTO_HASH_LEN];
};

/* signer NULL: the key that the manifest itself names, which proves that the package is whole, not whose it is. */
MUST_CHECK int release_open(struct release *out, const char *dir, const uint8_t *signer, struct err *err);
MUST_CHECK int release_key(const struct release *p, struct context_key *out, struct err *err);
void release_close(struct release *p);

#endif
