#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/progress.h"
#include "bench/cmd.h"
#include "bench/private.h"
#include "engine/kernels/table.h"
#include "base/threads.h"
#include "model/hub.h"
#include "tests/ref/ref.h"
#include "tests/support/plain.h"
#include "user/embedding.h"
#include "user/generate.h"
#include "user/pixels.h"

#define ROWS 64           /* rows of one pass */
#define REF_FLOP 4e10     /* what the reference may cost, at about 1e9 a second */

struct run {
    struct plain plain;
    struct plain exact; /* all in f32, beside a plain run that is not; closed otherwise */
    enum compute compute;
    enum kv_dtype kv;
    struct private *private;
    const struct config *config;
    bool embeds;      /* texts become vectors: hidden rows are compared, and what is pooled of them */
    int outputs, cap;
    int room;         /* rows of a, b, e: ROWS, or as many as a text has tokens */
    float *a, *b, *e; /* [room, outputs] plain, private and exact logits or hidden rows */
    struct safetensors_out *dump;
    /* results */
    double vs_f32; /* plain against all in f32, of every row; where there is such a run */
    double dlogit, dlogit_all, vs_f64; /* dlogit: of the rows that the reference judged too */
    size_t judged;
    double largest; /* logit of the reference */
    double nll_plain, nll_private, nll_exact;
    double dvector, vector_vs_f64; /* of pooled vectors, at the length that the model gives them */
    size_t scored, tokens, texts, generated;
    bool bitwise, identical;
};

/* ------------------------------------------------------------------ comparing */

/* A NaN on either side is the worst difference there is. */
static void keep_max(double *max, double difference)
{
    double d = isnan(difference) ? INFINITY : fabs(difference);
    *max = d > *max ? d : *max;
}

static void compare(struct run *r, int rows)
{
    for (int i = 0; i < rows * r->outputs; i++)
        keep_max(&r->dlogit_all, (double)r->a[i] - (double)r->b[i]);
    r->bitwise = r->bitwise && memcmp(r->a, r->b, (size_t)rows * (size_t)r->outputs * sizeof(float)) == 0;
}

/* Rows that the float64 reference computed too: plain is judged by it, private by plain. */
static void compare_ref(struct run *r, const double *ref, int rows)
{
    for (int i = 0; i < rows * r->outputs; i++) {
        keep_max(&r->vs_f64, (double)r->a[i] - ref[i]);
        keep_max(&r->dlogit, (double)r->a[i] - (double)r->b[i]);
        keep_max(&r->largest, ref[i]);
    }
    r->judged += (size_t)rows;
}

/* Tokens that the reference may take. */
static int ref_tokens(const struct run *r, int n)
{
    const struct config *c = r->config;
    double params = (double)c->L * ((double)(c->H + 2 * c->G) * c->K * c->D + (double)c->H * c->K * c->D +
                                    (c->gated ? 3.0 : 2.0) * c->D * c->F) + (double)r->outputs * c->D;
    double max = REF_FLOP / (2 * params) + 1;
    return n < max ? n : (int)max;
}

/* ------------------------------------------------------------------ language models */

