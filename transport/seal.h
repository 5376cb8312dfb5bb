/* transport/seal.h - a file that only one party can open, and that cannot be cut or reordered.
 *
 * Data flow   bytes -> seal_writer -> PATH (for `grant --out`); PATH -> seal_reader -> bytes (for `join --grant`).
 * Units       bytes. File: "STIPSEA1", recipient fingerprint[8], ephemeral public key[32], then chunks of up to 1 MiB
 *             + 16-byte tag. Nonce: 3 zero bytes, chunk number u64, 1 for the last chunk else 0.
 * Errors      ERR_AUTH: sealed for another key (says whose), or changed; ERR_INPUT: not a sealed file, truncated.
 * Memory      *_open give (seal_*_free). Buffers with plain bytes are secret memory.
 * Secrets     key = HKDF-SHA256(X25519(ephemeral, recipient), salt = ephemeral_pub recipient_pub, "stip grant seal v1");
 *             the ephemeral key is forgotten, so the sender cannot open it again. The sender is not authenticated by
 *             this: grants carry the developer's signature inside.
 * Source      RFC 7748, RFC 5869, SP 800-38D; chunks as in STREAM (Hoang, Reyhanitabar, Rogaway, Vizar 2015).
 */
#ifndef STIP_TRANSPORT_SEAL_H
#define STIP_TRANSPORT_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "transport/identity.h"

#define SEAL_HEADER_BYTES 48u
#define SEAL_CHUNK 1048576u

struct seal_writer;
/* PATH appears, 0600, on commit. */
MUST_CHECK int seal_writer_open(struct seal_writer **out, const char *path, const struct peer_key *to, struct err *err);
MUST_CHECK int seal_writer_add(struct seal_writer *w, const void *data, size_t n, struct err *err);
MUST_CHECK int seal_writer_commit(struct seal_writer *w, struct err *err);
/* Drops what was not committed. */
void seal_writer_free(struct seal_writer *w);

struct seal_reader;
MUST_CHECK int seal_reader_open(struct seal_reader **out, const char *path, const struct identity *self, struct err *err);
/* The next authenticated chunk, 0 bytes after the last. Bytes are borrowed until the next call. Only a reader that
 * reached the end has seen the whole file. */
MUST_CHECK int seal_reader_next(struct seal_reader *r, const uint8_t **data, size_t *n, struct err *err);
void seal_reader_free(struct seal_reader *r);

/* Whole files; the result appears at out_path, 0600, only when everything was right. */
MUST_CHECK int seal_file(const char *in_path, const char *out_path, const struct peer_key *to, struct err *err);
MUST_CHECK int seal_open_file(const char *in_path, const char *out_path, const struct identity *self, struct err *err);

#endif
