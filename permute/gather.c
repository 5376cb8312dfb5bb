#include "permute/gather.h"

#include <assert.h>
#include <string.h>

/* Rows are moved four at a time, so that one load of an index serves four elements. */
#define ROWS 4

void gather_cols(float *dst, const float *src, size_t rows, const struct perm *p)
{
    assert(dst != src || rows == 0);
    const size_t n = p->n;
    const uint32_t *to = p->to;
    size_t t = 0;
    for (; t + ROWS <= rows; t += ROWS) {
        const float *s0 = src + t * n, *s1 = s0 + n, *s2 = s1 + n, *s3 = s2 + n;
        float *d0 = dst + t * n, *d1 = d0 + n, *d2 = d1 + n, *d3 = d2 + n;
        for (size_t j = 0; j < n; j++) {
            uint32_t i = to[j];
            d0[j] = s0[i];
            d1[j] = s1[i];
            d2[j] = s2[i];
            d3[j] = s3[i];
        }
    }
    for (; t < rows; t++)
        for (size_t j = 0; j < n; j++)
            dst[t * n + j] = src[t * n + to[j]];
}

void scatter_cols(float *dst, const float *src, size_t rows, const struct perm *p)
{
    assert(dst != src || rows == 0);
    const size_t n = p->n;
    const uint32_t *to = p->to;
    for (size_t t = 0; t < rows; t++)
        for (size_t j = 0; j < n; j++)
            dst[t * n + to[j]] = src[t * n + j];
}

void gather_row_bytes(void *dst, const void *src, size_t n, size_t size, const struct perm *cols)
{
    assert(size == 2 || size == 4);
    if (cols == NULL) {
        memcpy(dst, src, n * size);
        return;
    }
    assert(cols->n == n);
    uint8_t *d = dst;
    const uint8_t *s = src;
    const uint32_t *to = cols->to;
    /* memcpy of a constant size is one move instruction and, unlike a pointer cast, allows any alignment. */
    if (size == 2)
        for (size_t j = 0; j < n; j++)
            memcpy(d + 2 * j, s + 2 * (size_t)to[j], 2);
    else
        for (size_t j = 0; j < n; j++)
            memcpy(d + 4 * j, s + 4 * (size_t)to[j], 4);
}
