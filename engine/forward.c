#include "engine/forward.h"

#include <assert.h>
#include <string.h>

#include "base/threads.h"
#include "engine/kernels/activation.h"
#include "engine/kernels/attention.h"
#include "engine/kernels/matmul.h"
#include "engine/kernels/norm.h"
#include "engine/kernels/rope.h"
#include "engine/route.h"
#include "engine/scratch.h"

/* How rows of the residual enter a product. */
struct entry {
    const struct norm *norm;   /* NULL: they enter as they are */
    bool before;               /* normed before what is pending is added, not after */
    const struct linear *into;
};

/* Everything that the steps of one pass share; tasks of the thread pool get it as their argument. */
struct pass {
    const struct net *net;
    const struct config *c;
    struct scratch *s;
    const struct forward_seq *seqs;
    int B, rows, layer;
    int count;               /* rows of the step that runs */
    int expert;              /* of the step that runs */
    bool pending;                       /* s->added is to join the residual, */
    const struct norm *post, *settle;   /* through the one, and the sum through the other; NULL or w NULL: none */
    struct entry entry;                 /* of the step that runs */
    const struct linear *down;          /* of the step that runs */
    const float *cosine, *sine; /* of the layer that runs */
    struct attention shape;
    size_t offset; /* of the layer's blocks in a page */
    int tiles;     /* attention tasks */
    int together;  /* heads that one of them takes where each has few queries */
};

/* ------------------------------------------------------------------ work that is done row by row */

#define ROWS_PER_TASK 8

static void run_some(struct pass *p, int count, void (*task)(void *arg, int i))
{
    p->count = count;
    threads_for((count + ROWS_PER_TASK - 1) / ROWS_PER_TASK, task, p);
}

static void run_rows(struct pass *p, void (*task)(void *arg, int i))
{
    run_some(p, p->rows, task);
}

/* Rows first..first+n-1 of task i. */
static int rows_of(const struct pass *p, int i, int *first)
{
    *first = i * ROWS_PER_TASK;
    return p->count - *first < ROWS_PER_TASK ? p->count - *first : ROWS_PER_TASK;
}

/* The angles of row r's position; frequency NULL: there are none. */
static void turn(const struct pass *p, int r, const double *frequency, const struct rope_config *rope, float *cosine, float *sine)
{
    if (frequency != NULL)
        rope_angles(cosine, sine, frequency, rope->attention_factor > 0 ? rope->attention_factor : 1.0, p->c->rotary, p->s->token[r]);
}

/* Puts the rows of all sequences under each other, with the angles of their positions. */
static void stack_task(void *arg, int i)
{
    const struct pass *p = arg;
    size_t D = (size_t)p->c->D, half = (size_t)p->c->rotary / 2;
    int first, n = rows_of(p, i, &first);
    for (int r = first; r < first + n; r++) {
        const struct forward_seq *seq = &p->seqs[p->s->sequence[r]];
        int t = p->s->token[r] - seq->kv->len;
        memcpy(p->s->x + (size_t)r * D, seq->x + (size_t)t * D, D * sizeof *p->s->x);
        turn(p, r, p->net->rope, &p->c->rope, p->s->cosine + (size_t)r * half, p->s->sine + (size_t)r * half);
        turn(p, r, p->net->rope_sliding, &p->c->rope_sliding, p->s->cosine_sliding + (size_t)r * half,
             p->s->sine_sliding + (size_t)r * half);
    }
}

static void norm_some(const struct pass *p, const struct norm *norm, float *to, const float *from, int first, int n)
{
    size_t at = (size_t)first * (size_t)p->c->D;
    norm_apply(p->c, norm, to + at, from + at, n);
}

/* What a part has added joins the residual. */
static void settle_some(const struct pass *p, int first, int n)
{
    float *x = p->s->x, *added = p->s->added;
    size_t at = (size_t)first * (size_t)p->c->D, end = at + (size_t)n * (size_t)p->c->D;
    if (!p->pending)
        return;
    if (p->post != NULL && p->post->w != NULL)
        norm_some(p, p->post, added, added, first, n);
    for (; at < end; at++)
        x[at] += added[at];
    if (p->settle != NULL)
        norm_some(p, p->settle, x, x, first, n);
}

static void enter_some(const struct pass *p, int first, int n)
{
    const struct entry *e = &p->entry;
    if (e->before)
        norm_some(p, e->norm, p->s->normed, p->s->x, first, n);
    settle_some(p, first, n);
    if (e->norm != NULL && !e->before)
        norm_some(p, e->norm, p->s->normed, p->s->x, first, n);
}

