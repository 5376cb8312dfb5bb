/* model_dev/transform.h - one tensor, from plain order to permuted order, in constant memory.
 *
 * Data flow   mapped rows -> gather rows and columns block by block -> safetensors_out.
 * Shapes      any tensor of rank 1 or 2 and any size; W'[i][j] = W[rows.to[i]][cols.to[j]] over the axes as stored.
 * Units       int8: model/quant.h, each output by its own scale. A scale belongs to a set of values, so that quantising and
 *             permuting can be done in either order.
 * Errors      NaN and infinity (tensor named), a value that a smaller dtype cannot hold, writing.
 * Memory      at most about 48 MB of buffers and WINDOW bytes of mapped pages, whatever the tensor.
 * Secrets     plain rows pass through; permutations are borrowed.
 */
#ifndef STIP_MODEL_DEV_TRANSFORM_H
#define STIP_MODEL_DEV_TRANSFORM_H

#include <stdbool.h>

#include "base/err.h"
#include "base/progress.h"
#include "model/safetensors.h"
#include "permute/perm.h"

struct transform {
    const struct tensor *src;
    bool conv1d;                 /* stored [in,out] */
    enum dtype dtype;            /* of the result; the stored one moves bytes and converts nothing */
    const float *scale;          /* I8: of each output, in plain order (transform_scales) */
    const struct perm *out, *in; /* n == 0 or NULL: this axis keeps its order */
};

/* Scales of a matrix's outputs for int8, in plain order: [out] (free()). Adds the bytes read to *done and shows them. */
MUST_CHECK int transform_scales(float **out, const struct transform *t, struct progress *progress, uint64_t *done,
                                struct err *err);
/* Writes the permuted tensor as the next one of `dst`. Adds the bytes read to *done and shows them. */
MUST_CHECK int transform_write(const struct transform *t, struct safetensors_out *dst, struct progress *progress,
                               uint64_t *done, struct err *err);

#endif
