/* permute/perm.h - secret permutations.
 *
 * Data flow   sub-key -> ChaCha20 keystream -> unbiased Fisher-Yates -> struct perm -> gather.
 *             Fixed for ever, or old keys stop working: words are 32 bits little-endian; for i = n-1 ... 1 one word below
 *             2^32 - 2^32 mod (i+1) is taken modulo i+1 (larger words are skipped) and swaps with place i.
 * Shapes      to[j] is the plain index that stands at permuted place j: x_p[j] = x[to[j]].
 * Errors      randomness and memory; on error nothing is given.
 * Memory      perm_random, perm_identity and perm_inverse give secret memory; perm_wipe releases it.
 * Secrets     the whole struct.
 * Source      ePrint 2023/1763; Fisher-Yates with rejection so that every permutation is equally likely.
 */
#ifndef STIP_PERMUTE_PERM_H
#define STIP_PERMUTE_PERM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/err.h"

struct perm {
    uint32_t n;
    uint32_t *to; /* secret memory */
};

/* A uniformly random permutation of n elements, drawn from the keystream of `key`. */
MUST_CHECK int perm_random(struct perm *out, uint32_t n, const uint8_t key[CRYPTO_KEY_LEN], struct err *err);
MUST_CHECK int perm_identity(struct perm *out, uint32_t n, struct err *err);
MUST_CHECK int perm_inverse(struct perm *out, const struct perm *p, struct err *err);
void perm_wipe(struct perm *p); /* frees; fine on a zeroed struct */
/* True if every index stands exactly once (also false when out of memory). */
bool perm_valid(const struct perm *p);

#endif
