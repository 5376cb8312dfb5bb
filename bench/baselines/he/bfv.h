/* bench/baselines/he/bfv.h - BFV on the rings, keys and operations of CKKS: exact integers modulo t.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   integers modulo t -> bfv_seal -> ckks_add, ckks_rotate, ckks_mul_encoded with bfv_encode -> bfv_open. A ciphertext of either scheme
 *             is c0 + c1 s = what is hidden; here that is round(Q m / t) + e, so sums, turns and products with plaintexts are the
 *             same operations on the same keys, at the top level only. Products of two ciphertexts are not needed and not there.
 * Shapes      two rows of N/2 slots; ckks_rotate turns both.
 * Units       integers in (-t/2, t/2].
 * Errors      as ckks_new; too small a Q for t is refused by bfv_new, noise that grew too large is not seen.
 * Memory      bfv_free.
 * Secrets     as bench/baselines/he/ckks.h.
 * Source      BFV: ePrint 2012/144; decryption in residues: ePrint 2018/117.
 */
#ifndef STIP_BENCH_BASELINES_HE_BFV_H
#define STIP_BENCH_BASELINES_HE_BFV_H

#include "bench/baselines/he/ckks_eval.h"

struct bfv {
    struct ckks *c;
    struct ring t;
    uint64_t rest;                     /* Q mod t */
    uint64_t inverse[CKKS_PRIMES_MAX]; /* of t modulo each prime */
    uint64_t digit[CKKS_PRIMES_MAX];   /* (Q / q)^-1 modulo each prime q */
    uint32_t *slot;                    /* [N] where the transform modulo t holds each slot */
};

/* All data primes are params->scale_bits and first_bits wide; t is a prime of t_bits. */
MUST_CHECK int bfv_new(struct bfv **out, const struct ckks_params *params, int t_bits, struct err *err);
void bfv_free(struct bfv *b);
/* v [N]. */
MUST_CHECK int bfv_encode(const struct bfv *b, struct ckks_plain *out, const int64_t *v, bool to_encrypt, struct err *err);
MUST_CHECK int bfv_decode(const struct bfv *b, const struct ckks_plain *p, int64_t *v, struct err *err);

/* Counted and timed as ckks_seal and ckks_open; v NULL in a counted run. seed (may be NULL): what is sent in place of the second part. */
void bfv_seal(struct ckks_eval *e, const struct bfv *b, struct ckks_cipher *out, const int64_t *v, uint8_t *seed);
void bfv_open(struct ckks_eval *e, const struct bfv *b, int64_t *v, const struct ckks_cipher *x);
/* out = x v or out += x v. */
void bfv_mul(struct ckks_eval *e, const struct bfv *b, struct ckks_cipher *out, const struct ckks_cipher *x, const int64_t *v, bool add);
/* x -= v. */
void bfv_sub(struct ckks_eval *e, const struct bfv *b, struct ckks_cipher *x, const int64_t *v);

#endif
