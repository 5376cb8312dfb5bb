/* permute/walk and permute/gauge: rotations that are rotations, and pairs of transforms that undo each other.
 * Mutations: an angle's sign, a round left out on the way back, A in place of A^-T, a scale that is not inverted, the all-ones
 * direction that is turned away, pairs (2i, 2i+1) in place of (i, i + half). */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "permute/gauge.h"

enum { N = 97 };

static struct err err;

static void fill(uint8_t key[CRYPTO_KEY_LEN], int seed)
{
    memset(key, seed, CRYPTO_KEY_LEN);
}

static struct walk walk_of(uint32_t n, int seed)
{
    uint8_t key[CRYPTO_KEY_LEN];
    struct walk w;
    fill(key, seed);
    cr_assert_eq(walk_random(&w, n, key, &err), 0, "%s", err.text);
    return w;
}

/* Numbers of order one that are no pattern. */
static double number(int i)
{
    return sin(1.7 * i + 0.3) + 0.2 * cos(31.0 * i);
}

static double dot(const double *a, const double *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

Test(gauge, a_walk_is_orthogonal)
{
    static double q[N][N];
    struct walk w = walk_of(N, 1);
    for (int i = 0; i < N; i++) {
        q[i][i] = 1;
        walk_turn(&w, q[i]);
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            cr_assert_float_eq(dot(q[i], q[j], N), i == j ? 1 : 0, 1e-13, "%d, %d", i, j);
    walk_wipe(&w);
}

Test(gauge, the_way_back_is_the_inverse)
{
    for (uint32_t n = 0; n <= 70; n++) {
        double x[70];
        struct walk w = walk_of(n, 2);
        for (uint32_t i = 0; i < n; i++)
            x[i] = number((int)i);
        walk_turn(&w, x);
        walk_back(&w, x);
        for (uint32_t i = 0; i < n; i++)
            cr_assert_float_eq(x[i], number((int)i), 1e-13, "n %u", n);
        walk_wipe(&w);
    }
}

/* One coordinate ends up everywhere: no entry of a row of Q is large (a uniformly random one has sqrt(2 ln n / n)), and the sum of
 * its fourth powers is that of a random direction, 3 / (n + 2). */
Test(gauge, a_walk_spreads_each_coordinate)
{
    enum { WIDE = 768 };
    double x[WIDE], fourth = 0, most = 0;
    for (int seed = 1; seed <= 20; seed++) {
        struct walk w = walk_of(WIDE, seed);
        memset(x, 0, sizeof x);
        x[seed * 31] = 1;
        walk_turn(&w, x);
        for (int i = 0; i < WIDE; i++) {
            fourth += pow(x[i], 4) / 20;
            most = fmax(most, fabs(x[i]));
        }
        walk_wipe(&w);
    }
    cr_expect_lt(most, 0.2, "%g", most);
    cr_expect_float_eq(fourth, 3.0 / (WIDE + 2), 0.15 * 3.0 / (WIDE + 2), "%g", fourth);
}

/* Old keys must open new packages. */
Test(gauge, walks_are_fixed_for_ever)
{
    double x[5] = {1, 2, 3, 4, 5};
    struct walk w = walk_of(5, 7);
    walk_turn(&w, x);
    cr_expect_eq(w.rounds, 14);
    const double found[5] = {x[0], x[1], x[2], x[3], x[4]}, want[5] = {-3.063684663766522, 3.3115962110082031, 2.8513472315860966, -4.3036966777179781, 2.8275750542405551};
    for (int i = 0; i < 5; i++)
        cr_expect_float_eq(found[i], want[i], 1e-12, "%d: %.17g", i, found[i]);
    walk_wipe(&w);
}

Test(gauge, ends_of_another_key_differ)
{
    uint8_t key[CRYPTO_KEY_LEN];
    struct gauge_end a, b;
    double x[16] = {1}, y[16] = {1};
    fill(key, 1);
    cr_assert_eq(gauge_end_new(&a, 16, false, key, &err), 0);
    fill(key, 2);
    cr_assert_eq(gauge_end_new(&b, 16, false, key, &err), 0);
    gauge_end_turn(&a, x);
    gauge_end_turn(&b, y);
    cr_expect_neq(a.c, b.c);
    cr_expect(a.c >= 0.25 && a.c <= 4 && b.c >= 0.25 && b.c <= 4);
    cr_expect_gt(fabs(x[0] - y[0]) + fabs(x[1] - y[1]), 1e-3);
    gauge_end_wipe(&a);
    gauge_end_wipe(&b);
}

/* For LayerNorm: what has no mean keeps none, lengths stay, and a mean is dropped. */
Test(gauge, layer_norm_ends_keep_the_ones_direction)
{
    uint8_t key[CRYPTO_KEY_LEN];
    struct gauge_end g;
    double x[24], y[24], mean = 0, sum = 0;
    fill(key, 3);
    cr_assert_eq(gauge_end_new(&g, 24, true, key, &err), 0);
    for (int i = 0; i < 24; i++)
        mean += number(i) / 24;
    for (int i = 0; i < 24; i++)
        x[i] = number(i);
    memcpy(y, x, sizeof y);
    gauge_end_turn(&g, x);
    for (int i = 0; i < 24; i++) {
        y[i] -= mean;
        sum += x[i];
    }
    cr_expect_float_eq(sum, 0, 1e-13);
    cr_expect_float_eq(dot(x, x, 24), dot(y, y, 24), 1e-12);
    cr_expect_gt(fabs(x[0] - y[0]), 1e-3);
    gauge_end_back(&g, x);
    for (int i = 0; i < 24; i++)
        cr_expect_float_eq(x[i], y[i], 1e-13);
    gauge_end_wipe(&g);
}

/* What is seen by a row on its way there is seen by it on the way back. Mutation: a mean that the way back keeps. */
Test(gauge, the_way_back_is_the_transpose)
{
    for (int layer_norm = 0; layer_norm < 2; layer_norm++) {
        uint8_t key[CRYPTO_KEY_LEN];
        struct gauge_end g;
        double x[24], y[24], there[24], back[24];
        fill(key, 3);
        cr_assert_eq(gauge_end_new(&g, 24, layer_norm != 0, key, &err), 0);
        for (int i = 0; i < 24; i++) {
            x[i] = there[i] = 1 + number(i);
            y[i] = back[i] = 2 + number(i + 40);
        }
        gauge_end_turn(&g, there);
        gauge_end_back(&g, back);
        cr_expect_float_eq(dot(there, y, 24), dot(x, back, 24), 1e-11);
        gauge_end_wipe(&g);
    }
}

Test(gauge, rows_come_back)
{
    uint8_t key[CRYPTO_KEY_LEN];
    struct gauge_end g;
    float x[3 * 24];
    fill(key, 3);
    cr_assert_eq(gauge_end_new(&g, 24, false, key, &err), 0);
    for (int i = 0; i < 72; i++)
        x[i] = (float)number(i);
    cr_assert_eq(gauge_end_rows(&g, x, 3, &err), 0);
    for (int i = 0; i < 72; i++)
        x[i] = (float)((double)x[i] / g.c); /* as a norm does */
    cr_assert_eq(gauge_end_rows_back(&g, x, 3, &err), 0);
    for (int i = 0; i < 72; i++)
        cr_expect_float_eq((double)x[i], number(i), 1e-6);
    gauge_end_wipe(&g);
}

/* ------------------------------------------------------------------ heads */

static struct keyset *keys_of(int K, int rotary)
{
    struct keyset *ks;
    uint8_t seed[CRYPTO_KEY_LEN];
    const struct key_shape shape = {.D = 64, .H = 4, .G = 2, .K = K, .F = 50, .outputs = 10, .rotary = rotary};
    fill(seed, 9);
    cr_assert_eq(keyset_new(&ks, &shape, seed, &err), 0);
    return ks;
}

/* Rotary positions: dims i and i + rotary/2 turn together. */
static void at_position(double *x, int rotary, int position)
{
    for (int i = 0; i < rotary / 2; i++) {
        double turn = position * pow(10000, -2.0 * i / rotary), a = x[i], b = x[i + rotary / 2];
        x[i] = a * cos(turn) - b * sin(turn);
        x[i + rotary / 2] = a * sin(turn) + b * cos(turn);
    }
}

Test(gauge, scores_and_values_of_a_head_stay)
{
    enum { K = 12 };
    static const int rotaries[] = {0, 4, 12};
    for (int r = 0; r < 3; r++) {
        struct keyset *ks = keys_of(K, rotaries[r]);
        struct gauge_head g;
        double q[K], k[K], v[K], w[K], q0[K], k0[K];
        cr_assert_eq(gauge_head_new(&g, ks, K, rotaries[r], 1, 1, &err), 0);
        for (int i = 0; i < K; i++) {
            q[i] = q0[i] = number(i);
            k[i] = k0[i] = number(i + 50);
            v[i] = number(i + 80);
            w[i] = number(i + 120);
        }
        const double mixed = dot(v, w, K);
        gauge_query(&g, q);
        gauge_key(&g, k);
        gauge_value(&g, v);
        gauge_mix(&g, w);
        cr_expect_gt(fabs(q[0] - q0[0]), 1e-3);
        cr_expect_gt(fabs(v[0] - number(80)), 1e-3);
        at_position(q, rotaries[r], 31);
        at_position(k, rotaries[r], 8);
        at_position(q0, rotaries[r], 31);
        at_position(k0, rotaries[r], 8);
        cr_expect_float_eq(dot(q, k, K), dot(q0, k0, K), 1e-12, "rotary %d", rotaries[r]);
        cr_expect_float_eq(dot(v, w, K), mixed, 1e-12);
        gauge_head_wipe(&g);
        keyset_free(ks);
    }
}

Test(gauge, ups_have_both_signs_and_stay_near_one)
{
    struct keyset *ks = keys_of(8, 8);
    double scale[50];
    int negative = 0;
    cr_assert_eq(gauge_ups(scale, ks, 50, 0, &err), 0);
    for (int i = 0; i < 50; i++) {
        negative += scale[i] < 0;
        cr_expect(fabs(scale[i]) >= 0.5 && fabs(scale[i]) <= 2);
    }
    cr_expect(negative > 10 && negative < 40, "%d", negative);
    keyset_free(ks);
}

static void known(const char *what, const double *found, const double *want, int n)
{
    for (int i = 0; i < n; i++)
        cr_expect_float_eq(found[i], want[i], 1e-12, "%s %d: %.17g", what, i, found[i]);
}

/* Old keys must open new packages, and a key that is weaker than it was would do that too. Expected values from a separate Python program
 * (hmac and hashlib for HKDF, own ChaCha20). Mutations: any label, one of the two rotations of a bend or its scales left out, scales
 * from one up, the value's key for the query's, a key that is all zeros, 52 bits of a word for 53. */
Test(gauge, keys_equal_an_independent_implementation)
{
    enum { K = 8 };
    static const double want[4][K] = {
        {0.089118087023244807, 4.4638088627716153, 2.2916051017292944, -1.4146823056810658, 3.8737089651056973, -8.5164196102044887, 4.390879375103423,
         -1.1827981736499145},
        {0.16944547897684198, 4.0715337682392034, 4.3571640399665839, -1.2903614280954154, 8.5863864404062635, -17.718863000713188,
         -3.4788227167586845, -4.3225095952050472},
        {1.5062802614489292, -0.059856345837439928, -0.83695578301051521, 2.1377573563673145, 8.6595187333339041, -4.3848450298569617,
         -8.8146486980408465, -1.9579004082739393},
        {10.979654161572029, 7.2049369874613838, 0.45372585101902685, 5.4578990187967147, 3.4595696496195725, -2.7754964853148567,
         -14.499313387304253, -3.4068257490871456}};
    static void (*const ways[])(const struct gauge_head *g, double *x) = {gauge_query, gauge_key, gauge_value, gauge_mix};
    static const char *const names[] = {"query", "key", "value", "mix"};
    static const double ups[] = {1.3866004620466568, -0.77183614146971669, -1.0499756491681973, 1.7882422665954378, -1.4619662771449269,
                                 0.68937816323076251, -0.5461061623530542, -0.78564571521731441};
    static const double c = 3.3350671661649693;
    static const double end[] = {-1.7555032172983367, -3.2009117757842844, 3.1301483325414483, 4.7346606082890563, -3.0753101629436648};
    static const double layer_norm[] = {-2.1444330276698875, -1.2712617410869258, -0.73882275303827094, 0.2474059375564166, -0.15343313578575923,
                                        4.0605447200244269};
    struct keyset *ks = keys_of(K, 4);
    struct gauge_head g;
    struct gauge_end e;
    uint8_t key[CRYPTO_KEY_LEN];
    double x[K];
    cr_assert_eq(gauge_head_new(&g, ks, K, 4, 1, 1, &err), 0);
    for (int way = 0; way < 4; way++) {
        for (int i = 0; i < K; i++)
            x[i] = i + 1;
        ways[way](&g, x);
        known(names[way], x, want[way], K);
    }
    gauge_head_wipe(&g);
    cr_assert_eq(gauge_ups(x, ks, 8, 2, &err), 0);
    known("ups", x, ups, 8);
    keyset_free(ks);
    fill(key, 7);
    for (int norm = 0; norm < 2; norm++) {
        double row[] = {1, 2, 3, 4, 5, 7};
        cr_assert_eq(gauge_end_new(&e, 5 + norm, norm != 0, key, &err), 0);
        gauge_end_turn(&e, row);
        known("scale of the residual", &e.c, &c, 1);
        known(norm != 0 ? "end for LayerNorm" : "end", row, norm != 0 ? layer_norm : end, 5 + norm);
        gauge_end_wipe(&e);
    }
}

/* ------------------------------------------------------------------ norms of what a layer adds
 *
 * Gemma 2 and 3 add g * rms(o). The server is to add c (g * rms(o)) R, and has o A and gains g' to make it with. Equal lengths for
 * all o make A orthogonal up to a factor, which rms takes away, so A diag(g') = c diag(g) R and, A A^T being 1,
 * R^T diag(1/g^2) R = c^2 diag(1/g'^2): a diagonal matrix. How far from one is it? */

/* Share of what stands beside the diagonal. */
static double beside_diagonal(const double *gain, void (*turn)(const struct gauge_end *g, double *x), const struct gauge_end *g)
{
    enum { D = 48 };
    static double r[D][D];
    double beside = 0, all = 0;
    for (int i = 0; i < D; i++) {
        memset(r[i], 0, sizeof r[i]);
        r[i][i] = 1;
        turn(g, r[i]);
    }
    for (int a = 0; a < D; a++)
        for (int b = 0; b < D; b++) {
            double sum = 0;
            for (int i = 0; i < D; i++)
                sum += r[i][a] * r[i][b] / (gain[i] * gain[i]);
            all += sum * sum;
            beside += a == b ? 0 : sum * sum;
        }
    return beside / all;
}

/* A signed permutation of 48. */
static void swap(const struct gauge_end *g, double *x)
{
    double y[48];
    (void)g;
    for (int i = 0; i < 48; i++)
        y[i * 5 % 48] = i % 3 == 0 ? -x[i] : x[i];
    memcpy(x, y, sizeof y);
}

Test(gauge, gains_of_added_parts_let_signed_permutations_pass_and_no_rotation)
{
    double gain[48], equal[48];
    struct gauge_end g;
    uint8_t key[CRYPTO_KEY_LEN];
    fill(key, 3);
    cr_assert_eq(gauge_end_new(&g, 48, false, key, &err), 0);
    for (int i = 0; i < 48; i++) {
        gain[i] = 1 + 0.4 * number(i);
        equal[i] = i % 2 == 0 ? 1.3 : -1.3;
    }
    cr_expect_lt(beside_diagonal(equal, gauge_end_turn, &g), 1e-20); /* gains of one size would not mind */
    cr_expect_lt(beside_diagonal(gain, swap, NULL), 1e-20);
    cr_expect_gt(beside_diagonal(gain, gauge_end_turn, &g), 0.1);
    gauge_end_wipe(&g);
}
