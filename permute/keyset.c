#include "permute/keyset.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"

struct keyset {
    struct key_shape shape;
    uint8_t seed[CRYPTO_KEY_LEN];
};

/* Ceilings for shapes that come from a file; every product below then fits an int. */
#define MAX_SIZE (1 << 22)
#define MAX_HEADS 4096

static bool in_range(int n, int min, int max)
{
    return n >= min && n <= max;
}

static int check_shape(const struct key_shape *s, struct err *err)
{
    bool ok = in_range(s->D, 1, MAX_SIZE) && in_range(s->F, 1, MAX_SIZE) && in_range(s->outputs, 1, MAX_SIZE) &&
              in_range(s->H, 1, MAX_HEADS) && in_range(s->G, 1, s->H) && s->H % s->G == 0 &&
              in_range(s->K, 1, MAX_SIZE / s->H) && in_range(s->rotary, 0, s->K) && in_range(s->experts, 0, MAX_HEADS);
    if (ok)
        return 0;
    return err_set(err, ERR_INPUT,
                   "key shape: no model has D %d, H %d, G %d, K %d, F %d, %d outputs, %d rotary dims; expected positive "
                   "sizes, H a multiple of G, rotary dims within K",
                   s->D, s->H, s->G, s->K, s->F, s->outputs, s->rotary);
}

int keyset_new(struct keyset **out, const struct key_shape *shape, const uint8_t seed[CRYPTO_KEY_LEN], struct err *err)
{
    if (check_shape(shape, err) != 0)
        return -1;
    struct keyset *ks = secret_alloc(sizeof *ks);
    if (ks == NULL)
        return err_oom(err, sizeof *ks);
    ks->shape = *shape;
    memcpy(ks->seed, seed, sizeof ks->seed);
    *out = ks;
    return 0;
}

void keyset_free(struct keyset *ks)
{
    secret_free(ks);
}

static int subkey(const struct keyset *ks, const char *label, uint8_t out[CRYPTO_KEY_LEN], struct err *err)
{
    return crypto_hkdf(ks->seed, sizeof ks->seed, NULL, 0, label, out, CRYPTO_KEY_LEN, err);
}

static int draw(const struct keyset *ks, struct perm *out, int n, struct err *err, const char *fmt, ...) PRINTF_LIKE(5, 6);

/* A permutation of n elements from the sub-key of a label. */
static int draw(const struct keyset *ks, struct perm *out, int n, struct err *err, const char *fmt, ...)
{
    char label[96];
    uint8_t key[CRYPTO_KEY_LEN];
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(label, sizeof label, fmt, ap);
    va_end(ap);
    assert(len > 0 && (size_t)len < sizeof label); /* a cut label could be the label of another key */
    int rc = subkey(ks, label, key, err);
    if (rc == 0)
        rc = perm_random(out, (uint32_t)n, key, err);
    secret_wipe(key, sizeof key);
    return rc;
}

static const char *end_label(enum key key)
{
    return key == KEY_RESIDUAL ? "stip v1 residual" : "stip v1 output";
}

/* ------------------------------------------------------------------ heads
 *
 * A head that moves to another place must meet its own keys, values and rows of O there. So one group order per layer
 * serves all of Q, K, V and O; one order of the query heads inside each group serves Q and O. Inside a head, Q and K
 * share the order of the dims that carry no rotary position, and V and O share another order, one of each per group.
 * A free permutation of all D columns, as the papers print it, mixes heads and is wrong. */

enum dims { DIMS_QUERY, DIMS_VALUE };

static int draw_dims(const struct keyset *ks, enum dims dims, int layer, int group, struct perm *out, struct err *err)
{
    if (dims == DIMS_VALUE)
        return draw(ks, out, ks->shape.K, err, "stip v1 layer %d group %d value-dims", layer, group);
    return draw(ks, out, ks->shape.K - ks->shape.rotary, err, "stip v1 layer %d group %d query-dims", layer, group);
}

/* One head: place `at` of `to` gets the dims of plain head `head`. */
static void put_head(const struct key_shape *s, uint32_t *to, int at, int head, enum dims kind, const struct perm *dims)
{
    int fixed = kind == DIMS_VALUE ? 0 : s->rotary;
    uint32_t *dst = to + (size_t)at * (size_t)s->K, base = (uint32_t)head * (uint32_t)s->K;
    for (int k = 0; k < s->K; k++)
        dst[k] = base + (uint32_t)(k < fixed ? k : fixed + (int)dims->to[k - fixed]);
}

