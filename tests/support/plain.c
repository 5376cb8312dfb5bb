#include "tests/support/plain.h"

#include <stdlib.h>

#include "engine/floats.h"

int plain_open(struct plain *out, const char *dir, bool head, int cap, enum compute compute, struct err *err)
{
    struct plain p = {0};
    if (checkpoint_open(&p.cp, dir, CHECKPOINT_ALL, err) != 0)
        return -1;
    p.config = checkpoint_config(p.cp);
    if (net_load(&p.net, p.cp, head, compute, err) != 0 || embed_load(&p.embed, p.cp, err) != 0 ||
        kvcache_new_alone(&p.kv, p.config, KV_F32, cap, err) != 0 || scratch_new(&p.scratch, p.net, cap, 16, err) != 0 ||
        floats_alloc(&p.x, (size_t)cap, (size_t)p.config->D, err) != 0) {
        plain_close(&p);
        return -1;
    }
    *out = p;
    return 0;
}

int plain_cache(struct plain *p, enum kv_dtype dtype, struct err *err)
{
    struct kvcache *kv;
    if (kvcache_new_alone(&kv, p->config, dtype, p->kv->cap, err) != 0)
        return -1;
    kvcache_free(p->kv);
    p->kv = kv;
    return 0;
}

void plain_close(struct plain *p)
{
    free(p->x);
    scratch_free(p->scratch);
    kvcache_free(p->kv);
    embed_free(p->embed);
    net_free(p->net);
    checkpoint_close(p->cp);
    *p = (struct plain){0};
}

/* The rows are in p->x. */
static void run(struct plain *p, int T, int out_n, float *out)
{
    bool classify = p->config->head == HEAD_CLASSIFY && p->net->head != NULL;
    struct forward_seq seq = {.kv = p->kv, .x = p->x, .T = T, .out_from = classify ? 0 : T - out_n, .out_n = out_n, .out = out};
    forward(p->net, p->scratch, &seq, 1);
}

int plain_image(struct plain *p, const float *pixels, float *out, struct err *err)
{
    if (embed_image(p->embed, pixels, p->x, err) != 0)
        return -1;
    kvcache_truncate(p->kv, 0);
    run(p, p->config->positions, 1, out);
    return 0;
}

int plain_append(struct plain *p, const int32_t *ids, const int32_t *types, int T, int out_n, float *out, struct err *err)
{
    if (T < 1 || T > p->kv->cap - p->kv->len || out_n > T)
        return err_set(err, ERR_USAGE, "%d tokens with %d outputs do not fit the cache of %d", T, out_n, p->kv->cap);
    if (embed_rows(p->embed, ids, types, T, p->kv->len, p->x, err) != 0)
        return -1;
    run(p, T, out_n, out);
    return 0;
}

int plain_greedy(struct plain *p, int32_t *ids, int n, int total, struct err *err)
{
    int V = net_outputs(p->net), rc = -1, fed = 0;
    float *logits;
    if (floats_alloc(&logits, 1, (size_t)V, err) != 0)
        return -1;
    kvcache_truncate(p->kv, 0);
    for (; n < total; n++) {
        if (plain_append(p, ids + fed, NULL, n - fed, 1, logits, err) != 0)
            goto done;
        fed = n;
        int best = 0;
        for (int v = 1; v < V; v++)
            if (logits[v] > logits[best])
                best = v;
        ids[n] = best;
    }
    rc = 0;
done:
    free(logits);
    return rc;
}
