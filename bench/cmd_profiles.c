#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/threads.h"
#include "bench/cmd.h"
#include "bench/private.h"
#include "bench/shapes.h"
#include "bench/stats.h"
#include "engine/kernels/table.h"
#include "model/hub.h"
#include "user/report.h"
#include "user/sample.h"

#define REPEATS_MAX 101

/* What a developer can choose; the first is what the others are compared with. */
static const struct kind {
    const char *profile, *head, *local_layers;
} kinds[] = {{"stip", "server", "0"}, {"gauge", "server", "0"}, {"stip", "user", "0"}, {"gauge", "user", "0"},
             {"stip", "user", "1"}, {"gauge", "user", "1"}};

#define KINDS (sizeof kinds / sizeof *kinds)

/* Of one kind and one kind of work, a value per round. */
struct samples {
    double tok_s[REPEATS_MAX], ratio[REPEATS_MAX], server_us[REPEATS_MAX], server_ratio[REPEATS_MAX], user_us[REPEATS_MAX];
};

struct profiles {
    struct private *side[KINDS];
    struct samples decode[KINDS], prefill[KINDS];
    int32_t *ids;
    float *logits;
    int prompt, gen, repeats, threads;
};

/* T tokens as one pass, or one after the other. */
static int work(struct profiles *s, struct private *p, int T, bool decode, double us[2], struct err *err)
{
    const int outputs = config_outputs(private_grant(p)->config), each = decode ? 1 : T;
    const uint64_t server = private_server_us(p), start = clock_us();
    for (int at = 0; at < T; at += each)
        if (private_append(p, s->ids + at, NULL, each, each - 1, 1, s->logits, err) != 0)
            return -1;
        else
            s->ids[at] = sample_argmax(s->logits, outputs);
    us[1] = (double)(private_server_us(p) - server);
    us[0] = (double)(clock_us() - start);
    return 0;
}

static int round_of(struct profiles *s, int round, bool decode, struct err *err)
{
    struct samples *all = decode ? s->decode : s->prefill;
    const int T = decode ? s->gen : s->prompt;
    for (size_t i = 0; i < KINDS; i++) { /* every second round backwards: what the machine does meanwhile meets all */
        const size_t k = round % 2 == 0 ? i : KINDS - 1 - i;
        double us[2];
        private_restart(s->side[k]);
        if (work(s, s->side[k], T, decode, us, err) != 0)
            return -1;
        all[k].tok_s[round] = T * 1e6 / us[0];
        all[k].server_us[round] = us[1] / T;
        all[k].user_us[round] = (us[0] - us[1]) / T;
    }
    for (size_t k = 0; k < KINDS; k++) {
        all[k].ratio[round] = all[k].tok_s[round] / all[0].tok_s[round];
        all[k].server_ratio[round] = all[k].server_us[round] / all[0].server_us[round];
    }
    return 0;
}

static int open_side(struct private **out, const char *model, const struct cli_cmd *cmd, const struct kind *kind, int cap, struct err *err)
{
    struct cli_opt opts[] = {{.name = "profile", .value = kind->profile}, {.name = "head", .value = kind->head},
                             {.name = "local-layers", .value = kind->local_layers}, {.name = "dtype", .value = cli_str(cmd, "dtype", NULL)},
                             {.name = "kv", .value = cli_str(cmd, "kv", NULL)}, {.name = NULL}};
    const struct cli_cmd own = {.name = cmd->name, .opts = opts};
    return private_open(out, model, &own, cap, err) == 0 ? 0 : err_wrap(err, "profile %s", kind->profile);
}

static int measure(struct profiles *s, const char *model, const struct cli_cmd *cmd, struct err *err)
{
    const int cap = s->prompt > s->gen ? s->prompt : s->gen;
    struct config probe;
    if (config_read(&probe, model, err) != 0)
        return -1;
    const int V = probe.V, outputs = config_outputs(&probe), positions = probe.positions;
    const bool causal = probe.causal;
    int rc = cmd_reads_text(cmd, &probe, err);
    config_free(&probe);
    if (rc == 0 && (!causal || cap > positions))
        rc = err_set(err, ERR_USAGE, "profiles needs a causal model with at least %d positions", cap);
    if (rc != 0)
        return rc;
    s->ids = malloc((size_t)cap * sizeof *s->ids);
    s->logits = malloc((size_t)outputs * sizeof *s->logits);
    if (s->ids == NULL || s->logits == NULL)
        return err_oom(err, (size_t)outputs * sizeof *s->logits);
    for (size_t k = 0; k < KINDS; k++)
        if (open_side(&s->side[k], model, cmd, &kinds[k], cap, err) != 0)
            return -1;
    synth_ids(s->ids, cap, V, 1);
    for (int round = -1; rc == 0 && round < s->repeats; round++) /* the one before the first warms up */
        if ((rc = round_of(s, round < 0 ? 0 : round, false, err)) == 0)
            rc = round_of(s, round < 0 ? 0 : round, true, err);
    return rc;
}

