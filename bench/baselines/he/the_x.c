#include "bench/baselines/he/the_x.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Primes left where a step begins: value 7 -> 6; query and key 5 -> 4, scores 4 -> 3, their cube 3 -> 1; attention 6 -> 5, times the
 * reciprocal 4 -> 3, output 3 -> 2, up 2 -> 1; the client's ReLU; down 2 -> 1; the caller's refresh. */
#define LEVEL_VALUE THE_X_TOP
#define LEVEL_SCORES 5
#define LEVEL_WEIGHTS 6
#define LEVEL_OUT 3
#define LEVEL_FFN 2

bool the_x_params(struct ckks_params *out, int T, int D, int K, bool toy)
{
    int log_n = 2, width = 1;
    while (width < D && 8 * T * width <= 1 << 15)
        width *= 2;
    while (!toy && 4 * T * width < 1 << 14) /* fewer coefficients are not secure at this many levels: features stay empty */
        width *= 2;
    while (1 << log_n < 4 * T * width)
        log_n++;
    *out = (struct ckks_params){.log_n = log_n, .first_bits = 56, .scale_bits = 40, .count = THE_X_TOP, .special_bits = 56, .toy = toy};
    return 1 << log_n == 4 * T * width && width >= K && width % K == 0 && log_n <= 15;
}

/* Scratch of one layer: for each ciphertext of features and each distance r between two tokens. */
struct scores {
    int T, parts;
    struct ckks_cipher *cipher; /* [parts][T]: (q k / 2 + 1)^3, then what the client made of it */
    double *slots;              /* NULL in a counted run */
};

/* The cubes of head scores, at the first feature of each head; other features hold sums across two heads. */
static void make_scores(struct ckks_eval *e, const struct encoder *m, struct scores *s, struct packed *q, struct packed *k)
{
    struct ckks_cipher turned = {0}, square = {0};
    for (int i = 0; i < s->parts; i++)
        for (int r = 0; r < s->T; r++) {
            struct ckks_cipher *c = &s->cipher[i * s->T + r];
            if (r > 0)
                ckks_rotate(e, &k->part[i], &k->part[i], 1);
            ckks_times(e, c, &q->part[i], &k->part[i]);
            for (int width = 1; width < m->K; width *= 2) {
                ckks_rotate(e, &turned, c, width * 2 * s->T);
                ckks_add(e, c, c, &turned);
            }
            ckks_add_constant(e, c, 1);
            ckks_times(e, &square, c, c);
            ckks_times(e, c, &square, c);
        }
    ckks_wipe_cipher(&turned);
    ckks_wipe_cipher(&square);
}

/* The client: ReLU, made smaller, the same at every feature of a head. */
static void client_relu_scores(struct ckks_eval *e, const struct encoder *m, const struct the_x_fit *fit, struct scores *s)
{
    const int per = packed_per(e->c, s->T), width = 2 * s->T;
    for (int i = 0; i < s->parts * s->T; i++) {
        ckks_open(e, s->slots, &s->cipher[i]);
        for (int f = 0; s->slots != NULL && f < per; f++)
            for (int t = 0; t < width; t++) { /* in place: a head's first feature comes first */
                double v = s->slots[f / m->K * m->K * width + t % s->T];
                s->slots[f * width + t] = f % m->K == 0 && t < s->T ? fmax(0, v) * fit->shrink : v;
            }
        ckks_seal(e, &s->cipher[i], s->slots, LEVEL_WEIGHTS);
    }
    e->tally.messages += 2;
}

/* y = (sum over r of weights x values of token t + r) times the estimate of the reciprocal of the sum of the weights. */
static void attend(struct ckks_eval *e, const struct the_x_fit *fit, struct scores *s, struct packed *v, struct packed *y)
{
    struct ckks_cipher sum = {0}, inverse = {0};
    static const double counted[THE_X_DEGREE + 1];
    *y = (struct packed){.features = v->features, .tokens = v->tokens, .parts = v->parts};
    for (int i = 0; i < s->parts; i++) {
        for (int r = 0; r < s->T; r++) {
            const struct ckks_cipher *c = &s->cipher[i * s->T + r];
            if (r > 0)
                ckks_rotate(e, &v->part[i], &v->part[i], 1);
            ckks_mul(e, &y->part[i], c, &v->part[i], r > 0);
            if (r == 0)
                ckks_copy(e, &sum, c);
            else
                ckks_add(e, &sum, &sum, c);
        }
        ckks_relin(e, &y->part[i]);
        ckks_rescale(e, &y->part[i]);
        ckks_poly(e, &inverse, &sum, fit == NULL ? counted : fit->reciprocal, THE_X_DEGREE);
        ckks_times(e, &y->part[i], &y->part[i], &inverse);
    }
    ckks_wipe_cipher(&sum);
    ckks_wipe_cipher(&inverse);
}

