/* The HE baselines' CKKS, against exact complex arithmetic and schoolbook products. Small rings without security: the arithmetic is the same.
 *
 * Mutations that were tried, and what catches them: a wrong twiddle in ring_forward, 3 for 5 in the embedding (most tests); ring_reduce without its
 * second correction (reduce_agrees_with_division); no half in divide() (rescale_rounds_and_does_not_cut); 3 for 5 in ckks_keys_rotation
 * (rotate_is_cyclic); the special factor left out of make_switch (products and turns); the sign of the secret's product in pair(); a digit not
 * transformed in switch_key(); a part left where it was in ckks_lower(); no errors when sealing (sealed_numbers_carry_the_standard_error);
 * a looser table (parameters_below_128_bit_security_are_refused). */
#include <complex.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "bench/baselines/he/ckks_eval.h"

#define LOG_N 10
#define SLOTS ((size_t)1 << (LOG_N - 1))

static const struct ckks_params toy = {.log_n = LOG_N, .first_bits = 50, .scale_bits = 40, .count = 5, .special_bits = 52, .toy = true};

struct rig {
    struct ckks *c;
    struct ckks_keys *keys;
    struct ckks_eval e;
    double x[SLOTS], y[SLOTS], got[SLOTS];
    struct ckks_cipher a, b, r;
};

static struct rig *rig_new(void)
{
    struct err err;
    struct rig *g = calloc(1, sizeof *g);
    cr_assert_eq(ckks_new(&g->c, &toy, &err), 0);
    cr_assert_eq(ckks_keys_new(&g->keys, g->c, &err), 0);
    cr_assert_eq(ckks_eval_init(&g->e, g->c, g->keys, &err), 0);
    for (size_t i = 0; i < SLOTS; i++) {
        g->x[i] = sin(1.7 * (double)i) * 3;
        g->y[i] = cos(0.3 * (double)i * (double)i) * 2;
    }
    ckks_seal(&g->e, &g->a, g->x, g->c->count);
    ckks_seal(&g->e, &g->b, g->y, g->c->count);
    return g;
}

static void rig_free(struct rig *g)
{
    struct err err;
    cr_assert_eq(ckks_check(&g->e, &err), 0);
    ckks_wipe_cipher(&g->a);
    ckks_wipe_cipher(&g->b);
    ckks_wipe_cipher(&g->r);
    ckks_eval_free(&g->e);
    ckks_keys_free(g->keys);
    ckks_free(g->c);
    free(g);
}

/* Largest difference between what x decrypts to and want. */
static double off(struct rig *g, const struct ckks_cipher *x, const double *want)
{
    double worst = 0;
    ckks_open(&g->e, g->got, x);
    for (size_t i = 0; i < SLOTS; i++)
        worst = fmax(worst, fabs(g->got[i] - want[i]));
    return worst;
}

/* ------------------------------------------------------------------ ring */

static void random_poly(const struct ring *r, uint64_t *a)
{
    struct err err;
    cr_assert_eq(crypto_random(a, r->n * sizeof *a, &err), 0);
    for (size_t i = 0; i < r->n; i++)
        a[i] %= r->q;
}

Test(he_ring, reduce_agrees_with_division)
{
    static const int bits[] = {20, 36, 44, 50, 55, 56};
    struct err err;
    for (size_t k = 0; k < sizeof bits / sizeof *bits; k++) {
        uint64_t q[2], word[2];
        struct ring r;
        cr_assert(ring_primes(10, bits[k], 2, NULL, 0, q));
        for (int which = 0; which < 2; which++) {
            cr_assert_eq(ring_init(&r, 10, q[which], &err), 0);
            for (int i = 0; i < 20000; i++) {
                cr_assert_eq(crypto_random(word, sizeof word, &err), 0);
                ring_wide z = (ring_wide)word[0] << 64 | word[1];
                z >>= 128 - (r.bits + 62);
                if (i % 4 == 0) /* just below and at multiples of q, where an estimate one off would show */
                    z = z / q[which] * q[which] - (i % 8 == 0);
                cr_assert_eq(ring_reduce(&r, z), (uint64_t)(z % q[which]));
            }
            ring_free(&r);
        }
    }
}

