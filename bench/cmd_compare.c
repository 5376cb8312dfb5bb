#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/threads.h"
#include "bench/baselines/compare.h"
#include "bench/baselines/published.h"
#include "bench/baselines/smpc/ring_speed.h"
#include "bench/baselines/table.h"
#include "bench/cmd.h"
#include "bench/interrupt.h"
#include "bench/shapes.h"
#include "engine/kernels/table.h"
#include "model/hub.h"
#include "user/report.h"
#include "user/tokenizer.h"

#define TEXT_CAP ((size_t)16 << 20)
#define DEFAULT_SYSTEMS "plain,stip,crypten,mpcformer,secformer,puma"

/* ------------------------------------------------------------------ what is compared */

static int read_systems(struct compare *c, const char *list, struct err *err)
{
    while (*list != '\0') {
        const size_t n = strcspn(list, ",");
        struct compare_entry *e = &c->entry[c->count];
        char name[32];
        if (c->count == COMPARE_SYSTEMS)
            return err_set(err, ERR_USAGE, "--systems: at most %d", COMPARE_SYSTEMS);
        (void)snprintf(name, sizeof name, "%.*s", (int)n, list);
        e->kind = strcmp(name, "plain") == 0 ? COMPARE_PLAIN : strcmp(name, "stip") == 0 ? COMPARE_STIP : COMPARE_SHARED;
        e->system = network_system(name);
        e->name = e->kind == COMPARE_PLAIN ? "plain" : e->kind == COMPARE_STIP ? "stip" : e->system != NULL ? e->system->name : NULL;
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
            if (c->entry[i].kind == COMPARE_SHARED && strncmp(c->entry[i].name, one, (size_t)(dir - one)) == 0 && c->entry[i].name[dir - one] == '\0') {
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

/* The lines between parties. Network namespaces are made before this process has threads. */
static int read_network(struct compare *c, const struct cli_cmd *cmd, struct err *err)
{
    const char *kind = cli_str(cmd, "line", "");
    c->network = cli_str(cmd, "network", "loopback");
    if (!table_link(c->network, &c->line.rtt_ms, &c->line.rate_mbit))
        return err_set(err, ERR_USAGE, "--network: expected loopback, lan or wan, found '%.20s'", c->network);
    const bool slow = c->line.rtt_ms > 0 && !cli_on(cmd, "plan"), relay = strcmp(kind, "relay") == 0;
    if (kind[0] != '\0' && ((!relay && strcmp(kind, "netns") != 0) || !slow))
        return err_set(err, ERR_USAGE, "--line: expected netns or relay, for a run with --network lan or wan, found '%.20s'", kind);
    if (slow && !relay && tunnel_open(&c->line.tunnel, &(struct tunnel_opts){.ends = TUNNEL_ENDS_MAX, .segments = true}, err) != 0) {
        if (kind[0] != '\0')
            return -1;
        (void)fprintf(stderr, "%s: lines are relays in user space (--line relay)\n", err->text);
    }
    if (slow)
        c->line_kind = c->line.tunnel != NULL ? "netns" : "relay";
    return 0;
}

/* ------------------------------------------------------------------ over lengths and widths */

/* What `--lengths` or `--widths` asks of each of its numbers. */
struct series {
    const struct cli_cmd *cmd;
    const char *list, *model; /* model: a folder, for lengths */
    int64_t seq;              /* of all widths */
    bool widths, plan;
};

/* Rows of one number. A decoder's are those of one more token behind so many. */
static int one_of(struct compare *c, const struct series *s, const char *model, int number, struct err *err)
{
    const size_t before = c->rows;
    size_t kept = before;
    int rc = make_job(c, s->cmd, model, s->widths ? s->seq : number, err);
    if (rc == 0)
        rc = s->plan ? compare_plan(c, err) : compare_measure(c, err) != 0 ? -1 : compare_rows(c, err);
    const bool decoder = c->job.first > 0;
    compare_drop_job(c);
    for (size_t i = before; i < c->rows; i++) {
        if (decoder && strstr(c->row[i].shape, "1 token after") == NULL)
            continue;
        c->row[kept] = c->row[i];
        *(s->widths ? &c->row[kept].width : &c->row[kept].length) = number;
        kept++;
    }
    c->rows = kept;
    return rc;
}

static int one_wide(struct compare *c, const struct series *s, int width, struct err *err)
{
    const char *const shape = c->shape;
    char dir[FILE_PATH_MAX], name[64];
    if (shapes_temp_dir(dir, err) != 0)
        return -1;
    (void)snprintf(name, sizeof name, "%.12s %d wide", shape, width);
    c->shape = name;
    int rc = s->plan ? shapes_config(shape, width, dir, err) : shapes_checkpoint(shape, width, dir, err);
    if (rc == 0)
        rc = one_of(c, s, dir, width, err);
    c->shape = shape;
    shapes_drop_dir(dir);
    return rc;
}

static int each(struct compare *c, const struct series *s, struct err *err)
{
    const long most = s->widths ? 65536 : 4096;
    for (const char *at = s->list; *at != '\0';) {
        char *end;
        const long n = strtol(at, &end, 10);
        if (end == at || n < 1 || n > most || (*end != ',' && *end != '\0'))
            return err_set(err, ERR_USAGE, s->widths ? "--widths: expected widths such as 128,256,512, found '%.30s'"
                                                     : "--lengths: expected numbers of tokens such as 32,64,128, found '%.30s'", at);
        if ((s->widths ? one_wide(c, s, (int)n, err) : one_of(c, s, s->model, (int)n, err)) != 0)
            return -1;
        at = *end == ',' ? end + 1 : end;
    }
    return 0;
}

/* All that stands in the table of one job. */
static int one_table(struct compare *c, struct err *err)
{
    if (compare_measure(c, err) != 0 || compare_rows(c, err) != 0 || (c->he_s >= 0 && c->job.first == 0 && compare_he_rows(c, err) != 0))
        return -1;
    for (size_t i = 0; published_row(i) != NULL; i++)
        compare_put_row(c, published_row(i));
    return 0;
}

/* ------------------------------------------------------------------ report */

static void machine_line(const struct compare *c, char *out, size_t cap)
{
    struct utsname name;
    char date[32];
    clock_iso(clock_unix(), date);
    int n = snprintf(out, cap, "%.10s; %ld cores (%s), kernels %s; one thread a party, %d thread%s for plain and stip; medians of %d.", date,
                     sysconf(_SC_NPROCESSORS_ONLN), uname(&name) == 0 ? name.machine : "?", kernels_get()->name, c->threads,
                     c->threads == 1 ? "" : "s", c->repeats);
    if (c->line_kind != NULL)
        (void)snprintf(out + n, cap - (size_t)n, " Lines: %s, %g Mbit/s, round trip %g ms.",
                       c->line.tunnel != NULL ? "between network namespaces, below TCP" : "relays above TCP", c->line.rate_mbit, c->line.rtt_ms);
}

static int report(const struct compare *c, const struct cli_cmd *cmd, struct err *err)
{
    const char *markdown = cli_str(cmd, "markdown", NULL), *plot = cli_str(cmd, "plot", NULL), *scatter = cli_str(cmd, "scatter", NULL);
    const bool lengths = cli_str(cmd, "lengths", NULL) != NULL || cli_str(cmd, "widths", NULL) != NULL;
    int (*const draw)(const char *, const char *, const struct compare_row *, size_t, struct err *) = lengths ? table_lengths : table_plot;
    char machine[384], title[128];
    machine_line(c, machine, sizeof machine);
    (void)snprintf(title, sizeof title, lengths ? "%.40s: what one inference costs" : "%.40s beside the secure peers", lengths ? c->shape : c->row[0].shape);
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
    if (c->line_kind != NULL)
        json_put_str(doc, json_node(doc), "line", c->line_kind);
    json_put_int(doc, json_node(doc), "repeats", c->repeats);
    json_put_int(doc, json_node(doc), "threads", c->threads);
    table_json(doc, json_node(doc), c->row, c->rows);
    return report_print(doc, err);
}

static void close_compare(struct compare *c)
{
    compare_drop_job(c);
    tunnel_close(c->line.tunnel);
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
    interrupt_catch();
    if (read_network(c, cmd, err) != 0 || cli_num(cmd, "he", 0, 1e6, &c->he_s, err) != 0 || cli_int(cmd, "threads", 1, 256, &threads, err) != 0 ||
        cli_int(cmd, "repeats", 1, COMPARE_REPEATS, &repeats, err) != 0 || read_systems(c, cli_str(cmd, "systems", DEFAULT_SYSTEMS), err) != 0 ||
        read_tuned(c, tuned, err) != 0 || (model != NULL && hub_find(found, model, err) != 0) ||
        kernels_choose(NULL, err) != 0 || threads_start((int)threads, err) != 0)
        goto done;
    if (shape != NULL && widths == NULL && (shapes_temp_dir(dir, err) != 0 || shapes_checkpoint(shape, 0, dir, err) != 0))
        goto done;
    c->threads = (int)threads;
    c->repeats = (int)repeats;
    c->shape = shape;
    if (shape == NULL) {
        const char *slash = strrchr(found, '/');
        c->shape = slash == NULL ? found : slash + 1;
    }
    c->talk = !cli_on(cmd, "json");
    if (widths != NULL && (lengths != NULL || shape == NULL)) {
        err_set(err, ERR_USAGE, "--widths goes with a --shape, and not with --lengths");
        goto done;
    }
    if (cli_int(cmd, "seq", 1, 4096, &seq, err) != 0)
        goto done;
    if (widths != NULL || lengths != NULL)
        rc = each(c, &(struct series){cmd, widths != NULL ? widths : lengths, shape != NULL ? dir : found, seq, widths != NULL, cli_on(cmd, "plan")}, err);
    else if ((rc = make_job(c, cmd, shape != NULL ? dir : found, seq, err)) == 0)
        rc = cli_on(cmd, "plan") ? compare_plan(c, err) : one_table(c, err);
    if (rc == 0)
        rc = report(c, cmd, err);
    if (rc == 0 && c->bad)
        rc = err_set(err, ERR_CHECK, "a system left its fixed-point range; its row says how");
done:
    if (rc != 0 && interrupt_seen()) /* whatever it was that could not go on then */
        err_set(err, ERR_INTERNAL, "interrupted");
    close_compare(c);
    shapes_drop_dir(dir);
    return rc;
}
