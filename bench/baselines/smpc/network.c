#include "bench/baselines/smpc/network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "bench/baselines/smpc/material.h"

#define OWNER 0 /* of the weights */
#define USER 1  /* of the rows */

struct layer {
    struct share qkv_w, qkv_b, o_w, o_b, up_w, up_b, down_w, down_b; /* matrices [in,out] */
    struct share attn_gain, attn_bias, mlp_gain, mlp_bias;
    struct share keys, values; /* [cap,D], decoders only */
};

struct network {
    struct party *p;
    const struct network_system *system;
    const struct config *c;
    struct layer *layers;
    struct share final_gain, final_bias;
    int cap, len;
};

/* ------------------------------------------------------------------ weights */

/* A tensor as floats, [in,out] for a matrix; gives (free()). */
static int tensor_floats(const struct checkpoint *cp, enum role role, int layer, float **out, struct err *err)
{
    const struct tensor *t = checkpoint_tensor(cp, role, layer);
    const struct arch_tensor *row = arch_tensor(checkpoint_config(cp), role);
    if (t == NULL || row == NULL)
        return err_set(err, ERR_INPUT, "%s: no %s in layer %d", checkpoint_dir(cp), arch_role_name(role), layer);
    size_t first = (size_t)t->dim[0], n = (size_t)t->count, second = n / first;
    float *stored = malloc(n * sizeof *stored), *turned = malloc(n * sizeof *turned);
    int rc = stored == NULL || turned == NULL ? err_oom(err, 2 * n * sizeof *stored) : checkpoint_rows_f32(t, 0, first, stored, err);
    if (rc != 0) {
        free(stored);
        free(turned);
        return -1;
    }
    const bool turn = second > 1 && !row->conv1d;
    for (size_t i = 0; turn && i < first; i++)
        for (size_t j = 0; j < second; j++)
            turned[j * first + i] = stored[i * second + j];
    free(turn ? stored : turned);
    *out = turn ? turned : stored;
    return 0;
}

/* Part `part` of `parts` matrices (or vectors) that stand side by side, rows of `width` numbers in all. */
static int put_beside(const struct checkpoint *cp, enum role role, int layer, float *all, size_t rows, size_t width, size_t part, size_t parts,
                      struct err *err)
{
    float *one = NULL;
    const size_t own = width / parts;
    if (tensor_floats(cp, role, layer, &one, err) != 0)
        return -1;
    for (size_t r = 0; r < rows; r++)
        memcpy(all + r * width + part * own, one + r * own, own * sizeof *one);
    free(one);
    return 0;
}

/* `count` roles side by side -> share. The first third of q, k, v is scaled by 1/sqrt(K), so that scores need no scaling. */
static int load(struct network *n, const struct checkpoint *cp, struct share *out, const enum role *roles, size_t count, int layer,
                size_t rows, size_t width, bool scaled, struct err *err)
{
    const size_t all = rows * width;
    float *values = NULL;
    *out = ops_new(n->p, all);
    if (cp != NULL && (values = malloc(all * sizeof *values)) == NULL)
        return err_oom(err, all * sizeof *values);
    for (size_t i = 0; cp != NULL && i < count; i++)
        if (put_beside(cp, roles[i], layer, values, rows, width, i, count, err) != 0) {
            free(values);
            return -1;
        }
    const float scale = (float)(1 / sqrt((double)n->c->K));
    for (size_t r = 0; scaled && values != NULL && r < rows; r++)
        for (size_t c = 0; c < width / 3; c++)
            values[r * width + c] *= scale;
    ops_input(n->p, *out, values, OWNER);
    free(values);
    return 0;
}

