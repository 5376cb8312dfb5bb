#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/baselines/he/fit.h"
#include "bench/baselines/he/the_x.h"

#define FIT_POINTS 512

void the_x_fit_free(struct the_x_fit *fit)
{
    double *all[] = {fit->wq, fit->bq, fit->wo, fit->bo, fit->wd, fit->bd, fit->g1, fit->g2};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    *fit = (struct the_x_fit){0};
}

/* The polynomial p with s p(s) nearest to 1 over [low,1]. */
static int fit_reciprocal(double c[THE_X_DEGREE + 1], double low, struct err *err)
{
    struct fit_sample sample[FIT_POINTS];
    for (int k = 0; k < FIT_POINTS; k++) {
        double s = low + (1 - low) * k / (FIT_POINTS - 1);
        sample[k] = (struct fit_sample){s, 1 / s, s};
    }
    return fit_poly(c, THE_X_DEGREE, sample, FIT_POINTS, err);
}

/* The norm as g x + b with the mean of all tokens' means and deviations; folds it into the matrix in front: w, b become g w, g b + b'. */
static int fit_norm(const struct encoder *m, double **g, double **w, double **bias, const double *w0, const double *bias0, const double *gain,
                    const double *shift, const double *x, int T, int in, struct err *err)
{
    size_t D = (size_t)m->D;
    double mean = 0, deviation = 0;
    *g = malloc(D * sizeof **g);
    *w = malloc(D * (size_t)in * sizeof **w);
    *bias = malloc(D * sizeof **bias);
    if (*g == NULL || *w == NULL || *bias == NULL)
        return err_oom(err, D * (size_t)in * sizeof **w);
    for (int t = 0; t < T; t++) {
        double own = 0, square = 0;
        for (size_t i = 0; i < D; i++)
            own += x[(size_t)t * D + i] / m->D;
        for (size_t i = 0; i < D; i++)
            square += (x[(size_t)t * D + i] - own) * (x[(size_t)t * D + i] - own) / m->D;
        mean += own / T;
        deviation += sqrt(square + m->eps) / T;
    }
    for (size_t o = 0; o < D; o++) {
        (*g)[o] = gain[o] / deviation;
        (*bias)[o] = (*g)[o] * (bias0[o] - mean) + shift[o];
        for (size_t i = 0; i < (size_t)in; i++)
            (*w)[o * (size_t)in + i] = (*g)[o] * w0[o * (size_t)in + i];
    }
    return 0;
}

static int fold_scores(const struct encoder *m, const struct encoder_layer *y, struct the_x_fit *fit, struct err *err)
{
    size_t D = (size_t)m->D;
    double by = 0.5 / sqrt(m->K);
    fit->wq = malloc(D * D * sizeof *fit->wq);
    fit->bq = malloc(D * sizeof *fit->bq);
    if (fit->wq == NULL || fit->bq == NULL)
        return err_oom(err, D * D * sizeof *fit->wq);
    for (size_t i = 0; i < D * D; i++)
        fit->wq[i] = by * y->wq[i];
    for (size_t i = 0; i < D; i++)
        fit->bq[i] = by * y->bq[i];
    return 0;
}

/* o = sum over the tokens u of ReLU((s/2 + 1)^3) times the reciprocal's estimate times v. */
static int attention(const struct encoder *m, const double *q, const double *k, const double *v, double *o, int T, double *s,
                     struct the_x_fit *fit, struct err *err)
{
    double least = INFINITY, most = 0;
    size_t square = (size_t)T * (size_t)T;
    memset(o, 0, (size_t)T * (size_t)m->D * sizeof *o);
    for (int h = 0; h < m->H; h++) {
        double *a = s + (size_t)h * square;
        encoder_scores(m, a, q, k, h, T);
        for (int t = 0; t < T; t++) {
            double sum = 0;
            for (int u = 0; u < T; u++)
                sum += a[t * T + u] = fmax(0, pow(a[t * T + u] / 2 + 1, 3));
            least = fmin(least, sum);
            most = fmax(most, sum);
        }
    }
    if (!(least > 0))
        return err_set(err, ERR_INPUT, "a token attends to nothing: all of its scores are below -2");
    fit->shrink = 1 / most;
    if (fit_reciprocal(fit->reciprocal, fmin(least / most, 0.9), err) != 0)
        return -1;
    for (int h = 0; h < m->H; h++)
        for (int t = 0; t < T; t++) {
            const double *a = s + (size_t)h * square + (size_t)t * (size_t)T;
            double sum = 0;
            for (int u = 0; u < T; u++)
                sum += a[u] * fit->shrink;
            double inverse = fit_at(fit->reciprocal, THE_X_DEGREE, sum);
            for (int u = 0; u < T; u++)
                for (int i = h * m->K; i < (h + 1) * m->K; i++)
                    o[t * m->D + i] += a[u] * fit->shrink * inverse * v[u * m->D + i];
        }
    return 0;
}

/* x = g x + w y + b with the folded w, b. */
static void blend(double *x, double *work, const double *g, const double *w, const double *b, const double *y, int T, int in, int D)
{
    encoder_linear(work, y, w, b, T, in, D);
    for (int i = 0; i < T * D; i++)
        x[i] = g[i % D] * x[i] + work[i];
}

int the_x_twin(const struct encoder *m, int layer, double *x, int T, struct the_x_fit *fit, struct err *err)
{
    const struct encoder_layer *y = &m->layer[layer];
    const int D = m->D, F = m->F;
    size_t rows = (size_t)T * (size_t)D, wide = (size_t)T * (size_t)F, words = 5 * rows + wide + (size_t)m->H * (size_t)T * (size_t)T;
    struct the_x_fit got = {0};
    int rc = -1;
    double *q = malloc(words * sizeof *q);
    if (q == NULL)
        return err_oom(err, words * sizeof *q);
    double *k = q + rows, *v = k + rows, *o = v + rows, *z = o + rows, *f = z + rows, *s = f + wide;
    encoder_linear(q, x, y->wq, y->bq, T, D, D);
    encoder_linear(k, x, y->wk, y->bk, T, D, D);
    encoder_linear(v, x, y->wv, y->bv, T, D, D);
    if (fold_scores(m, y, &got, err) != 0 || attention(m, q, k, v, o, T, s, &got, err) != 0)
        goto done;
    encoder_linear(z, o, y->wo, y->bo, T, D, D);
    for (size_t i = 0; i < rows; i++)
        z[i] += x[i];
    if (fit_norm(m, &got.g1, &got.wo, &got.bo, y->wo, y->bo, y->g1, y->b1, z, T, D, err) != 0)
        goto done;
    blend(x, z, got.g1, got.wo, got.bo, o, T, D, D);
    encoder_linear(f, x, y->wu, y->bu, T, D, F);
    for (size_t i = 0; i < wide; i++)
        f[i] = fmax(0, f[i]);
    encoder_linear(z, f, y->wd, y->bd, T, F, D);
    for (size_t i = 0; i < rows; i++)
        z[i] += x[i];
    if (fit_norm(m, &got.g2, &got.wd, &got.bd, y->wd, y->bd, y->g2, y->b2, z, T, F, err) != 0)
        goto done;
    blend(x, z, got.g2, got.wd, got.bd, f, T, F, D);
    *fit = got;
    got = (struct the_x_fit){0};
    rc = 0;
done:
    the_x_fit_free(&got);
    free(q);
    return rc;
}
