#include "model_dev/protect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/secret.h"
#include "model/manifest.h"
#include "model/preprocess.h"
#include "model/quant.h"
#include "model/sentence.h"
#include "model_dev/contents.h"
#include "model_dev/context_key.h"
#include "model_dev/engine.h"
#include "model_dev/fold.h"
#include "model_dev/place.h"
#include "model_dev/transform.h"
#include "permute/gather.h"

#define INDEX "model.safetensors.index.json"
#define BLOCK ((size_t)8 << 20) /* bytes */
#define SCALE_SUFFIX "_scale"
#define SCALE_NAME 520

/* All that is decided before a byte is written. */
struct plan {
    struct checkpoint *cp;
    struct contents contents;
    struct keyset *keys;
    struct context_key *key; /* secret memory */
    bool head_user, table_exposed;
    struct sentence sentence; /* around an embedding model */
    int local_layers;
    bool gauge;        /* profile "gauge" */
    struct fold *fold; /* NULL without */
    bool engine; /* profile "engine": embeddings and all, ids and tokenizer in the order of the output key */
    bool chained; /* a package of the same developer is replaced ... */
    uint8_t previous[CRYPTO_HASH_LEN]; /* ... of this context */
    bool convert; /* f32: all tensors; bf16, int8: the matrices, since nothing else is computed in these */
    enum dtype dtype;
    enum compute compute;
};

/* ------------------------------------------------------------------ options */

bool protect_compute(const char *dtype, enum compute *out)
{
    if (dtype != NULL && strcmp(dtype, "keep") != 0)
        return compute_parse(dtype, out);
    *out = COMPUTE_F32;
    return true;
}

static int check_options(const struct protect_opts *o, struct plan *p, struct err *err)
{
    const char *profile = o->profile == NULL ? "stip" : o->profile, *head = o->head == NULL ? "auto" : o->head;
    const char *dtype = o->dtype == NULL ? "keep" : o->dtype;
    p->engine = strcmp(profile, "engine") == 0;
    p->gauge = strcmp(profile, "gauge") == 0;
    if (strcmp(profile, "stip") != 0 && !p->gauge && !p->engine)
        return err_set(err, ERR_USAGE, "--profile: '%.40s' is not implemented; known: stip, gauge, engine", profile);
    if (p->engine && strcmp(head, "user") == 0)
        return err_set(err, ERR_USAGE, "--head user: an engine computes the whole model; use --profile stip");
    if (strcmp(head, "auto") != 0 && strcmp(head, "server") != 0 && strcmp(head, "user") != 0)
        return err_set(err, ERR_USAGE, "--head: '%.40s' is not known; known: auto, server, user", head);
    if (p->engine && o->local_layers != 0)
        return err_set(err, ERR_USAGE, "--local-layers: an engine computes the whole model; use --profile stip");
    p->local_layers = o->local_layers;
    static const enum dtype stored[] = {[COMPUTE_F32] = DTYPE_F32, [COMPUTE_BF16] = DTYPE_BF16, [COMPUTE_INT8] = DTYPE_I8};
    p->convert = strcmp(dtype, "keep") != 0;
    if (!protect_compute(dtype, &p->compute))
        return err_set(err, ERR_USAGE, "--dtype: '%.40s' is not known; known: keep, f32, bf16, int8", dtype);
    p->dtype = stored[p->compute];
    if (p->engine && p->compute == COMPUTE_INT8)
        return err_set(err, ERR_USAGE, "--dtype int8: engines quantise in their own ways; export in bf16 or as stored, and quantise the "
                                       "package with the engine's tool");
    return 0;
}

/* True if the output table is the embedding table: by the config, or byte for byte although the config says otherwise.
 * A server that holds it can find the token of every row that a user sends. */
static bool table_is_embedding(const struct checkpoint *cp)
{
    const struct tensor *table = checkpoint_tensor(cp, ROLE_LM_HEAD, 0), *embed = checkpoint_tensor(cp, ROLE_TOKEN_EMBED, 0);
    if (table == NULL || embed == NULL)
        return false;
    return table == embed || (table->dtype == embed->dtype && table->bytes == embed->bytes &&
                              memcmp(table->data, embed->data, table->bytes) == 0);
}

