/* A3: no orthogonal key of the residual changes the inner products of neurons. They name the neurons; then the key is what turns the
 * base's neurons into the package's (Procrustes). A permutation is such a key too. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/floats.h"
#include "model_dev/audit_match.h"

#define POINTS 64   /* places of a sorted row of inner products that are kept */
#define ROUNDS 3    /* of matching neurons again with the key that was found */
#define STEPS 40    /* of the iteration towards the orthogonal factor, at most */
#define MAX_D 2048  /* products of D x D matrices, some hundred of them */
#define BLOCK ((size_t)64)

/* products: [BLOCK,F]. */
static int invariants_of_one(float *features, float *products, const float *w, size_t F, size_t D, struct err *err)
{
    int rc = 0;
    for (size_t f = 0; rc == 0 && f < F; f += BLOCK) {
        size_t n = F - f < BLOCK ? F - f : BLOCK;
        if ((rc = audit_product(products, w + f * D, n, w, F, D, err)) != 0)
            break;
        for (size_t i = 0; i < n; i++)
            features[(f + i) * (POINTS + 1) + POINTS] = products[i * F + f + i];
        if ((rc = audit_sort_rows(products, n, F, err)) != 0)
            break;
        for (size_t i = 0; i < n; i++)
            for (size_t p = 0; p < POINTS; p++)
                features[(f + i) * (POINTS + 1) + p] = products[i * F + (2 * p + 1) * F / (2 * POINTS)];
    }
    return rc;
}

/* Sorted inner products of each neuron with all of its expert, at POINTS places, and its own length: [experts F, POINTS + 1]. */
static int invariants(float **out, const float *w, size_t experts, size_t F, size_t D, struct err *err)
{
    float *features = NULL, *products = NULL;
    int rc = -1;
    if (floats_alloc(&features, experts * F, POINTS + 1, err) != 0 || floats_alloc(&products, BLOCK, F, err) != 0)
        goto done;
    rc = 0;
    for (size_t e = 0; rc == 0 && e < experts; e++)
        rc = invariants_of_one(features + e * F * (POINTS + 1), products, w + e * F * D, F, D, err);
    audit_standardise(features, experts * F, POINTS + 1);
done:
    free(products);
    if (rc == 0)
        *out = features;
    else
        free(features);
    return rc;
}

/* [width,n] of x [n,width]. */
static void turn(float *out, const float *x, size_t n, size_t width)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++)
            out[j * n + i] = x[i * width + j];
}

/* The largest factor by which m [D,D] stretches a row, about: power iteration on m^T m. */
static double stretch(const float *m, size_t D, double *v, double *mv)
{
    double size = 0;
    for (size_t j = 0; j < D; j++)
        v[j] = 1 + (double)(j % 7);
    for (int step = 0; step < 30; step++) {
        double sum = 0;
        for (size_t i = 0; i < D; i++) {
            mv[i] = 0;
            for (size_t j = 0; j < D; j++)
                mv[i] += (double)m[i * D + j] * v[j];
        }
        for (size_t j = 0; j < D; j++)
            v[j] = 0;
        for (size_t i = 0; i < D; i++)
            for (size_t j = 0; j < D; j++)
                v[j] += (double)m[i * D + j] * mv[i];
        for (size_t j = 0; j < D; j++)
            sum += v[j] * v[j];
        size = sqrt(sqrt(sum)); /* |m^T m v| of a unit v, its root */
        for (size_t j = 0; j < D; j++)
            v[j] /= sqrt(sum) + 1e-300;
    }
    return size;
}

/* The orthogonal matrix nearest to m, in place: x <- 1.5 x - 0.5 x x^T x (Newton and Schulz). Directions that m does not have stay
 * out of it. */
static int make_orthogonal(float *m, size_t D, struct err *err)
{
    float *square = NULL, *next = NULL, *turned = NULL;
    double *v = calloc(2 * D, sizeof *v);
    int rc = -1;
    if (v == NULL) {
        err_oom(err, 2 * D * sizeof *v);
        goto done;
    }
    if (floats_alloc(&square, D, D, err) != 0 || floats_alloc(&next, D, D, err) != 0 || floats_alloc(&turned, D, D, err) != 0)
        goto done;
    const double size = stretch(m, D, v, v + D) * 1.05 + 1e-30;
    for (size_t i = 0; i < D * D; i++)
        m[i] /= (float)size;
    rc = 0;
    for (int step = 0; rc == 0 && step < STEPS; step++) {
        double moved = 0;
        rc = audit_product(square, m, D, m, D, D, err); /* x x^T */
        turn(turned, m, D, D);
        if (rc == 0)
            rc = audit_product(next, square, D, turned, D, D, err); /* (x x^T) x */
        for (size_t i = 0; rc == 0 && i < D * D; i++) {
            float x = 1.5f * m[i] - 0.5f * next[i];
            moved = fmax(moved, fabs((double)x - (double)m[i]));
            m[i] = x;
        }
        if (moved < 1e-6)
            break;
    }
done:
    free(square);
    free(next);
    free(turned);
    free(v);
    return rc;
}