Test(he_ring, transform_multiplies_polynomials_modulo_x_to_the_n_plus_one)
{
    struct err err;
    uint64_t q, a[64], b[64], want[64] = {0};
    struct ring r;
    cr_assert(ring_primes(6, 44, 1, NULL, 0, &q));
    cr_assert_eq(ring_init(&r, 6, q, &err), 0);
    random_poly(&r, a);
    random_poly(&r, b);
    for (size_t i = 0; i < 64; i++)
        for (size_t j = 0; j < 64; j++) {
            uint64_t v = (uint64_t)((ring_wide)a[i] * b[j] % q), *to = &want[(i + j) % 64];
            *to = i + j < 64 ? ring_add(*to, v, q) : ring_sub(*to, v, q);
        }
    ring_forward(&r, a);
    ring_forward(&r, b);
    for (size_t i = 0; i < 64; i++)
        a[i] = ring_mul(&r, a[i], b[i]);
    ring_inverse(&r, a);
    cr_assert_eq(memcmp(a, want, sizeof want), 0);
    ring_free(&r);
}

Test(he_ring, primes_are_distinct_and_have_the_roots)
{
    uint64_t q[24];
    cr_assert(ring_primes(15, 42, 24, NULL, 0, q));
    for (int i = 0; i < 24; i++) {
        cr_assert_eq(q[i] % 65536, 1);
        for (uint64_t d = 3; d < 1000; d += 2)
            cr_assert_neq(q[i] % d, 0);
        for (int j = 0; j < i; j++)
            cr_assert_neq(q[i], q[j]);
    }
}

/* ------------------------------------------------------------------ encoding */

Test(he_ckks, encoding_is_the_evaluation_at_the_powers_of_five)
{
    struct err err;
    struct ckks *c;
    struct ckks_plain p = {0};
    struct ckks_params small = {.log_n = 4, .first_bits = 50, .scale_bits = 40, .count = 2, .special_bits = 50, .toy = true};
    double re[8], im[8];
    cr_assert_eq(ckks_new(&c, &small, &err), 0);
    for (int i = 0; i < 8; i++) {
        re[i] = i - 3.25;
        im[i] = 1.0 / (i + 1);
    }
    cr_assert_eq(ckks_encode(c, &p, re, im, 2, c->scale, &err), 0);
    uint64_t coefficient[16];
    memcpy(coefficient, p.data, sizeof coefficient);
    ring_inverse(&c->ring[0], coefficient);
    for (int slot = 0, power = 1; slot < 8; slot++, power = power * 5 % 32) {
        double complex sum = 0;
        for (int i = 0; i < 16; i++) {
            double v = coefficient[i] > c->ring[0].q / 2 ? -(double)(c->ring[0].q - coefficient[i]) : (double)coefficient[i];
            sum += v * cexp(I * M_PI * power * i / 16);
        }
        cr_assert_lt(cabs(sum / c->scale - (re[slot] + I * im[slot])), 1e-10);
    }
    double back[8], back_im[8];
    cr_assert_eq(ckks_decode(c, &p, back, back_im, &err), 0);
    for (int i = 0; i < 8; i++)
        cr_assert_lt(cabs(back[i] - re[i] + I * (back_im[i] - im[i])), 1e-10);
    ckks_wipe_plain(&p);
    ckks_free(c);
}

Test(he_ckks, values_too_large_for_the_scale_are_refused)
{
    struct err err;
    struct rig *g = rig_new();
    struct ckks_plain p = {0};
    g->x[3] = 1e20;
    cr_assert_eq(ckks_encode(g->c, &p, g->x, NULL, 1, g->c->scale, &err), -1);
    cr_assert_eq(err.code, ERR_INPUT);
    g->x[3] = NAN;
    cr_assert_eq(ckks_encode(g->c, &p, g->x, NULL, 1, g->c->scale, &err), -1);
    cr_assert_null(p.data);
    rig_free(g);
}

/* ------------------------------------------------------------------ parameters */

Test(he_ckks, parameters_below_128_bit_security_are_refused)
{
    struct err err;
    struct ckks *c = NULL;
    struct ckks_params p = {.log_n = 13, .first_bits = 50, .scale_bits = 43, .count = 4, .special_bits = 50};
    cr_assert_eq(ckks_new(&c, &p, &err), -1); /* 229 > 218 */
    cr_assert_eq(err.code, ERR_USAGE);
    cr_assert_not_null(strstr(err.text, "218"));
    cr_assert_null(c);
    p.count = 3;
    cr_assert_eq(ckks_new(&c, &p, &err), 0);
    cr_assert_float_eq(c->log_qp, 186, 0.01);
    ckks_free(c);
    p.special_bits = 40;
    cr_assert_eq(ckks_new(&c, &p, &err), -1);
}

/* ------------------------------------------------------------------ operations */

