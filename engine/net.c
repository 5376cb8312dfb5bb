#include "engine/net.h"

#include <stdlib.h>
#include <string.h>

#include "engine/kernels/norm.h"
#include "engine/kernels/rope.h"
#include "model/arch.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* Matrices that are loaded as one, from top to bottom. */
struct stack {
    const enum role *weight, *bias;
    int count;
};

static struct stack qkv_stack(const struct config *c)
{
    static const enum role fused[] = {ROLE_QKV}, fused_bias[] = {ROLE_QKV_BIAS};
    static const enum role heads[] = {ROLE_QKV_HEADS}, heads_bias[] = {ROLE_QKV_HEADS_BIAS};
    static const enum role split[] = {ROLE_Q, ROLE_K, ROLE_V}, split_bias[] = {ROLE_Q_BIAS, ROLE_K_BIAS, ROLE_V_BIAS};
    if (arch_tensor(c, ROLE_QKV) != NULL)
        return (struct stack){fused, fused_bias, COUNT(fused)};
    if (arch_tensor(c, ROLE_QKV_HEADS) != NULL)
        return (struct stack){heads, heads_bias, COUNT(heads)};
    return (struct stack){split, split_bias, COUNT(split)};
}

static struct stack up_stack(const struct config *c)
{
    static const enum role plain[] = {ROLE_UP}, plain_bias[] = {ROLE_UP_BIAS};
    static const enum role gated[] = {ROLE_GATE, ROLE_UP}, gated_bias[] = {ROLE_GATE_BIAS, ROLE_UP_BIAS};
    static const enum role fused[] = {ROLE_GATE_UP};
    if (arch_tensor(c, ROLE_GATE_UP) != NULL)
        return (struct stack){fused, NULL, COUNT(fused)};
    return c->gated ? (struct stack){gated, gated_bias, COUNT(gated)} : (struct stack){plain, plain_bias, COUNT(plain)};
}

static struct stack o_stack(void)
{
    static const enum role o[] = {ROLE_O}, bias[] = {ROLE_O_BIAS};
    return (struct stack){o, bias, COUNT(o)};
}

static struct stack down_stack(void)
{
    static const enum role down[] = {ROLE_DOWN}, bias[] = {ROLE_DOWN_BIAS};
    return (struct stack){down, bias, COUNT(down)};
}

static struct stack router_stack(void)
{
    static const enum role router[] = {ROLE_ROUTER};
    return (struct stack){router, NULL, COUNT(router)};
}

static int load_stack(struct linear *out, const struct checkpoint *cp, enum compute compute, struct stack s, int layer, struct err *err)
{
    return linear_load(out, cp, compute, s.weight, s.bias, s.count, layer, err);
}

static size_t stack_bytes(const struct checkpoint *cp, enum compute compute, struct stack s, int layer)
{
    return linear_forecast(cp, compute, s.weight, s.bias, s.count, layer);
}

static int load_experts(struct net_layer *out, const struct checkpoint *cp, enum compute compute, int l, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    const int n = c->experts;
    if ((out->experts = calloc((size_t)n, sizeof *out->experts)) == NULL)
        return err_oom(err, (size_t)n * sizeof *out->experts);
    for (int e = 0; e < n; e++)
        if (load_stack(&out->experts[e].up, cp, compute, up_stack(c), l * n + e, err) != 0 ||
            load_stack(&out->experts[e].down, cp, compute, down_stack(), l * n + e, err) != 0)
            return -1;
    return load_stack(&out->router, cp, COMPUTE_F32, router_stack(), l, err);
}

static int load_feed(struct net_layer *out, const struct checkpoint *cp, enum compute compute, int l, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    if (c->experts > 0)
        return load_experts(out, cp, compute, l, err);
    return load_stack(&out->up, cp, compute, up_stack(c), l, err) == 0 ? load_stack(&out->down, cp, compute, down_stack(), l, err) : -1;
}

static int load_layer(struct net_layer *out, const struct checkpoint *cp, enum compute compute, int l, struct err *err)
{
    if (norm_load(&out->attn_norm, cp, ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B, l, err) != 0 ||
        load_stack(&out->qkv, cp, compute, qkv_stack(checkpoint_config(cp)), l, err) != 0 ||
        load_stack(&out->o, cp, compute, o_stack(), l, err) != 0 ||
        norm_load(&out->mlp_norm, cp, ROLE_MLP_NORM_W, ROLE_MLP_NORM_B, l, err) != 0 ||
        load_feed(out, cp, compute, l, err) != 0)
        return err_wrap(err, "layer %d", l);
    if (checkpoint_config(cp)->qk_norm && (norm_load(&out->q_norm, cp, ROLE_Q_NORM, ROLE_COUNT, l, err) != 0 ||
                                           norm_load(&out->k_norm, cp, ROLE_K_NORM, ROLE_COUNT, l, err) != 0))
        return err_wrap(err, "layer %d", l);
    if (checkpoint_config(cp)->post_norms && (norm_load(&out->attn_post, cp, ROLE_ATTN_POST_W, ROLE_COUNT, l, err) != 0 ||
                                              norm_load(&out->mlp_post, cp, ROLE_MLP_POST_W, ROLE_COUNT, l, err) != 0))
        return err_wrap(err, "layer %d", l);
    return 0;
}

