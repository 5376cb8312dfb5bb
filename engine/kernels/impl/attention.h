/* engine/kernels/impl/attention.h - attention for one instruction set; contract in engine/kernels/attention.h.
 *
 * Data flow   included by table.c.
 * Shapes      a few queries go over a page together: scores [queries][KV_PAGE], one vector holding one coordinate of several keys,
 *             then values, one vector holding several coordinates of one value.
 * Errors      none.
 * Memory      stack only.
 * Secrets     none.
 */
#ifndef STIP_ENGINE_KERNELS_IMPL_ATTENTION_H
#define STIP_ENGINE_KERNELS_IMPL_ATTENTION_H

#include <assert.h>
#include <math.h>

#include "engine/kernels/attention.h"
#include "engine/kernels/impl/simd.h"

/* QUERIES * KEY_VECTORS and QUERIES * VALUE_VECTORS sums are held in registers at once. */
#if ISA_LANES == 16
#define QUERIES 6
#define KEY_VECTORS 4
#define VALUE_VECTORS 4
#elif ISA_LANES == 8
#define QUERIES 6
#define KEY_VECTORS 2
#define VALUE_VECTORS 2
#else
#define QUERIES 2
#define KEY_VECTORS 4
#define VALUE_VECTORS 4
#endif
#define GROUP_VECTORS (KV_GROUP / ISA_LANES)
#define PAGE_VECTORS (KV_PAGE / ISA_LANES)

/* One query head on its way over its keys (online softmax). */
struct query {
    const float *q;
    float *y;        /* sum of exp(score - max) * value so far */
    int first, last; /* visible keys */
    float max;
    double sum; /* of exp(score - max) */
};

INLINE vf kv_load(enum kv_dtype dtype, const unsigned char *base, size_t element)
{
    switch (dtype) {
    case KV_F32:
        return vf_load((const float *)(const void *)base + element);
    case KV_BF16:
        return vf_from_bf16((const uint16_t *)(const void *)base + element);
    case KV_INT8:
        return vf_from_i8((const int8_t *)(const void *)base + element);
    }
    return (vf){0};
}

INLINE float kv_element(enum kv_dtype dtype, const unsigned char *base, size_t element)
{
    float f = 0.0f;
    switch (dtype) {
    case KV_F32:
        return ((const float *)(const void *)base)[element];
    case KV_BF16: {
        uint32_t bits = (uint32_t)((const uint16_t *)(const void *)base)[element] << 16;
        memcpy(&f, &bits, sizeof f);
        return f;
    }
    case KV_INT8:
        return (float)((const int8_t *)(const void *)base)[element];
    }
    return f;
}

INLINE size_t kv_size(enum kv_dtype dtype)
{
    return dtype == KV_F32 ? 4 : dtype == KV_BF16 ? 2 : 1;
}

/* score[i][j] = q_i . k_j for the keys of `vectors` vectors, the first of them number v0 of the page */
INLINE void score_keys(enum kv_dtype dtype, float score[][KV_PAGE], const struct query *query, int n, const unsigned char *keys, int K,
                       int v0, int vectors)
{
    vf sum[QUERIES][KEY_VECTORS] = {{{0}}};
    for (int d = 0; d < K; d++) {
        vf key[KEY_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++) {
            size_t group = (size_t)((v0 + v) / GROUP_VECTORS), lane = (size_t)((v0 + v) % GROUP_VECTORS * ISA_LANES);
            key[v] = kv_load(dtype, keys, (group * (size_t)K + (size_t)d) * KV_GROUP + lane);
        }
        UNROLL for (int i = 0; i < QUERIES; i++)
            if (i < n) {
                float q = query[i].q[d];
                UNROLL for (int v = 0; v < vectors; v++)
                    sum[i][v] += q * key[v];
            }
    }
    UNROLL for (int i = 0; i < QUERIES; i++)
        if (i < n)
            UNROLL for (int v = 0; v < vectors; v++)
                vf_store(&score[i][(v0 + v) * ISA_LANES], sum[i][v]);
}

/* Keys of a page from number `from` to `to`-1, by whole vectors; what nobody sees is not read. */
INLINE void score_page(enum kv_dtype dtype, float score[][KV_PAGE], const struct query *query, int n, const unsigned char *keys, int K,
                       int from, int to)
{
    if (from < ISA_LANES && to > KV_PAGE - ISA_LANES) {
        UNROLL for (int v = 0; v < PAGE_VECTORS; v += KEY_VECTORS)
            score_keys(dtype, score, query, n, keys, K, v, KEY_VECTORS);
        return;
    }
    for (int i = 0; i < n; i++)
        memset(score[i], 0, sizeof score[i]);
    for (int v = from / ISA_LANES; v * ISA_LANES < to; v++)
        score_keys(dtype, score, query, n, keys, K, v, 1);
}

