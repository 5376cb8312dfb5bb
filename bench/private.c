#include "bench/private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/secret.h"
#include "model/arch.h"
#include "model_dev/grant.h"
#include "model_dev/protect.h"
#include "model_dev/release.h"
#include "user/local.h"
#include "user/seal.h"

struct private {
    char dir[FILE_PATH_MAX - 64];
    bool made;
    struct private_server honest, *server; /* server: who answers */
    struct identity *id;
    struct protect_opts opts; /* without model and out */
    uint8_t seed[CRYPTO_KEY_LEN];
    enum kv_dtype kv;
    struct grant *grant;
    struct local *local; /* the user's layers, NULL without */
    float *x, *x_p, *y_p, *y;
    void *work;
    int cap;
    uint64_t server_us;
};

int private_protect(const struct private *p, const char *model, const char *out, struct err *err)
{
    struct protect_report report;
    struct protect_opts opts = p->opts;
    opts.model = model;
    opts.out = out;
    return protect_checkpoint(&opts, &report, err);
}

int private_server_open(struct private_server *out, const struct private *p, const char *dir, enum compute compute, struct err *err)
{
    char package[FILE_PATH_MAX];
    struct checkpoint *cp = NULL;
    struct private_server s = {0};
    const bool head = !p->grant->head_here;
    int rc = file_join(package, dir, PROTECT_PACKAGE, err);
    if (rc == 0)
        rc = checkpoint_open(&cp, package, CHECKPOINT_CORE | (head ? CHECKPOINT_HEAD : 0), err);
    if (rc == 0)
        rc = net_load(&s.net, cp, head, compute, err);
    checkpoint_close(cp);
    if (rc == 0)
        rc = kvcache_new_alone(&s.kv, &s.net->config, p->kv, p->cap, err);
    if (rc == 0)
        rc = scratch_new(&s.scratch, s.net, p->cap, 64, err);
    if (rc != 0)
        private_server_close(&s);
    else
        *out = s;
    return rc;
}

void private_server_close(struct private_server *s)
{
    scratch_free(s->scratch);
    kvcache_free(s->kv);
    net_free(s->net);
    *s = (struct private_server){0};
}

static int make(struct private *p, const char *model, const struct cli_cmd *cmd, struct err *err)
{
    struct release release = {0};
    char grant[FILE_PATH_MAX];
    const char *hex = cli_str(cmd, "seed", NULL);
    int64_t local_layers = 0;
    if (cli_int(cmd, "local-layers", 0, UINT16_MAX, &local_layers, err) != 0)
        return -1;
    if (hex != NULL && !crypto_unhex(hex, p->seed, sizeof p->seed))
        return err_set(err, ERR_USAGE, "--seed: expected 64 hex digits");
    if ((hex == NULL && crypto_random(p->seed, sizeof p->seed, err) != 0) || file_join(grant, p->dir, "grant", err) != 0 ||
        file_mkdirs(grant, 0700, err) != 0 || identity_generate(&p->id, err) != 0)
        return -1;
    p->opts = (struct protect_opts){.profile = cli_str(cmd, "profile", NULL), .head = cli_str(cmd, "head", NULL),
                                    .local_layers = (int)local_layers, .dtype = cli_str(cmd, "dtype", NULL), .seed = p->seed,
                                    .sign_pub = p->id->sign_pub, .sign_key = p->id->sign_key};
    struct grant_source source = {.model = model, .from = &release, .identity = p->id};
    int rc = private_protect(p, model, p->dir, err);
    if (rc == 0)
        rc = release_open(&release, p->dir, p->id->sign_pub, err);
    if (rc == 0)
        rc = grant_folder(&source, grant, err);
    if (rc == 0)
        rc = grant_open(&p->grant, grant, err);
    if (rc == 0)
        rc = private_server_open(&p->honest, p, p->dir, p->grant->compute, err);
    release_close(&release);
    p->server = &p->honest;
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
    struct private *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_oom(err, sizeof *p);
    p->cap = cap;
    (void)snprintf(p->dir, sizeof p->dir, "%s/stip-private-XXXXXX", tmp == NULL || tmp[0] == '\0' ? "/tmp" : tmp);
    p->made = mkdtemp(p->dir) != NULL;
    if (!p->made)
        err_set(err, ERR_INTERNAL, "cannot make a temporary folder %s", p->dir);
    if (!p->made || private_kv(cmd, &p->kv, err) != 0 || make(p, model, cmd, err) != 0 ||
        (p->grant->local != NULL && local_new(&p->local, p->grant->local, p->kv, cap, cap, err) != 0)) {
        private_close(p);
        return -1;
    }
    int D = p->grant->config->D;
    p->x = floats(cap, D);
    p->x_p = floats(cap, D);
    p->y_p = floats(cap, net_outputs(p->honest.net));
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
    private_server_close(&p->honest);
    identity_free(p->id);
    secret_wipe(p->seed, sizeof p->seed);
    free(p->x);
    free(p->x_p);
    free(p->y_p);
    free(p->y);
    free(p->work);
    free(p);
}

