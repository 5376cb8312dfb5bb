/* engine/kernels/levels.h - the tables that level.c makes, one per vector level of the build.
 *
 * Data flow   level.c -> choose.c.
 * Errors      none.
 * Memory      static.
 * Secrets     none.
 */
#ifndef STIP_ENGINE_KERNELS_LEVELS_H
#define STIP_ENGINE_KERNELS_LEVELS_H

#include "engine/kernels/table.h"

extern const struct kernels level_portable, level_avx2, level_avx512;

#endif