/* y_i = shrink_i * y_i + sum over j of weight[i][j] * v_j, j in from..to-1 */
INLINE void add_chunk(enum kv_dtype dtype, int vectors, const float *shrink, float weight[][KV_PAGE], const struct query *query, int n,
                      const unsigned char *values, int K, int d, int from, int to)
{
    vf sum[QUERIES][VALUE_VECTORS];
    UNROLL for (int i = 0; i < QUERIES; i++)
        if (i < n)
            UNROLL for (int v = 0; v < vectors; v++)
                sum[i][v] = vf_load(query[i].y + d + v * ISA_LANES) * shrink[i];
    for (int j = from; j < to; j++) {
        vf value[VALUE_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++)
            value[v] = kv_load(dtype, values, (size_t)j * (size_t)K + (size_t)(d + v * ISA_LANES));
        UNROLL for (int i = 0; i < QUERIES; i++)
            if (i < n) {
                float w = weight[i][j];
                UNROLL for (int v = 0; v < vectors; v++)
                    sum[i][v] += w * value[v];
            }
    }
    UNROLL for (int i = 0; i < QUERIES; i++)
        if (i < n)
            UNROLL for (int v = 0; v < vectors; v++)
                vf_store(query[i].y + d + v * ISA_LANES, sum[i][v]);
}

INLINE void add_values(enum kv_dtype dtype, const float *shrink, float weight[][KV_PAGE], const struct query *query, int n,
                       const unsigned char *values, int K, int from, int to)
{
    int d = 0;
    for (; d + VALUE_VECTORS * ISA_LANES <= K; d += VALUE_VECTORS * ISA_LANES)
        add_chunk(dtype, VALUE_VECTORS, shrink, weight, query, n, values, K, d, from, to);
    for (; d + ISA_LANES <= K; d += ISA_LANES)
        add_chunk(dtype, 1, shrink, weight, query, n, values, K, d, from, to);
    for (; d < K; d++)
        for (int i = 0; i < n; i++) {
            query[i].y[d] *= shrink[i];
            for (int j = from; j < to; j++)
                query[i].y[d] += weight[i][j] * kv_element(dtype, values, (size_t)j * (size_t)K + (size_t)d);
        }
}

/* Scores as the softmax sees them, minus infinity for what this query does not see. Gives the largest so far. */
INLINE float scale_scores(float score[KV_PAGE], const struct query *s, int base, float scale, float cap, const float *key_scale)
{
    vf part[PAGE_VECTORS], most = vf_all(s->max);
    int from = s->first - base, to = s->last + 1 - base;
    UNROLL for (int v = 0; v < PAGE_VECTORS; v++) {
        part[v] = vf_load(score + v * ISA_LANES) * scale;
        if (key_scale != NULL)
            part[v] *= vf_load(key_scale + v * ISA_LANES);
        if (cap > 0.0f)
            part[v] = cap * vf_tanh(part[v] / cap);
    }
    if (from > 0 || to < KV_PAGE)
        UNROLL for (int v = 0; v < PAGE_VECTORS; v++) {
            vi j = vi_lanes() + v * ISA_LANES;
            part[v] = vf_select((j >= from) & (j < to), part[v], vf_all(-INFINITY));
        }
    UNROLL for (int v = 0; v < PAGE_VECTORS; v++) {
        vf_store(score + v * ISA_LANES, part[v]);
        most = vf_larger(most, part[v]); /* NaN is passed over here and spoils the sum later */
    }
    return vf_max(most);
}

/* Scores to weights exp(score - max); gives their sum. */
INLINE float weigh(float score[KV_PAGE], float max, const float *value_scale)
{
    vf total = {0};
    UNROLL for (int v = 0; v < PAGE_VECTORS; v++) {
        vf part = vf_exp(vf_load(score + v * ISA_LANES) - max);
        total += part;
        if (value_scale != NULL)
            part *= vf_load(value_scale + v * ISA_LANES);
        vf_store(score + v * ISA_LANES, part);
    }
    return vf_sum(total);
}

/* Scores of n queries to weights. The softmax so far is to be corrected to the new maximum: shrink[i] says by how much, 1 where it stays.
 * All queries take each step together and without branches, so that none waits for another's. */
INLINE void weigh_all(float score[][KV_PAGE], float shrink[ISA_LANES], struct query *query, int n, int base, float scale, float cap,
                      const float *key_scale, const float *value_scale)
{
    float before[ISA_LANES] = {0}, max[ISA_LANES] = {0};
    UNROLL for (int i = 0; i < QUERIES; i++)
        if (i < n) {
            before[i] = query[i].max;
            max[i] = scale_scores(score[i], &query[i], base, scale, cap, key_scale);
        }
    vf was = vf_load(before), is = vf_load(max);
    vf_store(shrink, vf_select(is > was, vf_exp(was - is), vf_all(1.0f)));
    UNROLL for (int i = 0; i < QUERIES; i++)
        if (i < n) {
            query[i].max = max[i];
            query[i].sum = query[i].sum * (double)shrink[i] + (double)weigh(score[i], max[i], value_scale);
        }
}

