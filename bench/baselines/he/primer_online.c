#include "bench/baselines/he/primer_state.h"

#include <stdlib.h>
#include <string.h>

/* share [n]: the server's, with the offset and half of what is cut; becomes value - mask. */
static void run_stage(struct primer_state *p, struct primer_half *h, uint64_t *share)
{
    const size_t n = primer_server_bits(&h->stage), out = primer_out_bits(&h->stage);
    const uint64_t up = ((uint64_t)1 << PRIMER_OFFSET_BITS) + (h->stage.cut > 0 ? (uint64_t)1 << (h->stage.cut - 1) : 0);
    uint8_t *bits = primer_state_room(p, n > out ? n : out);
    struct garble_label *labels = p->role == PRIMER_SERVER ? h->label[CIRCUIT_SERVER] : primer_state_room(p, n * sizeof *labels);
    struct circuit c;
    struct err err;
    if (p->role == PRIMER_SERVER && !p->l->failed) {
        for (size_t i = 0; i < h->n; i++)
            share[i] = (share[i] + up) % p->t;
        primer_state_bits(p, h, CIRCUIT_SERVER, share, bits);
        primer_state_choose(p, labels, bits, n);
    }
    primer_pass(p->l, PRIMER_SERVER, labels, n * sizeof *labels);
    if (p->role == PRIMER_CLIENT && !p->l->failed) {
        primer_line_fail(p->l, circuit_open(&c, CIRCUIT_EVALUATE, h->high, &err), &err);
        if (!p->l->failed) {
            c.table = h->table;
            c.table_n = h->gates;
            c.in[CIRCUIT_CLIENT].label = h->label[CIRCUIT_CLIENT];
            c.in[CIRCUIT_WEIGHTS].label = h->label[CIRCUIT_WEIGHTS];
            c.in[CIRCUIT_SERVER].label = labels;
            c.out.bit = bits;
            primer_line_fail(p->l, primer_walk(&c, &h->stage, &err), &err);
            circuit_close(&c);
        }
    }
    primer_pass_bits(p->l, PRIMER_CLIENT, bits, out);
    if (p->role == PRIMER_SERVER && !p->l->failed) {
        for (size_t i = 0; i < out; i++)
            bits[i] ^= h->out[i];
        primer_line_fail(p->l, circuit_open(&c, CIRCUIT_COUNT, 0, &err), &err);
        c.out = (struct circuit_port){NULL, bits, share, 0};
        primer_line_fail(p->l, primer_walk(&c, &h->stage, &err), &err);
        circuit_close(&c);
        for (size_t i = 0; i < h->n; i++)
            share[i] = primer_state_reduce(p, (primer_wide)share[i] - (1 << (PRIMER_WORD_BITS - 1)));
    }
    if (p->role == PRIMER_CLIENT)
        free(labels);
    free(bits);
}

/* The server's share of x w' + b, and of what goes round it: x less the client's mask. */
static void linear(struct primer_state *p, int layer, int product, const uint64_t *x, const uint64_t *round, uint64_t *share)
{
    const struct primer_product *q = &p->product[product];
    const size_t in = (size_t)q->in, out = (size_t)q->out, T = (size_t)p->T;
    const struct primer_half *h = &p->half[primer_state_after(product)];
    int64_t *w = primer_state_room(p, (in + 1) * out * sizeof *w);
    if (w != NULL)
        primer_state_weights(p->m, layer, product, w, w + in * out);
    for (size_t t = 0; t < T && w != NULL; t++)
        for (size_t o = 0; o < out; o++) {
            primer_wide sum = (primer_wide)h->share[t * out + o] + w[in * out + o];
            if (round != NULL)
                sum += (primer_wide)round[t * out + o] << PRIMER_WEIGHT;
            for (size_t i = 0; i < in; i++)
                sum += (primer_wide)x[t * in + i] * w[o * in + i];
            share[t * out + o] = primer_state_reduce(p, sum);
        }
    free(w);
}

