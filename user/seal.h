/* user/seal.h - the only door through which rows leave, and the way back.
 *
 * Data flow   x [T,D] -> seal_rows -> struct sealed_rows -> wire; wire -> unseal_rows -> logits or hidden rows.
 * Shapes      row-major f32; the permutation has as many elements as a row.
 * Errors      none.
 * Memory      the caller owns all buffers; the sealed rows borrow x_p.
 * Secrets     reads x and the end keys. x_p may leave the process, x may not: transport takes sealed rows only.
 * Source      ePrint 2023/1763: x pi goes up, y undone by pi (hidden rows) or pi_c (logits).
 */
#ifndef STIP_USER_SEAL_H
#define STIP_USER_SEAL_H

#include "permute/perm.h"
#include "transport/sealed.h"

/* x [T,D] -> x_p [T,D]. */
struct sealed_rows seal_rows(float *x_p, const float *x, size_t T, const struct perm *residual);
/* The same rounded to bfloat16, in the first half of x_p. */
struct sealed_rows seal_rows_bf16(float *x_p, const float *x, size_t T, const struct perm *residual);
/* y_p [n, p->n] -> y. */
void unseal_rows(float *y, const float *y_p, size_t n, const struct perm *p);

#endif
