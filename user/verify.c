#include "user/verify.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "user/generate.h"

#define USED_FILE "canaries.used"
/* What a wire of bfloat16 may add: to hidden rows; to logits themselves, which lose half a bit in 256 of numbers around 20; and where
 * products round their inputs too, which then fall on other steps of their grid. Measured on demo models, twice the most that was seen. */
#define WIRE_HIDDEN 0.12
#define WIRE_LOGITS 0.3
#define WIRE_BF16 0.4
#define WIRE_INT8 1.5

struct verify {
    struct canary_list list;
    double wire; /* what is honest on a wire that rounds */
    pthread_mutex_t lock; /* guards used, and its file */
    uint8_t *used;        /* [count] */
    char path[FILE_PATH_MAX];
};

/* ------------------------------------------------------------------ which one */

/* A file of another length belongs to another grant. */
static int read_used(struct verify *v, struct err *err)
{
    char *data = NULL;
    size_t len;
    if (!file_exists(v->path))
        return 0;
    if (file_read(v->path, CANARY_COUNT_MAX, &data, &len, err) != 0)
        return -1;
    if (len == v->list.count)
        memcpy(v->used, data, len);
    free(data);
    return 0;
}

int verify_open(struct verify **out, const char *grant_dir, const struct grant *g, struct err *err)
{
    char path[FILE_PATH_MAX], *data = NULL;
    size_t len;
    struct verify *v = calloc(1, sizeof *v);
    if (v == NULL)
        return err_oom(err, sizeof *v);
    (void)pthread_mutex_init(&v->lock, NULL);
    v->wire = g->compute == COMPUTE_INT8 ? WIRE_INT8 : g->compute == COMPUTE_BF16 ? WIRE_BF16 : g->head_here ? WIRE_HIDDEN : WIRE_LOGITS;
    int rc = file_join(path, grant_dir, CANARY_FILE, err);
    if (rc == 0 && !file_exists(path))
        rc = err_set(err, ERR_INPUT, "%s: this grant has no canaries: its developer made it without, or before there were any; ask for "
                                     "another and join again", grant_dir);
    if (rc == 0)
        rc = file_join(v->path, grant_dir, USED_FILE, err);
    if (rc == 0)
        rc = file_read(path, CANARY_CAP, &data, &len, err);
    if (rc == 0)
        rc = canary_decode(&v->list, (const uint8_t *)data, len, g->config->V, config_outputs(g->config), path, err);
    free(data);
    if (rc == 0 && (v->used = calloc(v->list.count, 1)) == NULL)
        rc = err_oom(err, v->list.count);
    if (rc == 0)
        rc = read_used(v, err);
    if (rc != 0)
        verify_close(v);
    else
        *out = v;
    return rc;
}

void verify_close(struct verify *v)
{
    if (v == NULL)
        return;
    canary_free(&v->list);
    (void)pthread_mutex_destroy(&v->lock);
    free(v->used);
    free(v);
}

double verify_tolerance(const struct verify *v, bool bf16)
{
    return fmax(bf16 ? v->wire : 0, (double)v->list.tolerance);
}

int verify_next(struct verify *v, const struct canary **out, bool *again, struct err *err)
{
    uint32_t r;
    size_t left = 0, at = 0;
    if (crypto_random(&r, sizeof r, err) != 0)
        return -1;
    (void)pthread_mutex_lock(&v->lock);
    for (size_t i = 0; i < v->list.count; i++)
        left += v->used[i] == 0 ? 1 : 0;
    *again = left == 0;
    size_t skip = r % (left == 0 ? v->list.count : left);
    for (at = 0;; at++)
        if ((left == 0 || v->used[at] == 0) && skip-- == 0)
            break;
    v->used[at] = 1;
    /* Noted before it is asked: a command that is ended in the middle has shown it to the server. */
    int rc = left == 0 ? 0 : file_write(v->path, v->used, v->list.count, 0600, err);
    (void)pthread_mutex_unlock(&v->lock);
    if (rc == 0)
        *out = &v->list.item[at];
    return rc;
}

/* ------------------------------------------------------------------ comparing */

static const float *find(const struct canary_row *row, int32_t id)
{
    for (int k = 0; k <= CANARY_TOP; k++)
        if (row->id[k] == id)
            return &row->logprob[k];
    return NULL;
}

static float least(const struct canary_row *row)
{
    float low = row->logprob[1];
    for (int k = 2; k <= CANARY_TOP && row->id[k] >= 0; k++)
        low = fminf(low, row->logprob[k]);
    return low;
}

/* The largest difference between two rows; an expected token that did not come is at most as probable as the least that did. */
static double differs(const struct canary_row *want, const struct canary_row *got)
{
    double most = 0;
    for (int k = 0; k <= CANARY_TOP; k++) {
        if (want->id[k] < 0)
            continue;
        const float *there = find(got, want->id[k]);
        const double d = there != NULL ? fabs((double)*there - (double)want->logprob[k])
                                       : fmax(0, (double)want->logprob[k] - (double)least(got));
        most = fmax(most, d);
    }
    return most;
}

