/* permute/gather.h - move matrix columns and rows by a secret permutation.
 *
 * Data flow   user: x [T,D] -> gather_cols -> x_p -> wire; logits_p -> scatter_cols -> logits.
 *             model_dev: stored rows and columns of any element size -> package.
 * Shapes      row-major, leading dimension == number of columns.
 * Units       counts are elements.
 * Errors      none: no allocation; preconditions are asserted.
 * Memory      caller owns both buffers; dst and src must not overlap.
 * Secrets     reads p.  dst may leave the process, src and p may not.
 * Source      ePrint 2023/1763; index convention in permute/perm.h.
 */
#ifndef STIP_PERMUTE_GATHER_H
#define STIP_PERMUTE_GATHER_H

#include <stddef.h>
#include <stdint.h>

#include "permute/perm.h"

/* dst[t][j] = src[t][p.to[j]] */
void gather_cols(float *dst, const float *src, size_t rows, const struct perm *p);
/* dst[t][p.to[j]] = src[t][j]: undoes gather_cols. */
void scatter_cols(float *dst, const float *src, size_t rows, const struct perm *p);
/* One stored row of `cols.n` elements of `size` bytes (2 or 4): dst[j] = src[to[j]]. NULL cols copies. */
void gather_row_bytes(void *dst, const void *src, size_t n, size_t size, const struct perm *cols);

#endif
