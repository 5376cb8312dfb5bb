/* engine/floats.h - memory for matrices.
 *
 * Units       elements.
 * Errors      size that overflows, memory.
 * Memory      floats_alloc gives (free()): cache-line aligned, not cleared, large blocks on huge pages where the system has
 *             them (weights are read from front to back for every token, and page walks would cost a tenth of it).
 * Secrets     none of its own.
 */
#ifndef STIP_ENGINE_FLOATS_H
#define STIP_ENGINE_FLOATS_H

#include <stddef.h>

#include "base/err.h"

/* rows * width floats; no elements give a valid pointer too. */
MUST_CHECK int floats_alloc(float **out, size_t rows, size_t width, struct err *err);

#endif
