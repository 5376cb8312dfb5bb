/* A7: with the weights of the first layers, every token of the vocabulary is tried at every place: the one whose gate values, sorted,
 * are those that the server computes on the row it got. No key of the residual or of the neurons changes these values. Who has the
 * residual key compares rows as they are. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/embed.h"
#include "engine/floats.h"
#include "engine/forward.h"
#include "model_dev/audit_match.h"
#include "model_dev/audit_text.h"

#define BATCH 128          /* candidates of one pass */
#define WORK 1e12          /* products at most, about */

/* The first layers of a net; with `gates` without what the last one's feed-forward part adds: outputs are the rows that enter it. */
struct view {
    struct net *net;
    bool gates;
    size_t F, experts;
    struct linear *gate; /* [experts] of the last layer; fused ones have the ups behind the gates */
    struct scratch *scratch;
    void *work;
    float *normed, *values; /* [BATCH,D], [BATCH, width of a gate] */
};

static int put_zero(struct linear *at, int out, int in, struct err *err)
{
    struct linear zero = {0};
    float *row = calloc((size_t)in, sizeof *row);
    if (row == NULL)
        return err_oom(err, (size_t)in * sizeof *row);
    int rc = weights_new(&zero.w, at->w.format, at->w.compute, out, in, err);
    for (int i = 0; rc == 0 && i < out; i++)
        weights_put_rows(&zero.w, i, 1, row);
    free(row);
    if (rc == 0) {
        linear_free(at);
        *at = zero;
    }
    return rc;
}

static struct net_layer *last_layer(const struct view *v)
{
    return &v->net->layers[v->net->config.L - 1];
}

/* The first of a layer's experts is all that is left of them. */
static void keep_one_expert(struct net_layer *layer, size_t experts)
{
    layer->up = layer->experts[0].up;
    layer->down = layer->experts[0].down;
    for (size_t e = 1; e < experts; e++) {
        linear_free(&layer->experts[e].up);
        linear_free(&layer->experts[e].down);
    }
    free(layer->experts);
    layer->experts = NULL;
}

/* The gates of the last layer, of all its experts: a server can put every row to every one. Nothing is left there that adds or costs
 * time: one layer alone keeps one neuron. */
static int take_gates(struct view *v, const struct checkpoint *cp, enum compute compute, struct err *err)
{
    struct config *c = &v->net->config;
    const struct config *whole = checkpoint_config(cp);
    struct net_layer *last = last_layer(v);
    const bool fused = arch_tensor(whole, ROLE_GATE_UP) != NULL, alone = c->L == 1;
    const enum role role = fused ? ROLE_GATE_UP : c->gated ? ROLE_GATE : ROLE_UP, bias = c->gated ? ROLE_GATE_BIAS : ROLE_UP_BIAS;
    if ((v->gate = calloc(v->experts, sizeof *v->gate)) == NULL)
        return err_oom(err, v->experts * sizeof *v->gate);
    for (size_t e = 0; e < v->experts; e++)
        if (linear_load(&v->gate[e], cp, compute, &role, fused ? NULL : &bias, 1, (c->L - 1) * (int)v->experts + (int)e, err) != 0)
            return -1;
    if (last->experts != NULL)
        keep_one_expert(last, v->experts);
    if (put_zero(&last->down, c->D, alone ? 1 : c->F, err) != 0)
        return -1;
    if (!alone)
        return 0;
    c->F = 1;
    return put_zero(&last->up, c->gated ? 2 : 1, c->D, err);
}

static int view_open(struct view *v, const struct checkpoint *cp, int layers, bool gates, enum compute compute, struct err *err)
{
    if (net_load_first(&v->net, cp, layers, compute, err) != 0)
        return -1;
    v->gates = gates;
    v->F = (size_t)v->net->config.F;
    v->experts = (size_t)config_feeds(&v->net->config);
    if (gates && take_gates(v, cp, compute, err) != 0)
        return -1;
    const size_t bytes = gates ? (linear_work_bytes(&v->gate[0], BATCH) + 63) / 64 * 64 : 0;
    if ((v->work = aligned_alloc(64, bytes + 64)) == NULL)
        return err_oom(err, bytes);
    if (floats_alloc(&v->normed, BATCH, (size_t)v->net->config.D, err) != 0 ||
        floats_alloc(&v->values, BATCH, gates ? (size_t)v->gate[0].w.out : 1, err) != 0)
        return -1;
    return scratch_new(&v->scratch, v->net, BATCH, BATCH, err);
}

