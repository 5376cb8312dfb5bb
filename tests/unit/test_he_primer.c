/* Primer's parts: the tokens-first product modulo t, and half gates.
 *
 * Mutations that were tried, and what catches them: outputs of the second row taken from the first, the turn of an empty diagonal left out,
 * the mask not taken off (products_are_exact_and_counted_alike); the second half's tweak left out on one side, pb for pa and pa for pb in garble_ands
 * (half_gates...). */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "bench/baselines/he/garble.h"
#include "bench/baselines/he/primer.h"

static struct err err;
__extension__ typedef __int128 wide;

/* Dense and by heads, over one and several ciphertexts, inputs and outputs that fill none. */
Test(he_primer, products_are_exact_and_counted_alike)
{
    static const struct primer_product products[] = {{"one", 8, 64, 128, 0, 0, false}, {"several", 8, 150, 300, 0, 0, false},
                                                     {"few", 8, 20, 10, 0, 0, false},   {"heads", 8, 128, 64, 16, 8, true},
                                                     {"wide heads", 16, 64, 256, 8, 32, true}};
    struct bfv *b;
    struct ckks_keys *keys;
    struct ckks_eval e, dry;
    cr_assert_eq(primer_new(&b, 10, true, &err), 0, "%s", err.text);
    cr_assert_eq(ckks_keys_new(&keys, b->c, &err), 0);
    const int64_t t = (int64_t)b->t.q;
    for (size_t k = 0; k < sizeof products / sizeof *products; k++) {
        const struct primer_product *p = &products[k];
        size_t in = (size_t)(p->tokens * p->in), out = (size_t)(p->tokens * p->out), weights = (size_t)(p->in * p->out);
        int64_t *r = malloc(in * sizeof *r), *w = malloc(weights * sizeof *w), *mask = malloc(out * sizeof *mask), *share = malloc(out * sizeof *share);
        for (size_t i = 0; i < in; i++)
            r[i] = (int64_t)(i * 0x9e3779b97f4a7c15u % b->t.q) - t / 2;
        for (size_t i = 0; i < out; i++)
            mask[i] = (int64_t)(i * 0x2545f4914f6cdd1du % b->t.q) - t / 2;
        for (size_t i = 0; i < weights; i++) {
            int o = (int)i / p->in, at = (int)i % p->in;
            w[i] = p->in_group != 0 && o / p->out_group != at / p->in_group ? 0 : (int64_t)(i * 7919 % 65536) - 32768;
        }
        cr_assert_eq(ckks_eval_init(&e, b->c, keys, &err), 0);
        cr_assert_eq(ckks_eval_init(&dry, b->c, NULL, &err), 0);
        primer_multiply(&e, b, p, r, w, mask, share);
        primer_multiply(&dry, b, p, NULL, NULL, NULL, NULL);
        cr_assert_eq(ckks_check(&e, &err), 0);
        cr_assert_eq(memcmp(e.tally.count, dry.tally.count, sizeof e.tally.count), 0);
        cr_assert_eq(e.tally.up, dry.tally.up);
        for (size_t i = 0; i < out; i++) {
            wide sum = -(wide)mask[i];
            for (int j = 0; j < p->in; j++)
                sum += (wide)r[i / (size_t)p->out * (size_t)p->in + (size_t)j] * w[i % (size_t)p->out * (size_t)p->in + (size_t)j];
            cr_assert_eq((int64_t)((sum - share[i]) % t), 0, "%s, output %zu", p->name, i);
        }
        ckks_eval_free(&e);
        free(r);
        free(w);
        free(mask);
        free(share);
    }
    ckks_keys_free(keys);
    bfv_free(b);
}

Test(he_primer, half_gates_give_the_and_of_every_pair_of_bits)
{
    enum { GATES = 1000 };
    struct garble g;
    struct garble_label a[GATES], b[GATES], table[GATES][2], out[GATES], held_a[GATES], held_b[GATES], got[GATES];
    cr_assert_eq(garble_init(&g, &err), 0);
    cr_assert_eq(crypto_random(a, sizeof a, &err), 0);
    cr_assert_eq(crypto_random(b, sizeof b, &err), 0);
    cr_assert_eq(garble_ands(&g, a, b, GATES, 77, table, out, &err), 0);
    for (int bits = 0; bits < 4; bits++) {
        const uint64_t x = (uint64_t)bits & 1, y = (uint64_t)bits >> 1;
        for (int i = 0; i < GATES; i++) {
            held_a[i] = (struct garble_label){a[i].low ^ (x * g.difference.low), a[i].high ^ (x * g.difference.high)};
            held_b[i] = (struct garble_label){b[i].low ^ (y * g.difference.low), b[i].high ^ (y * g.difference.high)};
        }
        cr_assert_eq(garble_evaluate(g.aes, held_a, held_b, GATES, 77, (const struct garble_label(*)[2])table, got, &err), 0);
        for (int i = 0; i < GATES; i++) {
            cr_assert_eq(got[i].low, out[i].low ^ ((x & y) * g.difference.low), "gate %d, bits %d", i, bits);
            cr_assert_eq(got[i].high, out[i].high ^ ((x & y) * g.difference.high));
        }
    }
    garble_free(&g);
}

Test(he_primer, gates_grow_with_the_square_of_the_tokens_where_softmax_does)
{
    const struct encoder m = {.L = 1, .D = 128, .H = 2, .K = 64, .F = 512};
    double one, two, four;
    cr_assert_eq(primer_gates(&m, 32, (uint64_t)1 << 37, &one, &err), 0);
    cr_assert_eq(primer_gates(&m, 64, (uint64_t)1 << 37, &two, &err), 0);
    cr_assert_eq(primer_gates(&m, 128, (uint64_t)1 << 37, &four, &err), 0);
    cr_assert_gt(two, 2 * one);
    cr_assert_gt(four - 2 * two, 1.99 * 2 * (two - 2 * one)); /* the linear part gone: a square */
    cr_assert_lt(four - 2 * two, 2.01 * 2 * (two - 2 * one));
}
