#include "bench/baselines/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "bench/plot.h"

#define MARKDOWN_MAX ((size_t)4 << 20)
#define CELL 48

static const struct {
    const char *name;
    double rtt_s, bytes_s; /* 0: no limit */
} links[TABLE_LINKS] = {{"loopback", 0, 0}, {"lan", 0.0005, 125e6}, {"wan", 0.04, 12.5e6}};

bool table_link(const char *name, double *rtt_ms, double *rate_mbit)
{
    for (size_t l = 0; l < TABLE_LINKS; l++)
        if (strcmp(links[l].name, name) == 0) {
            *rtt_ms = links[l].rtt_s * 1e3;
            *rate_mbit = links[l].bytes_s * 8 / 1e6;
            return true;
        }
    return false;
}

double table_time(const struct compare_row *row, enum table_link l)
{
    if (row->link[0] != '\0') /* a slow line's time says nothing of another line */
        return strcmp(row->link, links[l].name) == 0 ? row->online_s : NAN;
    if (l == TABLE_LOOPBACK || row->how == COMPARE_PUBLISHED)
        return l == TABLE_LOOPBACK ? row->online_s : NAN;
    const double path = isnan(row->path_bytes) ? row->bytes : row->path_bytes;
    return row->online_s + row->rounds * links[l].rtt_s / 2 + path / links[l].bytes_s;
}

const char *table_how(const struct compare_row *row)
{
    static const char *const names[] = {"measured", "modelled", "published"};
    return names[row->how];
}

/* ------------------------------------------------------------------ cells */

static const char *seconds(char out[CELL], double s)
{
    if (isnan(s))
        return strcpy(out, "");
    (void)snprintf(out, CELL, s < 0.9995e-3 ? "%.3g ms" : s < 1 ? "%.3g ms" : s < 120 ? "%.3g s" : "%.0f s", s < 1 ? s * 1e3 : s);
    return out;
}

static const char *bytes(char out[CELL], double b)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int u = 0;
    if (isnan(b))
        return strcpy(out, "");
    for (; b >= 1000 && u < 4; u++)
        b /= 1000;
    (void)snprintf(out, CELL, "%.3g %s", b, units[u]);
    return out;
}

static const char *number(char out[CELL], const char *format, double v)
{
    if (isnan(v))
        return strcpy(out, "");
    (void)snprintf(out, CELL, "%.*g", format[0] - '0', v);
    return out;
}

static const char *errors(char out[CELL], double most, double mean)
{
    if (isnan(most))
        return strcpy(out, "");
    (void)snprintf(out, CELL, "%.2g / %.2g", most, mean);
    return out;
}

static const char *labels(char out[CELL], const struct compare_row *r)
{
    if (r->labelled == 0)
        return strcpy(out, "");
    (void)snprintf(out, CELL, "%d of %d", r->agree, r->labelled);
    return out;
}

#define COLUMNS 14
static const char *const heads[COLUMNS] = {"system", "how", "offline", "online", "tokens/s", "LAN", "WAN", "bytes", "offline bytes", "rounds",
                                           "error max / mean", "own formulas", "labels", "shape"};

static void cells(const struct compare_row *r, char out[COLUMNS][CELL])
{
    (void)snprintf(out[0], CELL, "%s", r->system);
    (void)snprintf(out[1], CELL, "%s", table_how(r));
    (void)seconds(out[2], r->offline_s);
    (void)seconds(out[3], table_time(r, TABLE_LOOPBACK));
    (void)number(out[4], "3", r->tokens / r->online_s);
    (void)seconds(out[5], table_time(r, TABLE_LAN));
    (void)seconds(out[6], table_time(r, TABLE_WAN));
    (void)bytes(out[7], r->bytes);
    (void)bytes(out[8], r->offline_bytes);
    (void)number(out[9], "6", r->rounds);
    (void)errors(out[10], r->max_err, r->mean_err);
    (void)errors(out[11], r->own_max_err, r->own_mean_err);
    (void)labels(out[12], r);
    (void)snprintf(out[13], CELL, "%s", r->shape);
}