static int text_window(struct run *r, const int32_t *ids, int n, int *budget, struct err *err)
{
    double *ref = NULL;
    int ref_n = n < *budget ? n : *budget, rc = 0;
    if (ref_n > 0)
        rc = ref_forward(r->plain.cp, r->compute, ids, NULL, ref_n, NULL, &ref, err);
    *budget -= ref_n;
    kvcache_truncate(r->plain.kv, 0);
    if (r->exact.net != NULL)
        kvcache_truncate(r->exact.kv, 0);
    private_restart(r->private);
    for (int at = 0; rc == 0 && at < n; at += ROWS) {
        int rows = n - at < ROWS ? n - at : ROWS, judged = ref_n - at < rows ? ref_n - at : rows;
        rc = plain_append(&r->plain, ids + at, NULL, rows, rows, r->a, err);
        if (rc == 0)
            rc = private_append(r->private, ids + at, NULL, rows, 0, rows, r->b, err);
        if (rc == 0 && r->exact.net != NULL)
            rc = plain_append(&r->exact, ids + at, NULL, rows, rows, r->e, err);
        if (rc == 0 && r->dump != NULL)
            rc = safetensors_out_write(r->dump, r->a, (size_t)rows * (size_t)r->outputs * sizeof(float), err);
        if (rc != 0)
            break;
        compare(r, rows);
        for (int i = 0; r->exact.net != NULL && i < rows * r->outputs; i++)
            keep_max(&r->vs_f32, (double)r->a[i] - (double)r->e[i]);
        if (judged > 0)
            compare_ref(r, ref + (size_t)at * (size_t)r->outputs, judged);
        for (int i = 0; i < rows && at + i + 1 < n; i++) {
            r->nll_plain -= sample_logprob(r->a + (size_t)i * (size_t)r->outputs, r->outputs, ids[at + i + 1]);
            r->nll_private -= sample_logprob(r->b + (size_t)i * (size_t)r->outputs, r->outputs, ids[at + i + 1]);
            if (r->exact.net != NULL)
                r->nll_exact -= sample_logprob(r->e + (size_t)i * (size_t)r->outputs, r->outputs, ids[at + i + 1]);
            r->scored++;
        }
    }
    free(ref);
    r->tokens += (size_t)n;
    return rc;
}

static int open_dump(struct run *r, const char *path, const int32_t *ids, int n, struct err *err)
{
    uint64_t logits[2] = {(uint64_t)n, (uint64_t)r->outputs}, tokens[1] = {(uint64_t)n};
    if (safetensors_out_new(&r->dump, err) != 0 || safetensors_out_declare(r->dump, "logits", DTYPE_F32, 2, logits, err) != 0 ||
        (ids != NULL && safetensors_out_declare(r->dump, "input_ids", DTYPE_I64, 1, tokens, err) != 0) ||
        safetensors_out_begin(r->dump, path, 0644, err) != 0)
        return -1;
    for (int i = 0; ids != NULL && i < n; i++) {
        int64_t id = ids[i];
        if (safetensors_out_write(r->dump, &id, sizeof id, err) != 0)
            return -1;
    }
    return 0;
}

static int close_dump(struct run *r, struct err *err)
{
    int rc = r->dump == NULL ? 0 : safetensors_out_commit(r->dump, err);
    safetensors_out_free(r->dump);
    r->dump = NULL;
    return rc;
}

/* Both sides continue the same start greedily; every token must agree. */
static int greedy(struct run *r, const int32_t *ids, int n, int total, struct err *err)
{
    int32_t *a = malloc((size_t)total * sizeof *a);
    int rc = a == NULL ? err_oom(err, (unsigned long long)total * sizeof *a) : 0;
    if (rc == 0) {
        memcpy(a, ids, (size_t)n * sizeof *a);
        kvcache_truncate(r->plain.kv, 0);
        rc = plain_greedy(&r->plain, a, n, total, err);
    }
    private_restart(r->private);
    for (int at = 0; rc == 0 && at < n; at += ROWS) {
        int rows = n - at < ROWS ? n - at : ROWS;
        rc = private_append(r->private, ids + at, NULL, rows, rows - 1, 1, r->b, err);
    }
    for (int i = n; rc == 0 && i < total; i++) {
        int32_t token = sample_argmax(r->b, r->outputs);
        r->identical = r->identical && token == a[i];
        r->generated++;
        if (token != a[i])
            break;
        if (i + 1 < total)
            rc = private_append(r->private, &token, NULL, 1, 0, 1, r->b, err);
    }
    free(a);
    return rc;
}

