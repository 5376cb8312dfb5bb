#include "engine/forward.h"

#include <assert.h>
#include <string.h>

#include "engine/kernels/activation.h"
#include "engine/kernels/attention.h"
#include "engine/kernels/matmul.h"
#include "engine/kernels/rope.h"
#include "engine/scratch.h"

static void apply(const struct linear *l, float *y, const float *x, int rows)
{
    matmul(y, x, l->w, l->b, rows, l->out, l->in);
}

static void add(float *x, const float *y, int rows, int D)
{
    size_t n = (size_t)rows * (size_t)D;
    for (size_t i = 0; i < n; i++)
        x[i] += y[i];
}

/* Puts the rows of all sequences under each other in s->x, with the angles of their positions; gives their number. */
static int stack_rows(const struct net *net, struct scratch *s, const struct forward_seq *seqs, int B)
{
    const struct config *c = &net->config;
    size_t D = (size_t)c->D, half = (size_t)c->K / 2;
    int rows = 0;
    for (int b = 0; b < B; b++) {
        const struct forward_seq *seq = &seqs[b];
        assert(seq->T > 0 && seq->T <= s->rows - rows && seq->T <= seq->kv->cap - seq->kv->len);
        assert(c->causal || seq->kv->len == 0);
        memcpy(s->x + (size_t)rows * D, seq->x, (size_t)seq->T * D * sizeof *s->x);
        for (int t = 0; net->rope != NULL && t < seq->T; t++) {
            size_t at = (size_t)(rows + t) * half;
            rope_angles(s->cosine + at, s->sine + at, net->rope, c->K, seq->kv->len + t);
        }
        rows += seq->T;
    }
    return rows;
}

/* s->added = O(attention(Q x, K x, V x)); the new keys and values join the caches. */
static void attend(const struct net *net, int l, struct scratch *s, const struct forward_seq *seqs, int B, const float *x,
                   int rows)
{
    const struct config *c = &net->config;
    const struct net_layer *layer = &net->layers[l];
    const struct attention shape = {.H = c->H, .G = c->G, .K = c->K, .window = config_window(c, l), .causal = c->causal};
    size_t queries = (size_t)c->H * (size_t)c->K, keys = (size_t)c->G * (size_t)c->K, width = queries + 2 * keys;

    apply(&layer->qkv, s->qkv, x, rows);
    if (net->rope != NULL)
        for (int r = 0; r < rows; r++) { /* query and key heads lie side by side */
            size_t at = (size_t)r * (size_t)(c->K / 2);
            rope_rotate(s->qkv + (size_t)r * width, c->H + c->G, c->K, s->cosine + at, s->sine + at);
        }

    size_t row = 0;
    for (int b = 0; b < B; b++) {
        const struct kvcache *kv = seqs[b].kv;
        float *k = kv->k + (size_t)l * (size_t)kv->cap * keys, *v = kv->v + (size_t)l * (size_t)kv->cap * keys;
        for (int t = 0; t < seqs[b].T; t++) {
            const float *from = s->qkv + (row + (size_t)t) * width + queries;
            size_t to = (size_t)(kv->len + t) * keys;
            memcpy(k + to, from, keys * sizeof *k);
            memcpy(v + to, from + keys, keys * sizeof *v);
        }
        attention(&shape, s->mix + row * queries, s->qkv + row * width, width, k, v, keys, kv->len, seqs[b].T);
        row += (size_t)seqs[b].T;
    }
    apply(&layer->o, s->added, s->mix, rows);
}

/* s->added = down(act(up x)), gated: down(act(gate x) * up x) */
static void feed_forward(const struct net *net, int l, struct scratch *s, const float *x, int rows)
{
    const struct config *c = &net->config;
    const struct net_layer *layer = &net->layers[l];
    apply(&layer->up, s->up, x, rows);
    if (c->gated)
        activate_gated(c->act, s->gated, s->up, rows, c->F);
    else
        activate(c->act, s->up, (size_t)rows * (size_t)c->F);
    apply(&layer->down, s->added, c->gated ? s->gated : s->up, rows);
}

/* The n picked rows through the head to where they are wanted. */
static void deliver(const struct net *net, struct scratch *s, int n)
{
    size_t width = (size_t)net_outputs(net);
    const float *from = s->picked;
    if (n == 0)
        return;
    if (net->head != NULL) {
        head_apply(&net->config, net->head, s->picked, n, s->work, s->out);
        from = s->out;
    }
    for (int i = 0; i < n; i++)
        memcpy(s->target[i], from + (size_t)i * width, width * sizeof *from);
}

/* Final norm and head, for the asked rows only; the rows of all sequences share the product with the head. */
static void write_outputs(const struct net *net, struct scratch *s, const struct forward_seq *seqs, int B)
{
    const struct config *c = &net->config;
    size_t D = (size_t)c->D, width = (size_t)net_outputs(net);
    const float *x = s->x;
    int n = 0;
    for (int b = 0; b < B; x += (size_t)seqs[b].T * D, b++) {
        const struct forward_seq *seq = &seqs[b];
        assert(seq->out_from >= 0 && seq->out_n >= 0 && seq->out_n <= seq->T - seq->out_from);
        for (int i = 0; i < seq->out_n; i++) {
            const float *row = x + (size_t)(seq->out_from + i) * D;
            if (net->final_norm.w != NULL)
                norm_apply(c, &net->final_norm, s->picked + (size_t)n * D, row, 1);
            else
                memcpy(s->picked + (size_t)n * D, row, D * sizeof *row);
            s->target[n++] = seq->out + (size_t)i * width;
            if (n == s->outputs) {
                deliver(net, s, n);
                n = 0;
            }
        }
    }
    deliver(net, s, n);
}

void forward(const struct net *net, struct scratch *s, struct forward_seq *seqs, int B)
{
    const struct config *c = &net->config;
    int rows = stack_rows(net, s, seqs, B);

    for (int l = 0; l < c->L; l++) {
        const struct net_layer *layer = &net->layers[l];
        if (c->post_norm) {
            attend(net, l, s, seqs, B, s->x, rows);
            add(s->x, s->added, rows, c->D);
            norm_apply(c, &layer->attn_norm, s->x, s->x, rows);
            feed_forward(net, l, s, s->x, rows);
            add(s->x, s->added, rows, c->D);
            norm_apply(c, &layer->mlp_norm, s->x, s->x, rows);
        } else {
            norm_apply(c, &layer->attn_norm, s->normed, s->x, rows);
            attend(net, l, s, seqs, B, s->normed, rows);
            add(s->x, s->added, rows, c->D);
            norm_apply(c, &layer->mlp_norm, s->normed, s->x, rows);
            feed_forward(net, l, s, s->normed, rows);
            add(s->x, s->added, rows, c->D);
        }
    }
    for (int b = 0; b < B; b++)
        seqs[b].kv->len += seqs[b].T;
    write_outputs(net, s, seqs, B);
}
