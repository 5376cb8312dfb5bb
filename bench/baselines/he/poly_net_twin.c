#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/baselines/he/fit.h"
#include "bench/baselines/he/poly_net.h"

#define FIT_POINTS 512
#define MARGIN 1.05 /* beyond what was seen, so that small errors stay inside the range */

void poly_net_fit_free(struct poly_net_fit *fit)
{
    free(fit->wq);
    free(fit->bq);
    free(fit->wu);
    free(fit->bu);
    *fit = (struct poly_net_fit){0};
}

/* Scores to z in [-1,1]; sigma nearest to the softmax of the scores seen; o = sigma(z) v. */
static int attention(const struct encoder *m, const struct encoder_layer *y, const double *q, const double *k, const double *v, double *o, int T,
                     struct poly_net_fit *fit, struct err *err)
{
    size_t D = (size_t)m->D, each = (size_t)T * (size_t)T, count = (size_t)m->H * each;
    struct fit_sample *sample = malloc(count * sizeof *sample);
    double *s = malloc(count * sizeof *s), range = 0;
    int rc = -1;
    fit->wq = malloc(D * D * sizeof *fit->wq);
    fit->bq = malloc(D * sizeof *fit->bq);
    if (sample == NULL || s == NULL || fit->wq == NULL || fit->bq == NULL) {
        err_oom(err, count * sizeof *sample);
        goto done;
    }
    for (int h = 0; h < m->H; h++)
        encoder_scores(m, s + (size_t)h * each, q, k, h, T);
    for (size_t i = 0; i < count; i++)
        range = fmax(range, fabs(s[i]) * MARGIN);
    for (size_t row = 0; row < count; row += (size_t)T) {
        double sum = 0;
        for (size_t u = row; u < row + (size_t)T; u++)
            sum += exp(s[u] - range);
        for (size_t u = row; u < row + (size_t)T; u++)
            sample[u] = (struct fit_sample){s[u] / range, exp(s[u] - range) / sum, 1};
    }
    if (fit_poly(fit->sigma, POLY_NET_SIGMA, sample, count, err) != 0)
        goto done;
    memset(o, 0, (size_t)T * D * sizeof *o);
    for (int h = 0; h < m->H; h++)
        for (int t = 0; t < T; t++)
            for (int u = 0; u < T; u++) {
                double a = fit_at(fit->sigma, POLY_NET_SIGMA, sample[(size_t)h * each + (size_t)(t * T + u)].z);
                for (int i = h * m->K; i < (h + 1) * m->K; i++)
                    o[t * m->D + i] += a * v[u * m->D + i];
            }
    for (size_t i = 0; i < D * D; i++)
        fit->wq[i] = y->wq[i] / (sqrt(m->K) * range);
    for (size_t i = 0; i < D; i++)
        fit->bq[i] = y->bq[i] / (sqrt(m->K) * range);
    rc = 0;
done:
    free(sample);
    free(s);
    return rc;
}

static void moments(const struct encoder *m, const double *row, double *mean, double *var)
{
    *mean = *var = 0;
    for (int i = 0; i < m->D; i++)
        *mean += row[i] / m->D;
    for (int i = 0; i < m->D; i++)
        *var += (row[i] - *mean) * (row[i] - *mean) / m->D;
}

/* x becomes (x - mean) p(variance), without gain and shift. */
static int norm(const struct encoder *m, double *x, int T, struct poly_net_norm *fit, struct err *err)
{
    struct fit_sample sample[FIT_POINTS];
    double low = INFINITY, high = 0, mean, var;
    for (int t = 0; t < T; t++) {
        moments(m, x + t * m->D, &mean, &var);
        low = fmin(low, var / MARGIN);
        high = fmax(high, var * MARGIN);
    }
    fit->scale = 2 / (high - low);
    fit->shift = -(high + low) / (high - low);
    for (int k = 0; k < FIT_POINTS; k++) {
        double z = 2.0 * k / (FIT_POINTS - 1) - 1, deviation = sqrt((z - fit->shift) / fit->scale + m->eps);
        sample[k] = (struct fit_sample){z, 1 / deviation, deviation};
    }
    if (fit_poly(fit->root, POLY_NET_ROOT, sample, FIT_POINTS, err) != 0)
        return -1;
    for (int t = 0; t < T; t++) {
        double *row = x + t * m->D;
        moments(m, row, &mean, &var);
        for (int i = 0; i < m->D; i++)
            row[i] = (row[i] - mean) * fit_at(fit->root, POLY_NET_ROOT, fit->scale * var + fit->shift);
    }
    return 0;
}