/* ------------------------------------------------------------------ report */

struct figures {
    double tok_s, ratio, server_us, server_ratio, user_us;
};

static struct figures medians(struct samples *s, int repeats)
{
    const size_t n = (size_t)repeats;
    return (struct figures){stats_median(s->tok_s, n), stats_median(s->ratio, n), stats_median(s->server_us, n),
                            stats_median(s->server_ratio, n), stats_median(s->user_us, n)};
}

static void put_figures(struct json_doc *doc, struct json *list, const struct kind *kind, const char *what, const struct figures *f)
{
    struct json *node = json_put_object(doc, list, NULL);
    json_put_str(doc, node, "profile", kind->profile);
    json_put_str(doc, node, "head", kind->head);
    json_put_int(doc, node, "local_layers", kind->local_layers[0] - '0');
    json_put_str(doc, node, "work", what);
    json_put_num(doc, node, "tok_s", f->tok_s);
    json_put_num(doc, node, "ratio", f->ratio);
    json_put_num(doc, node, "server_us_token", f->server_us);
    json_put_num(doc, node, "server_ratio", f->server_ratio);
    json_put_num(doc, node, "user_us_token", f->user_us);
}

static int print(struct profiles *s, bool as_json, struct err *err)
{
    struct json_doc *doc = json_new_object("result");
    struct json *list = json_put_array(doc, json_node(doc), "rows");
    json_put_int(doc, json_node(doc), "threads", s->threads);
    json_put_int(doc, json_node(doc), "repeats", s->repeats);
    if (!as_json)
        printf("%d threads, medians of %d rounds in turn; ratios to the first line of the same round\n\n%-6s %-6s %-6s %-12s %8s %7s %13s %7s %11s\n",
               s->threads, s->repeats, "profile", "head", "local", "work", "tok/s", "ratio", "server us/tok", "ratio", "user us/tok");
    for (int decode = 0; decode < 2; decode++)
        for (size_t k = 0; k < KINDS; k++) {
            char what[32];
            const struct figures f = medians(decode ? &s->decode[k] : &s->prefill[k], s->repeats);
            (void)snprintf(what, sizeof what, "%s %d", decode ? "decode" : "prefill", decode ? s->gen : s->prompt);
            put_figures(doc, list, &kinds[k], what, &f);
            if (!as_json)
                printf("%-7s %-6s %-6s %-12s %8.1f %7.3f %13.1f %7.3f %11.1f\n", kinds[k].profile, kinds[k].head, kinds[k].local_layers, what,
                       f.tok_s, f.ratio, f.server_us, f.server_ratio, f.user_us);
        }
    int rc = as_json ? report_print(doc, err) : 0;
    if (!as_json)
        json_free(doc);
    return rc;
}

int cmd_profiles(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *model = cli_str(cmd, "model", NULL), *shape = cli_str(cmd, "shape", NULL);
    int64_t prompt = 128, gen = 32, repeats = 5, threads = sysconf(_SC_NPROCESSORS_ONLN);
    char dir[FILE_PATH_MAX] = "", found[FILE_PATH_MAX];
    struct profiles *s = calloc(1, sizeof *s);
    int rc = -1;
    (void)argc;
    (void)argv;
    if (s == NULL)
        return err_oom(err, sizeof *s);
    if ((model == NULL) == (shape == NULL)) {
        err_set(err, ERR_USAGE, "profiles needs --model HFDIR or --shape NAME; for example: %s", cmd->example);
        goto done;
    }
    if (cli_int(cmd, "prompt", 1, 65536, &prompt, err) != 0 || cli_int(cmd, "gen", 1, 4096, &gen, err) != 0 ||
        cli_int(cmd, "repeats", 1, REPEATS_MAX, &repeats, err) != 0 || cli_int(cmd, "threads", 1, 256, &threads, err) != 0 ||
        (model != NULL && hub_find(found, model, err) != 0) || shapes_temp_dir(dir, err) != 0 ||
        (shape != NULL && shapes_checkpoint(shape, 0, dir, err) != 0) || kernels_choose(NULL, err) != 0 || threads_start((int)threads, err) != 0)
        goto done;
    s->prompt = (int)prompt;
    s->gen = (int)gen;
    s->repeats = (int)repeats;
    s->threads = (int)threads;
    rc = measure(s, shape != NULL ? dir : found, cmd, err);
    if (rc == 0)
        rc = print(s, cli_on(cmd, "json"), err);
done:
    for (size_t k = 0; k < KINDS; k++)
        private_close(s->side[k]);
    free(s->ids);
    free(s->logits);
    free(s);
    threads_stop();
    shapes_drop_dir(dir);
    return rc;
}
