/* model/dtype.h - element types of stored tensors and their way to float32.
 *
 * Data flow   safetensors bytes -> float32 -> kernels.
 * Shapes      flat arrays of n elements, any alignment.
 * Errors      names only; conversion cannot fail.
 * Memory      caller owns both buffers.
 * Secrets     none of its own.
 */
#ifndef STIP_MODEL_DTYPE_H
#define STIP_MODEL_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64, DTYPE_I64, DTYPE_I32, DTYPE_I16, DTYPE_I8, DTYPE_U8, DTYPE_BOOL };

size_t dtype_size(enum dtype t);
const char *dtype_name(enum dtype t); /* as safetensors spells it: "F32" */
bool dtype_parse(const char *name, enum dtype *out);
bool dtype_is_float(enum dtype t); /* F32, BF16, F16: what weights may be */

/* F32, BF16, F16 only (asserted). */
void dtype_to_f32(enum dtype t, const void *src, float *dst, size_t n);
/* Rounds to nearest even. */
void dtype_from_f32(enum dtype t, const float *src, void *dst, size_t n);
/* Index of the first element that is NaN or infinite, or n. */
size_t dtype_first_nonfinite(enum dtype t, const void *src, size_t n);

#endif