/* The up matrix takes the norm's result before gain and shift, and gives GeLU's argument over its range. */
static int up(const struct encoder *m, const struct encoder_layer *y, const double *n, double *f, int T, struct poly_net_fit *fit, struct err *err)
{
    struct fit_sample sample[FIT_POINTS];
    size_t D = (size_t)m->D, F = (size_t)m->F;
    double range = 0;
    fit->wu = calloc(F * D, sizeof *fit->wu);
    fit->bu = calloc(F, sizeof *fit->bu);
    if (fit->wu == NULL || fit->bu == NULL)
        return err_oom(err, F * D * sizeof *fit->wu);
    for (size_t o = 0; o < F; o++) {
        fit->bu[o] = y->bu[o];
        for (size_t i = 0; i < D; i++) {
            fit->wu[o * D + i] = y->wu[o * D + i] * y->g1[i];
            fit->bu[o] += y->wu[o * D + i] * y->b1[i];
        }
    }
    encoder_linear(f, n, fit->wu, fit->bu, T, m->D, m->F);
    for (size_t i = 0; i < (size_t)T * F; i++)
        range = fmax(range, fabs(f[i]) * MARGIN);
    for (size_t i = 0; i < F * D; i++)
        fit->wu[i] /= range;
    for (size_t i = 0; i < F; i++)
        fit->bu[i] /= range;
    for (int k = 0; k < FIT_POINTS; k++) {
        double z = 2.0 * k / (FIT_POINTS - 1) - 1, v = z * range;
        sample[k] = (struct fit_sample){z, v / 2 * (1 + erf(v / sqrt(2))), 1};
    }
    if (fit_poly(fit->gelu, POLY_NET_GELU, sample, FIT_POINTS, err) != 0)
        return -1;
    for (size_t i = 0; i < (size_t)T * F; i++)
        f[i] = fit_at(fit->gelu, POLY_NET_GELU, f[i] / range);
    return 0;
}

static void gain(const struct encoder *m, double *x, const double *g, const double *b, int T)
{
    for (int i = 0; i < T * m->D; i++)
        x[i] = x[i] * g[i % m->D] + b[i % m->D];
}

int poly_net_twin(const struct encoder *m, int layer, double *x, int T, struct poly_net_fit *fit, struct err *err)
{
    const struct encoder_layer *y = &m->layer[layer];
    const int D = m->D, F = m->F;
    size_t rows = (size_t)T * (size_t)D, words = 4 * rows + (size_t)T * (size_t)F;
    struct poly_net_fit got = {0};
    int rc = -1;
    double *q = malloc(words * sizeof *q);
    if (q == NULL)
        return err_oom(err, words * sizeof *q);
    double *k = q + rows, *v = k + rows, *o = v + rows, *f = o + rows;
    encoder_linear(q, x, y->wq, y->bq, T, D, D);
    encoder_linear(k, x, y->wk, y->bk, T, D, D);
    encoder_linear(v, x, y->wv, y->bv, T, D, D);
    if (attention(m, y, q, k, v, o, T, &got, err) != 0)
        goto done;
    encoder_linear(q, o, y->wo, y->bo, T, D, D);
    for (size_t i = 0; i < rows; i++)
        x[i] += q[i];
    if (norm(m, x, T, &got.norm1, err) != 0 || up(m, y, x, f, T, &got, err) != 0)
        goto done;
    gain(m, x, y->g1, y->b1, T);
    encoder_linear(q, f, y->wd, y->bd, T, F, D);
    for (size_t i = 0; i < rows; i++)
        x[i] += q[i];
    if (norm(m, x, T, &got.norm2, err) != 0)
        goto done;
    gain(m, x, y->g2, y->b2, T);
    *fit = got;
    got = (struct poly_net_fit){0};
    rc = 0;
done:
    poly_net_fit_free(&got);
    free(q);
    return rc;
}
