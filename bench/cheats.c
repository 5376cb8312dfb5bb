#include "bench/cheats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "bench/private.h"
#include "model/safetensors.h"
#include "model_dev/canary.h"
#include "user/sample.h"
#include "user/verify.h"

#define CAP 128

struct cheat {
    const char *name;
    struct private_server server; /* net NULL: the honest one */
};

struct cheats {
    struct private *private;
    struct canary_maker *maker;
    struct release release;
    struct cheat list[CHEATS_MAX];
    size_t count;
    char dir[FILE_PATH_MAX]; /* of the drifted checkpoints, "" when there is none */
    float *logits;
    double tolerance;
};

/* ------------------------------------------------------------------ weights that drift */

/* Repeatable, and near enough to normal: the sum of four uniform numbers. */
static double noise(uint64_t *state)
{
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        *state = *state * 6364136223846793005U + 1442695040888963407U;
        sum += (double)(*state >> 11) * 0x1p-53 - 0.5;
    }
    return sum * 1.7320508075688772;
}

static int write_drifted(struct safetensors_out *st, const struct tensor *t, double drift, uint64_t *state, struct err *err)
{
    float *values = malloc((size_t)t->count * sizeof *values);
    if (values == NULL)
        return err_oom(err, t->count * sizeof *values);
    dtype_to_f32(t->dtype, t->data, values, (size_t)t->count);
    for (uint64_t i = 0; i < t->count; i++)
        values[i] *= (float)(1 + drift * noise(state));
    int rc = safetensors_out_write(st, values, (size_t)t->count * sizeof *values, err);
    free(values);
    return rc;
}

static int drifted_file(const char *from, const char *to, double drift, struct err *err)
{
    struct safetensors *st = NULL;
    struct safetensors_out *out = NULL;
    uint64_t state = 20261121;
    int rc = safetensors_open(&st, from, err);
    if (rc == 0)
        rc = safetensors_out_new(&out, err);
    for (size_t i = 0; rc == 0 && i < safetensors_count(st); i++) {
        const struct tensor *t = safetensors_at(st, i);
        rc = safetensors_out_declare(out, t->name, DTYPE_F32, t->rank, t->dim, err);
    }
    if (rc == 0)
        rc = safetensors_out_begin(out, to, 0600, err);
    for (const char *name; rc == 0 && (name = safetensors_out_next(out)) != NULL;)
        rc = write_drifted(out, safetensors_find(st, name), drift, &state, err);
    if (rc == 0)
        rc = safetensors_out_commit(out, err);
    safetensors_out_free(out);
    safetensors_close(st);
    return rc;
}

static int drifted_model(struct cheats *c, const char *model, double drift, char dir[FILE_PATH_MAX], struct err *err)
{
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX], *text = NULL;
    size_t len;
    if (snprintf(dir, FILE_PATH_MAX, "%s/%g", c->dir, drift) >= FILE_PATH_MAX || file_mkdirs(dir, 0700, err) != 0 ||
        file_join(from, model, "config.json", err) != 0 || file_join(to, dir, "config.json", err) != 0 ||
        file_read(from, (size_t)16 << 20, &text, &len, err) != 0)
        return -1;
    int rc = file_write(to, text, len, 0600, err);
    free(text);
    if (rc == 0)
        rc = file_join(from, model, "model.safetensors", err);
    if (rc == 0)
        rc = file_join(to, dir, "model.safetensors", err);
    return rc == 0 ? drifted_file(from, to, drift, err) : -1;
}

/* ------------------------------------------------------------------ who is asked */

/* dir: of the package. layers: that are left out at the end. */
static int add(struct cheats *c, const char *name, const char *dir, enum compute compute, int layers, struct err *err)
{
    struct cheat *h = &c->list[c->count++];
    h->name = name;
    if (private_server_open(&h->server, c->private, dir, compute, err) != 0)
        return -1;
    h->server.net->config.L -= layers; /* the weights stay loaded, and are not used */
    return 0;
}

static int add_drifted(struct cheats *c, const char *name, const char *model, double drift, enum compute honest, struct err *err)
{
    char plain[FILE_PATH_MAX], packed[FILE_PATH_MAX];
    if (drifted_model(c, model, drift, plain, err) != 0 || file_join(packed, plain, "protected", err) != 0 ||
        private_protect(c->private, plain, packed, err) != 0)
        return -1;
    return add(c, name, packed, honest, 0, err);
}

