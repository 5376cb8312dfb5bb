#include "engine/floats.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/size.h"

#define LINE ((size_t)64)
#define HUGE_PAGE ((size_t)2 << 20)

int floats_alloc(float **out, size_t rows, size_t width, struct err *err)
{
    size_t bytes;
    if (size_mul(rows, width, &bytes) || size_mul(bytes, sizeof **out, &bytes) || size_add(bytes, HUGE_PAGE, &bytes))
        return err_oom(err, SIZE_MAX);
    bytes -= HUGE_PAGE;
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : LINE;
    bytes = (bytes / align + (bytes % align != 0 || bytes == 0)) * align;
    float *p = aligned_alloc(align, bytes);
    if (p == NULL)
        return err_oom(err, bytes);
    if (align == HUGE_PAGE)
        (void)madvise(p, bytes, MADV_HUGEPAGE); /* a hint: without huge pages it is only slower */
    *out = p;
    return 0;
}