/* The key for which the package's neurons are the base's, matched one by one: base^T package, made orthogonal. [D,D] */
static int find_key(float *key, const float *base, const float *package, const uint32_t *who, size_t F, size_t D, struct err *err)
{
    float *a = NULL, *b = NULL;
    int rc = -1;
    if (floats_alloc(&a, D, F, err) != 0 || floats_alloc(&b, D, F, err) != 0)
        goto done;
    for (size_t f = 0; f < F; f++)
        for (size_t d = 0; d < D; d++)
            a[d * F + f] = base[who[f] * D + d];
    turn(b, package, F, D);
    rc = audit_product(key, a, D, b, D, F, err);
    if (rc == 0)
        rc = make_orthogonal(key, D, err);
done:
    free(a);
    free(b);
    return rc;
}

/* Neurons again, in plain order by the key of the round before: a few wrong ones do not spoil a key. */
static int match_again(uint32_t *who, const float *key, const float *base, const float *package, size_t F, size_t D, struct err *err)
{
    float *plain;
    if (floats_alloc(&plain, F, D, err) != 0)
        return -1;
    int rc = audit_open_rows(plain, package, F, D, NULL, key, err);
    if (rc == 0)
        rc = audit_nearest(who, plain, F, base, F, D, err);
    free(plain);
    return rc;
}

/* The permutation that a key is nearly: the plain column that each place has most of. */
static int round_key(uint32_t **out, const float *key, size_t D, struct err *err)
{
    uint32_t *channel = calloc(D, sizeof *channel);
    if (channel == NULL)
        return err_oom(err, D * sizeof *channel);
    for (size_t j = 0; j < D; j++)
        for (size_t i = 1; i < D; i++)
            if (key[i * D + j] > key[channel[j] * D + j])
                channel[j] = (uint32_t)i;
    *out = channel;
    return 0;
}

static int keep_neurons(const struct audit_known *k, struct audit_answer *a, const uint32_t *who, struct err *err)
{
    if (audit_pick_neurons(k, a, err) != 0)
        return -1;
    for (size_t i = 0; i < a->neurons; i++)
        a->neuron[i] = who[a->place[i]];
    return 0;
}

int audit_gram(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    const size_t D = (size_t)k->c->D, experts = (size_t)config_feeds(k->c), F = (size_t)k->c->F, N = experts * F;
    float *package = NULL, *base = NULL, *seen = NULL, *known = NULL, *key = NULL;
    uint32_t *who = calloc(N, sizeof *who);
    int rc = who == NULL ? err_oom(err, N * sizeof *who) : audit_neurons(&package, k->package, 0, err);
    if (rc == 0)
        rc = audit_neurons(&base, k->base, k->first, err);
    if (rc == 0 && (rc = invariants(&seen, package, experts, F, D, err)) == 0)
        rc = invariants(&known, base, experts, F, D, err);
    if (rc == 0)
        rc = audit_nearest(who, seen, N, known, N, POINTS + 1, err);
    if (rc == 0 && D > MAX_D) {
        (void)snprintf(a->reason, sizeof a->reason, "width %zu: Procrustes is measured up to %d; weights by their neurons only", D, MAX_D);
        rc = keep_neurons(k, a, who, err);
        goto done;
    }
    if (rc == 0)
        rc = floats_alloc(&key, D, D, err);
    for (int round = 0; rc == 0 && round < ROUNDS; round++)
        if ((rc = find_key(key, base, package, who, N, D, err)) == 0)
            rc = match_again(who, key, base, package, N, D, err);
    if (rc == 0 && k->permuted)
        rc = round_key(&a->channel, key, D, err);
    else if (rc == 0) {
        /* Rows may be scaled as well; then the public eps of the norms is, by the square. Lengths are in the tokens' dictionary. */
        const double scale = sqrt(k->c->norm_eps / checkpoint_config(k->base)->norm_eps);
        for (size_t i = 0; i < D * D; i++)
            key[i] *= (float)scale;
        a->matrix = key;
        key = NULL;
    }
    if (rc == 0)
        rc = keep_neurons(k, a, who, err);
    if (rc == 0)
        rc = audit_dictionary(k, a, err);
done:
    free(package);
    free(base);
    free(seen);
    free(known);
    free(key);
    free(who);
    return rc;
}
