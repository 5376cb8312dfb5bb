#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "bench/cmd.h"
#include "bench/stats.h"
#include "engine/embed.h"
#include "model/config.h"
#include "model/hub.h"
#include "model_dev/rules.h"
#include "permute/gather.h"
#include "permute/keyset.h"
#include "tests/support/synth.h"
#include "user/sample.h"

#define REPEATS 5
#define ROWS 256

struct figures {
    double keygen_ms;     /* all keys of the model, as protect derives them */
    double end_keys_us;   /* what a user derives when it opens its grant */
    double embed_us; /* per token, as all that follow; -1: not measured, */
    struct err no_embed; /* for this reason */
    double seal_us, unseal_logits_us, unseal_hidden_us;
    double choose_us[4]; /* as in choices[]; -1: these outputs are not tokens */
};

/* Ways to choose the next token. Flat logits: with those of a trained model fewer tokens are in question, and it is faster. */
static const struct choice {
    const char *name, *json;
    struct sample_opts opts;
} choices[] = {
    {"greedy", "choose_greedy_us", {.top_p = 1, .repeat_penalty = 1}},
    {"temperature 1", "choose_temperature_us", {.temperature = 1, .top_p = 1, .repeat_penalty = 1}},
    {"temperature 0.8, top-k 40, top-p 0.95", "choose_top_k_us", {.temperature = 0.8, .top_k = 40, .top_p = 0.95, .repeat_penalty = 1}},
    {"temperature 1, top-p 0.9", "choose_top_p_us", {.temperature = 1, .top_p = 0.9, .repeat_penalty = 1}},
};
#define CHOICES (sizeof choices / sizeof *choices)

static int keys_once(const struct config *c, const uint8_t seed[CRYPTO_KEY_LEN], double *ms, struct err *err)
{
    static const enum key per_layer[] = {KEY_QUERY, KEY_KEY, KEY_VALUE, KEY_MIX, KEY_FFN};
    struct key_shape shape = rules_shape(c);
    struct keyset *ks;
    struct perm p;
    uint64_t start = clock_us();
    if (keyset_new(&ks, &shape, seed, err) != 0)
        return -1;
    int rc = 0;
    for (int l = 0; rc == 0 && l < c->L; l++)
        for (size_t k = 0; rc == 0 && k < sizeof per_layer / sizeof *per_layer; k++)
            if ((rc = keyset_perm(ks, per_layer[k], l, &p, err)) == 0)
                perm_wipe(&p);
    keyset_free(ks);
    *ms = (double)(clock_us() - start) / 1e3;
    return rc;
}

/* Microseconds per row of moving ROWS rows of p->n numbers. */
static double rows_us(const struct perm *p, const float *src, float *dst, bool back)
{
    uint64_t start = clock_us();
    if (back)
        scatter_cols(dst, src, ROWS, p);
    else
        gather_cols(dst, src, ROWS, p);
    return (double)(clock_us() - start) / ROWS;
}

/* ------------------------------------------------------------------ choosing and embedding */

/* Logits of N(0, 1), about. */
static void flat_logits(float *logits, int V)
{
    uint64_t state = 1;
    for (int i = 0; i < V; i++) {
        double sum = 0;
        for (int k = 0; k < 12; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += (double)(state >> 11) * 0x1p-53;
        }
        logits[i] = (float)(sum - 6);
    }
}

static int choose_us(const struct sample_opts *opts, int V, const float *logits, float *scratch, double *us, struct err *err)
{
    struct sampler *s = NULL;
    double each[ROWS];
    int32_t token;
    if (sampler_new(&s, opts, V, err) != 0)
        return -1;
    int rc = 0;
    for (int i = 0; rc == 0 && i < ROWS; i++) {
        memcpy(scratch, logits, (size_t)V * sizeof *scratch);
        uint64_t start = clock_us();
        rc = sampler_next(s, scratch, NULL, 0, &token, err);
        each[i] = (double)(clock_us() - start);
    }
    sampler_free(s);
    if (rc == 0)
        *us = stats_median(each, ROWS);
    return rc;
}

static int measure_choices(const struct config *c, struct figures *f, struct err *err)
{
    const int V = config_outputs(c);
    for (size_t i = 0; i < CHOICES; i++)
        f->choose_us[i] = -1;
    if (c->head != HEAD_LM)
        return 0;
    float *logits = malloc((size_t)V * sizeof *logits), *scratch = malloc((size_t)V * sizeof *scratch);
    int rc = logits == NULL || scratch == NULL ? err_oom(err, (size_t)V * sizeof *logits) : 0;
    if (rc == 0)
        flat_logits(logits, V);
    for (size_t i = 0; rc == 0 && i < CHOICES; i++)
        rc = choose_us(&choices[i].opts, V, logits, scratch, &f->choose_us[i], err);
    free(logits);
    free(scratch);
    return rc;
}

