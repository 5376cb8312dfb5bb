/* bench/baselines/compare.h - one comparison: systems, what they are to compute, and the rows that come of it.
 *
 * Data flow   the caller fills entries, job, line -> compare_plan (counts), or compare_measure (runs all systems in turn) and compare_rows ->
 *             c->row, which compare_drop_job leaves alone, so that another job can follow.
 * Shapes      letters of model/shape.h; texts as struct job has them.
 * Units       seconds, bytes.
 * Errors      those of the systems, with their names; ERR_INTERNAL "interrupted". A system whose numbers would leave its range has a row that
 *             says so, and sets c->bad.
 * Memory      the caller's, zeroed; compare_drop_job releases what a job made. At most COMPARE_ROWS rows are kept.
 * Secrets     a bench may hold all sides.
 */
#ifndef STIP_BENCH_BASELINES_COMPARE_H
#define STIP_BENCH_BASELINES_COMPARE_H

#include "bench/baselines/ours.h"
#include "bench/baselines/row.h"

#define COMPARE_SYSTEMS 8
#define COMPARE_REPEATS 101
#define COMPARE_ROWS 128

enum compare_kind { COMPARE_PLAIN, COMPARE_STIP, COMPARE_SHARED };

struct compare_entry {
    enum compare_kind kind;
    const char *name;
    const struct network_system *system; /* COMPARE_SHARED */
    const char *tuned;                   /* COMPARE_SHARED: a checkpoint tuned for its functions, NULL: the same weights as the others */
    struct job job;                      /* borrows its texts */
    struct runner_result last;
    double offline[2][COMPARE_REPEATS], online[2][COMPARE_REPEATS], wait[2][COMPARE_REPEATS]; /* first passes, steps */
    float *twin;
    double wraps;
    char broken[192]; /* why it cannot run on this model: its numbers would not fit */
};

struct compare {
    struct compare_entry entry[COMPARE_SYSTEMS];
    int count, repeats, threads, done;
    struct job job;
    struct ours_plain plain;
    struct ours_stip *stip;
    float *reference;
    const char *shape, *network; /* shape: or the model's name */
    const char *line_kind;       /* "netns", "relay"; NULL: loopback */
    struct runner_line line;
    char program[FILE_PATH_MAX];
    struct compare_row row[COMPARE_ROWS];
    size_t rows;
    double he_s; /* HE systems that the model says take at most so long are run, others only modelled; below 0: no such rows */
    bool talk;   /* says on stderr what has run */
    bool bad;
};

/* What each secret-sharing system would send, without running it. */
MUST_CHECK int compare_plan(struct compare *c, struct err *err);
/* All systems in turn, c->repeats times. */
MUST_CHECK int compare_measure(struct compare *c, struct err *err);
/* A row of each; of one that takes more tokens after a first pass, two. */
MUST_CHECK int compare_rows(struct compare *c, struct err *err);
/* Of homomorphic encryption, after compare_measure. */
MUST_CHECK int compare_he_rows(struct compare *c, struct err *err);
void compare_put_row(struct compare *c, const struct compare_row *row);
void compare_drop_job(struct compare *c);

#endif
