/* bench/stats.h - order statistics of measurements.
 *
 * Data flow   samples -> sorted in place -> percentiles.
 * Units       those of the samples.
 * Errors      none: no samples give NaN.
 * Memory      no allocation.
 * Secrets     none.
 */
#ifndef STIP_BENCH_STATS_H
#define STIP_BENCH_STATS_H

#include <stddef.h>

void stats_sort(double *v, size_t n);
/* Of sorted samples, p in [0,100]; between two samples the straight line. */
double stats_percentile(const double *sorted, size_t n, double p);
/* Sorts v. */
double stats_median(double *v, size_t n);

#endif
