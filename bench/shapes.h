/* bench/shapes.h - the named shapes that peers publish figures for.
 *
 * Data flow   name -> architecture and sizes -> tests/support/synth (random weights).
 * Shapes      letters of model/shape.h.
 * Errors      none: NULL for an unknown name.
 * Memory      a static table.
 * Secrets     none.
 */
#ifndef STIP_BENCH_SHAPES_H
#define STIP_BENCH_SHAPES_H

#include "tests/support/synth.h"

struct named_shape {
    const char *name, *architecture;
    struct synth_shape shape;
};

const struct named_shape *shapes_find(const char *name);
/* All names, for messages. */
const char *shapes_names(void);

#endif
