#include "bench/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model_dev/grant.h"
#include "model_dev/protect.h"
#include "model_dev/release.h"
#include "user/local.h"
#include "user/seal.h"

struct private {
    char dir[FILE_PATH_MAX - 64];
    bool made;
    struct checkpoint *package;
    struct net *net;
    struct kvcache *kv;
    struct scratch *scratch;
    struct grant *grant;
    struct local *local; /* the user's layers, NULL without */
    float *x, *x_p, *y_p, *y;
    void *work;
    int cap;
};

static int make(struct private *p, const char *model, const struct cli_cmd *cmd, struct err *err)
{
    struct identity *id = NULL;
    struct release release = {0};
    struct protect_report report;
    uint8_t seed[CRYPTO_KEY_LEN];
    char grant[FILE_PATH_MAX];
    const char *hex = cli_str(cmd, "seed", NULL);
    int64_t local_layers = 0;
    int rc = -1;
    if (cli_int(cmd, "local-layers", 0, UINT16_MAX, &local_layers, err) != 0)
        return -1;
    if (hex != NULL && !crypto_unhex(hex, seed, sizeof seed))
        return err_set(err, ERR_USAGE, "--seed: expected 64 hex digits");
    if (file_join(grant, p->dir, "grant", err) != 0 || file_mkdirs(grant, 0700, err) != 0 || identity_generate(&id, err) != 0)
        return -1;
    struct protect_opts opts = {.model = model, .out = p->dir, .profile = cli_str(cmd, "profile", NULL),
                                .head = cli_str(cmd, "head", NULL), .local_layers = (int)local_layers, .dtype = cli_str(cmd, "dtype", NULL),
                                .seed = hex != NULL ? seed : NULL, .sign_pub = id->sign_pub, .sign_key = id->sign_key};
    struct grant_source source = {.model = model, .from = &release, .identity = id};
    if (protect_checkpoint(&opts, &report, err) == 0 && release_open(&release, p->dir, id->sign_pub, err) == 0 &&
        grant_folder(&source, grant, err) == 0 && grant_open(&p->grant, grant, err) == 0)
        rc = 0;
    if (rc == 0) {
        bool head = !p->grant->head_here;
        rc = checkpoint_open(&p->package, report.package, CHECKPOINT_CORE | (head ? CHECKPOINT_HEAD : 0), err);
        if (rc == 0)
            rc = net_load(&p->net, p->package, head, p->grant->compute, err);
    }
    release_close(&release);
    identity_free(id);
    return rc;
}

static float *floats(int rows, int width)
{
    return malloc((size_t)rows * (size_t)width * sizeof(float));
}

int private_kv(const struct cli_cmd *cmd, enum kv_dtype *out, struct err *err)
{
    const char *name = cli_str(cmd, "kv", "f32");
    return kv_dtype_parse(name, out) ? 0 : err_set(err, ERR_USAGE, "--kv: expected f32, bf16 or int8, found '%.20s'", name);
}

int private_open(struct private **out, const char *model, const struct cli_cmd *cmd, int cap, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    enum kv_dtype kv;
    struct private *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_oom(err, sizeof *p);
    p->cap = cap;
    (void)snprintf(p->dir, sizeof p->dir, "%s/stip-private-XXXXXX", tmp == NULL || tmp[0] == '\0' ? "/tmp" : tmp);
    p->made = mkdtemp(p->dir) != NULL;
    if (!p->made)
        err_set(err, ERR_INTERNAL, "cannot make a temporary folder %s", p->dir);
    if (!p->made || private_kv(cmd, &kv, err) != 0 || make(p, model, cmd, err) != 0 ||
        kvcache_new_alone(&p->kv, &p->net->config, kv, cap, err) != 0 ||
        (p->grant->local != NULL && local_new(&p->local, p->grant->local, kv, cap, cap, err) != 0) ||
        scratch_new(&p->scratch, p->net, cap, 64, err) != 0) {
        private_close(p);
        return -1;
    }
    int D = p->grant->config->D;
    p->x = floats(cap, D);
    p->x_p = floats(cap, D);
    p->y_p = floats(cap, net_outputs(p->net));
    p->y = floats(cap, D);
    if (p->x == NULL || p->x_p == NULL || p->y_p == NULL || p->y == NULL) {
        private_close(p);
        return err_oom(err, (unsigned long long)cap * (unsigned)D * sizeof(float));
    }
    if (p->grant->head_here && head_work_new(&p->work, p->grant->head, cap, err) != 0) {
        private_close(p);
        return -1;
    }
    *out = p;
    return 0;
}

void private_close(struct private *p)
{
    if (p == NULL)
        return;
    struct err left;
    if (p->made && file_remove_tree(p->dir, &left) != 0)
        (void)fprintf(stderr, "%s\n", left.text);
    local_free(p->local);
    grant_free(p->grant);
    scratch_free(p->scratch);
    kvcache_free(p->kv);
    net_free(p->net);
    checkpoint_close(p->package);
    free(p->x);
    free(p->x_p);
    free(p->y_p);
    free(p->y);
    free(p->work);
    free(p);
}

/* The rows are in p->x. */
static int run(struct private *p, int T, int out_from, int out_n, float *logits, struct err *err)
{
    const struct grant *g = p->grant;
    if ((p->local != NULL && local_rows(p->local, p->kv->len, p->x, T, err) != 0) ||
        grant_turn(g, p->x, (size_t)T, err) != 0)
        return -1;
    struct sealed_rows x_p = seal_rows(p->x_p, p->x, (size_t)T, &g->residual);
    struct forward_seq seq = {.kv = p->kv, .x = x_p.data, .T = T, .out_from = out_from, .out_n = out_n, .out = p->y_p};
    forward(p->net, p->scratch, &seq, 1);
    if (!g->head_here) {
        unseal_rows(logits, p->y_p, (size_t)out_n, &g->output);
        return 0;
    }
    unseal_rows(p->y, p->y_p, (size_t)out_n, &g->residual);
    if (grant_turn_back(g, p->y, (size_t)out_n, err) != 0)
        return -1;
    head_apply(g->config, g->head, p->y, out_n, p->work, logits);
    return 0;
}

int private_append(struct private *p, const int32_t *ids, const int32_t *types, int T, int out_from, int out_n, float *logits,
                   struct err *err)
{
    if (embed_rows(p->grant->embed, ids, types, T, p->kv->len, p->x, err) != 0)
        return -1;
    return run(p, T, out_from, out_n, logits, err);
}

int private_image(struct private *p, const float *pixels, float *logits, struct err *err)
{
    if (embed_image(p->grant->embed, pixels, p->x, err) != 0)
        return -1;
    private_restart(p);
    return run(p, p->grant->config->positions, 0, 1, logits, err);
}

void private_restart(struct private *p)
{
    kvcache_truncate(p->kv, 0);
}

const struct grant *private_grant(const struct private *p)
{
    return p->grant;
}

const struct net *private_net(const struct private *p)
{
    return p->net;
}
