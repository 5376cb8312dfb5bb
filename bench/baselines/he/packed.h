/* bench/baselines/he/packed.h - matrices [features][tokens] in ciphertexts, and their products with plain matrices.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   x [T,features] -> packed_seal -> packed_product, packed_turn ... -> packed_open.
 * Shapes      tokens first: slot (f mod C) 2T + t of ciphertext f / C holds feature f of token t, for t < 2T with the tokens twice, so
 *             that turning by r < T slots moves token t + r (mod T) to t for every feature at once, without masks, and turning by 2T
 *             moves whole features. C = slots / 2T features in a ciphertext. After a turn only t < T holds.
 * Units       levels and scales as in bench/baselines/he/ckks_eval.h; results of products are at the context's scale.
 * Errors      sticky in the evaluator. Shapes are asserted.
 * Memory      packed_free. Copies for one product: `baby` per ciphertext of the input.
 * Secrets     none beside the evaluator's.
 * Source      diagonals of a matrix, baby steps and giant steps: Halevi, Shoup (CRYPTO 2014, 2018); tokens first: arXiv 2303.13679.
 */
#ifndef STIP_BENCH_BASELINES_HE_PACKED_H
#define STIP_BENCH_BASELINES_HE_PACKED_H

#include "bench/baselines/he/ckks_eval.h"

#define PACKED_PARTS_MAX 128

struct packed {
    int features, tokens, parts;
    struct ckks_cipher part[PACKED_PARTS_MAX];
};

/* Copies of x turned by 0 .. baby - 1 features. */
struct packed_turns {
    int features, tokens, parts, baby;
    struct ckks_cipher *copy; /* [parts][baby] */
};

int packed_per(const struct ckks *c, int tokens); /* C */
void packed_free(struct packed *x);
/* [slots] of ciphertext `part` from x [T,features]; features past the last are zero. */
void packed_lay(const struct ckks *c, double *slots, const double *x, int features, int tokens, int part);
/* x NULL in a counted run. */
void packed_seal(struct ckks_eval *e, struct packed *out, const double *x, int features, int tokens, int level);
/* Reads t < T. */
void packed_open(struct ckks_eval *e, double *x, const struct packed *p);
/* The client opens x, may take the ReLU, and seals it again at `level`, with the tokens twice. opened [T,features] (may be NULL): what it saw. */
MUST_CHECK int packed_refresh(struct ckks_eval *e, struct packed *x, bool relu, int level, double *opened, struct err *err);

/* Baby steps that are best when `out` ciphertexts are made of x. */
int packed_baby(const struct ckks *c, int tokens, int in, int out);
void packed_turn(struct ckks_eval *e, struct packed_turns *out, const struct packed *x, int baby);
void packed_turns_free(struct packed_turns *x);
/* out = w x + b for w [features of out, features of x], at `level`; out is one below. b NULL: none.
 * In a counted run w and b are not read. */
void packed_product(struct ckks_eval *e, struct packed *out, const struct packed_turns *x, const double *w, const double *b, int features,
                    int level);
/* out = g * x (+ b), the same for every token: g, b [features], b NULL: none. At `level`, out one below. */
void packed_affine(struct ckks_eval *e, struct packed *out, const struct packed *x, const double *g, const double *b, int level);
/* x += y. */
void packed_add(struct ckks_eval *e, struct packed *x, const struct packed *y);

#endif
