#include "user/jinja_arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#define BLOCK ((size_t)64 << 10)

struct jinja_block {
    struct jinja_block *next;
    size_t size, used;
    alignas(max_align_t) uint8_t bytes[];
};

void *jinja_arena_take(struct jinja_arena *a, size_t n)
{
    const size_t align = alignof(max_align_t);
    if (n > a->limit)
        return NULL;
    n = (n + align - 1) / align * align;
    if (n > a->limit - a->taken)
        return NULL;
    struct jinja_block *b = a->blocks;
    if (b == NULL || b->size - b->used < n) {
        size_t size = n > BLOCK / 4 ? n : BLOCK;
        struct jinja_block *made = calloc(1, sizeof *made + size);
        if (made == NULL)
            return NULL;
        made->size = size;
        if (b != NULL && size == n) { /* a large piece does not end the block that is being filled */
            made->next = b->next;
            b->next = made;
        } else {
            made->next = b;
            a->blocks = made;
        }
        b = made;
    }
    void *at = b->bytes + b->used;
    b->used += n;
    a->taken += n;
    return at;
}

void jinja_arena_free(struct jinja_arena *a)
{
    for (struct jinja_block *b = a->blocks; b != NULL;) {
        struct jinja_block *next = b->next;
        free(b);
        b = next;
    }
    *a = (struct jinja_arena){.limit = a->limit};
}