static int load_rope(double **out, const struct config *c, const struct rope_config *rope, struct err *err)
{
    if (c->position != POSITION_ROPE)
        return 0;
    double *frequency = calloc((size_t)c->rotary / 2, sizeof *frequency);
    if (frequency == NULL)
        return err_oom(err, (size_t)c->rotary / 2 * sizeof *frequency);
    rope_frequencies(frequency, rope, c->rotary);
    *out = frequency;
    return 0;
}

static int load(struct net **out, const struct checkpoint *cp, int layers, bool final_norm, bool head, enum compute compute,
                struct err *err)
{
    struct net *net = calloc(1, sizeof *net);
    if (net == NULL)
        return err_oom(err, sizeof *net);
    net->config = *checkpoint_config(cp);
    net->config.labels = NULL;
    net->config.L = layers;
    const struct config *c = &net->config;
    if ((net->layers = calloc((size_t)c->L, sizeof *net->layers)) == NULL) {
        err_oom(err, (size_t)c->L * sizeof *net->layers);
        goto fail;
    }
    for (int l = 0; l < c->L; l++)
        if (load_layer(&net->layers[l], cp, compute, l, err) != 0)
            goto fail;
    if (final_norm && norm_load(&net->final_norm, cp, ROLE_FINAL_NORM_W, ROLE_FINAL_NORM_B, 0, err) != 0)
        goto fail;
    if (load_rope(&net->rope, c, &c->rope, err) != 0 || (c->two_ropes && load_rope(&net->rope_sliding, c, &c->rope_sliding, err) != 0))
        goto fail;
    if (head && head_load(&net->head, cp, compute, err) != 0)
        goto fail;
    *out = net;
    return 0;
fail:
    net_free(net);
    return err_wrap(err, "%s", checkpoint_dir(cp));
}

int net_load(struct net **out, const struct checkpoint *cp, bool head, enum compute compute, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    if (!checkpoint_has(cp, PART_CORE))
        return err_set(err, ERR_INPUT, "%s: the layers of the model are missing", checkpoint_dir(cp));
    return load(out, cp, c->L, !c->post_norm, head, compute, err);
}

int net_load_first(struct net **out, const struct checkpoint *cp, int layers, enum compute compute, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    if (layers < 1 || layers > c->L)
        return err_set(err, ERR_INPUT, "%s: %d first layers are asked for, the model has %d", checkpoint_dir(cp), layers, c->L);
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++)
        for (int l = 0; arch_present(c, row) && l < arch_below(c, row, layers); l++)
            if (checkpoint_tensor(cp, row->role, l) == NULL)
                return err_set(err, ERR_INPUT, "%s: the %s of the first layers is missing (number %d)", checkpoint_dir(cp), arch_role_name(row->role),
                               l);
    return load(out, cp, layers, false, false, compute, err);
}

void net_free(struct net *net)
{
    if (net == NULL)
        return;
    for (int l = 0; net->layers != NULL && l < net->config.L; l++) {
        struct net_layer *layer = &net->layers[l];
        norm_free(&layer->attn_norm);
        norm_free(&layer->mlp_norm);
        norm_free(&layer->q_norm);
        norm_free(&layer->k_norm);
        norm_free(&layer->attn_post);
        norm_free(&layer->mlp_post);
        linear_free(&layer->qkv);
        linear_free(&layer->o);
        linear_free(&layer->up);
        linear_free(&layer->down);
        for (int e = 0; layer->experts != NULL && e < net->config.experts; e++) {
            linear_free(&layer->experts[e].up);
            linear_free(&layer->experts[e].down);
        }
        free(layer->experts);
        linear_free(&layer->router);
    }
    free(net->layers);
    norm_free(&net->final_norm);
    head_free(net->head);
    free(net->rope);
    free(net->rope_sliding);
    free(net);
}

static size_t layer_bytes(const struct checkpoint *cp, enum compute compute, int l)
{
    const struct config *c = checkpoint_config(cp);
    const int feeds = config_feeds(c);
    size_t bytes = stack_bytes(cp, compute, qkv_stack(c), l) + stack_bytes(cp, compute, o_stack(), l);
    for (int e = 0; e < feeds; e++)
        bytes += stack_bytes(cp, compute, up_stack(c), l * feeds + e) + stack_bytes(cp, compute, down_stack(), l * feeds + e);
    return bytes + (c->experts > 0 ? stack_bytes(cp, COMPUTE_F32, router_stack(), l) : 0);
}

/* As load goes; norms that a model may have are counted whether it has them or not: the answer may be a little high, never low. */
size_t net_bytes(const struct checkpoint *cp, bool head, enum compute compute)
{
    const struct config *c = checkpoint_config(cp);
    const size_t norm = (c->norm == NORM_LAYER ? 2 : 1) * (size_t)c->D, heads = (size_t)c->K;
    size_t bytes = ((size_t)c->L * (4 * norm + 2 * heads) + norm + 2 * heads) * sizeof(float);
    for (int l = 0; l < c->L; l++)
        bytes += layer_bytes(cp, compute, l);
    return bytes + (head ? head_forecast(cp, compute) + norm * sizeof(float) : 0);
}

int net_outputs(const struct net *net)
{
    return net->head == NULL ? net->config.D : config_outputs(&net->config) * arch_answer_rows(&net->config);
}

void norm_apply(const struct config *c, const struct norm *norm, float *y, const float *x, int n)
{
    if (c->norm == NORM_RMS)
        norm_rms(y, x, norm->w, c->norm_eps, n, c->D);
    else
        norm_layer(y, x, norm->w, norm->b, c->norm_eps, n, c->D);
}
