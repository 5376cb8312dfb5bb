#include "bench/baselines/he/primer_party.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "base/clock.h"

#define LOG_N 13
#define TOY_LOG_N 10
#define SCORE_PRODUCTS 2 /* of masks of keys, of queries */

__extension__ typedef __int128 wide;

enum { CUT_QKV, SOFTMAX, CUT_MIX, NORM_1, GELU, NORM_2 }; /* stages */
enum { QKV, OUTPUT, UP, DOWN, SCORES_K, SCORES_Q, MIX_V, MIX_P }; /* products, as primer_products lists them */

/* One stage's half of this party. */
struct half {
    struct primer_stage stage;
    size_t n, high, gates;     /* n: values */
    uint64_t *share, *mask;    /* client: [n] each; server: share, what it adds to a product [n] */
    struct garble_label *label[CIRCUIT_OWNERS]; /* client: its own and the weights'; server: of 0, its own */
    struct garble_label (*table)[2];            /* client */
    uint8_t *out;              /* server: colours of 0 */
};

struct party {
    enum primer_role role;
    const struct encoder *m;
    int T;
    struct bfv *b;
    struct ckks_keys *keys;
    struct ckks_eval e;
    struct primer_line *l;
    struct crypto_stream *random;
    uint64_t t;
    struct primer_product product[PRIMER_PRODUCTS];
    struct half half[PRIMER_STAGES];
    struct ckks_cipher *sealed[PRIMER_PRODUCTS]; /* server: the client's masks, of products that are done online */
    uint64_t *input;  /* [T D] client: mask of the layer's input; server: input - mask */
    uint64_t *answer[PRIMER_PRODUCTS]; /* server: its masks of online products */
    struct primer_sums sums;
};

/* ------------------------------------------------------------------ numbers modulo t */

static uint64_t reduce(const struct party *p, wide v)
{
    const wide r = v % (wide)p->t;
    return (uint64_t)(r < 0 ? r + (wide)p->t : r);
}

static int64_t centred(const struct party *p, uint64_t v)
{
    return v > p->t / 2 ? -(int64_t)(p->t - v) : (int64_t)v;
}

static void draw(struct party *p, uint64_t *v, size_t n)
{
    struct err err;
    primer_line_fail(p->l, crypto_stream_read(p->random, v, n * sizeof *v, &err), &err);
    for (size_t i = 0; i < n; i++)
        v[i] %= p->t; /* 64 bits to 38: the bias is 2^-26 */
}

static void *room(struct party *p, size_t n)
{
    void *x = p->l->failed ? NULL : calloc(n + 1, 1);
    struct err err;
    if (x == NULL && !p->l->failed) {
        err_oom(&err, n);
        primer_line_fail(p->l, -1, &err);
    }
    return x;
}

/* ------------------------------------------------------------------ shapes */

