/* model_dev/grant.h - what a user needs to use a context, and nothing more, in one signed file.
 *
 * Data flow   checkpoint + context key -> folder -> bundle (kind "grant") -> sealed to a user, or over CURVE by serve.
 *             The folder: grant.json, keys.bin (the two end keys), config.json with its labels, the tokenizer's files,
 *             model.safetensors (embedding tables in plain order; the head too when it is the user's,
 *             and the first layers when they are), manifest.json and
 *             manifest.sig of the package, canaries.bin (transport/canary.h).
 * Shapes      tensors as stored in the checkpoint, under the names that packages use.
 *             Profile "engine": no tables, since the engine embeds; and no residual sub-key (zeros). With `rows`, rows.safetensors:
 *             rows [V,D], the package's own embedding table in its secret orders.
 * Units       keys.bin: "STIPEND1", residual sub-key 32, output sub-key 32, SHA-256 of the 72 bytes before.
 * Errors      a key of another package, a package of another checkpoint (names what differs), NaN in a table, disk.
 *             On error neither the file nor the folder is left.
 * Memory      tables stream; tokenizer files are read whole.
 * Secrets     the folder is 0700, its files and the bundle 0600. The seed and the inner keys do not go in.
 */
#ifndef STIP_MODEL_DEV_GRANT_H
#define STIP_MODEL_DEV_GRANT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "model_dev/release.h"
#include "transport/identity.h"

#define GRANT_KIND "grant"
#define GRANT_KEYS_LEN 104

struct grant_source {
    const char *model;            /* folder of the plain checkpoint */
    const struct release *from; /* opened with the identity's signing key */
    const struct identity *identity;
    int64_t expires; /* seconds since 1970; 0: with the package */
    size_t canaries; /* that go in; 0: none */
    bool rows;       /* profile "engine": its users may send rows in place of ids (vLLM's prompt_embeds) */
    const atomic_bool *stop; /* ends the making of canaries of many users (model_dev/offers.h); may be NULL */
};

/* Key, package and checkpoint belong together. */
MUST_CHECK int grant_check(const struct grant_source *src, struct err *err);
/* How many canaries such a grant has: src->canaries, or none where there can be none, which is said in the log. */
MUST_CHECK int grant_canaries(size_t *out, const struct grant_source *src, struct err *err);
/* Fills an empty folder. */
MUST_CHECK int grant_folder(const struct grant_source *src, const char *dir, struct err *err);
/* Writes the bundle to `path`; the folder lives beside it meanwhile. */
MUST_CHECK int grant_make(const struct grant_source *src, const char *path, struct err *err);
/* The same, sealed to one user. */
MUST_CHECK int grant_seal(const struct grant_source *src, const struct peer_key *user, const char *path, struct err *err);

#endif
