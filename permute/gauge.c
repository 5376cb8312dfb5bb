#include "permute/gauge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "base/secret.h"

/* n numbers in [0,1) from a sub-key, and the bit behind them as a sign. */
static int draw(double *out, double *sign, int n, const uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    struct crypto_stream *stream = NULL;
    uint8_t word[8];
    int rc = crypto_stream_new(&stream, key, err);
    for (int i = 0; rc == 0 && i < n; i++)
        if ((rc = crypto_stream_read(stream, word, sizeof word, err)) == 0) {
            const uint64_t w = le_get64(word);
            out[i] = (double)(w & (((uint64_t)1 << 53) - 1)) * 0x1p-53;
            if (sign != NULL)
                sign[i] = w >> 63 == 0 ? 1 : -1;
        }
    crypto_stream_free(stream);
    secret_wipe(word, sizeof word);
    return rc;
}

static int derive(const uint8_t key[CRYPTO_KEY_LEN], const char *label, uint8_t out[CRYPTO_KEY_LEN], struct err *err)
{
    return crypto_hkdf(key, CRYPTO_KEY_LEN, NULL, 0, label, out, CRYPTO_KEY_LEN, err);
}

static int draw_scales(double *out, double *sign, int n, const uint8_t key[CRYPTO_KEY_LEN], const char *label, double most, struct err *err)
{
    uint8_t sub[CRYPTO_KEY_LEN];
    int rc = derive(key, label, sub, err);
    if (rc == 0)
        rc = draw(out, sign, n, sub, err);
    for (int i = 0; rc == 0 && i < n; i++)
        out[i] = pow(most, 2 * out[i] - 1); /* from 1/most to most */
    secret_wipe(sub, sizeof sub);
    return rc;
}

static int draw_walk(struct walk *out, int n, const uint8_t key[CRYPTO_KEY_LEN], const char *label, struct err *err)
{
    uint8_t sub[CRYPTO_KEY_LEN];
    int rc = derive(key, label, sub, err);
    if (rc == 0)
        rc = walk_random(out, (uint32_t)n, sub, err);
    secret_wipe(sub, sizeof sub);
    return rc;
}

/* ------------------------------------------------------------------ the residual */

int gauge_end_new(struct gauge_end *out, int D, bool layer_norm, const uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    struct gauge_end g = {.layer_norm = layer_norm};
    if (draw_scales(&g.c, NULL, 1, key, "stip v1 gauge residual scale", 4, err) != 0 ||
        draw_walk(&g.walk, layer_norm ? D - 1 : D, key, "stip v1 gauge residual", err) != 0)
        return -1;
    *out = g;
    return 0;
}

void gauge_end_wipe(struct gauge_end *g)
{
    walk_wipe(&g->walk);
    *g = (struct gauge_end){0};
}

/* The reflection that swaps the all-ones direction with the first axis. It is its own inverse. */
static void reflect(double *x, uint32_t D)
{
    const double root = sqrt((double)D);
    double sum = 0;
    for (uint32_t d = 0; d < D; d++)
        sum += x[d];
    /* u = e0 - ones/root, |u|^2 = 2 - 2/root */
    const double along = D < 2 ? 0 : (x[0] - sum / root) / (1 - 1 / root);
    x[0] -= along;
    for (uint32_t d = 0; d < D; d++)
        x[d] += along / root;
}

/* For LayerNorm a row is 0 along the axis that the walk leaves out: its mean. */
void gauge_end_turn(const struct gauge_end *g, double *x)
{
    if (!g->layer_norm) {
        walk_turn(&g->walk, x);
        return;
    }
    reflect(x, g->walk.n + 1);
    x[0] = 0;
    walk_turn(&g->walk, x + 1);
    reflect(x, g->walk.n + 1);
}

void gauge_end_back(const struct gauge_end *g, double *x)
{
    if (!g->layer_norm) {
        walk_back(&g->walk, x);
        return;
    }
    reflect(x, g->walk.n + 1);
    x[0] = 0;
    walk_back(&g->walk, x + 1);
    reflect(x, g->walk.n + 1);
}

static int each_row(const struct gauge_end *g, void (*turn)(const struct gauge_end *g, double *x), double scale, float *x, size_t n,
                    struct err *err)
{
    const size_t D = g->walk.n + (g->layer_norm ? 1 : 0);
    double *row = malloc(D * sizeof *row);
    if (row == NULL)
        return err_oom(err, D * sizeof *row);
    for (size_t t = 0; t < n; t++, x += D) {
        for (size_t d = 0; d < D; d++)
            row[d] = (double)x[d];
        turn(g, row);
        for (size_t d = 0; d < D; d++)
            x[d] = (float)(scale * row[d]);
    }
    free(row);
    return 0;
}

int gauge_end_rows(const struct gauge_end *g, float *x, size_t n, struct err *err)
{
    return each_row(g, gauge_end_turn, g->c, x, n, err);
}

int gauge_end_rows_back(const struct gauge_end *g, float *x, size_t n, struct err *err)
{
    return each_row(g, gauge_end_back, 1, x, n, err);
}

/* ------------------------------------------------------------------ heads */

