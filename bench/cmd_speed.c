#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "bench/cmd.h"
#include "bench/machine.h"
#include "bench/private.h"
#include "bench/shapes.h"
#include "engine/kernels/matmul.h"
#include "model/hub.h"
#include "tests/support/plain.h"
#include "user/sample.h"
#include "user/seal.h"

#define REPEATS 5
#define LIST_MAX 16
#define BATCH_MAX 64

/* One side of the comparison: the same kernels, with or without the user's permutations around them. */
struct side {
    const char *name;
    const struct net *net;
    const struct embed *embed;
    const struct grant *grant; /* NULL: plain */
    struct kvcache *kv[BATCH_MAX];
    struct scratch *scratch;
    float *x, *x_p, *y, *hidden, *work, *logits;
};

struct speed {
    struct side plain, private;
    struct plain loaded;
    struct private *owner;
    const struct config *config;
    struct machine machine;
    int threads, gen, context, batch_max, rows;
    int prompts[LIST_MAX], prompt_count, batches[LIST_MAX], batch_count;
    double weights, flop_per_token; /* bytes read and operations done by one step of one token, attention left out */
    struct json_doc *doc;
    struct json *list;
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
        if (embed_rows(s->embed, ids + (size_t)b * (size_t)T, NULL, T, s->kv[b]->len, x, err) != 0)
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
        head_apply(c, s->grant->head, s->hidden, B, s->work, s->logits);
        logits = s->logits;
    }
    for (int b = 0; b < B; b++)
        next[b] = sample_argmax(logits + (size_t)b * (size_t)config_outputs(c), config_outputs(c));
    return 0;
}

static int time_prefill(struct speed *sp, struct side *s, int T, double *tok_s, struct err *err)
{
    int32_t *ids = malloc((size_t)T * sizeof *ids), next[BATCH_MAX];
    if (ids == NULL)
        return err_oom(err, (unsigned)T * sizeof *ids);
    synth_ids(ids, T, sp->config->V, (uint64_t)T);
    kvcache_truncate(s->kv[0], 0);
    uint64_t start = clock_us();
    int rc = pass(sp, s, ids, 1, T, next, err);
    *tok_s = T * 1e6 / (double)(clock_us() - start);
    free(ids);
    return rc;
}

static int time_decode(struct speed *sp, struct side *s, int B, double *tok_s, struct err *err)
{
    int32_t ids[BATCH_MAX];
    synth_ids(ids, B, sp->config->V, (uint64_t)B);
    for (int b = 0; b < B; b++)
        kvcache_truncate(s->kv[b], 0);
    uint64_t start = clock_us();
    for (int i = 0; i < sp->gen; i++)
        if (pass(sp, s, ids, B, 1, ids, err) != 0)
            return -1;
    *tok_s = (double)B * sp->gen * 1e6 / (double)(clock_us() - start);
    return 0;
}

/* ------------------------------------------------------------------ rows of the report */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void put_row(struct speed *sp, const char *mode, const char *phase, int tokens, int batch, double tok_s)
{
    double flops = tok_s * sp->flop_per_token / sp->machine.flops;
    double reads = strcmp(phase, "decode") == 0 ? tok_s / batch * sp->weights / sp->machine.bandwidth : tok_s / tokens * sp->weights / sp->machine.bandwidth;
    struct json *row = json_put_object(sp->doc, sp->list, NULL);
    json_put_str(sp->doc, row, "mode", mode);
    json_put_str(sp->doc, row, "phase", phase);
    json_put_int(sp->doc, row, "tokens", tokens);
    json_put_int(sp->doc, row, "batch", batch);
    json_put_num(sp->doc, row, "tok_s", tok_s);
    json_put_num(sp->doc, row, "flop_frac", flops);
    json_put_num(sp->doc, row, "bw_frac", reads);
}

typedef int (*timed)(struct speed *sp, struct side *s, int n, double *tok_s, struct err *err);

