#include "bench/stats.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void stats_sort(double *v, size_t n)
{
    if (n > 1)
        qsort(v, n, sizeof *v, by_value);
}

double stats_percentile(const double *sorted, size_t n, double p)
{
    if (n == 0)
        return NAN;
    double at = p / 100 * (double)(n - 1);
    size_t below = (size_t)at;
    if (below + 1 >= n)
        return sorted[n - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

double stats_median(double *v, size_t n)
{
    stats_sort(v, n);
    return stats_percentile(v, n, 50);
}
