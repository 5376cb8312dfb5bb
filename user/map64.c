#include "user/map64.h"

#include <stdlib.h>

/* Finaliser of MurmurHash3 (public domain, A. Appleby): every key bit reaches every index bit. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xFF51AFD7ED558CCDu;
    x ^= x >> 33;
    x *= 0xC4CEB9FE1A85EC53u;
    return x ^ x >> 33;
}

static struct map64_slot *slot_of(const struct map64 *m, uint64_t key)
{
    size_t i = (size_t)mix(key) & (m->cap - 1);
    while (m->slots[i].value != MAP64_NONE && m->slots[i].key != key)
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

static int grow(struct map64 *m, struct err *err)
{
    struct map64 bigger = {.n = m->n, .cap = m->cap == 0 ? 64 : 2 * m->cap};
    bigger.slots = malloc(bigger.cap * sizeof *bigger.slots);
    if (bigger.slots == NULL)
        return err_oom(err, bigger.cap * sizeof *bigger.slots);
    for (size_t i = 0; i < bigger.cap; i++)
        bigger.slots[i].value = MAP64_NONE;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value != MAP64_NONE)
            *slot_of(&bigger, m->slots[i].key) = m->slots[i];
    free(m->slots);
    *m = bigger;
    return 0;
}

int map64_put(struct map64 *m, uint64_t key, uint32_t value, struct err *err)
{
    if (2 * (m->n + 1) > m->cap && grow(m, err) != 0)
        return -1;
    struct map64_slot *slot = slot_of(m, key);
    m->n += slot->value == MAP64_NONE;
    *slot = (struct map64_slot){.key = key, .value = value};
    return 0;
}

uint32_t map64_get(const struct map64 *m, uint64_t key)
{
    return m->cap == 0 ? MAP64_NONE : slot_of(m, key)->value;
}

void map64_free(struct map64 *m)
{
    free(m->slots);
    *m = (struct map64){0};
}
