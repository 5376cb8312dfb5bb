#include "model_dev/grant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/expiry.h"
#include "base/json.h"
#include "base/log.h"
#include "base/secret.h"
#include "model/checkpoint.h"
#include "model/preprocess.h"
#include "model/sentence.h"
#include "model_dev/audited.h"
#include "model_dev/canary.h"
#include "model_dev/contents.h"
#include "model_dev/fold.h"
#include "model_dev/rules.h"
#include "permute/gather.h"
#include "transport/bundle.h"
#include "transport/seal.h"

#define BLOCK ((size_t)8 << 20)
#define COPY_CAP ((size_t)256 << 20) /* tokenizer files; the largest known are about 35 MB */

/* ------------------------------------------------------------------ do the three belong together */

static int check_number(const char *package, const char *what, long long plain, long long found, struct err *err)
{
    return plain == found ? 0
                          : err_set(err, ERR_INPUT, "%s was not made from this checkpoint: %s is %lld here and %lld there", package,
                                    what, plain, found);
}

static int check_shapes(const struct release *from, const struct context_key *key, const struct config *plain,
                        const struct config *packed, struct err *err)
{
    const struct key_shape a = rules_shape(plain), b = rules_shape(packed), *k = &key->shape;
    if (strcmp(plain->architecture, packed->architecture) != 0)
        return err_set(err, ERR_INPUT, "%s was not made from this checkpoint: %s here, %s there", from->package,
                       plain->architecture, packed->architecture);
    if (check_number(from->package, "the width", a.D, b.D, err) != 0 ||
        check_number(from->package, "the number of layers", plain->L,
                     (long long)packed->L + from->manifest.local_layers, err) != 0 ||
        check_number(from->package, "the number of heads", a.H, b.H, err) != 0 ||
        check_number(from->package, "the number of key/value heads", a.G, b.G, err) != 0 ||
        check_number(from->package, "the head width", a.K, b.K, err) != 0 ||
        check_number(from->package, "the feed-forward width", a.F, b.F, err) != 0 ||
        check_number(from->package, "the vocabulary", plain->V, packed->V, err) != 0 ||
        check_number(from->package, "the number of positions", plain->positions, packed->positions, err) != 0)
        return -1;
    if (k->D != a.D || k->H != a.H || k->G != a.G || k->K != a.K || k->F != a.F || k->outputs != a.outputs ||
        k->rotary != a.rotary || key->head_user != (strcmp(from->manifest.head, "user") == 0))
        return err_set(err, ERR_INPUT, "%s: the key's sizes are not those of %s", from->key, from->package);
    return 0;
}

/* Same sizes do not make the same model, and a wrong table would only show as nonsense at the user: every norm gain of the
 * package must be the checkpoint's, in the order of the residual key. */
static int check_gains(const struct release *from, const struct keyset *keys, const struct checkpoint *plain,
                       const struct checkpoint *packed, struct err *err)
{
    const struct config *c = checkpoint_config(plain);
    const size_t width = (size_t)c->D;
    const int first = c->L - checkpoint_config(packed)->L; /* the layers before it are the users' */
    struct perm residual = {0};
    float *a = malloc(3 * width * sizeof *a), *b = a + width, *moved = b + width;
    if (a == NULL)
        return err_oom(err, 3 * width * sizeof *a);
    int rc = keyset_perm(keys, KEY_RESIDUAL, 0, &residual, err);
    for (int l = first; rc == 0 && l < c->L; l++) {
        const struct tensor *x = checkpoint_tensor(plain, ROLE_MLP_NORM_W, l),
                            *y = checkpoint_tensor(packed, ROLE_MLP_NORM_W, l - first);
        if ((rc = checkpoint_rows_f32(x, 0, width, a, err)) != 0 || (rc = checkpoint_rows_f32(y, 0, width, b, err)) != 0)
            break;
        dtype_from_f32(y->dtype, a, moved, width); /* what protect did if it stored another dtype */
        dtype_to_f32(y->dtype, moved, a, width);
        gather_row_bytes(moved, a, width, sizeof *a, &residual);
        if (memcmp(moved, b, width * sizeof *b) != 0)
            rc = err_set(err, ERR_INPUT, "%s was not made from this checkpoint: the norm gains of layer %d differ", from->package, l);
    }
    perm_wipe(&residual);
    free(a);
    return rc;
}

