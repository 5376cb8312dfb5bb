#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "bench/cmd.h"
#include "bench/gguf.h"
#include "bench/peer.h"
#include "bench/private.h"
#include "bench/shapes.h"
#include "bench/speed_rows.h"
#include "bench/stats.h"
#include "engine/kernels/table.h"
#include "base/threads.h"
#include "model/hub.h"
#include "tests/support/plain.h"
#include "user/local.h"
#include "user/report.h"
#include "user/sample.h"
#include "user/seal.h"

#define REPEATS 5
#define REPEATS_MAX 101
#define LIST_MAX 16
#define BATCH_MAX 64

/* What the weights are held in, and what GGUF calls the type of as many bytes. */
static const struct speed_dtype {
    const char *name, *gguf;
} dtypes[] = {{"f32", "f32"}, {"bf16", "bf16"}, {"int8", "q8_0"}};

/* One side of the comparison: the same kernels, with or without the user's permutations around them. */
struct side {
    const char *name;
    const struct net *net;
    const struct embed *embed;
    const struct grant *grant; /* NULL: plain */
    struct kvcache *kv[BATCH_MAX];
    struct local *local[BATCH_MAX]; /* the user's layers, NULL without */
    struct scratch *scratch;
    float *x, *x_p, *y, *hidden, *logits;
    void *work;
};

struct speed {
    struct side plain, private;
    struct plain loaded;
    struct private *owner;
    const struct config *config;
    struct machine machine;
    struct speed_model cost;
    const struct speed_dtype *dtype;
    enum kv_dtype kv;
    int threads, gen, context, batch_max, rows, repeats;
    int prompts[LIST_MAX], prompt_count, batches[LIST_MAX], batch_count;
    struct peer peers[PEERS_MAX];
    int peer_count;
    const char *shape;       /* NULL: a checkpoint was given */
    char gguf[FILE_PATH_MAX]; /* of the peers that need one */
    struct speed_row row[SPEED_ROWS_MAX];
    int row_count;
};

/* ------------------------------------------------------------------ one pass, as the roles would do it */

/* B sequences of T tokens each; the last row of each goes to the user, who takes the most probable token. */
static int pass(struct speed *sp, struct side *s, const int32_t *ids, int B, int T, int32_t *next, struct err *err)
{
    struct forward_seq seqs[BATCH_MAX];
    const struct config *c = sp->config;
    size_t D = (size_t)c->D, width = (size_t)net_outputs(s->net);
    for (int b = 0; b < B; b++) {
        float *x = s->x + (size_t)b * (size_t)T * D, *x_p = s->x_p + (size_t)b * (size_t)T * D;
        if (embed_rows(s->embed, ids + (size_t)b * (size_t)T, NULL, T, s->kv[b]->len, x, err) != 0 ||
            (s->local[b] != NULL && local_rows(s->local[b], s->kv[b]->len, x, T, err) != 0) ||
            (s->grant != NULL && grant_turn(s->grant, x, (size_t)T, err) != 0))
            return -1;
        const float *rows = s->grant == NULL ? x : seal_rows(x_p, x, (size_t)T, &s->grant->residual).data;
        seqs[b] = (struct forward_seq){.kv = s->kv[b], .x = rows, .T = T, .out_from = c->causal ? T - 1 : 0, .out_n = 1,
                                       .out = s->y + (size_t)b * width};
    }
    forward(s->net, s->scratch, seqs, B);
    /* As a gateway would for its sessions: one pass over the head for all of them. */
    const float *logits = s->y;
    if (s->grant != NULL && !s->grant->head_here) {
        unseal_rows(s->logits, s->y, (size_t)B, &s->grant->output);
        logits = s->logits;
    } else if (s->grant != NULL) {
        unseal_rows(s->hidden, s->y, (size_t)B, &s->grant->residual);
        if (grant_turn_back(s->grant, s->hidden, (size_t)B, err) != 0)
            return -1;
        head_apply(c, s->grant->head, s->hidden, B, s->work, s->logits);
        logits = s->logits;
    }
    for (int b = 0; b < B; b++)
        next[b] = sample_argmax(logits + (size_t)b * (size_t)config_outputs(c), config_outputs(c));
    return 0;
}

typedef int (*timed)(struct speed *sp, struct side *s, const struct peer_work *work, double *tok_s, struct err *err);