static const float *entered(const struct pass *p)
{
    return p->entry.norm != NULL ? p->s->normed : p->s->x;
}

static void enter_task(void *arg, int part)
{
    const struct pass *p = arg;
    const struct weights *w = &p->entry.into->w;
    int first, n = matmul_part(w, p->rows, part, &first);
    enter_some(p, first, n);
    matmul_pack(w, entered(p), p->rows, part, p->s->pack);
}

static void settle_task(void *arg, int i)
{
    const struct pass *p = arg;
    int first, n = rows_of(p, i, &first);
    settle_some(p, first, n);
}

/* y = the product of what enters, row by row in one go from the residual to the packed rows. */
static void enter(struct pass *p, struct entry entry, float *y)
{
    p->entry = entry;
    threads_for(matmul_parts(&entry.into->w, p->rows), enter_task, p);
    p->pending = false;
    matmul_multiply(y, entered(p), &entry.into->w, entry.into->b, p->rows, p->s->pack);
}

/* s->added waits to join the residual, through norms where there are some. */
static void add_later(struct pass *p, const struct norm *post, const struct norm *settle)
{
    p->pending = true;
    p->post = post;
    p->settle = settle;
}

/* Rows of the feed-forward part between its products. */
static void activate_task(void *arg, int part)
{
    const struct pass *p = arg;
    int first, n = matmul_part(&p->down->w, p->count, part, &first);
    size_t F = (size_t)p->c->F;
    if (p->c->gated)
        activate_gated(p->c->act, p->s->gated + (size_t)first * F, p->s->up + 2 * (size_t)first * F, n, p->c->F);
    else
        activate(p->c->act, p->s->up + (size_t)first * F, (size_t)n * F);
    matmul_pack(&p->down->w, p->c->gated ? p->s->gated : p->s->up, p->count, part, p->s->pack);
}

/* ------------------------------------------------------------------ attention */

static size_t query_width(const struct config *c)
{
    return (size_t)c->H * (size_t)c->K;
}

static size_t qkv_width(const struct config *c)
{
    return query_width(c) + 2 * (size_t)c->G * (size_t)c->K;
}

/* Turns queries and keys to their positions; keys and values join the caches. */
static void place_task(void *arg, int i)
{
    const struct pass *p = arg;
    const struct config *c = p->c;
    const struct net_layer *layer = &p->net->layers[p->layer];
    size_t width = qkv_width(c), queries = query_width(c), half = (size_t)c->rotary / 2;
    int first, n = rows_of(p, i, &first);
    for (int r = first; r < first + n; r++) {
        float *q = p->s->qkv + (size_t)r * width, *k = q + queries;
        if (layer->q_norm.w != NULL) {
            norm_rms(q, q, layer->q_norm.w, c->norm_eps, c->H, c->K);
            norm_rms(k, k, layer->k_norm.w, c->norm_eps, c->G, c->K);
        }
        if (p->net->rope != NULL) /* query and key heads lie side by side */
            rope_rotate(q, c->H + c->G, c->K, c->rotary, p->cosine + (size_t)r * half, p->sine + (size_t)r * half);
    }
    for (int r = first, count; r < first + n; r += count) { /* rows of one sequence together */
        const float *k = p->s->qkv + (size_t)r * width + queries;
        const int b = p->s->sequence[r];
        for (count = 1; r + count < first + n && p->s->sequence[r + count] == b; count++)
            ;
        attention_store(&p->shape, p->seqs[b].kv->pages, p->offset, p->s->token[r], k, k + (size_t)c->G * (size_t)c->K, width, count);
    }
}

/* Tasks of one sequence: for each key/value head its queries in tiles, or some heads of one tile each. */
static int tiles_of(const struct pass *p, const struct forward_seq *seq, int *per_head)
{
    int queries = seq->T * (p->c->H / p->c->G);
    *per_head = (queries + ATTENTION_TILE - 1) / ATTENTION_TILE;
    return *per_head == 1 ? (p->c->G + p->together - 1) / p->together : *per_head * p->c->G;
}