/* n is a constant where this is inlined. */
INLINE void visit_some(enum kv_dtype dtype, struct query *query, int n, const unsigned char *block, int base, int K, float scale,
                       float cap)
{
    float score[QUERIES][KV_PAGE], shrink[ISA_LANES];
    const unsigned char *values = block + (size_t)KV_PAGE * (size_t)K * kv_size(dtype);
    const float *scales = dtype == KV_INT8 ? (const float *)(const void *)(values + (size_t)KV_PAGE * (size_t)K) : NULL;
    int from = KV_PAGE, to = 0;
    for (int i = 0; i < n; i++) {
        int a = query[i].first > base ? query[i].first - base : 0;
        int b = query[i].last + 1 - base < KV_PAGE ? query[i].last + 1 - base : KV_PAGE;
        from = a < from ? a : from;
        to = b > to ? b : to;
    }
    if (n == 1) /* one query does little work per byte: the values are asked for while the keys are gone through */
        for (const unsigned char *at = values + (size_t)from * (size_t)K * kv_size(dtype), *end = values + (size_t)to * (size_t)K * kv_size(dtype);
             at < end; at += 64)
            __builtin_prefetch(at);
    score_page(dtype, score, query, n, block, K, from, to);
    weigh_all(score, shrink, query, n, base, scale, cap, scales, scales == NULL ? NULL : scales + KV_PAGE);
    add_values(dtype, shrink, score, query, n, values, K, from, to);
}

#define VISIT(n)                                                                                                       \
    case n:                                                                                                            \
        visit_some(dtype, query, n, block, base, K, scale, cap);                                                       \
        break;

INLINE void visit(enum kv_dtype dtype, struct query *query, int n, const unsigned char *block, int base, int K, float scale,
                  float cap)
{
    switch (n) {
        VISIT(1)
        VISIT(2)
#if QUERIES > 2
        VISIT(3)
        VISIT(4)
        VISIT(5)
        VISIT(6)
#endif
    }
}

static bool sees(const struct query *s, int base)
{
    return s->first < base + KV_PAGE && s->last >= base;
}

INLINE void attention_tile(enum kv_dtype dtype, const struct attention *a, struct query *tile, int count, struct kvpage *const *pages,
                           size_t offset, float scale)
{
    int begin = tile[0].first, end = tile[0].last + 1;
    for (int i = 1; i < count; i++) {
        begin = tile[i].first < begin ? tile[i].first : begin;
        end = tile[i].last + 1 > end ? tile[i].last + 1 : end;
    }
    for (int page = begin / KV_PAGE; page * KV_PAGE < end; page++) {
        const unsigned char *block = pages[page]->data + offset;
        int base = page * KV_PAGE;
        for (int i = 0; i < count;) {
            int n = 0;
            if (!sees(&tile[i], base)) {
                i++;
                continue;
            }
            while (n < QUERIES && i + n < count && sees(&tile[i + n], base))
                n++;
            visit(dtype, tile + i, n, block, base, a->K, scale, (float)a->cap);
            i += n;
        }
    }
}

static void impl_attention_head(const struct attention *a, int g, float *y, const float *q, size_t stride,
                                struct kvpage *const *pages, size_t offset, int S, int T, int from, int to)
{
    int H = a->H, K = a->K, R = H / a->G; /* R query heads share a key/value head */
    float scale = (float)(a->scale > 0.0 ? a->scale : 1.0 / sqrt((double)K));
    offset += (size_t)g * a->block_bytes;
    for (int at = from; at < to; at += ATTENTION_TILE) {
        struct query tile[ATTENTION_TILE];
        int count = to - at < ATTENTION_TILE ? to - at : ATTENTION_TILE;
        for (int i = 0; i < count; i++) {
            int t = (at + i) / R, h = g * R + (at + i) % R, row = S + t;
            struct query *s = &tile[i];
            s->q = q + (size_t)t * stride + (size_t)h * (size_t)K;
            s->y = y + ((size_t)t * (size_t)H + (size_t)h) * (size_t)K;
            s->first = a->window > 0 && row - a->window + 1 > 0 ? row - a->window + 1 : 0;
            s->last = a->causal ? row : S + T - 1;
            s->max = -INFINITY;
            s->sum = 0.0;
            for (int d = 0; d < K; d++)
                s->y[d] = 0.0f;
        }
        switch (a->dtype) {
        case KV_F32:
            attention_tile(KV_F32, a, tile, count, pages, offset, scale);
            break;
        case KV_BF16:
            attention_tile(KV_BF16, a, tile, count, pages, offset, scale);
            break;
        case KV_INT8:
            attention_tile(KV_INT8, a, tile, count, pages, offset, scale);
            break;
        }
        for (int i = 0; i < count; i++) {
            float inverse = (float)(1.0 / tile[i].sum);
            for (int d = 0; d < K; d++)
                tile[i].y[d] *= inverse;
        }
    }
}

#endif
