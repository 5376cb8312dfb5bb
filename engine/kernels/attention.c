#include "engine/kernels/attention.h"

#include <assert.h>
#include <math.h>

#include "engine/kernels/clones.h"
#include "engine/kernels/fast_exp.h"

#define KEY_BLOCK 64 /* keys whose scores are held at once; their keys and values stay in the first-level cache */
#define TILE 32      /* query heads that pass over a block of keys together */

/* Partial sums of a dot product, as a vector type because C lets no compiler re-order a float sum on its own. */
#define LANES 16
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* One query head on its way over its keys (online softmax). */
struct query {
    const float *q;
    float *y;        /* sum of exp(score - max) * value so far */
    int first, last; /* visible keys */
    float max;
    double sum; /* of exp(score - max) */
};

#define SUM_LANES(v)                                                                                                   \
    (((((v)[0] + (v)[8]) + ((v)[4] + (v)[12])) + (((v)[2] + (v)[10]) + ((v)[6] + (v)[14]))) +                          \
     ((((v)[1] + (v)[9]) + ((v)[5] + (v)[13])) + (((v)[3] + (v)[11]) + ((v)[7] + (v)[15]))))

/* score[j] = scale * q . k[j] */
static inline __attribute__((always_inline)) void score_keys(float *score, const float *q, const float *k, size_t stride,
                                                             int n, int K, float scale)
{
    int body = K - K % LANES, j = 0;
    for (; j + 4 <= n; j += 4, k += 4 * stride) { /* four keys share the loads of q */
        const float *k0 = k, *k1 = k + stride, *k2 = k + 2 * stride, *k3 = k + 3 * stride;
        lanes a0 = {0}, a1 = {0}, a2 = {0}, a3 = {0};
        for (int d = 0; d < body; d += LANES) {
            lanes part = *(const lanes *)(q + d);
            a0 += part * *(const lanes *)(k0 + d);
            a1 += part * *(const lanes *)(k1 + d);
            a2 += part * *(const lanes *)(k2 + d);
            a3 += part * *(const lanes *)(k3 + d);
        }
        float s0 = SUM_LANES(a0), s1 = SUM_LANES(a1), s2 = SUM_LANES(a2), s3 = SUM_LANES(a3);
        for (int d = body; d < K; d++) {
            s0 += q[d] * k0[d];
            s1 += q[d] * k1[d];
            s2 += q[d] * k2[d];
            s3 += q[d] * k3[d];
        }
        score[j] = scale * s0;
        score[j + 1] = scale * s1;
        score[j + 2] = scale * s2;
        score[j + 3] = scale * s3;
    }
    for (; j < n; j++, k += stride) {
        lanes a = {0};
        for (int d = 0; d < body; d += LANES)
            a += *(const lanes *)(q + d) * *(const lanes *)(k + d);
        float s = SUM_LANES(a);
        for (int d = body; d < K; d++)
            s += q[d] * k[d];
        score[j] = scale * s;
    }
}

/* y += sum over j of weight[j] * v[j] */
static inline __attribute__((always_inline)) void add_values(float *y, const float *weight, const float *v, size_t stride,
                                                             int n, int K)
{
    int d = 0;
    for (; d + 4 * LANES <= K; d += 4 * LANES) {
        lanes *out = (lanes *)(y + d);
        lanes a0 = out[0], a1 = out[1], a2 = out[2], a3 = out[3];
        const float *row = v + d;
        for (int j = 0; j < n; j++, row += stride) {
            const lanes *part = (const lanes *)row;
            a0 += weight[j] * part[0];
            a1 += weight[j] * part[1];
            a2 += weight[j] * part[2];
            a3 += weight[j] * part[3];
        }
        out[0] = a0;
        out[1] = a1;
        out[2] = a2;
        out[3] = a3;
    }
    for (; d + LANES <= K; d += LANES) {
        lanes a = *(lanes *)(y + d);
        const float *row = v + d;
        for (int j = 0; j < n; j++, row += stride)
            a += weight[j] * *(const lanes *)row;
        *(lanes *)(y + d) = a;
    }
    for (int j = 0; j < n; j++, v += stride)
        for (int e = d; e < K; e++)
            y[e] += weight[j] * v[e];
}

/* One block of n visible keys: scores, then the softmax so far corrected to the new maximum, then the values. */
static inline __attribute__((always_inline)) void visit_block(struct query *query, const float *k, const float *v,
                                                              size_t stride, int n, int K, float scale)
{
    float weight[KEY_BLOCK];
    score_keys(weight, query->q, k, stride, n, K, scale);

    float max = query->max;
    for (int j = 0; j < n; j++)
        max = weight[j] > max ? weight[j] : max; /* NaN is passed over here and spoils the sum below */
    if (max > query->max) {
        float shrink = fast_exp(query->max - max);
        for (int d = 0; d < K; d++)
            query->y[d] *= shrink;
        query->sum *= (double)shrink;
        query->max = max;
    }
    for (int j = 0; j < n; j++)
        weight[j] = fast_exp(weight[j] - max);
    for (int j = 0; j < n; j++)
        query->sum += (double)weight[j];
    add_values(query->y, weight, v, stride, n, K);
}

KERNEL void attention(const struct attention *a, float *y, const float *q, size_t q_stride, const float *k, const float *v,
                      size_t kv_stride, int S, int T)
{
    assert(a->G > 0 && a->H % a->G == 0 && a->K > 0 && S >= 0 && T >= 0);
    int H = a->H, K = a->K, R = H / a->G; /* R query heads share a key/value head */
    float scale = (float)(1.0 / sqrt((double)K));

    for (int g = 0; g < a->G; g++) {
        const float *kg = k + (size_t)g * (size_t)K, *vg = v + (size_t)g * (size_t)K;
        for (long at = 0, all = (long)T * R; at < all; at += TILE) {
            struct query tile[TILE];
            int count = all - at < TILE ? (int)(all - at) : TILE, begin = S + T, end = 0;
            for (int i = 0; i < count; i++) {
                int t = (int)((at + i) / R), h = g * R + (int)((at + i) % R), row = S + t;
                struct query *s = &tile[i];
                s->q = q + (size_t)t * q_stride + (size_t)h * (size_t)K;
                s->y = y + ((size_t)t * (size_t)H + (size_t)h) * (size_t)K;
                s->first = a->window > 0 && row - a->window + 1 > 0 ? row - a->window + 1 : 0;
                s->last = a->causal ? row : S + T - 1;
                s->max = -INFINITY;
                s->sum = 0.0;
                for (int d = 0; d < K; d++)
                    s->y[d] = 0.0f;
                begin = s->first < begin ? s->first : begin;
                end = s->last + 1 > end ? s->last + 1 : end;
            }
            for (int block = begin - begin % KEY_BLOCK; block < end; block += KEY_BLOCK)
                for (int i = 0; i < count; i++) {
                    struct query *s = &tile[i];
                    int from = s->first > block ? s->first : block;
                    int to = s->last + 1 < block + KEY_BLOCK ? s->last + 1 : block + KEY_BLOCK;
                    if (from < to)
                        visit_block(s, kg + (size_t)from * kv_stride, vg + (size_t)from * kv_stride, kv_stride, to - from,
                                    K, scale);
                }
            for (int i = 0; i < count; i++) {
                float inverse = (float)(1.0 / tile[i].sum);
                for (int d = 0; d < K; d++)
                    tile[i].y[d] *= inverse;
            }
        }
    }
}
