#include "engine/kernels/norm.h"

#include <assert.h>

#include "engine/kernels/table.h"

void norm_rms(float *y, const float *x, const float *w, double eps, int rows, int D)
{
    assert(rows >= 0 && D > 0);
    kernels_get()->norm_rms(y, x, w, eps, rows, D);
}

void norm_layer(float *y, const float *x, const float *w, const float *b, double eps, int rows, int D)
{
    assert(rows >= 0 && D > 0);
    kernels_get()->norm_layer(y, x, w, b, eps, rows, D);
}
