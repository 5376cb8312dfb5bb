/* bench/baselines/smpc/ops.h - arithmetic on shared numbers: the floor that the protocols of approx.h stand on.
 *
 * Data flow   ops_input -> local sums, products with one or two messages, comparisons -> ops_output.
 * Shapes      a share is n numbers; a party holds parts * n words of it, one part after the other. Rows are row-major.
 * Units       fixed point with RING_FRACTION bits, unless a function says "bits" (0 or 1 as integers).
 * Errors      sticky in struct party. A twin refuses what fixed point could not hold.
 * Memory      results are the caller's shares (ops_new takes words of the party's arena); z may be x or y where not said otherwise.
 * Secrets     none of its own.
 * Source      additive shares of two: products by Beaver's triples, truncation by each party alone (SecureML, off by one unit, and
 *             wrong with probability |x| / 2^64), comparison by a parallel-prefix adder on shared bits (CrypTen).
 *             Replicated shares of three: Araki et al. 2016; truncation and bits as in ABY3 (Mohassel and Rindal 2018).
 */
#ifndef STIP_BENCH_BASELINES_SMPC_OPS_H
#define STIP_BENCH_BASELINES_SMPC_OPS_H

#include "bench/baselines/smpc/party.h"

struct share {
    uint64_t *v;
    size_t n;
};

struct share ops_new(struct party *p, size_t n);

/* values: n reals at the owner and at a twin, NULL elsewhere. */
void ops_input(struct party *p, struct share z, const float *values, int owner);
/* out: n reals at party `to` and at a twin, else untouched. */
void ops_output(struct party *p, struct share x, double *out, int to);

/* ---------------------------------------------------------------- local */

void ops_zero(struct party *p, struct share z);
void ops_set(struct party *p, struct share z, struct share x);
void ops_add(struct party *p, struct share z, struct share x, struct share y);
void ops_sub(struct party *p, struct share z, struct share x, struct share y);
void ops_add_public(struct party *p, struct share z, struct share x, double c);
void ops_times(struct party *p, struct share z, struct share x, int64_t factor);
/* Of bits: an integer is added; they become 0 or 1 in fixed point. */
void ops_add_bit(struct party *p, struct share z, struct share x, int64_t c);
void ops_real(struct party *p, struct share z, struct share bit);
/* Where keep[i % period] is 0, x becomes the public number. */
void ops_mask(struct party *p, struct share x, const unsigned char *keep, size_t period, double value);
/* z [rows] = sums of x [rows,cols]; z [rows,cols] = r [rows] in every column, or = c [cols] in every row. */
void ops_row_sum(struct party *p, struct share z, struct share x);
void ops_row_spread(struct party *p, struct share z, struct share r);
void ops_col_spread(struct party *p, struct share z, struct share c);
/* z += c [cols] in every row. */
void ops_add_cols(struct party *p, struct share z, struct share c);
/* Blocks: for a < A, b < B, c < C: z[to + a zs[0] + b zs[1] + c zs[2]] = x[from + a xs[0] + b xs[1] + c xs[2]]. */
struct ops_block {
    size_t count[3], to, zs[3], from, xs[3];
};
void ops_move(struct party *p, struct share z, struct share x, const struct ops_block *b);

/* ---------------------------------------------------------------- with messages */

/* z = c x. The constant keeps 16 significant bits however small it is. Local with two parties. */
void ops_scale(struct party *p, struct share z, struct share x, double c);
/* z = c[0] + c[1] x[0] + c[2] x[1] + ..., `count` terms, one truncation; for |c| up to 4. */
void ops_combine(struct party *p, struct share z, const struct share *x, const double *c, int count);
void ops_mul(struct party *p, struct share z, struct share x, struct share y);
void ops_square(struct party *p, struct share z, struct share x);
/* z = bit x, no truncation. */
void ops_mul_bit(struct party *p, struct share z, struct share bit, struct share x);
/* z [B,m,n] = x [B,m,k] y [B,k,n]; z overlaps nothing. */
void ops_matmul(struct party *p, struct share z, struct share x, struct share y, size_t batch, size_t m, size_t k, size_t n);
/* bit = x < 0, bits as integers. */
void ops_negative(struct party *p, struct share bit, struct share x);
/* z = sum over k = 1.. of weight[k-1] sin(2 pi k x / period). Two parties. */
void ops_sines(struct party *p, struct share z, struct share x, double period, const double *weight);

#endif