static int load_layer(struct network *n, const struct checkpoint *cp, int l, struct err *err)
{
    static const enum role apart[] = {ROLE_Q, ROLE_K, ROLE_V}, apart_bias[] = {ROLE_Q_BIAS, ROLE_K_BIAS, ROLE_V_BIAS};
    static const enum role fused[] = {ROLE_QKV}, fused_bias[] = {ROLE_QKV_BIAS};
    const bool one = arch_tensor(n->c, ROLE_QKV) != NULL;
    const size_t D = (size_t)n->c->D, F = (size_t)n->c->F, count = one ? 1 : 3;
    struct layer *y = &n->layers[l];
    const struct {
        struct share *out;
        enum role role;
        size_t rows, width;
    } others[] = {{&y->o_w, ROLE_O, D, D},          {&y->o_b, ROLE_O_BIAS, 1, D},
                  {&y->up_w, ROLE_UP, D, F},        {&y->up_b, ROLE_UP_BIAS, 1, F},
                  {&y->down_w, ROLE_DOWN, F, D},    {&y->down_b, ROLE_DOWN_BIAS, 1, D},
                  {&y->attn_gain, ROLE_ATTN_NORM_W, 1, D}, {&y->attn_bias, ROLE_ATTN_NORM_B, 1, D},
                  {&y->mlp_gain, ROLE_MLP_NORM_W, 1, D},   {&y->mlp_bias, ROLE_MLP_NORM_B, 1, D}};
    if (load(n, cp, &y->qkv_w, one ? fused : apart, count, l, D, 3 * D, true, err) != 0 ||
        load(n, cp, &y->qkv_b, one ? fused_bias : apart_bias, count, l, 1, 3 * D, true, err) != 0)
        return -1;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (load(n, cp, others[i].out, &others[i].role, 1, l, others[i].rows, others[i].width, false, err) != 0)
            return -1;
    if (n->c->causal) {
        y->keys = ops_new(n->p, (size_t)n->cap * D);
        y->values = ops_new(n->p, (size_t)n->cap * D);
    }
    return 0;
}

static int check_config(const struct config *c, struct err *err)
{
    const bool gelu = c->act == ACT_GELU || c->act == ACT_GELU_TANH;
    if (c->norm == NORM_LAYER && !c->gated && gelu && c->H == c->G && c->H * c->K == c->D && c->position == POSITION_LEARNED && c->window == 0)
        return 0;
    return err_set(err, ERR_USAGE, "%s: the secret-sharing baselines know BERT and GPT-2 (LayerNorm, GeLU, learned positions)",
                   c->architecture);
}

int network_new(struct network **out, struct party *p, const struct network_system *system, const struct config *c,
                const struct checkpoint *cp, int cap, struct err *err)
{
    static const enum role gain = ROLE_FINAL_NORM_W, bias = ROLE_FINAL_NORM_B;
    if (check_config(c, err) != 0)
        return -1;
    struct network *n = calloc(1, sizeof *n);
    if (n == NULL || (n->layers = calloc((size_t)c->L, sizeof *n->layers)) == NULL) {
        free(n);
        return err_oom(err, (size_t)c->L * sizeof *n->layers);
    }
    *n = (struct network){.p = p, .system = system, .c = c, .layers = n->layers, .cap = cap};
    party_at(p, "weights");
    int rc = 0;
    for (int l = 0; rc == 0 && l < c->L; l++)
        rc = load_layer(n, cp, l, err);
    if (rc == 0 && !c->post_norm &&
        (load(n, cp, &n->final_gain, &gain, 1, 0, 1, (size_t)c->D, false, err) != 0 ||
         load(n, cp, &n->final_bias, &bias, 1, 0, 1, (size_t)c->D, false, err) != 0))
        rc = -1;
    if (rc == 0)
        rc = party_check(p, err);
    if (rc != 0) {
        network_free(n);
        return -1;
    }
    *out = n;
    return 0;
}

void network_free(struct network *n)
{
    if (n == NULL)
        return;
    free(n->layers);
    free(n);
}

void network_restart(struct network *n)
{
    n->len = 0;
}

/* ------------------------------------------------------------------ one layer */

static void linear(struct network *n, struct share y, struct share x, struct share w, struct share b, size_t T)
{
    ops_matmul(n->p, y, x, w, 1, T, x.n / T, y.n / T);
    ops_add_cols(n->p, y, b);
}

static void normalise(struct network *n, struct share y, struct share x, size_t T, struct share gain, struct share bias)
{
    approx_layernorm(n->p, y, x, T, n->system->norm, n->c->norm_eps, gain, bias);
}

