#include "model_dev/audit_judge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "engine/floats.h"
#include "model_dev/audit_drift.h"
#include "permute/gather.h"
#include "permute/gauge.h"

#define CLOSE 0.99 /* cosine of a key's row and the guess of it */
#define PICTURE 0.9 /* cosine of a patch's pixels and the guess of them */
#define ELEMENTS 4096 /* of a matrix that are looked at */

static int turn(const struct keyset *keys, const struct config *c, float *rows, size_t n, struct err *err)
{
    struct gauge_end end = {0};
    uint8_t key[CRYPTO_KEY_LEN];
    int rc = keyset_end_key(keys, KEY_RESIDUAL, key, err);
    if (rc == 0)
        rc = gauge_end_new(&end, c->D, c->norm == NORM_LAYER, key, err);
    if (rc == 0)
        rc = gauge_end_rows(&end, rows, n, err);
    gauge_end_wipe(&end);
    secret_wipe(key, sizeof key);
    return rc;
}

int audit_seal(const struct keyset *keys, const struct config *c, bool gauge, float *sealed, float *rows, size_t n, struct err *err)
{
    struct perm p = {0};
    int rc = gauge ? turn(keys, c, rows, n, err) : 0;
    if (rc == 0)
        rc = keyset_perm(keys, KEY_RESIDUAL, 0, &p, err);
    if (rc == 0)
        gather_cols(sealed, rows, n, &p);
    perm_wipe(&p);
    return rc;
}

/* Experts stand in the order of their key, the neurons of each in the order of the place's. */
static int neurons_of(struct perm *out, const struct keyset *keys, const struct config *c, int layer, struct err *err)
{
    const uint32_t E = (uint32_t)config_feeds(c), F = (uint32_t)c->F;
    struct perm order = {0};
    int rc = c->experts > 0 ? keyset_perm(keys, KEY_EXPERTS, layer, &order, err) : perm_identity(&order, E, err);
    if (rc == 0)
        rc = perm_identity(out, E * F, err);
    for (uint32_t e = 0; rc == 0 && e < E; e++) {
        struct perm own = {0};
        rc = keyset_perm(keys, KEY_FFN, layer * (int)E + (int)e, &own, err);
        for (uint32_t f = 0; rc == 0 && f < F; f++)
            out->to[e * F + f] = order.to[e] * F + own.to[f];
        perm_wipe(&own);
    }
    perm_wipe(&order);
    return rc;
}

int audit_truth_open(struct audit_truth *out, const struct keyset *keys, const struct config *c, bool gauge, int first,
                     const int32_t *ids, size_t n, struct err *err)
{
    struct audit_truth t = {.D = (size_t)c->D, .F = (size_t)c->F, .V = (size_t)c->V, .experts = (size_t)config_feeds(c), .outputs = (size_t)config_outputs(c), .n = n,
                            .ids = ids};
    float *units = calloc(t.D, t.D * sizeof *units);
    int rc = units == NULL ? err_oom(err, t.D * t.D * sizeof *units) : floats_alloc(&t.residual, t.D, t.D, err);
    for (size_t i = 0; rc == 0 && i < t.D; i++)
        units[i * t.D + i] = 1.0f;
    if (rc == 0)
        rc = audit_seal(keys, c, gauge, t.residual, units, t.D, err);
    if (rc == 0)
        rc = neurons_of(&t.neurons, keys, c, first, err);
    if (rc == 0)
        rc = keyset_perm(keys, KEY_OUTPUT, 0, &t.output, err);
    free(units);
    if (rc != 0)
        audit_truth_close(&t);
    else
        *out = t;
    return rc;
}

void audit_truth_close(struct audit_truth *t)
{
    free(t->residual);
    t->residual = NULL;
    perm_wipe(&t->neurons);
    perm_wipe(&t->output);
}

/* ------------------------------------------------------------------ targets */

static bool points_to(const float *guess, const float *truth, size_t D, double close)
{
    double both = 0, a = 0, b = 0;
    for (size_t d = 0; d < D; d++) {
        both += (double)guess[d] * (double)truth[d];
        a += (double)guess[d] * (double)guess[d];
        b += (double)truth[d] * (double)truth[d];
    }
    return a > 0 && b > 0 && both >= close * sqrt(a * b);
}

/* hit[i]: plain column i was found. Where the answer names a plain column for each place, one place must be right about it. */
static void columns_found(bool *hit, const struct audit_truth *t, const struct audit_answer *a, bool known)
{
    memset(hit, known, t->D * sizeof *hit);
    for (size_t j = 0; !known && a->channel != NULL && j < t->D; j++) {
        const float *row = t->residual + a->channel[j] * t->D;
        double size = 0;
        for (size_t d = 0; d < t->D; d++)
            size += (double)row[d] * (double)row[d];
        if ((double)row[j] >= CLOSE * sqrt(size))
            hit[a->channel[j]] = true;
    }
    for (size_t i = 0; !known && a->matrix != NULL && i < t->D; i++)
        hit[i] = points_to(a->matrix + i * t->D, t->residual + i * t->D, t->D, CLOSE);
}

