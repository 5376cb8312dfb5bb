/* transport/identity.h - who a party is: a CURVE (X25519) pair for the wire, an Ed25519 pair for signatures.
 *
 * Data flow   keygen -> DIR/identity.key (secret) + DIR/identity.pub (one line of text for the peers' configs);
 *             configs name a peer as that line or as "@path/to/identity.pub".
 * Units       bytes. Text form: "stip1:" + base64url without padding of curve_pub[32] sign_pub[32].
 * Errors      ERR_INPUT names the file and what is wrong with it (magic, length, checksum, mode, owner).
 * Memory      identity_* gives secret memory (identity_free); peer keys are plain values.
 * Secrets     curve_key and sign_key: only in struct identity and in identity.key (0600).
 * Source      RFC 7748, RFC 8032; libzmq takes the same raw 32-byte X25519 keys.
 */
#ifndef STIP_TRANSPORT_IDENTITY_H
#define STIP_TRANSPORT_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define IDENTITY_KEY_FILE "identity.key"
#define IDENTITY_PUB_FILE "identity.pub"
#define IDENTITY_FILE_BYTES 168u  /* magic[8] curve_pub curve_key sign_pub sign_key sha256[32] */
#define PEER_KEY_TEXT 96          /* text form with its NUL: 6 + 86 + 1 */
#define KEY_START_TEXT 27         /* "stip1:" and 20 characters, with its NUL */
#define FINGERPRINT_TEXT 20       /* "0123-4567-89ab-cdef" with its NUL */

/* What others know of a party. */
struct peer_key {
    uint8_t curve_pub[32], sign_pub[32];
};

struct identity {
    uint8_t curve_pub[32], curve_key[32], sign_pub[32], sign_key[32];
};

MUST_CHECK int identity_generate(struct identity **out, struct err *err);
/* Makes DIR (0700) if needed. Refuses to replace an identity that is there. */
MUST_CHECK int identity_save(const struct identity *id, const char *dir, struct err *err);
MUST_CHECK int identity_load(struct identity **out, const char *dir, struct err *err);
/* The bytes of an identity.key; `name` is what messages call them. */
MUST_CHECK int identity_parse(struct identity **out, const uint8_t *data, size_t len, const char *name, struct err *err);
void identity_free(struct identity *id);
struct peer_key identity_public(const struct identity *id);

/* One key in text form; surrounding white space is skipped. */
MUST_CHECK int peer_key_parse(struct peer_key *out, const char *text, struct err *err);
void peer_key_text(const struct peer_key *key, char out[PEER_KEY_TEXT]);
/* The beginning of the text form, which the CURVE half alone decides: all that a refused handshake shows of a key. */
void peer_key_start(const uint8_t curve_pub[32], char out[KEY_START_TEXT]);
/* Reads an identity.pub file. */
MUST_CHECK int peer_key_load(struct peer_key *out, const char *path, struct err *err);
/* A config value: the text form, or "@path" (relative to `dir`, which may be NULL). */
MUST_CHECK int peer_key_config(struct peer_key *out, const char *value, const char *dir, struct err *err);
bool peer_key_equal(const struct peer_key *a, const struct peer_key *b);
/* First 16 hex digits of SHA-256(curve_pub sign_pub), in groups, for people to compare. */
void peer_key_fingerprint(const struct peer_key *key, char out[FINGERPRINT_TEXT]);

#endif