static int time_prefill(struct speed *sp, struct side *s, const struct peer_work *work, double *tok_s, struct err *err)
{
    int B = work->batch, T = work->tokens;
    int32_t *ids = malloc((size_t)B * (size_t)T * sizeof *ids), next[BATCH_MAX];
    if (ids == NULL)
        return err_oom(err, (size_t)B * (size_t)T * sizeof *ids);
    synth_ids(ids, B * T, sp->config->V, (uint64_t)T);
    for (int b = 0; b < B; b++)
        kvcache_truncate(s->kv[b], 0);
    uint64_t start = clock_us();
    int rc = pass(sp, s, ids, B, T, next, err);
    *tok_s = (double)B * T * 1e6 / (double)(clock_us() - start);
    free(ids);
    return rc;
}

static int time_decode(struct speed *sp, struct side *s, const struct peer_work *work, double *tok_s, struct err *err)
{
    int B = work->batch;
    int32_t ids[BATCH_MAX];
    synth_ids(ids, B, sp->config->V, (uint64_t)B);
    for (int b = 0; b < B; b++)
        kvcache_truncate(s->kv[b], 0);
    uint64_t start = clock_us();
    for (int i = 0; i < work->tokens; i++)
        if (pass(sp, s, ids, B, 1, ids, err) != 0)
            return -1;
    *tok_s = (double)B * work->tokens * 1e6 / (double)(clock_us() - start);
    return 0;
}

/* ------------------------------------------------------------------ rows of the report */

static int put_row(struct speed *sp, struct speed_row row, bool text, struct err *err)
{
    if (sp->row_count == SPEED_ROWS_MAX)
        return err_set(err, ERR_USAGE, "more than %d rows; give fewer lengths, batches or peers", SPEED_ROWS_MAX);
    speed_row_limits(&row, &sp->cost, &sp->machine);
    if (text)
        speed_row_print(&row);
    sp->row[sp->row_count++] = row;
    return 0;
}

