/* bench/baselines/row.h - one row of `stip-bench compare`: what one system costs for one inference of one shape.
 *
 * Data flow   a system's runner (bench/private.c, bench/baselines/smpc, bench/baselines/he), a model of its operations, or a
 *             paper -> struct compare_row -> table, JSON, figure (bench/baselines/table.h).
 * Units       seconds of wall time of one inference; bytes of all parties together, both directions; rounds: times at which a party
 *             has to wait for another's message before it can go on.
 * Errors      none: a plain value. What is not known is NaN (numbers), and labelled 0.
 * Memory      strings are the row's own, cut when too long.
 * Secrets     none.
 */
#ifndef STIP_BENCH_BASELINES_ROW_H
#define STIP_BENCH_BASELINES_ROW_H

#include <math.h>
#include <stdint.h>

/* measured: it ran here, in this run. modelled: counted operations times measured primitive times; `note` has the counts.
 * published: a figure of its authors on their machine; `source` says where. */
enum compare_how { COMPARE_MEASURED, COMPARE_MODELLED, COMPARE_PUBLISHED };

struct compare_row {
    char system[32]; /* "stip", "crypten", "the-x", ... */
    char shape[48];  /* "bert-tiny, 128 tokens" */
    char link[16];   /* online_s was measured over this line (bench/baselines/table.h); "": loopback */
    enum compare_how how;
    double offline_s;      /* work that needs no input: triples, keys, encoded weights; NaN: none, or not known */
    double online_s;       /* from the input's tokens to the opened output, over loopback; NaN: not known */
    double offline_bytes;  /* NaN: not known */
    double bytes;          /* online; NaN: not known */
    double path_bytes;     /* of `bytes`, those that pass one after the other: of a symmetric exchange one direction; NaN: all of them */
    double rounds;         /* online, messages that wait for one another; NaN: not known */
    double wait_s;         /* of online_s: spent waiting for messages on loopback, for a peer's work or for the line; NaN: not known */
    int width, length;     /* D, in a list over widths; tokens, in one over lengths; else 0 */
    double tokens;         /* that one inference gives or reads; tokens / second is derived from it; NaN: not applicable */
    double max_err, mean_err; /* of the outputs against plain f32 inference with the exact architecture; NaN: not known */
    double own_max_err, own_mean_err; /* against the protocol's own formulas in floating point; NaN: not known */
    int agree, labelled;   /* labels that agree with plain's, of how many labelled texts; labelled 0: not tried */
    char protects[192];    /* what from whom, and under which assumption */
    char source[128];      /* published: the paper; else empty */
    char note[320];        /* "not fine-tuned", operation counts, handicaps */
};

/* All numbers unknown, all texts empty. */
static inline struct compare_row compare_row_empty(enum compare_how how)
{
    const double no = NAN;
    return (struct compare_row){.how = how, .offline_s = no, .online_s = no, .offline_bytes = no, .bytes = no, .path_bytes = no, .rounds = no,
                                .wait_s = no, .tokens = no, .max_err = no, .mean_err = no, .own_max_err = no, .own_mean_err = no};
}

#endif