/* The same under gauge, where gains are all 1. */
static int check_turned(const struct release *from, const struct keyset *keys, const struct checkpoint *plain,
                        const struct checkpoint *packed, struct err *err)
{
    const int L = checkpoint_config(plain)->L, first = L - checkpoint_config(packed)->L;
    struct fold *f = NULL;
    int rc = fold_open(&f, plain, keys, NULL, err);
    for (int l = first; rc == 0 && l < L; l++) {
        bool same = false;
        rc = fold_compare(f, packed, l, first, &same, err);
        if (rc == 0 && !same)
            rc = err_set(err, ERR_INPUT, "%s was not made from this checkpoint: the feed-forward weights of layer %d differ", from->package, l);
    }
    fold_close(f);
    return rc;
}

static int check_match(const struct grant_source *src, const struct context_key *key, const struct keyset *keys,
                       const struct checkpoint *plain, struct err *err)
{
    struct checkpoint *packed = NULL;
    int rc = checkpoint_open(&packed, src->from->package, CHECKPOINT_CORE, err);
    if (rc == 0)
        rc = check_shapes(src->from, key, checkpoint_config(plain), checkpoint_config(packed), err);
    if (rc == 0)
        rc = (strcmp(src->from->manifest.profile, "gauge") == 0 ? check_turned : check_gains)(src->from, keys, plain, packed, err);
    checkpoint_close(packed);
    return rc == 0 ? 0 : err_wrap(err, "%s", src->model);
}

/* ------------------------------------------------------------------ the tables */

static int write_table(struct safetensors_out *st, const struct tensor *t, struct err *err)
{
    size_t elements = BLOCK / dtype_size(t->dtype), size = dtype_size(t->dtype);
    for (uint64_t at = 0; at < t->count;) {
        size_t n = t->count - at < elements ? (size_t)(t->count - at) : elements;
        size_t bad = dtype_first_nonfinite(t->dtype, t->data + at * size, n);
        if (bad < n)
            return err_set(err, ERR_INPUT, "tensor '%s': NaN or infinity at element %llu", t->name, (unsigned long long)(at + bad));
        if (safetensors_out_write(st, t->data + at * size, n * size, err) != 0)
            return -1;
        safetensors_release(t);
        at += n;
    }
    return 0;
}

/* Declares what is granted, or, with `name`, writes the tensor of that name. */
static int each_table(struct safetensors_out *st, const struct checkpoint *cp, bool head_user, const struct manifest *m,
                      const char *name, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    const bool gauge = strcmp(m->profile, "gauge") == 0;
    char own[512];
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++)
        for (int l = 0; l < contents_granted(c, row, head_user, (int)m->local_layers, gauge); l++) {
            const struct tensor *t = checkpoint_tensor(cp, row->role, l);
            if (l > 0 && checkpoint_tensor(cp, row->role, l - 1) == t) /* layers that share it */
                continue;
            if (checkpoint_name(own, c, row, l, 0, 0, err) != 0)
                return -1;
            if (name == NULL && safetensors_out_declare(st, own, t->dtype, t->rank, t->dim, err) != 0)
                return -1;
            if (name != NULL && strcmp(own, name) == 0)
                return write_table(st, t, err);
        }
    return 0;
}

