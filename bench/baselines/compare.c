#include "bench/baselines/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/baselines/he/rows.h"
#include "bench/interrupt.h"
#include "bench/stats.h"

#define OWN_ERROR_MAX 0.25 /* of the largest output: beyond it a truncation has wrapped around */

/* ------------------------------------------------------------------ measuring */

static size_t numbers(const struct compare *c)
{
    return (size_t)c->job.total * (size_t)c->plain.plain.config->D;
}

static int set_up(struct compare *c, struct err *err)
{
    struct runner_result plain = {0};
    const ssize_t n = readlink("/proc/self/exe", c->program, sizeof c->program - 1);
    if (n < 0)
        return err_set(err, ERR_INTERNAL, "cannot find this program's own file");
    c->program[n] = '\0';
    for (int i = 0; i < c->count; i++) {
        struct compare_entry *e = &c->entry[i];
        e->job = c->job;
        e->job.system = e->system;
        if (e->tuned != NULL)
            (void)snprintf(e->job.model, sizeof e->job.model, "%s", e->tuned);
        if (e->kind == COMPARE_SHARED && runner_fits(&e->job, err) != 0)
            return -1;
    }
    if (ours_plain_open(&c->plain, &c->job, err) != 0 || ours_plain_run(&c->plain, &c->job, &plain, err) != 0)
        return -1;
    c->reference = plain.rows;
    for (int i = 0; i < c->count; i++) {
        struct compare_entry *e = &c->entry[i];
        if (e->kind == COMPARE_STIP && ours_stip_open(&c->stip, &c->job, c->threads, &c->line, err) != 0)
            return -1;
        if (e->kind != COMPARE_SHARED || runner_twin(&e->job, &e->twin, &e->wraps, err) == 0)
            continue;
        if (err->code != ERR_CHECK)
            return err_wrap(err, "%s, its formulas", e->name);
        (void)snprintf(e->broken, sizeof e->broken, "%.190s", err->text); /* the others can still run */
        c->bad = true;
    }
    return 0;
}

static int run_once(struct compare *c, struct compare_entry *e, struct err *err)
{
    struct runner_result r = {0};
    int rc = 0;
    if (e->kind == COMPARE_PLAIN)
        rc = ours_plain_run(&c->plain, &c->job, &r, err);
    else if (e->kind == COMPARE_STIP)
        rc = ours_stip_run(c->stip, &c->job, &r, err);
    else if ((rc = crypto_random(e->job.run, sizeof e->job.run, err)) == 0)
        rc = runner_run(&e->job, c->program, &c->line, &r, err);
    if (rc != 0)
        return -1;
    free(e->last.rows);
    e->last = r;
    for (int k = 0; k < 2; k++) {
        const struct runner_cost *cost = k == 0 ? &r.first : &r.steps;
        e->offline[k][c->done] = cost->offline_s;
        e->online[k][c->done] = cost->online_s;
        e->wait[k][c->done] = cost->wait_s;
    }
    return 0;
}

int compare_measure(struct compare *c, struct err *err)
{
    if (set_up(c, err) != 0)
        return -1;
    for (c->done = 0; c->done < c->repeats; c->done++)
        for (int i = 0; i < c->count; i++) {
            const uint64_t start = clock_us();
            if (c->entry[i].broken[0] != '\0')
                continue;
            if (interrupt_seen())
                return err_set(err, ERR_INTERNAL, "interrupted");
            if (run_once(c, &c->entry[i], err) != 0)
                return -1;
            if (c->talk)
                (void)fprintf(stderr, "%d of %d: %s %.1f s\n", c->done + 1, c->repeats, c->entry[i].name, (double)(clock_us() - start) / 1e6);
        }
    return 0;
}

/* ------------------------------------------------------------------ rows */

