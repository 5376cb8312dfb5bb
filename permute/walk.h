/* permute/walk.h - secret rotations of n numbers, applied in O(n log n).
 *
 * Data flow   sub-key -> ChaCha20 keystream -> rounds of (a random pairing of the n places, a random angle for each pair) ->
 *             struct walk -> rows turned in place.
 *             Fixed for ever, or old keys stop working: the pairing of round r is perm_random of the r-th sub-key of the label
 *             "stip v1 walk"; places 2i and 2i+1 of it are a pair; its angle is 2 pi w / 2^53, w the low 53 bits of the i-th
 *             64-bit word, little-endian, of that round's other sub-key.
 * Shapes      a row of n doubles is multiplied from the right by an orthogonal n x n matrix Q.
 * Errors      memory, derivation.
 * Memory      walk_random gives secret memory; walk_wipe releases it.
 * Secrets     the whole struct.
 * Source      Kac's walk with all pairs at once: after O(log n) rounds a unit vector is spread as if by a uniformly random
 *             rotation. docs/decisions/0013-gauge.md says why not a dense matrix.
 */
#ifndef STIP_PERMUTE_WALK_H
#define STIP_PERMUTE_WALK_H

#include <stdint.h>

#include "permute/perm.h"

struct walk {
    uint32_t n, rounds;
    uint32_t *place;                      /* [rounds][n] secret memory */
    struct walk_angle { double c, s; } *angle; /* [rounds][n/2] secret memory */
};

MUST_CHECK int walk_random(struct walk *out, uint32_t n, const uint8_t key[CRYPTO_KEY_LEN], struct err *err);
void walk_wipe(struct walk *w); /* frees; fine on a zeroed struct */
/* x = x Q */
void walk_turn(const struct walk *w, double *x);
/* x = x Q^T */
void walk_back(const struct walk *w, double *x);

#endif