/* Plain, private and the peers take turns, so that what else the machine does meets all. */
static int compare(struct speed *sp, const struct peer_work *work, bool text, struct err *err)
{
    double plain[REPEATS_MAX], private[REPEATS_MAX], peer[PEERS_MAX][REPEATS_MAX], ratio[PEERS_MAX + 1][REPEATS_MAX], warm;
    const timed job = work->decode ? time_decode : time_prefill;
    size_t repeats = (size_t)sp->repeats;
    struct speed_row row = {.decode = work->decode, .tokens = work->tokens, .batch = work->batch, .private_ratio = 1};
    if (job(sp, &sp->plain, work, &warm, err) != 0 || job(sp, &sp->private, work, &warm, err) != 0)
        return -1;
    for (int i = 0; i < sp->repeats; i++) {
        if (job(sp, &sp->plain, work, &plain[i], err) != 0 || job(sp, &sp->private, work, &private[i], err) != 0)
            return -1;
        ratio[PEERS_MAX][i] = private[i] / plain[i];
        for (int k = 0; k < sp->peer_count; k++) {
            if (!peer_can(&sp->peers[k], work))
                continue;
            if (peer_run(&sp->peers[k], work, &peer[k][i], err) != 0)
                return -1;
            ratio[k][i] = private[i] / peer[k][i];
        }
    }
    (void)strcpy(row.mode, "private");
    row.tok_s = stats_median(private, repeats);
    if (put_row(sp, row, text, err) != 0)
        return -1;
    (void)strcpy(row.mode, "plain");
    row.tok_s = stats_median(plain, repeats);
    row.private_ratio = stats_median(ratio[PEERS_MAX], repeats);
    if (put_row(sp, row, text, err) != 0)
        return -1;
    for (int k = 0; k < sp->peer_count; k++) {
        if (!peer_can(&sp->peers[k], work))
            continue;
        (void)snprintf(row.mode, sizeof row.mode, "peer:%s", sp->peers[k].label);
        row.tool = peer_kind_name(&sp->peers[k]);
        row.tok_s = stats_median(peer[k], repeats);
        row.private_ratio = stats_median(ratio[k], repeats);
        if (put_row(sp, row, text, err) != 0)
            return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------ setting up */

static int parse_list(const char *text, const char *flag, int max, int *out, int *count, struct err *err)
{
    *count = 0;
    for (const char *p = text; *p != '\0';) {
        char *end;
        long v = strtol(p, &end, 10);
        if (end == p || v < 1 || v > max || *count == LIST_MAX || (*end != ',' && *end != '\0'))
            return err_set(err, ERR_USAGE, "--%s: expected up to %d numbers from 1 to %d with commas, found '%.40s'", flag, LIST_MAX,
                           max, text);
        out[(*count)++] = (int)v;
        p = *end == ',' ? end + 1 : end;
    }
    return 0;
}

static void close_side(struct side *s)
{
    for (int b = 0; b < BATCH_MAX; b++) {
        kvcache_free(s->kv[b]);
        local_free(s->local[b]);
    }
    scratch_free(s->scratch);
    free(s->x);
    free(s->x_p);
    free(s->y);
    free(s->hidden);
    free(s->work);
    free(s->logits);
}

static float *floats(size_t rows, size_t width)
{
    return calloc(rows * width, sizeof(float));
}

static int open_side(const struct speed *sp, struct side *s, struct err *err)
{
    const struct config *c = sp->config;
    size_t rows = (size_t)sp->rows, D = (size_t)c->D, outputs = (size_t)config_outputs(c);
    size_t width = outputs > D ? outputs : D;
    for (int b = 0; b < sp->batch_max; b++) {
        const int tokens = b == 0 || !c->causal ? sp->context : sp->gen;
        if (kvcache_new_alone(&s->kv[b], &s->net->config, sp->kv, tokens, err) != 0)
            return -1;
        if (s->grant != NULL && s->grant->local != NULL &&
            local_new(&s->local[b], s->grant->local, sp->kv, tokens, sp->rows, err) != 0)
            return -1;
    }
    if (scratch_new(&s->scratch, s->net, sp->rows, sp->batch_max, err) != 0)
        return -1;
    s->x = floats(rows, D);
    s->x_p = floats(rows, D);
    s->y = floats((size_t)sp->batch_max, width);
    s->hidden = floats((size_t)sp->batch_max, D);
    s->logits = floats((size_t)sp->batch_max, width);
    if (s->x == NULL || s->x_p == NULL || s->y == NULL || s->hidden == NULL || s->logits == NULL)
        return err_oom(err, rows * D * sizeof(float));
    if (s->grant != NULL && s->grant->head_here)
        return head_work_new(&s->work, s->grant->head, sp->batch_max, err);
    return 0;
}

static int set_up(struct speed *sp, const struct cli_cmd *cmd, const char *model, struct err *err)
{
    struct config probe;
    if (config_read(&probe, model, err) != 0)
        return -1;
    if (cmd_reads_text(cmd, &probe, err) != 0) {
        config_free(&probe);
        return -1;
    }
    int positions = probe.positions;
    bool causal = probe.causal;
    config_free(&probe);
    sp->context = causal ? sp->gen : 1;
    sp->batch_max = 1;
    for (int i = 0; i < sp->prompt_count; i++) {
        if (sp->prompts[i] > positions)
            return err_set(err, ERR_USAGE, "--prompt: %d tokens, the model takes %d", sp->prompts[i], positions);
        sp->context = sp->prompts[i] > sp->context ? sp->prompts[i] : sp->context;
    }
    for (int i = 0; i < sp->batch_count; i++)
        sp->batch_max = sp->batches[i] > sp->batch_max ? sp->batches[i] : sp->batch_max;
    sp->rows = !causal ? sp->context * sp->batch_max : sp->context > sp->batch_max ? sp->context : sp->batch_max;
    if (causal && sp->gen > positions)
        return err_set(err, ERR_USAGE, "--gen: %d tokens, the model takes %d", sp->gen, positions);
    if (kernels_choose(NULL, err) != 0 || machine_measure(&sp->machine, sp->threads, err) != 0 ||
        threads_start(sp->threads, err) != 0 || private_open(&sp->owner, model, cmd, 1, err) != 0 ||
        plain_open(&sp->loaded, model, true, 1, private_grant(sp->owner)->compute, err) != 0)
        return -1;
    sp->config = sp->loaded.config;
    sp->plain = (struct side){.name = "plain", .net = sp->loaded.net, .embed = sp->loaded.embed};
    sp->private = (struct side){.name = "private", .net = private_net(sp->owner), .embed = private_grant(sp->owner)->embed,
                                .grant = private_grant(sp->owner)};
    const struct config *c = sp->config;
    static const double bytes[] = {[WEIGHT_ROWS] = 4, [WEIGHT_F32] = 4, [WEIGHT_BF16] = 2, [WEIGHT_INT8] = 1};
    sp->cost = (struct speed_model){
        .layer_weights = (double)c->L * ((double)(2 * c->H + 2 * c->G) * c->K * c->D + (c->gated ? 3.0 : 2.0) * c->D * c->F),
        .head_weights = (double)config_outputs(c) * c->D,
        .weight_bytes = bytes[sp->loaded.net->layers[0].up.w.format],
        .peak = machine_peak(&sp->machine, sp->dtype->name),
        .pair = 4.0 * c->H * c->K * c->L,
        .pair_peak = machine_peak(&sp->machine, "f32"),
        .causal = c->causal};
    return open_side(sp, &sp->plain, err) != 0 ? -1 : open_side(sp, &sp->private, err);
}

static int measure(struct speed *sp, const char *dir, bool text, struct err *err)
{
    struct peer_work work = {.gguf = sp->gguf, .shape = sp->shape, .dtype = sp->dtype->name, .dir = dir, .threads = sp->threads, .batch = 1};
    if (text)
        printf("limits of this machine on %d threads: %.1f GB/s", sp->threads, sp->machine.bandwidth / 1e9);
    for (enum machine_unit u = 0; text && u < MACHINE_UNITS; u++)
        if (sp->machine.ops[u] > 0)
            printf(", %s %.0f Gop/s", machine_unit_name(u), sp->machine.ops[u] / 1e9);
    if (text)
        putchar('\n');
    for (int i = 0; i < sp->prompt_count; i++) {
        work.tokens = sp->prompts[i];
        /* Prompts come one by one; whole texts for a bidirectional model come together. */
        for (int k = 0; k < (sp->config->causal ? 1 : sp->batch_count); k++) {
            work.batch = sp->config->causal ? 1 : sp->batches[k];
            if (compare(sp, &work, text, err) != 0)
                return -1;
        }
    }
    work.decode = true;
    work.tokens = sp->gen;
    for (int i = 0; sp->config->causal && i < sp->batch_count; i++) {
        work.batch = sp->batches[i];
        if (compare(sp, &work, text, err) != 0)
            return -1;
    }
    return 0;
}

/* The limits once more, after the work: another program that had the machine at the beginning would lower them, and nothing can
 * raise them. */
static int measure_again(struct speed *sp, struct err *err)
{
    struct machine now;
    if (machine_measure(&now, sp->threads, err) != 0)
        return -1;
    machine_best(&sp->machine, &now);
    sp->cost.peak = machine_peak(&sp->machine, sp->dtype->name);
    sp->cost.pair_peak = machine_peak(&sp->machine, "f32");
    for (int i = 0; i < sp->row_count; i++)
        speed_row_limits(&sp->row[i], &sp->cost, &sp->machine);
    return 0;
}

static int print_json(const struct speed *sp, struct err *err)
{
    struct json_doc *doc = json_new_object("result");
    struct json *list = json_put_array(doc, json_node(doc), "rows");
    for (int i = 0; i < sp->row_count; i++)
        speed_row_json(doc, list, &sp->row[i]);
    struct json *machine = json_put_object(doc, json_node(doc), "machine");
    json_put_int(doc, machine, "threads", sp->threads);
    json_put_num(doc, machine, "bandwidth_gb_s", sp->machine.bandwidth / 1e9);
    struct json *units = json_put_object(doc, machine, "gop_s");
    for (enum machine_unit u = 0; u < MACHINE_UNITS; u++)
        if (sp->machine.ops[u] > 0)
            json_put_num(doc, units, machine_unit_name(u), sp->machine.ops[u] / 1e9);
    json_put_str(doc, json_node(doc), "dtype", sp->dtype->name);
    if (sp->shape != NULL)
        json_put_str(doc, json_node(doc), "shape", sp->shape);
    json_put_int(doc, json_node(doc), "repeats", sp->repeats);
    return report_print(doc, err);
}

static int draw(const struct speed *sp, const char *path, const char *model, struct err *err)
{
    char title[256];
    (void)snprintf(title, sizeof title, "%.160s, %s, %d threads", sp->shape != NULL ? sp->shape : model, sp->dtype->name, sp->threads);
    return speed_rows_plot(path, title, sp->row, sp->row_count, err);
}

/* The flags that say what is measured. */
static int read_flags(struct speed *sp, const struct cli_cmd *cmd, struct err *err)
{
    const char *model = cli_str(cmd, "model", NULL), *dtype = cli_str(cmd, "dtype", "f32");
    int64_t threads = sysconf(_SC_NPROCESSORS_ONLN), gen = 64, repeats = REPEATS;
    sp->shape = cli_str(cmd, "shape", NULL);
    if ((model == NULL) == (sp->shape == NULL))
        return err_set(err, ERR_USAGE, "speed needs --model HFDIR or --shape NAME; for example: %s", cmd->example);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtype, dtypes[i].name) == 0)
            sp->dtype = &dtypes[i];
    if (sp->dtype == NULL)
        return err_set(err, ERR_USAGE, "--dtype: expected f32, bf16 or int8, found '%.20s'", dtype);
    if (cli_int(cmd, "threads", 1, 256, &threads, err) != 0 || cli_int(cmd, "gen", 1, 4096, &gen, err) != 0 ||
        cli_int(cmd, "repeats", 1, REPEATS_MAX, &repeats, err) != 0 ||
        parse_list(cli_str(cmd, "prompt", "128,512"), "prompt", 65536, sp->prompts, &sp->prompt_count, err) != 0 ||
        parse_list(cli_str(cmd, "batch", "1,8,32"), "batch", BATCH_MAX, sp->batches, &sp->batch_count, err) != 0 ||
        peer_parse(cli_str(cmd, "peer", ""), sp->peers, &sp->peer_count, err) != 0 || private_kv(cmd, &sp->kv, err) != 0)
        return -1;
    sp->threads = (int)threads;
    sp->gen = (int)gen;
    sp->repeats = (int)repeats;
    for (int k = 0; k < sp->peer_count; k++)
        if (!peer_needs_gguf(&sp->peers[k]) && sp->shape == NULL)
            return err_set(err, ERR_USAGE, "--peer %s knows named shapes only: give --shape, not --model", peer_kind_name(&sp->peers[k]));
    return 0;
}