static int add_cheats(struct cheats *c, const char *model, enum compute honest, struct err *err)
{
    const char *dir = private_dir(c->private);
    if (add_drifted(c, "other weights: 1 % off, each", model, 0.01, honest, err) != 0 ||
        add_drifted(c, "other weights: 0.1 % off, each", model, 0.001, honest, err) != 0)
        return -1;
    if (honest == COMPUTE_F32 && add(c, "cheaper arithmetic: bf16", dir, COMPUTE_BF16, 0, err) != 0)
        return -1;
    if (honest != COMPUTE_INT8 && add(c, "cheaper arithmetic: int8", dir, COMPUTE_INT8, 0, err) != 0)
        return -1;
    return add(c, "fewer layers: one", dir, honest, 1, err);
}

int cheats_open(struct cheats **out, const char *model, const struct cli_cmd *cmd, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    struct cheats *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_oom(err, sizeof *c);
    (void)snprintf(c->dir, sizeof c->dir, "%s/stip-cheats-XXXXXX", tmp == NULL || tmp[0] == '\0' ? "/tmp" : tmp);
    if (mkdtemp(c->dir) == NULL) {
        err_set(err, ERR_INTERNAL, "cannot make a temporary folder %s", c->dir);
        c->dir[0] = '\0';
        goto fail;
    }
    if (private_open(&c->private, model, cmd, CAP, err) != 0)
        goto fail;
    const struct grant *g = private_grant(c->private);
    const size_t outputs = (size_t)config_outputs(g->config);
    c->list[c->count++].name = "honest";
    if ((c->logits = malloc(outputs * 2 * sizeof *c->logits)) == NULL) {
        err_oom(err, outputs * 2 * sizeof *c->logits);
        goto fail;
    }
    if (release_open(&c->release, private_dir(c->private), NULL, err) != 0 ||
        canary_maker_open(&c->maker, model, &c->release, err) != 0 || add_cheats(c, model, g->compute, err) != 0)
        goto fail;
    *out = c;
    return 0;
fail:
    cheats_close(c);
    return -1;
}

void cheats_close(struct cheats *c)
{
    struct err err;
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++)
        private_server_close(&c->list[i].server);
    canary_maker_close(c->maker);
    release_close(&c->release);
    private_close(c->private);
    if (c->dir[0] != '\0' && file_remove_tree(c->dir, &err) != 0)
        (void)fprintf(stderr, "%s\n", err.text);
    free(c->logits);
    free(c);
}

size_t cheats_count(const struct cheats *c)
{
    return c->count;
}

const char *cheats_name(const struct cheats *c, size_t i)
{
    return c->list[i].name;
}

double cheats_tolerance(const struct cheats *c)
{
    return c->tolerance;
}

/* ------------------------------------------------------------------ one question */

static void row_of(struct canary_row *row, float *logits, int n)
{
    float *left = logits + n;
    memcpy(left, logits, (size_t)n * sizeof *left);
    for (int k = 1; k <= CANARY_TOP; k++) {
        const int32_t best = k <= n ? sample_argmax(left, n) : -1;
        row->id[k] = best;
        row->logprob[k] = best < 0 ? 0 : (float)sample_logprob(logits, n, best);
        if (best >= 0)
            left[best] = -INFINITY;
    }
    row->id[0] = row->id[1];
    row->logprob[0] = row->logprob[1];
}

/* As a user sees it: each token that comes is what the next is asked for. */
static int ask(struct cheats *c, struct cheat *h, const struct canary *q, struct verify_result *r, struct err *err)
{
    struct canary_row got[CANARY_ANSWER_MAX];
    const int n = config_outputs(private_grant(c->private)->config);
    private_ask(c->private, h->server.net == NULL ? NULL : &h->server);
    for (uint32_t a = 0; a < q->answer; a++) {
        const bool first = a == 0;
        if (private_append(c->private, first ? q->prompt : &got[a - 1].id[0], NULL, first ? (int)q->prompt_n : 1, first ? (int)q->at : 0,
                           1, c->logits, err) != 0)
            return -1;
        row_of(&got[a], c->logits, n);
    }
    verify_compare(q, got, (int)q->answer, c->tolerance, r);
    return 0;
}

int cheats_try(struct cheats *c, struct cheats_trial *out, struct err *err)
{
    struct canary_list list = {0};
    struct cheats_trial t = {0};
    int rc = canary_make(c->maker, &list, 1, err);
    if (rc == 0)
        c->tolerance = (double)list.tolerance;
    for (size_t i = 0; rc == 0 && i < c->count; i++) {
        struct verify_result r;
        rc = ask(c, &c->list[i], &list.item[0], &r, err);
        if (rc == 0) {
            t.noticed[i] = !r.passed;
            t.diff[i] = r.max_diff;
        }
    }
    canary_free(&list);
    if (rc == 0)
        *out = t;
    return rc;
}