static void attend_task(void *arg, int i)
{
    const struct pass *p = arg;
    const struct config *c = p->c;
    const struct forward_seq *seq = p->seqs;
    size_t row = 0;
    int per_head, tiles;
    for (; i >= (tiles = tiles_of(p, seq, &per_head)); seq++) {
        i -= tiles;
        row += (size_t)seq->T;
    }
    int queries = seq->T * (c->H / c->G), heads = per_head == 1 ? p->together : 1, g = i / per_head * heads;
    /* The last tile of a causal prompt sees the most keys: long tasks first, so that the threads end together. */
    int tile = per_head - 1 - i % per_head, from = tile * ATTENTION_TILE;
    int to = from + ATTENTION_TILE < queries ? from + ATTENTION_TILE : queries;
    for (int end = g + heads < c->G ? g + heads : c->G; g < end; g++)
        attention_head(&p->shape, g, p->s->mix + row * query_width(c), p->s->qkv + row * qkv_width(c), qkv_width(c), seq->kv->pages,
                       p->offset, seq->kv->len, seq->T, from, to);
}

/* s->added = O(attention(Q x, K x, V x)), x: the residual through the norm */
static void attend(struct pass *p, const struct norm *norm)
{
    const struct net_layer *layer = &p->net->layers[p->layer];
    enter(p, (struct entry){.norm = norm, .into = &layer->qkv}, p->s->qkv);
    run_rows(p, place_task);
    threads_for(p->tiles, attend_task, p);
    linear_apply(&layer->o, p->s->added, p->s->mix, p->rows, p->s->pack);
}

/* ------------------------------------------------------------------ the rest of a layer */

/* y = down(act(s->up)), gated: down(act(gate) * up), of n rows. */
static void feed(struct pass *p, const struct linear *down, float *y, int n)
{
    p->count = n;
    p->down = down;
    threads_for(matmul_parts(&down->w, n), activate_task, p);
    matmul_multiply(y, p->c->gated ? p->s->gated : p->s->up, &down->w, down->b, n, p->s->pack);
}

/* ------------------------------------------------------------------ experts */

static void route_task(void *arg, int i)
{
    const struct pass *p = arg;
    int first, n = rows_of(p, i, &first);
    size_t E = (size_t)p->c->experts, D = (size_t)p->c->D;
    for (int r = first; r < first + n; r++) {
        route(p->s->routed + (size_t)r * E, (int)E, p->c->experts_used, p->c->renormalise);
        memset(p->s->added + (size_t)r * D, 0, D * sizeof *p->s->added);
    }
}

static void collect_task(void *arg, int i)
{
    const struct pass *p = arg;
    int first, n = rows_of(p, i, &first);
    size_t D = (size_t)p->c->D;
    for (int r = first; r < first + n; r++)
        memcpy(p->s->collected + (size_t)r * D, p->s->normed + (size_t)p->s->members[r] * D, D * sizeof *p->s->collected);
}

static void spread_task(void *arg, int i)
{
    const struct pass *p = arg;
    int first, n = rows_of(p, i, &first);
    size_t D = (size_t)p->c->D;
    for (int r = first; r < first + n; r++) {
        const float *from = p->s->fed + (size_t)r * D;
        float *to = p->s->added + (size_t)p->s->members[r] * D;
        float weight = p->s->routed[(size_t)p->s->members[r] * (size_t)p->c->experts + (size_t)p->expert];
        for (size_t d = 0; d < D; d++)
            to[d] += weight * from[d];
    }
}

/* s->added = sum over the experts of a row of weight * feed(row). The rows of one expert go through it together; a row's sum is in
 * the order of the experts, whatever shares the pass. */
static void feed_experts(struct pass *p)
{
    const struct net_layer *layer = &p->net->layers[p->layer];
    struct scratch *s = p->s;
    run_rows(p, route_task);
    for (p->expert = 0; p->expert < p->c->experts; p->expert++) {
        int n = 0;
        for (int r = 0; r < p->rows; r++) /* a weight of NaN is a row's own, and it is the one that it spoils */
            if (!(s->routed[(size_t)r * (size_t)p->c->experts + (size_t)p->expert] <= 0.0f))
                s->members[n++] = r;
        if (n == 0)
            continue;
        run_some(p, n, collect_task);
        linear_apply(&layer->experts[p->expert].up, s->up, s->collected, n, s->pack);
        feed(p, &layer->experts[p->expert].down, s->fed, n);
        run_some(p, n, spread_task);
    }
}

/* ------------------------------------------------------------------ a layer */

/* s->added = what the feed-forward part makes of the residual through the norm. */
static void feed_forward(struct pass *p, const struct norm *norm)
{
    const struct net_layer *layer = &p->net->layers[p->layer];
    struct entry entry = {.norm = norm, .before = p->c->parallel};
    if (layer->experts != NULL) {
        entry.into = &layer->router;
        enter(p, entry, p->s->routed);
        feed_experts(p);
    } else {
        entry.into = &layer->up;
        enter(p, entry, p->s->up);
        feed(p, &layer->down, p->s->added, p->rows);
    }
}