Test(he_ckks, what_is_encrypted_decrypts_at_every_level)
{
    struct rig *g = rig_new();
    cr_assert_lt(off(g, &g->a, g->x), 1e-7);
    for (int level = g->c->count; level >= 1; level--) {
        ckks_seal(&g->e, &g->r, g->y, level);
        cr_assert_lt(off(g, &g->r, g->y), 1e-7);
        ckks_lower(&g->e, &g->a, level);
        cr_assert_lt(off(g, &g->a, g->x), 1e-7);
    }
    rig_free(g);
}

/* Both ways to encrypt. A second one of the same numbers is another ciphertext. */
Test(he_ckks, the_public_key_encrypts_too)
{
    struct err err;
    struct rig *g = rig_new();
    struct ckks_plain p = {0};
    cr_assert_eq(ckks_encode(g->c, &p, g->x, NULL, 4, g->c->scale, &err), 0);
    cr_assert_eq(ckks_encrypt(g->keys, &g->a, &p, &err), 0);
    cr_assert_eq(ckks_encrypt(g->keys, &g->b, &p, &err), 0);
    cr_assert_neq(memcmp(g->a.data, g->b.data, ckks_cipher_bytes(g->c, 2, 4)), 0);
    cr_assert_lt(off(g, &g->a, g->x), 1e-6);
    cr_assert_gt(off(g, &g->a, g->x), 0);
    cr_assert_eq(ckks_encrypt_own(g->keys, &g->b, &p, NULL, &err), 0);
    cr_assert_lt(off(g, &g->b, g->x), 1e-7);
    cr_assert_neq(memcmp(g->a.data + 4 * g->c->n, g->b.data + 4 * g->c->n, ckks_cipher_bytes(g->c, 1, 4)), 0);
    ckks_wipe_plain(&p);
    rig_free(g);
}

/* What decrypting adds to the plaintext is the error of the standard's deviation: 21 / 2 is its square. None would be no encryption, much more no use. */
Test(he_ckks, sealed_numbers_carry_the_standard_error)
{
    struct err err;
    struct rig *g = rig_new();
    struct ckks_plain p = {0}, q = {0};
    double square = 0, mean = 0;
    cr_assert_eq(ckks_encode(g->c, &p, g->x, NULL, 1, g->c->scale, &err), 0);
    cr_assert_eq(ckks_encrypt_own(g->keys, &g->a, &p, NULL, &err), 0);
    cr_assert_eq(ckks_decrypt(g->keys, &q, &g->a, &err), 0);
    const struct ring *r = &g->c->ring[0];
    for (size_t i = 0; i < g->c->n; i++)
        q.data[i] = ring_sub(q.data[i], p.data[i], r->q);
    ring_inverse(r, q.data);
    for (size_t i = 0; i < g->c->n; i++) {
        double e = q.data[i] > r->q / 2 ? -(double)(r->q - q.data[i]) : (double)q.data[i];
        cr_assert_leq(fabs(e), 21);
        mean += e / (double)g->c->n;
        square += e * e / (double)g->c->n;
    }
    cr_assert_lt(fabs(mean), 0.8);
    cr_assert(square > 7.5 && square < 14, "%g", square);
    ckks_wipe_plain(&p);
    ckks_wipe_plain(&q);
    rig_free(g);
}

Test(he_ckks, a_wrong_secret_decrypts_to_nothing_like_it)
{
    struct err err;
    struct rig *g = rig_new();
    struct ckks_keys *other, *own = g->keys;
    cr_assert_eq(ckks_keys_new(&other, g->c, &err), 0);
    g->e.keys = other;
    cr_assert_gt(off(g, &g->a, g->x), 1e3);
    g->e.keys = own;
    ckks_keys_free(other);
    rig_free(g);
}

Test(he_ckks, sums_and_differences)
{
    struct rig *g = rig_new();
    double want[SLOTS], less[SLOTS];
    for (size_t i = 0; i < SLOTS; i++) {
        want[i] = g->x[i] + g->y[i];
        less[i] = g->y[i] - g->x[i];
    }
    ckks_add(&g->e, &g->r, &g->a, &g->b);
    cr_assert_lt(off(g, &g->r, want), 2e-7);
    ckks_sub(&g->e, &g->r, &g->b, &g->a);
    cr_assert_lt(off(g, &g->r, less), 2e-7);
    ckks_add(&g->e, &g->b, &g->b, &g->a); /* in place */
    cr_assert_lt(off(g, &g->b, want), 2e-7);
    ckks_add_plain(&g->e, &g->a, g->y);
    cr_assert_lt(off(g, &g->a, want), 2e-7);
    ckks_add_constant(&g->e, &g->a, -1.5);
    for (size_t i = 0; i < SLOTS; i++)
        want[i] -= 1.5;
    cr_assert_lt(off(g, &g->a, want), 2e-7);
    rig_free(g);
}

