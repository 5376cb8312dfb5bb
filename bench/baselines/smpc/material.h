/* bench/baselines/smpc/material.h - correlated randomness of two parties: made by the dealer before it is needed, used once.
 *
 * Data flow   offline: party 0 draws its words from a seed; party 1 draws what may be anything from a seed of its own and gets from
 *             the dealer what is then determined ("fixed" words). Online: material_* gives the next words.
 *             The dealer expands both seeds too, computes the fixed words and sends them in chunks.
 * Shapes      of a request for n: triple a, b, c = a b; square a, c = a^2; and: the same in bits; matrix: a [B,m,k], b [B,k,n], c
 *             [B,m,n]; bit: r in bits and r as a number; sine: t, then sin(2 pi k t), cos(2 pi k t) for k = 1.. in fixed point.
 * Units       words.
 * Errors      sticky in struct party.
 * Memory      words are borrowed until the next phase.
 * Secrets     the dealer knows everything the parties will mask with: it must not collude, which is what these systems assume.
 * Source      Beaver 1991; the sine of SecFormer (arXiv 2401.00793), where the dealer gives sine and cosine of the mask.
 */
#ifndef STIP_BENCH_BASELINES_SMPC_MATERIAL_H
#define STIP_BENCH_BASELINES_SMPC_MATERIAL_H

#include "bench/baselines/smpc/party.h"

#define MATERIAL_SINES 7
#define MATERIAL_PHASE_BITS 32 /* a period of the sine is 2^32 */

struct material {
    const uint64_t *a, *b, *c;
};
struct material material_triple(struct party *p, size_t n);
struct material material_square(struct party *p, size_t n); /* b NULL */
struct material material_and(struct party *p, size_t n);
struct material material_matrix(struct party *p, size_t batch, size_t m, size_t k, size_t n);
struct material material_bit(struct party *p, size_t n);  /* a: bits (lowest bit), c: numbers; b NULL */
struct material material_sine(struct party *p, size_t n); /* a: t; c [2 MATERIAL_SINES][n]: sines, then cosines; b NULL */

/* Before the walk of a phase whose plan is `cost`: expands the seeds and takes what the dealer sends. */
void material_begin(struct party *p, const struct party_cost *cost);
/* The dealer's: waits until party 1 asks for the phase; sends the rest of it. */
void material_deal_begin(struct party *p);
void material_deal_end(struct party *p);

#endif
