#include "bench/baselines/he/primer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/crypto.h"

int primer_products(const struct encoder *m, int T, struct primer_product out[PRIMER_PRODUCTS])
{
    const int D = m->D, HT = m->H * T, K = m->K;
    const struct primer_product all[PRIMER_PRODUCTS] = {
        {"query, key, value", T, D, 3 * D, 0, 0, false}, {"output", T, D, D, 0, 0, false},
        {"up", T, D, m->F, 0, 0, false},                 {"down", T, m->F, D, 0, 0, false},
        {"scores, mask of keys", T, D, HT, K, T, true},  {"scores, mask of queries", T, D, HT, K, T, true},
        {"mix, mask of values", K, HT, HT, T, T, true},  {"mix, mask of weights", T, HT, D, T, K, true}};
    for (int i = 0; i < PRIMER_PRODUCTS; i++)
        out[i] = all[i];
    return PRIMER_PRODUCTS;
}

/* Two primes of 54 bits: after the largest product the noise stays some 2^9 below the step between two integers. */
int primer_new(struct bfv **out, int log_n, bool toy, struct err *err)
{
    const struct ckks_params p = {.log_n = log_n, .first_bits = 54, .scale_bits = 54, .count = 2, .special_bits = 56, .toy = toy};
    return bfv_new(out, &p, PRIMER_T_BITS, err);
}

/* ------------------------------------------------------------------ one product */

struct plan {
    const struct primer_product *p;
    int per, in_parts, out_parts, baby; /* per: features in a row */
};

static struct plan plan_of(const struct ckks *c, const struct primer_product *p)
{
    struct plan y = {.p = p, .per = (int)c->slots / p->tokens, .baby = 1};
    assert(y.per * p->tokens == (int)c->slots);
    y.in_parts = (p->in + y.per - 1) / y.per;
    y.out_parts = (p->out + 2 * y.per - 1) / (2 * y.per);
    assert(y.in_parts <= PRIMER_PARTS_MAX && y.out_parts <= PRIMER_PARTS_MAX);
    for (int b = 1; b <= y.per; b *= 2)
        if (y.in_parts * (b - 1) + y.out_parts * (y.per / b - 1) < y.in_parts * (y.baby - 1) + y.out_parts * (y.per / y.baby - 1))
            y.baby = b;
    return y;
}

static bool nonzero(const struct primer_product *p, int o, int i)
{
    return o < p->out && i < p->in && (p->in_group == 0 || o / p->out_group == i / p->in_group);
}

/* The factors of copy `a` of input part `in` for output part `out` before the turn by g: as in bench/baselines/he/packed.c, with other outputs in
 * the second row. False if all are zero. slots NULL: only that. */
static bool diagonal(const struct plan *y, int64_t *slots, const int64_t *w, int out, int in, int a, int g)
{
    const struct primer_product *p = y->p;
    bool any = false;
    for (int f = 0; f < 2 * y->per; f++) {
        int r = f % y->per, o = (2 * out + f / y->per) * y->per + (r - g + y->per) % y->per, i = in * y->per + (r + a) % y->per;
        bool here = nonzero(p, o, i);
        any = any || here;
        if (slots == NULL && any)
            return true;
        for (int t = 0; slots != NULL && t < p->tokens; t++)
            slots[f * p->tokens + t] = here ? w[(size_t)o * (size_t)p->in + (size_t)i] : 0;
    }
    return any;
}

static void one_part(struct ckks_eval *e, const struct bfv *b, const struct plan *y, struct ckks_cipher *out, const struct ckks_cipher *copies,
                     const int64_t *w, int part, int64_t *slots)
{
    struct ckks_cipher inner = {0}, sum = {0};
    bool begun = false;
    for (int g = y->per - y->baby; g >= 0; g -= y->baby) {
        bool any = false;
        for (int k = 0; k < y->in_parts * y->baby; k++)
            if (diagonal(y, slots, w, part, k / y->baby, k % y->baby, g)) {
                bfv_mul(e, b, &inner, &copies[k], slots, any);
                any = true;
            }
        if (begun)
            ckks_rotate(e, &sum, &sum, y->baby * y->p->tokens);
        if (any && begun)
            ckks_add(e, &sum, &sum, &inner);
        else if (any)
            ckks_copy(e, &sum, &inner);
        begun = begun || any;
    }
    ckks_wipe_cipher(&inner);
    *out = sum;
}

