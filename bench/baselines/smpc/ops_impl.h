/* bench/baselines/smpc/ops_impl.h - the steps with messages, for additive shares of two and for replicated shares of three.
 *
 * Data flow   ops.c chooses by the number of parties; a walk of PARTY_PLAN and PARTY_DEAL goes through the same functions.
 * Shapes      as ops.h.
 * Errors      sticky in struct party.
 * Memory      scratch words of the party's arena, released before return.
 * Secrets     none of its own.
 */
#ifndef STIP_BENCH_BASELINES_SMPC_OPS_IMPL_H
#define STIP_BENCH_BASELINES_SMPC_OPS_IMPL_H

#include "bench/baselines/smpc/ops.h"

/* shift: how many bits the product is truncated by, 0 for none. */
void two_mul(struct party *p, struct share z, struct share x, struct share y, int shift);
void two_square(struct party *p, struct share z, struct share x);
void two_matmul(struct party *p, struct share z, struct share x, struct share y, size_t batch, size_t m, size_t k, size_t n);
void two_truncate(struct party *p, struct share z, int shift);
void two_sines(struct party *p, struct share z, struct share phase, const double *weight);
/* Bits: all 64 of each word, shared by exclusive or. */
void two_bits(struct party *p, struct share sum, struct share both, struct share x); /* exclusive or, and, of the addends of x */
void two_and(struct party *p, struct share z, struct share x, struct share y);
void two_number(struct party *p, struct share z, struct share bit);                  /* lowest bits -> 0 or 1 as integers */

void three_input(struct party *p, struct share z, const uint64_t *values, int owner);
void three_mul(struct party *p, struct share z, struct share x, struct share y, int shift);
void three_matmul(struct party *p, struct share z, struct share x, struct share y, size_t batch, size_t m, size_t k, size_t n);
void three_truncate(struct party *p, struct share z, int shift);
void three_bits(struct party *p, struct share sum, struct share both, struct share x);
void three_and(struct party *p, struct share z, struct share x, struct share y);
void three_number(struct party *p, struct share z, struct share bit);

#endif
