/* user/trie.h - byte trie: which of many strings are prefixes of a text.
 *
 * Data flow   added tokens and Unigram pieces -> trie -> walk over the prompt.
 * Units       bytes; values are token ids.
 * Errors      trie_put reports memory; walking cannot fail.
 * Memory      zero-initialise ({0}); trie_free releases. Walking is safe from several threads.
 * Secrets     walks over prompts; keeps nothing.
 */
#ifndef STIP_USER_TRIE_H
#define STIP_USER_TRIE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "user/map64.h"

#define TRIE_ROOT 0u

struct trie {
    struct map64 edges;  /* node << 8 | byte -> node */
    struct map64 values; /* node -> value */
    uint32_t nodes;      /* besides the root */
};

/* A string that is there already takes the new value. */
MUST_CHECK int trie_put(struct trie *t, const char *s, size_t len, uint32_t value, struct err *err);
/* MAP64_NONE when no string goes on with this byte. */
static inline uint32_t trie_step(const struct trie *t, uint32_t node, char byte)
{
    return map64_get(&t->edges, (uint64_t)node << 8 | (uint8_t)byte);
}
/* Value of the string that ends at this node, MAP64_NONE if none does. */
static inline uint32_t trie_value(const struct trie *t, uint32_t node)
{
    return map64_get(&t->values, node);
}
void trie_free(struct trie *t);

#endif
