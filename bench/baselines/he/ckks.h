/* bench/baselines/he/ckks.h - RNS-CKKS: approximate arithmetic on encrypted vectors of complex numbers.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA: not constant-time, not reviewed; keys and secrets lie in ordinary memory.
 *
 * Data flow   params -> struct ckks (primes, tables) -> ckks_keys -> numbers -> ckks_encode -> ckks_encrypt -> operations
 *             (bench/baselines/he/ckks_eval.h) -> ckks_decrypt -> ckks_decode -> numbers.
 * Shapes      N/2 slots. A plaintext is [level][N] words, a ciphertext [parts][level][N], both as values of the transform.
 * Units       level: number of data primes that are left; scale: what the numbers are multiplied with. bits of primes: log2.
 * Errors      parameters outside the 128-bit table (unless `toy`), too few primes, values that the scale makes too large, memory,
 *             randomness.
 * Memory      *_new and whatever fills a plaintext or ciphertext give (…_free, ckks_wipe_plain, ckks_wipe_cipher).
 * Secrets     struct ckks_keys holds the secret key.
 * Source      CKKS: ePrint 2016/421; in residues: ePrint 2018/931; one special prime for the switching of keys, as in SEAL.
 *             Security: the Homomorphic Encryption Standard's table for ternary secrets and a deviation of 3.2.
 */
#ifndef STIP_BENCH_BASELINES_HE_CKKS_H
#define STIP_BENCH_BASELINES_HE_CKKS_H

#include "base/err.h"
#include "bench/baselines/he/ring.h"

#define CKKS_PRIMES_MAX 24
#define CKKS_KEYS_MAX 256

struct ckks_params {
    int log_n;
    int first_bits;   /* prime that stays to the last: scale and integer part of a result must fit it */
    int scale_bits;   /* every other data prime, and the scale of fresh plaintexts */
    int count;        /* data primes, the first among them */
    int special_bits; /* at least as large as any data prime */
    bool toy;         /* for tests: no security is asked for */
};

struct ckks {
    struct ckks_params params;
    size_t n, slots;
    int count;
    double scale, log_qp; /* log_qp: bits of all primes with the special one */
    struct ring ring[CKKS_PRIMES_MAX + 1];                            /* data primes; the special one is ring[count] */
    uint64_t inverse[CKKS_PRIMES_MAX + 1][CKKS_PRIMES_MAX];           /* of prime i modulo prime j */
    uint64_t inverse_quotient[CKKS_PRIMES_MAX + 1][CKKS_PRIMES_MAX];
    struct ckks_turn { double re, im; } *turn; /* [slots] twiddles of the embedding */
    uint32_t *reversed; /* [N] bits of the index in reverse */
};

struct ckks_plain {
    uint64_t *data;
    int level;
    double scale;
};

struct ckks_cipher {
    uint64_t *data; /* NULL in a counted run: bench/baselines/he/ckks_eval.h */
    int parts, level;
    double scale;
};

/* Largest bits of all primes at 128-bit security; 0 for degrees that the standard's table leaves out. */
int ckks_secure_bits(int log_n);
MUST_CHECK int ckks_new(struct ckks **out, const struct ckks_params *params, struct err *err);
void ckks_free(struct ckks *c);
size_t ckks_cipher_bytes(const struct ckks *c, int parts, int level);
void ckks_wipe_plain(struct ckks_plain *p);
void ckks_wipe_cipher(struct ckks_cipher *x);

/* im NULL: zero. On error *out is untouched. What *out held before is released. */
MUST_CHECK int ckks_encode(const struct ckks *c, struct ckks_plain *out, const double *re, const double *im, int level, double scale,
                           struct err *err);
MUST_CHECK int ckks_decode(const struct ckks *c, const struct ckks_plain *p, double *re, double *im, struct err *err);

/* ------------------------------------------------------------------ keys */

/* For each digit (data prime i of the ciphertext) a pair over all primes: -a s + e + special * target at prime i, and a. */
struct ckks_switch {
    uint64_t element;   /* X -> X^element; 1: the square of the secret */
    uint64_t *data;     /* [count][2][count + 1][N] */
    uint32_t *from;     /* [N] index of the transform that the automorphism takes each value from */
};

struct ckks_keys {
    const struct ckks *c;
    uint64_t *secret;     /* [count + 1][N] */
    uint64_t *public;     /* [2][count][N] */
    struct ckks_switch relin, turn[CKKS_KEYS_MAX];
    int turn_count;
    struct crypto_stream *random;
};

MUST_CHECK int ckks_keys_new(struct ckks_keys **out, const struct ckks *c, struct err *err);
void ckks_keys_free(struct ckks_keys *k);
/* Makes the key that rotates by `step` slots, if it is not there yet. */
MUST_CHECK int ckks_keys_rotation(struct ckks_keys *k, int step, const struct ckks_switch **out, struct err *err);
size_t ckks_keys_bytes(const struct ckks_keys *k); /* of what the server is sent */
size_t ckks_switch_words(const struct ckks *c);
/* What a server holds: no secret, no public key; rotations only, that it is sent as ckks_switch_words words each. */
MUST_CHECK int ckks_keys_of_server(struct ckks_keys **out, const struct ckks *c, struct err *err);
MUST_CHECK int ckks_keys_take(struct ckks_keys *k, int step, const uint64_t *words, struct err *err);

/* By who holds the public key. */
MUST_CHECK int ckks_encrypt(struct ckks_keys *k, struct ckks_cipher *out, const struct ckks_plain *p, struct err *err);
/* By who holds the secret: the second part is drawn from a seed of CRYPTO_KEY_LEN bytes (out, may be NULL), which is sent in its place. */
MUST_CHECK int ckks_encrypt_own(struct ckks_keys *k, struct ckks_cipher *out, const struct ckks_plain *p, uint8_t *seed, struct err *err);
/* Fills the second part of x from the seed. */
MUST_CHECK int ckks_expand(const struct ckks *c, struct ckks_cipher *x, const uint8_t *seed, struct err *err);
MUST_CHECK int ckks_decrypt(const struct ckks_keys *k, struct ckks_plain *out, const struct ckks_cipher *x, struct err *err);

#endif
