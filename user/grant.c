#include "user/grant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/expiry.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/secret.h"

#define KEYS_LEN 104
static const char keys_magic[8] = "STIPEND1";

static int read_verdict(struct grant *g, const struct json_doc *doc, const struct json *audit, struct err *err)
{
    static const char *const keys[] = {"created", "verdict", NULL};
    const char *created;
    if (json_is_null(audit))
        return 0;
    if (json_only(doc, audit, keys, err) != 0 || json_get_str(doc, audit, "created", &created, err) != 0)
        return -1;
    (void)snprintf(g->audited, sizeof g->audited, "%s", created);
    for (const struct json *s = json_first(json_get(audit, "verdict")); s != NULL; s = json_next(s)) {
        if (json_string(s) == NULL || g->verdict_count == GRANT_VERDICT_MAX)
            return err_set(err, ERR_INPUT, "%s: field 'audit.verdict': expected at most %d sentences, found %s", json_name(doc),
                           GRANT_VERDICT_MAX, json_string(s) == NULL ? json_type_name(s) : "more");
        if ((g->verdict[g->verdict_count] = strdup(json_string(s))) == NULL)
            return err_oom(err, strlen(json_string(s)));
        g->verdict_count++;
    }
    return 0;
}

static int read_header(struct grant *g, const char *dir, struct err *err)
{
    static const char *const keys[] = {"version", "context", "architecture", "profile", "head", "local_layers", "compute",
                                       "epoch",   "created", "expires", "model_dev", "embedding", "audit", NULL};
    char path[FILE_PATH_MAX];
    struct json_doc *doc;
    const char *context, *profile, *head, *developer, *expires = NULL, *compute = compute_name(COMPUTE_F32);
    int64_t version, epoch, local_layers = 0;
    if (file_join(path, dir, "grant.json", err) != 0)
        return -1;
    if (!file_exists(path))
        return err_set(err, ERR_INPUT, "%s: there is no grant here; run: stip-user join --config user.json", dir);
    if (json_load(&doc, path, JSON_CAP_CONFIG, false, err) != 0)
        return -1;
    int rc = -1;
    const struct json *root = json_root(doc);
    if (json_only(doc, root, keys, err) != 0 || json_get_int(doc, root, "version", 1, 1, &version, err) != 0 ||
        json_get_str(doc, root, "context", &context, err) != 0 || json_get_str(doc, root, "profile", &profile, err) != 0 ||
        json_get_str(doc, root, "head", &head, err) != 0 || json_opt_str(doc, root, "compute", &compute, err) != 0 ||
        json_opt_int(doc, root, "local_layers", 0, UINT16_MAX, &local_layers, err) != 0 ||
        json_get_int(doc, root, "epoch", 1, UINT32_MAX, &epoch, err) != 0 || json_opt_str(doc, root, "expires", &expires, err) != 0 ||
        json_get_str(doc, root, "model_dev", &developer, err) != 0 || peer_key_parse(&g->model_dev, developer, err) != 0 ||
        sentence_parse(&g->sentence, doc, json_get(root, "embedding"), err) != 0 ||
        read_verdict(g, doc, json_get(root, "audit"), err) != 0)
        goto done;
    if (!crypto_unhex(context, g->context, sizeof g->context)) {
        err_set(err, ERR_INPUT, "%s: field 'context': expected 64 hex digits", path);
        goto done;
    }
    g->engine = strcmp(profile, "engine") == 0;
    if (strcmp(profile, "stip") != 0 && strcmp(profile, "gauge") != 0 && !g->engine) {
        err_set(err, ERR_INPUT, "%s: field 'profile': '%.30s' needs a newer stip-user", path, profile);
        goto done;
    }
    if (strcmp(head, "user") != 0 && strcmp(head, "server") != 0) {
        err_set(err, ERR_INPUT, "%s: field 'head': expected server or user, found '%.30s'", path, head);
        goto done;
    }
    if (!compute_parse(compute, &g->compute)) {
        err_set(err, ERR_INPUT, "%s: field 'compute': expected f32, bf16 or int8, found '%.30s'", path, compute);
        goto done;
    }
    if (expires != NULL && !expiry_parse(&g->expires, expires)) {
        err_set(err, ERR_INPUT, "%s: field 'expires': expected a date like 2027-03-01T12:00:00Z, found '%.40s'", path, expires);
        goto done;
    }
    g->head_here = strcmp(head, "user") == 0;
    g->local_layers = (int)local_layers;
    (void)snprintf(g->profile, sizeof g->profile, "%s", profile);
    g->epoch = (uint32_t)epoch;
    rc = 0;
done:
    json_free(doc);
    return rc;
}

