/* bench/baselines/table.h - rows of the comparison: as text, JSON, Markdown and figure; and what a slower line would make of them.
 *
 * Data flow   rows -> table_time (link model) -> one of the writers.
 * Units       seconds, bytes.
 * Errors      disk, memory.
 * Memory      borrows rows.
 * Secrets     none.
 *
 * Link model: a measured online time already holds computing and the loopback's own cost; a line adds half a round trip for each
 * message that is waited for, and the bytes that follow one another at its rate.
 */
#ifndef STIP_BENCH_BASELINES_TABLE_H
#define STIP_BENCH_BASELINES_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "bench/baselines/row.h"

enum table_link { TABLE_LOOPBACK, TABLE_LAN, TABLE_WAN, TABLE_LINKS };
/* False: there is no such line. rate 0: no limit. */
bool table_link(const char *name, double *rtt_ms, double *rate_mbit);
/* Online seconds of a row over a link, modelled unless they were measured there; NaN where they are not known. */
double table_time(const struct compare_row *row, enum table_link l);
const char *table_how(const struct compare_row *row);

void table_text(const struct compare_row *rows, size_t n);
void table_json(struct json_doc *doc, struct json *parent, const struct compare_row *rows, size_t n);
/* Puts tables of the rows below `title`, without a heading of its own above it. */
MUST_CHECK int table_markdown(const char *path, const char *title, const char *machine, const struct compare_row *rows, size_t n,
                              struct err *err);
/* A mark for each system: largest error against plain over online seconds, both logarithmic. */
MUST_CHECK int table_scatter(const char *path, const char *title, const struct compare_row *rows, size_t n, struct err *err);
/* Bytes, and what a WAN adds for them and for the rounds, over row.length or row.width; of rows that were measured also seconds of the whole: a line for
 * each system. */
MUST_CHECK int table_lengths(const char *path, const char *title, const struct compare_row *rows, size_t n, struct err *err);
/* Bars over logarithmic scales: seconds over each link, bytes. Only rows with figures of a whole inference. */
MUST_CHECK int table_plot(const char *path, const char *title, const struct compare_row *rows, size_t n, struct err *err);

#endif
