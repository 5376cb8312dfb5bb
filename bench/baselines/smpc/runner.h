/* bench/baselines/smpc/runner.h - one system, measured: its parties as processes, watched until all have ended.
 *
 * Data flow   job -> twin (its own formulas, and whether they stay in range) -> memory it will take -> processes over ZeroMQ on
 *             loopback -> times, bytes, outputs.
 * Shapes      rows [job->total, D].
 * Units       seconds, bytes.
 * Errors      the party's own words with its number; one that died, with its exit status; ERR_USAGE for what does not fit in memory,
 *             with the bytes; ERR_CHECK from a twin that leaves the range, and for outputs too far from the twin's.
 * Memory      runner_twin and runner_run give rows (free()).
 * Secrets     none.
 */
#ifndef STIP_BENCH_BASELINES_SMPC_RUNNER_H
#define STIP_BENCH_BASELINES_SMPC_RUNNER_H

#include "bench/baselines/smpc/job.h"
#include "bench/tunnel.h"

struct runner_cost {
    int passes;
    double offline_s, online_s, wait_s; /* of one pass: the slowest party, the mean over the passes */
    double cpu_s;                       /* of online_s: processor time of the busiest party */
    double bytes, path_bytes, rounds, offline_bytes;
};
struct runner_result {
    struct runner_cost first, steps; /* as struct job */
    float *rows;
};

/* Outputs of the protocol's formulas in double. wraps: how many truncations are expected to go wrong. */
MUST_CHECK int runner_twin(const struct job *job, float **rows, double *wraps, struct err *err);
/* Refuses what all parties together would need more memory for than this machine has. */
MUST_CHECK int runner_fits(const struct job *job, struct err *err);
/* Bytes and rounds of one pass, without running anything. */
MUST_CHECK int runner_plan(const struct job *job, struct runner_result *out, struct err *err);
/* A line between each two parties (the dealer's are not slowed): all zero, loopback. */
struct runner_line {
    double rtt_ms, rate_mbit;
    struct tunnel *tunnel; /* borrowed: every party at an end of its own, where the line is that already; NULL: relays */
};
/* Of a tunnel: the line is now between the first so many ends. */
void runner_line_set(const struct runner_line *line, int ends);
/* program: stip-bench, which is the relay of a slow line too. */
MUST_CHECK int runner_run(const struct job *job, const char *program, const struct runner_line *line, struct runner_result *out, struct err *err);

#endif