static const char *profile_name(bool engine, bool gauge)
{
    return engine ? "engine" : gauge ? "gauge" : "stip";
}

/* --dtype chooses how the model is computed; matrices that are integers already leave no choice. */
static int refuse_int8(const struct checkpoint *cp, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++)
        for (int l = 0; arch_present(c, row) && l < arch_count(c, row); l++) {
            const struct tensor *t = checkpoint_tensor(cp, row->role, l);
            if (t->dtype == DTYPE_I8)
                return err_set(err, ERR_INPUT, "%s: tensor '%s' is I8; protect starts from a float checkpoint (F32, BF16, F16)",
                               t->file, t->name);
        }
    return 0;
}

static int check_terms(const struct checkpoint *cp, const struct contents *contents, struct err *err)
{
    for (size_t i = 0; i < contents->count; i++) {
        const struct contents_item *item = &contents->items[i];
        int64_t in = arch_axis_size(checkpoint_config(cp), item->row->in);
        if (in > QUANT_TERMS)
            return err_set(err, ERR_INPUT, "tensor '%s' has %lld inputs; --dtype int8 takes at most %d", item->name, (long long)in,
                           QUANT_TERMS);
    }
    return 0;
}

/* The package that is there, if this developer signed it: *epoch becomes one more than its own. What cannot be read is no link of
 * the chain, and no reason not to make another package. */
static void chain(struct plan *p, const struct protect_opts *o, uint32_t *epoch)
{
    char dir[FILE_PATH_MAX], path[FILE_PATH_MAX], *text = NULL;
    struct manifest m = {0};
    struct err err;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    if (!o->force || file_join(dir, o->out, PROTECT_PACKAGE, &err) != 0 || file_join(path, dir, MANIFEST_NAME, &err) != 0 ||
        !file_exists(path))
        return;
    if (manifest_load(&m, dir, &text, &len, sig, &err) == 0 && manifest_verify(text, len, sig, o->sign_pub, &err) == 0 &&
        manifest_context_id(text, len, p->previous, &err) == 0) {
        p->chained = true;
        *epoch = m.epoch < UINT32_MAX ? m.epoch + 1 : m.epoch;
    } else {
        log_warn("the new package names no previous one: %s", err.text);
    }
    free(text);
    manifest_free(&m);
}

/* Values that were turned lie on no grid of 16 bits: they would be rounded where the checkpoint's own are exact. */
static int check_dtype(const struct plan *p, struct err *err)
{
    for (size_t i = 0; !p->convert && i < p->contents.count; i++) {
        const struct tensor *t = p->contents.items[i].src;
        if (t->dtype != DTYPE_F32)
            return err_set(err, ERR_USAGE, "--profile gauge: tensor '%s' is %s, which does not hold rotated weights exactly; use --dtype f32, "
                                           "or bf16 or int8, which round", t->name, dtype_name(t->dtype));
    }
    return 0;
}

/* The first layers are for the users, and something is left for the server. */
static int check_layers(const struct plan *p, struct err *err)
{
    const struct config *c = checkpoint_config(p->cp);
    return p->local_layers >= 0 && p->local_layers < c->L
               ? 0
               : err_set(err, ERR_USAGE, "--local-layers %d: this model has %d layers, and at least one is the server's", p->local_layers,
                         c->L);
}

