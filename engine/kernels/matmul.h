/* engine/kernels/matmul.h - y = x W^T + b for packed weights.
 *
 * Data flow   rows of all sequences of a pass -> packed once -> one pass over the weights, shared by the threads.
 * Shapes      x [rows,in], w [out,in], bias [out] or NULL, y [rows,out]; row-major, no gaps.
 * Units       elements; bytes of work.
 * Errors      none: preconditions are asserted.
 * Memory      caller owns all buffers; y overlaps nothing; `work` holds matmul_work_bytes, 64-byte aligned.
 * Secrets     none of its own.
 * Source      computes per w->compute: f32 sums of f32 products; bf16: x is rounded to bf16 first; int8: x is quantised per row
 *             (model/quant.h), sums are exact integers, so the order of the inputs (a permutation) changes no bit.
 *
 * Row i of y depends on row i of x only, bit for bit: a NaN stays in its row, and neither the rows that share the pass nor the
 * number of threads change it. (WEIGHT_ROWS, where OpenBLAS computes, promises that only up to rounding.)
 */
#ifndef STIP_ENGINE_KERNELS_MATMUL_H
#define STIP_ENGINE_KERNELS_MATMUL_H

#include "engine/weights.h"

size_t matmul_work_bytes(enum weight_format format, enum compute compute, int rows, int in);
void matmul(float *y, const float *x, const struct weights *w, const float *bias, int rows, void *work);

/* The same in two steps, for callers that make rows and pack them at once: each of matmul_parts parts of x by itself, in any order
 * and by any thread (part number i has the rows *first, *first + 1, ...; gives how many), then the product. */
int matmul_parts(const struct weights *w, int rows);
int matmul_part(const struct weights *w, int rows, int part, int *first);
void matmul_pack(const struct weights *w, const float *x, int rows, int part, void *work);
void matmul_multiply(float *y, const float *x, const struct weights *w, const float *bias, int rows, const void *work);

#endif