/* Plain and private take turns, so that what else the machine does meets both. */
static int compare(struct speed *sp, timed job, const char *phase, int n, int tokens, int batch, bool text, struct err *err)
{
    double plain[REPEATS], private[REPEATS], ratio[REPEATS], warm;
    if (job(sp, &sp->plain, n, &warm, err) != 0 || job(sp, &sp->private, n, &warm, err) != 0)
        return -1;
    for (int i = 0; i < REPEATS; i++) {
        if (job(sp, &sp->plain, n, &plain[i], err) != 0 || job(sp, &sp->private, n, &private[i], err) != 0)
            return -1;
        ratio[i] = private[i] / plain[i];
    }
    qsort(plain, REPEATS, sizeof *plain, by_value);
    qsort(private, REPEATS, sizeof *private, by_value);
    qsort(ratio, REPEATS, sizeof *ratio, by_value);
    put_row(sp, "plain", phase, tokens, batch, plain[REPEATS / 2]);
    put_row(sp, "private", phase, tokens, batch, private[REPEATS / 2]);
    if (text)
        printf("%-8s tokens %5d batch %3d   plain %9.1f tok/s   private %9.1f tok/s   ratio %.3f\n", phase, tokens, batch,
               plain[REPEATS / 2], private[REPEATS / 2], ratio[REPEATS / 2]);
    (void)fflush(stdout);
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
    for (int b = 0; b < BATCH_MAX; b++)
        kvcache_free(s->kv[b]);
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
    for (int b = 0; b < sp->batch_max; b++)
        if (kvcache_new(&s->kv[b], c, b == 0 ? sp->context : sp->gen, err) != 0)
            return -1;
    if (scratch_new(&s->scratch, s->net, sp->rows, sp->batch_max, err) != 0)
        return -1;
    s->x = floats(rows, D);
    s->x_p = floats(rows, D);
    s->y = floats((size_t)sp->batch_max, width);
    s->hidden = floats((size_t)sp->batch_max, D);
    s->work = floats((size_t)sp->batch_max, D);
    s->logits = floats((size_t)sp->batch_max, width);
    if (s->x == NULL || s->x_p == NULL || s->y == NULL || s->hidden == NULL || s->work == NULL || s->logits == NULL)
        return err_oom(err, rows * D * sizeof(float));
    return 0;
}

/* A shape has no checkpoint: one of random weights is made, with the smallest tokenizer that a grant takes. */
static int make_shape(const char *name, char dir[FILE_PATH_MAX], struct err *err)
{
    static const char tokenizer[] = "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[UNK]\":0}}}";
    const struct named_shape *s = shapes_find(name);
    const char *tmp = getenv("TMPDIR");
    char path[FILE_PATH_MAX];
    if (s == NULL)
        return err_set(err, ERR_USAGE, "--shape: '%.40s' is not one of %s", name, shapes_names());
    (void)snprintf(dir, FILE_PATH_MAX, "%s/stip-speed-XXXXXX", tmp == NULL || tmp[0] == '\0' ? "/tmp" : tmp);
    if (mkdtemp(dir) == NULL) {
        int error = errno;
        dir[0] = '\0';
        return err_set(err, ERR_INTERNAL, "cannot make a temporary folder: %s", strerror(error));
    }
    if (synth_checkpoint(dir, s->architecture, &s->shape, 1, err) != 0 || file_join(path, dir, "tokenizer.json", err) != 0)
        return -1;
    return file_write(path, tokenizer, strlen(tokenizer), 0644, err);
}

static int set_up(struct speed *sp, const struct cli_cmd *cmd, const char *model, struct err *err)
{
    struct config probe;
    if (config_read(&probe, model, err) != 0)
        return -1;
    int positions = probe.positions;
    config_free(&probe);
    sp->context = sp->gen;
    sp->batch_max = 1;
    for (int i = 0; i < sp->prompt_count; i++) {
        if (sp->prompts[i] > positions)
            return err_set(err, ERR_USAGE, "--prompt: %d tokens, the model takes %d", sp->prompts[i], positions);
        sp->context = sp->prompts[i] > sp->context ? sp->prompts[i] : sp->context;
    }
    for (int i = 0; i < sp->batch_count; i++)
        sp->batch_max = sp->batches[i] > sp->batch_max ? sp->batches[i] : sp->batch_max;
    sp->rows = sp->context > sp->batch_max ? sp->context : sp->batch_max;
    if (sp->gen > positions)
        return err_set(err, ERR_USAGE, "--gen: %d tokens, the model takes %d", sp->gen, positions);
    matmul_threads(sp->threads);
    if (machine_measure(&sp->machine, sp->threads, err) != 0 || plain_open(&sp->loaded, model, true, 1, err) != 0 ||
        private_open(&sp->owner, model, cmd, 1, err) != 0)
        return -1;
    sp->config = sp->loaded.config;
    sp->plain = (struct side){.name = "plain", .net = sp->loaded.net, .embed = sp->loaded.embed};
    sp->private = (struct side){.name = "private", .net = private_net(sp->owner), .embed = private_grant(sp->owner)->embed,
                                .grant = private_grant(sp->owner)};
    const struct config *c = sp->config;
    double params = (double)c->L * ((double)(c->H + 2 * c->G) * c->K * c->D + (double)c->H * c->K * c->D +
                                    (c->gated ? 3.0 : 2.0) * c->D * c->F) + (double)config_outputs(c) * c->D;
    sp->weights = params * sizeof(float);
    sp->flop_per_token = 2 * params;
    return open_side(sp, &sp->plain, err) != 0 ? -1 : open_side(sp, &sp->private, err);
}