void table_text(const struct compare_row *rows, size_t n)
{
    int width[COLUMNS];
    char cell[COLUMNS][CELL];
    for (int c = 0; c < COLUMNS; c++)
        width[c] = (int)strlen(heads[c]);
    for (size_t i = 0; i < n; i++) {
        cells(&rows[i], cell);
        for (int c = 0; c < COLUMNS; c++)
            width[c] = (int)strlen(cell[c]) > width[c] ? (int)strlen(cell[c]) : width[c];
    }
    for (int c = 0; c < COLUMNS; c++)
        printf("%-*s%s", width[c], heads[c], c + 1 < COLUMNS ? "  " : "\n");
    for (size_t i = 0; i < n; i++) {
        cells(&rows[i], cell);
        for (int c = 0; c < COLUMNS; c++)
            printf("%-*s%s", width[c], cell[c], c + 1 < COLUMNS ? "  " : "\n");
    }
}

/* ------------------------------------------------------------------ JSON */

static void put(struct json_doc *doc, struct json *o, const char *key, double v)
{
    if (isfinite(v))
        json_put_num(doc, o, key, v);
    else
        json_put_null(doc, o, key);
}

void table_json(struct json_doc *doc, struct json *parent, const struct compare_row *rows, size_t n)
{
    struct json *list = json_put_array(doc, parent, "rows");
    for (size_t i = 0; i < n; i++) {
        const struct compare_row *r = &rows[i];
        struct json *o = json_put_object(doc, list, NULL), *times = NULL;
        json_put_str(doc, o, "system", r->system);
        json_put_str(doc, o, "shape", r->shape);
        json_put_str(doc, o, "how", table_how(r));
        json_put_str(doc, o, "network", r->link[0] == '\0' ? links[TABLE_LOOPBACK].name : r->link);
        put(doc, o, "offline_s", r->offline_s);
        put(doc, o, "online_s", r->online_s);
        times = json_put_object(doc, o, "modelled_s");
        for (enum table_link l = TABLE_LAN; l < TABLE_LINKS; l++)
            put(doc, times, links[l].name, r->link[0] == '\0' ? table_time(r, l) : NAN);
        put(doc, o, "tokens_s", r->tokens / r->online_s);
        put(doc, o, "bytes", r->bytes);
        put(doc, o, "path_bytes", r->path_bytes);
        put(doc, o, "offline_bytes", r->offline_bytes);
        put(doc, o, "rounds", r->rounds);
        put(doc, o, "wait_s", r->wait_s);
        put(doc, o, "max_err", r->max_err);
        put(doc, o, "mean_err", r->mean_err);
        put(doc, o, "own_max_err", r->own_max_err);
        put(doc, o, "own_mean_err", r->own_mean_err);
        json_put_int(doc, o, "labels_agree", r->agree);
        json_put_int(doc, o, "labelled", r->labelled);
        json_put_str(doc, o, "protects", r->protects);
        json_put_str(doc, o, "source", r->source);
        json_put_str(doc, o, "note", r->note);
    }
}

/* ------------------------------------------------------------------ Markdown */

/* What has no place in a table's cell. */
static void put_cell(struct buf *b, const char *text)
{
    buf_put_str(b, "| ");
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '|')
            buf_put8(b, '\\');
        buf_put8(b, (uint8_t)*p);
    }
    buf_put8(b, ' ');
}

static void put_measured(struct buf *b, const struct compare_row *rows, size_t n)
{
    char cell[COLUMNS][CELL];
    for (int c = 0; c < COLUMNS; c++)
        put_cell(b, heads[c]);
    buf_put_str(b, "|\n");
    for (int c = 0; c < COLUMNS; c++)
        buf_put_str(b, "|---");
    buf_put_str(b, "|\n");
    for (size_t i = 0; i < n; i++) {
        if (rows[i].how == COMPARE_PUBLISHED)
            continue;
        cells(&rows[i], cell);
        for (int c = 0; c < COLUMNS; c++)
            put_cell(b, cell[c]);
        buf_put_str(b, "|\n");
    }
}

