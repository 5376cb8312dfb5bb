/* bench/baselines/he/primer.h - Primer: shares, matrix products by BFV on masks, garbled circuits for the rest.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   for each product: the client's mask R sealed -> primer_multiply -> R w' - S, the client's share; online the server adds
 *             (X - R) w' + S in plain. Products of two shared matrices need two such products online, with what the server then knows as w.
 *             Everything else: counted AND gates (bench/baselines/he/garble.h) times the measured price of one. THE CIRCUITS ARE NOT BUILT.
 * Shapes      R [tokens,in], w [out,in], shares [tokens,out]. Tokens first: slot f T + t of a row; both rows hold the same features of R and
 *             different outputs: row 0 of part j outputs 2 j C ..., row 1 those after them; C = N / 2T features in a row.
 * Units       integers modulo t (38 bits); seconds of processor time.
 * Errors      those of the evaluator; ERR_CHECK when a product is not the exact one.
 * Memory      the caller's.
 * Secrets     as bench/baselines/he/ckks.h.
 * Source      arXiv 2303.13679: hybrid protocol with HE before the input is known, tokens-first packing, 15-bit fixed point.
 */
#ifndef STIP_BENCH_BASELINES_HE_PRIMER_H
#define STIP_BENCH_BASELINES_HE_PRIMER_H

#include "bench/baselines/he/bfv.h"
#include "bench/baselines/he/encoder.h"
#include "bench/baselines/he/primer_circuits.h"
#include "bench/baselines/row.h"

#define PRIMER_T_BITS 38   /* products of 15-bit numbers, summed over 3072 */
#define PRIMER_STAGES 6
#define PRIMER_PRODUCTS 8
#define PRIMER_PARTS_MAX 256 /* ciphertexts on one side of a product */

/* w is zero where group o / out_group of the outputs is not group i / in_group of the inputs; 0: dense. */
struct primer_product {
    const char *name;
    int tokens, in, out, in_group, out_group;
    bool online; /* w is known only then */
};

struct primer_detail {
    struct ckks_tally offline, online; /* of all layers */
    double he_offline_s, he_online_s, gates, garble_ns, evaluate_ns, macs, mac_ns;
    bool run; /* the products were done, and were exact; else counted, and priced by one that was done */
};

int primer_products(const struct encoder *m, int T, struct primer_product out[PRIMER_PRODUCTS]);
MUST_CHECK int primer_new(struct bfv **out, int log_n, bool toy, struct err *err);
/* Ciphertexts on both sides of a product. */
int primer_parts(const struct ckks *c, const struct primer_product *p, int *out_parts);
/* Rotations that it needs; how many. */
int primer_steps(const struct ckks *c, const struct primer_product *p, int steps[2]);
/* The client's r, sealed; the server's r w' - mask; opened by the client. sealed, answer: primer_parts, {0}. Numbers NULL in a counted run, seeds
 * (may be NULL): what is sent in place of the second parts. */
void primer_seal(struct ckks_eval *e, const struct bfv *b, const struct primer_product *p, const int64_t *r, struct ckks_cipher *sealed,
                 uint8_t (*seeds)[CRYPTO_KEY_LEN]);
void primer_serve(struct ckks_eval *e, const struct bfv *b, const struct primer_product *p, const struct ckks_cipher *sealed, const int64_t *w,
                  const int64_t *mask, struct ckks_cipher *answer);
void primer_open(struct ckks_eval *e, const struct bfv *b, const struct primer_product *p, const struct ckks_cipher *answer, int64_t *share);
/* All three: share = r w' - mask modulo t. r, w, mask and share NULL in a counted run. */
void primer_multiply(struct ckks_eval *e, const struct bfv *b, const struct primer_product *p, const int64_t *r, const int64_t *w,
                     const int64_t *mask, int64_t *share);
/* The garbled stages of one layer, in order. */
void primer_stages(const struct encoder *m, int T, uint64_t t, struct primer_stage out[PRIMER_STAGES]);
/* AND gates of one layer, counted in the circuits. */
MUST_CHECK int primer_gates(const struct encoder *m, int T, uint64_t t, double *gates, struct err *err);

bool primer_takes(const struct encoder *m, int T);
/* run: do every product with random integers and check it. m without weights: L, D, H, K, F. */
MUST_CHECK int primer_row(struct compare_row *row, const struct encoder *m, const char *shape, int T, bool run, struct primer_detail *detail,
                          struct err *err);

#endif
