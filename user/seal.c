#include "user/seal.h"

#include "base/bf16.h"
#include "permute/gather.h"

struct sealed_rows seal_rows(float *x_p, const float *x, size_t T, const struct perm *residual)
{
    gather_cols(x_p, x, T, residual);
    return (struct sealed_rows){.rows = T, .D = residual->n, .data = x_p};
}

struct sealed_rows seal_rows_bf16(float *x_p, const float *x, size_t T, const struct perm *residual)
{
    gather_cols(x_p, x, T, residual);
    bf16_narrow(x_p, T * residual->n);
    return (struct sealed_rows){.rows = T, .D = residual->n, .data = x_p, .bf16 = true};
}

void unseal_rows(float *y, const float *y_p, size_t n, const struct perm *p)
{
    scatter_cols(y, y_p, n, p);
}
