/* server/fnv.h - a hash for tables that are searched by the bytes of a key.
 *
 * Data flow   bytes of an id -> fnv1a -> bucket.
 * Units       bytes.
 * Errors      none. Not a cryptographic hash: a peer can make its own ids collide and slows its own look-ups only by what
 *             its limits let it open.
 * Memory      none.
 * Secrets     none.
 * Source      Fowler, Noll, Vo: FNV-1a, 32 bits.
 */
#ifndef STIP_SERVER_FNV_H
#define STIP_SERVER_FNV_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t fnv1a(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 16777619u;
    return h;
}

#endif