void primer_stages(const struct encoder *m, int T, uint64_t t, struct primer_stage out[PRIMER_STAGES])
{
    const size_t rows = (size_t)T, D = (size_t)m->D, F = (size_t)m->F, cut = PRIMER_WEIGHT;
    out[CUT_QKV] = (struct primer_stage){PRIMER_CUT, rows, 3 * D, (int)cut, t, 0};
    out[SOFTMAX] = (struct primer_stage){PRIMER_SOFTMAX, rows * (size_t)m->H, rows, PRIMER_FRACTION, t, 0};
    out[CUT_MIX] = (struct primer_stage){PRIMER_CUT, rows, D, PRIMER_PROBABILITY, t, 0};
    out[NORM_1] = (struct primer_stage){PRIMER_NORM, rows, D, (int)cut, t, m->eps};
    out[GELU] = (struct primer_stage){PRIMER_GELU, rows, F, (int)cut, t, 0};
    out[NORM_2] = (struct primer_stage){PRIMER_NORM, rows, D, (int)cut, t, m->eps};
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

static int fits(const struct encoder *m, int T, struct err *err)
{
    struct sysinfo info;
    double needed;
    if (primer_memory(m, T, &needed, err) != 0)
        return -1;
    const double there = sysinfo(&info) == 0 ? (double)info.totalram * info.mem_unit : needed;
    return needed <= there ? 0 : err_set(err, ERR_USAGE, "primer: a layer's circuits need %.0f bytes of memory for %d tokens, this machine has %.0f",
                                         needed, T, there);
}

/* ------------------------------------------------------------------ set-up */

/* The client's rotation keys; both know from the products which. */
static void pass_keys(struct party *p)
{
    const struct ckks *c = p->b->c;
    const size_t words = ckks_switch_words(c);
    uint64_t *sent = room(p, words * sizeof *sent);
    int have[2 * PRIMER_PRODUCTS], n = 0;
    struct err err;
    for (int i = 0; i < PRIMER_PRODUCTS; i++) {
        int steps[2], count = primer_steps(c, &p->product[i], steps);
        for (int k = 0; k < count && !p->l->failed; k++) {
            bool known = false;
            for (int j = 0; j < n; j++)
                known = known || have[j] == steps[k];
            if (known)
                continue;
            have[n++] = steps[k];
            const struct ckks_switch *key = NULL;
            if (p->role == PRIMER_CLIENT)
                primer_line_fail(p->l, ckks_keys_rotation(p->keys, steps[k], &key, &err), &err);
            if (key != NULL)
                memcpy(sent, key->data, words * sizeof *sent);
            primer_pass(p->l, PRIMER_CLIENT, sent, words * sizeof *sent);
            if (p->role == PRIMER_SERVER && !p->l->failed)
                primer_line_fail(p->l, ckks_keys_take(p->keys, steps[k], sent, &err), &err);
        }
    }
    free(sent);
}

static int open_party(struct party *p, struct bare *bare, bool toy, int timeout_ms, struct err *err)
{
    char what[160];
    uint8_t seed[CRYPTO_KEY_LEN];
    const struct encoder *m = p->m;
    (void)snprintf(what, sizeof what, "%d layers, %d wide, %d heads, %d hidden, %d tokens%s", m->L, m->D, m->H, m->F, p->T, toy ? ", toy" : "");
    primer_products(m, p->T, p->product);
    if (primer_new(&p->b, toy ? TOY_LOG_N : LOG_N, toy, err) != 0 || primer_line_new(&p->l, p->role, bare, p->b, what, timeout_ms, err) != 0 ||
        crypto_random(seed, sizeof seed, err) != 0 || crypto_stream_new(&p->random, seed, err) != 0 ||
        (p->role == PRIMER_CLIENT ? ckks_keys_new(&p->keys, p->b->c, err) : ckks_keys_of_server(&p->keys, p->b->c, err)) != 0 ||
        ckks_eval_init(&p->e, p->b->c, p->keys, err) != 0)
        return -1;
    p->t = p->b->t.q;
    pass_keys(p);
    primer_transfer_base(p->l, &p->e);
    p->input = room(p, (size_t)p->T * (size_t)m->D * sizeof *p->input);
    if (p->role == PRIMER_CLIENT && !p->l->failed)
        draw(p, p->input, (size_t)p->T * (size_t)m->D);
    return primer_line_check(p->l, err);
}

/* ------------------------------------------------------------------ weights as whole numbers */

static void whole(int64_t *out, const double *w, size_t n, double by)
{
    for (size_t i = 0; i < n; i++)
        out[i] = llround(w[i] * by);
}

/* Query's come times log2(e) / sqrt(K): scores are exponents of 2. w [out,in], bias [out] at a product's scale. */
static void weights(const struct encoder *m, int layer, int product, int64_t *w, int64_t *bias)
{
    const struct encoder_layer *y = &m->layer[layer];
    const size_t D = (size_t)m->D, F = (size_t)m->F;
    const double one = 1 << PRIMER_WEIGHT, both = one * (1 << PRIMER_FRACTION), query = M_LOG2E / sqrt(m->K);
    if (product == QKV) {
        whole(w, y->wq, D * D, one * query);
        whole(w + D * D, y->wk, D * D, one);
        whole(w + 2 * D * D, y->wv, D * D, one);
        whole(bias, y->bq, D, both * query);
        whole(bias + D, y->bk, D, both);
        whole(bias + 2 * D, y->bv, D, both);
    } else {
        whole(w, product == OUTPUT ? y->wo : product == UP ? y->wu : y->wd, product == OUTPUT ? D * D : D * F, one);
        whole(bias, product == OUTPUT ? y->bo : product == UP ? y->bu : y->bd, product == UP ? F : D, both);
    }
}

/* ------------------------------------------------------------------ before the input is known */

/* The client's mask of what enters a product with weights. */
static const uint64_t *mask_before(const struct party *p, int product)
{
    return product == QKV ? p->input : p->half[product == OUTPUT ? CUT_MIX : product == UP ? NORM_1 : GELU].mask;
}

static int stage_after(int product)
{
    return product == QKV ? CUT_QKV : product == OUTPUT ? NORM_1 : product == UP ? GELU : NORM_2;
}

static void seal(struct party *p, const struct primer_product *q, const uint64_t *values, struct ckks_cipher *x, int parts)
{
    const size_t n = (size_t)q->tokens * (size_t)q->in;
    uint8_t seeds[PRIMER_PARTS_MAX][CRYPTO_KEY_LEN];
    int64_t *r = p->role == PRIMER_CLIENT ? room(p, n * sizeof *r) : NULL;
    struct err err;
    for (size_t i = 0; r != NULL && i < n; i++)
        r[i] = centred(p, values[i]);
    if (r != NULL) {
        primer_seal(&p->e, p->b, q, r, x, seeds);
        primer_line_fail(p->l, ckks_check(&p->e, &err), &err);
    }
    free(r);
    primer_pass_ciphers(p->l, PRIMER_CLIENT, x, parts, seeds);
}

/* The server answers with the product less a mask; the client's share is what it opens. */
static void answer(struct party *p, const struct primer_product *q, struct ckks_cipher *sealed, const int64_t *w, const uint64_t *mask, uint64_t *share,
                   int out_parts)
{
    const size_t n = (size_t)q->tokens * (size_t)q->out;
    struct ckks_cipher back[PRIMER_PARTS_MAX] = {{0}};
    int64_t *v = room(p, n * sizeof *v);
    struct err err;
    if (p->role == PRIMER_SERVER && v != NULL) {
        for (size_t i = 0; i < n; i++)
            v[i] = centred(p, mask[i]);
        primer_serve(&p->e, p->b, q, sealed, w, v, back);
        primer_line_fail(p->l, ckks_check(&p->e, &err), &err);
    }
    primer_pass_ciphers(p->l, PRIMER_SERVER, back, out_parts, NULL);
    if (p->role == PRIMER_CLIENT && !p->l->failed) {
        primer_open(&p->e, p->b, q, back, v);
        primer_line_fail(p->l, ckks_check(&p->e, &err), &err);
        for (size_t i = 0; i < n; i++)
            share[i] = reduce(p, v[i]);
    }
    for (int i = 0; i < out_parts; i++)
        ckks_wipe_cipher(&back[i]);
    free(v);
}

static void weight_product(struct party *p, int layer, int product)
{
    const struct primer_product *q = &p->product[product];
    const size_t in = (size_t)q->in, out = (size_t)q->out;
    int out_parts, in_parts = primer_parts(p->b->c, q, &out_parts);
    struct half *h = &p->half[stage_after(product)];
    struct ckks_cipher sealed[PRIMER_PARTS_MAX] = {{0}};
    int64_t *w = p->role == PRIMER_SERVER ? room(p, (in + 1) * out * sizeof *w) : NULL;
    seal(p, q, p->role == PRIMER_CLIENT ? mask_before(p, product) : NULL, sealed, in_parts);
    if (w != NULL) {
        weights(p->m, layer, product, w, w + in * out);
        draw(p, h->share, h->n);
    }
    answer(p, q, sealed, w, h->share, h->share, out_parts);
    for (int i = 0; i < in_parts; i++)
        ckks_wipe_cipher(&sealed[i]);
    free(w);
    /* What goes round the product is added at its scale. */
    const uint64_t *round = product == OUTPUT ? p->input : product == DOWN ? p->half[NORM_1].mask : NULL;
    for (size_t i = 0; p->role == PRIMER_CLIENT && round != NULL && !p->l->failed && i < h->n; i++)
        h->share[i] = reduce(p, (wide)h->share[i] + ((wide)round[i] << PRIMER_WEIGHT));
}

/* Where a mask of stage values goes in the products of shared matrices: as primer_products lays them out. */
static void online_masks(const struct party *p, int product, uint64_t *r)
{
    const size_t T = (size_t)p->T, D = (size_t)p->m->D, H = (size_t)p->m->H, K = (size_t)p->m->K;
    const uint64_t *qkv = p->half[CUT_QKV].mask, *prob = p->half[SOFTMAX].mask;
    for (size_t t = 0; t < T && product != MIX_P; t++)
        for (size_t d = 0; d < D; d++) {
            const uint64_t v = qkv[t * 3 * D + (product == SCORES_Q ? 0 : product == SCORES_K ? D : 2 * D) + d];
            *(product == MIX_V ? &r[d % K * H * T + d / K * T + t] : &r[t * D + d]) = v;
        }
    for (size_t h = 0; h < H && product == MIX_P; h++)
        for (size_t t = 0; t < T; t++)
            memcpy(r + t * H * T + h * T, prob + (h * T + t) * T, T * sizeof *r);
}

static void seal_online(struct party *p)
{
    for (int i = SCORES_K; i <= MIX_P; i++) {
        const struct primer_product *q = &p->product[i];
        int out_parts, in_parts = primer_parts(p->b->c, q, &out_parts);
        uint64_t *r = room(p, (size_t)q->tokens * (size_t)q->in * sizeof *r);
        p->sealed[i] = room(p, (size_t)in_parts * sizeof *p->sealed[i]);
        p->answer[i] = room(p, (size_t)q->tokens * (size_t)q->out * sizeof *p->answer[i]);
        if (p->role == PRIMER_CLIENT && !p->l->failed)
            online_masks(p, i, r);
        if (!p->l->failed)
            seal(p, q, r, p->sealed[i], in_parts);
        if (p->role == PRIMER_SERVER && !p->l->failed)
            draw(p, p->answer[i], (size_t)q->tokens * (size_t)q->out);
        free(r);
    }
}

static int send_tables(void *to, const void *tables, size_t bytes, struct err *err)
{
    struct primer_line *l = to;
    primer_send(l, tables, bytes);
    return primer_line_check(l, err);
}

/* Bits of the values that enter a stage, in walk order. */
static void bits_of(struct party *p, const struct half *h, enum circuit_owner owner, const uint64_t *values, uint8_t *bits)
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

static void garble_stage(struct party *p, struct half *h, struct garble_label *theirs, struct garble_label *gains)
{
    struct circuit c;
    struct err err;
    const size_t mine = primer_server_bits(&h->stage), out = primer_out_bits(&h->stage);
    h->label[CIRCUIT_SERVER] = room(p, mine * sizeof *theirs);
    h->out = room(p, out);
    if (p->l->failed)
        return;
    primer_line_fail(p->l, crypto_stream_read(p->random, h->label[CIRCUIT_SERVER], mine * sizeof *theirs, &err), &err);
    if (p->l->failed || circuit_open(&c, CIRCUIT_GARBLE, h->high, &err) != 0) {
        primer_line_fail(p->l, -1, &err);
        return;
    }
    c.g.difference = p->l->difference;
    c.sink = send_tables;
    c.to = p->l;
    c.in[CIRCUIT_CLIENT].label = theirs;
    c.in[CIRCUIT_WEIGHTS].label = gains;
    c.in[CIRCUIT_SERVER].label = h->label[CIRCUIT_SERVER];
    c.out.bit = h->out;
    primer_line_fail(p->l, primer_walk(&c, &h->stage, &err), &err);
    circuit_close(&c);
}

static void take_tables(struct party *p, struct half *h)
{
    h->table = room(p, h->gates * sizeof *h->table);
    for (size_t at = 0; at < h->gates && !p->l->failed; at += CIRCUIT_CHUNK)
        primer_recv(p->l, h->table + at, (h->gates - at < CIRCUIT_CHUNK ? h->gates - at : CIRCUIT_CHUNK) * sizeof *h->table);
}

/* label of the server's bits: of 0, or with the difference on it. */
static void choose(const struct party *p, struct garble_label *label, const uint8_t *bit, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bit[i])
            label[i] = (struct garble_label){label[i].low ^ p->l->difference.low, label[i].high ^ p->l->difference.high};
}

