#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/threads.h"
#include "bench/baselines/he/rows.h"
#include "bench/baselines/ours.h"
#include "bench/baselines/published.h"
#include "bench/baselines/smpc/ring_speed.h"
#include "bench/baselines/table.h"
#include "bench/cmd.h"
#include "bench/shapes.h"
#include "bench/stats.h"
#include "engine/kernels/table.h"
#include "model/hub.h"
#include "user/report.h"
#include "user/tokenizer.h"

#define SYSTEMS_MAX 8
#define REPEATS_MAX 101
#define ROWS_MAX 64
#define TEXT_CAP ((size_t)16 << 20)
#define OWN_ERROR_MAX 0.25 /* of the largest output: beyond it a truncation has wrapped around */
#define DEFAULT_SYSTEMS "plain,stip,crypten,mpcformer,secformer,puma"

enum kind { PLAIN, STIP, SHARED };

struct entry {
    enum kind kind;
    const char *name;
    const struct network_system *system; /* SHARED */
    struct job job;                      /* borrows its texts */
    struct runner_result last;
    double offline[2][REPEATS_MAX], online[2][REPEATS_MAX], wait[2][REPEATS_MAX]; /* first passes, steps */
    float *twin;
    double wraps;
    const char *tuned;                   /* SHARED: a checkpoint tuned for its functions, NULL: the same weights as the others */
    char broken[192]; /* why it cannot run on this model: its numbers would not fit */
};

struct compare {
    struct entry entry[SYSTEMS_MAX];
    int count, repeats, threads, done;
    struct job job;
    struct ours_plain plain;
    struct ours_stip *stip;
    float *reference;
    const char *shape, *network; /* shape: or the model's name */
    struct runner_line line;
    char program[FILE_PATH_MAX];
    struct compare_row row[ROWS_MAX];
    size_t rows;
    double he_s; /* HE systems that the model says take at most so long are run, others only modelled; below 0: no such rows */
    bool bad;
};

/* ------------------------------------------------------------------ what is compared */

static int read_systems(struct compare *c, const char *list, struct err *err)
{
    while (*list != '\0') {
        const size_t n = strcspn(list, ",");
        struct entry *e = &c->entry[c->count];
        char name[32];
        if (c->count == SYSTEMS_MAX)
            return err_set(err, ERR_USAGE, "--systems: at most %d", SYSTEMS_MAX);
        (void)snprintf(name, sizeof name, "%.*s", (int)n, list);
        e->kind = strcmp(name, "plain") == 0 ? PLAIN : strcmp(name, "stip") == 0 ? STIP : SHARED;
        e->system = network_system(name);
        e->name = e->kind == PLAIN ? "plain" : e->kind == STIP ? "stip" : e->system != NULL ? e->system->name : NULL;
        if (e->name == NULL)
            return err_set(err, ERR_USAGE, "--systems: '%s' is not one of %s", name, DEFAULT_SYSTEMS);
        c->count++;
        list += list[n] == ',' ? n + 1 : n;
    }
    return 0;
}

/* NAME=DIR,...: borrows from the list. */
static int read_tuned(struct compare *c, char *list, struct err *err)
{
    char *next = NULL;
    for (char *one = strtok_r(list, ",", &next); one != NULL; one = strtok_r(NULL, ",", &next)) {
        char *dir = strchr(one, '=');
        bool found = false;
        for (int i = 0; dir != NULL && i < c->count; i++)
            if (c->entry[i].kind == SHARED && strncmp(c->entry[i].name, one, (size_t)(dir - one)) == 0 && c->entry[i].name[dir - one] == '\0') {
                c->entry[i].tuned = dir + 1;
                found = true;
            }
        if (!found)
            return err_set(err, ERR_USAGE, "--tuned: expected SYSTEM=DIR,... of secret-sharing systems that are compared, found '%.100s'", one);
    }
    return 0;
}

static int add_text(struct job *job, const int32_t *ids, int n, struct err *err)
{
    int *lengths = realloc(job->lengths, (size_t)(job->count + 1) * sizeof *lengths);
    if (lengths != NULL)
        job->lengths = lengths;
    int32_t *all = realloc(job->ids, (size_t)(job->total + n) * sizeof *all);
    if (all != NULL)
        job->ids = all;
    if (lengths == NULL || all == NULL)
        return err_oom(err, (size_t)(job->total + n) * sizeof *all);
    memcpy(all + job->total, ids, (size_t)n * sizeof *all);
    lengths[job->count++] = n;
    job->total += n;
    job->most = n > job->most ? n : job->most;
    return 0;
}