void verify_compare(const struct canary *c, const struct canary_row *got, int n, double tolerance, struct verify_result *out)
{
    struct verify_result r = {.passed = true};
    for (int a = 0; r.passed && a < n && a < (int)c->answer; a++) {
        const struct canary_row *want = &c->row[a];
        const double d = differs(want, &got[a]);
        r.max_diff = fmax(r.max_diff, d);
        r.tokens++;
        if (d > tolerance) {
            r.passed = false;
            (void)snprintf(r.what, sizeof r.what,
                           "step %d of the answer: a log-probability differs by %.4g, at most %.4g is honest: another model, a cheaper "
                           "arithmetic, or layers left out", a + 1, d, tolerance);
        } else if (got[a].id[0] != want->id[0]) {
            /* Two tokens as good as equal: what follows is another text, not another model. */
            if (want->id[2] >= 0 && (double)want->logprob[1] - (double)want->logprob[2] <= 2 * tolerance)
                break;
            r.passed = false;
            (void)snprintf(r.what, sizeof r.what, "step %d of the answer: another token than the model's", a + 1);
        }
    }
    if (r.passed && r.tokens == 0) {
        r.passed = false;
        (void)snprintf(r.what, sizeof r.what, "no token was answered");
    }
    *out = r;
}

/* ------------------------------------------------------------------ asking */

static void row_of(struct canary_row *row, const struct token_logprob *from, int width)
{
    for (int k = 0; k <= CANARY_TOP; k++) {
        row->id[k] = k < width ? from[k].id : -1;
        row->logprob[k] = k < width ? (float)from[k].logprob : 0;
    }
}

static int ask_causal(const struct canary *c, struct session *s, struct connection *conn, struct speculate *speculate,
                      double tolerance, struct verify_result *out, struct err *err)
{
    struct generated g = {0};
    struct canary_row got[CANARY_ANSWER_MAX];
    const struct generate_opts opts = {.max_tokens = (int)c->answer, .logprobs = CANARY_TOP, .ignore_eos = true,
                                       .sample = {.top_p = 1, .repeat_penalty = 1}, .speculate = speculate};
    if (generate(&g, s, conn->grant, c->prompt, (int)c->prompt_n, (int)c->prompt_n, &opts, err) != 0)
        return -1;
    for (int a = 0; a < g.count; a++)
        row_of(&got[a], g.logprobs + (size_t)a * (1 + CANARY_TOP), 1 + CANARY_TOP);
    verify_compare(c, got, g.count, tolerance, out);
    generate_free(&g);
    return 0;
}

static int ask_row(const struct canary *c, struct session *s, struct connection *conn, double tolerance, struct verify_result *out,
                   struct err *err)
{
    const int n = config_outputs(conn->grant->config);
    struct token_logprob all[1 + CANARY_TOP];
    struct canary_row got;
    float *logits = malloc((size_t)n * sizeof *logits), *left = malloc((size_t)n * sizeof *left);
    int rc = logits == NULL || left == NULL ? err_oom(err, (size_t)n * sizeof *logits) : 0;
    if (rc == 0)
        rc = session_forward(s, c->prompt, NULL, (int)c->prompt_n, (int)c->at, 1, logits, err);
    if (rc == 0) {
        memcpy(left, logits, (size_t)n * sizeof *left);
        for (int k = 1; k <= CANARY_TOP; k++) {
            const int32_t best = k <= n ? sample_argmax(left, n) : -1;
            all[k] = (struct token_logprob){best, best < 0 ? 0 : sample_logprob(logits, n, best)};
            if (best >= 0)
                left[best] = -INFINITY;
        }
        all[0] = all[1];
        row_of(&got, all, 1 + CANARY_TOP);
        verify_compare(c, &got, 1, tolerance, out);
    }
    free(logits);
    free(left);
    return rc;
}

int verify_ask(const struct canary *c, struct connection *conn, struct speculate *speculate, int room, double tolerance,
               struct verify_result *out, struct err *err)
{
    struct session *s = NULL;
    struct err why = {0};
    const bool causal = conn->grant->config->causal;
    const uint32_t most = conn->server.max_tokens, need = c->prompt_n + (causal ? c->answer : 0);
    uint32_t tokens = c->prompt_n + (causal ? (uint32_t)room : 0);
    tokens = tokens < need ? need : tokens > most && need <= most ? most : tokens;
    int rc = session_open(&s, conn, (int)tokens, causal ? 1 + speculate_most(speculate) : 1, &why);
    if (rc == 0)
        rc = causal ? ask_causal(c, s, conn, speculate, tolerance, out, &why) : ask_row(c, s, conn, tolerance, out, &why);
    session_close(s);
    if (rc == 0)
        return 0;
    if (why.code != ERR_PEER && why.code != ERR_INPUT) { /* our memory; a key or grant that holds no more */
        *err = why;
        return -1;
    }
    *out = (struct verify_result){.passed = false};
    (void)snprintf(out->what, sizeof out->what, "no answer to a question that the model can answer: %.300s", why.text);
    return 0;
}
