#include "bench/speed_rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/plot.h"

static const char *phase_of(const struct speed_row *row)
{
    return row->decode ? "decode" : "prefill";
}

void speed_row_limits(struct speed_row *row, const struct speed_model *m, const struct machine *machine)
{
    double tokens = row->decode ? row->batch : (double)row->tokens * row->batch; /* of one pass over the weights */
    double keys = row->decode || m->causal ? (row->tokens + 1) / 2.0 : row->tokens; /* that a token sees, in the mean */
    double seconds = 2 * (tokens * m->layer_weights + row->batch * m->head_weights) / m->peak + tokens * keys * m->pair / m->pair_peak;
    double bytes = (m->layer_weights + m->head_weights) * m->weight_bytes;
    double passes = row->tok_s / tokens;
    row->flop_frac = passes * seconds;
    row->bw_frac = passes * bytes / machine->bandwidth;
    row->limit_tok_s = tokens * fmin(1 / seconds, machine->bandwidth / bytes);
}

void speed_row_print(const struct speed_row *row)
{
    printf("%-8s tokens %5d batch %3d   %-22s %9.1f tok/s   %3.0f %% of the limit   private is %.3f x\n", phase_of(row), row->tokens,
           row->batch, row->mode, row->tok_s, 100 * row->tok_s / row->limit_tok_s, row->private_ratio);
    (void)fflush(stdout);
}

void speed_row_json(struct json_doc *doc, struct json *list, const struct speed_row *row)
{
    struct json *node = json_put_object(doc, list, NULL);
    json_put_str(doc, node, "mode", row->mode);
    if (row->tool != NULL)
        json_put_str(doc, node, "tool", row->tool);
    json_put_str(doc, node, "phase", phase_of(row));
    json_put_int(doc, node, "tokens", row->tokens);
    json_put_int(doc, node, "batch", row->batch);
    json_put_num(doc, node, "tok_s", row->tok_s);
    json_put_num(doc, node, "flop_frac", row->flop_frac);
    json_put_num(doc, node, "bw_frac", row->bw_frac);
    json_put_num(doc, node, "limit_tok_s", row->limit_tok_s);
    json_put_num(doc, node, "private_ratio", row->private_ratio);
}

/* ------------------------------------------------------------------ figure */

/* Place of `name` among the first *count, put there if it is new. */
static size_t place_of(const char *names[], size_t *count, const char *name)
{
    size_t i = 0;
    while (i < *count && strcmp(names[i], name) != 0)
        i++;
    if (i == *count)
        names[(*count)++] = name;
    return i;
}

struct figure {
    char group[SPEED_ROWS_MAX][40], series[SPEED_ROWS_MAX][80], label[SPEED_ROWS_MAX][24];
    const char *groups[SPEED_ROWS_MAX], *names[SPEED_ROWS_MAX];
    size_t group_count, name_count;
};

int speed_rows_plot(const char *path, const char *title, const struct speed_row *rows, int count, struct err *err)
{
    struct figure *f = calloc(1, sizeof *f);
    double *values = NULL;
    const char **labels = NULL;
    int rc = -1;
    if (f == NULL)
        return err_oom(err, sizeof *f);
    for (int i = 0; i < count; i++) {
        if (rows[i].decode)
            (void)snprintf(f->group[i], sizeof f->group[i], "decode x %d", rows[i].batch);
        else
            (void)snprintf(f->group[i], sizeof f->group[i], rows[i].batch == 1 ? "prefill %d" : "prefill %d x %d", rows[i].tokens, rows[i].batch);
        const char *colon = strchr(rows[i].mode, ':');
        (void)snprintf(f->series[i], sizeof f->series[i], rows[i].tool == NULL ? "%s" : "%s (%s)",
                       colon == NULL ? rows[i].mode : colon + 1, rows[i].tool);
        (void)snprintf(f->label[i], sizeof f->label[i], "%.*f/s", rows[i].tok_s < 100 ? 1 : 0, rows[i].tok_s);
        (void)place_of(f->groups, &f->group_count, f->group[i]);
        (void)place_of(f->names, &f->name_count, f->series[i]);
    }
    size_t cells = f->group_count * f->name_count;
    values = malloc((cells + 1) * sizeof *values);
    labels = calloc(cells + 1, sizeof *labels);
    if (values == NULL || labels == NULL) {
        err_oom(err, cells * sizeof *values);
        goto done;
    }
    for (size_t i = 0; i < cells; i++)
        values[i] = NAN;
    for (int i = 0; i < count; i++) {
        size_t cell = place_of(f->groups, &f->group_count, f->group[i]) * f->name_count + place_of(f->names, &f->name_count, f->series[i]);
        values[cell] = 100 * rows[i].tok_s / rows[i].limit_tok_s;
        labels[cell] = f->label[i];
    }
    const struct plot_bars bars = {.title = title, .y_label = "% of the machine's limit (tokens/s on the bars)", .groups = f->groups,
                                   .series = f->names, .group_count = f->group_count, .series_count = f->name_count,
                                   .values = values, .labels = labels, .limit = 100, .limit_label = "limit, measured"};
    rc = plot_bars(path, &bars, err);
done:
    free(values);
    free(labels);
    free(f);
    return rc;
}