/* Largest and mean difference over the rows of one kind of pass. */
static void differences(const struct compare *c, const float *got, const float *want, bool steps, double *most, double *mean)
{
    const size_t D = (size_t)c->plain.plain.config->D;
    size_t row = 0, n = 0;
    double sum = 0;
    *most = 0;
    for (int i = 0; i < c->job.count; i++)
        for (int t = 0; t < c->job.lengths[i]; t++, row++) {
            if (c->job.first > 0 && (t >= c->job.first) != steps)
                continue;
            for (size_t d = row * D; d < (row + 1) * D; d++, n++) {
                const double diff = fabs((double)got[d] - (double)want[d]);
                *most = diff > *most || isnan(diff) ? diff : *most;
                sum += diff;
            }
        }
    *mean = sum / (double)n;
}

static int count_labels(const struct compare *c, const struct compare_entry *e, struct compare_row *row, struct err *err)
{
    const size_t D = (size_t)c->plain.plain.config->D;
    size_t at = 0;
    for (int i = 0; i < c->job.count && c->plain.head != NULL; i++) {
        int want, got;
        if (ours_label(&c->plain, c->reference + at * D, &want, err) != 0 || ours_label(&c->plain, e->last.rows + at * D, &got, err) != 0)
            return -1;
        row->agree += want == got;
        row->labelled++;
        at += (size_t)c->job.lengths[i];
    }
    return 0;
}

static void describe(const struct compare *c, const struct compare_entry *e, bool steps, struct compare_row *row)
{
    static const char *const protects[] = {
        "nothing", "weights, inputs and outputs from three parties that do not collude: by secret permutations, not by secret sharing"};
    (void)snprintf(row->system, sizeof row->system, "%s", e->name);
    if (c->job.first > 0 && steps)
        (void)snprintf(row->shape, sizeof row->shape, "%.20s, 1 token after %d", c->shape, c->job.first);
    else if (c->job.count > 1)
        (void)snprintf(row->shape, sizeof row->shape, "%.20s, %d texts", c->shape, c->job.count);
    else
        (void)snprintf(row->shape, sizeof row->shape, "%.20s, %d tokens", c->shape, job_widest(&c->job));
    if (c->line.rtt_ms > 0 && e->kind != COMPARE_PLAIN)
        (void)snprintf(row->link, sizeof row->link, "%s", c->network);
    (void)snprintf(row->protects, sizeof row->protects, "%s", e->kind == COMPARE_SHARED ? e->system->protects : protects[e->kind]);
    if (e->kind == COMPARE_STIP)
        (void)snprintf(row->note, sizeof row->note, "three processes, encrypted; bytes without the encryption's own");
    if (e->kind == COMPARE_SHARED)
        (void)snprintf(row->note, sizeof row->note, "not encrypted; %sonline %.3g s of processor a party; %.2g truncations expected to wrap",
                       e->tuned != NULL ? "weights tuned for its functions; " : e->system->exact ? "" : "weights not fine-tuned for its functions; ",
                       steps ? e->last.steps.cpu_s : e->last.first.cpu_s, e->wraps);
}

void compare_put_row(struct compare *c, const struct compare_row *row)
{
    if (c->rows < COMPARE_ROWS)
        c->row[c->rows++] = *row;
}

static int add_row(struct compare *c, struct compare_entry *e, bool steps, struct err *err)
{
    const struct runner_cost *cost = steps ? &e->last.steps : &e->last.first;
    struct compare_row row = compare_row_empty(COMPARE_MEASURED);
    double most = 0;
    if (cost->passes == 0 && (steps || e->broken[0] == '\0'))
        return 0;
    describe(c, e, steps, &row);
    if (e->broken[0] != '\0') {
        (void)snprintf(row.note, sizeof row.note, "did not run: %s", e->broken);
        compare_put_row(c, &row);
        return 0;
    }
    row.offline_s = stats_median(e->offline[steps], (size_t)c->repeats);
    row.online_s = stats_median(e->online[steps], (size_t)c->repeats);
    row.wait_s = stats_median(e->wait[steps], (size_t)c->repeats);
    row.bytes = cost->bytes;
    row.path_bytes = cost->path_bytes;
    row.rounds = cost->rounds;
    row.offline_bytes = cost->offline_bytes;
    row.tokens = steps ? 1 : (double)(c->job.first > 0 ? c->job.first : c->job.total) / c->job.count;
    differences(c, e->last.rows, c->reference, steps, &row.max_err, &row.mean_err);
    if (e->twin != NULL) {
        differences(c, e->last.rows, e->twin, steps, &row.own_max_err, &row.own_mean_err);
        for (size_t i = 0; i < numbers(c); i++)
            most = fmax(most, fabs((double)e->twin[i]));
        if (!(row.own_max_err < OWN_ERROR_MAX * most)) {
            const size_t n = strlen(row.note);
            (void)snprintf(row.note + n, sizeof row.note - n, "; OUTSIDE its fixed-point range: a truncation wrapped around");
            c->bad = true;
        }
    }
    if (!steps && count_labels(c, e, &row, err) != 0)
        return -1;
    compare_put_row(c, &row);
    return 0;
}

