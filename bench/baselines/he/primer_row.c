#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "bench/baselines/he/garble.h"
#include "bench/baselines/he/primer.h"

#define LOG_N 13
#define GATES_MEASURED ((size_t)1 << 19)
#define MACS_MEASURED 512
#define MESSAGES_LAYER 16 /* online: six circuits of two messages, two products of shared matrices of two; the input and the output besides */
#define NUMBER_BYTES 5

__extension__ typedef __int128 wide;

/* Words that enter a circuit of one layer. */
static double words_of(const struct encoder *m, int T)
{
    return T * (6.0 * m->D + m->F) + (double)m->H * T * T;
}

static int draw(int64_t *v, size_t n, int bits, struct err *err)
{
    if (crypto_random(v, n * sizeof *v, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        v[i] = (int64_t)((uint64_t)v[i] >> (64 - bits)) - ((int64_t)1 << (bits - 1));
    return 0;
}

/* One product with random integers of the real widths. */
static int run_product(struct ckks_eval *e, const struct bfv *b, const struct primer_product *p, struct err *err)
{
    size_t in = (size_t)p->tokens * (size_t)p->in, out = (size_t)p->tokens * (size_t)p->out, weights = (size_t)p->in * (size_t)p->out;
    int64_t *r = malloc((in + 2 * out + weights) * sizeof *r);
    if (r == NULL)
        return err_oom(err, (in + 2 * out + weights) * sizeof *r);
    int64_t *w = r + in, *mask = w + weights, *share = mask + out;
    const int64_t t = (int64_t)b->t.q;
    int rc = draw(r, in, PRIMER_T_BITS, err) != 0 || draw(mask, out, PRIMER_T_BITS, err) != 0 ||
                     draw(w, weights, p->online ? PRIMER_T_BITS : PRIMER_WORD_BITS, err) != 0
                 ? -1
                 : 0;
    for (size_t k = 0; rc == 0 && p->in_group != 0 && k < weights; k++)
        if ((int)(k / (size_t)p->in) / p->out_group != (int)(k % (size_t)p->in) / p->in_group)
            w[k] = 0;
    if (rc == 0) {
        primer_multiply(e, b, p, r, w, mask, share);
        rc = ckks_check(e, err);
    }
    for (size_t k = 0; rc == 0 && k < out; k++) {
        const size_t token = k / (size_t)p->out, o = k % (size_t)p->out;
        wide sum = -(wide)mask[k];
        for (size_t i = 0; i < (size_t)p->in; i++)
            sum += (wide)r[token * (size_t)p->in + i] * w[o * (size_t)p->in + i];
        if ((sum - share[k]) % t != 0)
            rc = err_set(err, ERR_CHECK, "%s: a product of %d x %d is not the exact one", p->name, p->in, p->out);
    }
    free(r);
    return rc;
}

/* What one multiplication and addition of 64-bit words in a matrix product costs. */
static int measure_mac(double *ns, struct err *err)
{
    enum { SIZE = MACS_MEASURED };
    uint64_t *a = calloc(2 * SIZE * SIZE + SIZE, sizeof *a);
    if (a == NULL)
        return err_oom(err, 2 * SIZE * SIZE * sizeof *a);
    uint64_t *w = a + SIZE * SIZE, *y = w + SIZE * SIZE;
    int rc = crypto_random(a, 2 * SIZE * SIZE * sizeof *a, err);
    double start = ckks_clock();
    uint64_t kept = 0;
    for (int t = 0; rc == 0 && t < 64; t++) {
        memset(y, 0, SIZE * sizeof *y);
        for (int i = 0; i < SIZE; i++)
            for (int o = 0; o < SIZE; o++)
                y[o] += a[t * SIZE + i] * w[i * SIZE + o];
        kept ^= y[t];
    }
    *ns = (ckks_clock() - start) * 1e3 / (64.0 * SIZE * SIZE) + (kept == 0 ? 1e-9 : 0); /* kept: so that the loop stays */
    free(a);
    return rc;
}

static double price(const struct ckks_tally *t, const struct ckks_tally *prices, int level, bool weights)
{
    double us = 0;
    for (int op = 0; op < CKKS_OPS; op++)
        if (t->count[op][level] != 0 && (weights || op != CKKS_WEIGHT))
            us += (double)t->count[op][level] * prices->us[op][level] / (double)prices->count[op][level];
    return us / 1e6;
}

/* Counts, or does, the products of all layers: off and on, before and after the input is known. */
static int products(struct ckks_eval *off, struct ckks_eval *on, const struct bfv *b, const struct encoder *m, int T, double *macs, struct err *err)
{
    struct primer_product p[PRIMER_PRODUCTS];
    int n = primer_products(m, T, p);
    *macs = 0;
    for (int l = 0; l < m->L; l++)
        for (int i = 0; i < n; i++) {
            struct ckks_eval *e = p[i].online ? on : off;
            *macs += (double)p[i].tokens * p[i].in * p[i].out / (p[i].in_group == 0 ? 1 : m->H);
            if (e->keys == NULL)
                primer_multiply(e, b, &p[i], NULL, NULL, NULL, NULL);
            else if (run_product(e, b, &p[i], err) != 0)
                return -1;
        }
    return 0;
}

/* What the client's rotation keys take on the line. */
static double key_bytes(const struct ckks *c, const struct encoder *m, int T)
{
    struct primer_product p[PRIMER_PRODUCTS];
    int steps[2 * PRIMER_PRODUCTS], n = 0;
    for (int i = 0; i < primer_products(m, T, p); i++) {
        int two[2], count = primer_steps(c, &p[i], two);
        for (int k = 0; k < count; k++) {
            bool known = false;
            for (int j = 0; j < n; j++)
                known = known || steps[j] == two[k];
            if (!known)
                steps[n++] = two[k];
        }
    }
    return (double)n * (double)ckks_switch_words(c) * sizeof(uint64_t);
}

static void fill(struct compare_row *row, const struct encoder *m, const char *shape, int T, const struct primer_detail *d, double keys_bytes)
{
    uint64_t rotations = 0, plain = 0;
    const double words = m->L * words_of(m, T), shares = m->L * (T * (double)m->D + (double)m->H * T * T), gains = m->L * 2.0 * T * m->D * 2 * PRIMER_WORD_BITS;
    for (int l = 0; l <= CKKS_PRIMES_MAX; l++) {
        rotations += d->offline.count[CKKS_ROTATE][l] + d->online.count[CKKS_ROTATE][l];
        plain += d->offline.count[CKKS_MUL_PLAIN][l] + d->online.count[CKKS_MUL_PLAIN][l];
    }
    *row = compare_row_empty(COMPARE_MODELLED);
    snprintf(row->system, sizeof row->system, "primer");
    snprintf(row->shape, sizeof row->shape, "%s, %d tokens", shape, T);
    snprintf(row->protects, sizeof row->protects, "input, hidden values and weights, between two semi-honest parties");
    snprintf(row->note, sizeof row->note,
             "BFV N 8192, tokens first, %s: %llu rotations, %llu plain products; %.3g AND gates at %.1f + %.1f ns; one thread, without waiting",
             d->run ? "run and exact" : "counted", (unsigned long long)rotations, (unsigned long long)plain, d->gates, d->garble_ns,
             d->evaluate_ns);
    row->offline_s = d->he_offline_s + d->gates * d->garble_ns / 1e9;
    row->online_s = d->he_online_s + d->gates * d->evaluate_ns / 1e9 + d->macs * d->mac_ns / 1e9;
    row->offline_bytes = (double)(d->offline.up + d->offline.down + d->online.up) + d->gates * GARBLE_TABLE_BYTES + keys_bytes +
                         GARBLE_LABEL_BYTES * (2 * words * PRIMER_SHARE_BITS + gains);
    row->bytes = (double)d->online.down + words * PRIMER_SHARE_BITS * (GARBLE_LABEL_BYTES + 1.0 / 8) + NUMBER_BYTES * (shares + 2.0 * T * m->D);
    row->rounds = MESSAGES_LAYER * m->L + 2;
    row->tokens = T;
}

bool primer_takes(const struct encoder *m, int T)
{
    struct primer_product p[PRIMER_PRODUCTS];
    const int slots = 1 << (LOG_N - 1);
    if (T < 1 || (T & (T - 1)) != 0 || (m->K & (m->K - 1)) != 0 || T > slots || m->K > slots || m->D > PRIMER_COLS_MAX || T > PRIMER_COLS_MAX)
        return false;
    for (int i = 0; i < primer_products(m, T, p); i++)
        if (p[i].in > PRIMER_PARTS_MAX * (slots / p[i].tokens) || p[i].out > 2 * PRIMER_PARTS_MAX * (slots / p[i].tokens))
            return false;
    return true;
}

int primer_row(struct compare_row *row, const struct encoder *m, const char *shape, int T, bool run, struct primer_detail *detail,
               struct err *err)
{
    struct bfv *b = NULL;
    struct ckks_keys *keys = NULL;
    struct ckks_eval off = {0}, on = {0}, one = {0};
    struct primer_detail d = {.run = run};
    int rc = -1;
    if (!primer_takes(m, T))
        return err_set(err, ERR_USAGE, "primer: %d tokens, heads of width %d: expected powers of two, and products of at most %d ciphertexts a side", T,
                       m->K, PRIMER_PARTS_MAX);
    if (primer_new(&b, LOG_N, false, err) != 0 || ckks_keys_new(&keys, b->c, err) != 0 ||
        ckks_eval_init(&off, b->c, run ? keys : NULL, err) != 0 || ckks_eval_init(&on, b->c, run ? keys : NULL, err) != 0 ||
        ckks_eval_init(&one, b->c, keys, err) != 0 || garble_measure(&d.garble_ns, &d.evaluate_ns, GATES_MEASURED, err) != 0 ||
        measure_mac(&d.mac_ns, err) != 0)
        goto done;
    /* One product of a full ciphertext gives the prices of what is only counted. */
    const int per = (int)b->c->slots / T;
    const struct primer_product sample = {"a full ciphertext", T, per, 2 * per, 0, 0, false};
    if (!run && run_product(&one, b, &sample, err) != 0)
        goto done;
    if (products(&off, &on, b, m, T, &d.macs, err) != 0)
        goto done;
    const struct ckks_tally *off_prices = run ? &off.tally : &one.tally, *on_prices = run ? &on.tally : &one.tally;
    d.he_offline_s = price(&off.tally, off_prices, b->c->count, true);
    d.he_online_s = price(&on.tally, on_prices, b->c->count, true);
    d.offline = off.tally;
    d.online = on.tally;
    if (primer_gates(m, T, b->t.q, &d.gates, err) != 0)
        goto done;
    d.gates *= m->L;
    fill(row, m, shape, T, &d, key_bytes(b->c, m, T));
    if (detail != NULL)
        *detail = d;
    rc = 0;
done:
    ckks_eval_free(&off);
    ckks_eval_free(&on);
    ckks_eval_free(&one);
    ckks_keys_free(keys);
    bfv_free(b);
    return rc;
}
