/* The HE baselines' BFV: exact integers, on a small ring without security.
 *
 * Mutations that were tried, and what catches them: -5^j taken as 5^j in the second row, what is encrypted not divided by t, the half left out of
 * bfv_decode, or its digits: every test. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "bench/baselines/he/bfv.h"

#define LOG_N 10
#define N ((size_t)1 << LOG_N)
#define T_BITS 38

static struct err err;
__extension__ typedef __int128 wide;
static const struct ckks_params toy = {.log_n = LOG_N, .first_bits = 50, .scale_bits = 40, .count = 4, .special_bits = 52, .toy = true};

struct rig {
    struct bfv *b;
    struct ckks_keys *keys;
    struct ckks_eval e;
    int64_t t, x[N], y[N], got[N];
    struct ckks_cipher a, c;
};

static struct rig *rig_new(void)
{
    struct rig *g = calloc(1, sizeof *g);
    cr_assert_eq(bfv_new(&g->b, &toy, T_BITS, &err), 0, "%s", err.text);
    cr_assert_eq(ckks_keys_new(&g->keys, g->b->c, &err), 0);
    cr_assert_eq(ckks_eval_init(&g->e, g->b->c, g->keys, &err), 0);
    g->t = (int64_t)g->b->t.q;
    for (size_t i = 0; i < N; i++) {
        g->x[i] = (int64_t)(i * 0x9e3779b97f4a7c15u % g->b->t.q) - g->t / 2;
        g->y[i] = (int64_t)(i * i % 4001) - 2000;
    }
    bfv_seal(&g->e, g->b, &g->a, g->x, NULL);
    return g;
}

static void rig_free(struct rig *g)
{
    cr_assert_eq(ckks_check(&g->e, &err), 0);
    ckks_wipe_cipher(&g->a);
    ckks_wipe_cipher(&g->c);
    ckks_eval_free(&g->e);
    ckks_keys_free(g->keys);
    bfv_free(g->b);
    free(g);
}

/* Modulo t, around zero. */
static int64_t around(const struct rig *g, wide v)
{
    int64_t r = (int64_t)(v % g->t);
    r = r < 0 ? r + g->t : r;
    return r > g->t / 2 ? r - g->t : r;
}

static void opens_to(struct rig *g, const struct ckks_cipher *x, const int64_t *want)
{
    bfv_open(&g->e, g->b, g->got, x);
    for (size_t i = 0; i < N; i++)
        cr_assert_eq(g->got[i], want[i], "slot %zu: %lld, want %lld", i, (long long)g->got[i], (long long)want[i]);
}

Test(he_bfv, what_is_encrypted_decrypts)
{
    struct rig *g = rig_new();
    opens_to(g, &g->a, g->x);
    rig_free(g);
}

Test(he_bfv, products_with_plaintexts_sums_and_differences_are_exact)
{
    struct rig *g = rig_new();
    int64_t want[N];
    bfv_mul(&g->e, g->b, &g->c, &g->a, g->y, false);
    bfv_mul(&g->e, g->b, &g->c, &g->a, g->x, true);
    bfv_sub(&g->e, g->b, &g->c, g->y);
    for (size_t i = 0; i < N; i++)
        want[i] = around(g, (wide)g->x[i] * (g->x[i] + g->y[i]) - g->y[i]);
    opens_to(g, &g->c, want);
    rig_free(g);
}

Test(he_bfv, a_turn_moves_both_rows)
{
    struct rig *g = rig_new();
    int64_t want[N];
    for (int step = 1; step < 200; step += 66) {
        for (size_t i = 0; i < N; i++)
            want[i] = g->x[i / (N / 2) * (N / 2) + (i + (size_t)step) % (N / 2)];
        ckks_rotate(&g->e, &g->c, &g->a, step);
        opens_to(g, &g->c, want);
    }
    rig_free(g);
}

/* As many products as a row of weights has, of turned ciphertexts: what the widest matrix product needs. */
Test(he_bfv, noise_leaves_room)
{
    struct rig *g = rig_new();
    int64_t want[N] = {0};
    ckks_rotate(&g->e, &g->a, &g->a, 3);
    bfv_open(&g->e, g->b, g->x, &g->a);
    for (int k = 0; k < 512; k++) {
        for (size_t i = 0; i < N; i++) {
            g->y[i] = (int64_t)((i + 77 * (size_t)k) * 0x2545f4914f6cdd1du % g->b->t.q) - g->t / 2;
            want[i] = around(g, (wide)g->x[i] * g->y[i] + want[i]);
        }
        bfv_mul(&g->e, g->b, &g->c, &g->a, g->y, k > 0);
    }
    opens_to(g, &g->c, want);
    rig_free(g);
}

Test(he_bfv, integers_too_wide_for_the_primes_are_refused)
{
    struct bfv *b = NULL;
    struct ckks_params p = toy;
    p.count = 2;
    cr_assert_eq(bfv_new(&b, &p, T_BITS, &err), -1);
    cr_assert_eq(err.code, ERR_USAGE);
    cr_assert_null(b);
}
