/* bench/baselines/he/primer_run.h - Primer, measured: client and server as processes over ZeroMQ on loopback, or over a slow line.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   token ids -> embedded rows -> a file -> the client's process, which writes the hidden rows there; the server's reads the model.
 * Shapes      hidden [T,D].
 * Units       seconds, bytes of both parties.
 * Errors      a party's own words with its name; one that died, with its exit status; a twin that leaves its range.
 * Memory      the caller's.
 * Secrets     none kept; the rows' file is removed.
 */
#ifndef STIP_BENCH_BASELINES_HE_PRIMER_RUN_H
#define STIP_BENCH_BASELINES_HE_PRIMER_RUN_H

#include "bench/baselines/he/primer_party.h"
#include "bench/baselines/smpc/runner.h"

/* program: stip-bench. line (may be NULL: loopback): between the two. dir: the model of cp. */
MUST_CHECK int primer_measure(struct compare_row *row, const struct checkpoint *cp, const char *dir, const char *shape, const int32_t *ids, int T,
                              const char *program, const struct runner_line *line, double *hidden, struct err *err);
/* One of the processes; says how it went in JSON lines. endpoint NULL: the server, which listens at the address `at`. */
MUST_CHECK int primer_process(const char *dir, const char *rows, int T, const char *at, const char *endpoint, struct err *err);

#endif
