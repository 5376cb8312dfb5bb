/* bench/speed_rows.h - what stip-bench speed found out, as text, JSON and a figure.
 *
 * Data flow   one pass's work + tokens per second -> row with its limits -> printed.
 * Units       tokens per second over all sequences; fractions of the limits measured in the same run.
 * Errors      memory, disk.
 * Memory      rows are the caller's.
 * Secrets     none.
 */
#ifndef STIP_BENCH_SPEED_ROWS_H
#define STIP_BENCH_SPEED_ROWS_H

#include <stdbool.h>

#include "base/json.h"
#include "bench/machine.h"

#define SPEED_ROWS_MAX 512

/* What one pass of a model costs: matrices of the layers for each token, the head for the last of each sequence, and of attention its
 * two products, which are float whatever the weights are. Left out: everything else, and the bytes of keys and values. */
struct speed_model {
    double layer_weights, head_weights; /* numbers */
    double weight_bytes;                /* of one number */
    double peak;                        /* operations per second with weights of this kind */
    double pair;                        /* operations of one query with one key that it sees, all heads and layers */
    double pair_peak;                   /* float operations per second */
    bool causal;
};

struct speed_row {
    char mode[48];    /* "plain", "private", "peer:LABEL" */
    const char *tool; /* of a peer, else NULL */
    bool decode;
    int tokens, batch;
    double tok_s, flop_frac, bw_frac;
    double limit_tok_s;   /* whichever of the two limits is lower */
    double private_ratio; /* tokens per second of private over this row's, median of the rounds */
};

void speed_row_limits(struct speed_row *row, const struct speed_model *model, const struct machine *machine);
void speed_row_print(const struct speed_row *row);
void speed_row_json(struct json_doc *doc, struct json *list, const struct speed_row *row);
/* Bars: fractions of the limit, one group per phase and batch. */
MUST_CHECK int speed_rows_plot(const char *path, const char *title, const struct speed_row *rows, int count, struct err *err);

#endif
