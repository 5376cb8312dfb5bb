/* engine/kernels/matmul.h - y = x W^T + b; the one door to BLAS.
 *
 * Data flow   rows of all sequences of a pass -> one product per weight matrix.
 * Shapes      x [rows,in], w [out,in], bias [out] or NULL, y [rows,out]; row-major, no gaps.
 * Units       elements.
 * Errors      none: preconditions are asserted.
 * Memory      caller owns all buffers; y overlaps nothing. BLAS keeps its own packing buffers per thread.
 * Secrets     none of its own.
 *
 * Row i of y depends on row i of x only: a NaN stays in its row, and what other rows share the pass changes rounding at
 * most. Single rows stream the weights once each (sgemv); more than a few go through sgemm, half as fast for one.
 * The same shape and number of threads give the same bits.
 */
#ifndef STIP_ENGINE_KERNELS_MATMUL_H
#define STIP_ENGINE_KERNELS_MATMUL_H

void matmul(float *y, const float *x, const float *w, const float *bias, int rows, int out, int in);
/* Threads that one product may use, for the whole process. */
void matmul_threads(int n);

#endif