static void put_claims(struct buf *b, const struct compare_row *rows, size_t n)
{
    buf_put_str(b, "\n| system | protects | remarks |\n|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        if (rows[i].how == COMPARE_PUBLISHED || (i > 0 && strcmp(rows[i].system, rows[i - 1].system) == 0))
            continue;
        put_cell(b, rows[i].system);
        put_cell(b, rows[i].protects);
        put_cell(b, rows[i].note);
        buf_put_str(b, "|\n");
    }
}

static void put_published(struct buf *b, const struct compare_row *rows, size_t n)
{
    char time[CELL], size[CELL];
    buf_put_str(b, "\nPublished by their authors, on their machines:\n\n| system | shape | time | bytes | figure | protects | source |\n"
                   "|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        const struct compare_row *r = &rows[i];
        if (r->how != COMPARE_PUBLISHED)
            continue;
        put_cell(b, r->system);
        put_cell(b, r->shape);
        put_cell(b, seconds(time, r->online_s));
        put_cell(b, bytes(size, r->bytes));
        put_cell(b, r->note);
        put_cell(b, r->protects);
        put_cell(b, r->source);
        buf_put_str(b, "|\n");
    }
}

int table_markdown(const char *path, const char *title, const char *machine, const struct compare_row *rows, size_t n, struct err *err)
{
    struct buf b;
    buf_init(&b, MARKDOWN_MAX);
    buf_printf(&b, "%s\n\n%s\n\n", title, machine);
    put_measured(&b, rows, n);
    put_claims(&b, rows, n);
    put_published(&b, rows, n);
    int rc = buf_check(&b, path, err);
    if (rc == 0)
        rc = file_write(path, b.data, b.len, 0644, err);
    buf_free(&b);
    return rc;
}

/* ------------------------------------------------------------------ figure */

int table_plot(const char *path, const char *title, const struct compare_row *rows, size_t n, struct err *err)
{
    static const char *const series[] = {"loopback (measured; * modelled)", "LAN 1 Gbit/s, 0.5 ms (modelled)", "WAN 100 Mbit/s, 40 ms (modelled)", "bytes"};
    const char **groups = calloc(n + 1, sizeof *groups), **texts = calloc(4 * n + 1, sizeof *texts);
    double *times = calloc(3 * n + 1, sizeof *times), *sizes = calloc(n + 1, sizeof *sizes);
    char (*text)[CELL] = calloc(4 * n + 1, sizeof *text), (*name)[CELL] = calloc(n + 1, sizeof *name);
    size_t shown = 0;
    int rc = -1;
    if (groups == NULL || texts == NULL || times == NULL || sizes == NULL || text == NULL || name == NULL) {
        err_oom(err, 4 * n * sizeof *text);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        if (rows[i].how == COMPARE_PUBLISHED || !(rows[i].online_s > 0))
            continue;
        if (rows[i].how == COMPARE_MODELLED && i + 1 < n && rows[i + 1].how == COMPARE_MEASURED && strcmp(rows[i].system, rows[i + 1].system) == 0)
            continue; /* the measured row follows */
        (void)snprintf(name[shown], sizeof *name, "%s%s", rows[i].system, rows[i].how == COMPARE_MODELLED ? " *" : "");
        groups[shown] = name[shown];
        for (size_t l = 0; l < 3; l++) {
            times[3 * shown + l] = table_time(&rows[i], (enum table_link)l);
            texts[3 * shown + l] = seconds(text[3 * shown + l], times[3 * shown + l]);
        }
        sizes[shown] = rows[i].bytes > 0 ? rows[i].bytes : NAN;
        shown++;
    }
    const char **size_texts = texts + 3 * n;
    for (size_t i = 0; i < shown; i++)
        size_texts[i] = bytes(text[3 * n + i], sizes[i]);
    const struct plot_bars panels[] = {
        {.title = title, .y_label = "seconds per inference", .groups = groups, .series = series, .group_count = shown, .series_count = 3,
         .values = times, .labels = texts, .log_y = true},
        {.title = "", .y_label = "bytes per inference", .groups = groups, .series = series + 3, .group_count = shown, .series_count = 1,
         .values = sizes, .labels = size_texts, .log_y = true}};
    rc = plot_bar_panels(path, panels, 2, err);
done:
    free(groups);
    free(texts);
    free(times);
    free(sizes);
    free(text);
    free(name);
    return rc;
}

