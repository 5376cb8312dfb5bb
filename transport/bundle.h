/* transport/bundle.h - a signed set of files in one file: how a grant travels from model_dev to a user.
 *
 * Data flow   folder -> bundle_write -> one file (sealed, or over CURVE) -> bundle_unpack -> folder.
 *             Bytes: magic "STIPBDL1", u32 header length, header JSON {"kind","about",files:[{name,size,sha256}]},
 *             64-byte Ed25519 signature over everything before it, then the files one after the other.
 * Units       bytes; integers little-endian.
 * Errors      every field checked before anything is written: kind, names, sizes, signature, digests. A bundle that
 *             fails leaves no folder behind; an existing folder is replaced only when all is well.
 * Memory      streams; constant.
 * Secrets     a grant holds the end keys: bundle files and unpacked files are mode 0600, folders 0700.
 */
#ifndef STIP_TRANSPORT_BUNDLE_H
#define STIP_TRANSPORT_BUNDLE_H

#include "base/crypto.h"
#include "base/err.h"

/* All plain files of `dir` into `path`. `about` is one line for people and programs (the context id). */
MUST_CHECK int bundle_write(const char *path, const char *dir, const char *kind, const char *about,
                            const uint8_t sign_key[CRYPTO_KEY_LEN], struct err *err);
/* Checks the signature with `sign_pub`, then unpacks into `dir` (made or replaced as a whole). */
MUST_CHECK int bundle_unpack(const char *path, const char *dir, const char *kind, const uint8_t sign_pub[CRYPTO_KEY_LEN],
                             struct err *err);

#endif