static void offline_stage(struct party *p, int layer, int stage)
{
    struct half *h = &p->half[stage];
    const size_t n = primer_client_bits(&h->stage), gains = primer_weight_bits(&h->stage), D = (size_t)p->m->D;
    uint8_t *bits = room(p, n > gains ? n : gains);
    uint64_t *values = room(p, 2 * (h->n > D ? h->n : D) * sizeof *values);
    struct garble_label *labels = room(p, n * sizeof *labels), *gain = room(p, gains * sizeof *gain);
    struct err err;
    for (size_t i = 0; p->role == PRIMER_CLIENT && !p->l->failed && i < h->n; i++) {
        values[i] = h->share[i];
        values[h->n + i] = reduce(p, -(wide)h->mask[i]);
    }
    if (p->role == PRIMER_CLIENT && !p->l->failed)
        bits_of(p, h, CIRCUIT_CLIENT, values, bits);
    primer_transfer(p->l, bits, labels, n);
    if (p->role == PRIMER_SERVER && !p->l->failed) {
        primer_line_fail(p->l, crypto_stream_read(p->random, gain, gains * sizeof *gain, &err), &err);
        garble_stage(p, h, labels, gain);
    } else if (!p->l->failed)
        take_tables(p, h);
    if (p->role == PRIMER_SERVER && gains > 0 && !p->l->failed) {
        const struct encoder_layer *y = &p->m->layer[layer];
        int64_t whole_gain[2];
        for (size_t i = 0; i < D; i++) {
            whole(whole_gain, (stage == NORM_1 ? y->g1 : y->g2) + i, 1, 1 << PRIMER_FRACTION);
            whole(whole_gain + 1, (stage == NORM_1 ? y->b1 : y->b2) + i, 1, 1 << PRIMER_FRACTION);
            values[i] = (uint64_t)whole_gain[0];
            values[D + i] = (uint64_t)whole_gain[1];
        }
        bits_of(p, h, CIRCUIT_WEIGHTS, values, bits);
        choose(p, gain, bits, gains);
    }
    if (gains > 0)
        primer_pass(p->l, PRIMER_SERVER, gain, gains * sizeof *gain);
    if (p->role == PRIMER_CLIENT) {
        h->label[CIRCUIT_CLIENT] = labels;
        h->label[CIRCUIT_WEIGHTS] = gain;
    } else {
        free(labels);
        free(gain);
    }
    free(bits);
    free(values);
}

