#include "user/draft.h"

#include <stdlib.h>

#include "engine/embed.h"
#include "engine/forward.h"
#include "model/checkpoint.h"
#include "user/sample.h"

#define ROWS_AT_ONCE 256

struct draft {
    struct checkpoint *checkpoint;
    struct net *net;
    struct embed *embed;
    struct scratch *scratch;
    struct kvpool *pool;
    struct kvcache *kv;
    int32_t *cached; /* [kv->cap] the tokens that kv holds */
    float *x;        /* [ROWS_AT_ONCE, D] */
    float *logits;   /* [V] */
};

static int check(const struct config *small, const struct config *large, const char *dir, struct err *err)
{
    if (small->head != HEAD_LM)
        return err_set(err, ERR_INPUT, "%s: %s does not generate text, so it cannot draft", dir, small->architecture);
    if (small->V != large->V)
        return err_set(err, ERR_INPUT, "%s: the draft model has %d tokens, the served model %d; a draft needs the same vocabulary", dir,
                       small->V, large->V);
    return 0;
}

int draft_open(struct draft **out, const char *dir, const struct config *model, int tokens, struct err *err)
{
    struct draft *d = calloc(1, sizeof *d);
    if (d == NULL)
        return err_oom(err, sizeof *d);
    if (checkpoint_open(&d->checkpoint, dir, CHECKPOINT_ALL, err) != 0)
        goto fail;
    const struct config *c = checkpoint_config(d->checkpoint);
    const int cap = tokens < c->positions ? tokens : c->positions;
    if (check(c, model, dir, err) != 0 || net_load(&d->net, d->checkpoint, true, COMPUTE_F32, err) != 0 ||
        embed_load(&d->embed, d->checkpoint, err) != 0 || scratch_new(&d->scratch, d->net, ROWS_AT_ONCE, 1, err) != 0 ||
        kvpool_new(&d->pool, c, KV_F32, kvcache_bytes(c, KV_F32, cap), err) != 0 || kvcache_new(&d->kv, d->pool, cap, err) != 0)
        goto fail;
    d->cached = malloc((size_t)d->kv->cap * sizeof *d->cached);
    d->x = malloc((size_t)ROWS_AT_ONCE * (size_t)c->D * sizeof *d->x);
    d->logits = malloc((size_t)c->V * sizeof *d->logits);
    if (d->cached == NULL || d->x == NULL || d->logits == NULL) {
        err_oom(err, (unsigned long long)c->V * sizeof *d->logits);
        goto fail;
    }
    *out = d;
    return 0;
fail:
    draft_close(d);
    return err_wrap(err, "draft model");
}

void draft_close(struct draft *d)
{
    if (d == NULL)
        return;
    free(d->logits);
    free(d->x);
    free(d->cached);
    kvcache_free(d->kv);
    kvpool_free(d->pool);
    scratch_free(d->scratch);
    embed_free(d->embed);
    net_free(d->net);
    checkpoint_close(d->checkpoint);
    free(d);
}

/* Appends T tokens to the cache; the logits are those behind the last. */
static int append(struct draft *d, const int32_t *ids, int T, struct err *err)
{
    for (int done = 0; done < T;) {
        int n = T - done < ROWS_AT_ONCE ? T - done : ROWS_AT_ONCE, at = d->kv->len;
        if (embed_rows(d->embed, ids + done, NULL, n, at, d->x, err) != 0)
            return err_wrap(err, "draft model");
        struct forward_seq seq = {.kv = d->kv, .x = d->x, .T = n, .out_from = n - 1, .out_n = 1, .out = d->logits};
        forward(d->net, d->scratch, &seq, 1);
        for (int i = 0; i < n; i++)
            d->cached[at + i] = ids[done + i];
        done += n;
    }
    return 0;
}

int draft_next(struct draft *d, const int32_t *history, int n, int k, int32_t *drafts, int *count, int *rows, struct err *err)
{
    int same = 0, made = 0;
    /* The last token goes through again even if it is there: its logits are what is wanted. */
    while (same < d->kv->len && same < n - 1 && d->cached[same] == history[same])
        same++;
    *count = *rows = 0;
    if (n + k - 1 > d->kv->cap)
        k = d->kv->cap - n + 1;
    if (k < 1)
        return 0;
    kvcache_truncate(d->kv, same);
    if (!kvcache_reserve(d->kv, n + k - 1))
        return err_set(err, ERR_INTERNAL, "draft model: no memory for the keys and values of %d tokens", n + k - 1);
    if (append(d, history + same, n - same, err) != 0)
        return -1;
    while (made < k) {
        drafts[made++] = sample_argmax(d->logits, d->net->config.V);
        if (made < k && append(d, &drafts[made - 1], 1, err) != 0)
            return -1;
    }
    *count = made;
    *rows = n - same + made - 1;
    return 0;
}