/* What the server knows, laid out as the weights of an online product: bench/baselines/he/primer.c. */
static void online_weights(const struct primer_state *p, int product, const uint64_t *qkv, const uint64_t *prob, int64_t *w)
{
    const size_t T = (size_t)p->T, D = (size_t)p->m->D, H = (size_t)p->m->H, K = (size_t)p->m->K;
    for (size_t h = 0; h < H; h++)
        for (size_t t = 0; t < T; t++)
            for (size_t j = 0; j < (product == PRIMER_BY_MIX_V ? T : K); j++) {
                const size_t d = h * K + j;
                if (product == PRIMER_BY_SCORES_K || product == PRIMER_BY_SCORES_Q) /* [H T, D]: queries by masks of keys, and the other way round */
                    w[(h * T + t) * D + d] = primer_state_centred(p, qkv[t * 3 * D + (product == PRIMER_BY_SCORES_K ? 0 : D) + d]);
                else if (product == PRIMER_BY_MIX_V) /* [H T, H T] */
                    w[(h * T + t) * H * T + h * T + j] = primer_state_centred(p, prob[(h * T + t) * T + j]);
                else /* [D, H T] */
                    w[d * H * T + h * T + t] = primer_state_centred(p, qkv[t * 3 * D + 2 * D + d]);
            }
}

/* Place of score or mixed value in the answer of a product. */
static size_t place(const struct primer_state *p, int product, size_t h, size_t t, size_t j)
{
    const size_t T = (size_t)p->T, H = (size_t)p->m->H, K = (size_t)p->m->K, D = (size_t)p->m->D;
    if (product == PRIMER_BY_SCORES_K || product == PRIMER_BY_MIX_V)
        return j * H * T + h * T + t;
    return product == PRIMER_BY_SCORES_Q ? t * H * T + h * T + j : t * D + h * K + j;
}

/* left [rows][inner] times right [inner][j] of one head: what one party knows of both factors. prob NULL: queries and keys. */
static primer_wide own_product(const struct primer_state *p, const uint64_t *qkv, const uint64_t *prob, size_t h, size_t t, size_t j)
{
    const size_t T = (size_t)p->T, D = (size_t)p->m->D, K = (size_t)p->m->K;
    primer_wide sum = 0;
    for (size_t i = 0; i < (prob == NULL ? K : T); i++)
        sum += prob == NULL ? (primer_wide)qkv[t * 3 * D + h * K + i] * qkv[j * 3 * D + D + h * K + i]
                            : (primer_wide)prob[(h * T + t) * T + i] * qkv[i * 3 * D + 2 * D + h * K + j];
    return sum;
}

/* Scores (product PRIMER_BY_SCORES_K and the next) or mixed values (PRIMER_BY_MIX_V and the next): share [H T][T] or [T][D] of the server. */
static void shared_product(struct primer_state *p, int product, struct primer_half *h, const uint64_t *qkv, const uint64_t *prob, uint64_t *share)
{
    const size_t T = (size_t)p->T, D = (size_t)p->m->D, H = (size_t)p->m->H, K = (size_t)p->m->K, cols = prob == NULL ? T : K;
    const bool client = p->role == PRIMER_CLIENT;
    const uint64_t *left = client ? p->half[PRIMER_AT_CUT_QKV].mask : qkv;
    const uint64_t *right = prob == NULL ? NULL : client ? p->half[PRIMER_AT_SOFTMAX].mask : prob;
    uint64_t *sum = primer_state_room(p, h->n * sizeof *sum), *got[2] = {NULL, NULL};
    for (int k = 0; k < 2; k++) {
        const struct primer_product *q = &p->product[product + k];
        int out_parts;
        (void)primer_parts(p->b->c, q, &out_parts);
        int64_t *w = client ? NULL : primer_state_room(p, (size_t)q->in * (size_t)q->out * sizeof *w);
        got[k] = primer_state_room(p, (size_t)q->tokens * (size_t)q->out * sizeof *got[k]);
        if (w != NULL)
            online_weights(p, product + k, qkv, prob, w);
        if (!p->l->failed)
            primer_masked_answer(p, q, p->sealed[product + k], w, p->answer[product + k], got[k], out_parts);
        if (!client && !p->l->failed)
            memcpy(got[k], p->answer[product + k], (size_t)q->tokens * (size_t)q->out * sizeof *got[k]);
        free(w);
    }
    for (size_t head = 0; head < H && !p->l->failed; head++)
        for (size_t t = 0; t < T; t++)
            for (size_t j = 0; j < cols; j++) {
                const size_t at = prob == NULL ? (head * T + t) * T + j : t * D + head * K + j;
                sum[at] = primer_state_reduce(p, own_product(p, left, right, head, t, j) + got[0][place(p, product, head, t, j)] +
                                        got[1][place(p, product + 1, head, t, j)]);
                if (client)
                    sum[at] = primer_state_reduce(p, (primer_wide)sum[at] - h->share[at]);
                else
                    share[at] = sum[at];
            }
    primer_pass_numbers(p->l, PRIMER_CLIENT, sum, h->n);
    for (size_t i = 0; !client && !p->l->failed && i < h->n; i++)
        share[i] = (share[i] + sum[i]) % p->t;
    free(sum);
    free(got[0]);
    free(got[1]);
}

