/* bench/baselines/ours.h - plain inference, and ours through its three roles, for the same rows of the comparison.
 *
 * Data flow   ids -> plain engine, or user -> server -> user over the real, encrypted wire -> final hidden rows, head at home.
 * Shapes      letters of model/shape.h; texts as struct job has them; rows [job->total, D].
 * Units       seconds, bytes.
 * Errors      those of the engine and of the roles.
 * Memory      ours_* give; rows are the caller's, [job->total, D].
 * Secrets     a bench may hold all sides.
 */
#ifndef STIP_BENCH_BASELINES_OURS_H
#define STIP_BENCH_BASELINES_OURS_H

#include "bench/baselines/smpc/runner.h"
#include "tests/support/plain.h"

/* One thread pool of this process serves plain inference; the server's has as many threads. */
struct ours_plain {
    struct plain plain;
    struct head *head; /* of a classifier, else NULL */
};
MUST_CHECK int ours_plain_open(struct ours_plain *out, const struct job *job, struct err *err);
void ours_plain_close(struct ours_plain *o);
MUST_CHECK int ours_plain_run(struct ours_plain *o, const struct job *job, struct runner_result *out, struct err *err);
/* Label of a text whose first row is given. */
MUST_CHECK int ours_label(const struct ours_plain *o, const float *row, int *out, struct err *err);

struct ours_stip;
/* line: borrowed. */
MUST_CHECK int ours_stip_open(struct ours_stip **out, const struct job *job, int threads, const struct runner_line *line, struct err *err);
void ours_stip_close(struct ours_stip *o);
MUST_CHECK int ours_stip_run(struct ours_stip *o, const struct job *job, struct runner_result *out, struct err *err);

#endif