/* Where x [tokens,features] lies: part i holds features from i per on; `rows` 1: the same in both rows. */
static void lay(const struct plan *y, int64_t *slots, const int64_t *x, int features, int part, int rows)
{
    for (int f = 0; f < 2 * y->per; f++) {
        int feature = part * y->per * rows + (rows == 1 ? f % y->per : f);
        for (int t = 0; t < y->p->tokens; t++)
            slots[f * y->p->tokens + t] = feature < features ? x[(size_t)t * (size_t)features + (size_t)feature] : 0;
    }
}

int primer_parts(const struct ckks *c, const struct primer_product *p, int *out_parts)
{
    const struct plan y = plan_of(c, p);
    *out_parts = y.out_parts;
    return y.in_parts;
}

int primer_steps(const struct ckks *c, const struct primer_product *p, int steps[2])
{
    const struct plan y = plan_of(c, p);
    int n = 0;
    if (y.baby > 1)
        steps[n++] = p->tokens;
    if (y.per > y.baby)
        steps[n++] = y.baby * p->tokens;
    return n;
}

static int64_t *slots_for(struct ckks_eval *e, bool real)
{
    int64_t *slots = real ? malloc(e->c->n * sizeof *slots) : NULL;
    if (real && slots == NULL) {
        e->failed = true;
        err_oom(&e->first, e->c->n * sizeof *slots);
    }
    return slots;
}

void primer_seal(struct ckks_eval *e, const struct bfv *b, const struct primer_product *p, const int64_t *r, struct ckks_cipher *sealed,
                 uint8_t (*seeds)[CRYPTO_KEY_LEN])
{
    const struct plan y = plan_of(e->c, p);
    int64_t *slots = slots_for(e, r != NULL);
    for (int i = 0; i < y.in_parts; i++) {
        if (slots != NULL)
            lay(&y, slots, r, p->in, i, 1);
        bfv_seal(e, b, &sealed[i], slots, seeds == NULL ? NULL : seeds[i]);
    }
    free(slots);
    e->tally.messages++;
}

void primer_serve(struct ckks_eval *e, const struct bfv *b, const struct primer_product *p, const struct ckks_cipher *sealed, const int64_t *w,
                  const int64_t *mask, struct ckks_cipher *answer)
{
    const struct plan y = plan_of(e->c, p);
    struct ckks_cipher *copies = calloc((size_t)(y.in_parts * y.baby), sizeof *copies);
    int64_t *slots = slots_for(e, w != NULL);
    if (copies == NULL) {
        e->failed = true;
        err_oom(&e->first, (size_t)(y.in_parts * y.baby) * sizeof *copies);
    }
    for (int i = 0; copies != NULL && i < y.in_parts; i++) {
        ckks_copy(e, &copies[i * y.baby], &sealed[i]);
        for (int a = 1; a < y.baby; a++)
            ckks_rotate(e, &copies[i * y.baby + a], &copies[i * y.baby + a - 1], p->tokens);
    }
    for (int j = 0; copies != NULL && j < y.out_parts; j++) {
        one_part(e, b, &y, &answer[j], copies, w, j, slots);
        if (slots != NULL)
            lay(&y, slots, mask, p->out, j, 2);
        bfv_sub(e, b, &answer[j], slots);
    }
    for (int k = 0; copies != NULL && k < y.in_parts * y.baby; k++)
        ckks_wipe_cipher(&copies[k]);
    free(copies);
    free(slots);
    e->tally.messages++;
}

void primer_open(struct ckks_eval *e, const struct bfv *b, const struct primer_product *p, const struct ckks_cipher *answer, int64_t *share)
{
    const struct plan y = plan_of(e->c, p);
    int64_t *slots = slots_for(e, share != NULL);
    for (int j = 0; j < y.out_parts; j++) {
        bfv_open(e, b, slots, &answer[j]);
        for (int f = 2 * j * y.per; slots != NULL && !e->failed && f < 2 * (j + 1) * y.per && f < p->out; f++)
            for (int t = 0; t < p->tokens; t++)
                share[(size_t)t * (size_t)p->out + (size_t)f] = slots[(f - 2 * j * y.per) * p->tokens + t];
    }
    free(slots);
}

void primer_multiply(struct ckks_eval *e, const struct bfv *b, const struct primer_product *p, const int64_t *r, const int64_t *w,
                     const int64_t *mask, int64_t *share)
{
    struct ckks_cipher sealed[PRIMER_PARTS_MAX] = {{0}}, answer[PRIMER_PARTS_MAX] = {{0}};
    primer_seal(e, b, p, r, sealed, NULL);
    primer_serve(e, b, p, sealed, w, mask, answer);
    primer_open(e, b, p, answer, share);
    for (int i = 0; i < PRIMER_PARTS_MAX; i++) {
        ckks_wipe_cipher(&sealed[i]);
        ckks_wipe_cipher(&answer[i]);
    }
}
