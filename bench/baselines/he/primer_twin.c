#include <math.h>
#include <stdlib.h>

#include "bench/baselines/he/primer_party.h"

struct rows {
    const struct encoder *m;
    int layer, T;
    bool fits;
    struct primer_stage stage[PRIMER_STAGES];
    const char *broke;
};

static void stage(struct rows *r, int which, double *x, const double *g, const double *b, const char *name)
{
    if (r->fits && !primer_float(&r->stage[which], x, g, b)) {
        r->fits = false;
        r->broke = name;
    }
}

static void attention(struct rows *r, double *mix, const double *q, const double *k, const double *v, double *s)
{
    const struct encoder *m = r->m;
    const int T = r->T;
    for (int h = 0; h < m->H; h++)
        encoder_scores(m, s + (size_t)h * (size_t)T * (size_t)T, q, k, h, T);
    for (size_t i = 0; i < r->stage[1].rows * r->stage[1].cols; i++)
        s[i] *= M_LOG2E;
    stage(r, 1, s, NULL, NULL, "scores");
    for (int h = 0; h < m->H; h++)
        for (int t = 0; t < T; t++)
            for (int i = h * m->K; i < (h + 1) * m->K; i++) {
                double sum = 0;
                for (int u = 0; u < T; u++)
                    sum += s[(h * T + t) * T + u] * v[u * m->D + i];
                mix[t * m->D + i] = sum;
            }
    stage(r, 2, mix, NULL, NULL, "mixed values");
}

int primer_twin(const struct encoder *m, int layer, double *x, int T, struct err *err)
{
    const struct encoder_layer *y = &m->layer[layer];
    const size_t D = (size_t)m->D, n = (size_t)T * D, wide = (size_t)T * (size_t)m->F, scores = (size_t)m->H * (size_t)T * (size_t)T;
    struct rows r = {.m = m, .layer = layer, .T = T, .fits = true};
    double *q = malloc((4 * n + wide + scores) * sizeof *q);
    if (q == NULL)
        return err_oom(err, (4 * n + wide + scores) * sizeof *q);
    double *k = q + n, *v = k + n, *mix = v + n, *f = mix + n, *s = f + wide;
    primer_stages(m, T, 1, r.stage);
    struct primer_stage each = r.stage[2]; /* queries, keys and values have their words alike */
    encoder_linear(q, x, y->wq, y->bq, T, m->D, m->D);
    encoder_linear(k, x, y->wk, y->bk, T, m->D, m->D);
    encoder_linear(v, x, y->wv, y->bv, T, m->D, m->D);
    if (!primer_float(&each, q, NULL, NULL) || !primer_float(&each, k, NULL, NULL) || !primer_float(&each, v, NULL, NULL)) {
        r.fits = false;
        r.broke = "queries, keys or values";
    }
    attention(&r, mix, q, k, v, s);
    encoder_linear(q, mix, y->wo, y->bo, T, m->D, m->D);
    for (size_t i = 0; i < n; i++)
        x[i] += q[i];
    stage(&r, 3, x, y->g1, y->b1, "norm after attention");
    encoder_linear(f, x, y->wu, y->bu, T, m->D, m->F);
    stage(&r, 4, f, NULL, NULL, "GeLU");
    encoder_linear(q, f, y->wd, y->bd, T, m->F, m->D);
    for (size_t i = 0; i < n; i++)
        x[i] += q[i];
    stage(&r, 5, x, y->g2, y->b2, "norm after GeLU");
    free(q);
    return r.fits ? 0
                  : err_set(err, ERR_CHECK, "primer: layer %d, %s: a number leaves the range of a word (%d bits, %d of them fraction)", layer, r.broke,
                            PRIMER_WORD_BITS, PRIMER_FRACTION);
}