static int run_lm(struct run *r, const struct cli_cmd *cmd, const char *text, size_t len, int64_t limit, int64_t gen, struct err *err)
{
    struct token_ids ids = {0};
    struct progress bar;
    const bool prompt = cli_on(cmd, "prompt");
    const char *dump = cli_str(cmd, "dump", NULL);
    int rc = generate_prompt(private_grant(r->private), text, len, true, &ids, err);
    if (rc != 0)
        return rc;
    if (ids.n > (size_t)limit)
        ids.n = (size_t)limit;
    int n = (int)ids.n, window = n < r->cap ? n : r->cap, budget = ref_tokens(r, n);
    if (rc == 0 && dump != NULL)
        rc = open_dump(r, dump, ids.ids, window, err);
    progress_start(&bar, "equality", "tokens", ids.n);
    for (int at = 0; rc == 0 && at < n; at += window) {
        rc = text_window(r, ids.ids + at, n - at < window ? n - at : window, &budget, err);
        if (rc == 0 && at == 0)
            rc = close_dump(r, err);
        progress_at(&bar, (uint64_t)at);
    }
    progress_end(&bar);
    r->texts = 1;
    int start = prompt || n < 16 ? window : 16;
    if (start >= r->cap)
        start = r->cap / 2 > 0 ? r->cap / 2 : 1;
    int total = start + (int)gen < r->cap ? start + (int)gen : r->cap;
    if (rc == 0 && total > start)
        rc = greedy(r, ids.ids, start, total, err);
    token_ids_free(&ids);
    return rc;
}

/* ------------------------------------------------------------------ encoders */

static int encoder_text(struct run *r, const char *text, size_t len, int *budget, struct err *err)
{
    struct token_ids ids = {0};
    double *ref = NULL;
    const bool classify = r->config->head == HEAD_CLASSIFY;
    if (tokenizer_encode(private_grant(r->private)->tokenizer, text, len, NULL, 0, true, &ids, err) != 0)
        return -1;
    int n = (int)ids.n < r->cap ? (int)ids.n : r->cap, rc = 0;
    if (n > 0 && n <= *budget)
        rc = ref_forward(r->plain.cp, r->compute, ids.ids, ids.type_ids, n, NULL, &ref, err);
    *budget -= n;
    /* Masked-LM rows go through in one pass; the buffers hold ROWS of them. */
    int rows = classify ? 1 : n < ROWS ? n : ROWS;
    kvcache_truncate(r->plain.kv, 0);
    private_restart(r->private);
    if (rc == 0 && n > 0)
        rc = plain_append(&r->plain, ids.ids, ids.type_ids, n, rows, r->a, err);
    if (rc == 0 && n > 0)
        rc = private_append(r->private, ids.ids, ids.type_ids, n, classify ? 0 : n - rows, rows, r->b, err);
    if (rc == 0 && n > 0) {
        compare(r, rows);
        if (ref != NULL)
            compare_ref(r, ref + (classify ? 0 : (size_t)(n - rows) * (size_t)r->outputs), rows);
        for (int i = 0; i < rows; i++) {
            const size_t row = (size_t)i * (size_t)r->outputs;
            r->identical = r->identical && sample_argmax(r->a + row, r->outputs) == sample_argmax(r->b + row, r->outputs);
        }
        r->texts++;
        r->tokens += (size_t)n;
    }
    if (rc == 0 && r->dump != NULL)
        rc = safetensors_out_write(r->dump, r->a, (size_t)r->outputs * sizeof(float), err);
    free(ref);
    token_ids_free(&ids);
    return rc;
}

/* What the user makes of the hidden rows of a text. */
static void pooled(const struct run *r, float *x, const float *rows, int n)
{
    const struct sentence *s = &private_grant(r->private)->sentence;
    embedding_pool(x, rows, (size_t)n, (size_t)r->outputs, s->pooling);
    if (s->normalise)
        embedding_normalise(x, (size_t)r->outputs);
}

