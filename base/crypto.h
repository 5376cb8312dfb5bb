/* base/crypto.h - the one door to OpenSSL: hashes, key derivation, signatures, sealing, randomness.
 *
 * Data flow   bytes -> digest; secret + label -> sub-key; message -> signature; sub-key -> keystream.
 * Units       bytes.
 * Errors      all functions that can fail do so with a reason and leave outputs zeroed.
 * Memory      caller owns all buffers; struct crypto_hash and crypto_stream hold OpenSSL contexts (free them).
 * Secrets     inputs named secret/key; nothing is kept after the *_free.
 * Source      RFC 6234 (SHA-256), RFC 5869 (HKDF), RFC 8032 (Ed25519), RFC 7748 (X25519), RFC 8439 (ChaCha20),
 *             SP 800-38D (AES-GCM), FIPS 197 (AES).
 */
#ifndef STIP_BASE_CRYPTO_H
#define STIP_BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CRYPTO_HASH_LEN 32
#define CRYPTO_KEY_LEN 32
#define CRYPTO_SIG_LEN 64
#define CRYPTO_TAG_LEN 16
#define CRYPTO_BLOCK_LEN 16

/* OpenSSL's CSPRNG. */
MUST_CHECK int crypto_random(void *out, size_t n, struct err *err);

MUST_CHECK int crypto_sha256(const void *data, size_t n, uint8_t out[CRYPTO_HASH_LEN], struct err *err);
struct crypto_hash;
MUST_CHECK int crypto_hash_new(struct crypto_hash **out, struct err *err);
MUST_CHECK int crypto_hash_add(struct crypto_hash *h, const void *data, size_t n, struct err *err);
/* Writes the digest and makes h ready for the next message. */
MUST_CHECK int crypto_hash_end(struct crypto_hash *h, uint8_t out[CRYPTO_HASH_LEN], struct err *err);
void crypto_hash_free(struct crypto_hash *h);

MUST_CHECK int crypto_hkdf(const void *secret, size_t secret_len, const void *salt, size_t salt_len, const char *label,
                           void *out, size_t out_len, struct err *err);

/* Raw 32-byte keys. */
MUST_CHECK int crypto_sign_keypair(uint8_t pub[CRYPTO_KEY_LEN], uint8_t key[CRYPTO_KEY_LEN], struct err *err);
MUST_CHECK int crypto_sign(const uint8_t key[CRYPTO_KEY_LEN], const void *msg, size_t n, uint8_t sig[CRYPTO_SIG_LEN],
                           struct err *err);
/* 0 only for a valid signature (ERR_AUTH otherwise). */
MUST_CHECK int crypto_verify(const uint8_t pub[CRYPTO_KEY_LEN], const void *msg, size_t n,
                             const uint8_t sig[CRYPTO_SIG_LEN], struct err *err);

MUST_CHECK int crypto_x25519_keypair(uint8_t pub[CRYPTO_KEY_LEN], uint8_t key[CRYPTO_KEY_LEN], struct err *err);
MUST_CHECK int crypto_x25519(const uint8_t key[CRYPTO_KEY_LEN], const uint8_t peer[CRYPTO_KEY_LEN],
                             uint8_t shared[CRYPTO_KEY_LEN], struct err *err);

/* AES-256-GCM, one shot; a (key, nonce) pair seals once. `out` of seal holds n + CRYPTO_TAG_LEN bytes; `in` of open
 * has n + CRYPTO_TAG_LEN, `out` n. open: ERR_AUTH when the bytes were changed or the key is another. */
MUST_CHECK int crypto_aead_seal(const uint8_t key[CRYPTO_KEY_LEN], const uint8_t nonce[12], const void *aad,
                                size_t aad_len, const void *in, size_t n, void *out, struct err *err);
MUST_CHECK int crypto_aead_open(const uint8_t key[CRYPTO_KEY_LEN], const uint8_t nonce[12], const void *aad,
                                size_t aad_len, const void *in, size_t n, void *out, struct err *err);

/* ChaCha20 keystream from block 0 with a zero nonce: one stream per key. */
struct crypto_stream;
MUST_CHECK int crypto_stream_new(struct crypto_stream **out, const uint8_t key[CRYPTO_KEY_LEN], struct err *err);
MUST_CHECK int crypto_stream_read(struct crypto_stream *s, void *out, size_t n, struct err *err);
void crypto_stream_free(struct crypto_stream *s);

/* AES-128 of whole blocks, each by itself: a fixed-key permutation, as garbled circuits use it. No mode: never for messages. */
struct crypto_blocks;
MUST_CHECK int crypto_blocks_new(struct crypto_blocks **out, const uint8_t key[CRYPTO_BLOCK_LEN], struct err *err);
MUST_CHECK int crypto_blocks_apply(struct crypto_blocks *b, const void *in, void *out, size_t blocks, struct err *err);
void crypto_blocks_free(struct crypto_blocks *b);

void crypto_hex(const void *data, size_t n, char *out); /* out holds 2n + 1 */
bool crypto_unhex(const char *text, void *out, size_t n); /* exactly 2n hex digits */
size_t crypto_base64(const void *data, size_t n, char *out); /* out holds 4 * ((n + 2) / 3) + 1; returns the length */
bool crypto_unbase64(const char *text, void *out, size_t n); /* text must decode to exactly n bytes */

#endif