static void offline(struct party *p, int layer)
{
    struct primer_stage stages[PRIMER_STAGES];
    struct err err;
    primer_stages(p->m, p->T, p->t, stages);
    for (int i = 0; i < PRIMER_STAGES && !p->l->failed; i++) {
        struct half *h = &p->half[i];
        double gates = 0;
        h->stage = stages[i];
        h->n = stages[i].rows * stages[i].cols;
        primer_line_fail(p->l, primer_count(&h->stage, &gates, &h->high, &err), &err);
        h->gates = (size_t)llround(gates);
        p->sums.gates += h->gates;
        h->share = room(p, h->n * sizeof *h->share);
        h->mask = room(p, h->n * sizeof *h->mask);
        if (p->role == PRIMER_CLIENT && !p->l->failed) {
            draw(p, h->mask, h->n);
            draw(p, h->share, h->n); /* of products of shared matrices: handed over online; of the others: opened below */
        }
    }
    for (int i = QKV; i <= DOWN && !p->l->failed; i++)
        weight_product(p, layer, i);
    seal_online(p);
    for (int i = 0; i < PRIMER_STAGES && !p->l->failed; i++)
        offline_stage(p, layer, i);
}

/* ------------------------------------------------------------------ with the input */

/* share [n]: the server's, with the offset and half of what is cut; becomes value - mask. */
static void run_stage(struct party *p, struct half *h, uint64_t *share)
{
    const size_t n = primer_server_bits(&h->stage), out = primer_out_bits(&h->stage);
    const uint64_t up = ((uint64_t)1 << PRIMER_OFFSET_BITS) + (h->stage.cut > 0 ? (uint64_t)1 << (h->stage.cut - 1) : 0);
    uint8_t *bits = room(p, n > out ? n : out);
    struct garble_label *labels = p->role == PRIMER_SERVER ? h->label[CIRCUIT_SERVER] : room(p, n * sizeof *labels);
    struct circuit c;
    struct err err;
    if (p->role == PRIMER_SERVER && !p->l->failed) {
        for (size_t i = 0; i < h->n; i++)
            share[i] = (share[i] + up) % p->t;
        bits_of(p, h, CIRCUIT_SERVER, share, bits);
        choose(p, labels, bits, n);
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
            share[i] = reduce(p, (wide)share[i] - (1 << (PRIMER_WORD_BITS - 1)));
    }
    if (p->role == PRIMER_CLIENT)
        free(labels);
    free(bits);
}