Test(he_ckks, products_with_plaintexts_come_out_at_the_scale)
{
    struct rig *g = rig_new();
    double want[SLOTS];
    for (size_t i = 0; i < SLOTS; i++)
        want[i] = g->x[i] * g->y[i];
    ckks_mul_plain(&g->e, &g->r, &g->a, g->y, 5, ckks_plain_scale(&g->e, &g->a, 5), false);
    cr_assert_lt(off(g, &g->r, want), 1e-6);
    ckks_mul_plain(&g->e, &g->r, &g->a, g->y, 5, ckks_plain_scale(&g->e, &g->a, 5), true);
    ckks_rescale(&g->e, &g->r);
    cr_assert_float_eq(g->r.scale, g->c->scale, 1);
    for (size_t i = 0; i < SLOTS; i++)
        want[i] *= 2;
    cr_assert_lt(off(g, &g->r, want), 1e-6);
    ckks_mul_constant(&g->e, &g->r, &g->r, -0.75, ckks_plain_scale(&g->e, &g->r, g->r.level));
    ckks_rescale(&g->e, &g->r);
    for (size_t i = 0; i < SLOTS; i++)
        want[i] *= -0.75;
    cr_assert_lt(off(g, &g->r, want), 1e-6);
    rig_free(g);
}

Test(he_ckks, products_of_ciphertexts_before_and_after_relinearisation)
{
    struct rig *g = rig_new();
    double want[SLOTS];
    for (size_t i = 0; i < SLOTS; i++)
        want[i] = g->x[i] * g->y[i];
    ckks_mul(&g->e, &g->r, &g->a, &g->b, false);
    cr_assert_eq(g->r.parts, 3);
    cr_assert_lt(off(g, &g->r, want), 1e-6);
    ckks_relin(&g->e, &g->r);
    cr_assert_eq(g->r.parts, 2);
    cr_assert_lt(off(g, &g->r, want), 1e-6);
    ckks_rescale(&g->e, &g->r);
    cr_assert_lt(off(g, &g->r, want), 1e-6);
    rig_free(g);
}

Test(he_ckks, products_add_up_and_take_the_lower_level)
{
    struct rig *g = rig_new();
    double want[SLOTS];
    for (size_t i = 0; i < SLOTS; i++)
        want[i] = 2 * g->x[i] * g->y[i];
    ckks_lower(&g->e, &g->b, 3);
    ckks_mul(&g->e, &g->r, &g->a, &g->b, false);
    cr_assert_eq(g->r.level, 3);
    ckks_mul(&g->e, &g->r, &g->b, &g->a, true);
    cr_assert_lt(off(g, &g->r, want), 1e-6);
    ckks_mul_plain(&g->e, &g->r, &g->a, g->y, 2, g->c->scale, false); /* x at five primes, the product at two */
    cr_assert_eq(g->r.level, 2);
    for (size_t i = 0; i < SLOTS; i++)
        want[i] /= 2;
    cr_assert_lt(off(g, &g->r, want), 1e-6);
    rig_free(g);
}

Test(he_ckks, polynomials_in_as_few_levels_as_the_degree_has_bits)
{
    static const double c[] = {0.5, -1, 0.25, 2, -0.125, 0, 1.5, -0.75, 0.0625};
    static const int degrees[] = {1, 2, 3, 4, 5, 7, 8}, levels[] = {1, 2, 2, 3, 3, 3, 4};
    struct rig *g = rig_new();
    double want[SLOTS];
    for (size_t i = 0; i < SLOTS; i++)
        g->x[i] /= 3;
    for (size_t k = 0; k < sizeof degrees / sizeof *degrees; k++) {
        for (size_t i = 0; i < SLOTS; i++) {
            want[i] = 0;
            for (int d = degrees[k]; d >= 0; d--)
                want[i] = want[i] * g->x[i] + c[d];
        }
        ckks_seal(&g->e, &g->a, g->x, 5);
        ckks_poly(&g->e, &g->r, &g->a, c, degrees[k]);
        cr_assert_eq(g->r.level, 5 - levels[k], "degree %d: level %d", degrees[k], g->r.level);
        cr_assert_lt(off(g, &g->r, want), 3e-6);
    }
    rig_free(g);
}

