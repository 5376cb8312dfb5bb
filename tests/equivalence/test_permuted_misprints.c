/* What the papers print is wrong in four places (docs: algebra). Each test runs the corrected transform, which must agree with
 * the plain model, then puts the printed one in its place, which must not: so an "obvious simplification" of the rules back to
 * the paper fails here with its name. Where the printed one is right in a special case, that case is the control. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/permuted.h"
#include "tests/support/kernel.h"
#include "tests/support/tempdir.h"

enum { T = 24, D = 48, V = 60, F = 64 };

#define RIGHT 1e-5
#define WRONG 1e-2

static char dir[FILE_PATH_MAX];
static struct err err;

static void setup(void)
{
    tempdir_make(dir);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(permuted_misprints, .init = setup, .fini = teardown);

static struct permuted open_model(const char *architecture, int H)
{
    const struct synth_shape s = {.D = D, .H = H, .L = 2, .V = V, .F = F, .untied = true};
    struct permuted p;
    protected_synth(dir, architecture, &s, 5);
    cr_assert_eq(permuted_open(&p, dir, "server", NULL, T, &err), 0, "%s", err.text);
    return p;
}

/* Largest difference of the outputs, in units of the largest output. */
static double difference(struct permuted *p)
{
    int32_t ids[T];
    float plain[T * V], permuted[T * V];
    double most = 0, scale = 0;
    synth_ids(ids, T, V, 2);
    permuted_restart(p);
    cr_assert_eq(plain_append(&p->plain, ids, NULL, T, T, plain, &err), 0, "%s", err.text);
    cr_assert_eq(permuted_append(p, ids, NULL, T, T, permuted, &err), 0, "%s", err.text);
    for (int i = 0; i < T * V; i++) {
        most = fmax(most, fabs((double)permuted[i] - (double)plain[i]));
        scale = fmax(scale, fabs((double)plain[i]));
    }
    return most / scale;
}

/* Rows [from, from+n) of a linear map of the server: plain row order[i] (or i) at place i, columns by the residual key. */
static void put_rows(struct permuted *p, struct linear *dst, const struct linear *src, int from, int n, const uint32_t *order)
{
    for (int i = 0; i < n; i++) {
        int to = from + i, row = from + (order == NULL ? i : (int)order[i]);
        for (int j = 0; j < src->w.in; j++)
            *kernel_element(&dst->w, to, j) = *kernel_element(&src->w, row, (int)p->residual.to[j]);
        if (src->b != NULL)
            dst->b[to] = src->b[row];
    }
}

/* Columns of O by `order`, rows by the residual key. */
static void put_mix(struct permuted *p, struct linear *dst, const struct linear *src, const uint32_t *order)
{
    for (int i = 0; i < src->w.out; i++)
        for (int j = 0; j < src->w.in; j++)
            *kernel_element(&dst->w, i, j) = *kernel_element(&src->w, (int)p->residual.to[i], (int)order[j]);
}

static struct perm random_order(uint32_t n)
{
    const uint8_t key[CRYPTO_KEY_LEN] = {8};
    struct perm r = {0};
    cr_assert_eq(perm_random(&r, n, key, NULL), 0);
    return r;
}

/* The dims of every head in one random order, heads in place. */
static struct perm order_inside_heads(int heads, int K)
{
    struct perm inside = random_order((uint32_t)K), r = {0};
    cr_assert_eq(perm_identity(&r, (uint32_t)(heads * K), NULL), 0);
    for (uint32_t i = 0; i < r.n; i++)
        r.to[i] = i / (uint32_t)K * (uint32_t)K + inside.to[i % (uint32_t)K];
    perm_wipe(&inside);
    return r;
}

enum where { QUERY_KEY, VALUE_OUTPUT };

/* Q and K, or V and O, of every layer in the order r; the other pair in plain order, which is a right one too. */
static double with_order(struct permuted *p, enum where where, const struct perm *r)
{
    const int n = p->plain.config->H * p->plain.config->K;
    struct perm same = {0};
    cr_assert_eq(perm_identity(&same, (uint32_t)n, NULL), 0);
    cr_assert_eq(p->plain.config->H, p->plain.config->G);
    for (int l = 0; l < p->plain.config->L; l++) {
        struct net_layer *dst = &p->net->layers[l];
        const struct net_layer *src = &p->plain.net->layers[l];
        const uint32_t *qk = where == QUERY_KEY ? r->to : NULL, *vo = where == VALUE_OUTPUT ? r->to : same.to;
        put_rows(p, &dst->qkv, &src->qkv, 0, n, qk);
        put_rows(p, &dst->qkv, &src->qkv, n, n, qk);
        put_rows(p, &dst->qkv, &src->qkv, 2 * n, n, vo);
        put_mix(p, &dst->o, &src->o, vo);
    }
    perm_wipe(&same);
    return difference(p);
}

