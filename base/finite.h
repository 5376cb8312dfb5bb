/* base/finite.h - whether a block of numbers holds one that is infinite or not a number.
 *
 * Data flow   rows that came from elsewhere, or were computed -> finite_all -> used, or refused.
 * Shapes      v [n].
 * Errors      none: the caller says what it means.
 * Memory      none.
 * Secrets     what it is given; its time does not depend on the values.
 */
#ifndef STIP_BASE_FINITE_H
#define STIP_BASE_FINITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Without leaving early: the compiler makes vectors of it. An exponent of all ones is infinite or not a number. */
static inline bool finite_all(const float *v, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, v + i, sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return bad == 0;
}

#endif
