/* A2: what a residual column has in a matrix, sorted, does not depend on the inner key; over some matrices it names the column. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/floats.h"
#include "model_dev/audit_match.h"

#define POINTS 24      /* places of a sorted column that are kept */
#define MAX_MATRICES 32

/* A matrix as [D, other]: what each residual column has in it, with the gain of the norm before it multiplied in. */
static int columns_of(float **out, size_t *width, const struct checkpoint *cp, bool down, int layer, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    const size_t D = (size_t)c->D, F = (size_t)c->F;
    float *w = NULL, *turned = NULL;
    *width = F;
    if (down) /* its outputs are the residual already */
        return audit_matrix(out, cp, ROLE_DOWN, layer, err);
    if (audit_neurons(&w, cp, layer, err) != 0 || floats_alloc(&turned, D, F, err) != 0) {
        free(w);
        return -1;
    }
    for (size_t f = 0; f < F; f++)
        for (size_t d = 0; d < D; d++)
            turned[d * F + f] = w[f * D + d];
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