static int attention(struct ckks_eval *e, const struct encoder *m, const struct encoder_layer *y, const struct the_x_fit *fit,
                     const struct packed *x, struct packed *out, struct err *err)
{
    struct packed q = {0}, k = {0}, v = {0};
    struct packed_turns turns = {0};
    struct scores s = {.T = x->tokens, .parts = x->parts};
    size_t count = (size_t)s.parts * (size_t)s.T;
    s.cipher = calloc(count, sizeof *s.cipher);
    s.slots = e->keys == NULL ? NULL : malloc(e->c->slots * sizeof *s.slots);
    if (s.cipher == NULL || (e->keys != NULL && s.slots == NULL)) {
        free(s.cipher);
        free(s.slots);
        return err_oom(err, count * sizeof *s.cipher + e->c->slots * sizeof *s.slots);
    }
    packed_turn(e, &turns, x, packed_baby(e->c, s.T, x->parts, 3 * x->parts));
    packed_product(e, &q, &turns, fit->wq, fit->bq, m->D, LEVEL_SCORES);
    packed_product(e, &k, &turns, y->wk, y->bk, m->D, LEVEL_SCORES);
    packed_product(e, &v, &turns, y->wv, y->bv, m->D, LEVEL_VALUE);
    packed_turns_free(&turns);
    make_scores(e, m, &s, &q, &k);
    client_relu_scores(e, m, fit, &s);
    attend(e, e->keys == NULL ? NULL : fit, &s, &v, out);
    for (size_t i = 0; i < count; i++)
        ckks_wipe_cipher(&s.cipher[i]);
    free(s.cipher);
    free(s.slots);
    packed_free(&q);
    packed_free(&k);
    packed_free(&v);
    return 0;
}

/* out = w x + b + g residual. */
static void blend(struct ckks_eval *e, struct packed *out, const struct packed *x, const double *w, const double *b, const struct packed *residual,
                  const double *g, int level)
{
    struct packed_turns turns = {0};
    struct packed kept = {0};
    packed_turn(e, &turns, x, packed_baby(e->c, x->tokens, x->parts, residual->parts));
    packed_product(e, out, &turns, w, b, residual->features, level);
    packed_affine(e, &kept, residual, g, NULL, level);
    packed_add(e, out, &kept);
    packed_turns_free(&turns);
    packed_free(&kept);
}

int the_x_layer(struct ckks_eval *e, const struct encoder *m, int layer, const struct the_x_fit *fit, struct packed *x, struct err *err)
{
    static double counted[1]; /* says only that there is a bias */
    static const struct encoder_layer no_layer = {.bk = counted, .bv = counted, .bu = counted};
    static const struct the_x_fit no_fit = {.bq = counted, .bo = counted, .bd = counted};
    const bool real = e->keys != NULL;
    const struct encoder_layer *y = real ? &m->layer[layer] : &no_layer;
    const struct the_x_fit *f = real ? fit : &no_fit;
    struct packed mix = {0}, mid = {0}, wide = {0}, out = {0};
    struct packed_turns turns = {0};
    assert(x->part[0].level == THE_X_TOP && x->features == m->D);
    if (attention(e, m, y, f, x, &mix, err) != 0)
        return -1;
    blend(e, &mid, &mix, f->wo, f->bo, x, f->g1, LEVEL_OUT);
    packed_free(&mix);
    packed_turn(e, &turns, &mid, packed_baby(e->c, x->tokens, mid.parts, mid.parts * m->F / m->D));
    packed_product(e, &wide, &turns, y->wu, y->bu, m->F, LEVEL_FFN);
    packed_turns_free(&turns);
    int rc = packed_refresh(e, &wide, true, LEVEL_FFN, NULL, err);
    if (rc == 0)
        blend(e, &out, &wide, f->wd, f->bd, &mid, f->g2, LEVEL_FFN);
    packed_free(&mid);
    packed_free(&wide);
    if (rc != 0 || ckks_check(e, err) != 0) {
        packed_free(&out);
        return -1;
    }
    packed_free(x);
    *x = out;
    return 0;
}
