#include "bench/baselines/he/primer_state.h"

#include <stdlib.h>
#include <string.h>

/* The client's mask of what enters a product with weights. */
static const uint64_t *mask_before(const struct primer_state *p, int product)
{
    static const int before[] = {[PRIMER_BY_OUTPUT] = PRIMER_AT_CUT_MIX, [PRIMER_BY_UP] = PRIMER_AT_NORM_1, [PRIMER_BY_DOWN] = PRIMER_AT_GELU};
    return product == PRIMER_BY_QKV ? p->input : p->half[before[product]].mask;
}

static void seal(struct primer_state *p, const struct primer_product *q, const uint64_t *values, struct ckks_cipher *x, int parts)
{
    const size_t n = (size_t)q->tokens * (size_t)q->in;
    uint8_t seeds[PRIMER_PARTS_MAX][CRYPTO_KEY_LEN];
    int64_t *r = p->role == PRIMER_CLIENT ? primer_state_room(p, n * sizeof *r) : NULL;
    struct err err;
    for (size_t i = 0; r != NULL && i < n; i++)
        r[i] = primer_state_centred(p, values[i]);
    if (r != NULL) {
        primer_seal(&p->e, p->b, q, r, x, seeds);
        primer_line_fail(p->l, ckks_check(&p->e, &err), &err);
    }
    free(r);
    primer_pass_ciphers(p->l, PRIMER_CLIENT, x, parts, seeds);
}

void primer_masked_answer(struct primer_state *p, const struct primer_product *q, struct ckks_cipher *sealed, const int64_t *w, const uint64_t *mask,
                          uint64_t *share, int out_parts)
{
    const size_t n = (size_t)q->tokens * (size_t)q->out;
    struct ckks_cipher back[PRIMER_PARTS_MAX] = {{0}};
    int64_t *v = primer_state_room(p, n * sizeof *v);
    struct err err;
    if (p->role == PRIMER_SERVER && v != NULL) {
        for (size_t i = 0; i < n; i++)
            v[i] = primer_state_centred(p, mask[i]);
        primer_serve(&p->e, p->b, q, sealed, w, v, back);
        primer_line_fail(p->l, ckks_check(&p->e, &err), &err);
    }
    primer_pass_ciphers(p->l, PRIMER_SERVER, back, out_parts, NULL);
    if (p->role == PRIMER_CLIENT && !p->l->failed) {
        primer_open(&p->e, p->b, q, back, v);
        primer_line_fail(p->l, ckks_check(&p->e, &err), &err);
        for (size_t i = 0; i < n; i++)
            share[i] = primer_state_reduce(p, v[i]);
    }
    for (int i = 0; i < out_parts; i++)
        ckks_wipe_cipher(&back[i]);
    free(v);
}

void primer_masked_weights(struct primer_state *p, int layer, int product)
{
    const struct primer_product *q = &p->product[product];
    const size_t in = (size_t)q->in, out = (size_t)q->out;
    int out_parts, in_parts = primer_parts(p->b->c, q, &out_parts);
    struct primer_half *h = &p->half[primer_state_after(product)];
    struct ckks_cipher sealed[PRIMER_PARTS_MAX] = {{0}};
    int64_t *w = p->role == PRIMER_SERVER ? primer_state_room(p, (in + 1) * out * sizeof *w) : NULL;
    seal(p, q, p->role == PRIMER_CLIENT ? mask_before(p, product) : NULL, sealed, in_parts);
    if (w != NULL) {
        primer_state_weights(p->m, layer, product, w, w + in * out);
        primer_state_draw(p, h->share, h->n);
    }
    primer_masked_answer(p, q, sealed, w, h->share, h->share, out_parts);
    for (int i = 0; i < in_parts; i++)
        ckks_wipe_cipher(&sealed[i]);
    free(w);
    /* What goes round the product is added at its scale. */
    const uint64_t *round = product == PRIMER_BY_OUTPUT ? p->input : product == PRIMER_BY_DOWN ? p->half[PRIMER_AT_NORM_1].mask : NULL;
    for (size_t i = 0; p->role == PRIMER_CLIENT && round != NULL && !p->l->failed && i < h->n; i++)
        h->share[i] = primer_state_reduce(p, (primer_wide)h->share[i] + ((primer_wide)round[i] << PRIMER_WEIGHT));
}

/* Where a mask of stage values goes in the products of shared matrices: as primer_products lays them out. */
static void online_masks(const struct primer_state *p, int product, uint64_t *r)
{
    const size_t T = (size_t)p->T, D = (size_t)p->m->D, H = (size_t)p->m->H, K = (size_t)p->m->K;
    const uint64_t *qkv = p->half[PRIMER_AT_CUT_QKV].mask, *prob = p->half[PRIMER_AT_SOFTMAX].mask;
    for (size_t t = 0; t < T && product != PRIMER_BY_MIX_P; t++)
        for (size_t d = 0; d < D; d++) {
            const uint64_t v = qkv[t * 3 * D + (product == PRIMER_BY_SCORES_Q ? 0 : product == PRIMER_BY_SCORES_K ? D : 2 * D) + d];
            *(product == PRIMER_BY_MIX_V ? &r[d % K * H * T + d / K * T + t] : &r[t * D + d]) = v;
        }
    for (size_t h = 0; h < H && product == PRIMER_BY_MIX_P; h++)
        for (size_t t = 0; t < T; t++)
            memcpy(r + t * H * T + h * T, prob + (h * T + t) * T, T * sizeof *r);
}

void primer_masked_online(struct primer_state *p)
{
    for (int i = PRIMER_BY_SCORES_K; i <= PRIMER_BY_MIX_P; i++) {
        const struct primer_product *q = &p->product[i];
        int out_parts, in_parts = primer_parts(p->b->c, q, &out_parts);
        uint64_t *r = primer_state_room(p, (size_t)q->tokens * (size_t)q->in * sizeof *r);
        p->sealed[i] = primer_state_room(p, (size_t)in_parts * sizeof *p->sealed[i]);
        p->answer[i] = primer_state_room(p, (size_t)q->tokens * (size_t)q->out * sizeof *p->answer[i]);
        if (p->role == PRIMER_CLIENT && !p->l->failed)
            online_masks(p, i, r);
        if (!p->l->failed)
            seal(p, q, r, p->sealed[i], in_parts);
        if (p->role == PRIMER_SERVER && !p->l->failed)
            primer_state_draw(p, p->answer[i], (size_t)q->tokens * (size_t)q->out);
        free(r);
    }
}