static int compare_vectors(struct run *r, const double *ref, int n, struct err *err)
{
    const size_t D = (size_t)r->outputs, count = (size_t)n * D;
    float *x = malloc((count + 3 * D) * sizeof *x), *plain = x + count, *ours = plain + D, *want = ours + D;
    if (x == NULL)
        return err_oom(err, (count + 3 * D) * sizeof *x);
    pooled(r, plain, r->a, n);
    pooled(r, ours, r->b, n);
    for (size_t i = 0; ref != NULL && i < count; i++)
        x[i] = (float)ref[i];
    if (ref != NULL)
        pooled(r, want, x, n);
    for (size_t d = 0; d < D; d++) {
        keep_max(&r->dvector, (double)plain[d] - (double)ours[d]);
        if (ref != NULL)
            keep_max(&r->vector_vs_f64, (double)plain[d] - (double)want[d]);
    }
    int rc = r->dump == NULL ? 0 : safetensors_out_write(r->dump, plain, D * sizeof *plain, err);
    free(x);
    return rc;
}

static int embed_text(struct run *r, const char *text, size_t len, int *budget, struct err *err)
{
    const struct grant *g = private_grant(r->private);
    const struct sentence_prompt *usual = g->sentence.usual;
    struct token_ids ids = {0};
    double *ref = NULL;
    int rc = embedding_encode(g, usual == NULL ? NULL : usual->text, text, len, &ids, err);
    if (rc == 0)
        rc = embedding_shorten(g, &ids, err);
    int n = (int)ids.n < r->cap ? (int)ids.n : r->cap;
    kvcache_truncate(r->plain.kv, 0);
    private_restart(r->private);
    if (rc == 0 && n <= *budget)
        rc = ref_forward(r->plain.cp, r->compute, ids.ids, NULL, n, &ref, NULL, err);
    *budget -= n;
    if (rc == 0)
        rc = plain_append(&r->plain, ids.ids, NULL, n, n, r->a, err);
    if (rc == 0)
        rc = private_hidden(r->private, ids.ids, NULL, n, r->b, err);
    if (rc == 0) {
        compare(r, n);
        if (ref != NULL)
            compare_ref(r, ref, n);
        rc = compare_vectors(r, ref, n, err);
        r->texts++;
        r->tokens += (size_t)n;
    }
    free(ref);
    token_ids_free(&ids);
    return rc;
}

/* Lines that are not empty. */
static size_t count_lines(const char *text, size_t len, size_t limit)
{
    size_t lines = 0;
    for (size_t at = 0; at < len && lines < limit;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end == NULL ? len - at : (size_t)(end - (text + at));
        lines += n > 0 ? 1 : 0;
        at += n + 1;
    }
    return lines;
}

static int run_encoder(struct run *r, const struct cli_cmd *cmd, const char *text, size_t len, int64_t limit, struct err *err)
{
    int budget = ref_tokens(r, INT_MAX);
    struct progress bar;
    const char *dump = cli_str(cmd, "dump", NULL);
    size_t lines = count_lines(text, len, (size_t)limit);
    int rc = 0;
    if (dump != NULL && (r->embeds || r->config->head == HEAD_CLASSIFY))
        rc = open_dump(r, dump, NULL, (int)lines, err);
    progress_start(&bar, "equality", "texts", lines);
    for (size_t at = 0; rc == 0 && at < len && r->texts < lines;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end == NULL ? len - at : (size_t)(end - (text + at));
        if (n > 0)
            rc = (r->embeds ? embed_text : encoder_text)(r, text + at, n, &budget, err);
        at += n + 1;
        progress_at(&bar, r->texts);
    }
    progress_end(&bar);
    return rc == 0 ? close_dump(r, err) : rc;
}

/* ------------------------------------------------------------------ images */

