/* base/bf16.h - bfloat16: the upper half of a float32.
 *
 * Data flow   f32 -> bf16_from_f32 -> files and wire -> bf16_to_f32 -> f32.
 * Errors      none. Rounds to nearest, ties to even; what is larger than the largest bfloat16 becomes infinite; a NaN stays one.
 * Memory      no allocation.
 * Secrets     none of its own.
 */
#ifndef STIP_BASE_BF16_H
#define STIP_BASE_BF16_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/le.h"

static inline uint16_t bf16_from_f32(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if ((bits & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static inline float bf16_to_f32(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* In place: the n floats become n bfloat16 in the first half of their memory, little-endian. */
static inline void bf16_narrow(float *v, size_t n)
{
    uint8_t *narrow = (uint8_t *)v;
    for (size_t i = 0; i < n; i++)
        le_put16(narrow + 2 * i, bf16_from_f32(v[i])); /* float i is read before the two bytes at 2i are written */
}

#endif
