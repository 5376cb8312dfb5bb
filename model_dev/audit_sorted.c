/* A2: what a residual column has in a matrix, sorted, does not depend on the inner key; over some matrices it names the column. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/floats.h"
#include "model_dev/audit_match.h"

#define POINTS 24      /* places of a sorted column that are kept */
#define MAX_MATRICES 32

/* The down matrices of a layer's experts side by side, [D,N]: what is added to a residual column. */
static int downs_of(float **out, const struct checkpoint *cp, int layer, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    const size_t D = (size_t)c->D, F = (size_t)c->F, N = audit_neuron_count(c);
    float *all = NULL, *one = NULL;
    int rc = floats_alloc(&all, D, N, err);
    for (int e = 0; rc == 0 && e < config_feeds(c); e++)
        if ((rc = audit_matrix(&one, cp, ROLE_DOWN, layer * config_feeds(c) + e, err)) == 0) {
            for (size_t d = 0; d < D; d++)
                memcpy(all + d * N + (size_t)e * F, one + d * F, F * sizeof *one);
            free(one);
        }
    if (rc == 0)
        *out = all;
    else
        free(all);
    return rc;
}

/* A matrix as [D, other]: what each residual column has in it, with the gain of the norm before it multiplied in. Of experts all
 * together: sorted, their order does not matter either. */
static int columns_of(float **out, size_t *width, const struct checkpoint *cp, bool down, int layer, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    const size_t D = (size_t)c->D, N = audit_neuron_count(c);
    float *w = NULL, *turned = NULL;
    *width = N;
    if (down)
        return downs_of(out, cp, layer, err);
    if (audit_neurons(&w, cp, layer, err) != 0 || floats_alloc(&turned, D, N, err) != 0) {
        free(w);
        return -1;
    }
    for (size_t f = 0; f < N; f++)
        for (size_t d = 0; d < D; d++)
            turned[d * N + f] = w[f * D + d];
    free(w);
    *out = turned;
    return 0;
}

static int add_points(float *features, size_t width, size_t at, const struct checkpoint *cp, bool down, int layer, struct err *err)
{
    const size_t D = (size_t)checkpoint_config(cp)->D;
    size_t n = 0;
    float *columns = NULL;
    int rc = columns_of(&columns, &n, cp, down, layer, err);
    if (rc == 0)
        rc = audit_sort_rows(columns, D, n, err);
    for (size_t d = 0; rc == 0 && d < D; d++)
        for (size_t p = 0; p < POINTS; p++)
            features[d * width + at + p] = columns[d * n + (2 * p + 1) * n / (2 * POINTS)];
    free(columns);
    return rc;
}

static int points_of(float **out, size_t width, const struct checkpoint *cp, int first, int layers, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    float *features;
    int rc = floats_alloc(&features, (size_t)c->D, width, err);
    if (rc != 0)
        return -1;
    for (int i = 0; rc == 0 && i < 2 * layers; i++)
        rc = add_points(features, width, (size_t)i * POINTS, cp, i % 2 == 1, first + i / 2 * (c->L - first) / layers, err);
    *out = features;
    if (rc == 0)
        audit_standardise(features, (size_t)c->D, width);
    return rc;
}

int audit_sorted(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    const int layers = k->c->L < MAX_MATRICES / 2 ? k->c->L : MAX_MATRICES / 2;
    const size_t D = (size_t)k->c->D, width = 2 * (size_t)layers * POINTS;
    float *package = NULL, *base = NULL;
    int rc = -1;
    if ((a->channel = calloc(D, sizeof *a->channel)) == NULL)
        return err_oom(err, D * sizeof *a->channel);
    if (points_of(&package, width, k->package, 0, layers, err) != 0 || points_of(&base, width, k->base, k->first, layers, err) != 0)
        goto done;
    (void)snprintf(a->method, sizeof a->method, "feed-forward matrices of %d of %d layers, %d points of each sorted column", layers,
                   k->c->L, POINTS);
    rc = audit_nearest(a->channel, package, D, base, D, width, err);
    if (rc == 0)
        rc = audit_use_key(k, a, err);
done:
    free(package);
    free(base);
    return rc;
}
