#include "tests/support/permuted.h"

#include <stdlib.h>
#include <string.h>

#include "engine/floats.h"
#include "tests/support/tempdir.h"

#define SEED 77

static int open_package(struct permuted *p, const char *package, enum compute compute, int cap, struct err *err)
{
    const struct config *c = p->plain.config;
    size_t rows = (size_t)cap, D = (size_t)c->D, widest = D > (size_t)config_outputs(c) ? D : (size_t)config_outputs(c);
    unsigned need = CHECKPOINT_CORE | (p->head_user ? 0u : CHECKPOINT_HEAD);
    if (checkpoint_open(&p->cp, package, need, err) != 0 || net_load(&p->net, p->cp, !p->head_user, compute, err) != 0 ||
        kvcache_new_alone(&p->kv, &p->net->config, KV_F32, cap, err) != 0 || scratch_new(&p->scratch, p->net, cap, 16, err) != 0 ||
        keyset_perm(p->keys, KEY_RESIDUAL, 0, &p->residual, err) != 0 ||
        keyset_perm(p->keys, KEY_OUTPUT, 0, &p->output, err) != 0 || floats_alloc(&p->x_p, rows, D, err) != 0 ||
        floats_alloc(&p->y_p, rows, widest, err) != 0 || floats_alloc(&p->hidden, rows, D, err) != 0)
        return -1;
    return p->head_user ? head_work_new(&p->work, p->plain.net->head, cap, err) : 0;
}

/* What a user of profile gauge makes of its sub-key. */
static int open_turn(struct permuted *p, struct err *err)
{
    uint8_t key[CRYPTO_KEY_LEN];
    if (keyset_end_key(p->keys, KEY_RESIDUAL, key, err) != 0)
        return -1;
    return gauge_end_new(&p->turn, p->plain.config->D, p->plain.config->norm == NORM_LAYER, key, err);
}

int permuted_open_as(struct permuted *out, const char *dir, const struct protect_opts *how, int cap, struct err *err)
{
    struct permuted p = {0};
    struct protect_report report;
    struct protect_opts o = protected_opts(dir, SEED);
    o.head = protected_head(dir, how->head);
    o.dtype = how->dtype;
    o.local_layers = how->local_layers;
    o.profile = how->profile;
    if (file_remove_tree(o.out, err) != 0 || protect_checkpoint(&o, &report, err) != 0)
        return -1;
    p.head_user = report.head_user;
    int rc = plain_open(&p.plain, o.model, true, cap, report.compute, err);
    if (rc == 0) {
        p.keys = protected_keys(p.plain.config, SEED);
        rc = open_package(&p, report.package, report.compute, cap, err);
    }
    if (rc == 0 && strcmp(report.profile, "gauge") == 0)
        rc = open_turn(&p, err);
    if (rc == 0 && o.local_layers > 0 && (rc = net_load_first(&p.first, p.plain.cp, o.local_layers, report.compute, err)) == 0)
        rc = local_new(&p.local, p.first, KV_F32, cap, cap, err);
    if (rc != 0)
        permuted_close(&p);
    else
        *out = p;
    return rc;
}

int permuted_open_local(struct permuted *out, const char *dir, const char *head, const char *dtype, int layers, int cap,
                        struct err *err)
{
    return permuted_open_as(out, dir, &(struct protect_opts){.head = head, .dtype = dtype, .local_layers = layers}, cap, err);
}

int permuted_open(struct permuted *out, const char *dir, const char *head, const char *dtype, int cap, struct err *err)
{
    return permuted_open_local(out, dir, head, dtype, 0, cap, err);
}

void permuted_close(struct permuted *p)
{
    gauge_end_wipe(&p->turn);
    local_free(p->local);
    net_free(p->first);
    free(p->x_p);
    free(p->y_p);
    free(p->hidden);
    free(p->work);
    perm_wipe(&p->residual);
    perm_wipe(&p->output);
    keyset_free(p->keys);
    scratch_free(p->scratch);
    kvcache_free(p->kv);
    net_free(p->net);
    checkpoint_close(p->cp);
    plain_close(&p->plain);
    *p = (struct permuted){0};
}

void permuted_restart(struct permuted *p)
{
    kvcache_truncate(p->kv, 0);
    kvcache_truncate(p->plain.kv, 0);
}

/* Final rows back, with the gain and bias of the plain model's norm. */
static int finish(struct permuted *p, size_t n, struct err *err)
{
    const struct norm *norm = &p->plain.net->final_norm;
    const size_t D = (size_t)p->plain.config->D;
    if (gauge_end_rows_back(&p->turn, p->hidden, n, err) != 0)
        return -1;
    for (size_t i = 0; i < n * D; i++)
        p->hidden[i] = p->hidden[i] * norm->w[i % D] + (norm->b == NULL ? 0 : norm->b[i % D]);
    return 0;
}

/* The rows are in p->plain.x. */
static int run(struct permuted *p, int T, int out_n, float *out, struct err *err)
{
    const struct config *c = p->plain.config;
    if ((p->local != NULL && local_rows(p->local, p->kv->len, p->plain.x, T, err) != 0) ||
        (p->turn.walk.n > 0 && gauge_end_rows(&p->turn, p->plain.x, (size_t)T, err) != 0))
        return -1;
    gather_cols(p->x_p, p->plain.x, (size_t)T, &p->residual);
    struct forward_seq seq = {.kv = p->kv, .x = p->x_p, .T = T, .out_from = c->head == HEAD_CLASSIFY ? 0 : T - out_n,
                              .out_n = out_n, .out = p->y_p};
    forward(p->net, p->scratch, &seq, 1);
    if (p->head_user) {
        scatter_cols(p->hidden, p->y_p, (size_t)out_n, &p->residual);
        if (p->turn.walk.n > 0 && finish(p, (size_t)out_n, err) != 0)
            return -1;
        head_apply(c, p->plain.net->head, p->hidden, out_n, p->work, out);
    } else {
        scatter_cols(out, p->y_p, (size_t)out_n, &p->output);
    }
    return 0;
}

int permuted_append(struct permuted *p, const int32_t *ids, const int32_t *types, int T, int out_n, float *out, struct err *err)
{
    if (T < 1 || T > p->kv->cap - p->kv->len || out_n > T)
        return err_set(err, ERR_USAGE, "%d tokens with %d outputs do not fit the cache of %d", T, out_n, p->kv->cap);
    if (embed_rows(p->plain.embed, ids, types, T, p->kv->len, p->plain.x, err) != 0)
        return -1;
    return run(p, T, out_n, out, err);
}

int permuted_image(struct permuted *p, const float *pixels, float *out, struct err *err)
{
    if (embed_image(p->plain.embed, pixels, p->plain.x, err) != 0)
        return -1;
    kvcache_truncate(p->kv, 0);
    return run(p, p->plain.config->positions, 1, out, err);
}