/* Lines of a file, up to a tab (a label may follow). */
static int read_texts(struct compare *c, const char *path, int64_t limit, int most, struct err *err)
{
    struct tokenizer *t = NULL;
    char *text = NULL;
    size_t len = 0;
    int rc = -1;
    if (tokenizer_load(&t, c->job.model, err) != 0 || file_read(path, TEXT_CAP, &text, &len, err) != 0)
        goto done;
    for (char *line = text; line < text + len && c->job.count < limit;) {
        const size_t n = strcspn(line, "\n"), words = strcspn(line, "\t\n");
        struct token_ids ids = {0};
        int added = 0;
        if (words > 0 && (added = tokenizer_encode(t, line, words, NULL, 0, true, &ids, err)) == 0 && ids.n > 0)
            added = add_text(&c->job, ids.ids, (int)ids.n < most ? (int)ids.n : most, err);
        token_ids_free(&ids);
        if (added != 0)
            goto done;
        line += n + 1;
    }
    rc = c->job.count > 0 ? 0 : err_set(err, ERR_INPUT, "%s: no text", path);
done:
    tokenizer_free(t);
    free(text);
    return rc;
}

static int make_job(struct compare *c, const struct cli_cmd *cmd, const char *model, int64_t seq, struct err *err)
{
    struct config config = {0};
    const char *file = cli_str(cmd, "text", NULL);
    int64_t limit = 20;
    int32_t *ids = NULL;
    if (cli_int(cmd, "limit", 1, 10000, &limit, err) != 0 ||
        config_read(&config, model, err) != 0)
        return -1;
    (void)snprintf(c->job.model, sizeof c->job.model, "%s", model);
    const int n = (int)seq + (config.causal ? 1 : 0);
    int rc = cmd_reads_text(cmd, &config, err);
    if (rc != 0) {
        /* err says why */
    } else if (n > config.positions) {
        rc = err_set(err, ERR_USAGE, "--seq: this model has %d positions, a pass of %d does not fit", config.positions, n);
    } else if (file != NULL && config.causal) {
        rc = err_set(err, ERR_USAGE, "--text is for classifiers; a decoder is measured with random tokens");
    } else if (file != NULL) {
        rc = read_texts(c, file, limit, (int)seq, err);
    } else if ((ids = malloc((size_t)n * sizeof *ids)) == NULL) {
        rc = err_oom(err, (size_t)n * sizeof *ids);
    } else {
        synth_ids(ids, n, config.V, 1);
        rc = add_text(&c->job, ids, n, err);
        c->job.first = config.causal ? (int)seq : 0;
    }
    free(ids);
    config_free(&config);
    return rc;
}

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
        struct entry *e = &c->entry[i];
        e->job = c->job;
        e->job.system = e->system;
        if (e->tuned != NULL)
            (void)snprintf(e->job.model, sizeof e->job.model, "%s", e->tuned);
        if (e->kind == SHARED && runner_fits(&e->job, err) != 0)
            return -1;
    }
    if (ours_plain_open(&c->plain, &c->job, err) != 0 || ours_plain_run(&c->plain, &c->job, &plain, err) != 0)
        return -1;
    c->reference = plain.rows;
    for (int i = 0; i < c->count; i++) {
        struct entry *e = &c->entry[i];
        if (e->kind == STIP && ours_stip_open(&c->stip, &c->job, c->threads, &c->line, err) != 0)
            return -1;
        if (e->kind != SHARED || runner_twin(&e->job, &e->twin, &e->wraps, err) == 0)
            continue;
        if (err->code != ERR_CHECK)
            return err_wrap(err, "%s, its formulas", e->name);
        (void)snprintf(e->broken, sizeof e->broken, "%.190s", err->text); /* the others can still run */
        c->bad = true;
    }
    return 0;
}

