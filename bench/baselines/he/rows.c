#include "bench/baselines/he/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "bench/baselines/he/primer_run.h"
#include "bench/baselines/he/systems.h"

struct rows {
    struct compare_row *row;
    size_t n;
    float *first;
    const struct checkpoint *cp;
    const char *shape;
    const int32_t *ids;
    int asked, T; /* T: filled up */
    double run_up_to_s;
    const char *dir, *program;
    const struct runner_line *line;
};

static int measured(struct rows *r, enum systems_kind kind, const struct encoder *m, struct err *err)
{
    double *hidden = malloc((size_t)r->T * (size_t)m->D * sizeof *hidden);
    if (hidden == NULL)
        return err_oom(err, (size_t)r->T * (size_t)m->D * sizeof *hidden);
    int rc = systems_measure(&r->row[r->n], kind, r->cp, r->shape, r->ids, r->T, hidden, NULL, err);
    if (rc == 0) {
        for (int i = 0; i < m->D; i++)
            r->first[r->n * (size_t)m->D + (size_t)i] = (float)hidden[i];
        r->row[r->n++].labelled = r->asked == r->T;
    }
    free(hidden);
    return rc == 0 ? 0 : err_wrap(err, "%s", systems_name(kind));
}

/* The modelled row, and the measured one behind it where it is quick enough. */
static int system_rows(struct rows *r, enum systems_kind kind, const struct encoder *m, struct err *err)
{
    struct systems_detail d;
    struct ckks_params p;
    if (!systems_params(&p, kind, m, r->T))
        return 0;
    if (systems_model(&r->row[r->n], kind, m, r->shape, r->T, &d, err) != 0)
        return -1;
    r->n++;
    return d.priced_s + d.weights_s > r->run_up_to_s ? 0 : measured(r, kind, m, err);
}

/* The same for Primer, whose parties are processes; one whose tables would not fit in half of the memory is only modelled. */
static int primer_rows(struct rows *r, const struct encoder *m, struct err *err)
{
    double *hidden, bytes;
    if (primer_row(&r->row[r->n], m, r->shape, r->T, false, NULL, err) != 0 || primer_memory(m, r->T, &bytes, err) != 0)
        return -1;
    const double seconds = r->row[r->n].offline_s + r->row[r->n].online_s;
    r->n++;
    if (seconds > r->run_up_to_s || bytes > (double)memory_physical() / 2)
        return 0;
    if ((hidden = malloc((size_t)r->T * (size_t)m->D * sizeof *hidden)) == NULL)
        return err_oom(err, (size_t)r->T * (size_t)m->D * sizeof *hidden);
    int rc = primer_measure(&r->row[r->n], r->cp, r->dir, r->shape, r->ids, r->T, r->program, r->line, hidden, err);
    if (rc == 0) {
        for (int i = 0; i < m->D; i++)
            r->first[r->n * (size_t)m->D + (size_t)i] = (float)hidden[i];
        r->row[r->n++].labelled = r->asked == r->T;
    }
    free(hidden);
    return rc;
}

int rows_he(struct compare_row rows[ROWS_HE_MAX], size_t *n, float *first, const char *dir, const char *shape, const int32_t *ids, int T,
            double run_up_to_s, const char *program, const struct runner_line *line, struct err *err)
{
    struct checkpoint *cp = NULL;
    int whole = 1, rc = 0;
    if (checkpoint_open(&cp, dir, CHECKPOINT_EMBED | CHECKPOINT_CORE, err) != 0)
        return -1;
    const struct config *c = checkpoint_config(cp);
    const struct encoder m = {.L = c->L, .D = c->D, .H = c->H, .K = c->K, .F = c->F};
    const bool bert = c->post_norm && !c->causal;
    while (whole < T)
        whole *= 2;
    int32_t *filled = calloc((size_t)whole, sizeof *filled);
    struct rows r = {rows, 0, first, cp, shape, filled, T, whole, run_up_to_s, dir, program, line};
    if (filled == NULL)
        rc = err_oom(err, (size_t)whole * sizeof *filled);
    else if (bert && whole <= c->positions) {
        for (int t = 0; t < whole; t++)
            filled[t] = ids[t % T];
        for (int kind = 0; rc == 0 && kind < SYSTEMS_COUNT; kind++)
            rc = system_rows(&r, (enum systems_kind)kind, &m, err);
        if (rc == 0 && primer_takes(&m, whole))
            rc = primer_rows(&r, &m, err);
    }
    free(filled);
    checkpoint_close(cp);
    if (rc == 0)
        *n = r.n;
    return rc;
}