static int bend_new(struct gauge_bend *out, int n, const uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    struct gauge_bend b = {0};
    if ((b.scale = secret_alloc((size_t)n * sizeof *b.scale + 1)) == NULL)
        return err_oom(err, (size_t)n * sizeof *b.scale);
    int rc = draw_scales(b.scale, NULL, n, key, "stip v1 gauge scales", 2, err);
    if (rc == 0)
        rc = draw_walk(&b.first, n, key, "stip v1 gauge first", err);
    if (rc == 0)
        rc = draw_walk(&b.then, n, key, "stip v1 gauge then", err);
    *out = b;
    return rc;
}

static void bend_wipe(struct gauge_bend *b)
{
    walk_wipe(&b->first);
    walk_wipe(&b->then);
    secret_free(b->scale);
    *b = (struct gauge_bend){0};
}

/* x B, or x B^-T when `inverse`: the rotations are their own inverse transposes. */
static void bend(const struct gauge_bend *b, bool inverse, double *x)
{
    walk_turn(&b->first, x);
    for (uint32_t i = 0; i < b->first.n; i++)
        x[i] = inverse ? x[i] / b->scale[i] : x[i] * b->scale[i];
    walk_turn(&b->then, x);
}

static int draw_pairs(struct gauge_head *g, const uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    const int n = g->rotary / 2;
    uint8_t sub[CRYPTO_KEY_LEN];
    double *turn = secret_alloc((size_t)n * sizeof *turn + 1);
    g->pair = secret_alloc((size_t)n * sizeof *g->pair + 1);
    g->pair_scale = secret_alloc((size_t)n * sizeof *g->pair_scale + 1);
    int rc = turn == NULL || g->pair == NULL || g->pair_scale == NULL ? err_oom(err, (size_t)n * sizeof *turn) : 0;
    if (rc == 0)
        rc = draw_scales(g->pair_scale, NULL, n, key, "stip v1 gauge pair scales", 2, err);
    if (rc == 0)
        rc = derive(key, "stip v1 gauge pairs", sub, err);
    if (rc == 0)
        rc = draw(turn, NULL, n, sub, err);
    for (int i = 0; rc == 0 && i < n; i++)
        g->pair[i] = (struct walk_angle){.c = cos(2 * M_PI * turn[i]), .s = sin(2 * M_PI * turn[i])};
    secret_wipe(sub, sizeof sub);
    secret_free(turn);
    return rc;
}

int gauge_head_new(struct gauge_head *out, const struct keyset *keys, int K, int rotary, int layer, int group, struct err *err)
{
    struct gauge_head g = {.K = K, .rotary = rotary};
    uint8_t key[CRYPTO_KEY_LEN];
    int rc = keyset_gauge_key(keys, GAUGE_QUERY, layer, group, key, err);
    if (rc == 0)
        rc = draw_pairs(&g, key, err);
    if (rc == 0)
        rc = bend_new(&g.rest, K - rotary, key, err);
    if (rc == 0)
        rc = keyset_gauge_key(keys, GAUGE_VALUE, layer, group, key, err);
    if (rc == 0)
        rc = bend_new(&g.value, K, key, err);
    secret_wipe(key, sizeof key);
    if (rc != 0)
        gauge_head_wipe(&g);
    else
        *out = g;
    return rc;
}

void gauge_head_wipe(struct gauge_head *g)
{
    secret_free(g->pair);
    secret_free(g->pair_scale);
    bend_wipe(&g->rest);
    bend_wipe(&g->value);
    *g = (struct gauge_head){0};
}

static void query_or_key(const struct gauge_head *g, bool key, double *x)
{
    const int half = g->rotary / 2;
    for (int i = 0; i < half; i++) {
        const double scale = key ? 1 / g->pair_scale[i] : g->pair_scale[i], a = x[i], b = x[i + half];
        x[i] = scale * (a * g->pair[i].c - b * g->pair[i].s);
        x[i + half] = scale * (a * g->pair[i].s + b * g->pair[i].c);
    }
    bend(&g->rest, key, x + g->rotary);
}

void gauge_query(const struct gauge_head *g, double *x)
{
    query_or_key(g, false, x);
}

void gauge_key(const struct gauge_head *g, double *x)
{
    query_or_key(g, true, x);
}

void gauge_value(const struct gauge_head *g, double *x)
{
    bend(&g->value, false, x);
}

void gauge_mix(const struct gauge_head *g, double *x)
{
    bend(&g->value, true, x);
}

/* ------------------------------------------------------------------ feed-forward */

int gauge_ups(double *scale, const struct keyset *keys, int F, int layer, struct err *err)
{
    uint8_t key[CRYPTO_KEY_LEN];
    double *sign = secret_alloc((size_t)F * sizeof *sign);
    int rc = sign == NULL ? err_oom(err, (size_t)F * sizeof *sign) : 0;
    if (rc == 0)
        rc = keyset_gauge_key(keys, GAUGE_UP, layer, 0, key, err);
    if (rc == 0)
        rc = draw_scales(scale, sign, F, key, "stip v1 gauge up scales", 2, err);
    for (int i = 0; rc == 0 && i < F; i++)
        scale[i] *= sign[i];
    secret_wipe(key, sizeof key);
    secret_free(sign);
    return rc;
}