static int run_once(struct compare *c, struct entry *e, struct err *err)
{
    struct runner_result r = {0};
    int rc = 0;
    if (e->kind == PLAIN)
        rc = ours_plain_run(&c->plain, &c->job, &r, err);
    else if (e->kind == STIP)
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

static int measure(struct compare *c, bool talk, struct err *err)
{
    for (c->done = 0; c->done < c->repeats; c->done++)
        for (int i = 0; i < c->count; i++) {
            const uint64_t start = clock_us();
            if (c->entry[i].broken[0] != '\0')
                continue;
            if (run_once(c, &c->entry[i], err) != 0)
                return -1;
            if (talk)
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

static int count_labels(const struct compare *c, const struct entry *e, struct compare_row *row, struct err *err)
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

static void describe(const struct compare *c, const struct entry *e, bool steps, struct compare_row *row)
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
    if (c->line.rtt_ms > 0 && e->kind != PLAIN)
        (void)snprintf(row->link, sizeof row->link, "%s", c->network);
    (void)snprintf(row->protects, sizeof row->protects, "%s", e->kind == SHARED ? e->system->protects : protects[e->kind]);
    if (e->kind == STIP)
        (void)snprintf(row->note, sizeof row->note, "three processes, encrypted; bytes without the encryption's own");
    if (e->kind == SHARED)
        (void)snprintf(row->note, sizeof row->note, "not encrypted; %sonline %.3g s of processor a party; %.2g truncations expected to wrap",
                       e->tuned != NULL ? "weights tuned for its functions; " : e->system->exact ? "" : "weights not fine-tuned for its functions; ",
                       steps ? e->last.steps.cpu_s : e->last.first.cpu_s, e->wraps);
}

static void put_row(struct compare *c, const struct compare_row *row)
{
    if (c->rows < ROWS_MAX)
        c->row[c->rows++] = *row;
}

static int add_row(struct compare *c, struct entry *e, bool steps, struct err *err)
{
    const struct runner_cost *cost = steps ? &e->last.steps : &e->last.first;
    struct compare_row row = compare_row_empty(COMPARE_MEASURED);
    double most = 0;
    if (cost->passes == 0 && (steps || e->broken[0] == '\0'))
        return 0;
    describe(c, e, steps, &row);
    if (e->broken[0] != '\0') {
        (void)snprintf(row.note, sizeof row.note, "did not run: %s", e->broken);
        put_row(c, &row);
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
    put_row(c, &row);
    return 0;
}

/* One inference of the first text each. */
static int add_he_rows(struct compare *c, struct err *err)
{
    const size_t D = (size_t)c->plain.plain.config->D;
    struct compare_row rows[ROWS_HE_MAX];
    size_t n = 0;
    int want = 0, got = 0;
    float *first = calloc(ROWS_HE_MAX * D, sizeof *first);
    int rc = first == NULL ? err_oom(err, ROWS_HE_MAX * D * sizeof *first)
                           : rows_he(rows, &n, first, c->job.model, c->shape, c->job.ids, c->job.lengths[0], c->he_s, c->program, &c->line, err);
    for (size_t i = 0; rc == 0 && i < n && c->rows < ROWS_MAX; i++) {
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
static int plan_rows(struct compare *c, struct err *err)
{
    for (int i = 0; i < c->count; i++) {
        struct entry *e = &c->entry[i];
        e->job = c->job;
        e->job.system = e->system;
        if (e->kind == SHARED && runner_plan(&e->job, &e->last, err) != 0)
            return -1;
        for (int steps = 0; e->kind == SHARED && steps < 2; steps++) {
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
            put_row(c, &row);
        }
    }
    return 0;
}

/* The same for each of `--lengths`; a decoder's one more token behind so many. */
static int plan_lengths(struct compare *c, const struct cli_cmd *cmd, const char *model, const char *lengths, struct err *err)
{
    for (const char *at = lengths; *at != '\0';) {
        char *end;
        const long n = strtol(at, &end, 10);
        if (end == at || n < 1 || n > 4096 || (*end != ',' && *end != '\0'))
            return err_set(err, ERR_USAGE, "--lengths: expected numbers of tokens such as 32,64,128, found '%.30s'", at);
        job_free(&c->job);
        memset(&c->job, 0, sizeof c->job);
        if (make_job(c, cmd, model, n, err) != 0 || plan_rows(c, err) != 0)
            return -1;
        at = *end == ',' ? end + 1 : end;
    }
    return 0;
}

/* The same number of tokens for a shape of each of `--widths`. */
static int plan_widths(struct compare *c, const struct cli_cmd *cmd, int64_t seq, const char *widths, struct err *err)
{
    const char *const shape = c->shape;
    for (const char *at = widths; *at != '\0';) {
        char *end, dir[FILE_PATH_MAX], name[64];
        const long width = strtol(at, &end, 10);
        const size_t before = c->rows;
        if (end == at || width < 1 || width > 65536 || (*end != ',' && *end != '\0'))
            return err_set(err, ERR_USAGE, "--widths: expected widths such as 128,256,512, found '%.30s'", at);
        job_free(&c->job);
        memset(&c->job, 0, sizeof c->job);
        if (shapes_temp_dir(dir, err) != 0)
            return -1;
        (void)snprintf(name, sizeof name, "%.12s %ld wide", shape, width);
        c->shape = name;
        int rc = shapes_config(shape, (int)width, dir, err);
        if (rc == 0)
            rc = make_job(c, cmd, dir, seq, err);
        if (rc == 0)
            rc = plan_rows(c, err);
        c->shape = shape;
        shapes_drop_dir(dir);
        if (rc != 0)
            return -1;
        for (size_t i = before; i < c->rows; i++)
            c->row[i].width = (int)width;
        at = *end == ',' ? end + 1 : end;
    }
    return 0;
}

static int make_rows(struct compare *c, struct err *err)
{
    for (int steps = 0; steps < 2; steps++)
        for (int i = 0; i < c->count; i++)
            if (add_row(c, &c->entry[i], steps != 0, err) != 0)
                return -1;
    if (c->he_s >= 0 && c->job.first == 0 && add_he_rows(c, err) != 0)
        return -1;
    for (size_t i = 0; published_row(i) != NULL; i++)
        put_row(c, published_row(i));
    return 0;
}

/* ------------------------------------------------------------------ report */

static void machine_line(const struct compare *c, char *out, size_t cap)
{
    struct utsname name;
    char date[32];
    clock_iso(clock_unix(), date);
    (void)snprintf(out, cap, "%.10s; %ld cores (%s), kernels %s; one thread a party, %d thread%s for plain and stip; medians of %d.", date,
                   sysconf(_SC_NPROCESSORS_ONLN), uname(&name) == 0 ? name.machine : "?", kernels_get()->name, c->threads,
                   c->threads == 1 ? "" : "s", c->repeats);
}

static int report(const struct compare *c, const struct cli_cmd *cmd, struct err *err)
{
    const char *markdown = cli_str(cmd, "markdown", NULL), *plot = cli_str(cmd, "plot", NULL), *scatter = cli_str(cmd, "scatter", NULL);
    const bool lengths = cli_str(cmd, "lengths", NULL) != NULL || cli_str(cmd, "widths", NULL) != NULL;
    int (*const draw)(const char *, const char *, const struct compare_row *, size_t, struct err *) = lengths ? table_lengths : table_plot;
    char machine[256], title[128];
    machine_line(c, machine, sizeof machine);
    (void)snprintf(title, sizeof title, lengths ? "%.40s: what secret sharing sends" : "%.40s beside the secure peers", lengths ? c->shape : c->row[0].shape);
    if ((markdown != NULL && table_markdown(markdown, title, machine, c->row, c->rows, err) != 0) ||
        (plot != NULL && draw(plot, title, c->row, c->rows, err) != 0) ||
        (scatter != NULL && table_scatter(scatter, title, c->row, c->rows, err) != 0))
        return -1;
    if (!cli_on(cmd, "json")) {
        table_text(c->row, c->rows);
        for (int i = 0; i < c->count; i++)
            if (c->entry[i].broken[0] != '\0')
                printf("%s did not run: %s\n", c->entry[i].name, c->entry[i].broken);
        return 0;
    }
    struct json_doc *doc = json_new_object("result");
    json_put_str(doc, json_node(doc), "event", "compare");
    json_put_str(doc, json_node(doc), "machine", machine);
    json_put_int(doc, json_node(doc), "repeats", c->repeats);
    json_put_int(doc, json_node(doc), "threads", c->threads);
    table_json(doc, json_node(doc), c->row, c->rows);
    return report_print(doc, err);
}

static void close_compare(struct compare *c)
{
    for (int i = 0; i < c->count; i++) {
        free(c->entry[i].last.rows);
        free(c->entry[i].twin);
    }
    ours_stip_close(c->stip);
    ours_plain_close(&c->plain);
    free(c->reference);
    job_free(&c->job);
    free(c);
}

/* Products of BERT-base with 128 tokens, on one core. */
static int show_matmul(bool json, struct err *err)
{
    static const int shapes[][3] = {{128, 768, 768}, {128, 768, 3072}, {128, 3072, 768}};
    struct ring_speed_limit limits[RING_SPEED_UNITS];
    struct json_doc *doc = json_new_object("matmul");
    struct json *units = json_put_array(doc, json_node(doc), "limits"), *list = json_put_array(doc, json_node(doc), "products");
    int rc = 0;
    ring_speed_limits(limits);
    const double limit = limits[0].per_s;
    json_put_str(doc, json_node(doc), "event", "matmul");
    if (!json)
        printf("multiply-adds of 64-bit integers, billions in a second of one core; on registers alone:\n");
    for (int i = 0; i < RING_SPEED_UNITS; i++) {
        struct json *one = json_put_object(doc, units, NULL);
        json_put_str(doc, one, "unit", limits[i].unit);
        json_put_int(doc, one, "steps", limits[i].steps);
        json_put_num(doc, one, "per_s", limits[i].per_s);
        if (!json)
            printf("  %-22s %6.1f, %d for one\n", limits[i].unit, limits[i].per_s / 1e9, limits[i].steps);
    }
    for (size_t i = 0; rc == 0 && i < sizeof shapes / sizeof *shapes; i++) {
        const int *s = shapes[i];
        double rate;
        if ((rc = ring_speed(&rate, s[0], s[1], s[2], err)) != 0)
            break;
        struct json *one = json_put_object(doc, list, NULL);
        json_put_int(doc, one, "m", s[0]);
        json_put_int(doc, one, "k", s[1]);
        json_put_int(doc, one, "n", s[2]);
        json_put_num(doc, one, "per_s", rate);
        if (!json)
            printf("  %4d x %4d x %4d      %6.1f, %.0f %%\n", s[0], s[1], s[2], rate / 1e9, limit > 0 ? 100 * rate / limit : 0);
    }
    if (rc == 0 && json)
        return report_print(doc, err);
    json_free(doc);
    return rc;
}

int cmd_compare(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *model = cli_str(cmd, "model", NULL), *shape = cli_str(cmd, "shape", NULL);
    char dir[FILE_PATH_MAX] = "", found[FILE_PATH_MAX];
    char tuned[2 * FILE_PATH_MAX];
    const char *lengths = cli_str(cmd, "lengths", NULL), *widths = cli_str(cmd, "widths", NULL);
    int64_t threads = 1, repeats = 3, seq = 128;
    struct compare *c = calloc(1, sizeof *c);
    int rc = -1;
    (void)argc;
    (void)argv;
    if (c == NULL)
        return err_oom(err, sizeof *c);
    if (cli_on(cmd, "matmul")) {
        free(c);
        return show_matmul(cli_on(cmd, "json"), err);
    }
    (void)snprintf(tuned, sizeof tuned, "%s", cli_str(cmd, "tuned", ""));
    if ((model == NULL) == (shape == NULL)) {
        err_set(err, ERR_USAGE, "compare needs --model HFDIR or --shape NAME; for example: %s", cmd->example);
        goto done;
    }
    c->he_s = -1;
    if (cli_num(cmd, "he", 0, 1e6, &c->he_s, err) != 0 || cli_int(cmd, "threads", 1, 256, &threads, err) != 0 ||
        cli_int(cmd, "repeats", 1, REPEATS_MAX, &repeats, err) != 0 || read_systems(c, cli_str(cmd, "systems", DEFAULT_SYSTEMS), err) != 0 ||
        read_tuned(c, tuned, err) != 0 || (model != NULL && hub_find(found, model, err) != 0) ||
        kernels_choose(NULL, err) != 0 || threads_start((int)threads, err) != 0)
        goto done;
    if (shape != NULL && widths == NULL && (shapes_temp_dir(dir, err) != 0 || shapes_checkpoint(shape, dir, err) != 0))
        goto done;
    c->network = cli_str(cmd, "network", "loopback");
    if (!table_link(c->network, &c->line.rtt_ms, &c->line.rate_mbit)) {
        err_set(err, ERR_USAGE, "--network: expected loopback, lan or wan, found '%.20s'", c->network);
        goto done;
    }
    c->threads = (int)threads;
    c->repeats = (int)repeats;
    c->shape = shape;
    if (shape == NULL) {
        const char *slash = strrchr(found, '/');
        c->shape = slash == NULL ? found : slash + 1;
    }
    if ((lengths != NULL || widths != NULL) && (!cli_on(cmd, "plan") || (widths != NULL && (lengths != NULL || shape == NULL)))) {
        err_set(err, ERR_USAGE, "--lengths or --widths, of a --shape, go with --plan; a run takes one --seq and one width");
        goto done;
    }
    if (cli_int(cmd, "seq", 1, 4096, &seq, err) != 0 || (widths == NULL && make_job(c, cmd, shape != NULL ? dir : found, seq, err) != 0))
        goto done;
    if (widths != NULL)
        rc = plan_widths(c, cmd, seq, widths, err);
    else if (lengths != NULL)
        rc = plan_lengths(c, cmd, shape != NULL ? dir : found, lengths, err);
    else if (cli_on(cmd, "plan"))
        rc = plan_rows(c, err);
    else if (set_up(c, err) == 0 && measure(c, !cli_on(cmd, "json"), err) == 0)
        rc = make_rows(c, err);
    if (rc == 0)
        rc = report(c, cmd, err);
    if (rc == 0 && c->bad)
        rc = err_set(err, ERR_CHECK, "a system left its fixed-point range; its row says how");
done:
    close_compare(c);
    shapes_drop_dir(dir);
    return rc;
}