static void view_close(struct view *v)
{
    net_free(v->net);
    for (size_t e = 0; v->gate != NULL && e < v->experts; e++)
        linear_free(&v->gate[e]);
    free(v->gate);
    scratch_free(v->scratch);
    free(v->work);
    free(v->normed);
    free(v->values);
}

/* What is compared of rows x [n,D]: themselves, or the sorted gate values that they lead to. [n,N] */
static int compared(struct view *v, const float *x, int n, float *out, struct err *err)
{
    const struct config *c = &v->net->config;
    const size_t D = (size_t)c->D, F = v->F, N = v->experts * F;
    if (!v->gates) {
        memcpy(out, x, (size_t)n * D * sizeof *out);
        return 0;
    }
    norm_apply(c, &last_layer(v)->mlp_norm, v->normed, x, n);
    for (size_t e = 0; e < v->experts; e++) {
        const size_t width = (size_t)v->gate[e].w.out;
        linear_apply(&v->gate[e], v->values, v->normed, n, v->work);
        for (size_t i = 0; i < (size_t)n; i++)
            memcpy(out + i * N + e * F, v->values + i * width, F * sizeof *out); /* gates lie first */
    }
    return audit_sort_rows(out, (size_t)n, N, err);
}

/* ------------------------------------------------------------------ both sides of the comparison */

struct trying {
    const struct audit_known *k;
    struct view server, own;
    struct embed *embed;
    struct kvcache *seen, *cache[BATCH]; /* all BATCH hold the tokens that were accepted so far */
    struct forward_seq seqs[BATCH];
    float *rows, *out; /* [BATCH,D] */
    size_t width;      /* of what is compared: N or D */
    float *target;     /* [AUDIT_SEQUENCE,width] what the server sees */
    float *values;     /* [BATCH,width] */
};

static int open_all(struct trying *s, struct err *err)
{
    const struct audit_known *k = s->k;
    const size_t D = (size_t)k->c->D;
    const bool open = k->residual != NULL; /* then the users' own layers are known too, and nothing of the server's is needed */
    s->width = open ? D : audit_neuron_count(k->c);
    if ((open ? view_open(&s->own, k->tables, k->first, false, k->compute, err)
              : view_open(&s->own, k->base, k->first + 1, true, COMPUTE_F32, err)) != 0 ||
        (!open && (view_open(&s->server, k->package, 1, true, k->compute, err) != 0 ||
                   kvcache_new_alone(&s->seen, &s->server.net->config, KV_F32, AUDIT_SEQUENCE, err) != 0)) ||
        embed_load(&s->embed, k->tables, err) != 0 || floats_alloc(&s->rows, BATCH, D, err) != 0 ||
        floats_alloc(&s->out, BATCH, D, err) != 0 || floats_alloc(&s->target, AUDIT_SEQUENCE, s->width, err) != 0 ||
        floats_alloc(&s->values, BATCH, s->width, err) != 0)
        return -1;
    for (int b = 0; b < BATCH; b++)
        if (kvcache_new_alone(&s->cache[b], &s->own.net->config, KV_F32, AUDIT_SEQUENCE, err) != 0)
            return -1;
    return 0;
}

static void close_all(struct trying *s)
{
    for (int b = 0; b < BATCH; b++)
        kvcache_free(s->cache[b]);
    kvcache_free(s->seen);
    embed_free(s->embed);
    free(s->rows);
    free(s->out);
    free(s->target);
    free(s->values);
    view_close(&s->server);
    view_close(&s->own);
}

/* What the server computes for T rows of one sequence. */
static int watch(struct trying *s, const float *rows, int T, struct err *err)
{
    if (s->k->residual != NULL)
        return audit_open_rows(s->target, rows, (size_t)T, s->width, NULL, s->k->residual, err);
    kvcache_truncate(s->seen, 0);
    if (!kvcache_reserve(s->seen, T))
        return err_set(err, ERR_INTERNAL, "no room in the cache");
    struct forward_seq seq = {.kv = s->seen, .x = rows, .T = T, .out_n = T, .out = s->out};
    forward(s->server.net, s->server.scratch, &seq, 1);
    return compared(&s->server, s->out, T, s->target, err);
}