/* Row i of the new ones sees the S earlier tokens and its own up to i. NULL: everything is seen, or no memory. */
static unsigned char *causal_mask(struct network *n, size_t T, size_t S)
{
    if (!n->c->causal || T == 1)
        return NULL;
    unsigned char *keep = calloc(T * (S + T), 1);
    if (keep == NULL)
        party_fail(n->p, ERR_INTERNAL, "no memory for %zu bytes", T * (S + T));
    for (size_t i = 0; keep != NULL && i < T; i++)
        memset(keep + i * (S + T), 1, S + i + 1);
    return keep;
}

/* softmax(q k^T) v of all heads; qkv [T,3D], mix [T,D]. */
static void attend(struct network *n, struct layer *y, struct share mix, struct share qkv, size_t T)
{
    struct party *p = n->p;
    const size_t D = (size_t)n->c->D, H = (size_t)n->c->H, K = (size_t)n->c->K, S = n->c->causal ? (size_t)n->len : 0, all = S + T;
    struct share q = ops_new(p, H * T * K), k = ops_new(p, H * K * all), v = ops_new(p, H * all * K), scores = ops_new(p, H * T * all);
    struct share keys = qkv, values = qkv;
    size_t keys_from = D, values_from = 2 * D, stride = 3 * D;
    if (n->c->causal) {
        ops_move(p, y->keys, qkv, &(struct ops_block){{1, T, D}, S * D, {0, D, 1}, D, {0, 3 * D, 1}});
        ops_move(p, y->values, qkv, &(struct ops_block){{1, T, D}, S * D, {0, D, 1}, 2 * D, {0, 3 * D, 1}});
        keys = y->keys;
        values = y->values;
        keys_from = values_from = 0;
        stride = D;
    }
    ops_move(p, q, qkv, &(struct ops_block){{H, T, K}, 0, {T * K, K, 1}, 0, {K, 3 * D, 1}});
    ops_move(p, k, keys, &(struct ops_block){{H, K, all}, 0, {K * all, all, 1}, keys_from, {K, 1, stride}});
    ops_move(p, v, values, &(struct ops_block){{H, all, K}, 0, {all * K, K, 1}, values_from, {K, stride, 1}});
    ops_matmul(p, scores, q, k, H, T, K, all);
    unsigned char *keep = causal_mask(n, T, S);
    n->system->softmax(p, scores, scores, H * T, keep, T * all);
    free(keep);
    struct share heads = q; /* of the same shape */
    ops_matmul(p, heads, scores, v, H, T, all, K);
    ops_move(p, mix, heads, &(struct ops_block){{H, T, K}, 0, {K, D, 1}, 0, {T * K, K, 1}});
}

/* x [T,D] in place. */
static void layer(struct network *n, int l, struct share x, size_t T)
{
    struct party *p = n->p;
    struct layer *y = &n->layers[l];
    const size_t D = (size_t)n->c->D, F = (size_t)n->c->F, mark = party_mark(p);
    struct share h = ops_new(p, T * D), wide = ops_new(p, T * 3 * D), up = ops_new(p, T * F);
    ops_set(p, h, x);
    party_at(p, "layer %d, attention", l);
    if (!n->c->post_norm)
        normalise(n, h, x, T, y->attn_gain, y->attn_bias);
    linear(n, wide, h, y->qkv_w, y->qkv_b, T);
    attend(n, y, h, wide, T);
    struct share out = ops_new(p, T * D);
    linear(n, out, h, y->o_w, y->o_b, T);
    ops_add(p, x, x, out);
    party_at(p, "layer %d, norm", l);
    ops_set(p, h, x);
    normalise(n, h, x, T, n->c->post_norm ? y->attn_gain : y->mlp_gain, n->c->post_norm ? y->attn_bias : y->mlp_bias);
    if (n->c->post_norm)
        ops_set(p, x, h);
    party_at(p, "layer %d, feed-forward", l);
    linear(n, up, h, y->up_w, y->up_b, T);
    n->system->gelu(p, up, up);
    linear(n, out, up, y->down_w, y->down_b, T);
    ops_add(p, x, x, out);
    party_at(p, "layer %d, norm", l);
    if (n->c->post_norm)
        normalise(n, x, x, T, y->mlp_gain, y->mlp_bias);
    else if (l + 1 == n->c->L)
        normalise(n, x, x, T, n->final_gain, n->final_bias);
    party_release(p, mark);
}

