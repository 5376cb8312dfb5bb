#include "user/local.h"

#include <stdlib.h>

struct local {
    const struct net *net;
    struct kvpool *pool;
    struct kvcache *kv;
    struct scratch *scratch;
    int rows;
};

#define ROWS 128 /* of one pass, where a text may be cut: the activations of more would only take memory */

int local_new(struct local **out, const struct net *net, enum kv_dtype dtype, int tokens, int rows, struct err *err)
{
    const struct config *c = &net->config;
    struct local *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_oom(err, sizeof *l);
    l->net = net;
    l->rows = c->causal && rows > ROWS ? ROWS : rows;
    if (kvpool_new(&l->pool, c, dtype, kvcache_bytes(c, dtype, tokens), err) != 0 || kvcache_new(&l->kv, l->pool, tokens, err) != 0 ||
        scratch_new(&l->scratch, net, l->rows, 1, err) != 0) {
        local_free(l);
        return -1;
    }
    *out = l;
    return 0;
}

void local_free(struct local *l)
{
    if (l == NULL)
        return;
    scratch_free(l->scratch);
    kvcache_free(l->kv);
    kvpool_free(l->pool);
    free(l);
}

int local_rows(struct local *l, int length, float *x, int T, struct err *err)
{
    const size_t D = (size_t)l->net->config.D;
    if (l->kv->len < length) /* a caller that skipped rows would get another text's */
        return err_set(err, ERR_INTERNAL, "the first layers have seen %d tokens of %d", l->kv->len, length);
    kvcache_truncate(l->kv, length);
    for (int first = 0; first < T;) {
        const int n = T - first < l->rows ? T - first : l->rows;
        float *rows = x + (size_t)first * D;
        struct forward_seq seq = {.kv = l->kv, .x = rows, .T = n, .out_from = 0, .out_n = n, .out = rows};
        if (!kvcache_reserve(l->kv, l->kv->len + n))
            return err_set(err, ERR_INTERNAL, "no memory for the keys and values of %d tokens", l->kv->len + n);
        forward(l->net, l->scratch, &seq, 1);
        first += n;
    }
    return 0;
}