/* Down to the last prime: every rescale and every key of every level. */
Test(he_ckks, powers_down_to_the_last_prime)
{
    struct rig *g = rig_new();
    double want[SLOTS];
    for (size_t i = 0; i < SLOTS; i++)
        want[i] = g->y[i] = g->y[i] / 2.1;
    ckks_seal(&g->e, &g->r, g->y, g->c->count);
    while (g->r.level > 1) {
        ckks_times(&g->e, &g->r, &g->r, &g->r);
        for (size_t i = 0; i < SLOTS; i++)
            want[i] *= want[i];
        cr_assert_lt(off(g, &g->r, want), 1e-6);
    }
    rig_free(g);
}

/* A rescale that cut instead of rounding would be half a unit off on average: the mean of the differences shows it. */
Test(he_ckks, rescale_rounds_and_does_not_cut)
{
    struct rig *g = rig_new();
    struct err err;
    struct ckks_plain p = {0};
    double mean = 0;
    memset(g->x, 0, sizeof g->x);
    cr_assert_eq(ckks_encode(g->c, &p, g->x, NULL, 2, 1, &err), 0);
    /* every coefficient is 3/4 of the prime: rounded 1, cut 0 */
    uint64_t v = g->c->ring[1].q / 4 * 3;
    for (int l = 0; l < 2; l++) {
        for (size_t i = 0; i < g->c->n; i++)
            p.data[(size_t)l * g->c->n + i] = v % g->c->ring[l].q;
        ring_forward(&g->c->ring[l], p.data + (size_t)l * g->c->n);
    }
    struct ckks_cipher x = {malloc(ckks_cipher_bytes(g->c, 2, 2)), 2, 2, 1};
    memcpy(x.data, p.data, ckks_cipher_bytes(g->c, 1, 2));
    memset(x.data + 2 * g->c->n, 0, ckks_cipher_bytes(g->c, 1, 2));
    ckks_rescale(&g->e, &x);
    ring_inverse(&g->c->ring[0], x.data);
    for (size_t i = 0; i < g->c->n; i++)
        mean += (double)x.data[i] / (double)g->c->n;
    cr_assert_float_eq(mean, 1, 1e-9);
    ckks_wipe_cipher(&x);
    ckks_wipe_plain(&p);
    rig_free(g);
}

Test(he_ckks, rotate_is_cyclic)
{
    static const int steps[] = {1, 2, 7, 100, -1, -3, (int)SLOTS - 1};
    struct rig *g = rig_new();
    double want[SLOTS];
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        for (size_t i = 0; i < SLOTS; i++)
            want[i] = g->x[(i + SLOTS + (size_t)(steps[s] + (int)SLOTS)) % SLOTS];
        ckks_rotate(&g->e, &g->r, &g->a, steps[s]);
        cr_assert_lt(off(g, &g->r, want), 2e-7);
    }
    cr_assert_eq(g->keys->turn_count, 6); /* -1 and slots - 1 are the same key */
    ckks_lower(&g->e, &g->r, 2);
    ckks_rotate(&g->e, &g->r, &g->r, 1);
    cr_assert_lt(off(g, &g->r, g->x), 3e-7);
    rig_free(g);
}

/* A counted run keeps levels and scales and counts what a real one counts. */
Test(he_ckks, counted_run_counts_as_a_real_one)
{
    struct err err;
    struct rig *g = rig_new();
    struct ckks_eval dry;
    cr_assert_eq(ckks_eval_init(&dry, g->c, NULL, &err), 0);
    struct ckks_cipher a = {0}, b = {0};
    struct ckks_eval *both[] = {&g->e, &dry};
    struct ckks_cipher *xs[2][2] = {{&g->a, &g->b}, {&a, &b}};
    memset(&g->e.tally, 0, sizeof g->e.tally);
    for (int k = 0; k < 2; k++) {
        ckks_seal(both[k], xs[k][0], k == 0 ? g->x : NULL, 5);
        ckks_rotate(both[k], xs[k][1], xs[k][0], 3);
        ckks_times(both[k], xs[k][1], xs[k][0], xs[k][1]);
        ckks_add_constant(both[k], xs[k][1], 2);
        ckks_mul_plain(both[k], xs[k][1], xs[k][1], k == 0 ? g->y : NULL, 3, ckks_plain_scale(both[k], xs[k][1], 3), false);
        ckks_lower(both[k], xs[k][1], 2);
        ckks_open(both[k], k == 0 ? g->got : NULL, xs[k][1]);
    }
    cr_assert_eq(memcmp(g->e.tally.count, dry.tally.count, sizeof dry.tally.count), 0);
    cr_assert_eq(g->e.tally.up, dry.tally.up);
    cr_assert_eq(g->e.tally.down, dry.tally.down);
    cr_assert_eq(dry.tally.count[CKKS_ROTATE][5], 1);
    cr_assert_float_eq(b.scale, g->b.scale, 1e-3);
    rig_free(g);
}