static void run_layer(struct pass *p)
{
    const struct net_layer *layer = &p->net->layers[p->layer];
    p->shape.window = config_window(p->c, p->layer);
    const bool sliding = config_rope(p->c, p->layer) == &p->c->rope_sliding;
    p->cosine = sliding ? p->s->cosine_sliding : p->s->cosine;
    p->sine = sliding ? p->s->sine_sliding : p->s->sine;
    p->offset = (size_t)p->layer * (size_t)p->c->G * p->shape.block_bytes;
    const bool post = p->c->post_norm;
    attend(p, post ? NULL : &layer->attn_norm);
    add_later(p, &layer->attn_post, post ? &layer->attn_norm : NULL);
    feed_forward(p, post ? NULL : &layer->mlp_norm);
    add_later(p, &layer->mlp_post, post ? &layer->mlp_norm : NULL);
}

/* ------------------------------------------------------------------ outputs */

struct delivery {
    float **target;
    const float *from;
    size_t width;
};

static void deliver_task(void *arg, int i)
{
    const struct delivery *d = arg;
    memcpy(d->target[i], d->from + (size_t)i * d->width, d->width * sizeof *d->from);
}

/* The n picked rows through the head to where they are wanted. */
static void deliver(const struct net *net, struct scratch *s, int n)
{
    size_t width = (size_t)net_outputs(net);
    const float *from = s->picked;
    if (n == 0)
        return;
    if (net->head != NULL) {
        head_apply(&net->config, net->head, s->picked, n, s->head_work, s->out);
        from = s->out;
    }
    struct delivery d = {s->target, from, width};
    threads_for(n, deliver_task, &d);
}

/* Final norm and head, for the asked rows only; the rows of all sequences share the product with the head. */
static void write_outputs(const struct pass *p)
{
    const struct net *net = p->net;
    struct scratch *s = p->s;
    size_t D = (size_t)p->c->D, width = (size_t)net_outputs(net);
    const float *x = s->x;
    int n = 0;
    for (int b = 0; b < p->B; x += (size_t)p->seqs[b].T * D, b++) {
        const struct forward_seq *seq = &p->seqs[b];
        assert(seq->out_from >= 0 && seq->out_n >= 0 && seq->out_n <= seq->T - seq->out_from);
        for (int i = 0; i < seq->out_n; i++) {
            const float *row = x + (size_t)(seq->out_from + i) * D;
            if (net->final_norm.w != NULL)
                norm_apply(p->c, &net->final_norm, s->picked + (size_t)n * D, row, 1);
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

/* ------------------------------------------------------------------ the pass */

/* Which row belongs to whom. */
static void plan(struct pass *p)
{
    const struct config *c = p->c;
    const struct kvpool *pool = p->seqs[0].kv->pool;
    p->shape = (struct attention){.H = c->H, .G = c->G, .K = c->K, .causal = c->causal, .scale = c->query_scale, .cap = c->score_cap, .dtype = kvpool_dtype(pool),
                                  .block_bytes = kvpool_block_bytes(pool)};
    p->together = p->B * c->G >= 16 * threads_count() ? 4 : 1;
    for (int b = 0; b < p->B; b++) {
        const struct forward_seq *seq = &p->seqs[b];
        int per_head;
        assert(seq->T > 0 && seq->T <= p->s->rows - p->rows && seq->kv->len + seq->T <= seq->kv->page_count * KV_PAGE);
        assert((c->causal || seq->kv->len == 0) && kvpool_dtype(seq->kv->pool) == p->shape.dtype);
        for (int t = 0; t < seq->T; t++, p->rows++) {
            p->s->sequence[p->rows] = b;
            p->s->token[p->rows] = seq->kv->len + t;
        }
        p->tiles += tiles_of(p, seq, &per_head);
    }
}

void forward(const struct net *net, struct scratch *s, struct forward_seq *seqs, int B)
{
    struct pass p = {.net = net, .c = &net->config, .s = s, .seqs = seqs, .B = B};
    plan(&p);
    run_rows(&p, stack_task);
    for (p.layer = 0; p.layer < net->config.L; p.layer++)
        run_layer(&p);
    run_rows(&p, settle_task);
    for (int b = 0; b < B; b++)
        seqs[b].kv->len += seqs[b].T;
    write_outputs(&p);
}
