#include "bench/baselines/he/garble.h"

#include <assert.h>
#include <stdlib.h>

#include "bench/baselines/he/ckks_eval.h"

#define BATCH 256 /* gates whose blocks go to AES in one call */

static struct garble_label xor_of(struct garble_label a, struct garble_label b)
{
    return (struct garble_label){a.low ^ b.low, a.high ^ b.high};
}

static struct garble_label if_bit(uint64_t bit, struct garble_label a)
{
    const uint64_t mask = 0 - (bit & 1);
    return (struct garble_label){a.low & mask, a.high & mask};
}

/* 2x in GF(2^128), plus the tweak. */
static struct garble_label tweaked(struct garble_label x, uint64_t tweak)
{
    return (struct garble_label){(x.low << 1 ^ (0x87 & (0 - (x.high >> 63)))) ^ tweak, x.high << 1 | x.low >> 63};
}

/* x [n] holds tweaked labels; becomes their hashes. */
static int hash(struct crypto_blocks *aes, struct garble_label *x, size_t n, struct err *err)
{
    struct garble_label y[4 * BATCH];
    assert(n <= 4 * BATCH);
    if (crypto_blocks_apply(aes, x, y, n, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        x[i] = xor_of(x[i], y[i]);
    return 0;
}

int garble_init(struct garble *g, struct err *err)
{
    static const uint8_t key[CRYPTO_BLOCK_LEN] = GARBLE_KEY;
    if (crypto_random(&g->difference, sizeof g->difference, err) != 0)
        return -1;
    g->difference.low |= 1;
    return crypto_blocks_new(&g->aes, key, err);
}

void garble_free(struct garble *g)
{
    crypto_blocks_free(g->aes);
    g->aes = NULL;
}

int garble_ands(struct garble *g, const struct garble_label *a, const struct garble_label *b, size_t n, uint64_t first,
                struct garble_label (*table)[2], struct garble_label *out, struct err *err)
{
    struct garble_label h[4 * BATCH];
    for (size_t at = 0; at < n; at += BATCH) {
        const size_t batch = n - at < BATCH ? n - at : BATCH;
        for (size_t i = 0; i < batch; i++) {
            const uint64_t tweak = 2 * (first + at + i);
            h[4 * i] = tweaked(a[at + i], tweak);
            h[4 * i + 1] = tweaked(xor_of(a[at + i], g->difference), tweak);
            h[4 * i + 2] = tweaked(b[at + i], tweak + 1);
            h[4 * i + 3] = tweaked(xor_of(b[at + i], g->difference), tweak + 1);
        }
        if (hash(g->aes, h, 4 * batch, err) != 0)
            return -1;
        for (size_t i = 0; i < batch; i++) {
            const struct garble_label *x = h + 4 * i, a0 = a[at + i];
            const uint64_t pa = a0.low, pb = b[at + i].low;
            const struct garble_label left = xor_of(xor_of(x[0], x[1]), if_bit(pb, g->difference)), right = xor_of(xor_of(x[2], x[3]), a0);
            table[at + i][0] = left;
            table[at + i][1] = right;
            out[at + i] = xor_of(xor_of(x[0], if_bit(pa, left)), xor_of(x[2], if_bit(pb, xor_of(right, a0))));
        }
    }
    return 0;
}

int garble_evaluate(struct crypto_blocks *aes, const struct garble_label *a, const struct garble_label *b, size_t n, uint64_t first,
                    const struct garble_label (*table)[2], struct garble_label *out, struct err *err)
{
    struct garble_label h[4 * BATCH];
    for (size_t at = 0; at < n; at += BATCH) {
        const size_t batch = n - at < BATCH ? n - at : BATCH;
        for (size_t i = 0; i < batch; i++) {
            const uint64_t tweak = 2 * (first + at + i);
            h[2 * i] = tweaked(a[at + i], tweak);
            h[2 * i + 1] = tweaked(b[at + i], tweak + 1);
        }
        if (hash(aes, h, 2 * batch, err) != 0)
            return -1;
        for (size_t i = 0; i < batch; i++)
            out[at + i] = xor_of(xor_of(h[2 * i], if_bit(a[at + i].low, table[at + i][0])),
                                 xor_of(h[2 * i + 1], if_bit(b[at + i].low, xor_of(table[at + i][1], a[at + i]))));
    }
    return 0;
}

/* Again and again over as many gates as a cache holds: tables are sent as they are made, and pages are no part of the price. */
int garble_measure(double *garble_ns, double *evaluate_ns, size_t gates, struct err *err)
{
    enum { AT_ONCE = 8192 };
    struct garble g = {0};
    struct garble_label *a = calloc(5 * (size_t)AT_ONCE, sizeof *a);
    double spent[2] = {0};
    if (a == NULL)
        return err_oom(err, 5 * AT_ONCE * sizeof *a);
    struct garble_label *b = a + AT_ONCE, *out = b + AT_ONCE, (*table)[2] = (struct garble_label(*)[2])(out + AT_ONCE);
    int rc = crypto_random(a, 2 * AT_ONCE * sizeof *a, err);
    if (rc == 0)
        rc = garble_init(&g, err);
    size_t made = 0;
    for (; rc == 0 && made < gates; made += AT_ONCE) {
        double start = ckks_clock();
        rc = garble_ands(&g, a, b, AT_ONCE, made, table, out, err);
        double middle = ckks_clock();
        if (rc == 0)
            rc = garble_evaluate(g.aes, a, b, AT_ONCE, made, (const struct garble_label(*)[2])table, out, err);
        spent[0] += middle - start;
        spent[1] += ckks_clock() - middle;
    }
    *garble_ns = spent[0] * 1e3 / (double)made;
    *evaluate_ns = spent[1] * 1e3 / (double)made;
    garble_free(&g);
    free(a);
    return rc;
}