/* Printed: one free D x D permutation for Q and K. That is right for one head, and mixes heads when there are more. */
Test(permuted_misprints, a_free_permutation_of_query_and_key_columns_is_wrong_across_heads)
{
    struct perm r = random_order(D);
    for (int H = 1; H <= 4; H *= 4) {
        struct permuted p = open_model("GPT2LMHeadModel", H);
        cr_expect_lt(difference(&p), RIGHT);
        double d = with_order(&p, QUERY_KEY, &r);
        cr_expect(H == 1 ? d < RIGHT : d > WRONG, "%d heads: %g", H, d);
        permuted_close(&p);
    }
    perm_wipe(&r);
}

/* Printed: another free one for V and O. */
Test(permuted_misprints, a_free_permutation_of_value_and_output_columns_is_wrong_across_heads)
{
    struct perm r = random_order(D);
    for (int H = 1; H <= 4; H *= 4) {
        struct permuted p = open_model("GPT2LMHeadModel", H);
        double d = with_order(&p, VALUE_OUTPUT, &r);
        cr_expect(H == 1 ? d < RIGHT : d > WRONG, "%d heads: %g", H, d);
        permuted_close(&p);
    }
    perm_wipe(&r);
}

/* Rotary positions turn dim i with dim i + K/2 at a frequency of its own: the order inside a head is part of the model. For V,
 * and for models without rotary positions, it is free. */
Test(permuted_misprints, dims_permuted_inside_a_rotary_head_are_wrong)
{
    const int H = 4;
    struct perm r = order_inside_heads(H, D / H);
    struct permuted p = open_model("GPT2LMHeadModel", H);
    cr_expect_lt(with_order(&p, QUERY_KEY, &r), RIGHT, "no rotary positions: free");
    permuted_close(&p);
    p = open_model("LlamaForCausalLM", H);
    cr_expect_lt(difference(&p), RIGHT);
    cr_expect_gt(with_order(&p, QUERY_KEY, &r), WRONG);
    cr_expect_lt(with_order(&p, VALUE_OUTPUT, &r), RIGHT, "values carry no position: free");
    permuted_close(&p);
    perm_wipe(&r);
}

/* Printed: the gate without the key of the neurons. Each gate then meets another neuron's up. */
Test(permuted_misprints, a_gate_without_the_feed_forward_key_is_wrong)
{
    struct permuted p = open_model("LlamaForCausalLM", 4);
    cr_expect_lt(difference(&p), RIGHT);
    for (int l = 0; l < 2; l++)
        put_rows(&p, &p.net->layers[l].up, &p.plain.net->layers[l].up, 0, F, NULL);
    cr_expect_gt(difference(&p), WRONG);
    /* Without the key on gate, up and down alike it is right again: what is wrong is the one without the others. */
    for (int l = 0; l < 2; l++) {
        struct perm none = {0};
        cr_assert_eq(perm_identity(&none, F, NULL), 0);
        put_rows(&p, &p.net->layers[l].up, &p.plain.net->layers[l].up, 0, 2 * F, NULL);
        put_mix(&p, &p.net->layers[l].down, &p.plain.net->layers[l].down, none.to);
        perm_wipe(&none);
    }
    cr_expect_lt(difference(&p), RIGHT);
    permuted_close(&p);
}

/* Published code leaves the gains of the norms as they are, which is right only when all of them are equal. */
static void check_norms(const char *architecture)
{
    struct permuted p = open_model(architecture, 4);
    cr_expect_lt(difference(&p), RIGHT);
    for (int l = 0; l < 2; l++)
        memcpy(p.net->layers[l].attn_norm.w, p.plain.net->layers[l].attn_norm.w, D * sizeof(float));
    cr_expect_gt(difference(&p), WRONG, "%s", architecture);
    for (int l = 0; l < 2; l++)
        for (int j = 0; j < D; j++)
            p.net->layers[l].attn_norm.w[j] = p.plain.net->layers[l].attn_norm.w[j] = 1.0f;
    cr_expect_lt(difference(&p), RIGHT, "%s with gains of 1 cannot tell", architecture);
    permuted_close(&p);
}

Test(permuted_misprints, norm_gains_left_in_plain_order_are_wrong)
{
    check_norms("LlamaForCausalLM");
    check_norms("GPT2LMHeadModel");
    check_norms("BertForMaskedLM");
}
