#include "bench/baselines/he/encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/embed.h"

static int tensor(double **out, const struct checkpoint *cp, enum role role, int layer, size_t rows, size_t cols, struct err *err)
{
    const struct tensor *t = checkpoint_tensor(cp, role, layer);
    size_t n = rows * cols;
    float *f = NULL;
    double *d = NULL;
    int rc = -1;
    if (t == NULL || checkpoint_scale(cp, t) != NULL)
        return err_set(err, ERR_INPUT, "%s: %s of layer %d %s", checkpoint_dir(cp), arch_role_name(role), layer,
                       t == NULL ? "is missing" : "is stored as int8; expected floats");
    f = malloc(n * sizeof *f);
    d = malloc(n * sizeof *d);
    if (f == NULL || d == NULL) {
        err_oom(err, n * (sizeof *f + sizeof *d));
        goto done;
    }
    if (checkpoint_rows_f32(t, 0, cols == 1 ? n : rows, f, err) != 0)
        goto done;
    for (size_t i = 0; i < n; i++)
        d[i] = (double)f[i];
    *out = d;
    d = NULL;
    rc = 0;
done:
    free(f);
    free(d);
    return rc;
}

int encoder_read(struct encoder *out, const struct checkpoint *cp, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    if (!c->post_norm || c->causal || c->gated || c->G != c->H || c->H * c->K != c->D || c->norm != NORM_LAYER)
        return err_set(err, ERR_INPUT, "%s: %s: expected a BERT encoder", checkpoint_dir(cp), c->architecture);
    struct encoder m = {.L = c->L, .D = c->D, .H = c->H, .K = c->K, .F = c->F, .eps = c->norm_eps};
    size_t D = (size_t)c->D, F = (size_t)c->F;
    m.layer = calloc((size_t)m.L, sizeof *m.layer);
    if (m.layer == NULL)
        return err_oom(err, (size_t)m.L * sizeof *m.layer);
    for (int l = 0; l < m.L; l++) {
        struct encoder_layer *y = &m.layer[l];
        const struct {
            double **to;
            enum role role;
            size_t rows, cols;
        } all[] = {{&y->wq, ROLE_Q, D, D}, {&y->bq, ROLE_Q_BIAS, D, 1}, {&y->wk, ROLE_K, D, D}, {&y->bk, ROLE_K_BIAS, D, 1},
                   {&y->wv, ROLE_V, D, D}, {&y->bv, ROLE_V_BIAS, D, 1}, {&y->wo, ROLE_O, D, D}, {&y->bo, ROLE_O_BIAS, D, 1},
                   {&y->g1, ROLE_ATTN_NORM_W, D, 1}, {&y->b1, ROLE_ATTN_NORM_B, D, 1}, {&y->wu, ROLE_UP, F, D}, {&y->bu, ROLE_UP_BIAS, F, 1},
                   {&y->wd, ROLE_DOWN, D, F}, {&y->bd, ROLE_DOWN_BIAS, D, 1}, {&y->g2, ROLE_MLP_NORM_W, D, 1}, {&y->b2, ROLE_MLP_NORM_B, D, 1}};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            if (tensor(all[i].to, cp, all[i].role, l, all[i].rows, all[i].cols, err) != 0) {
                encoder_free(&m);
                return -1;
            }
    }
    *out = m;
    return 0;
}

void encoder_free(struct encoder *m)
{
    for (int l = 0; m->layer != NULL && l < m->L; l++) {
        struct encoder_layer *y = &m->layer[l];
        double *all[] = {y->wq, y->bq, y->wk, y->bk, y->wv, y->bv, y->wo, y->bo, y->g1, y->b1, y->wu, y->bu, y->wd, y->bd, y->g2, y->b2};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            free(all[i]);
    }
    free(m->layer);
    m->layer = NULL;
}

void encoder_linear(double *y, const double *x, const double *w, const double *b, int T, int in, int out)
{
    for (int t = 0; t < T; t++)
        for (int o = 0; o < out; o++) {
            double sum = b == NULL ? 0 : b[o];
            for (int i = 0; i < in; i++)
                sum += x[(size_t)t * (size_t)in + (size_t)i] * w[(size_t)o * (size_t)in + (size_t)i];
            y[(size_t)t * (size_t)out + (size_t)o] = sum;
        }
}

