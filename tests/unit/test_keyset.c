/* permute/keyset: known answers, the structure that keeps heads whole, and what a user may re-make. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <string.h>

#include "permute/keyset.h"

static struct keyset *make(const struct key_shape *shape)
{
    struct keyset *ks = NULL;
    uint8_t seed[CRYPTO_KEY_LEN];
    for (int i = 0; i < CRYPTO_KEY_LEN; i++)
        seed[i] = (uint8_t)(100 + i);
    cr_assert_eq(keyset_new(&ks, shape, seed, NULL), 0);
    return ks;
}

static struct perm get(const struct keyset *ks, enum key key, int layer)
{
    struct perm p = {0};
    struct err err = {0};
    cr_assert_eq(keyset_perm(ks, key, layer, &p, &err), 0, "%s", err.text);
    return p;
}

static const struct key_shape SMALL = {.D = 8, .H = 6, .G = 2, .K = 4, .F = 6, .outputs = 5, .rotary = 2, .experts = 7};

/* Expected values from a separate Python program (hmac and hashlib for HKDF, own ChaCha20). Layer 2 of this seed swaps
 * the groups, the heads and the dims, and in layer 4 the two groups order theirs differently, so a changed label or a changed nesting of
 * the three orders shows (tried: the labels of value-dims and query-dims exchanged; heads outside groups; any label without its layer
 * or its group). A change here makes every old key useless. */
Test(keyset, equals_an_independent_implementation)
{
    static const struct {
        enum key key;
        int layer;
        uint32_t n, to[24];
    } known[] = {
        {KEY_RESIDUAL, 0, 8, {6, 1, 7, 0, 4, 2, 3, 5}},
        {KEY_OUTPUT, 0, 5, {2, 0, 3, 1, 4}},
        {KEY_POOL, 0, 8, {3, 0, 7, 5, 6, 1, 4, 2}},
        {KEY_MLM, 0, 8, {7, 1, 5, 4, 0, 2, 3, 6}},
        {KEY_FFN, 2, 6, {0, 4, 3, 2, 1, 5}},
        {KEY_FFN, 3, 6, {5, 0, 3, 4, 2, 1}},
        {KEY_QUERY, 2, 24, {12, 13, 15, 14, 20, 21, 23, 22, 16, 17, 19, 18, 0, 1, 3, 2, 8, 9, 11, 10, 4, 5, 7, 6}},
        {KEY_KEY, 2, 8, {4, 5, 7, 6, 0, 1, 3, 2}},
        {KEY_VALUE, 2, 8, {6, 7, 5, 4, 3, 0, 2, 1}},
        {KEY_MIX, 2, 24, {14, 15, 13, 12, 22, 23, 21, 20, 18, 19, 17, 16, 3, 0, 2, 1, 11, 8, 10, 9, 7, 4, 6, 5}},
        {KEY_QUERY, 4, 24, {12, 13, 15, 14, 20, 21, 23, 22, 16, 17, 19, 18, 4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11}},
        {KEY_KEY, 4, 8, {4, 5, 7, 6, 0, 1, 2, 3}},
        {KEY_VALUE, 4, 8, {5, 6, 7, 4, 0, 1, 3, 2}},
        {KEY_MIX, 4, 24, {13, 14, 15, 12, 21, 22, 23, 20, 17, 18, 19, 16, 4, 5, 7, 6, 0, 1, 3, 2, 8, 9, 11, 10}},
        {KEY_EXPERTS, 2, 7, {0, 5, 6, 2, 1, 4, 3}},
        {KEY_EXPERTS, 3, 7, {2, 1, 4, 5, 0, 6, 3}},
    };
    struct keyset *ks = make(&SMALL);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct perm p = get(ks, known[i].key, known[i].layer);
        cr_assert_eq(p.n, known[i].n, "row %zu", i);
        for (uint32_t j = 0; j < p.n; j++)
            cr_expect_eq(p.to[j], known[i].to[j], "row %zu place %u", i, j);
        perm_wipe(&p);
    }
    keyset_free(ks);
}

