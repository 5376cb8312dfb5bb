#include "tests/ref/ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"
#include "model/quant.h"

struct model {
    const struct checkpoint *cp;
    enum compute compute;
};

/* Allocation failures in a test program end it: the reference is about formulas. */
static double *numbers(size_t n)
{
    double *p = calloc(n == 0 ? 1 : n, sizeof *p);
    if (p == NULL)
        abort();
    return p;
}

/* ------------------------------------------------------------------ stored values to float64 */

static double from_f16(unsigned h)
{
    int sign = h >> 15 ? -1 : 1, exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
    return exponent == 0 ? sign * ldexp(fraction, -24) : sign * ldexp(fraction + 1024, exponent - 25);
}

static double stored(const struct tensor *t, size_t i)
{
    const uint8_t *p = t->data;
    uint32_t bits = 0;
    float f;
    if (t->dtype == DTYPE_I8)
        return (double)(int8_t)p[i];
    if (t->dtype == DTYPE_F16)
        return from_f16(p[2 * i] | (unsigned)p[2 * i + 1] << 8);
    if (t->dtype == DTYPE_BF16)
        bits = (uint32_t)p[2 * i] << 16 | (uint32_t)p[2 * i + 1] << 24;
    else
        for (size_t b = 0; b < 4; b++)
            bits |= (uint32_t)p[4 * i + b] << (8 * b);
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

/* All values of a tensor, NULL if the model has none. */
static double *weights(const struct checkpoint *cp, enum role role, int layer)
{
    const struct tensor *t = checkpoint_tensor(cp, role, layer);
    if (t == NULL)
        return NULL;
    double *w = numbers((size_t)t->count);
    for (size_t i = 0; i < (size_t)t->count; i++)
        w[i] = stored(t, i);
    return w;
}

/* ------------------------------------------------------------------ what enters a product */

static float to_bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000; /* to nearest, halves to even; all numbers here are finite */
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds n numbers in place. For int8 they become the integers, and their unit is returned. */
static double enter(enum compute compute, double *x, size_t n)
{
    float scale, *single = calloc(n + 1, sizeof *single);
    int8_t *q = malloc(n + 1);
    if (single == NULL || q == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        single[i] = (float)x[i];
    if (compute == COMPUTE_INT8)
        quant_row(q, &scale, single, n);
    for (size_t i = 0; i < n && compute != COMPUTE_F32; i++)
        x[i] = compute == COMPUTE_INT8 ? q[i] : (double)to_bf16(single[i]);
    free(single);
    free(q);
    return compute == COMPUTE_INT8 ? (double)scale : 1.0;
}

/* Weights of one output, as they enter; returns their unit. An I8 tensor holds the integers. */
static double enter_weights(const struct model *m, const struct tensor *t, size_t o, double *w, size_t n)
{
    const struct tensor *scale = checkpoint_scale(m->cp, t);
    return scale == NULL ? enter(m->compute, w, n) : stored(scale, o);
}

/* ------------------------------------------------------------------ operators */

/* y [T,out] = x [T,in] W + b. W is stored [out,in], or [in,out] when the table says Conv1D. */
static double *linear(const struct model *m, enum role role, enum role bias, int layer, const double *x, int T)
{
    const struct config *c = checkpoint_config(m->cp);
    const struct arch_tensor *row = arch_tensor(c, role);
    const struct tensor *stored_as = checkpoint_tensor(m->cp, role, layer);
    size_t out = (size_t)arch_axis_size(c, row->out), in = (size_t)arch_axis_size(c, row->in);
    double *w = weights(m->cp, role, layer), *b = bias == ROLE_COUNT ? NULL : weights(m->cp, bias, layer);
    double *y = numbers((size_t)T * out), *entered = numbers((size_t)T * in), *unit = numbers((size_t)T), *column = numbers(in);
    memcpy(entered, x, (size_t)T * in * sizeof *x);
    for (size_t t = 0; t < (size_t)T; t++)
        unit[t] = enter(m->compute, entered + t * in, in);
    for (size_t o = 0; o < out; o++) {
        for (size_t i = 0; i < in; i++)
            column[i] = row->conv1d ? w[i * out + o] : w[o * in + i];
        double own = enter_weights(m, stored_as, o, column, in);
        for (size_t t = 0; t < (size_t)T; t++) {
            double sum = 0;
            for (size_t i = 0; i < in; i++)
                sum += entered[t * in + i] * column[i];
            y[t * out + o] = sum * unit[t] * own + (b == NULL ? 0.0 : b[o]);
        }
    }
    free(w);
    free(b);
    free(entered);
    free(unit);
    free(column);
    return y;
}

static double *norm(const struct checkpoint *cp, enum role gain, enum role bias, int layer, const double *x, int T)
{
    const struct config *c = checkpoint_config(cp);
    int D = (int)checkpoint_tensor(cp, gain, layer)->dim[0];
    double *w = weights(cp, gain, layer), *b = c->norm == NORM_LAYER ? weights(cp, bias, layer) : NULL;
    double *y = numbers((size_t)T * (size_t)D);
    for (int t = 0; t < T; t++) {
        const double *in = x + (size_t)t * (size_t)D;
        double mean = 0, square = 0;
        if (c->norm == NORM_LAYER) {
            for (int d = 0; d < D; d++)
                mean += in[d];
            mean /= D;
        }
        for (int d = 0; d < D; d++)
            square += (in[d] - mean) * (in[d] - mean);
        double scale = 1 / sqrt(square / D + c->norm_eps);
        for (int d = 0; d < D; d++)
            y[(size_t)t * (size_t)D + (size_t)d] = (in[d] - mean) * scale * (w[d] + (c->gain_plus_one ? 1 : 0)) + (b == NULL ? 0 : b[d]);
    }
    free(w);
    free(b);
    return y;
}

static double act(enum act_kind kind, double x)
{
    switch (kind) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_TANH:
        return tanh(x);
    }
    abort();
}

/* How much of a pair's frequency YaRN divides by the factor: none of pairs that turn more than beta_fast times within the original
 * length, all of those that turn less than beta_slow times, and by their number between these. */
static double yarn_part(const struct rope_config *r, int i, int dims)
{
    double border[2] = {r->beta_fast, r->beta_slow};
    for (int b = 0; b < 2; b++) /* theta^(2 pair / dims) = original / (2 pi turns) */
        border[b] = dims / 2.0 * log(r->original / (2 * M_PI * border[b])) / log(r->theta);
    double low = r->truncate ? floor(border[0]) : border[0], high = r->truncate ? ceil(border[1]) : border[1];
    low = low < 0 ? 0 : low;
    high = high > dims - 1 ? dims - 1 : high;
    double part = (i - low) / (high - low);
    return part < 0 ? 0 : part > 1 ? 1 : part;
}

/* Angle of pair i of a head at a position. */
static double rope_angle(const struct rope_config *r, int i, int dims, int position)
{
    double f = 1 / pow(r->theta, 2.0 * i / dims), smooth;
    switch (r->kind) {
    case ROPE_DEFAULT:
        return position * f;
    case ROPE_LINEAR:
        return position / r->factor * f;
    case ROPE_LLAMA3:
        smooth = (r->original / (2 * M_PI / f) - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
        smooth = smooth < 0 ? 0 : smooth > 1 ? 1 : smooth;
        return position * ((1 - smooth) * (f / r->factor) + smooth * f);
    case ROPE_YARN:
        smooth = yarn_part(r, i, dims);
        return position * (f - smooth * (f - f / r->factor));
    case ROPE_LONGROPE:
        return position / (r->stretch[i] * pow(r->theta, 2.0 * i / dims));
    }
    abort();
}

/* Rotates heads of x [T,heads*K]: the complex numbers x[i] + i x[i+R/2] turn by the angle, the dims from R on stay. */
static void rope(const struct config *c, int layer, double *x, int heads, int T)
{
    const struct rope_config *r = c->two_ropes && config_window(c, layer) > 0 ? &c->rope_sliding : &c->rope;
    double length = r->attention_factor > 0 ? r->attention_factor : 1;
    for (int t = 0; t < T && c->position == POSITION_ROPE; t++)
        for (int h = 0; h < heads; h++)
            for (int i = 0; i < c->rotary / 2; i++) {
                double *re = x + ((size_t)t * (size_t)heads + (size_t)h) * (size_t)c->K + i, *im = re + c->rotary / 2;
                double angle = rope_angle(r, i, c->rotary, t), a = *re, b = *im;
                *re = length * (a * cos(angle) - b * sin(angle));
                *im = length * (a * sin(angle) + b * cos(angle));
            }
}

static int visible(const struct config *c, int layer, int i, int j)
{
    int window = config_window(c, layer);
    return (!c->causal || j <= i) && (window == 0 || i - j < window);
}

/* softmax(q k^T / sqrt K) v, head by head; query head h reads group h / (H/G). */
static double *attention(const struct config *c, int layer, const double *q, const double *k, const double *v, int T)
{
    int H = c->H, G = c->G, K = c->K;
    double scale = c->query_scale > 0 ? c->query_scale : 1 / sqrt(K), cap = c->score_cap;
    double *y = numbers((size_t)T * (size_t)(H * K)), *p = numbers((size_t)T);
    for (int h = 0; h < H; h++)
        for (int i = 0; i < T; i++) {
            int g = h / (H / G);
            const double *qi = q + ((size_t)i * (size_t)H + (size_t)h) * (size_t)K;
            double max = -INFINITY, sum = 0;
            for (int j = 0; j < T; j++) {
                const double *kj = k + ((size_t)j * (size_t)G + (size_t)g) * (size_t)K;
                double score = 0;
                for (int d = 0; d < K; d++)
                    score += qi[d] * kj[d];
                score *= scale;
                if (cap > 0)
                    score = cap * tanh(score / cap);
                p[j] = visible(c, layer, i, j) ? score : -INFINITY;
                max = p[j] > max ? p[j] : max;
            }
            for (int j = 0; j < T; j++)
                sum += p[j] = exp(p[j] - max);
            for (int j = 0; j < T; j++)
                for (int d = 0; d < K; d++)
                    y[((size_t)i * (size_t)H + (size_t)h) * (size_t)K + (size_t)d] +=
                        p[j] / sum * v[((size_t)j * (size_t)G + (size_t)g) * (size_t)K + (size_t)d];
        }
    free(p);
    return y;
}

/* ------------------------------------------------------------------ the model */

/* Columns [from, from+n) of x [T,width]. */
static double *columns(const double *x, int T, int width, int from, int n)
{
    double *y = numbers((size_t)T * (size_t)n);
    for (int t = 0; t < T; t++)
        memcpy(y + (size_t)t * (size_t)n, x + (size_t)t * (size_t)width + from, (size_t)n * sizeof *y);
    return y;
}

/* Query, key or value of all heads from x [T,H,3,K]. */
static double *part_of_heads(const struct config *c, const double *x, int T, int part)
{
    double *y = numbers((size_t)T * (size_t)(c->H * c->K));
    for (int t = 0; t < T; t++)
        for (int h = 0; h < c->H; h++)
            for (int k = 0; k < c->K; k++)
                y[(t * c->H + h) * c->K + k] = x[((t * c->H + h) * 3 + part) * c->K + k];
    return y;
}

/* RMS norm of each head by itself; all share the gain. */
static void head_norm(const struct checkpoint *cp, enum role gain, int layer, double *x, int heads)
{
    const struct config *c = checkpoint_config(cp);
    double *w = weights(cp, gain, layer);
    for (int h = 0; w != NULL && h < heads; h++, x += c->K) {
        double square = 0;
        for (int k = 0; k < c->K; k++)
            square += x[k] * x[k];
        for (int k = 0; k < c->K; k++)
            x[k] = x[k] / sqrt(square / c->K + c->norm_eps) * (w[k] + (c->gain_plus_one ? 1 : 0));
    }
    free(w);
}

static double *self_attention(const struct model *m, int l, const double *x, int T)
{
    const struct config *c = checkpoint_config(m->cp);
    int queries = c->H * c->K, keys = c->G * c->K, width = queries + 2 * keys;
    double *q, *k, *v;
    if (arch_tensor(c, ROLE_QKV) != NULL) {
        double *qkv = linear(m, ROLE_QKV, ROLE_QKV_BIAS, l, x, T);
        q = columns(qkv, T, width, 0, queries);
        k = columns(qkv, T, width, queries, keys);
        v = columns(qkv, T, width, queries + keys, keys);
        free(qkv);
    } else if (arch_tensor(c, ROLE_QKV_HEADS) != NULL) {
        double *qkv = linear(m, ROLE_QKV_HEADS, ROLE_QKV_HEADS_BIAS, l, x, T);
        q = part_of_heads(c, qkv, T, 0);
        k = part_of_heads(c, qkv, T, 1);
        v = part_of_heads(c, qkv, T, 2);
        free(qkv);
    } else {
        q = linear(m, ROLE_Q, ROLE_Q_BIAS, l, x, T);
        k = linear(m, ROLE_K, ROLE_K_BIAS, l, x, T);
        v = linear(m, ROLE_V, ROLE_V_BIAS, l, x, T);
    }
    head_norm(m->cp, ROLE_Q_NORM, l, q, T * c->H);
    head_norm(m->cp, ROLE_K_NORM, l, k, T * c->G);
    rope(c, l, q, c->H, T);
    rope(c, l, k, c->G, T);
    double *mix = attention(c, l, q, k, v, T), *y = linear(m, ROLE_O, ROLE_O_BIAS, l, mix, T);
    free(q);
    free(k);
    free(v);
    free(mix);
    return y;
}

/* part: number of the layer, or of the expert among those of all layers. */
static double *feed(const struct model *m, int part, const double *x, int T)
{
    const struct config *c = checkpoint_config(m->cp);
    double *up, *gate = NULL;
    if (arch_tensor(c, ROLE_GATE_UP) != NULL) {
        double *both = linear(m, ROLE_GATE_UP, ROLE_COUNT, part, x, T);
        gate = columns(both, T, 2 * c->F, 0, c->F);
        up = columns(both, T, 2 * c->F, c->F, c->F);
        free(both);
    } else {
        up = linear(m, ROLE_UP, ROLE_UP_BIAS, part, x, T);
        gate = c->gated ? linear(m, ROLE_GATE, ROLE_GATE_BIAS, part, x, T) : NULL;
    }
    for (size_t i = 0; i < (size_t)T * (size_t)c->F; i++)
        up[i] = gate != NULL ? act(c->act, gate[i]) * up[i] : act(c->act, up[i]);
    double *y = linear(m, ROLE_DOWN, ROLE_DOWN_BIAS, part, up, T);
    free(up);
    free(gate);
    return y;
}

/* Weights of the experts for one row of scores: the largest are taken one by one. Random scores have no ties. */
static void choose(const struct config *c, double *score)
{
    double sum = 0, taken = 0, *weight = numbers((size_t)c->experts);
    for (int e = 0; e < c->experts; e++)
        sum += exp(score[e]);
    for (int n = 0; n < c->experts_used; n++) {
        int best = 0;
        for (int e = 1; e < c->experts; e++)
            if (score[e] > score[best])
                best = e;
        weight[best] = exp(score[best]) / sum;
        taken += weight[best];
        score[best] = -INFINITY;
    }
    for (int e = 0; e < c->experts; e++)
        score[e] = c->renormalise ? weight[e] / taken : weight[e];
    free(weight);
}

static double *feed_forward(const struct model *m, int l, const double *x, int T)
{
    const struct config *c = checkpoint_config(m->cp);
    const struct model exact = {.cp = m->cp, .compute = COMPUTE_F32};
    if (c->experts == 0)
        return feed(m, l, x, T);
    size_t D = (size_t)c->D, E = (size_t)c->experts;
    double *y = numbers((size_t)T * D), *score = linear(&exact, ROLE_ROUTER, ROLE_COUNT, l, x, T);
    for (size_t t = 0; t < (size_t)T; t++) {
        choose(c, score + t * E);
        for (size_t e = 0; e < E; e++) {
            if (!(score[t * E + e] > 0))
                continue;
            double *one = feed(m, l * c->experts + (int)e, x + t * D, 1);
            for (size_t d = 0; d < D; d++)
                y[t * D + d] += score[t * E + e] * one[d];
            free(one);
        }
    }
    free(score);
    return y;
}

static void add(double *x, double *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
    free(y);
}

static void replace(double **x, double *y)
{
    free(*x);
    *x = y;
}

static double *embedding(const struct checkpoint *cp, const int32_t *ids, const int32_t *types, int T)
{
    const struct config *c = checkpoint_config(cp);
    const struct tensor *token = checkpoint_tensor(cp, ROLE_TOKEN_EMBED, 0);
    const struct tensor *position = checkpoint_tensor(cp, ROLE_POSITION_EMBED, 0), *type = checkpoint_tensor(cp, ROLE_TYPE_EMBED, 0);
    size_t D = (size_t)(c->E > 0 ? c->E : c->D);
    double *x = numbers((size_t)T * D);
    for (size_t t = 0; t < (size_t)T; t++)
        for (size_t d = 0; d < D; d++) {
            x[t * D + d] = stored(token, (size_t)ids[t] * D + d) * (c->embed_scale > 0 ? c->embed_scale : 1);
            if (position != NULL)
                x[t * D + d] += stored(position, (t + (size_t)c->position_offset) * D + d);
            if (type != NULL)
                x[t * D + d] += stored(type, (types == NULL ? 0 : (size_t)types[t]) * D + d);
        }
    if (checkpoint_tensor(cp, ROLE_EMBED_NORM_W, 0) != NULL)
        replace(&x, norm(cp, ROLE_EMBED_NORM_W, ROLE_EMBED_NORM_B, 0, x, T));
    if (c->E > 0) {
        const struct model exact = {.cp = cp, .compute = COMPUTE_F32};
        replace(&x, linear(&exact, ROLE_EMBED_MAP, ROLE_EMBED_MAP_BIAS, 0, x, T));
    }
    return x;
}

/* A convolution whose stride is its kernel, as its definition has it. */
static double *image_embedding(const struct checkpoint *cp, const float *pixels)
{
    const struct config *c = checkpoint_config(cp);
    const struct tensor *patch = checkpoint_tensor(cp, ROLE_PATCH, 0), *bias = checkpoint_tensor(cp, ROLE_PATCH_BIAS, 0);
    const struct tensor *cls = checkpoint_tensor(cp, ROLE_CLS_TOKEN, 0), *distill = checkpoint_tensor(cp, ROLE_DISTILL_TOKEN, 0);
    const struct tensor *position = checkpoint_tensor(cp, ROLE_POSITION_EMBED, 0);
    const size_t D = (size_t)c->D, ph = (size_t)c->patch[0], pw = (size_t)c->patch[1], W = (size_t)c->image[1];
    const size_t across = W / pw, before = distill != NULL ? 2 : 1;
    double *x = numbers((size_t)c->positions * D);
    for (size_t t = 0; t < (size_t)c->positions; t++)
        for (size_t d = 0; d < D; d++) {
            double sum = stored(position, t * D + d);
            if (t < before) {
                x[t * D + d] = sum + stored(t == 0 ? cls : distill, d);
                continue;
            }
            const size_t top = (t - before) / across * ph, left = (t - before) % across * pw;
            sum += stored(bias, d);
            for (size_t k = 0; k < (size_t)c->channels; k++)
                for (size_t r = 0; r < ph; r++)
                    for (size_t q = 0; q < pw; q++)
                        sum += stored(patch, ((d * (size_t)c->channels + k) * ph + r) * pw + q) *
                               (double)pixels[(k * (size_t)c->image[0] + top + r) * W + left + q];
            x[t * D + d] = sum;
        }
    return x;
}

static double *layers(const struct model *m, double *x, int T)
{
    const struct config *c = checkpoint_config(m->cp);
    size_t n = (size_t)T * (size_t)c->D;
    for (int l = 0; l < c->L; l++) {
        if (c->post_norm) {
            add(x, self_attention(m, l, x, T), n);
            replace(&x, norm(m->cp, ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B, l, x, T));
            add(x, feed_forward(m, l, x, T), n);
            replace(&x, norm(m->cp, ROLE_MLP_NORM_W, ROLE_MLP_NORM_B, l, x, T));
        } else if (c->parallel) {
            double *a = norm(m->cp, ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B, l, x, T);
            double *b = norm(m->cp, ROLE_MLP_NORM_W, ROLE_MLP_NORM_B, l, x, T);
            add(x, self_attention(m, l, a, T), n);
            add(x, feed_forward(m, l, b, T), n);
            free(a);
            free(b);
        } else {
            double *h = norm(m->cp, ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B, l, x, T), *y = self_attention(m, l, h, T);
            if (c->post_norms)
                replace(&y, norm(m->cp, ROLE_ATTN_POST_W, ROLE_COUNT, l, y, T));
            add(x, y, n);
            replace(&h, norm(m->cp, ROLE_MLP_NORM_W, ROLE_MLP_NORM_B, l, x, T));
            y = feed_forward(m, l, h, T);
            if (c->post_norms)
                replace(&y, norm(m->cp, ROLE_MLP_POST_W, ROLE_COUNT, l, y, T));
            add(x, y, n);
            free(h);
        }
    }
    if (!c->post_norm)
        replace(&x, norm(m->cp, ROLE_FINAL_NORM_W, ROLE_FINAL_NORM_B, 0, x, T));
    return x;
}

static double *head(const struct model *m, const double *x, int T)
{
    const struct config *c = checkpoint_config(m->cp);
    if (c->head == HEAD_NONE) {
        double *y = numbers((size_t)T * (size_t)c->D);
        memcpy(y, x, (size_t)T * (size_t)c->D * sizeof *y);
        return y;
    }
    if (c->head == HEAD_CLASSIFY && arch_tensor(c, ROLE_CLASSIFY_ROW) != NULL)
        return linear(m, ROLE_CLASSIFY_ROW, ROLE_CLASSIFY_BIAS, 0, x, 1);
    if (c->head == HEAD_CLASSIFY) { /* of the first token */
        double *pooled = linear(m, ROLE_POOL, ROLE_POOL_BIAS, 0, x, 1);
        for (int d = 0; d < c->D; d++)
            pooled[d] = act(c->head_act, pooled[d]);
        double *y = linear(m, ROLE_CLASSIFY, ROLE_CLASSIFY_BIAS, 0, pooled, 1);
        free(pooled);
        return y;
    }
    if (c->head == HEAD_MLM) {
        double *h = linear(m, ROLE_MLM_DENSE, ROLE_MLM_DENSE_BIAS, 0, x, T);
        for (size_t i = 0; i < (size_t)T * (size_t)c->D; i++)
            h[i] = act(c->head_act, h[i]);
        replace(&h, norm(m->cp, ROLE_MLM_NORM_W, ROLE_MLM_NORM_B, 0, h, T));
        double *y = linear(m, ROLE_LM_HEAD, ROLE_MLM_OUT_BIAS, 0, h, T);
        free(h);
        return y;
    }
    double *y = linear(m, ROLE_LM_HEAD, ROLE_COUNT, 0, x, T);
    for (size_t i = 0; c->logit_cap > 0 && i < (size_t)T * (size_t)c->V; i++)
        y[i] = c->logit_cap * tanh(y[i] / c->logit_cap);
    return y;
}

static int finish(const struct checkpoint *cp, enum compute compute, double *embedded, int T, double **hidden, double **logits)
{
    const struct model m = {.cp = cp, .compute = compute};
    double *x = layers(&m, embedded, T);
    if (logits != NULL)
        *logits = head(&m, x, T);
    if (hidden != NULL)
        *hidden = x;
    else
        free(x);
    return 0;
}

static int check_parts(const struct checkpoint *cp, bool logits, struct err *err)
{
    return checkpoint_has(cp, PART_EMBED) && checkpoint_has(cp, PART_CORE) && (!logits || checkpoint_has(cp, PART_HEAD))
               ? 0
               : err_set(err, ERR_INPUT, "%s: the reference needs embeddings, layers and head", checkpoint_dir(cp));
}

int ref_forward(const struct checkpoint *cp, enum compute compute, const int32_t *ids, const int32_t *types, int T, double **hidden,
                double **logits, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    if (check_parts(cp, logits != NULL, err) != 0)
        return -1;
    if (T < 1 || T > c->positions)
        return err_set(err, ERR_INPUT, "%d tokens, the model has %d positions", T, c->positions);
    for (int t = 0; t < T; t++)
        if (ids[t] < 0 || ids[t] >= c->V || (types != NULL && c->type_vocab > 0 && (types[t] < 0 || types[t] >= c->type_vocab)))
            return err_set(err, ERR_INPUT, "token %d of %d is outside its table", t + 1, T);

    return finish(cp, compute, embedding(cp, ids, types, T), T, hidden, logits);
}

int ref_image(const struct checkpoint *cp, enum compute compute, const float *pixels, double **hidden, double **logits, struct err *err)
{
    if (check_parts(cp, logits != NULL, err) != 0)
        return -1;
    return finish(cp, compute, image_embedding(cp, pixels), checkpoint_config(cp)->positions, hidden, logits);
}