static int write_tables(const struct checkpoint *cp, bool head_user, const struct manifest *m, const char *dir,
                        struct err *err)
{
    struct safetensors_out *st = NULL;
    char path[FILE_PATH_MAX];
    int rc = safetensors_out_new(&st, err);
    if (rc == 0)
        rc = each_table(st, cp, head_user, m, NULL, err);
    if (rc == 0 && (rc = file_join(path, dir, "model.safetensors", err)) == 0)
        rc = safetensors_out_begin(st, path, 0600, err);
    for (const char *name; rc == 0 && (name = safetensors_out_next(st)) != NULL;)
        rc = each_table(st, cp, head_user, m, name, err);
    if (rc == 0)
        rc = safetensors_out_commit(st, err);
    safetensors_out_free(st);
    return rc;
}

/* The engine's embedding table as it has it: the user's rows for an engine are taken out of it as they are, and no key is needed. */
static int write_rows(const struct release *from, const char *dir, struct err *err)
{
    struct checkpoint *packed = NULL;
    struct safetensors_out *st = NULL;
    char path[FILE_PATH_MAX];
    if (checkpoint_open(&packed, from->package, CHECKPOINT_EMBED, err) != 0)
        return -1;
    const struct tensor *t = checkpoint_tensor(packed, ROLE_TOKEN_EMBED, 0);
    int rc = safetensors_out_new(&st, err);
    if (rc == 0)
        rc = safetensors_out_declare(st, "rows", t->dtype, t->rank, t->dim, err);
    if (rc == 0 && (rc = file_join(path, dir, "rows.safetensors", err)) == 0)
        rc = safetensors_out_begin(st, path, 0600, err);
    if (rc == 0)
        rc = write_table(st, t, err);
    if (rc == 0)
        rc = safetensors_out_commit(st, err);
    safetensors_out_free(st);
    checkpoint_close(packed);
    return rc;
}

/* ------------------------------------------------------------------ the rest of the folder */

static int copy_file(const char *from, const char *to, const char *name, struct err *err)
{
    char src[FILE_PATH_MAX], dst[FILE_PATH_MAX], *data = NULL;
    size_t len;
    if (file_join(src, from, name, err) != 0 || file_join(dst, to, name, err) != 0 ||
        file_read(src, COPY_CAP, &data, &len, err) != 0)
        return -1;
    int rc = file_write(dst, data, len, 0600, err);
    free(data);
    return rc;
}

static int copy_texts(const char *model, const char *dir, struct err *err)
{
    static const char *const names[] = {"tokenizer.json",          "tokenizer_config.json", "vocab.txt",
                                        "vocab.json",              "merges.txt",            "special_tokens_map.json",
                                        "added_tokens.json",       "generation_config.json", "chat_template.jinja",
                                        "chat_template.json",    PREPROCESS_NAME};
    char path[FILE_PATH_MAX];
    if (copy_file(model, dir, "config.json", err) != 0)
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (file_join(path, model, names[i], err) != 0)
            return -1;
        if (file_exists(path) && copy_file(model, dir, names[i], err) != 0)
            return -1;
    }
    return 0;
}

static int write_keys(const struct keyset *keys, bool engine, const char *dir, struct err *err)
{
    char path[FILE_PATH_MAX];
    uint8_t *bytes = secret_alloc(GRANT_KEYS_LEN);
    if (bytes == NULL)
        return err_oom(err, GRANT_KEYS_LEN);
    memcpy(bytes, "STIPEND1", 8);
    int rc = engine ? 0 : keyset_end_key(keys, KEY_RESIDUAL, bytes + 8, err);
    if (rc == 0)
        rc = keyset_end_key(keys, KEY_OUTPUT, bytes + 40, err);
    if (rc == 0)
        rc = crypto_sha256(bytes, 72, bytes + 72, err);
    if (rc == 0)
        rc = file_join(path, dir, "keys.bin", err);
    if (rc == 0)
        rc = file_write(path, bytes, GRANT_KEYS_LEN, 0600, err);
    secret_free(bytes);
    return rc;
}

