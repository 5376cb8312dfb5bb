/* base/size.h - size arithmetic that says when it would overflow.
 *
 * Units       bytes or elements, as the caller means them.
 * Errors      true on overflow, then *out is untouched.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_BASE_SIZE_H
#define STIP_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

MUST_CHECK static inline bool size_add(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return true;
    *out = r;
    return false;
}

MUST_CHECK static inline bool size_mul(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return true;
    *out = r;
    return false;
}

#endif