int compare_rows(struct compare *c, struct err *err)
{
    for (int steps = 0; steps < 2; steps++)
        for (int i = 0; i < c->count; i++)
            if (add_row(c, &c->entry[i], steps != 0, err) != 0)
                return -1;
    return 0;
}

/* One inference of the first text each. */
int compare_he_rows(struct compare *c, struct err *err)
{
    const size_t D = (size_t)c->plain.plain.config->D;
    struct compare_row rows[ROWS_HE_MAX];
    size_t n = 0;
    int want = 0, got = 0;
    float *first = calloc(ROWS_HE_MAX * D, sizeof *first);
    int rc = first == NULL ? err_oom(err, ROWS_HE_MAX * D * sizeof *first)
                           : rows_he(rows, &n, first, c->job.model, c->shape, c->job.ids, c->job.lengths[0], c->he_s, c->program, &c->line, err);
    for (size_t i = 0; rc == 0 && i < n && c->rows < COMPARE_ROWS; i++) {
        rows[i].labelled = rows[i].labelled && c->plain.head != NULL;
        if (strcmp(rows[i].system, "primer") == 0 && rows[i].how == COMPARE_MEASURED && c->line.rtt_ms > 0)
            (void)snprintf(rows[i].link, sizeof rows[i].link, "%s", c->network);
        if (rows[i].labelled && (ours_label(&c->plain, c->reference, &want, err) != 0 || ours_label(&c->plain, first + i * D, &got, err) != 0))
            rc = -1;
        rows[i].agree = rows[i].labelled && want == got;
        c->row[c->rows++] = rows[i];
    }
    free(first);
    return rc;
}

/* What each system would send, without running it. */
int compare_plan(struct compare *c, struct err *err)
{
    for (int i = 0; i < c->count; i++) {
        struct compare_entry *e = &c->entry[i];
        e->job = c->job;
        e->job.system = e->system;
        if (e->kind == COMPARE_SHARED && runner_plan(&e->job, &e->last, err) != 0)
            return -1;
        for (int steps = 0; e->kind == COMPARE_SHARED && steps < 2; steps++) {
            const struct runner_cost *cost = steps ? &e->last.steps : &e->last.first;
            struct compare_row row = compare_row_empty(COMPARE_MODELLED);
            if (cost->passes == 0)
                continue;
            describe(c, e, steps, &row);
            row.note[0] = '\0';
            row.bytes = cost->bytes;
            row.path_bytes = cost->path_bytes;
            row.rounds = cost->rounds;
            row.offline_bytes = cost->offline_bytes;
            row.tokens = c->job.first > 0 ? c->job.first : job_widest(&c->job);
            compare_put_row(c, &row);
        }
    }
    return 0;
}

void compare_drop_job(struct compare *c)
{
    for (int i = 0; i < c->count; i++) {
        struct compare_entry *e = &c->entry[i];
        free(e->last.rows);
        free(e->twin);
        e->last = (struct runner_result){0};
        e->twin = NULL;
        e->broken[0] = '\0';
    }
    ours_stip_close(c->stip);
    ours_plain_close(&c->plain);
    free(c->reference);
    job_free(&c->job);
    c->stip = NULL;
    c->plain = (struct ours_plain){0};
    c->reference = NULL;
    c->job = (struct job){0};
}