/* Profile gauge: the rotation comes from the residual's sub-key, as the permutation does. */
static int read_turn(struct grant *g, const uint8_t key[CRYPTO_KEY_LEN], struct err *err)
{
    if (strcmp(g->profile, "gauge") != 0)
        return 0;
    if ((g->turn = calloc(1, sizeof *g->turn)) == NULL)
        return err_oom(err, sizeof *g->turn);
    return gauge_end_new(g->turn, g->config->D, g->config->norm == NORM_LAYER, key, err);
}

static int read_keys(struct grant *g, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    uint8_t *data = NULL, digest[CRYPTO_HASH_LEN];
    size_t len;
    int rc = -1;
    if (file_join(path, dir, "keys.bin", err) != 0 || file_read_secret(path, KEYS_LEN, &data, &len, err) != 0)
        return -1;
    if (len != KEYS_LEN || memcmp(data, keys_magic, sizeof keys_magic) != 0) {
        err_set(err, ERR_INPUT, "%s: not an end-key file of %d bytes; join again", path, KEYS_LEN);
        goto done;
    }
    if (crypto_sha256(data, KEYS_LEN - sizeof digest, digest, err) != 0)
        goto done;
    if (!secret_equal(digest, data + KEYS_LEN - sizeof digest, sizeof digest)) {
        err_set(err, ERR_INPUT, "%s: damaged (checksum); join again", path);
        goto done;
    }
    uint32_t outputs = (uint32_t)config_outputs(g->config);
    if ((!g->engine && perm_random(&g->residual, (uint32_t)g->config->D, data + 8, err) != 0) ||
        perm_random(&g->output, outputs, data + 8 + CRYPTO_KEY_LEN, err) != 0 || read_turn(g, data + 8, err) != 0)
        goto done;
    rc = 0;
done:
    secret_free(data);
    return rc;
}

/* generation_config.json may name more ends than config.json. */
static int read_eos(struct grant *g, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct json_doc *doc;
    for (int i = 0; i < g->config->eos_count; i++)
        g->eos[g->eos_count++] = g->config->eos[i];
    if (file_join(path, dir, "generation_config.json", err) != 0)
        return -1;
    if (!file_exists(path))
        return 0;
    if (json_load(&doc, path, JSON_CAP_CONFIG, false, err) != 0)
        return -1;
    const struct json *node = json_get(json_root(doc), "eos_token_id");
    const struct json *item = node != NULL && json_type(node) == JSON_ARRAY ? json_first(node) : node;
    int rc = 0;
    for (; rc == 0 && !json_is_null(item); item = item == node ? NULL : json_next(item)) {
        int64_t id;
        if (!json_integer(item, &id) || id < 0 || id >= g->config->V || g->eos_count == 2 * CONFIG_MAX_EOS)
            rc = err_set(err, ERR_INPUT, "%s: field 'eos_token_id': expected token ids, found %s", path, json_type_name(item));
        else
            g->eos[g->eos_count++] = (int)id;
    }
    json_free(doc);
    return rc;
}

/* The engine's own table, where the developer gave it. */
static int read_rows(struct grant *g, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    if (file_join(path, dir, "rows.safetensors", err) != 0)
        return -1;
    if (!file_exists(path))
        return 0;
    if (safetensors_open(&g->rows_file, path, err) != 0)
        return -1;
    const struct tensor *t = safetensors_find(g->rows_file, "rows");
    const uint64_t V = (uint64_t)g->config->V, D = (uint64_t)g->config->D;
    if (t == NULL || t->rank != 2 || t->dim[0] != V || t->dim[1] != D || !dtype_is_float(t->dtype))
        return err_set(err, ERR_INPUT, "%s: expected tensor 'rows' of F32, BF16 or F16 with %llu x %llu numbers; join again", path,
                       (unsigned long long)V, (unsigned long long)D);
    g->rows = t;
    return 0;
}