int grant_canaries(size_t *out, const struct grant_source *src, struct err *err)
{
    struct config c;
    if (config_read(&c, src->model, err) != 0)
        return -1;
    const bool images = config_reads_images(&c), none = images || c.head == HEAD_NONE;
    if (src->canaries > 0 && none)
        log_warn("no canaries in this grant: %s", images ? "they are texts, and this model reads images"
                                                         : "a model without head gives no probabilities to compare");
    *out = none ? 0 : src->canaries;
    config_free(&c);
    return 0;
}

static int write_canaries(const struct grant_source *src, const char *dir, struct err *err)
{
    struct canary_maker *maker = NULL;
    size_t count;
    if (grant_canaries(&count, src, err) != 0)
        return -1;
    if (count == 0)
        return 0;
    int rc = canary_maker_open(&maker, src->model, src->from, err);
    if (rc == 0)
        rc = canary_write(maker, dir, count, err);
    canary_maker_close(maker);
    return rc;
}

static int write_about(const struct grant_source *src, const struct config *c, const char *dir, struct err *err)
{
    struct sentence sentence;
    const struct release *from = src->from;
    char path[FILE_PATH_MAX], context[2 * CRYPTO_HASH_LEN + 1], created[32], expires[32], who[PEER_KEY_TEXT], *text = NULL;
    const int64_t end = expiry_first(src->expires, from->manifest.expires);
    struct peer_key self = identity_public(src->identity);
    crypto_hex(from->context, sizeof from->context, context);
    clock_iso(clock_unix(), created);
    peer_key_text(&self, who);
    if (sentence_read(&sentence, src->model, c->D, err) != 0)
        return -1;
    struct json_doc *doc = json_new_object("grant.json");
    struct json *root = json_node(doc);
    json_put_int(doc, root, "version", 1);
    json_put_str(doc, root, "context", context);
    json_put_str(doc, root, "architecture", from->manifest.model);
    json_put_str(doc, root, "profile", from->manifest.profile);
    json_put_str(doc, root, "head", from->manifest.head);
    if (from->manifest.local_layers > 0)
        json_put_int(doc, root, "local_layers", from->manifest.local_layers);
    json_put_str(doc, root, "compute", compute_name(from->manifest.compute));
    json_put_int(doc, root, "epoch", from->manifest.epoch);
    json_put_str(doc, root, "created", created);
    if (end != EXPIRY_NEVER) {
        clock_iso(end, expires);
        json_put_str(doc, root, "expires", expires);
    }
    json_put_str(doc, root, "model_dev", who);
    if (sentence.present)
        sentence_put(&sentence, doc, json_put_object(doc, root, "embedding"));
    int rc = audited_put(from, doc, root, err);
    if (rc == 0)
        rc = json_print(doc, true, &text, err);
    sentence_free(&sentence);
    json_free(doc);
    if (rc == 0)
        rc = file_join(path, dir, "grant.json", err);
    if (rc == 0)
        rc = file_write(path, text, strlen(text), 0600, err);
    free(text);
    return rc;
}

/* What a grant is made of, open and found to belong together. */
struct opened {
    struct checkpoint *plain;
    struct keyset *keys;
    bool head_user;
};

static void close_source(struct opened *o)
{
    checkpoint_close(o->plain);
    keyset_free(o->keys);
}

static int open_source(struct opened *o, const struct grant_source *src, struct err *err)
{
    struct context_key *key = secret_alloc(sizeof *key);
    if (key == NULL)
        return err_oom(err, sizeof *key);
    int rc = release_key(src->from, key, err);
    if (rc == 0)
        rc = checkpoint_open(&o->plain, src->model, CHECKPOINT_ALL, err);
    if (rc == 0) {
        key->shape.experts = checkpoint_config(o->plain)->experts; /* which key files do not have */
        rc = keyset_new(&o->keys, &key->shape, key->seed, err);
    }
    if (rc == 0)
        rc = preprocess_check(src->model, checkpoint_config(o->plain), err);
    if (rc == 0)
        rc = check_match(src, key, o->keys, o->plain, err);
    o->head_user = key->head_user;
    secret_free(key);
    return rc;
}

