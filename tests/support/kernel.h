/* tests/support/kernel.h - the engine's kernels fed from plain arrays.
 *
 * Data flow   arrays -> packed weights or pages -> kernel -> arrays.
 * Shapes      product: x [rows,in], w [out,in], b [out] or NULL, y [rows,out]. attend: q, k, v, y as attention.h, rows without gaps.
 * Errors      the running test fails.
 * Memory      caller owns the arrays.
 * Secrets     none: tests only.
 */
#ifndef STIP_TESTS_SUPPORT_KERNEL_H
#define STIP_TESTS_SUPPORT_KERNEL_H

#include "engine/kernels/attention.h"
#include "engine/kernels/table.h"
#include "engine/net.h"

/* `product` NULL: what matmul() takes; otherwise that kernel, with that format. */
void kernel_product(const struct product *product, enum weight_format format, enum compute compute, float *y, const float *x,
                    const float *w, const float *b, int rows, int out, int in);
/* A linear map; linear_free. */
struct linear kernel_linear(const float *w, const float *b, int out, int in);
/* An element of a float32 matrix. */
float *kernel_element(const struct weights *w, int o, int i);
/* In float32, in the format that this machine takes. */
void kernel_matmul(float *y, const float *x, const float *w, const float *b, int rows, int out, int in);
/* Pages that hold S+T rows of k and v; then attention of the T rows of q, in calls of at most `step` queries. */
void kernel_attend(const struct attention *a, float *y, const float *q, const float *k, const float *v, int S, int T, int step);

#endif
