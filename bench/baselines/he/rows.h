/* bench/baselines/he/rows.h - what `stip-bench compare` shows of homomorphic encryption for one encoder and one length.
 *
 * Data flow   model folder, token ids -> THE-X, the polynomial transformer and Primer: modelled by counts and this machine's prices, and really
 *             run where the model says that it takes at most so many seconds.
 * Units       as bench/baselines/row.h; tokens are filled up to a power of two.
 * Errors      as bench/baselines/he/systems.h. A length or shape that a system's packing does not take gives no row of it.
 * Memory      fills rows.
 * Secrets     none kept.
 */
#ifndef STIP_BENCH_BASELINES_HE_ROWS_H
#define STIP_BENCH_BASELINES_HE_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "bench/baselines/row.h"
#include "bench/baselines/smpc/runner.h"

#define ROWS_HE_MAX 6

/* program: stip-bench; line: between Primer's parties, which are processes; the other systems have none. dir: a BERT checkpoint. Other architectures give no rows. *n: how many. first [ROWS_HE_MAX][D]: of measured rows of exactly T tokens the first
 * token's hidden row; those rows have labelled 1, for the caller to see whether the label agrees. */
MUST_CHECK int rows_he(struct compare_row rows[ROWS_HE_MAX], size_t *n, float *first, const char *dir, const char *shape, const int32_t *ids,
                       int T, double run_up_to_s, const char *program, const struct runner_line *line, struct err *err);

#endif