static int make_plan(struct plan *p, const struct protect_opts *o, struct err *err)
{
    if (check_options(o, p, err) != 0 || checkpoint_open(&p->cp, o->model, CHECKPOINT_ALL, err) != 0 ||
        refuse_int8(p->cp, err) != 0 || preprocess_check(o->model, checkpoint_config(p->cp), err) != 0 || (p->engine && engine_check(checkpoint_config(p->cp), err) != 0) ||
        check_layers(p, err) != 0 || sentence_read(&p->sentence, o->model, checkpoint_config(p->cp)->D, err) != 0)
        return -1;
    bool same = table_is_embedding(p->cp), automatic = o->head == NULL || strcmp(o->head, "auto") == 0;
    const bool headless = checkpoint_config(p->cp)->head == HEAD_NONE;
    if (headless && !automatic && strcmp(o->head, "server") == 0)
        return err_set(err, ERR_USAGE, "--head server: a %s has no head, its last rows go to the user; leave it out",
                       checkpoint_config(p->cp)->architecture);
    /* Under gauge the bias of a final LayerNorm has no place on the server. */
    const bool needs_user = p->gauge && checkpoint_config(p->cp)->norm == NORM_LAYER;
    p->head_user = !p->engine && (automatic ? headless || p->sentence.present || same || needs_user : strcmp(o->head, "user") == 0);
    p->table_exposed = p->engine || (same && !p->head_user);
    const unsigned parts = CHECKPOINT_CORE | (p->head_user ? 0 : CHECKPOINT_HEAD) | (p->engine ? CHECKPOINT_EMBED : 0);
    if (contents_list(&p->contents, p->cp, parts, p->local_layers, err) != 0)
        return -1;
    if (p->gauge && (fold_check(checkpoint_config(p->cp), p->head_user, err) != 0 || check_dtype(p, err) != 0))
        return -1;
    if (p->compute == COMPUTE_INT8 && check_terms(p->cp, &p->contents, err) != 0)
        return -1;
    if ((p->key = secret_alloc(sizeof *p->key)) == NULL)
        return err_oom(err, sizeof *p->key);
    p->key->shape = rules_shape(checkpoint_config(p->cp));
    p->key->head_user = p->head_user;
    p->key->epoch = 1;
    chain(p, o, &p->key->epoch);
    p->key->epoch = o->epoch == 0 ? p->key->epoch : o->epoch;
    if (o->seed != NULL)
        memcpy(p->key->seed, o->seed, sizeof p->key->seed);
    else if (crypto_random(p->key->seed, sizeof p->key->seed, err) != 0)
        return -1;
    if (keyset_new(&p->keys, &p->key->shape, p->key->seed, err) != 0)
        return -1;
    return contents_mix_experts(&p->contents, p->cp, p->keys, err);
}

/* What stays out of the package goes to the users with their grants. Its values are looked at here, so that a bad one is found
 * before anything is written, and not by the first user. The package's own are looked at while they are copied. */
static int check_tensor(const struct tensor *t, struct err *err)
{
    const size_t size = dtype_size(t->dtype), elements = BLOCK / size;
    for (uint64_t at = 0; at < t->count; at += elements) {
        size_t n = t->count - at < elements ? (size_t)(t->count - at) : elements;
        size_t bad = dtype_first_nonfinite(t->dtype, t->data + at * size, n);
        if (bad < n)
            return err_set(err, ERR_INPUT, "tensor '%s': NaN or infinity at element %llu; the model cannot be protected", t->name,
                           (unsigned long long)(at + bad));
        if ((at / elements) % 32 == 31) /* constant memory */
            safetensors_release(t);
    }
    safetensors_release(t);
    return 0;
}

static int check_granted(const struct plan *p, struct err *err)
{
    const struct config *c = checkpoint_config(p->cp);
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++)
        for (int l = 0; !p->engine && l < contents_granted(c, row, p->head_user, p->local_layers, p->gauge); l++)
            if (check_tensor(checkpoint_tensor(p->cp, row->role, l), err) != 0)
                return -1;
    return 0;
}

static void free_plan(struct plan *p)
{
    fold_close(p->fold);
    sentence_free(&p->sentence);
    contents_free(&p->contents);
    checkpoint_close(p->cp);
    keyset_free(p->keys);
    secret_free(p->key);
}

/* ------------------------------------------------------------------ the package */

/* Of a product in the package's dtype; routers choose in f32. */
static bool is_matrix(const struct contents_item *item)
{
    return item->row->in != AX_ONE && item->row->role != ROLE_ROUTER;
}

static enum dtype dtype_of(const struct plan *p, const struct contents_item *item)
{
    const enum dtype as_it_is = p->gauge ? DTYPE_F32 : item->src->dtype;
    return p->convert && (p->compute == COMPUTE_F32 || is_matrix(item)) ? p->dtype : as_it_is;
}