static int one_image(struct run *r, const char *path, float *pixels, int *budget, struct err *err)
{
    struct image im;
    double *ref = NULL;
    if (image_read(&im, path, err) != 0)
        return -1;
    int rc = pixels_prepare(pixels, &im, &private_grant(r->private)->preprocess, r->config, err);
    image_free(&im);
    if (rc != 0)
        return err_wrap(err, "%s", path);
    if (r->config->positions <= *budget)
        rc = ref_image(r->plain.cp, r->compute, pixels, NULL, &ref, err);
    *budget -= r->config->positions;
    if (rc == 0)
        rc = plain_image(&r->plain, pixels, r->a, err);
    if (rc == 0)
        rc = private_image(r->private, pixels, r->b, err);
    if (rc == 0) {
        compare(r, 1);
        if (ref != NULL)
            compare_ref(r, ref, 1);
        r->identical = r->identical && sample_argmax(r->a, r->outputs) == sample_argmax(r->b, r->outputs);
        r->texts++;
        r->tokens += (size_t)r->config->positions;
    }
    if (rc == 0 && r->dump != NULL)
        rc = safetensors_out_write(r->dump, r->a, (size_t)r->outputs * sizeof(float), err);
    free(ref);
    return rc;
}

/* --image and what follows the flags. */
static int run_images(struct run *r, const struct cli_cmd *cmd, int count, char **more, struct err *err)
{
    const char *dump = cli_str(cmd, "dump", NULL);
    int budget = ref_tokens(r, INT_MAX);
    struct progress bar;
    float *pixels = malloc(pixels_count(r->config) * sizeof *pixels);
    int rc = pixels == NULL ? err_oom(err, pixels_count(r->config) * sizeof *pixels) : 0;
    if (rc == 0 && dump != NULL)
        rc = open_dump(r, dump, NULL, count + 1, err);
    progress_start(&bar, "equality", "images", (uint64_t)count + 1);
    for (int i = 0; rc == 0 && i <= count; i++) {
        rc = one_image(r, i == 0 ? cli_str(cmd, "image", NULL) : more[i - 1], pixels, &budget, err);
        progress_at(&bar, r->texts);
    }
    progress_end(&bar);
    free(pixels);
    return rc == 0 ? close_dump(r, err) : rc;
}

/* ------------------------------------------------------------------ report */

/* 4 times the plain run's own rounding, and never stricter than one float's own resolution near 1. bf16 and int8 round what enters
 * a product: a number on the edge between two steps falls to one side here and to the other there, and then a whole step is the
 * difference. The reference meets such edges too, so the rule is the same; only, few rows may meet none, so that plain counts as
 * being at least half a step of the largest logit away from it. Profile gauge rotates the weights, so that they meet another grid
 * than plain's altogether: there a difference may be as large as what the grids themselves cost. */
static double allowed(const struct run *r)
{
    static const double half_step[] = {[COMPUTE_F32] = 0, [COMPUTE_BF16] = 0x1p-9, [COMPUTE_INT8] = 1.0 / 254};
    static const double half_step_kv[] = {[KV_F32] = 0, [KV_BF16] = 0x1p-9, [KV_INT8] = 1.0 / 254};
    const double grid = strcmp(private_grant(r->private)->profile, "gauge") == 0 ? r->vs_f32 : 0;
    return fmax(1e-6, 4 * fmax(fmax(r->vs_f64, grid), fmax(half_step[r->compute], half_step_kv[r->kv]) * r->largest));
}

static bool all_f32(const struct run *r)
{
    return r->compute == COMPUTE_F32 && r->kv == KV_F32;
}