/* The server's share of x w' + b, and of what goes round it: x less the client's mask. */
static void linear(struct party *p, int layer, int product, const uint64_t *x, const uint64_t *round, uint64_t *share)
{
    const struct primer_product *q = &p->product[product];
    const size_t in = (size_t)q->in, out = (size_t)q->out, T = (size_t)p->T;
    const struct half *h = &p->half[stage_after(product)];
    int64_t *w = room(p, (in + 1) * out * sizeof *w);
    if (w != NULL)
        weights(p->m, layer, product, w, w + in * out);
    for (size_t t = 0; t < T && w != NULL; t++)
        for (size_t o = 0; o < out; o++) {
            wide sum = (wide)h->share[t * out + o] + w[in * out + o] + (round == NULL ? 0 : (wide)round[t * out + o] << PRIMER_WEIGHT);
            for (size_t i = 0; i < in; i++)
                sum += (wide)x[t * in + i] * w[o * in + i];
            share[t * out + o] = reduce(p, sum);
        }
    free(w);
}

/* What the server knows, laid out as the weights of an online product: bench/baselines/he/primer.c. */
static void online_weights(const struct party *p, int product, const uint64_t *qkv, const uint64_t *prob, int64_t *w)
{
    const size_t T = (size_t)p->T, D = (size_t)p->m->D, H = (size_t)p->m->H, K = (size_t)p->m->K;
    for (size_t h = 0; h < H; h++)
        for (size_t t = 0; t < T; t++)
            for (size_t j = 0; j < (product == MIX_V ? T : K); j++) {
                const size_t d = h * K + j;
                if (product == SCORES_K || product == SCORES_Q) /* [H T, D]: queries of the masks of keys, and the other way round */
                    w[(h * T + t) * D + d] = centred(p, qkv[t * 3 * D + (product == SCORES_K ? 0 : D) + d]);
                else if (product == MIX_V) /* [H T, H T] */
                    w[(h * T + t) * H * T + h * T + j] = centred(p, prob[(h * T + t) * T + j]);
                else /* [D, H T] */
                    w[d * H * T + h * T + t] = centred(p, qkv[t * 3 * D + 2 * D + d]);
            }
}

