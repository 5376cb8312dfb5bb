#include "bench/plot.h"

#include <math.h>
#include <stdio.h>

#include "base/svg.h"

#define WIDTH 900
#define LEFT 70
#define RIGHT 250 /* names of the series stand here */
#define TOP 50
#define PANEL 260
#define BOTTOM 60
#define POINTS_MAX 2000 /* more than the picture has pixels */

/* A scale from values to pixels. */
struct scale {
    double from, to, at, length; /* values, pixels */
    bool log;
};

static double place(const struct scale *s, double v)
{
    double part = s->log ? (log10(v) - log10(s->from)) / (log10(s->to) - log10(s->from)) : (v - s->from) / (s->to - s->from);
    return s->at + part * s->length;
}

/* Distance of ticks: 1, 2 or 5 times a power of ten, about five of them. */
static double tick_step(double span)
{
    double power = pow(10, floor(log10(span / 5))), part = span / 5 / power;
    return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

static void put_tick_label(struct buf *b, double x, double y, const char *anchor, double v)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%.6g", v);
    svg_text(b, x, y, anchor, 11, "", text);
}

#define GRID "stroke=\"#dddddd\""
#define AXIS "stroke=\"#333333\""

static void put_y_axis(struct buf *b, const struct scale *y, const char *label)
{
    double step = y->log ? 0 : tick_step(y->to);
    char turn[64];
    for (double v = y->from; v <= y->to * 1.0001; v = y->log ? v * 10 : v + step) {
        svg_line(b, LEFT, place(y, v), WIDTH - RIGHT, place(y, v), v == y->from ? AXIS : GRID);
        put_tick_label(b, LEFT - 6, place(y, v) + 4, "end", v);
    }
    double middle = y->at + y->length / 2;
    (void)snprintf(turn, sizeof turn, " transform=\"rotate(-90 16 %.1f)\"", middle);
    svg_text(b, 16, middle, "middle", 12, turn, label);
}

static void put_x_axis(struct buf *b, const struct scale *x, double y, const char *label)
{
    double step = x->log ? 0 : tick_step(x->to - x->from);
    for (double v = x->from; v <= x->to * 1.0001; v = x->log ? v * 10 : v + step) {
        svg_line(b, place(x, v), y, place(x, v), y + 4, AXIS);
        put_tick_label(b, place(x, v), y + 17, "middle", v);
    }
    svg_text(b, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, y + 34, "middle", 12, "", label);
}

static void put_name(struct buf *b, double top, size_t i, const char *name)
{
    double y = top + 8 + 18 * (double)i;
    svg_rect(b, WIDTH - RIGHT + 14, y, 12, 12, svg_color(i));
    svg_text(b, WIDTH - RIGHT + 32, y + 10, "start", 12, "", name);
}

/* ------------------------------------------------------------------ lines */

static bool can_show(const struct plot_panel *p, double x, double y)
{
    return isfinite(x) && isfinite(y) && (!p->log_x || x > 0) && (!p->log_y || y > 0);
}

static void find_scales(const struct plot_panel *p, double top, struct scale *x, struct scale *y)
{
    double low = INFINITY, high = -INFINITY, least = INFINITY, most = 0;
    for (size_t s = 0; s < p->count; s++)
        for (size_t i = 0; i < p->series[s].n; i++) {
            double px = p->series[s].x[i], py = p->series[s].y[i];
            if (!can_show(p, px, py))
                continue;
            low = fmin(low, px);
            high = fmax(high, px);
            most = fmax(most, py);
            least = fmin(least, py);
        }
    if (!(low <= high)) /* nothing to show: an empty system of axes */
        low = high = 1;
    if (!p->log_x) {
        low = fmin(low, 0);
    } else {
        low = pow(10, floor(log10(low)));
        high = pow(10, ceil(log10(high)));
    }
    if (high <= low)
        high = p->log_x ? low * 10 : low + 1;
    *x = (struct scale){low, high, LEFT, WIDTH - LEFT - RIGHT, p->log_x};
    if (!p->log_y) {
        *y = (struct scale){0, most > 0 ? most * 1.05 : 1, top + PANEL, -PANEL, false};
        return;
    }
    if (!(least < INFINITY))
        least = most = 1;
    least = pow(10, floor(log10(least)));
    most = pow(10, ceil(log10(most)));
    *y = (struct scale){least, most > least ? most : 10 * least, top + PANEL, -PANEL, true};
}