/* G*K (keys, values) or, with `query_heads`, H*K (queries, input side of O), into to[]. */
static int fill_heads(const struct keyset *ks, int layer, bool query_heads, enum dims kind, uint32_t *to, struct err *err)
{
    const struct key_shape *s = &ks->shape;
    const int per_group = s->H / s->G;
    struct perm groups = {0}, heads = {0}, dims = {0};
    int rc = draw(ks, &groups, s->G, err, "stip v1 layer %d groups", layer);
    for (int at = 0; rc == 0 && at < s->G; at++) {
        int group = (int)groups.to[at];
        rc = draw_dims(ks, kind, layer, group, &dims, err);
        if (rc == 0 && query_heads)
            rc = draw(ks, &heads, per_group, err, "stip v1 layer %d group %d query-heads", layer, group);
        if (rc == 0 && query_heads)
            for (int h = 0; h < per_group; h++)
                put_head(s, to, at * per_group + h, group * per_group + (int)heads.to[h], kind, &dims);
        else if (rc == 0)
            put_head(s, to, at, group, kind, &dims);
        perm_wipe(&dims);
        perm_wipe(&heads);
    }
    perm_wipe(&groups);
    return rc;
}

/* Query, key and value of one head after the other: its place in each of the three says its place here. */
static int interleaved_perm(const struct keyset *ks, int layer, struct perm *out, struct err *err)
{
    const struct key_shape *s = &ks->shape;
    const uint32_t K = (uint32_t)s->K, n = (uint32_t)(s->H * s->K);
    struct perm p = {0}, part = {0};
    if (s->G != s->H)
        return err_set(err, ERR_INPUT, "key shape: heads with keys of their own are asked for, found %d for %d heads", s->G,
                       s->H);
    int rc = perm_identity(&p, 3 * n, err);
    if (rc == 0)
        rc = perm_identity(&part, n, err);
    for (uint32_t kind = 0; rc == 0 && kind < 3; kind++) {
        rc = fill_heads(ks, layer, kind == 0, kind == 2 ? DIMS_VALUE : DIMS_QUERY, part.to, err);
        for (uint32_t i = 0; rc == 0 && i < n; i++)
            p.to[(i / K * 3 + kind) * K + i % K] = (part.to[i] / K * 3 + kind) * K + part.to[i] % K;
    }
    perm_wipe(&part);
    if (rc != 0)
        perm_wipe(&p);
    else
        *out = p;
    return rc;
}

static int heads_perm(const struct keyset *ks, enum key key, int layer, struct perm *out, struct err *err)
{
    const struct key_shape *s = &ks->shape;
    const uint32_t q = (uint32_t)(s->H * s->K), kv = (uint32_t)(s->G * s->K);
    struct perm p = {0};
    int rc = perm_identity(&p, key == KEY_QKV ? q + 2 * kv : key == KEY_QUERY || key == KEY_MIX ? q : kv, err);
    if (rc != 0)
        return -1;
    switch (key) {
    case KEY_QUERY:
        rc = fill_heads(ks, layer, true, DIMS_QUERY, p.to, err);
        break;
    case KEY_KEY:
        rc = fill_heads(ks, layer, false, DIMS_QUERY, p.to, err);
        break;
    case KEY_VALUE:
        rc = fill_heads(ks, layer, false, DIMS_VALUE, p.to, err);
        break;
    case KEY_MIX:
        rc = fill_heads(ks, layer, true, DIMS_VALUE, p.to, err);
        break;
    default: /* KEY_QKV: the three one after the other */
        rc = fill_heads(ks, layer, true, DIMS_QUERY, p.to, err);
        if (rc == 0)
            rc = fill_heads(ks, layer, false, DIMS_QUERY, p.to + q, err);
        if (rc == 0)
            rc = fill_heads(ks, layer, false, DIMS_VALUE, p.to + q + kv, err);
        for (uint32_t i = q; i < p.n; i++)
            p.to[i] += i < q + kv ? q : q + kv;
        break;
    }
    if (rc != 0)
        perm_wipe(&p);
    else
        *out = p;
    return rc;
}

