/* model/manifest.h - what belongs to a package, hashed and signed: manifest.json and manifest.sig.
 *
 * Data flow   model_dev: package folder -> hashes -> manifest.json + Ed25519 signature.
 *             server: signature against the pinned key, then every file; or chunk by chunk while a package arrives.
 *             user: the SHA-256 of manifest.json is the context id that its key names. A context that takes the place of another
 *             names it (`previous`) and has a higher epoch: the chain of a model's contexts.
 * Units       bytes; a chunk is 1 MiB, the last one of a file may be shorter.
 * Errors      parsing names document and field; checking names the file and, where the bytes differ, the chunk. ERR_AUTH for
 *             a wrong signature and for one that has expired, ERR_CHECK for files that are not the signed ones.
 * Memory      build, parse and load fill a struct that owns its strings (manifest_free, fine on a zeroed struct).
 * Secrets     the signing key is borrowed. The manifest itself is public.
 * Source      RFC 8032 (Ed25519), RFC 6234 (SHA-256).
 */
#ifndef STIP_MODEL_MANIFEST_H
#define STIP_MODEL_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/err.h"
#include "model/compute.h"

#define MANIFEST_NAME "manifest.json"
#define MANIFEST_SIG_NAME "manifest.sig"
#define MANIFEST_CHUNK ((size_t)1 << 20)
#define MANIFEST_CAP ((size_t)64 << 20) /* about 1 TB of weights */

struct manifest_file {
    char *name; /* plain file name, sorted, no two alike */
    uint64_t size;
    uint8_t sha256[CRYPTO_HASH_LEN];
    uint8_t *chunks; /* [chunk_count][CRYPTO_HASH_LEN] */
    size_t chunk_count;
};

struct manifest {
    char model[64];   /* architecture */
    char profile[16]; /* "stip", "gauge", or "engine": for engines of others */
    char head[8];     /* "server" or "user" */
    uint32_t local_layers; /* first layers that users run themselves; the package does not have them */
    char dtype[8];    /* of the matrices: "F32", "BF16", "F16", "I8" or "mixed" */
    enum compute compute;
    uint32_t epoch;   /* from 1 */
    char created[32]; /* 2026-11-21T09:30:00Z */
    int64_t expires;  /* seconds since 1970; 0: never */
    bool chained;     /* made in place of another package of the same developer ... */
    uint8_t previous[CRYPTO_HASH_LEN]; /* ... of this context */
    uint8_t signer[CRYPTO_KEY_LEN];
    struct manifest_file *files;
    size_t file_count;
};

/* Hashes every file of a folder into m->files; the other fields are the caller's. Folders and links are refused. */
MUST_CHECK int manifest_build(struct manifest *m, const char *dir, struct err *err);
/* Writes manifest.json and manifest.sig into the folder, m->signer being the public half of sign_key. */
MUST_CHECK int manifest_write(const struct manifest *m, const char *dir, const uint8_t sign_key[CRYPTO_KEY_LEN],
                              uint8_t context_id[CRYPTO_HASH_LEN], struct err *err);

MUST_CHECK int manifest_parse(struct manifest *out, const char *text, size_t len, const char *name, struct err *err);
/* Refuses what is not for a stip-server: profile "engine". */
MUST_CHECK int manifest_for_server(const struct manifest *m, struct err *err);
/* The signature over the exact bytes, by the key that the caller trusts (not the one the manifest names). */
MUST_CHECK int manifest_verify(const char *text, size_t len, const uint8_t sig[CRYPTO_SIG_LEN],
                               const uint8_t signer[CRYPTO_KEY_LEN], struct err *err);
MUST_CHECK int manifest_context_id(const char *text, size_t len, uint8_t out[CRYPTO_HASH_LEN], struct err *err);
/* Reads both files of a package: gives the exact text (free()) and the signature, and parses. */
MUST_CHECK int manifest_load(struct manifest *out, const char *dir, char **text, size_t *len, uint8_t sig[CRYPTO_SIG_LEN],
                             struct err *err);
/* Every file is there and has its size, and nothing else lies in the folder. */
MUST_CHECK int manifest_check_list(const struct manifest *m, const char *dir, struct err *err);
/* Whether these n bytes are chunk number `chunk` of the file; `path` is for the message. */
MUST_CHECK int manifest_check_chunk(const struct manifest_file *f, const char *path, size_t chunk, const void *data, size_t n, struct err *err);
/* The same as manifest_check_list, and every file has its hashes. */
MUST_CHECK int manifest_check_files(const struct manifest *m, const char *dir, struct err *err);
/* ERR_AUTH once the manifest has expired; `what` is how the message calls the package. */
MUST_CHECK int manifest_check_time(const struct manifest *m, int64_t now, const char *what, struct err *err);
uint64_t manifest_bytes(const struct manifest *m);
void manifest_free(struct manifest *m);

#endif