/* --peer-model, or a GGUF file of the same model in the temporary folder. */
static int find_gguf(struct speed *sp, const struct cli_cmd *cmd, const char *model, const char *dir, struct err *err)
{
    const char *given = cli_str(cmd, "peer-model", NULL);
    char made[FILE_PATH_MAX];
    bool needed = false;
    for (int k = 0; k < sp->peer_count; k++)
        needed = needed || peer_needs_gguf(&sp->peers[k]);
    if (!needed)
        return 0;
    if (given == NULL && (file_join(made, dir, "peer.gguf", err) != 0 || gguf_write(made, model, sp->dtype->gguf, err) != 0))
        return -1;
    /* Peers run in another folder. */
    return realpath(given == NULL ? made : given, sp->gguf) != NULL ? 0
           : err_set(err, ERR_USAGE, "--peer-model: there is no file %.200s", given == NULL ? made : given);
}

int cmd_speed(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *model = cli_str(cmd, "model", NULL), *plot = cli_str(cmd, "plot", NULL);
    char dir[FILE_PATH_MAX] = "", found[FILE_PATH_MAX];
    struct speed *sp = calloc(1, sizeof *sp);
    int rc = -1;
    (void)argc;
    (void)argv;
    if (sp == NULL)
        return err_oom(err, sizeof *sp);
    if (read_flags(sp, cmd, err) != 0 || (sp->shape == NULL && hub_find(found, model, err) != 0) || shapes_temp_dir(dir, err) != 0 ||
        (sp->shape != NULL && shapes_checkpoint(sp->shape, 0, dir, err) != 0))
        goto done;
    model = sp->shape != NULL ? dir : found;
    if (find_gguf(sp, cmd, model, dir, err) != 0 || set_up(sp, cmd, model, err) != 0 ||
        measure(sp, dir, !cli_on(cmd, "json"), err) != 0 || measure_again(sp, err) != 0 || (plot != NULL && draw(sp, plot, model, err) != 0))
        goto done;
    rc = cli_on(cmd, "json") ? print_json(sp, err) : 0;
done:
    close_side(&sp->plain);
    close_side(&sp->private);
    private_close(sp->owner);
    plain_close(&sp->loaded);
    free(sp);
    shapes_drop_dir(dir);
    return rc;
}