static int report(const struct run *r, bool as_json, struct err *err)
{
    const bool lm = r->config->head == HEAD_LM && !r->embeds;
    /* Two tokens can be as probable as a step is wide: outside f32 a changed one is reported, not an error. */
    bool ok = (r->identical || !all_f32(r)) && r->dlogit <= allowed(r);
    double ppl_plain = r->scored > 0 ? exp(r->nll_plain / (double)r->scored) : NAN;
    double ppl_private = r->scored > 0 ? exp(r->nll_private / (double)r->scored) : NAN;
    double ppl_f32 = r->scored > 0 && r->exact.net != NULL ? exp(r->nll_exact / (double)r->scored) : ppl_plain;
    double off_f32 = fabs(ppl_plain - ppl_f32) / ppl_f32;
    if (as_json) {
        struct json_doc *doc = json_new_object("result");
        struct json *root = json_node(doc);
        char *text;
        json_put_str(doc, root, "architecture", r->config->architecture);
        json_put_str(doc, root, "profile", private_grant(r->private)->profile);
        json_put_int(doc, root, "local_layers", private_grant(r->private)->local_layers);
        json_put_str(doc, root, "head", private_grant(r->private)->head_here ? "user" : "server");
        json_put_str(doc, root, "compute", compute_name(r->compute));
        json_put_str(doc, root, "kv", kv_dtype_name(r->kv));
        json_put_num(doc, root, "max_abs_dlogit", r->dlogit);
        json_put_num(doc, root, "max_abs_dlogit_allowed", allowed(r));
        json_put_num(doc, root, "plain_vs_f64", r->vs_f64);
        json_put_int(doc, root, "rows_judged", (int64_t)r->judged);
        json_put_num(doc, root, "max_abs_dlogit_all_rows", r->dlogit_all);
        json_put_bool(doc, root, "tokens_identical", r->identical);
        if (r->scored > 0) {
            json_put_num(doc, root, "perplexity_plain", ppl_plain);
            json_put_num(doc, root, "perplexity_private", ppl_private);
            json_put_num(doc, root, "perplexity_f32", ppl_f32);
            json_put_num(doc, root, "perplexity_vs_f32", off_f32);
        }
        json_put_bool(doc, root, "bitwise", r->bitwise);
        json_put_int(doc, root, "texts", (int64_t)r->texts);
        json_put_int(doc, root, "tokens", (int64_t)r->tokens);
        json_put_int(doc, root, "generated", (int64_t)r->generated);
        if (r->embeds) {
            json_put_str(doc, root, "pooling", pooling_name(private_grant(r->private)->sentence.pooling));
            json_put_num(doc, root, "max_abs_dembedding", r->dvector);
            json_put_num(doc, root, "embedding_vs_f64", r->vector_vs_f64);
        } else if (!lm)
            json_put_bool(doc, root, "classes_identical", r->identical);
        json_put_bool(doc, root, "ok", ok);
        int rc = json_print(doc, false, &text, err);
        json_free(doc);
        if (rc != 0)
            return -1;
        puts(text);
        free(text);
    } else {
        printf("%s, profile %s, computed in %s, keys and values in %s, head on the %s, first layers on the user: %d\n", r->config->architecture, private_grant(r->private)->profile, compute_name(r->compute), kv_dtype_name(r->kv),
               private_grant(r->private)->head_here ? "user" : "server", private_grant(r->private)->local_layers);
        const char *what = r->embeds ? "row  " : "logit";
        printf("max |plain - float64| %s   %.3g over %zu rows\n", what, r->vs_f64, r->judged);
        printf("max |private - plain| %s   %.3g over the same rows, %.3g over all (bit-equal: %s)\n", what, r->dlogit, r->dlogit_all,
               r->bitwise ? "yes" : "no");
        if (r->embeds)
            printf("the same of the embeddings    %.3g, %.3g (%s of %zu texts)\n", r->vector_vs_f64, r->dvector,
                   pooling_name(private_grant(r->private)->sentence.pooling), r->texts);
        if (lm)
            printf("greedy tokens identical       %s (%zu tokens)\nperplexity plain, private     %.8g, %.8g (%zu tokens)\n",
                   r->identical ? "yes" : "NO", r->generated, ppl_plain, ppl_private, r->scored);
        if (lm && r->exact.net != NULL)
            printf("perplexity all in f32         %.8g (this is %.3g %% off)\n", ppl_f32, 100 * off_f32);
        if (!lm && !r->embeds)
            printf("labels identical              %s (%zu %s)\n", r->identical ? "yes" : "NO", r->texts, config_reads_images(r->config) ? "images" : "texts");
    }
    return ok ? 0 : err_set(err, ERR_CHECK, "private and plain differ by more than rounding");
}

