#include "bench/baselines/he/primer_state.h"

#include <math.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ numbers modulo t */

uint64_t primer_state_reduce(const struct primer_state *p, primer_wide v)
{
    const primer_wide r = v % (primer_wide)p->t;
    return (uint64_t)(r < 0 ? r + (primer_wide)p->t : r);
}

int64_t primer_state_centred(const struct primer_state *p, uint64_t v)
{
    return v > p->t / 2 ? -(int64_t)(p->t - v) : (int64_t)v;
}

void primer_state_draw(struct primer_state *p, uint64_t *v, size_t n)
{
    struct err err;
    primer_line_fail(p->l, crypto_stream_read(p->random, v, n * sizeof *v, &err), &err);
    for (size_t i = 0; i < n; i++)
        v[i] %= p->t; /* 64 bits to 38: the bias is 2^-26 */
}

static void *given(struct primer_state *p, void *x, size_t n)
{
    struct err err;
    if (x == NULL && !p->l->failed) {
        err_oom(&err, n);
        primer_line_fail(p->l, -1, &err);
    }
    return x;
}

void *primer_state_room(struct primer_state *p, size_t n)
{
    return given(p, p->l->failed ? NULL : calloc(n + 1, 1), n);
}

void *primer_state_raw(struct primer_state *p, size_t n)
{
    return given(p, p->l->failed ? NULL : malloc(n + 1), n);
}

/* ------------------------------------------------------------------ shapes */

void primer_stages(const struct encoder *m, int T, uint64_t t, struct primer_stage out[PRIMER_STAGES])
{
    const size_t rows = (size_t)T, D = (size_t)m->D, F = (size_t)m->F, cut = PRIMER_WEIGHT;
    out[PRIMER_AT_CUT_QKV] = (struct primer_stage){PRIMER_CUT, rows, 3 * D, (int)cut, t, 0};
    out[PRIMER_AT_SOFTMAX] = (struct primer_stage){PRIMER_SOFTMAX, rows * (size_t)m->H, rows, PRIMER_FRACTION, t, 0};
    out[PRIMER_AT_CUT_MIX] = (struct primer_stage){PRIMER_CUT, rows, D, PRIMER_PROBABILITY, t, 0};
    out[PRIMER_AT_NORM_1] = (struct primer_stage){PRIMER_NORM, rows, D, (int)cut, t, m->eps};
    out[PRIMER_AT_GELU] = (struct primer_stage){PRIMER_GELU, rows, F, (int)cut, t, 0};
    out[PRIMER_AT_NORM_2] = (struct primer_stage){PRIMER_NORM, rows, D, (int)cut, t, m->eps};
}

int primer_gates(const struct encoder *m, int T, uint64_t t, double *gates, struct err *err)
{
    struct primer_stage stages[PRIMER_STAGES];
    double all = 0, one;
    primer_stages(m, T, t, stages);
    for (int i = 0; i < PRIMER_STAGES; i++) {
        if (primer_count(&stages[i], &one, NULL, err) != 0)
            return -1;
        all += one;
    }
    *gates = all;
    return 0;
}

int primer_memory(const struct encoder *m, int T, double *bytes, struct err *err)
{
    struct primer_stage stages[PRIMER_STAGES];
    double gates, labels = 0;
    if (primer_gates(m, T, (uint64_t)1 << 37, &gates, err) != 0)
        return -1;
    primer_stages(m, T, (uint64_t)1 << 37, stages);
    for (int i = 0; i < PRIMER_STAGES; i++)
        labels += (double)(primer_client_bits(&stages[i]) + primer_weight_bits(&stages[i]) + primer_server_bits(&stages[i]));
    *bytes = gates * GARBLE_TABLE_BYTES + labels * (GARBLE_LABEL_BYTES + 1);
    return 0;
}

/* ------------------------------------------------------------------ weights as whole numbers */

void primer_state_whole(int64_t *out, const double *w, size_t n, double by)
{
    for (size_t i = 0; i < n; i++)
        out[i] = llround(w[i] * by);
}

/* Query's come times log2(e) / sqrt(K): scores are exponents of 2. w [out,in], bias [out] at a product's scale. */
void primer_state_weights(const struct encoder *m, int layer, int product, int64_t *w, int64_t *bias)
{
    const struct encoder_layer *y = &m->layer[layer];
    const size_t D = (size_t)m->D, F = (size_t)m->F;
    const double one = 1 << PRIMER_WEIGHT, both = one * (1 << PRIMER_FRACTION), query = M_LOG2E / sqrt(m->K);
    if (product == PRIMER_BY_QKV) {
        primer_state_whole(w, y->wq, D * D, one * query);
        primer_state_whole(w + D * D, y->wk, D * D, one);
        primer_state_whole(w + 2 * D * D, y->wv, D * D, one);
        primer_state_whole(bias, y->bq, D, both * query);
        primer_state_whole(bias + D, y->bk, D, both);
        primer_state_whole(bias + 2 * D, y->bv, D, both);
    } else {
        const bool output = product == PRIMER_BY_OUTPUT, up = product == PRIMER_BY_UP;
        primer_state_whole(w, output ? y->wo : up ? y->wu : y->wd, output ? D * D : D * F, one);
        primer_state_whole(bias, output ? y->bo : up ? y->bu : y->bd, up ? F : D, both);
    }
}

int primer_state_after(int product)
{
    static const int after[] = {[PRIMER_BY_QKV] = PRIMER_AT_CUT_QKV, [PRIMER_BY_OUTPUT] = PRIMER_AT_NORM_1, [PRIMER_BY_UP] = PRIMER_AT_GELU,
                                [PRIMER_BY_DOWN] = PRIMER_AT_NORM_2};
    return after[product];
}

/* ------------------------------------------------------------------ bits and labels */

/* Bits of the values that enter a stage, in walk order. */
void primer_state_bits(struct primer_state *p, const struct primer_half *h, enum circuit_owner owner, const uint64_t *values, uint8_t *bits)
{
    struct circuit c;
    struct err err;
    uint64_t *v = (uint64_t *)(uintptr_t)values; /* a count only reads inputs */
    if (p->l->failed || circuit_open(&c, CIRCUIT_COUNT, 0, &err) != 0)
        return;
    c.in[owner] = (struct circuit_port){NULL, bits, v, 0};
    primer_line_fail(p->l, primer_walk(&c, &h->stage, &err), &err);
    circuit_close(&c);
}

/* label of the server's bits: of 0, or with the difference on it. */
void primer_state_choose(const struct primer_state *p, struct garble_label *label, const uint8_t *bit, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bit[i])
            label[i] = (struct garble_label){label[i].low ^ p->l->difference.low, label[i].high ^ p->l->difference.high};
}


void primer_state_drop_layer(struct primer_state *p)
{
    for (int i = 0; i < PRIMER_STAGES; i++) {
        struct primer_half *h = &p->half[i];
        free(h->share);
        free(h->mask);
        free(h->table);
        free(h->out);
        for (int k = 0; k < CIRCUIT_OWNERS; k++)
            free(h->label[k]);
        *h = (struct primer_half){0};
    }
    for (int i = PRIMER_BY_SCORES_K; i <= PRIMER_BY_MIX_P; i++) {
        int out_parts, in_parts = p->b == NULL ? 0 : primer_parts(p->b->c, &p->product[i], &out_parts);
        for (int k = 0; p->sealed[i] != NULL && k < in_parts; k++)
            ckks_wipe_cipher(&p->sealed[i][k]);
        free(p->sealed[i]);
        free(p->answer[i]);
        p->sealed[i] = NULL;
        p->answer[i] = NULL;
    }
}
