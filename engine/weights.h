/* engine/weights.h - one matrix in memory, packed for the kernels.
 *
 * Data flow   rows of a checkpoint's tensor -> weights_put_* -> panels -> matmul.
 * Shapes      [out,in]. A panel holds WEIGHT_PANEL outputs for all inputs: panel row g is 128 bytes, 32 outputs of 4 bytes each,
 *             and 4 bytes are one float, two bf16 or four int8 of consecutive inputs. Vectors of every width and the tile units of
 *             newer CPUs read this layout as it is, so it does not depend on the machine. Outputs and inputs that are not there
 *             are zero. WEIGHT_ROWS keeps plain rows for BLAS, where no kernel of ours fits the machine.
 * Units       int8: weight = q * scale[output].
 * Errors      weights_new: memory.
 * Memory      weights_new gives. Large matrices lie on huge pages where the system has them.
 * Secrets     holds what it is given; on the server permuted weights only.
 */
#ifndef STIP_ENGINE_WEIGHTS_H
#define STIP_ENGINE_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/compute.h"

#define WEIGHT_PANEL 32

enum weight_format { WEIGHT_ROWS, WEIGHT_F32, WEIGHT_BF16, WEIGHT_INT8 };

struct weights {
    enum weight_format format;
    enum compute compute; /* what happens to the activations: WEIGHT_BF16 serves f32 and bf16 */
    int out, in;
    int groups; /* panel rows: in / inputs per 4 bytes, rounded up */
    void *data;
    float *scale;   /* int8: [out], else NULL */
    int32_t *total; /* int8: [out rounded up to panels], sum of each output's q; for kernels that shift activations to unsigned */
};

/* Format of a matrix that is stored as bf16 (`halves`) or otherwise, on this machine. */
enum weight_format weights_format(enum compute compute, int halves);
/* Values are not set, but for the edges of panels: every output is to be put. */
MUST_CHECK int weights_new(struct weights *out, enum weight_format format, enum compute compute, int rows, int in, struct err *err);
void weights_free(struct weights *w);
/* Bytes that weights_new takes, about. */
size_t weights_bytes(enum weight_format format, size_t out, size_t in);

/* Outputs first..first+n-1 from rows [n,in]. int8 quantises each row. Different outputs may be put by different threads. */
void weights_put_rows(struct weights *w, int first, int n, const float *rows);
/* int8 rows as they are stored, with their scales [n]. */
void weights_put_int8(struct weights *w, int first, int n, const int8_t *rows, const float *scale);

#endif
