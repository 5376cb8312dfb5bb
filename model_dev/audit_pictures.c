/* A4 for images: a row that was opened is W p + b, b the vector of its place; least squares give the patch p. */
#include "model_dev/audit_pictures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/floats.h"
#include "model_dev/audit_drift.h"
#include "model_dev/audit_match.h"

#define RIDGE 5e-2 /* of the mean of the diagonal: of directions that the projection hardly has, tables that are a little off tell nothing */

size_t audit_patch_width(const struct config *c)
{
    return (size_t)(c->channels * c->patch[0] * c->patch[1]);
}

static size_t image_floats(const struct config *c)
{
    return (size_t)(c->channels * c->image[0] * c->image[1]);
}

/* Patch t into an image or, with `out`, from there. */
static void copy_patch(const struct config *c, float *image, size_t t, float *patch, bool out)
{
    const size_t high = (size_t)c->image[0], wide = (size_t)c->image[1], rows = (size_t)c->patch[0], columns = (size_t)c->patch[1];
    const size_t top = t / (wide / columns) * rows, left = t % (wide / columns) * columns;
    for (size_t k = 0; k < (size_t)c->channels; k++)
        for (size_t r = 0; r < rows; r++, patch += columns) {
            float *at = image + (k * high + top + r) * wide + left;
            memcpy(out ? patch : at, out ? at : patch, columns * sizeof *at);
        }
}

/* ------------------------------------------------------------------ the sample */

static void make_up(float *image, const struct config *c, size_t number)
{
    const size_t wide = (size_t)c->image[1], high = (size_t)c->image[0], shared = high / 2 / (size_t)c->patch[0] * (size_t)c->patch[0];
    for (size_t i = 0; i < image_floats(c); i++) {
        const bool background = i / wide % high < shared;
        image[i] = (float)((double)(audit_noise(4 + (background ? 0 : 1 + number), i) >> 11) / 4503599627370496.0 - 1);
    }
}

int audit_pictures_open(struct audit_text *out, float **patches, float **rows, const struct embed *e, const struct config *c,
                        size_t sample, struct err *err)
{
    const size_t T = (size_t)c->positions, P = (size_t)config_patches(c), M = audit_patch_width(c), D = (size_t)c->D;
    const size_t images = sample / T < 2 ? 2 : sample / T, across = (size_t)(c->image[1] / c->patch[1]);
    const size_t shared = (size_t)(c->image[0] / 2 / c->patch[0]) * across;
    struct audit_text t = {.n = images * T};
    float *image = NULL, *x = NULL, *p = NULL;
    t.corpus = t.traffic = calloc(t.n, sizeof *t.traffic);
    t.sequence = calloc(t.n, sizeof *t.sequence);
    t.position = calloc(t.n, sizeof *t.position);
    int rc = t.traffic == NULL || t.sequence == NULL || t.position == NULL ? err_oom(err, t.n * sizeof *t.traffic) : 0;
    if (rc == 0 && ((rc = floats_alloc(&image, image_floats(c), 1, err)) != 0 || (rc = floats_alloc(&x, t.n, D, err)) != 0))
        goto done;
    if (rc == 0)
        rc = floats_alloc(&p, t.n, M, err);
    for (size_t i = 0; rc == 0 && i < images; i++) {
        make_up(image, c, i);
        rc = embed_image(e, image, x + i * T * D, err);
        for (size_t r = 0; rc == 0 && r < T; r++) {
            const size_t at = i * T + r, patch = r - (T - P);
            const bool none = r < T - P;
            t.sequence[at] = (int)i;
            t.position[at] = (int)r;
            t.traffic[at] = none ? -1 : (int32_t)(patch < shared ? patch : i * P + patch);
            if (none)
                memset(p + at * M, 0, M * sizeof *p);
            else
                copy_patch(c, image, patch, p + at * M, true);
        }
    }
done:
    free(image);
    if (rc != 0) {
        audit_text_close(&t);
        free(x);
        free(p);
        return rc;
    }
    *out = t;
    *patches = p;
    *rows = x;
    return 0;
}

/* ------------------------------------------------------------------ the projection, as an attacker sees it from its tables */

/* Rows of n pixels that are one, each in a patch of its own: what they add is a column of the projection. */
struct projection {
    float *place;   /* [T,D] rows of an empty image */
    float *columns; /* [M,D] */
};

static void projection_free(struct projection *p)
{
    free(p->place);
    free(p->columns);
}

