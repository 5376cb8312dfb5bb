/* The table of an audit as a picture: the redder, the more is recovered. */
#include <math.h>
#include <stdio.h>

#include "base/svg.h"
#include "model_dev/audit_report.h"

#define LEFT 290
#define TOP 84
#define WIDTH 92 /* of a cell */
#define HEIGHT 26

static void color_of(char out[8], double rate)
{
    const int from[3] = {242, 246, 250}, to[3] = {213, 60, 40};
    int c[3];
    for (int i = 0; i < 3; i++)
        c[i] = (int)lround(from[i] + (to[i] - from[i]) * rate);
    (void)snprintf(out, 8, "#%02x%02x%02x", (unsigned)c[0] & 255, (unsigned)c[1] & 255, (unsigned)c[2] & 255);
}

static void put_cell(struct buf *b, double x, double y, const struct audit_cell *cell)
{
    double rate, low, high;
    char fill[8] = "#dddddd", text[32] = "not measured";
    audit_rate(cell, &rate, &low, &high);
    if (!isnan(rate)) {
        color_of(fill, rate);
        (void)snprintf(text, sizeof text, "%.1f %%", 100 * rate);
    }
    if (cell->status == AUDIT_CLOSED)
        (void)snprintf(text, sizeof text, "closed");
    else if (cell->status == AUDIT_GIVEN)
        (void)snprintf(text, sizeof text, "given");
    svg_rect(b, x, y, WIDTH - 2, HEIGHT - 2, fill);
    svg_text(b, x + WIDTH / 2.0 - 1, y + HEIGHT / 2.0 + 3, "middle", 11, rate > 0.6 ? " fill=\"white\"" : "", text);
}

int audit_chart(const char *path, const struct audit_report *r, struct err *err)
{
    struct buf b;
    char text[256];
    const double width = LEFT + (double)r->column_count * WIDTH + 20, height = TOP + (double)r->line_count * HEIGHT + 40;
    (void)snprintf(text, sizeof text, "Recovered by known attacks: %s, profile %s, head: %s, local layers: %d", r->architecture,
                   r->profile, r->head, r->local_layers);
    svg_begin(&b, width, height, text);
    svg_text(&b, LEFT, 50, "start", 12, "", "what the server knows beside the package");
    for (size_t c = 0; c < r->column_count; c++)
        svg_text(&b, LEFT + ((double)c + 0.5) * WIDTH, TOP - 10, "middle", 10, "", r->columns[c].name);
    for (size_t i = 0; i < r->line_count; i++) {
        const struct audit_line *line = &r->lines[i];
        const double y = TOP + (double)i * HEIGHT;
        (void)snprintf(text, sizeof text, "%s %s: %s", line->attack->id, line->attack->name, audit_target_name(line->target, r->images));
        svg_text(&b, LEFT - 10, y + HEIGHT / 2.0 + 3, "end", 12, "", text);
        for (size_t c = 0; c < r->column_count; c++)
            put_cell(&b, LEFT + (double)c * WIDTH, y, &line->cells[c]);
    }
    (void)snprintf(text, sizeof text, "%zu rows of %s; D=%d F=%d L=%d V=%d", r->rows, r->text, r->D, r->F, r->L, r->V);
    svg_text(&b, 20, height - 14, "start", 11, " fill=\"#555555\"", text);
    return svg_finish(&b, path, err);
}