static void put_panel(struct buf *b, const struct plot_panel *p, double top)
{
    struct scale x, y;
    find_scales(p, top, &x, &y);
    svg_text(b, LEFT, top - 8, "start", 13, "", p->title);
    put_y_axis(b, &y, p->y_label);
    put_x_axis(b, &x, top + PANEL, p->x_label);
    for (size_t s = 0; s < p->count; s++) {
        const struct plot_series *line = &p->series[s];
        size_t stride = line->n / POINTS_MAX + 1;
        put_name(b, top, s, line->name);
        if (line->n == 1) {
            if (can_show(p, line->x[0], line->y[0]))
                svg_rect(b, place(&x, line->x[0]) - 4, place(&y, line->y[0]) - 4, 8, 8, svg_color(s));
            continue;
        }
        buf_printf(b, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" points=\"", svg_color(s));
        for (size_t i = 0; i < line->n; i++)
            if ((i % stride == 0 || i + 1 == line->n) && can_show(p, line->x[i], line->y[i]))
                buf_printf(b, "%.1f,%.1f ", place(&x, line->x[i]), place(&y, line->y[i]));
        buf_put_str(b, "\"/>\n");
    }
}

int plot_lines(const char *path, const char *title, const struct plot_panel *panels, size_t count, struct err *err)
{
    struct buf b;
    svg_begin(&b, WIDTH, TOP + (double)count * (PANEL + BOTTOM + 20), title);
    for (size_t i = 0; i < count; i++)
        put_panel(&b, &panels[i], TOP + 12 + (double)i * (PANEL + BOTTOM + 20));
    return svg_finish(&b, path, err);
}

/* ------------------------------------------------------------------ bars */

static bool can_stand(const struct plot_bars *p, double v)
{
    return isfinite(v) && (!p->log_y || v > 0);
}

static void put_group(struct buf *b, const struct plot_bars *p, size_t g, const struct scale *y, double at, double width)
{
    double bar = width * 0.8 / (double)p->series_count;
    for (size_t s = 0; s < p->series_count; s++) {
        double v = p->values[g * p->series_count + s], x = at + width * 0.1 + bar * (double)s;
        const char *label = p->labels[g * p->series_count + s];
        char turn[64];
        if (!can_stand(p, v))
            continue;
        svg_rect(b, x, place(y, v), bar * 0.92, place(y, y->from) - place(y, v), svg_color(s));
        double tx = x + bar / 2 + 3, ty = place(y, v) - 4;
        (void)snprintf(turn, sizeof turn, " transform=\"rotate(-90 %.1f %.1f)\"", tx, ty);
        svg_text(b, tx, ty, "start", 9, turn, label);
    }
    svg_text(b, at + width / 2, place(y, y->from) + 17, "middle", 11, "", p->groups[g]);
}

static struct scale bar_scale(const struct plot_bars *p, double top)
{
    double least = INFINITY, most = p->limit;
    for (size_t i = 0; i < p->group_count * p->series_count; i++)
        if (can_stand(p, p->values[i])) {
            most = fmax(most, p->values[i]);
            least = fmin(least, p->values[i]);
        }
    if (!p->log_y)
        return (struct scale){0, most > 0 ? most * 1.2 : 1, top + PANEL, -PANEL, false}; /* room for the labels */
    if (!(least < INFINITY))
        least = most = 1;
    /* The lowest bar has a height, and the highest one has its label inside. */
    return (struct scale){pow(10, floor(log10(least) - 0.1)), pow(10, ceil(log10(most) + 0.7)), top + PANEL, -PANEL, true};
}

static void put_bars(struct buf *b, const struct plot_bars *p, double top)
{
    const struct scale y = bar_scale(p, top);
    put_y_axis(b, &y, p->y_label);
    double width = p->group_count == 0 ? 0 : (double)(WIDTH - LEFT - RIGHT) / (double)p->group_count;
    for (size_t g = 0; g < p->group_count; g++)
        put_group(b, p, g, &y, LEFT + width * (double)g, width);
    for (size_t s = 0; s < p->series_count; s++)
        put_name(b, top, s, p->series[s]);
    if (p->limit > 0) {
        svg_line(b, LEFT, place(&y, p->limit), WIDTH - RIGHT, place(&y, p->limit), "stroke=\"#d00000\" stroke-dasharray=\"6 4\"");
        svg_text(b, LEFT + 4, place(&y, p->limit) - 4, "start", 11, " fill=\"#d00000\"", p->limit_label);
    }
}

int plot_bar_panels(const char *path, const struct plot_bars *panels, size_t count, struct err *err)
{
    struct buf b;
    svg_begin(&b, WIDTH, TOP + (double)count * (PANEL + BOTTOM), count > 0 ? panels[0].title : "");
    for (size_t i = 0; i < count; i++)
        put_bars(&b, &panels[i], TOP + 12 + (double)i * (PANEL + BOTTOM));
    return svg_finish(&b, path, err);
}

int plot_bars(const char *path, const struct plot_bars *p, struct err *err)
{
    return plot_bar_panels(path, p, 1, err);
}
