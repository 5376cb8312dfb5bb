/* bench/plot.h - figures as SVG files: lines over a scale, and groups of bars.
 *
 * Data flow   numbers -> scales with round ticks -> SVG text -> file.
 * Units       those of the numbers; the labels say which.
 * Errors      memory, disk; names the file. Numbers that are not finite are left out.
 * Memory      borrows everything; gives nothing.
 * Secrets     none.
 */
#ifndef STIP_BENCH_PLOT_H
#define STIP_BENCH_PLOT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct plot_series {
    const char *name;
    const double *x, *y; /* [n] */
    size_t n;
};

/* One coordinate system; the y axis begins at 0 unless log_y. A series of one point is a mark. */
struct plot_panel {
    const char *title, *x_label, *y_label;
    bool log_x;
    const struct plot_series *series;
    size_t count;
    bool log_y; /* powers of ten; what is not above 0 is left out */
};

/* Panels stand one below the other. */
MUST_CHECK int plot_lines(const char *path, const char *title, const struct plot_panel *panels, size_t count, struct err *err);

/* values [groups][series], NaN where there is none; labels [groups][series] stand on the bars. */
struct plot_bars {
    const char *title, *y_label;
    const char *const *groups, *const *series;
    size_t group_count, series_count;
    const double *values;
    const char *const *labels;
    double limit; /* a line across, 0: none */
    const char *limit_label;
    bool log_y;   /* powers of ten; what is not above 0 is left out */
};
MUST_CHECK int plot_bars(const char *path, const struct plot_bars *bars, struct err *err);
/* One below the other; the first one's title is the figure's. */
MUST_CHECK int plot_bar_panels(const char *path, const struct plot_bars *panels, size_t count, struct err *err);

#endif
