/* bench/baselines/smpc/job.h - what the parties of one run are told to do, and a party's process.
 *
 * Data flow   job_write -> DIR/job.json -> `stip-bench party` for each party -> greets, runs the passes -> JSON lines on its stdout:
 *             {"event":"listening",...}, then {"event":"end",...}; party 1 writes the outputs to DIR/rows.f32, all rows [D] in order.
 * Shapes      letters of model/shape.h; ids of each text.
 * Units       microseconds, bytes.
 * Errors      job_read: a malformed file. A party that fails says so in its "end", names the other party if that was the cause, and
 *             has that class as exit status.
 * Memory      job_read gives; job_free.
 * Secrets     a measurement's: the job names model and texts to everybody, though only their owners read them.
 */
#ifndef STIP_BENCH_BASELINES_SMPC_JOB_H
#define STIP_BENCH_BASELINES_SMPC_JOB_H

#include "base/file.h"
#include "bench/baselines/smpc/mesh.h"
#include "bench/baselines/smpc/network.h"

#define JOB_ROWS "rows.f32"

struct job {
    const struct network_system *system;
    uint8_t run[MESH_RUN];
    char model[FILE_PATH_MAX];
    int first; /* of a decoder: tokens of the first pass, then one token a pass; 0: each text is one pass */
    int count, most, total; /* texts; tokens of the longest; of all */
    int *lengths;           /* [count] */
    int32_t *ids;           /* [total] */
};
MUST_CHECK int job_write(const struct job *job, const char *dir, struct err *err);
MUST_CHECK int job_read(struct job *out, const char *dir, struct err *err);
void job_free(struct job *job);
/* Most tokens of one pass. */
int job_widest(const struct job *job);

/* Times and bytes of all passes of one kind, of one party. */
struct job_sum {
    int passes;
    uint64_t offline_us, online_us, wait_us, sent, cpu_us;
};
/* Party `index` of the job in dir, at the address `at`; endpoints of the earlier parties, separated by commas, "" for the first. */
MUST_CHECK int job_party(const char *dir, int index, const char *at, const char *endpoints, struct err *err);

#endif