/* Outputs of the server's net in p->y_p; the rows are in p->x. */
static int pass(struct private *p, int T, int out_from, int out_n, struct err *err)
{
    const struct grant *g = p->grant;
    if ((p->local != NULL && local_rows(p->local, p->server->kv->len, p->x, T, err) != 0) ||
        grant_turn(g, p->x, (size_t)T, err) != 0)
        return -1;
    struct sealed_rows x_p = seal_rows(p->x_p, p->x, (size_t)T, &g->residual);
    struct forward_seq seq = {.kv = p->server->kv, .x = x_p.data, .T = T, .out_from = out_from, .out_n = out_n, .out = p->y_p};
    const uint64_t start = clock_us();
    forward(p->server->net, p->server->scratch, &seq, 1);
    p->server_us += clock_us() - start;
    return 0;
}

static int hidden_rows(struct private *p, int n, float *x, struct err *err)
{
    unseal_rows(x, p->y_p, (size_t)n, &p->grant->residual);
    return grant_turn_back(p->grant, x, (size_t)n, err);
}

static int run(struct private *p, int T, int out_from, int out_n, float *logits, struct err *err)
{
    const struct grant *g = p->grant;
    if (pass(p, T, out_from, out_n, err) != 0)
        return -1;
    if (!g->head_here) {
        unseal_rows(logits, p->y_p, (size_t)out_n * (size_t)arch_answer_rows(g->config), &g->output);
        return 0;
    }
    if (hidden_rows(p, out_n, p->y, err) != 0)
        return -1;
    head_apply(g->config, g->head, p->y, out_n, p->work, logits);
    return 0;
}

int private_append(struct private *p, const int32_t *ids, const int32_t *types, int T, int out_from, int out_n, float *logits,
                   struct err *err)
{
    if (embed_rows(p->grant->embed, ids, types, T, p->server->kv->len, p->x, err) != 0)
        return -1;
    return run(p, T, out_from, out_n, logits, err);
}

int private_hidden(struct private *p, const int32_t *ids, const int32_t *types, int T, float *x, struct err *err)
{
    assert(p->grant->head_here);
    if (embed_rows(p->grant->embed, ids, types, T, p->server->kv->len, p->x, err) != 0 || pass(p, T, 0, T, err) != 0)
        return -1;
    return hidden_rows(p, T, x, err);
}

int private_image(struct private *p, const float *pixels, float *logits, struct err *err)
{
    if (embed_image(p->grant->embed, pixels, p->x, err) != 0)
        return -1;
    private_restart(p);
    const struct config *c = p->grant->config;
    const int n = arch_answer_rows(c);
    float *rows = floats(n * n, c->C);
    int rc = rows == NULL ? err_oom(err, (unsigned long long)n * (unsigned)n * (unsigned)c->C * sizeof *rows) : run(p, c->positions, 0, n, rows, err);
    if (rc == 0)
        head_average(c, rows, logits);
    free(rows);
    return rc;
}

void private_restart(struct private *p)
{
    kvcache_truncate(p->server->kv, 0);
}

uint64_t private_server_us(const struct private *p)
{
    return p->server_us;
}

const struct grant *private_grant(const struct private *p)
{
    return p->grant;
}

const struct net *private_net(const struct private *p)
{
    return p->honest.net;
}

const char *private_dir(const struct private *p)
{
    return p->dir;
}

void private_ask(struct private *p, struct private_server *s)
{
    p->server = s == NULL ? &p->honest : s;
    private_restart(p);
}