int grant_check(const struct grant_source *src, struct err *err)
{
    struct opened o = {0};
    int rc = open_source(&o, src, err);
    close_source(&o);
    return rc;
}

/* Rows for an engine are asked for where there is one, and where all engines understand them alike. */
static int check_rows(const struct grant_source *src, const struct config *c, bool engine, struct err *err)
{
    if (!src->rows)
        return 0;
    if (!engine)
        return err_set(err, ERR_USAGE, "prompt_embeds: %s has profile %s; only an export (profile engine) is asked with rows of the engine's "
                                       "table", src->from->package, src->from->manifest.profile);
    if (c->embed_scale > 0)
        return err_set(err, ERR_USAGE, "prompt_embeds: %s scales embedded rows, and engines differ in whether rows that are sent are scaled "
                                       "already; leave it out, ids are sent then", c->architecture);
    return 0;
}

int grant_folder(const struct grant_source *src, const char *dir, struct err *err)
{
    const bool engine = strcmp(src->from->manifest.profile, "engine") == 0;
    struct opened o = {0};
    int rc = manifest_check_time(&src->from->manifest, clock_unix(), src->from->package, err);
    if (rc == 0)
        rc = open_source(&o, src, err);
    if (rc == 0)
        rc = write_keys(o.keys, engine, dir, err);
    if (rc == 0)
        rc = copy_texts(src->model, dir, err);
    if (rc == 0)
        rc = copy_file(src->from->package, dir, MANIFEST_NAME, err);
    if (rc == 0)
        rc = copy_file(src->from->package, dir, MANIFEST_SIG_NAME, err);
    if (rc == 0)
        rc = check_rows(src, checkpoint_config(o.plain), engine, err);
    if (rc == 0 && src->rows)
        rc = write_rows(src->from, dir, err);
    if (rc == 0 && !engine)
        rc = write_tables(o.plain, o.head_user, &src->from->manifest, dir, err);
    if (rc == 0)
        rc = write_canaries(src, dir, err);
    if (rc == 0)
        rc = write_about(src, checkpoint_config(o.plain), dir, err);
    close_source(&o);
    return rc;
}

/* ------------------------------------------------------------------ in one file */

/* A 0700 folder beside `path`, so that large tables meet the disk that has room for the result. */
static int scratch_make(char out[FILE_PATH_MAX], const char *path, struct err *err)
{
    if (snprintf(out, FILE_PATH_MAX, "%s.XXXXXX", path) >= FILE_PATH_MAX)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", path);
    return mkdtemp(out) != NULL ? 0 : err_set(err, ERR_INPUT, "cannot make a folder beside %s: %s", path, strerror(errno));
}

static void scratch_remove(const char *dir)
{
    struct err err;
    if (file_remove_tree(dir, &err) != 0)
        log_warn("%s: holds secrets, remove it by hand", err.text);
}

int grant_make(const struct grant_source *src, const char *path, struct err *err)
{
    char dir[FILE_PATH_MAX], context[2 * CRYPTO_HASH_LEN + 1];
    if (scratch_make(dir, path, err) != 0)
        return -1;
    crypto_hex(src->from->context, sizeof src->from->context, context);
    int rc = grant_folder(src, dir, err);
    if (rc == 0)
        rc = bundle_write(path, dir, GRANT_KIND, context, src->identity->sign_key, err);
    scratch_remove(dir);
    return rc;
}

int grant_seal(const struct grant_source *src, const struct peer_key *user, const char *path, struct err *err)
{
    char dir[FILE_PATH_MAX], bundle[FILE_PATH_MAX];
    if (scratch_make(dir, path, err) != 0)
        return -1;
    int rc = file_join(bundle, dir, "grant.bundle", err);
    if (rc == 0)
        rc = grant_make(src, bundle, err);
    if (rc == 0)
        rc = seal_file(bundle, path, user, err);
    scratch_remove(dir);
    return rc;
}
