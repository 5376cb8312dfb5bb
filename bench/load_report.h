/* bench/load_report.h - what a load did, as text, JSON and a figure.
 *
 * Data flow   struct load_result -> percentiles -> printed.
 * Units       milliseconds, tokens per second.
 * Errors      memory, disk.
 * Memory      borrows the result.
 * Secrets     none.
 */
#ifndef STIP_BENCH_LOAD_REPORT_H
#define STIP_BENCH_LOAD_REPORT_H

#include "bench/load.h"

void load_report_text(const struct load_result *r, const struct load_opts *opts);
MUST_CHECK int load_report_json(const struct load_result *r, const struct load_opts *opts, struct err *err);
/* Latencies as cumulative shares, tokens per second over time. */
MUST_CHECK int load_report_plot(const char *path, const struct load_result *r, const struct load_opts *opts, struct err *err);

#endif