int table_scatter(const char *path, const char *title, const struct compare_row *rows, size_t n, struct err *err)
{
    struct plot_series *marks = calloc(n + 1, sizeof *marks);
    size_t shown = 0;
    if (marks == NULL)
        return err_oom(err, n * sizeof *marks);
    for (size_t i = 0; i < n; i++)
        if (rows[i].how != COMPARE_PUBLISHED && rows[i].online_s > 0 && rows[i].max_err > 0)
            marks[shown++] = (struct plot_series){rows[i].system, &rows[i].online_s, &rows[i].max_err, 1};
    const struct plot_panel panel = {"largest error of the final hidden rows", "seconds per inference, loopback", "error", true, marks, shown, true};
    int rc = plot_lines(path, title, &panel, 1, err);
    free(marks);
    return rc;
}

/* Panels of a list: bytes; of what was only counted the line's part, else seconds as measured and over a WAN. */
enum listed { LISTED_BYTES, LISTED_LINE, LISTED_ONLINE, LISTED_WAN };

static double listed(const struct compare_row *r, enum listed what)
{
    const double path = isnan(r->path_bytes) ? r->bytes : r->path_bytes;
    return what == LISTED_BYTES    ? r->bytes / 1e6
           : what == LISTED_ONLINE ? r->online_s
           : what == LISTED_WAN    ? table_time(r, TABLE_WAN)
                                   : r->rounds * links[TABLE_WAN].rtt_s / 2 + path / links[TABLE_WAN].bytes_s;
}

/* A line for each system; x and y [n] are filled. */
static size_t lines_of(struct plot_series *lines, double *x, double *y, const struct compare_row *rows, size_t n, enum listed what)
{
    size_t count = 0, used = 0;
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t k = 0; k < count; k++)
            seen = seen || strcmp(lines[k].name, rows[i].system) == 0;
        if (seen)
            continue;
        lines[count] = (struct plot_series){rows[i].system, x + used, y + used, 0};
        for (size_t j = i; j < n; j++)
            if (strcmp(rows[j].system, rows[i].system) == 0) {
                x[used] = rows[j].width > 0 ? rows[j].width : rows[j].length;
                y[used++] = listed(&rows[j], what);
                lines[count].n++;
            }
        count++;
    }
    return count;
}

int table_lengths(const char *path, const char *title, const struct compare_row *rows, size_t n, struct err *err)
{
    const bool measured = n > 0 && rows[0].how == COMPARE_MEASURED;
    const char *const along = n > 0 && rows[0].width > 0 ? "width" : "tokens";
    const struct {
        enum listed what;
        const char *title, *unit;
    } shown[] = {{LISTED_BYTES, "online bytes of all parties", "MB"},
                 {measured ? LISTED_ONLINE : LISTED_LINE,
                  measured ? "online, loopback (measured)" : "the line's part on a WAN (100 Mbit/s, 40 ms)", "seconds"},
                 {LISTED_WAN, "online on a WAN (100 Mbit/s, 40 ms; modelled)", "seconds"}};
    const size_t panels = measured ? 3 : 2;
    struct plot_panel panel[sizeof shown / sizeof *shown];
    struct plot_series *lines = calloc(panels * n + 1, sizeof *lines);
    double *values = calloc(2 * panels * n + 1, sizeof *values);
    int rc = -1;
    if (lines == NULL || values == NULL)
        err_oom(err, 2 * panels * n * sizeof *values);
    else {
        for (size_t i = 0; i < panels; i++)
            panel[i] = (struct plot_panel){shown[i].title, along, shown[i].unit, false, lines + i * n,
                                           lines_of(lines + i * n, values + 2 * i * n, values + (2 * i + 1) * n, rows, n, shown[i].what), true};
        rc = plot_lines(path, title, panel, panels, err);
    }
    free(lines);
    free(values);
    return rc;
}