void encoder_scores(const struct encoder *m, double *s, const double *q, const double *k, int head, int T)
{
    for (int t = 0; t < T; t++)
        for (int u = 0; u < T; u++) {
            double sum = 0;
            for (int i = head * m->K; i < (head + 1) * m->K; i++)
                sum += q[(size_t)t * (size_t)m->D + (size_t)i] * k[(size_t)u * (size_t)m->D + (size_t)i];
            s[(size_t)t * (size_t)T + (size_t)u] = sum / sqrt(m->K);
        }
}

static void norm(const struct encoder *m, double *x, const double *g, const double *b, int T)
{
    for (int t = 0; t < T; t++, x += m->D) {
        double mean = 0, var = 0;
        for (int i = 0; i < m->D; i++)
            mean += x[i] / m->D;
        for (int i = 0; i < m->D; i++)
            var += (x[i] - mean) * (x[i] - mean) / m->D;
        for (int i = 0; i < m->D; i++)
            x[i] = (x[i] - mean) / sqrt(var + m->eps) * g[i] + b[i];
    }
}

static void softmax(double *s, int T)
{
    for (int t = 0; t < T; t++, s += T) {
        double max = s[0], sum = 0;
        for (int u = 1; u < T; u++)
            max = fmax(max, s[u]);
        for (int u = 0; u < T; u++)
            sum += s[u] = exp(s[u] - max);
        for (int u = 0; u < T; u++)
            s[u] /= sum;
    }
}

int encoder_exact(const struct encoder *m, int layer, double *x, int T, struct err *err)
{
    const struct encoder_layer *y = &m->layer[layer];
    const int D = m->D, F = m->F;
    size_t rows = (size_t)T * (size_t)D, wide = (size_t)T * (size_t)F;
    double *q = malloc((4 * rows + wide + (size_t)T * (size_t)T) * sizeof *q);
    if (q == NULL)
        return err_oom(err, (4 * rows + wide) * sizeof *q);
    double *k = q + rows, *v = k + rows, *o = v + rows, *f = o + rows, *s = f + wide;
    encoder_linear(q, x, y->wq, y->bq, T, D, D);
    encoder_linear(k, x, y->wk, y->bk, T, D, D);
    encoder_linear(v, x, y->wv, y->bv, T, D, D);
    memset(o, 0, rows * sizeof *o);
    for (int h = 0; h < m->H; h++) {
        encoder_scores(m, s, q, k, h, T);
        softmax(s, T);
        for (int t = 0; t < T; t++)
            for (int u = 0; u < T; u++)
                for (int i = h * m->K; i < (h + 1) * m->K; i++)
                    o[t * D + i] += s[t * T + u] * v[u * D + i];
    }
    encoder_linear(q, o, y->wo, y->bo, T, D, D);
    for (size_t i = 0; i < rows; i++)
        x[i] += q[i];
    norm(m, x, y->g1, y->b1, T);
    encoder_linear(f, x, y->wu, y->bu, T, D, F);
    for (size_t i = 0; i < wide; i++)
        f[i] *= 0.5 * (1 + erf(f[i] / sqrt(2)));
    encoder_linear(q, f, y->wd, y->bd, T, F, D);
    for (size_t i = 0; i < rows; i++)
        x[i] += q[i];
    norm(m, x, y->g2, y->b2, T);
    free(q);
    return 0;
}

int encoder_embed(const struct checkpoint *cp, const int32_t *ids, int T, double *x, struct err *err)
{
    struct embed *e = NULL;
    size_t n = (size_t)T * (size_t)checkpoint_config(cp)->D;
    float *f = malloc(n * sizeof *f);
    int rc = f == NULL ? err_oom(err, n * sizeof *f) : embed_load(&e, cp, err);
    if (rc == 0)
        rc = embed_rows(e, ids, NULL, T, 0, f, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        x[i] = (double)f[i];
    embed_free(e);
    free(f);
    return rc;
}
