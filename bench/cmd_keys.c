#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "bench/cmd.h"
#include "bench/stats.h"
#include "model/config.h"
#include "model/hub.h"
#include "model_dev/rules.h"
#include "permute/gather.h"
#include "permute/keyset.h"

#define REPEATS 5
#define ROWS 256

struct figures {
    double keygen_ms;     /* all keys of the model, as protect derives them */
    double end_keys_us;   /* what a user derives when it opens its grant */
    double seal_us, unseal_logits_us, unseal_hidden_us; /* per token */
};

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
        *f = (struct figures){stats_median(keygen, REPEATS), stats_median(ends, REPEATS), stats_median(seal, REPEATS),
                              stats_median(logits, REPEATS), stats_median(hidden, REPEATS)};
    perm_wipe(&residual);
    perm_wipe(&output);
    free(src);
    free(dst);
    return rc;
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
        printf(cli_on(cmd, "json") ? "{\"keygen_ms\":%.3f,\"end_keys_us\":%.1f,\"seal_us_per_token\":%.3f,"
                                     "\"unseal_logits_us_per_token\":%.3f,\"unseal_hidden_us_per_token\":%.3f}\n"
                                   : "all keys of the model      %.3f ms\nthe two end keys           %.1f us\nseal one token             "
                                     "%.3f us\nun-permute logits          %.3f us per token\nun-permute a hidden row    %.3f us "
                                     "per token\n",
               f.keygen_ms, f.end_keys_us, f.seal_us, f.unseal_logits_us, f.unseal_hidden_us);
    config_free(&c);
    return rc;
}
