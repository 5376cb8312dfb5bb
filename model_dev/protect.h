/* model_dev/protect.h - from a plain checkpoint to a package for the server and the developer's key.
 *
 * Data flow   HFDIR -> DIR/package/{config.json, weights, manifest.json, manifest.sig} and DIR/context.key.
 *             The package is a checkpoint of the same architecture in another order, without the embedding tables.
 * Units       bytes, seconds.
 * Errors      everything that checkpoint_open and transform_write refuse; a package that is there already (ERR_USAGE). Nothing is
 *             left behind: all is written to DIR/.protect.tmp and moved into place at the end. What a killed run left there
 *             is removed by the next one. A package of the same developer that is moved aside becomes `previous` in the new
 *             manifest, and the epoch one higher.
 * Memory      constant, whatever the model; for int8 the scales of one weight file, 4 bytes an output.
 * Secrets     draws the seed; context.key is written 0600. The report carries none.
 */
#ifndef STIP_MODEL_DEV_PROTECT_H
#define STIP_MODEL_DEV_PROTECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/err.h"
#include "base/file.h"
#include "model/compute.h"

#define PROTECT_PACKAGE "package"
#define PROTECT_KEY "context.key"

struct protect_opts {
    const char *model, *out; /* folders */
    const char *profile;     /* NULL or "stip"; "gauge": rotated as well; "engine": a checkpoint for engines of others */
    const char *head;        /* NULL or "auto", "server", "user" */
    int local_layers;        /* first layers that go to the users, with their grants, and not to the server */
    const char *dtype;       /* NULL or "keep", "f32", "bf16", "int8" */
    const uint8_t *seed;     /* CRYPTO_KEY_LEN bytes, tests only; NULL draws one */
    const uint8_t *sign_pub, *sign_key; /* the developer's Ed25519 pair */
    uint32_t epoch;          /* 0: one more than that of the package that is replaced, or 1 */
    int64_t expires;         /* seconds since 1970; 0: never */
    int64_t created;         /* seconds since 1970; 0 is now */
    bool force;              /* move an existing package and key aside, to package.N and context.key.N */
};

struct protect_report {
    char package[FILE_PATH_MAX], key[FILE_PATH_MAX];
    char architecture[64], profile[16];
    uint8_t context_id[CRYPTO_HASH_LEN];
    bool head_user, engine;
    int local_layers;
    enum compute compute;
    bool table_exposed; /* the server gets an output table that equals the embedding table: it can label every row */
    uint64_t bytes;     /* of the package's files */
    size_t tensors, files;
    uint32_t epoch;
    int64_t expires;
    bool chained;       /* the manifest names the context that was here before */
    double seconds;
};

/* What a value of `dtype` chooses; false for a name that is none. */
bool protect_compute(const char *dtype, enum compute *out);
MUST_CHECK int protect_checkpoint(const struct protect_opts *opts, struct protect_report *out, struct err *err);

#endif