static int judge_columns(struct audit_cell *cell, const struct audit_truth *t, const struct audit_answer *a, bool weights,
                         bool known, struct err *err)
{
    bool *hit = calloc(t->D, sizeof *hit);
    if (hit == NULL)
        return err_oom(err, t->D);
    columns_found(hit, t, a, known);
    if (!weights) {
        cell->tries = t->D;
        for (size_t i = 0; i < t->D; i++)
            cell->hits += hit[i];
    } else { /* an element is found when both its neuron and its column are */
        cell->tries = ELEMENTS;
        for (size_t e = 0; e < ELEMENTS; e++) {
            size_t q = audit_noise(1, e) % a->neurons, column = audit_noise(2, e) % t->D;
            cell->hits += t->neurons.to[a->place[q]] == a->neuron[q] && hit[column];
        }
    }
    free(hit);
    return 0;
}

/* An expert of the package is the one that most of its neurons were taken for. */
static int judge_experts(struct audit_cell *cell, const struct audit_truth *t, const struct audit_answer *a, struct err *err)
{
    uint32_t *votes = calloc(t->experts * t->experts, sizeof *votes);
    if (votes == NULL)
        return err_oom(err, t->experts * t->experts * sizeof *votes);
    for (size_t i = 0; i < a->neurons; i++)
        votes[a->place[i] / t->F * t->experts + a->neuron[i] / t->F]++;
    for (size_t e = 0; e < t->experts; e++) {
        const uint32_t *own = votes + e * t->experts;
        size_t most = 0;
        for (size_t i = 1; i < t->experts; i++)
            most = own[i] > own[most] ? i : most;
        cell->tries += own[most] > 0;
        cell->hits += own[most] > 0 && t->neurons.to[e * t->F] / t->F == most;
    }
    free(votes);
    return 0;
}

static void judge_tokens(struct audit_cell *cell, const struct audit_truth *t, const struct audit_answer *a)
{
    for (size_t i = 0; i < t->n; i++) {
        if (a->token != NULL && a->token[i] == -2)
            continue;
        cell->tries++;
        if (a->token != NULL)
            cell->hits += a->token[i] == t->ids[i];
        else
            cell->hits += a->label[i] >= 0 && (int64_t)t->output.to[a->label[i]] == (int64_t)t->ids[i];
    }
}

static void judge_patches(struct audit_cell *cell, const struct audit_truth *t, const struct audit_answer *a)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->ids[i] >= 0) {
            cell->tries++;
            cell->hits += points_to(a->pixels + i * t->M, t->patches + i * t->M, t->M, PICTURE);
        }
}

/* Of the pairs of rows that are the same token or were said to be: those that are both. */
static void judge_equality(struct audit_cell *cell, const struct audit_truth *t, const struct audit_answer *a)
{
    for (size_t i = 0; i < t->n; i++)
        for (size_t j = 0; j < i; j++) {
            bool same = t->ids[i] == t->ids[j], said = a->symbol[i] == a->symbol[j];
            if (t->ids[i] < 0 || t->ids[j] < 0) /* class tokens are the same in every image */
                continue;
            cell->tries += same || said;
            cell->hits += same && said;
        }
}

int audit_judge(struct audit_cell *cell, const struct audit_truth *t, const struct audit_answer *a, enum audit_target target,
                bool known, struct err *err)
{
    const bool there[AUDIT_TARGETS] = {
        [AUDIT_RESIDUAL] = a->channel != NULL || a->matrix != NULL,
        [AUDIT_WEIGHTS] = a->neuron != NULL,
        [AUDIT_EXPERTS] = a->neuron != NULL,
        [AUDIT_TOKENS] = a->token != NULL || a->label != NULL || a->pixels != NULL,
        [AUDIT_EQUALITY] = a->symbol != NULL,
    };
    *cell = (struct audit_cell){.chance = target == AUDIT_RESIDUAL ? 1.0 / (double)t->D
                                        : target == AUDIT_WEIGHTS ? 1.0 / (double)(t->experts * t->F)
                                        : target == AUDIT_EXPERTS ? 1.0 / (double)t->experts : t->V > 0 ? 1.0 / (double)t->V : 0};
    (void)snprintf(cell->reason, sizeof cell->reason, "%s", a->reason);
    (void)snprintf(cell->method, sizeof cell->method, "%s", a->method);
    if (a->closed)
        cell->status = AUDIT_CLOSED;
    else if (target == AUDIT_RESIDUAL && known) {
        cell->status = AUDIT_GIVEN;
        (void)snprintf(cell->reason, sizeof cell->reason, "users hold this key");
    } else if (!there[target]) {
        cell->status = AUDIT_SKIPPED;
        if (t->patches != NULL && cell->reason[0] == '\0')
            (void)snprintf(cell->reason, sizeof cell->reason, "not applicable: patches are of no vocabulary");
    } else if (target == AUDIT_TOKENS && a->pixels != NULL)
        judge_patches(cell, t, a);
    else if (target == AUDIT_TOKENS)
        judge_tokens(cell, t, a);
    else if (target == AUDIT_EQUALITY)
        judge_equality(cell, t, a);
    else if (target == AUDIT_EXPERTS)
        return judge_experts(cell, t, a, err);
    else
        return judge_columns(cell, t, a, target == AUDIT_WEIGHTS, known, err);
    return 0;
}
