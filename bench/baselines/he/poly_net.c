#include "bench/baselines/he/poly_net.h"

#include <assert.h>
#include <stdlib.h>

/* Primes left where a step begins: query and key 7 -> 6, scores 5, sigma 3; value 4 -> 3; attention 3 -> 2, output 2 -> 1; refresh;
 * norm 9 -> 3 (square 8, argument 7, root 4, product 3), up 3 -> 2; refresh; GeLU 6 -> 3, down 3 -> 2; refresh; norm 9 -> 3, gain 2;
 * the caller's refresh. */
#define LEVEL_SCORES 7
#define LEVEL_VALUE 4
#define LEVEL_OUT 2
#define LEVEL_NORMED 3
#define LEVEL_GELU 6
#define LEVEL_DOWN 3

bool poly_net_params(struct ckks_params *out, int T, int D, int K, bool toy)
{
    int log_n = 0;
    while (1 << log_n < 4 * T * K)
        log_n++;
    *out = (struct ckks_params){.log_n = log_n, .first_bits = 56, .scale_bits = 40, .count = POLY_NET_TOP, .special_bits = 56, .toy = toy};
    return 1 << log_n == 4 * T * K && log_n <= 15 && (toy || log_n >= 14) && D % K == 0;
}

/* Every feature of a head holds the sum over the head's features: the turns go round the whole ciphertext. */
static void sum_features(struct ckks_eval *e, struct ckks_cipher *x, int T)
{
    struct ckks_cipher turned = {0};
    for (int step = 2 * T; step < (int)e->c->slots; step *= 2) {
        ckks_rotate(e, &turned, x, step);
        ckks_add(e, x, x, &turned);
    }
    ckks_wipe_cipher(&turned);
}

/* y of token t: sum over r of sigma(scores of t and t + r) times the value of token t + r, head by head. */
static void attend(struct ckks_eval *e, const double *sigma, struct packed *q, struct packed *k, struct packed *v, struct packed *y)
{
    struct ckks_cipher s = {0}, a = {0};
    *y = (struct packed){.features = v->features, .tokens = v->tokens, .parts = v->parts};
    for (int i = 0; i < v->parts; i++) {
        for (int r = 0; r < v->tokens; r++) {
            if (r > 0) {
                ckks_rotate(e, &k->part[i], &k->part[i], 1);
                ckks_rotate(e, &v->part[i], &v->part[i], 1);
            }
            ckks_times(e, &s, &q->part[i], &k->part[i]);
            sum_features(e, &s, v->tokens);
            ckks_poly(e, &a, &s, sigma, POLY_NET_SIGMA);
            ckks_mul(e, &y->part[i], &a, &v->part[i], r > 0);
        }
        ckks_relin(e, &y->part[i]);
        ckks_rescale(e, &y->part[i]);
    }
    ckks_wipe_cipher(&s);
    ckks_wipe_cipher(&a);
}

static void linear(struct ckks_eval *e, struct packed *out, const struct packed *x, const double *w, const double *b, int features, int level)
{
    struct packed_turns turns = {0};
    packed_turn(e, &turns, x, packed_baby(e->c, x->tokens, x->parts, x->parts * features / x->features));
    packed_product(e, out, &turns, w, b, features, level);
    packed_turns_free(&turns);
}

/* x becomes (x - mean) / deviation. D x - sum is D (x - mean): the factor D goes into the scale, and costs no level. */
static void norm(struct ckks_eval *e, struct packed *x, const struct poly_net_norm *fit)
{
    const double D = x->features;
    struct ckks_cipher sum = {0}, square = {0}, root = {0};
    ckks_copy(e, &sum, &x->part[0]);
    for (int i = 1; i < x->parts; i++)
        ckks_add(e, &sum, &sum, &x->part[i]);
    sum_features(e, &sum, x->tokens);
    for (int i = 0; i < x->parts; i++) {
        ckks_mul_constant(e, &x->part[i], &x->part[i], D, 1);
        ckks_sub(e, &x->part[i], &x->part[i], &sum);
        x->part[i].scale *= D;
        ckks_mul(e, &square, &x->part[i], &x->part[i], i > 0);
    }
    ckks_relin(e, &square);
    ckks_rescale(e, &square);
    sum_features(e, &square, x->tokens);
    square.scale *= D;
    ckks_mul_constant(e, &square, &square, fit->scale, ckks_plain_scale(e, &square, square.level));
    ckks_rescale(e, &square);
    ckks_add_constant(e, &square, fit->shift);
    ckks_poly(e, &root, &square, fit->root, POLY_NET_ROOT);
    for (int i = 0; i < x->parts; i++)
        ckks_times(e, &x->part[i], &x->part[i], &root);
    ckks_wipe_cipher(&sum);
    ckks_wipe_cipher(&square);
    ckks_wipe_cipher(&root);
}