/* The embedding tables, and head and first layers where they are the user's. */
static int read_tables(struct grant *g, const char *dir, struct err *err)
{
    if (g->engine) {
        if (config_read(&g->own, dir, err) != 0)
            return -1;
        g->config = &g->own;
        return read_rows(g, dir, err);
    }
    if (checkpoint_open(&g->checkpoint, dir, CHECKPOINT_EMBED | (g->head_here ? CHECKPOINT_HEAD : 0), err) != 0)
        return -1;
    g->config = checkpoint_config(g->checkpoint);
    if (embed_load(&g->embed, g->checkpoint, err) != 0 ||
        (g->head_here && head_load(&g->head, g->checkpoint, g->compute, err) != 0))
        return -1;
    if (g->head_here && strcmp(g->profile, "gauge") == 0) {
        if (checkpoint_tensor(g->checkpoint, ROLE_FINAL_NORM_W, 0) == NULL ||
            (g->config->norm == NORM_LAYER && checkpoint_tensor(g->checkpoint, ROLE_FINAL_NORM_B, 0) == NULL))
            return err_set(err, ERR_INPUT, "%s: the final norm is missing; join again", dir);
        if (norm_load(&g->final_norm, g->checkpoint, ROLE_FINAL_NORM_W, ROLE_FINAL_NORM_B, 0, err) != 0)
            return -1;
    }
    return g->local_layers == 0 ? 0 : net_load_first(&g->local, g->checkpoint, g->local_layers, g->compute, err);
}

/* What becomes of a text, or of an image. */
static int read_inputs(struct grant *g, const char *dir, struct err *err)
{
    return config_reads_images(g->config) ? preprocess_read(&g->preprocess, dir, g->config, err) : tokenizer_load(&g->tokenizer, dir, err);
}

int grant_open(struct grant **out, const char *dir, struct err *err)
{
    struct grant *g = calloc(1, sizeof *g);
    if (g == NULL)
        return err_oom(err, sizeof *g);
    if (read_header(g, dir, err) != 0 || read_tables(g, dir, err) != 0 || read_inputs(g, dir, err) != 0 ||
        read_eos(g, dir, err) != 0 || read_keys(g, dir, err) != 0)
        goto fail;
    *out = g;
    return 0;
fail:
    grant_free(g);
    return err_wrap(err, "grant");
}

void grant_free(struct grant *g)
{
    if (g == NULL)
        return;
    perm_wipe(&g->residual);
    perm_wipe(&g->output);
    tokenizer_free(g->tokenizer);
    if (g->turn != NULL)
        gauge_end_wipe(g->turn);
    free(g->turn);
    norm_free(&g->final_norm);
    net_free(g->local);
    head_free(g->head);
    embed_free(g->embed);
    checkpoint_close(g->checkpoint);
    safetensors_close(g->rows_file);
    config_free(&g->own);
    sentence_free(&g->sentence);
    for (int i = 0; i < g->verdict_count; i++)
        free(g->verdict[i]);
    free(g);
}

int grant_check_time(const struct grant *g, struct err *err)
{
    return expiry_check(g->expires, clock_unix(), "this grant", "ask the developer for another, then: stip-user join", err);
}

void grant_warn(const struct grant *g)
{
    const int64_t now = clock_unix();
    if (expiry_near(g->expires, now))
        log_warn("this grant expires in %lld days; ask the developer for another", (long long)expiry_days(g->expires, now));
}

int grant_check_newer(const struct grant *fresh, const char *dir, struct err *err)
{
    struct grant *old = calloc(1, sizeof *old);
    struct err none;
    int rc = old == NULL ? err_oom(err, sizeof *old) : 0;
    if (rc == 0 && read_header(old, dir, &none) == 0 && peer_key_equal(&old->model_dev, &fresh->model_dev) &&
        fresh->epoch < old->epoch)
        rc = err_set(err, ERR_AUTH, "%s has the grant of epoch %u, this one is of epoch %u: an old grant does not replace a later one; "
                                    "remove the folder if that is meant", dir, old->epoch, fresh->epoch);
    grant_free(old);
    return rc;
}

int grant_turn(const struct grant *g, float *x, size_t n, struct err *err)
{
    return g->turn == NULL ? 0 : gauge_end_rows(g->turn, x, n, err);
}

/* The server's norm has neither gain nor bias: they are put on here. */
int grant_turn_back(const struct grant *g, float *x, size_t n, struct err *err)
{
    const size_t D = (size_t)g->config->D;
    if (g->turn == NULL)
        return 0;
    if (gauge_end_rows_back(g->turn, x, n, err) != 0)
        return -1;
    for (size_t i = 0; i < n * D; i++)
        x[i] = x[i] * g->final_norm.w[i % D] + (g->final_norm.b == NULL ? 0 : g->final_norm.b[i % D]);
    return 0;
}

bool grant_is_eos(const struct grant *g, int32_t token)
{
    for (int i = 0; i < g->eos_count; i++)
        if (g->eos[i] == token)
            return true;
    return false;
}