/* ------------------------------------------------------------------ a pass */

/* Both parties are ready: nobody's online time holds another one's offline time. */
static void meet(struct party *p)
{
    uint64_t word = 0;
    if (!party_runs(p))
        return;
    for (int k = 0; k < p->parties; k++)
        if (k != p->index)
            party_send(p, k, &word, 1);
    for (int k = 0; k < p->parties; k++)
        if (k != p->index)
            party_recv(p, k, &word, 1);
    p->sent_bytes -= (uint64_t)(p->parties - 1) * sizeof word;
}

/* What layer l will ask of the dealer. */
static int plan_layer(const struct network *n, int l, size_t T, struct party_cost *out, struct err *err)
{
    struct network *walk = NULL;
    struct party *p = NULL;
    int rc = -1;
    if (party_open(&p, PARTY_PLAN, 0, n->system->parties, 0, err) == 0 &&
        network_new(&walk, p, n->system, n->c, NULL, n->cap, err) == 0) {
        walk->len = n->len;
        p->cost = (struct party_cost){0};
        layer(walk, l, ops_new(p, T * (size_t)n->c->D), T);
        *out = p->cost;
        rc = 0;
    }
    network_free(walk);
    party_close(p);
    return rc;
}

static void offline(struct network *n, const struct party_cost *cost)
{
    struct party *p = n->p;
    if (p->mode == PARTY_DEAL)
        material_deal_begin(p);
    else if (p->parties == 2) {
        /* The word that asks for a phase is not the protocol's. */
        const uint64_t sent = p->sent_bytes, waited = p->wait_us;
        material_begin(p, cost);
        p->sent_bytes = sent;
        p->wait_us = waited;
    }
}

static uint64_t cpu_us(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0 ? (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000 : 0;
}

int network_pass(struct network *n, const float *rows, int T, double *out, struct network_times *times, struct err *err)
{
    struct party *p = n->p;
    const size_t mark = party_mark(p);
    struct share x = ops_new(p, (size_t)T * (size_t)n->c->D);
    struct network_times sum = {0};
    struct party_cost plan = {0};
    if (n->len + T > n->cap)
        return err_set(err, ERR_USAGE, "%d tokens do not fit after %d of %d", T, n->len, n->cap);
    party_at(p, "input");
    ops_input(p, x, rows, USER);
    for (int l = 0; l < n->c->L; l++) {
        const uint64_t start = clock_us();
        if ((p->mode == PARTY_RUN || p->mode == PARTY_DEAL) && plan_layer(n, l, (size_t)T, &plan, err) != 0)
            return -1;
        offline(n, &plan);
        meet(p);
        const uint64_t ready = clock_us(), ready_cpu = cpu_us();
        layer(n, l, x, (size_t)T);
        if (p->mode == PARTY_DEAL)
            material_deal_end(p);
        sum.offline_us += ready - start;
        sum.online_us += clock_us() - ready;
        sum.cpu_us += cpu_us() - ready_cpu;
    }
    const uint64_t last = clock_us();
    party_at(p, "output");
    ops_output(p, x, out, USER);
    sum.online_us += clock_us() - last;
    if (n->c->causal)
        n->len += T;
    party_release(p, mark);
    if (times != NULL)
        *times = sum;
    return party_check(p, err);
}

int network_plan(struct party_cost *out, const struct network_system *system, const struct config *c, int S, int T, struct err *err)
{
    struct network *n = NULL;
    struct party *p = NULL;
    int rc = -1;
    if (party_open(&p, PARTY_PLAN, 0, system->parties, 0, err) == 0 && network_new(&n, p, system, c, NULL, S + T, err) == 0) {
        const uint64_t high = p->cost.high;
        n->len = S;
        p->cost = (struct party_cost){.high = high};
        rc = network_pass(n, NULL, T, NULL, NULL, err);
        *out = p->cost;
    }
    network_free(n);
    party_close(p);
    return rc;
}

int network_words(size_t *out, const struct network_system *system, const struct config *c, int cap, int T, struct err *err)
{
    struct party_cost cost;
    if (network_plan(&cost, system, c, cap - T, T, err) != 0)
        return -1;
    *out = cost.high;
    return 0;
}
