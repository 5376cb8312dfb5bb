/* server/package.h - the installed package, checked and loaded.
 *
 * Data flow   PACKAGE folder -> manifest (signature of an allowed developer, every file's hash) -> checkpoint -> struct net.
 * Units       bytes.
 * Errors      ERR_AUTH: signed by nobody we allow; ERR_CHECK: files differ from the manifest; ERR_INPUT: not a package;
 *             ERR_INTERNAL: memory, said before loading with the numbers.
 * Memory      package_load gives.
 * Secrets     permuted weights.
 */
#ifndef STIP_SERVER_PACKAGE_H
#define STIP_SERVER_PACKAGE_H

#include <stdatomic.h>

#include "base/err.h"
#include "model/manifest.h"
#include "server/core.h"
#include "transport/identity.h"

struct package {
    struct manifest manifest;
    uint8_t *proof; /* manifest.json and its 64-byte signature, as users pull it */
    size_t proof_len;
    uint8_t context[CRYPTO_HASH_LEN];
    struct net *net;
    size_t bytes; /* of its weights in memory */
};

/* Bytes. What does not fit the machine's memory is refused before it is loaded. */
struct package_limits {
    size_t weights; /* of one model, 0 for no limit */
    size_t held;    /* of the weights that stay until the new ones are there */
    size_t others;  /* of everything else that the server may take */
    const atomic_bool *stop; /* ends the load, between two pieces of the weights; may be NULL */
};

MUST_CHECK int package_load(struct package **out, const char *dir, const struct peer_key *developers, size_t n,
                            const struct package_limits *limits, struct err *err);
/* All checks of package_load but those of memory; gives a package without `net`. */
MUST_CHECK int package_examine(struct package **out, const char *dir, const struct peer_key *developers, size_t n, struct err *err);
void package_free(struct package *p);
/* What the core announces and serves. */
struct core_model package_model(const struct package *p, struct kvpool *pool);

#endif