/* Place of score or mixed value in the answer of a product. */
static size_t place(const struct party *p, int product, size_t h, size_t t, size_t j)
{
    const size_t T = (size_t)p->T, H = (size_t)p->m->H, K = (size_t)p->m->K, D = (size_t)p->m->D;
    return product == SCORES_K ? j * H * T + h * T + t : product == SCORES_Q ? t * H * T + h * T + j : product == MIX_V ? j * H * T + h * T + t : t * D + h * K + j;
}

/* left [rows][inner] times right [inner][j] of one head: what one party knows of both factors. prob NULL: queries and keys. */
static wide own_product(const struct party *p, const uint64_t *qkv, const uint64_t *prob, size_t h, size_t t, size_t j)
{
    const size_t T = (size_t)p->T, D = (size_t)p->m->D, K = (size_t)p->m->K;
    wide sum = 0;
    for (size_t i = 0; i < (prob == NULL ? K : T); i++)
        sum += prob == NULL ? (wide)qkv[t * 3 * D + h * K + i] * qkv[j * 3 * D + D + h * K + i]
                            : (wide)prob[(h * T + t) * T + i] * qkv[i * 3 * D + 2 * D + h * K + j];
    return sum;
}

/* Scores (product SCORES_K and the next) or mixed values (MIX_V and the next): share [H T][T] or [T][D] of the server. */
static void shared_product(struct party *p, int product, struct half *h, const uint64_t *qkv, const uint64_t *prob, uint64_t *share)
{
    const size_t T = (size_t)p->T, D = (size_t)p->m->D, H = (size_t)p->m->H, K = (size_t)p->m->K, cols = prob == NULL ? T : K;
    const bool client = p->role == PRIMER_CLIENT;
    const uint64_t *left = client ? p->half[CUT_QKV].mask : qkv, *right = prob == NULL ? NULL : client ? p->half[SOFTMAX].mask : prob;
    uint64_t *sum = room(p, h->n * sizeof *sum), *got[2] = {NULL, NULL};
    for (int k = 0; k < 2; k++) {
        const struct primer_product *q = &p->product[product + k];
        int out_parts;
        (void)primer_parts(p->b->c, q, &out_parts);
        int64_t *w = client ? NULL : room(p, (size_t)q->in * (size_t)q->out * sizeof *w);
        got[k] = room(p, (size_t)q->tokens * (size_t)q->out * sizeof *got[k]);
        if (w != NULL)
            online_weights(p, product + k, qkv, prob, w);
        if (!p->l->failed)
            answer(p, q, p->sealed[product + k], w, p->answer[product + k], got[k], out_parts);
        if (!client && !p->l->failed)
            memcpy(got[k], p->answer[product + k], (size_t)q->tokens * (size_t)q->out * sizeof *got[k]);
        free(w);
    }
    for (size_t head = 0; head < H && !p->l->failed; head++)
        for (size_t t = 0; t < T; t++)
            for (size_t j = 0; j < cols; j++) {
                const size_t at = prob == NULL ? (head * T + t) * T + j : t * D + head * K + j;
                sum[at] = reduce(p, own_product(p, left, right, head, t, j) + got[0][place(p, product, head, t, j)] +
                                        got[1][place(p, product + 1, head, t, j)]);
                if (client)
                    sum[at] = reduce(p, (wide)sum[at] - h->share[at]);
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

static void online(struct party *p, int layer)
{
    const bool server = p->role == PRIMER_SERVER;
    uint64_t *v[PRIMER_STAGES];
    for (int i = 0; i < PRIMER_STAGES; i++)
        v[i] = room(p, p->half[i].n * sizeof **v);
    uint64_t none = 0;
    if (server && !p->l->failed)
        linear(p, layer, QKV, p->input, NULL, v[CUT_QKV]);
    run_stage(p, &p->half[CUT_QKV], v[CUT_QKV]);
    if (!p->l->failed)
        shared_product(p, SCORES_K, &p->half[SOFTMAX], v[CUT_QKV], NULL, v[SOFTMAX]);
    run_stage(p, &p->half[SOFTMAX], v[SOFTMAX]);
    if (!p->l->failed)
        shared_product(p, MIX_V, &p->half[CUT_MIX], v[CUT_QKV], server ? v[SOFTMAX] : &none, v[CUT_MIX]);
    run_stage(p, &p->half[CUT_MIX], v[CUT_MIX]);
    if (server && !p->l->failed)
        linear(p, layer, OUTPUT, v[CUT_MIX], p->input, v[NORM_1]);
    run_stage(p, &p->half[NORM_1], v[NORM_1]);
    if (server && !p->l->failed)
        linear(p, layer, UP, v[NORM_1], NULL, v[GELU]);
    run_stage(p, &p->half[GELU], v[GELU]);
    if (server && !p->l->failed)
        linear(p, layer, DOWN, v[GELU], v[NORM_1], v[NORM_2]);
    run_stage(p, &p->half[NORM_2], v[NORM_2]);
    if (!p->l->failed)
        memcpy(p->input, server ? v[NORM_2] : p->half[NORM_2].mask, p->half[NORM_2].n * sizeof *p->input);
    for (int i = 0; i < PRIMER_STAGES; i++)
        free(v[i]);
}

static void drop_layer(struct party *p)
{
    for (int i = 0; i < PRIMER_STAGES; i++) {
        struct half *h = &p->half[i];
        free(h->share);
        free(h->mask);
        free(h->table);
        free(h->out);
        for (int k = 0; k < CIRCUIT_OWNERS; k++)
            free(h->label[k]);
        *h = (struct half){0};
    }
    for (int i = SCORES_K; i <= MIX_P; i++) {
        int out_parts, in_parts = p->b == NULL ? 0 : primer_parts(p->b->c, &p->product[i], &out_parts);
        for (int k = 0; p->sealed[i] != NULL && k < in_parts; k++)
            ckks_wipe_cipher(&p->sealed[i][k]);
        free(p->sealed[i]);
        free(p->answer[i]);
        p->sealed[i] = NULL;
        p->answer[i] = NULL;
    }
}

/* ------------------------------------------------------------------ all layers */

static uint64_t cpu_us(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0 ? (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000 : 0;
}

static void layers(struct party *p, double *x)
{
    const size_t n = (size_t)p->T * (size_t)p->m->D;
    const double one = 1 << PRIMER_FRACTION;
    uint64_t *values = room(p, n * sizeof *values);
    for (int layer = 0; layer < p->m->L && !p->l->failed; layer++) {
        const uint64_t start = clock_us(), sent = p->l->sent;
        uint8_t meet = 0;
        offline(p, layer);
        primer_pass(p->l, PRIMER_SERVER, &meet, 1); /* so that one's offline work is not the other's online waiting */
        primer_pass(p->l, PRIMER_CLIENT, &meet, 1);
        p->l->direction = 0; /* that the meeting was no message of the protocol */
        const uint64_t ready = clock_us(), ready_cpu = cpu_us(), ready_sent = p->l->sent, messages = p->l->messages, waited = p->l->wait_us;
        for (size_t i = 0; layer == 0 && p->role == PRIMER_CLIENT && !p->l->failed && i < n; i++)
            values[i] = reduce(p, (wide)llround(x[i] * one) - p->input[i]);
        if (layer == 0 && !p->l->failed)
            primer_pass_numbers(p->l, PRIMER_CLIENT, p->role == PRIMER_CLIENT ? values : p->input, n);
        online(p, layer);
        if (layer == p->m->L - 1 && !p->l->failed)
            primer_pass_numbers(p->l, PRIMER_SERVER, p->role == PRIMER_SERVER ? p->input : values, n);
        p->sums.offline_us += ready - start;
        p->sums.offline_sent += ready_sent - sent;
        p->sums.online_us += clock_us() - ready;
        p->sums.online_cpu_us += cpu_us() - ready_cpu;
        p->sums.online_sent += p->l->sent - ready_sent;
        p->sums.messages += p->l->messages - messages;
        p->sums.wait_us += p->l->wait_us - waited;
        drop_layer(p);
    }
    for (size_t i = 0; p->role == PRIMER_CLIENT && !p->l->failed && i < n; i++)
        x[i] = (double)centred(p, (values[i] + p->input[i]) % p->t) / one;
    free(values);
}

int primer_party(enum primer_role role, struct bare *bare, const struct encoder *m, int T, double *x, bool toy, int timeout_ms,
                 struct primer_sums *sums, struct err *err)
{
    struct party p = {.role = role, .m = m, .T = T};
    const uint64_t start = clock_us();
    int rc = fits(m, T, err) != 0 ? -1 : open_party(&p, bare, toy, timeout_ms, err);
    if (rc == 0) {
        p.sums.setup_us = clock_us() - start;
        p.sums.setup_sent = p.l->sent;
        layers(&p, x);
        rc = primer_line_check(p.l, err);
    }
    for (int op = 0; op < CKKS_OPS; op++)
        for (int l = 0; l <= CKKS_PRIMES_MAX; l++)
            p.sums.he_us += p.e.tally.us[op][l];
    if (rc == 0)
        *sums = p.sums;
    drop_layer(&p);
    free(p.input);
    ckks_eval_free(&p.e);
    ckks_keys_free(p.keys);
    crypto_stream_free(p.random);
    primer_line_free(p.l);
    bfv_free(p.b);
    return rc;
}