/* Random tokens one by one, as they come in a generation: rows from anywhere in the table, none of them read just before. */
static int measure_embed(const struct config *c, const char *model, struct figures *f, struct err *err)
{
    struct checkpoint *cp;
    struct embed *e = NULL;
    int32_t ids[2 * ROWS];
    f->embed_us = -1;
    if (c->V == 0) {
        (void)err_set(&f->no_embed, ERR_INPUT, "the model reads images");
        return 0;
    }
    if (checkpoint_open(&cp, model, CHECKPOINT_EMBED, &f->no_embed) != 0)
        return 0;
    float *x = malloc((size_t)c->D * sizeof *x);
    int rc = x == NULL ? err_oom(err, (size_t)c->D * sizeof *x) : embed_load(&e, cp, err);
    synth_ids(ids, 2 * ROWS, c->V, 1);
    for (int pass = 0; rc == 0 && pass < 2; pass++) { /* the second one counts */
        uint64_t start = clock_us();
        for (int i = 0; rc == 0 && i < ROWS; i++)
            rc = embed_rows(e, &ids[pass * ROWS + i], NULL, 1, 0, x, err);
        f->embed_us = (double)(clock_us() - start) / ROWS;
    }
    embed_free(e);
    checkpoint_close(cp);
    free(x);
    return rc;
}

/* ------------------------------------------------------------------ keys and permuting */

static int measure(const struct config *c, struct figures *f, struct err *err)
{
    uint8_t seed[CRYPTO_KEY_LEN];
    uint32_t D = (uint32_t)c->D, V = (uint32_t)config_outputs(c);
    size_t width = D > V ? D : V;
    struct perm residual = {0}, output = {0};
    float *src = calloc(ROWS * width, sizeof *src), *dst = calloc(ROWS * width, sizeof *dst);
    double keygen[REPEATS], ends[REPEATS], seal[REPEATS], logits[REPEATS], hidden[REPEATS];
    int rc = src == NULL || dst == NULL ? err_oom(err, ROWS * width * sizeof *src) : crypto_random(seed, sizeof seed, err);
    for (int i = 0; rc == 0 && i < REPEATS; i++) {
        perm_wipe(&residual);
        perm_wipe(&output);
        residual = output = (struct perm){0};
        if ((rc = keys_once(c, seed, &keygen[i], err)) != 0)
            break;
        uint64_t start = clock_us();
        rc = perm_random(&residual, D, seed, err);
        if (rc == 0)
            rc = perm_random(&output, V, seed, err);
        ends[i] = (double)(clock_us() - start);
        if (rc == 0) {
            seal[i] = rows_us(&residual, src, dst, false);
            hidden[i] = rows_us(&residual, src, dst, true);
            logits[i] = rows_us(&output, src, dst, true);
        }
    }
    if (rc == 0)
        *f = (struct figures){.keygen_ms = stats_median(keygen, REPEATS), .end_keys_us = stats_median(ends, REPEATS),
                              .seal_us = stats_median(seal, REPEATS), .unseal_logits_us = stats_median(logits, REPEATS),
                              .unseal_hidden_us = stats_median(hidden, REPEATS)};
    perm_wipe(&residual);
    perm_wipe(&output);
    free(src);
    free(dst);
    return rc;
}

static void print_text(const struct figures *f)
{
    printf("all keys of the model      %.3f ms\nthe two end keys           %.1f us\nper token\n", f->keygen_ms, f->end_keys_us);
    if (f->embed_us < 0)
        printf("  embed                    not measured: %s\n", f->no_embed.text);
    else
        printf("  embed                    %.3f us\n", f->embed_us);
    printf("  seal                     %.3f us\n  un-permute logits        %.3f us\n  un-permute a hidden row  %.3f us\n", f->seal_us,
           f->unseal_logits_us, f->unseal_hidden_us);
    for (size_t i = 0; i < CHOICES && f->choose_us[i] >= 0; i++)
        printf("  choose                   %.1f us: %s, flat logits\n", f->choose_us[i], choices[i].name);
}

static void print_json(const struct figures *f)
{
    printf("{\"keygen_ms\":%.3f,\"end_keys_us\":%.1f,\"seal_us_per_token\":%.3f,\"unseal_logits_us_per_token\":%.3f,"
           "\"unseal_hidden_us_per_token\":%.3f",
           f->keygen_ms, f->end_keys_us, f->seal_us, f->unseal_logits_us, f->unseal_hidden_us);
    if (f->embed_us >= 0)
        printf(",\"embed_us_per_token\":%.3f", f->embed_us);
    for (size_t i = 0; i < CHOICES && f->choose_us[i] >= 0; i++)
        printf(",\"%s\":%.1f", choices[i].json, f->choose_us[i]);
    puts("}");
}

int cmd_keys(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct config c;
    struct figures f = {0};
    char model[FILE_PATH_MAX];
    (void)argc;
    (void)argv;
    if (hub_option(model, cmd, err) != 0 || config_read(&c, model, err) != 0)
        return -1;
    int rc = measure(&c, &f, err);
    if (rc == 0)
        rc = measure_choices(&c, &f, err);
    if (rc == 0)
        rc = measure_embed(&c, model, &f, err);
    if (rc == 0)
        (cli_on(cmd, "json") ? print_json : print_text)(&f);
    config_free(&c);
    return rc;
}
