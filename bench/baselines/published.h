/* bench/baselines/published.h - what other systems' authors say of them, with the source beside each figure.
 *
 * Data flow   a table -> struct compare_row.
 * Units       as row.h; what is no time or size of one inference stands in the note.
 * Errors      none: NULL after the last.
 * Memory      static.
 * Secrets     none.
 */
#ifndef STIP_BENCH_BASELINES_PUBLISHED_H
#define STIP_BENCH_BASELINES_PUBLISHED_H

#include <stddef.h>

#include "bench/baselines/row.h"

const struct compare_row *published_row(size_t i);

#endif