static int projection_open(struct projection *out, const struct checkpoint *tables, struct err *err)
{
    const struct config *c = checkpoint_config(tables);
    const size_t T = (size_t)c->positions, P = (size_t)config_patches(c), M = audit_patch_width(c), D = (size_t)c->D;
    struct projection p = {0};
    struct embed *e = NULL;
    float *image = NULL, *x = NULL, *unit = NULL;
    int rc = -1;
    if (embed_load(&e, tables, err) != 0 || floats_alloc(&p.place, T, D, err) != 0 || floats_alloc(&p.columns, M, D, err) != 0 ||
        floats_alloc(&image, image_floats(c), 1, err) != 0 || floats_alloc(&x, T, D, err) != 0 || floats_alloc(&unit, M, 1, err) != 0)
        goto done;
    memset(image, 0, image_floats(c) * sizeof *image);
    rc = embed_image(e, image, p.place, err);
    for (size_t first = 0; rc == 0 && first < M; first += P) {
        for (size_t t = 0; t < P; t++) {
            memset(unit, 0, M * sizeof *unit);
            if (first + t < M)
                unit[first + t] = 1;
            copy_patch(c, image, t, unit, false);
        }
        rc = embed_image(e, image, x, err);
        for (size_t t = 0; rc == 0 && t < P && first + t < M; t++)
            for (size_t d = 0; d < D; d++)
                p.columns[(first + t) * D + d] = x[(T - P + t) * D + d] - p.place[(T - P + t) * D + d];
    }
done:
    embed_free(e);
    free(image);
    free(x);
    free(unit);
    if (rc == 0)
        *out = p;
    else
        projection_free(&p);
    return rc;
}

/* ------------------------------------------------------------------ least squares */

/* Cholesky's factor of g [n,n], in place below the diagonal. */
static void factor(double *g, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        for (size_t k = 0; k < j; k++)
            g[j * n + j] -= g[j * n + k] * g[j * n + k];
        g[j * n + j] = sqrt(fmax(g[j * n + j], 1e-300));
        for (size_t i = j + 1; i < n; i++) {
            for (size_t k = 0; k < j; k++)
                g[i * n + j] -= g[i * n + k] * g[j * n + k];
            g[i * n + j] /= g[j * n + j];
        }
    }
}

/* b [n] becomes the solution of L L^T x = b. */
static void solve(const double *l, size_t n, double *b)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++)
            b[i] -= l[i * n + k] * b[k];
        b[i] /= l[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
        for (size_t k = i + 1; k < n; k++)
            b[i] -= l[k * n + i] * b[k];
        b[i] /= l[i * n + i];
    }
}

/* rows [n,D], opened, without the vector of their place -> pixels [n,M]. */
static int solve_rows(float *pixels, const float *rows, size_t n, const float *columns, size_t M, size_t D, struct err *err)
{
    float *gram = NULL, *right = NULL;
    double *l = calloc(M * M, sizeof *l), *b = calloc(M, sizeof *b), trace = 0;
    int rc = l == NULL || b == NULL ? err_oom(err, M * M * sizeof *l) : 0;
    if (rc == 0 && ((rc = floats_alloc(&gram, M, M, err)) != 0 || (rc = floats_alloc(&right, n, M, err)) != 0))
        goto done;
    if (rc == 0)
        rc = audit_product(gram, columns, M, columns, M, D, err);
    if (rc == 0)
        rc = audit_product(right, rows, n, columns, M, D, err);
    for (size_t i = 0; rc == 0 && i < M * M; i++) {
        l[i] = (double)gram[i];
        trace += i % (M + 1) == 0 ? l[i] : 0;
    }
    for (size_t i = 0; rc == 0 && i < M; i++)
        l[i * M + i] += RIDGE * trace / (double)M;
    if (rc == 0)
        factor(l, M);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        for (size_t m = 0; m < M; m++)
            b[m] = (double)right[i * M + m];
        solve(l, M, b);
        for (size_t m = 0; m < M; m++)
            pixels[i * M + m] = (float)b[m];
    }
done:
    free(l);
    free(b);
    free(gram);
    free(right);
    return rc;
}

/* ------------------------------------------------------------------ the attack */

int audit_pictures(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    const size_t D = (size_t)k->c->D, M = audit_patch_width(k->c);
    struct projection p = {0};
    float *rows = NULL;
    if (k->tables == NULL)
        return 0;
    if (k->residual == NULL && a->channel == NULL && a->matrix == NULL) {
        (void)snprintf(a->reason, sizeof a->reason, "not applicable: patches are of no dictionary; what an opened row gives stands at A1 to A3");
        return 0;
    }
    int rc = projection_open(&p, k->tables, err);
    if (rc == 0 && ((rc = floats_alloc(&rows, k->n, D, err)) != 0 || (rc = floats_alloc(&a->pixels, k->n, M, err)) != 0))
        goto done;
    if (rc == 0)
        rc = audit_open_rows(rows, k->rows, k->n, D, a->channel, a->matrix != NULL ? a->matrix : k->residual, err);
    for (size_t i = 0; rc == 0 && i < k->n; i++)
        for (size_t d = 0; d < D; d++)
            rows[i * D + d] -= p.place[(size_t)k->position[i] * D + d];
    if (rc == 0)
        rc = solve_rows(a->pixels, rows, k->n, p.columns, M, D, err);
done:
    projection_free(&p);
    free(rows);
    return rc;
}
