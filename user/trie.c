#include "user/trie.h"

int trie_put(struct trie *t, const char *s, size_t len, uint32_t value, struct err *err)
{
    uint32_t node = TRIE_ROOT;
    for (size_t i = 0; i < len; i++) {
        uint32_t next = trie_step(t, node, s[i]);
        if (next == MAP64_NONE) {
            next = t->nodes + 1;
            if (map64_put(&t->edges, (uint64_t)node << 8 | (uint8_t)s[i], next, err) != 0)
                return -1;
            t->nodes = next;
        }
        node = next;
    }
    return map64_put(&t->values, node, value, err);
}

void trie_free(struct trie *t)
{
    map64_free(&t->edges);
    map64_free(&t->values);
    t->nodes = 0;
}
