/* user/map64.h - hash map from 64-bit keys to 32-bit values, insert only.
 *
 * Data flow   BPE: pair of ids -> rank of its merge. Tries: node and byte -> next node.
 * Errors      map64_put reports memory; looking up cannot fail.
 * Memory      zero-initialise ({0}); map64_free releases. Finding is safe from several threads.
 * Secrets     none.
 */
#ifndef STIP_USER_MAP64_H
#define STIP_USER_MAP64_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define MAP64_NONE UINT32_MAX /* not a legal value */

struct map64_slot {
    uint64_t key;
    uint32_t value; /* MAP64_NONE: the slot is free */
};

struct map64 {
    struct map64_slot *slots;
    size_t n, cap; /* cap is a power of two, at least twice n */
};

/* A value that is there already is replaced. */
MUST_CHECK int map64_put(struct map64 *m, uint64_t key, uint32_t value, struct err *err);
uint32_t map64_get(const struct map64 *m, uint64_t key); /* MAP64_NONE when absent */
void map64_free(struct map64 *m);

#endif
