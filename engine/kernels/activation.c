#include "engine/kernels/activation.h"

#include <assert.h>

#include "engine/kernels/table.h"

void activate(enum act_kind kind, float *x, size_t n)
{
    kernels_get()->activate(kind, x, n);
}

void activate_exponentials(float *y, const float *x, size_t n, float max, float scale)
{
    kernels_get()->exponentials(y, x, n, max, scale);
}

void activate_gated(enum act_kind kind, float *y, const float *up, int rows, int F)
{
    assert(rows >= 0 && F > 0);
    kernels_get()->activate_gated(kind, y, up, rows, F);
}