static int measure(struct speed *sp, bool text, struct err *err)
{
    if (text)
        printf("limits of this machine on %d threads: %.1f GB/s, %.0f GFLOP/s\n", sp->threads, sp->machine.bandwidth / 1e9,
               sp->machine.flops / 1e9);
    for (int i = 0; i < sp->prompt_count; i++)
        if (compare(sp, time_prefill, "prefill", sp->prompts[i], sp->prompts[i], 1, text, err) != 0)
            return -1;
    for (int i = 0; sp->config->causal && i < sp->batch_count; i++)
        if (compare(sp, time_decode, "decode", sp->batches[i], sp->gen, sp->batches[i], text, err) != 0)
            return -1;
    return 0;
}

static int print_json(struct speed *sp, struct err *err)
{
    char *text;
    struct json *root = json_node(sp->doc), *machine = json_put_object(sp->doc, root, "machine");
    json_put_int(sp->doc, machine, "threads", sp->threads);
    json_put_num(sp->doc, machine, "bandwidth_gb_s", sp->machine.bandwidth / 1e9);
    json_put_num(sp->doc, machine, "gflop_s", sp->machine.flops / 1e9);
    if (json_print(sp->doc, false, &text, err) != 0)
        return -1;
    puts(text);
    free(text);
    return 0;
}

int cmd_speed(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *model = cli_str(cmd, "model", NULL), *shape = cli_str(cmd, "shape", NULL), *dtype = cli_str(cmd, "dtype", NULL);
    char dir[FILE_PATH_MAX] = "", found[FILE_PATH_MAX];
    int64_t threads = sysconf(_SC_NPROCESSORS_ONLN), gen = 64;
    struct speed *sp = calloc(1, sizeof *sp);
    int rc = -1;
    (void)argc;
    (void)argv;
    if (sp == NULL)
        return err_oom(err, sizeof *sp);
    if ((model == NULL) == (shape == NULL)) {
        err_set(err, ERR_USAGE, "speed needs --model HFDIR or --shape NAME; for example: %s", cmd->example);
        goto done;
    }
    if (dtype != NULL && strcmp(dtype, "f32") != 0) {
        err_set(err, ERR_USAGE, "--dtype: '%.20s' is not available in this version; known: f32", dtype);
        goto done;
    }
    if (cli_int(cmd, "threads", 1, 256, &threads, err) != 0 || cli_int(cmd, "gen", 1, 4096, &gen, err) != 0 ||
        parse_list(cli_str(cmd, "prompt", "128,512"), "prompt", 65536, sp->prompts, &sp->prompt_count, err) != 0 ||
        parse_list(cli_str(cmd, "batch", "1,8,32"), "batch", BATCH_MAX, sp->batches, &sp->batch_count, err) != 0 ||
        (shape != NULL ? make_shape(shape, dir, err) : hub_find(found, model, err)) != 0)
        goto done;
    sp->threads = (int)threads;
    sp->gen = (int)gen;
    sp->doc = json_new_object("result");
    sp->list = json_put_array(sp->doc, json_node(sp->doc), "rows");
    if (set_up(sp, cmd, shape != NULL ? dir : found, err) == 0 && measure(sp, !cli_on(cmd, "json"), err) == 0)
        rc = cli_on(cmd, "json") ? print_json(sp, err) : 0;
done:
    close_side(&sp->plain);
    close_side(&sp->private);
    private_close(sp->owner);
    plain_close(&sp->loaded);
    json_free(sp->doc);
    free(sp);
    struct err left;
    if (dir[0] != '\0' && file_remove_tree(dir, &left) != 0)
        (void)fprintf(stderr, "%s\n", left.text);
    return rc;
}