/* Whatever the numbers of heads and groups: heads stay whole, a query head stands in the place of its group, all heads
 * of a group share one order of dims, rotary dims keep their place, O meets V. Catches a head order drawn anew for
 * KEY_MIX and dims drawn per head (both tried). */
Test(keyset, heads_stay_whole_and_meet_their_group)
{
    static const int groups[] = {1, 2, 4, 8};
    for (size_t g = 0; g < 4; g++)
        for (int rotary = 0; rotary <= 6; rotary += 3) {
            const struct key_shape s = {.D = 48, .H = 8, .G = groups[g], .K = 6, .F = 10, .outputs = 3, .rotary = rotary};
            struct keyset *ks = make(&s);
            const uint32_t K = 6, per_group = (uint32_t)(s.H / s.G), q = 48, kv = (uint32_t)s.G * K;
            struct perm query = get(ks, KEY_QUERY, 1), key = get(ks, KEY_KEY, 1), value = get(ks, KEY_VALUE, 1);
            struct perm mix = get(ks, KEY_MIX, 1), all = get(ks, KEY_QKV, 1);
            cr_assert(perm_valid(&query) && perm_valid(&key) && perm_valid(&value) && perm_valid(&mix) && perm_valid(&all));
            cr_assert(query.n == q && mix.n == q && key.n == kv && value.n == kv && all.n == q + 2 * kv);
            for (uint32_t at = 0; at < q; at++) {
                uint32_t head = at / K, dim = at % K, group = head / per_group;
                cr_assert_eq(query.to[at] / K, query.to[head * K] / K, "a head was torn");
                cr_assert_eq(query.to[at] / K, mix.to[at] / K, "Q and O disagree about the head");
                cr_assert_eq(query.to[at] / K / per_group, key.to[group * K] / K, "a head left its group");
                cr_assert_eq(query.to[at] % K, key.to[group * K + dim] % K, "Q and K disagree about the dims");
                cr_assert_eq(mix.to[at] % K, value.to[group * K + dim] % K, "V and O disagree about the dims");
                if ((int)dim < rotary)
                    cr_assert_eq(query.to[at] % K, dim, "a rotary dim moved");
            }
            for (uint32_t at = 0; at < kv; at++)
                cr_assert_eq(key.to[at] / K, value.to[at] / K, "K and V disagree about the group");
            for (uint32_t at = 0; at < all.n; at++)
                cr_assert_eq(all.to[at], at < q        ? query.to[at]
                                         : at < q + kv ? q + key.to[at - q]
                                                       : q + kv + value.to[at - q - kv]);
            perm_wipe(&query), perm_wipe(&key), perm_wipe(&value), perm_wipe(&mix), perm_wipe(&all);
            keyset_free(ks);
        }
}

/* Catches dims of V that follow those of Q, and a head torn between its three parts (both tried). */
Test(keyset, heads_fused_one_by_one_are_the_same_three_keys)
{
    const struct key_shape s = {.D = 48, .H = 8, .G = 8, .K = 6, .F = 10, .outputs = 3, .rotary = 2};
    struct keyset *ks = make(&s);
    struct perm parts[] = {get(ks, KEY_QUERY, 1), get(ks, KEY_KEY, 1), get(ks, KEY_VALUE, 1)}, all = get(ks, KEY_QKV_HEADS, 1);
    cr_assert(perm_valid(&all) && all.n == 3 * 48);
    for (uint32_t at = 0; at < all.n; at++) {
        uint32_t head = at / 18, part = at / 6 % 3, dim = at % 6, from = parts[part].to[head * 6 + dim];
        cr_assert_eq(all.to[at], from / 6 * 18 + part * 6 + from % 6, "place %u", at);
    }
    for (int i = 0; i < 3; i++)
        perm_wipe(&parts[i]);
    perm_wipe(&all);
    keyset_free(ks);
}

Test(keyset, gates_and_ups_share_one_order)
{
    struct keyset *ks = make(&SMALL);
    struct perm ffn = get(ks, KEY_FFN, 2), both = get(ks, KEY_GATE_UP, 2);
    cr_assert_eq(both.n, 12);
    for (uint32_t i = 0; i < 6; i++)
        cr_expect(both.to[i] == ffn.to[i] && both.to[6 + i] == 6 + ffn.to[i], "neuron %u", i);
    perm_wipe(&ffn), perm_wipe(&both);
    keyset_free(ks);
}

