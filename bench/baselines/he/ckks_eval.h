/* bench/baselines/he/ckks_eval.h - operations on ciphertexts, counted and timed.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   struct ckks_eval with keys: every operation is done, timed and counted at its level. Without keys (a counted run):
 *             the same calls keep parts, level and scale, touch no numbers and count; counts times measured times is the model of
 *             a run that is too large to be done.
 * Shapes      slots [N/2], turned cyclically.
 * Units       microseconds of this thread's processor time; bytes as sent, 8 per coefficient.
 * Errors      sticky: after the first failure operations do nothing; ckks_check gives it. Levels, scales and parts that do not fit
 *             are asserted (scales: within 2^-16 of each other; the difference is an error of that size in the sum).
 * Memory      `out` is released and filled, and may be one of the inputs. Start with {0}; ckks_wipe_cipher at the end.
 * Secrets     keys hold the secret: one process plays client and server here.
 */
#ifndef STIP_BENCH_BASELINES_HE_CKKS_EVAL_H
#define STIP_BENCH_BASELINES_HE_CKKS_EVAL_H

#include "bench/baselines/he/ckks.h"

enum ckks_op {
    CKKS_ENCODE, CKKS_WEIGHT, CKKS_ENCRYPT, CKKS_SEAL, CKKS_DECRYPT, CKKS_DECODE, CKKS_ADD, CKKS_ADD_PLAIN, CKKS_MUL_PLAIN, CKKS_MUL_CONSTANT, CKKS_MUL,
    CKKS_RELIN, CKKS_RESCALE, CKKS_ROTATE, CKKS_OPS
    /* WEIGHT: encoding of what only the server knows, before any input. ENCRYPT: with the public key; SEAL: with the secret one */
};

/* At each level that an operation starts at. */
struct ckks_tally {
    uint64_t count[CKKS_OPS][CKKS_PRIMES_MAX + 1];
    double us[CKKS_OPS][CKKS_PRIMES_MAX + 1];
    uint64_t up, down, messages; /* bytes client to server and back; messages, each of which waits for the one before it */
    double keys_us;              /* rotation keys made on the way */
};

struct ckks_eval {
    const struct ckks *c;
    struct ckks_keys *keys; /* NULL: a counted run */
    struct ckks_tally tally;
    uint64_t *digits;       /* [count + 2][N] */
    ring_wide *sums;        /* [2][N] */
    bool failed;
    struct err first;
};

double ckks_clock(void); /* microseconds that this thread has computed */
const char *ckks_op_name(enum ckks_op op);
MUST_CHECK int ckks_eval_init(struct ckks_eval *e, const struct ckks *c, struct ckks_keys *keys, struct err *err);
void ckks_eval_free(struct ckks_eval *e);
MUST_CHECK int ckks_check(const struct ckks_eval *e, struct err *err);

/* ------------------------------------------------------------------ what the client does */

/* Bytes of a sealed ciphertext as sent: one part and the other one's seed. */
size_t ckks_sealed_bytes(const struct ckks *c, int level);
/* re NULL in a counted run. */
void ckks_seal(struct ckks_eval *e, struct ckks_cipher *out, const double *re, int level);
void ckks_open(struct ckks_eval *e, double *re, const struct ckks_cipher *x);

/* ------------------------------------------------------------------ what the server does */

void ckks_copy(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x);
/* At a's level, which is not above b's. */
void ckks_add(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *a, const struct ckks_cipher *b);
void ckks_sub(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *a, const struct ckks_cipher *b);
/* The plaintext is encoded at x's level and scale. */
void ckks_add_plain(struct ckks_eval *e, struct ckks_cipher *x, const double *re);
void ckks_add_constant(struct ckks_eval *e, struct ckks_cipher *x, double v);
/* out = x re, or out += x re, at `level` of x's primes, with x's scale times `scale`. */
void ckks_mul_plain(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x, const double *re, int level, double scale,
                    bool add);
/* The same with a plaintext that is encoded already; p is not read in a counted run. */
void ckks_mul_encoded(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x, const struct ckks_plain *p, int level, double scale,
                      bool add);
/* out = x v at x's scale times `scale`, rounded to a whole number over it. */
void ckks_mul_constant(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x, double v, double scale);
/* Three parts; out = a b, or out += a b. At the lower of both levels. */
void ckks_mul(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *a, const struct ckks_cipher *b, bool add);
void ckks_relin(struct ckks_eval *e, struct ckks_cipher *x);
/* Divides by the last prime and drops it. */
void ckks_rescale(struct ckks_eval *e, struct ckks_cipher *x);
/* Drops primes without dividing. */
void ckks_lower(struct ckks_eval *e, struct ckks_cipher *x, int level);
/* Slot j of out is slot j + step of x. */
void ckks_rotate(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x, int step);

/* mul, relin, rescale. */
void ckks_times(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *a, const struct ckks_cipher *b);
/* The factor with which a product with a plaintext at `level` comes out at the context's scale after one rescale. */
double ckks_plain_scale(const struct ckks_eval *e, const struct ckks_cipher *x, int level);
/* out = sum of c[k] x^k, k = 0..degree, in as few levels as there are bits in the degree. */
void ckks_poly(struct ckks_eval *e, struct ckks_cipher *out, const struct ckks_cipher *x, const double *c, int degree);

#endif