static void scale_name(char out[SCALE_NAME], const struct contents_item *item)
{
    (void)snprintf(out, SCALE_NAME, "%s%s", item->name, SCALE_SUFFIX);
}

static void scale_shape(uint64_t dim[2], const struct contents_item *item)
{
    dim[0] = item->src->dim[item->row->conv1d ? 1 : 0];
    dim[1] = 1;
}

/* The item that a tensor of the package comes from: itself, or its scales. */
static size_t item_of(const struct plan *p, const char *name, bool *is_scale)
{
    const struct contents_item *item = contents_find(&p->contents, name);
    *is_scale = item == NULL;
    if (*is_scale) {
        char matrix[SCALE_NAME];
        (void)snprintf(matrix, sizeof matrix, "%.*s", (int)(strlen(name) - strlen(SCALE_SUFFIX)), name);
        item = contents_find(&p->contents, matrix);
    }
    return (size_t)(item - p->contents.items);
}

/* Scales of the item, kept in plain order in *scales for its matrix, which comes later in the file. */
static int write_scales(const struct contents_item *item, const struct perm *out, float **scales, struct safetensors_out *st,
                        struct progress *progress, uint64_t *done, struct err *err)
{
    const struct transform t = {.src = item->src, .conv1d = item->row->conv1d, .dtype = DTYPE_I8};
    uint64_t dim[2];
    scale_shape(dim, item);
    float *moved = malloc(dim[0] * sizeof *moved);
    if (moved == NULL)
        return err_oom(err, dim[0] * sizeof *moved);
    int rc = transform_scales(scales, &t, progress, done, err);
    if (rc == 0) {
        gather_row_bytes(moved, *scales, dim[0], sizeof *moved, out->n > 0 ? out : NULL);
        rc = safetensors_out_write(st, moved, dim[0] * sizeof *moved, err);
    }
    free(moved);
    return rc;
}

static int write_tensor(const struct plan *p, const char *name, float **scales, struct safetensors_out *st,
                        struct progress *progress, uint64_t *done, struct err *err)
{
    struct perm out = {0}, in = {0};
    bool is_scale;
    size_t i = item_of(p, name, &is_scale);
    struct contents_item folded = p->contents.items[i];
    const struct contents_item *item = &folded;
    struct tensor plane = {0};
    int rc = keyset_perm(p->keys, item->rule->out, item->layer, &out, err);
    if (rc == 0)
        rc = keyset_perm(p->keys, item->rule->in, item->layer, &in, err);
    if (rc == 0 && p->fold != NULL && (rc = fold_tensor(p->fold, item, &plane, err)) == 0)
        folded.src = &plane;
    if (rc == 0 && is_scale)
        rc = write_scales(item, &out, &scales[i], st, progress, done, err);
    else if (rc == 0)
        rc = transform_write(&(struct transform){.src = item->src, .conv1d = item->row->conv1d, .dtype = dtype_of(p, item),
                                                 .scale = scales[i], .out = &out, .in = &in},
                             st, progress, done, err);
    fold_release(&plane);
    perm_wipe(&out);
    perm_wipe(&in);
    return rc;
}

static int declare(const struct plan *p, const struct contents_item *item, struct safetensors_out *st, struct err *err)
{
    char name[SCALE_NAME];
    uint64_t dim[2];
    if (safetensors_out_declare(st, item->name, dtype_of(p, item), item->src->rank, item->src->dim, err) != 0)
        return -1;
    if (dtype_of(p, item) != DTYPE_I8)
        return 0;
    scale_name(name, item);
    scale_shape(dim, item);
    return safetensors_out_declare(st, name, DTYPE_F32, 2, dim, err);
}

