#include "model_dev/rehearsal.h"

#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "engine/embed.h"
#include "engine/floats.h"
#include "engine/forward.h"
#include "permute/gather.h"
#include "permute/gauge.h"

struct stage {
    struct net *net;
    struct kvcache *kv;
    struct scratch *scratch;
};

struct rehearsal {
    const struct config *config; /* of the plain checkpoint */
    struct checkpoint *package;
    struct stage first, rest; /* the users' layers, net NULL without; the server's */
    struct embed *embed;
    struct head *head; /* NULL: the server has it */
    struct norm final_norm;
    void *work; /* for head_apply */
    struct perm residual, output;
    struct gauge_end turn;
    float *x, *x_p, *y, *y_p; /* [cap,D] twice, [D], [D or V] */
};

static int open_stage(struct stage *p, int cap, struct err *err)
{
    return kvcache_new_alone(&p->kv, &p->net->config, KV_F32, cap, err) != 0 ? -1 : scratch_new(&p->scratch, p->net, cap, 1, err);
}

static void close_stage(struct stage *p)
{
    scratch_free(p->scratch);
    kvcache_free(p->kv);
    net_free(p->net);
}

static bool head_user(const struct release *from)
{
    return strcmp(from->manifest.head, "user") == 0;
}

static int open_server(struct rehearsal *r, const struct release *from, int cap, struct err *err)
{
    const bool head = !head_user(from);
    if (checkpoint_open(&r->package, from->package, CHECKPOINT_CORE | (head ? CHECKPOINT_HEAD : 0u), err) != 0 ||
        net_load(&r->rest.net, r->package, head, from->manifest.compute, err) != 0)
        return -1;
    return open_stage(&r->rest, cap, err);
}

static int open_user(struct rehearsal *r, const struct release *from, const struct checkpoint *plain, int cap, struct err *err)
{
    const enum compute compute = from->manifest.compute;
    if (embed_load(&r->embed, plain, err) != 0)
        return -1;
    if (from->manifest.local_layers > 0 &&
        (net_load_first(&r->first.net, plain, (int)from->manifest.local_layers, compute, err) != 0 || open_stage(&r->first, cap, err) != 0))
        return -1;
    if (!head_user(from))
        return 0;
    if (head_load(&r->head, plain, compute, err) != 0 ||
        norm_load(&r->final_norm, plain, ROLE_FINAL_NORM_W, ROLE_FINAL_NORM_B, 0, err) != 0)
        return -1;
    return head_work_new(&r->work, r->head, 1, err);
}

static int open_keys(struct rehearsal *r, const struct release *from, struct err *err)
{
    struct keyset *keys = NULL;
    uint8_t end[CRYPTO_KEY_LEN];
    struct context_key *key = secret_alloc(sizeof *key);
    int rc = key == NULL ? err_oom(err, sizeof *key) : release_key(from, key, err);
    if (rc == 0)
        rc = keyset_new(&keys, &key->shape, key->seed, err);
    if (rc == 0)
        rc = keyset_perm(keys, KEY_RESIDUAL, 0, &r->residual, err);
    if (rc == 0)
        rc = keyset_perm(keys, KEY_OUTPUT, 0, &r->output, err);
    if (rc == 0)
        rc = keyset_end_key(keys, KEY_RESIDUAL, end, err);
    if (rc == 0)
        rc = gauge_end_new(&r->turn, r->config->D, r->config->norm == NORM_LAYER, end, err);
    secret_wipe(end, sizeof end);
    keyset_free(keys);
    secret_free(key);
    return rc;
}

int rehearsal_open(struct rehearsal **out, const struct release *from, const struct checkpoint *plain, int cap, struct err *err)
{
    struct rehearsal *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_oom(err, sizeof *r);
    r->config = checkpoint_config(plain);
    const size_t D = (size_t)r->config->D;
    if (open_server(r, from, cap, err) != 0 || open_user(r, from, plain, cap, err) != 0 || open_keys(r, from, err) != 0 ||
        floats_alloc(&r->x, (size_t)cap, D, err) != 0 || floats_alloc(&r->x_p, (size_t)cap, D, err) != 0 ||
        floats_alloc(&r->y, 1, D, err) != 0 || floats_alloc(&r->y_p, 1, (size_t)net_outputs(r->rest.net), err) != 0) {
        rehearsal_free(r);
        return -1;
    }
    *out = r;
    return 0;
}

void rehearsal_free(struct rehearsal *r)
{
    if (r == NULL)
        return;
    gauge_end_wipe(&r->turn);
    perm_wipe(&r->residual);
    perm_wipe(&r->output);
    norm_free(&r->final_norm);
    head_free(r->head);
    free(r->work);
    embed_free(r->embed);
    close_stage(&r->first);
    close_stage(&r->rest);
    checkpoint_close(r->package);
    free(r->x);
    free(r->x_p);
    free(r->y);
    free(r->y_p);
    free(r);
}

int rehearsal_rows(struct rehearsal *r, const int32_t *ids, int n, int at, float *logits, struct err *err)
{
    const size_t D = (size_t)r->config->D;
    if (embed_rows(r->embed, ids, NULL, n, r->rest.kv->len, r->x, err) != 0)
        return -1;
    if (r->first.net != NULL) {
        struct forward_seq seq = {.kv = r->first.kv, .x = r->x, .T = n, .out_from = 0, .out_n = n, .out = r->x};
        forward(r->first.net, r->first.scratch, &seq, 1);
    }
    if (gauge_end_rows(&r->turn, r->x, (size_t)n, err) != 0)
        return -1;
    gather_cols(r->x_p, r->x, (size_t)n, &r->residual);
    struct forward_seq seq = {.kv = r->rest.kv, .x = r->x_p, .T = n, .out_from = at, .out_n = 1, .out = r->y_p};
    forward(r->rest.net, r->rest.scratch, &seq, 1);
    if (r->head == NULL) {
        scatter_cols(logits, r->y_p, 1, &r->output);
        return 0;
    }
    scatter_cols(r->y, r->y_p, 1, &r->residual);
    if (gauge_end_rows_back(&r->turn, r->y, 1, err) != 0)
        return -1;
    for (size_t d = 0; d < D; d++)
        r->y[d] = r->y[d] * r->final_norm.w[d] + (r->final_norm.b == NULL ? 0 : r->final_norm.b[d]);
    head_apply(r->config, r->head, r->y, 1, r->work, logits);
    return 0;
}

void rehearsal_restart(struct rehearsal *r)
{
    kvcache_truncate(r->rest.kv, 0);
    if (r->first.kv != NULL)
        kvcache_truncate(r->first.kv, 0);
}