int cmd_equality(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct run r = {.bitwise = true, .identical = true};
    struct config probe = {0};
    struct sentence sentence;
    char model[FILE_PATH_MAX];
    const char *file = cli_str(cmd, "text", NULL), *prompt = cli_str(cmd, "prompt", NULL);
    char *text = NULL;
    size_t len = 0;
    int64_t gen = 256, limit = 0, threads = 0;
    int rc = -1;
    const char *image = cli_str(cmd, "image", NULL);
    if ((file != NULL) + (prompt != NULL) + (image != NULL) != 1 || (argc > 0 && image == NULL))
        return err_set(err, ERR_USAGE, "equality needs --text FILE, --prompt TEXT or --image FILE [FILE ...]; for example: %s", cmd->example);
    if (hub_option(model, cmd, err) != 0 || cli_int(cmd, "gen", 0, 1 << 20, &gen, err) != 0 ||
        cli_int(cmd, "limit", 1, 1 << 30, &limit, err) != 0 || cli_int(cmd, "threads", 1, 1024, &threads, err) != 0 ||
        config_read(&probe, model, err) != 0)
        return -1;
    if (sentence_read(&sentence, model, probe.D, err) != 0) {
        config_free(&probe);
        return -1;
    }
    r.embeds = probe.head == HEAD_NONE || sentence.present;
    sentence_free(&sentence);
    const bool lm = probe.head == HEAD_LM && !r.embeds;
    int64_t wanted = limit > 0 ? limit : lm ? 2048 : 1 << 30;
    const bool images = config_reads_images(&probe);
    r.cap = images || probe.positions < 4096 ? probe.positions : 4096;
    config_free(&probe);
    if (images != (image != NULL))
        return err_set(err, ERR_USAGE, "%s: this model reads %s", model, images ? "images: --image FILE" : "texts: --text FILE or --prompt TEXT");
    if (kernels_choose(NULL, err) != 0 || threads_start((int)threads, err) != 0)
        return -1;
    if (file != NULL && file_read(file, TOKENIZER_TEXT_MAX, &text, &len, err) != 0)
        return -1;
    const char *use = file != NULL ? text : prompt;
    len = prompt != NULL ? strlen(prompt) : len;
    if (private_open(&r.private, model, cmd, r.cap, err) != 0)
        goto done;
    r.compute = private_grant(r.private)->compute;
    if (r.embeds && embedding_check(private_grant(r.private), err) != 0)
        goto done;
    if (private_kv(cmd, &r.kv, err) != 0 || plain_open(&r.plain, model, !r.embeds, r.cap, r.compute, err) != 0 ||
        plain_cache(&r.plain, r.kv, err) != 0 ||
        (lm && !all_f32(&r) && plain_open(&r.exact, model, true, r.cap, COMPUTE_F32, err) != 0))
        goto done;
    r.config = r.plain.config;
    r.outputs = r.embeds ? r.config->D : config_outputs(r.config);
    r.room = r.embeds && r.cap > ROWS ? r.cap : ROWS;
    r.a = malloc((size_t)r.room * (size_t)r.outputs * sizeof *r.a);
    r.b = malloc((size_t)r.room * (size_t)r.outputs * sizeof *r.b);
    r.e = malloc((size_t)r.room * (size_t)r.outputs * sizeof *r.e);
    if (r.a == NULL || r.b == NULL || r.e == NULL) {
        err_oom(err, (unsigned long long)r.room * (unsigned)r.outputs * sizeof(float));
        goto done;
    }
    if ((images ? run_images(&r, cmd, argc, argv, err)
         : lm   ? run_lm(&r, cmd, use, len, wanted, gen, err)
                : run_encoder(&r, cmd, use, len, wanted, err)) == 0)
        rc = report(&r, cli_on(cmd, "json"), err);
done:
    safetensors_out_free(r.dump);
    private_close(r.private);
    plain_close(&r.plain);
    plain_close(&r.exact);
    free(r.a);
    free(r.e);
    free(r.b);
    free(text);
    return rc;
}