/* One weight file with the tensors that come from the checkpoint's file of that name; none when only embeddings were in it. */
static int write_file(const struct plan *p, size_t file, const char *dir, struct progress *progress, uint64_t *done,
                      struct err *err)
{
    struct safetensors_out *st = NULL;
    char path[FILE_PATH_MAX];
    size_t n = 0;
    float **scales = calloc(p->contents.count, sizeof *scales);
    int rc = scales == NULL ? err_oom(err, p->contents.count * sizeof *scales) : 0;
    if (rc == 0 && (rc = file_join(path, dir, checkpoint_file_name(p->cp, file), err)) == 0)
        rc = safetensors_out_new(&st, err);
    for (size_t i = 0; rc == 0 && i < p->contents.count; i++) {
        const struct contents_item *item = &p->contents.items[i];
        if (item->file != file)
            continue;
        rc = declare(p, item, st, err);
        n++;
    }
    if (rc == 0 && n > 0)
        rc = safetensors_out_begin(st, path, 0644, err);
    for (const char *name; rc == 0 && n > 0 && (name = safetensors_out_next(st)) != NULL;)
        rc = write_tensor(p, name, scales, st, progress, done, err);
    if (rc == 0 && n > 0)
        rc = safetensors_out_commit(st, err);
    for (size_t i = 0; scales != NULL && i < p->contents.count; i++)
        free(scales[i]);
    free(scales);
    safetensors_out_free(st);
    return rc;
}

static uint64_t written_bytes(const struct plan *p)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->contents.count; i++) {
        const struct contents_item *item = &p->contents.items[i];
        uint64_t scale[2];
        scale_shape(scale, item);
        sum += item->src->count * dtype_size(dtype_of(p, item)) + (dtype_of(p, item) == DTYPE_I8 ? scale[0] * sizeof(float) : 0);
    }
    return sum;
}

static int write_index(const struct plan *p, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX], *text = NULL;
    struct json_doc *doc = json_new_object(INDEX);
    struct json *root = json_node(doc);
    json_put_int(doc, json_put_object(doc, root, "metadata"), "total_size", (int64_t)written_bytes(p));
    struct json *map = json_put_object(doc, root, "weight_map");
    for (size_t i = 0; i < p->contents.count; i++) {
        const struct contents_item *item = &p->contents.items[i];
        char scale[SCALE_NAME];
        json_put_str(doc, map, item->name, checkpoint_file_name(p->cp, item->file));
        scale_name(scale, item);
        if (dtype_of(p, item) == DTYPE_I8)
            json_put_str(doc, map, scale, checkpoint_file_name(p->cp, item->file));
    }
    int rc = json_print(doc, true, &text, err);
    json_free(doc);
    if (rc == 0)
        rc = file_join(path, dir, INDEX, err);
    if (rc == 0)
        rc = file_write(path, text, strlen(text), 0644, err);
    free(text);
    return rc;
}

/* The files beside the weights, and *text, a config.json, with the ids where the tokens are now. */
static int write_engine(const struct plan *p, const char *dir, char **text, struct err *err)
{
    struct perm vocabulary = {0};
    char *moved = NULL;
    int rc = keyset_perm(p->keys, KEY_OUTPUT, 0, &vocabulary, err);
    if (rc == 0)
        rc = engine_files(p->cp, &vocabulary, dir, err);
    if (rc == 0)
        rc = engine_config(*text, &vocabulary, &moved, err);
    perm_wipe(&vocabulary);
    if (rc != 0)
        return -1;
    free(*text);
    *text = moved;
    return 0;
}

static int write_config(const struct plan *p, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX], *text = NULL;
    const char *dtype = !p->convert || p->dtype == DTYPE_I8 ? NULL : p->dtype == DTYPE_F32 ? "float32" : "bfloat16";
    /* Embeddings that go along may stay tied to the output table. */
    bool untie = !p->head_user && !p->engine;
    if (file_join(path, dir, "config.json", err) != 0 || contents_config(p->cp, untie, p->local_layers, p->fold == NULL ? 0 : fold_eps(p->fold), dtype, p->compute, &text, err) != 0)
        return -1;
    int rc = p->engine ? write_engine(p, dir, &text, err) : 0;
    if (rc == 0)
        rc = file_write(path, text, strlen(text), 0644, err);
    free(text);
    return rc;
}

static const char *dtype_text(const struct plan *p)
{
    const struct contents_item *first = NULL;
    for (size_t i = 0; i < p->contents.count; i++) {
        const struct contents_item *item = &p->contents.items[i];
        if (!is_matrix(item))
            continue;
        first = first == NULL ? item : first;
        if (dtype_of(p, item) != dtype_of(p, first))
            return "mixed";
    }
    return dtype_name(dtype_of(p, first)); /* every layer has matrices */
}

