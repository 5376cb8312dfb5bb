#include <assert.h>
#include <stdlib.h>

#include "engine/floats.h"
#include "engine/forward.h"

int kvcache_new(struct kvcache **out, const struct config *c, int cap, struct err *err)
{
    assert(cap > 0);
    size_t rows = (size_t)c->L * (size_t)cap, width = (size_t)c->G * (size_t)c->K;
    struct kvcache *kv = calloc(1, sizeof *kv);
    if (kv == NULL)
        return err_oom(err, sizeof *kv);
    kv->cap = cap;
    if (floats_alloc(&kv->k, rows, width, err) != 0 || floats_alloc(&kv->v, rows, width, err) != 0) {
        kvcache_free(kv);
        return -1;
    }
    *out = kv;
    return 0;
}

void kvcache_free(struct kvcache *kv)
{
    if (kv == NULL)
        return;
    free(kv->k);
    free(kv->v);
    free(kv);
}

void kvcache_truncate(struct kvcache *kv, int len)
{
    assert(len >= 0 && len <= kv->len);
    kv->len = len;
}

size_t kvcache_bytes(const struct config *c, int cap)
{
    return 2 * (size_t)c->L * (size_t)cap * (size_t)c->G * (size_t)c->K * sizeof(float);
}