/* Tokens ids[0..n-1] each behind the accepted ones, one per cache; `keep` leaves them there. */
static int step(struct trying *s, const int32_t *ids, int n, int position, bool keep, struct err *err)
{
    const size_t D = (size_t)s->k->c->D;
    for (int b = 0; b < n; b++) {
        float *row = s->rows + (size_t)b * D;
        kvcache_truncate(s->cache[b], position);
        if (!kvcache_reserve(s->cache[b], position + 1))
            return err_set(err, ERR_INTERNAL, "no room in the cache");
        if (embed_rows(s->embed, &ids[b], NULL, 1, position, row, err) != 0)
            return -1;
        s->seqs[b] = (struct forward_seq){.kv = s->cache[b], .x = row, .T = 1, .out_n = 1, .out = s->out + (size_t)b * D};
    }
    forward(s->own.net, s->own.scratch, s->seqs, n);
    for (int b = 0; b < n && !keep; b++)
        kvcache_truncate(s->cache[b], position);
    return 0;
}

static int best_token(struct trying *s, int position, int32_t *token, struct err *err)
{
    const size_t width = s->width;
    const float *target = s->target + (size_t)position * width;
    const int V = checkpoint_config(s->k->tables)->V;
    double least = INFINITY;
    int32_t ids[BATCH];
    for (int32_t first = 0; first < V; first += BATCH) {
        int n = V - first < BATCH ? V - first : BATCH;
        for (int b = 0; b < n; b++)
            ids[b] = first + b;
        if (step(s, ids, n, position, false, err) != 0 || compared(&s->own, s->out, n, s->values, err) != 0)
            return -1;
        for (int b = 0; b < n; b++) {
            const float *values = s->values + (size_t)b * width;
            double sum = 0;
            for (size_t f = 0; f < width; f++)
                sum += ((double)values[f] - (double)target[f]) * ((double)values[f] - (double)target[f]);
            if (sum < least) {
                least = sum;
                *token = ids[b];
            }
        }
    }
    for (int b = 0; b < BATCH; b++)
        ids[b] = *token;
    return step(s, ids, BATCH, position, true, err);
}

/* How many places can be tried with so much work. */
static size_t places(const struct audit_known *k)
{
    const struct config *c = k->c;
    if (k->places > 0)
        return k->places;
    const double D = c->D, attention = D * (double)(2 * (c->H + c->G) * c->K), gates = D * (double)audit_neuron_count(c);
    const double local = attention + (c->gated ? 3 : 2) * D * c->F * (c->experts > 0 ? c->experts_used : 1);
    const double fit = WORK / ((local * k->first + attention + gates) * (double)c->V);
    return fit < 4 ? 4 : fit > 64 ? 64 : (size_t)fit;
}

int audit_vocabulary(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    const size_t D = (size_t)k->c->D, budget = places(k);
    if (!k->c->causal) {
        (void)snprintf(a->reason, sizeof a->reason, "every row here depends on all tokens of a text: a search token by token needs a causal model");
        return 0;
    }
    struct trying *s = calloc(1, sizeof *s);
    if (s == NULL || (a->token = calloc(k->n, sizeof *a->token)) == NULL) {
        free(s);
        return err_oom(err, sizeof *s);
    }
    s->k = k;
    (void)snprintf(a->method, sizeof a->method, "the first %zu places, all %d tokens tried at each", budget < k->n ? budget : k->n, k->c->V);
    int rc = open_all(s, err);
    for (size_t i = 0; i < k->n; i++)
        a->token[i] = -2;
    for (size_t i = 0; rc == 0 && i < k->n && i < budget; i++) {
        size_t T = 1;
        while (i + T < k->n && T < AUDIT_SEQUENCE && k->sequence[i + T] == k->sequence[i])
            T++;
        if (k->position[i] == 0)
            rc = watch(s, k->rows + i * D, (int)T, err);
        if (rc == 0)
            rc = best_token(s, k->position[i], &a->token[i], err);
    }
    close_all(s);
    free(s);
    return rc;
}