Test(keyset, a_user_re_makes_the_end_keys_and_no_other)
{
    static const enum key ends[] = {KEY_RESIDUAL, KEY_OUTPUT};
    struct keyset *ks = make(&SMALL);
    for (int i = 0; i < 2; i++) {
        uint8_t sub[CRYPTO_KEY_LEN];
        struct perm mine = {0}, theirs = get(ks, ends[i], 0);
        cr_assert_eq(keyset_end_key(ks, ends[i], sub, NULL), 0);
        cr_assert_eq(perm_random(&mine, theirs.n, sub, NULL), 0);
        cr_expect_arr_eq(mine.to, theirs.to, theirs.n * sizeof *mine.to);
        perm_wipe(&mine);
        perm_wipe(&theirs);
    }
    keyset_free(ks);
}

/* Mutation: the assertion left out. */
Test(keyset, an_inner_key_is_given_to_nobody, .signal = SIGABRT)
{
    uint8_t sub[CRYPTO_KEY_LEN];
    (void)!keyset_end_key(make(&SMALL), KEY_FFN, sub, NULL);
}

/* Equal keys in two places would let one known order open the other. */
Test(keyset, every_key_and_layer_has_its_own_order)
{
    const struct key_shape s = {.D = 64, .H = 64, .G = 64, .K = 1, .F = 64, .outputs = 64, .rotary = 0};
    struct keyset *ks = make(&s);
    static const enum key keys[] = {KEY_RESIDUAL, KEY_OUTPUT, KEY_POOL, KEY_MLM, KEY_FFN, KEY_KEY, KEY_FFN, KEY_KEY};
    static const int layer[] = {0, 0, 0, 0, 0, 0, 1, 1};
    struct perm p[8];
    for (int i = 0; i < 8; i++)
        p[i] = get(ks, keys[i], layer[i]);
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < i; j++)
            cr_expect_arr_neq(p[i].to, p[j].to, 64 * sizeof(uint32_t), "keys %d and %d are equal", j, i);
    for (int i = 0; i < 8; i++)
        perm_wipe(&p[i]);
    keyset_free(ks);
}

Test(keyset, refuses_shapes_that_no_model_has)
{
    const uint8_t seed[CRYPTO_KEY_LEN] = {0};
    struct key_shape bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = SMALL;
    bad[0].D = 0;
    bad[1].H = 5; /* not a multiple of G */
    bad[2].G = 0;
    bad[3].K = 1 << 30; /* H*K overflows */
    bad[4].F = -1;
    bad[5].outputs = 1 << 30;
    bad[6].rotary = 5; /* more than K */
    bad[7].G = 12;
    for (int i = 0; i < 8; i++) {
        struct keyset *ks = NULL;
        struct err err = {0};
        cr_expect_eq(keyset_new(&ks, &bad[i], seed, &err), -1, "row %d", i);
        cr_expect_eq(err.code, ERR_INPUT);
        cr_expect_null(ks);
        keyset_free(ks);
    }
}

Test(keyset, counts_the_bits_of_each_key)
{
    const struct key_shape s = {.D = 768, .H = 12, .G = 12, .K = 64, .F = 3072, .outputs = 2, .rotary = 64};
    struct keyset *ks = make(&s);
    cr_expect_float_eq(keyset_bits(ks, KEY_RESIDUAL), 6259, 1);
    cr_expect_float_eq(keyset_bits(ks, KEY_KEY), 28.8, 0.1); /* 12 heads alone: small, and said so */
    cr_expect_float_eq(keyset_bits(ks, KEY_OUTPUT), 1, 1e-9);
    cr_expect_float_eq(keyset_bits(ks, KEY_NONE), 0, 0);
    cr_expect_gt(keyset_bits(ks, KEY_VALUE), keyset_bits(ks, KEY_KEY));
    keyset_free(ks);
}
