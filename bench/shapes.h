/* bench/shapes.h - the named shapes that peers publish figures for.
 *
 * Data flow   name -> architecture and sizes -> tests/support/synth (random weights).
 * Shapes      letters of model/shape.h.
 * Errors      NULL for an unknown name; ERR_USAGE with the known ones where one is needed, disk.
 * Memory      a static table; a temporary folder is removed by shapes_drop_dir.
 * Secrets     none.
 */
#ifndef STIP_BENCH_SHAPES_H
#define STIP_BENCH_SHAPES_H

#include "base/file.h"
#include "tests/support/synth.h"

struct named_shape {
    const char *name, *architecture;
    struct synth_shape shape;
};

const struct named_shape *shapes_find(const char *name);
/* All names, for messages. */
const char *shapes_names(void);
/* A folder in TMPDIR. dir stays empty on an error. */
MUST_CHECK int shapes_temp_dir(char dir[FILE_PATH_MAX], struct err *err);
void shapes_drop_dir(const char *dir); /* no-op for "" */
/* A whole checkpoint: random weights, and the smallest tokenizer that a grant takes. width 0: the shape's own; else the shape is made so wide: heads
 * as wide as they were, F four times the width. */
MUST_CHECK int shapes_checkpoint(const char *name, int width, const char *dir, struct err *err);
/* Only the configuration. */
MUST_CHECK int shapes_config(const char *name, int width, const char *dir, struct err *err);

#endif