static int write_manifest(const struct plan *p, const struct protect_opts *o, const char *dir, struct protect_report *report,
                          struct err *err)
{
    struct manifest m = {.epoch = p->key->epoch, .compute = p->compute, .expires = o->expires, .chained = p->chained};
    memcpy(m.previous, p->previous, sizeof m.previous);
    m.local_layers = (uint32_t)p->local_layers;
    (void)snprintf(m.model, sizeof m.model, "%s", checkpoint_config(p->cp)->architecture);
    (void)snprintf(m.profile, sizeof m.profile, "%s", profile_name(p->engine, p->gauge));
    (void)snprintf(m.head, sizeof m.head, "%s", p->head_user ? "user" : "server");
    (void)snprintf(m.dtype, sizeof m.dtype, "%s", dtype_text(p));
    clock_iso(o->created == 0 ? clock_unix() : o->created, m.created);
    memcpy(m.signer, o->sign_pub, sizeof m.signer);
    int rc = manifest_build(&m, dir, err);
    if (rc == 0)
        rc = manifest_write(&m, dir, o->sign_key, p->key->context_id, err);
    report->bytes = manifest_bytes(&m);
    report->files = m.file_count;
    manifest_free(&m);
    return rc;
}

static int write_package(struct plan *p, const struct protect_opts *o, const char *dir, struct protect_report *report,
                         struct err *err)
{
    struct progress progress;
    uint64_t done = 0;
    int rc = file_mkdirs(dir, 0755, err);
    if (rc == 0 && p->gauge)
        rc = fold_open(&p->fold, p->cp, p->keys, dir, err);
    if (rc == 0)
        rc = write_config(p, dir, err);
    progress_start(&progress, "permuting", "B", p->contents.bytes * (p->dtype == DTYPE_I8 ? 2 : 1)); /* int8 reads twice */
    for (size_t f = 0; rc == 0 && f < checkpoint_files(p->cp); f++)
        rc = write_file(p, f, dir, &progress, &done, err);
    progress_end(&progress);
    if (rc == 0 && strcmp(checkpoint_file_name(p->cp, 0), "model.safetensors") != 0)
        rc = write_index(p, dir, err);
    return rc == 0 ? write_manifest(p, o, dir, report, err) : -1;
}

/* ------------------------------------------------------------------ all of it */

int protect_checkpoint(const struct protect_opts *opts, struct protect_report *out, struct err *err)
{
    struct plan plan = {0};
    struct place place = {.lock = -1};
    struct protect_report report = {0};
    uint64_t start = clock_us();
    int rc = make_plan(&plan, opts, err);
    if (rc == 0)
        rc = check_granted(&plan, err);
    if (rc == 0)
        rc = place_open(&place, opts->out, opts->force, err);
    if (rc == 0)
        rc = write_package(&plan, opts, place.new_package, &report, err);
    if (rc == 0)
        rc = context_key_write(place.new_key, plan.key, err);
    if (rc == 0)
        rc = place_install(&place, err);
    rc = place_close(&place, rc, err);
    if (rc == 0) {
        memcpy(report.package, place.package, sizeof report.package);
        memcpy(report.key, place.key, sizeof report.key);
        memcpy(report.architecture, checkpoint_config(plan.cp)->architecture, sizeof report.architecture);
        memcpy(report.context_id, plan.key->context_id, sizeof report.context_id);
        report.head_user = plan.head_user;
        report.engine = plan.engine;
        (void)snprintf(report.profile, sizeof report.profile, "%s", profile_name(plan.engine, plan.gauge));
        report.local_layers = plan.local_layers;
        report.compute = plan.compute;
        report.table_exposed = plan.table_exposed;
        report.tensors = plan.contents.count;
        report.epoch = plan.key->epoch;
        report.expires = opts->expires;
        report.chained = plan.chained;
        report.seconds = (double)(clock_us() - start) / 1e6;
        *out = report;
    }
    free_plan(&plan);
    return rc;
}