static void lower(struct ckks_eval *e, struct packed *x, int level)
{
    for (int i = 0; i < x->parts; i++)
        ckks_lower(e, &x->part[i], level);
}

/* x becomes x + attention; x at the last level. */
static void attention(struct ckks_eval *e, const struct encoder_layer *y, const struct poly_net_fit *fit, struct packed *x)
{
    struct packed q = {0}, k = {0}, v = {0}, mix = {0}, out = {0};
    struct packed_turns turns = {0};
    packed_turn(e, &turns, x, packed_baby(e->c, x->tokens, x->parts, 3 * x->parts));
    packed_product(e, &q, &turns, fit->wq, fit->bq, x->features, LEVEL_SCORES);
    packed_product(e, &k, &turns, y->wk, y->bk, x->features, LEVEL_SCORES);
    packed_product(e, &v, &turns, y->wv, y->bv, x->features, LEVEL_VALUE);
    packed_turns_free(&turns);
    attend(e, fit->sigma, &q, &k, &v, &mix);
    linear(e, &out, &mix, y->wo, y->bo, x->features, LEVEL_OUT);
    packed_add(e, &out, x);
    packed_free(&q);
    packed_free(&k);
    packed_free(&v);
    packed_free(&mix);
    packed_free(x);
    *x = out;
}

int poly_net_layer(struct ckks_eval *e, const struct encoder *m, int layer, const struct poly_net_fit *fit, struct packed *x, struct err *err)
{
    static double counted[1]; /* says only that there is a bias */
    static const struct encoder_layer no_layer = {.bk = counted, .bv = counted, .bo = counted, .bd = counted, .b1 = counted, .b2 = counted};
    static const struct poly_net_fit no_fit = {.bq = counted, .bu = counted};
    const bool real = e->keys != NULL;
    const struct encoder_layer *y = real ? &m->layer[layer] : &no_layer;
    const struct poly_net_fit *f = real ? fit : &no_fit;
    struct packed wide = {0}, kept = {0}, out = {0};
    assert(x->part[0].level == POLY_NET_TOP && x->features == m->D && m->D % packed_per(e->c, x->tokens) == 0);
    attention(e, y, f, x);
    int rc = packed_refresh(e, x, false, POLY_NET_TOP, NULL, err);
    if (rc == 0) {
        norm(e, x, &f->norm1);
        linear(e, &wide, x, f->wu, f->bu, m->F, LEVEL_NORMED);
        packed_affine(e, &kept, x, y->g1, y->b1, LEVEL_NORMED);
        rc = packed_refresh(e, &wide, false, LEVEL_GELU, NULL, err);
    }
    if (rc == 0) {
        for (int i = 0; i < wide.parts; i++)
            ckks_poly(e, &wide.part[i], &wide.part[i], f->gelu, POLY_NET_GELU);
        linear(e, &out, &wide, y->wd, y->bd, m->D, LEVEL_DOWN);
        lower(e, &out, kept.part[0].level);
        packed_add(e, &out, &kept);
        rc = packed_refresh(e, &out, false, POLY_NET_TOP, NULL, err);
    }
    if (rc == 0) {
        norm(e, &out, &f->norm2);
        packed_affine(e, x, &out, y->g2, y->b2, LEVEL_NORMED);
        rc = ckks_check(e, err);
    }
    packed_free(&wide);
    packed_free(&kept);
    packed_free(&out);
    return rc;
}