void primer_online(struct primer_state *p, int layer)
{
    const bool server = p->role == PRIMER_SERVER;
    uint64_t *v[PRIMER_STAGES];
    for (int i = 0; i < PRIMER_STAGES; i++)
        v[i] = primer_state_room(p, p->half[i].n * sizeof **v);
    uint64_t none = 0;
    if (server && !p->l->failed)
        linear(p, layer, PRIMER_BY_QKV, p->input, NULL, v[PRIMER_AT_CUT_QKV]);
    run_stage(p, &p->half[PRIMER_AT_CUT_QKV], v[PRIMER_AT_CUT_QKV]);
    if (!p->l->failed)
        shared_product(p, PRIMER_BY_SCORES_K, &p->half[PRIMER_AT_SOFTMAX], v[PRIMER_AT_CUT_QKV], NULL, v[PRIMER_AT_SOFTMAX]);
    run_stage(p, &p->half[PRIMER_AT_SOFTMAX], v[PRIMER_AT_SOFTMAX]);
    if (!p->l->failed)
        shared_product(p, PRIMER_BY_MIX_V, &p->half[PRIMER_AT_CUT_MIX], v[PRIMER_AT_CUT_QKV], server ? v[PRIMER_AT_SOFTMAX] : &none,
                       v[PRIMER_AT_CUT_MIX]);
    run_stage(p, &p->half[PRIMER_AT_CUT_MIX], v[PRIMER_AT_CUT_MIX]);
    if (server && !p->l->failed)
        linear(p, layer, PRIMER_BY_OUTPUT, v[PRIMER_AT_CUT_MIX], p->input, v[PRIMER_AT_NORM_1]);
    run_stage(p, &p->half[PRIMER_AT_NORM_1], v[PRIMER_AT_NORM_1]);
    if (server && !p->l->failed)
        linear(p, layer, PRIMER_BY_UP, v[PRIMER_AT_NORM_1], NULL, v[PRIMER_AT_GELU]);
    run_stage(p, &p->half[PRIMER_AT_GELU], v[PRIMER_AT_GELU]);
    if (server && !p->l->failed)
        linear(p, layer, PRIMER_BY_DOWN, v[PRIMER_AT_GELU], v[PRIMER_AT_NORM_1], v[PRIMER_AT_NORM_2]);
    run_stage(p, &p->half[PRIMER_AT_NORM_2], v[PRIMER_AT_NORM_2]);
    if (!p->l->failed)
        memcpy(p->input, server ? v[PRIMER_AT_NORM_2] : p->half[PRIMER_AT_NORM_2].mask, p->half[PRIMER_AT_NORM_2].n * sizeof *p->input);
    for (int i = 0; i < PRIMER_STAGES; i++)
        free(v[i]);
}