/* ------------------------------------------------------------------ all keys */

static int gate_up_perm(const struct keyset *ks, int layer, struct perm *out, struct err *err)
{
    const uint32_t F = (uint32_t)ks->shape.F;
    struct perm p = {0}, ffn = {0};
    int rc = keyset_perm(ks, KEY_FFN, layer, &ffn, err);
    if (rc == 0)
        rc = perm_identity(&p, 2 * F, err);
    for (uint32_t i = 0; rc == 0 && i < 2 * F; i++)
        p.to[i] = ffn.to[i % F] + i / F * F;
    perm_wipe(&ffn);
    if (rc == 0)
        *out = p;
    return rc;
}

int keyset_perm(const struct keyset *ks, enum key key, int layer, struct perm *out, struct err *err)
{
    const struct key_shape *s = &ks->shape;
    assert(layer >= 0);
    switch (key) {
    case KEY_NONE:
        *out = (struct perm){0};
        return 0;
    case KEY_RESIDUAL:
        return draw(ks, out, s->D, err, "%s", end_label(key));
    case KEY_OUTPUT:
        return draw(ks, out, s->outputs, err, "%s", end_label(key));
    case KEY_POOL:
        return draw(ks, out, s->D, err, "stip v1 pool");
    case KEY_MLM:
        return draw(ks, out, s->D, err, "stip v1 mlm");
    case KEY_FFN:
        return draw(ks, out, s->F, err, "stip v1 layer %d ffn", layer);
    case KEY_EXPERTS:
        return draw(ks, out, s->experts, err, "stip v1 layer %d experts", layer);
    case KEY_GATE_UP:
        return gate_up_perm(ks, layer, out, err);
    case KEY_QKV_HEADS:
        return interleaved_perm(ks, layer, out, err);
    case KEY_QUERY:
    case KEY_KEY:
    case KEY_VALUE:
    case KEY_MIX:
    case KEY_QKV:
        return heads_perm(ks, key, layer, out, err);
    }
    return err_set(err, ERR_INTERNAL, "unknown key %d", (int)key);
}

int keyset_end_key(const struct keyset *ks, enum key key, uint8_t out[CRYPTO_KEY_LEN], struct err *err)
{
    assert(key == KEY_RESIDUAL || key == KEY_OUTPUT); /* inner keys never leave the developer */
    return subkey(ks, end_label(key), out, err);
}

int keyset_gauge_key(const struct keyset *ks, enum gauge_part part, int layer, int group, uint8_t out[CRYPTO_KEY_LEN], struct err *err)
{
    static const char *const names[] = {[GAUGE_QUERY] = "query", [GAUGE_VALUE] = "value", [GAUGE_UP] = "up"};
    char label[96];
    int len = snprintf(label, sizeof label, "stip v1 layer %d group %d gauge %s", layer, group, names[part]);
    assert(len > 0 && (size_t)len < sizeof label);
    return subkey(ks, label, out, err);
}

static double log2_factorial(int n)
{
    return lgamma((double)n + 1) / log(2.0);
}

double keyset_bits(const struct keyset *ks, enum key key)
{
    const struct key_shape *s = &ks->shape;
    const double groups = log2_factorial(s->G), heads = s->G * log2_factorial(s->H / s->G);
    const double query_dims = s->G * log2_factorial(s->K - s->rotary), value_dims = s->G * log2_factorial(s->K);
    switch (key) {
    case KEY_NONE:
        return 0;
    case KEY_RESIDUAL:
    case KEY_POOL:
    case KEY_MLM:
        return log2_factorial(s->D);
    case KEY_OUTPUT:
        return log2_factorial(s->outputs);
    case KEY_FFN:
    case KEY_GATE_UP:
        return log2_factorial(s->F);
    case KEY_EXPERTS:
        return log2_factorial(s->experts);
    case KEY_QUERY:
        return groups + heads + query_dims;
    case KEY_KEY:
        return groups + query_dims;
    case KEY_VALUE:
        return groups + value_dims;
    case KEY_MIX:
        return groups + heads + value_dims;
    case KEY_QKV:
    case KEY_QKV_HEADS:
        return groups + heads + query_dims + value_dims;
    }
    return 0;
}
