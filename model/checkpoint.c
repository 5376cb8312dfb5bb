#include "model/checkpoint.h"

#include <assert.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/checked.h"

#define INDEX_NAME "model.safetensors.index.json"
#define INDEX_CAP ((size_t)64 << 20)
#define SHARDS_MAX 4096
#define NAME_CAP 512

struct checkpoint {
    char *dir;
    const struct manifest *manifest; /* NULL: not signed */
    const atomic_bool *stop;         /* NULL: reading goes on to its end */
    struct json_doc *json;
    struct config config;
    struct safetensors **shards;
    char **shard_names;
    size_t shard_count;
    /* By role: global roles have one slot, per-layer roles L. */
    const struct tensor **slots[ROLE_COUNT];
};

/* ------------------------------------------------------------------ files */

static int load_json(const struct checkpoint *cp, const char *name, size_t cap, struct json_doc **out, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct checked *file;
    const uint8_t *text;
    if (file_join(path, cp->dir, name, err) != 0)
        return -1;
    if (cp->manifest == NULL)
        return json_load(out, path, cap, false, err);
    if (checked_open(&file, cp->manifest, cp->dir, name, err) != 0)
        return -1;
    const size_t size = checked_size(file);
    int rc = size > cap ? err_set(err, ERR_INPUT, "%s: %zu bytes, at most %zu are accepted", path, size, cap)
                        : checked_read(file, 0, size, &text, err);
    if (rc == 0)
        rc = json_parse(out, (const char *)text, size, false, path, err);
    checked_close(file);
    return rc;
}

static int open_shard(struct safetensors **out, const struct checkpoint *cp, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct checked *file;
    if (file_join(path, cp->dir, name, err) != 0)
        return -1;
    if (cp->manifest == NULL)
        return safetensors_open(out, path, err);
    return checked_open(&file, cp->manifest, cp->dir, name, err) != 0 ? -1 : safetensors_open_checked(out, file, path, err);
}

static int add_shard(struct checkpoint *cp, const char *name, struct err *err)
{
    for (size_t i = 0; i < cp->shard_count; i++)
        if (strcmp(cp->shard_names[i], name) == 0)
            return 0;
    if (cp->shard_count == SHARDS_MAX)
        return err_set(err, ERR_INPUT, "%s: more than %d weight files", cp->dir, SHARDS_MAX);
    struct safetensors **shards = realloc(cp->shards, (cp->shard_count + 1) * sizeof *shards);
    if (shards == NULL)
        return err_oom(err, (cp->shard_count + 1) * sizeof *shards);
    cp->shards = shards;
    char **names = realloc(cp->shard_names, (cp->shard_count + 1) * sizeof *names);
    if (names == NULL)
        return err_oom(err, (cp->shard_count + 1) * sizeof *names);
    cp->shard_names = names;
    if (open_shard(&cp->shards[cp->shard_count], cp, name, err) != 0)
        return -1;
    if ((cp->shard_names[cp->shard_count] = strdup(name)) == NULL) {
        safetensors_close(cp->shards[cp->shard_count]);
        return err_oom(err, strlen(name));
    }
    cp->shard_count++;
    return 0;
}

static int open_index(struct checkpoint *cp, const char *path, struct err *err)
{
    struct json_doc *doc;
    if (load_json(cp, INDEX_NAME, INDEX_CAP, &doc, err) != 0)
        return -1;
    int rc = -1;
    const struct json *map = json_get(json_root(doc), "weight_map");
    if (map == NULL || json_type(map) != JSON_OBJECT) {
        err_set(err, ERR_INPUT, "%s: field 'weight_map': expected an object, found %s", path, json_type_name(map));
        goto done;
    }
    const struct safetensors *last = NULL;
    const char *last_name = "";
    for (const struct json *m = json_first(map); m != NULL; m = json_next(m)) {
        const char *file = json_string(m);
        if (file == NULL || !file_name_ok(file)) {
            err_set(err, ERR_INPUT, "%s: tensor '%.200s': expected a file name without folders", path, json_key(m));
            goto done;
        }
        if (strcmp(file, last_name) != 0) {
            if (add_shard(cp, file, err) != 0) {
                err_wrap(err, "%s", path);
                goto done;
            }
            for (size_t i = 0; i < cp->shard_count; i++)
                if (strcmp(cp->shard_names[i], file) == 0)
                    last = cp->shards[i];
            last_name = file;
        }
        if (safetensors_find(last, json_key(m)) == NULL) {
            err_set(err, ERR_INPUT, "%s: tensor '%.200s' is said to be in %s, but is not there", path, json_key(m), file);
            goto done;
        }
    }
    rc = 0;
done:
    json_free(doc);
    return rc;
}

static int open_files(struct checkpoint *cp, struct err *err)
{
    char index[FILE_PATH_MAX], single[FILE_PATH_MAX], pickle[FILE_PATH_MAX];
    if (file_join(index, cp->dir, INDEX_NAME, err) != 0 ||
        file_join(single, cp->dir, "model.safetensors", err) != 0 ||
        file_join(pickle, cp->dir, "pytorch_model.bin", err) != 0)
        return -1;
    if (file_exists(single))
        return add_shard(cp, "model.safetensors", err);
    if (file_exists(index))
        return open_index(cp, index, err);
    if (file_exists(pickle))
        return err_set(err, ERR_INPUT, "%s: pytorch_model.bin is a pickle, which can run code when read; convert it first: load it "
                                       "with transformers and call save_pretrained(folder, safe_serialization=True)", cp->dir);
    return err_set(err, ERR_INPUT, "%s: there is neither model.safetensors nor model.safetensors.index.json", cp->dir);
}

static const struct tensor *find(const struct checkpoint *cp, const char *name)
{
    for (size_t i = 0; i < cp->shard_count; i++) {
        const struct tensor *t = safetensors_find(cp->shards[i], name);
        if (t != NULL)
            return t;
    }
    return NULL;
}

/* ------------------------------------------------------------------ names and shapes */

int checkpoint_name(char out[512], const struct config *c, const struct arch_tensor *row, int layer, int prefix, int alias,
                    struct err *err)
{
    /* "...%d...%d...": a layer and an expert; "...%d...": a layer. */
    const char *name = row->names[alias], *mark = strstr(name, "%d"), *rest = mark == NULL ? NULL : mark + 2;
    const char *second = row->per_expert ? strstr(rest, "%d") : NULL;
    const char *head = row->absolute ? "" : c->arch->prefixes[prefix];
    int n, per = row->per_expert ? c->experts : 1;
    if (mark == NULL)
        n = snprintf(out, NAME_CAP, "%s%s", head, name);
    else if (second == NULL)
        n = snprintf(out, NAME_CAP, "%s%.*s%d%s", head, (int)(mark - name), name, arch_stored_layer(c, layer), rest);
    else
        n = snprintf(out, NAME_CAP, "%s%.*s%d%.*s%d%s", head, (int)(mark - name), name, layer / per, (int)(second - rest), rest,
                     layer % per, second + 2);
    return n > 0 && n < NAME_CAP ? 0 : err_set(err, ERR_INTERNAL, "tensor name too long");
}

static void shape_text(char out[96], const struct tensor *t)
{
    out[0] = '\0';
    for (int i = 0; i < t->rank; i++)
        (void)snprintf(out + strlen(out), 96 - strlen(out), "%s%" PRIu64, i == 0 ? "" : ",", t->dim[i]);
}

/* Matrices that a product reads. A table that serves as embedding too is looked up row by row, and stays float. */
static bool may_be_int8(const struct config *c, const struct arch_tensor *row)
{
    return row->in != AX_ONE && row->part != PART_EMBED && row->role != ROLE_ROUTER && !(row->role == ROLE_LM_HEAD && c->tied);
}

static int check_scale(const struct checkpoint *cp, const struct arch_tensor *row, const struct tensor *t, struct err *err)
{
    const struct tensor *scale = checkpoint_scale(cp, t);
    uint64_t out = (uint64_t)arch_axis_size(&cp->config, row->out);
    char found[96];
    if (scale == NULL)
        return err_set(err, ERR_INPUT, "%s: tensor '%s' is I8, but there is no tensor '%s_scale' with its scales", t->file, t->name,
                       t->name);
    shape_text(found, scale);
    if (scale->dtype != DTYPE_F32 || scale->rank != 2 || scale->dim[0] != out || scale->dim[1] != 1)
        return err_set(err, ERR_INPUT, "%s: tensor '%s': expected F32 [%" PRIu64 ",1], one scale for each output, found %s [%s]",
                       scale->file, scale->name, out, dtype_name(scale->dtype), found);
    struct tensor view;
    if (checkpoint_view(&view, cp, scale, 0, out, err) != 0)
        return -1;
    for (uint64_t o = 0; o < out; o++) {
        float value;
        dtype_to_f32(DTYPE_F32, view.data + o * sizeof value, &value, 1);
        if (!isfinite(value) || value < 0.0f)
            return err_set(err, ERR_INPUT, "%s: tensor '%s': expected finite scales from 0 up, found %g for output %" PRIu64, scale->file,
                           scale->name, (double)value, o);
    }
    return 0;
}

static int check_shape(const struct checkpoint *cp, const struct arch_tensor *row, const struct tensor *t, struct err *err)
{
    struct tensor want = {.dtype = t->dtype};
    want.rank = arch_shape(&cp->config, row, want.dim);
    /* All or none, as config.json says: the rest would be quantised when it is loaded, or the integers taken for weights. */
    const bool int8 = cp->config.quantised && may_be_int8(&cp->config, row);
    if (int8 && t->dtype != DTYPE_I8)
        return err_set(err, ERR_INPUT, "%s: tensor '%s': expected I8, as config.json's quantization_config says, found %s", t->file,
                       t->name, dtype_name(t->dtype));
    if (!int8 && !dtype_is_float(t->dtype))
        return err_set(err, ERR_INPUT, "%s: tensor '%s': expected F32, BF16 or F16, found %s%s", t->file, t->name, dtype_name(t->dtype),
                       t->dtype == DTYPE_I8 && !cp->config.quantised ? "; int8 needs a quantization_config in config.json" : "");
    if (t->rank == want.rank && memcmp(t->dim, want.dim, (size_t)want.rank * sizeof *want.dim) == 0)
        return int8 ? check_scale(cp, row, t, err) : 0;
    char asked[96], found[96];
    shape_text(asked, &want);
    shape_text(found, t);
    return err_set(err, ERR_INPUT, "%s: tensor '%s' (%s): config.json asks for shape [%s], found [%s]", t->file, t->name,
                   arch_role_name(row->role), asked, found);
}

/* First of the accepted names that is stored, NULL if none. */
static int resolve(const struct checkpoint *cp, const struct arch_tensor *row, int layer, const struct tensor **out,
                   struct err *err)
{
    char name[NAME_CAP];
    *out = NULL;
    for (int p = 0; p < (row->absolute ? 1 : 3) && *out == NULL; p++) {
        if (!row->absolute && cp->config.arch->prefixes[p] == NULL)
            break;
        for (int a = 0; a < 3 && row->names[a] != NULL && *out == NULL; a++) {
            if (checkpoint_name(name, &cp->config, row, layer, p, a, err) != 0)
                return -1;
            *out = find(cp, name);
        }
    }
    return 0;
}

static int fill_slots(struct checkpoint *cp, size_t *used, struct err *err)
{
    const struct config *c = &cp->config;
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++) {
        if (!arch_present(c, row))
            continue;
        int layers = arch_count(c, row);
        cp->slots[row->role] = calloc((size_t)layers, sizeof *cp->slots[row->role]);
        if (cp->slots[row->role] == NULL)
            return err_oom(err, (size_t)layers * sizeof *cp->slots[row->role]);
        for (int l = 0; l < layers; l++) {
            const struct tensor *t;
            if (resolve(cp, row, l, &t, err) != 0)
                return -1;
            if (t == NULL)
                continue;
            if (check_shape(cp, row, t, err) != 0)
                return -1;
            cp->slots[row->role][l] = t;
            if (l > 0 && cp->slots[row->role][l - 1] == t) /* layers that share it */
                continue;
            *used += t->dtype == DTYPE_I8 ? 2 : 1; /* its scale too */
        }
    }
    return 0;
}

static bool has_slot(const struct checkpoint *cp, const struct tensor *t)
{
    for (int role = 0; role < ROLE_COUNT; role++) {
        const struct arch_tensor *row = cp->slots[role] == NULL ? NULL : arch_tensor(&cp->config, (enum role)role);
        for (int l = 0; row != NULL && l < arch_count(&cp->config, row); l++)
            if (cp->slots[role][l] == t || (cp->slots[role][l] != NULL && checkpoint_scale(cp, cp->slots[role][l]) == t))
                return true;
    }
    return false;
}

/* Every stored tensor is either used or a known buffer: an unknown one means that we would compute another model. */
static int check_unknown(const struct checkpoint *cp, size_t used, struct err *err)
{
    size_t stored = 0;
    for (size_t s = 0; s < cp->shard_count; s++)
        stored += safetensors_count(cp->shards[s]);
    if (stored == used)
        return 0;
    for (size_t s = 0; s < cp->shard_count; s++)
        for (size_t i = 0; i < safetensors_count(cp->shards[s]); i++) {
            const struct tensor *t = safetensors_at(cp->shards[s], i);
            if (has_slot(cp, t))
                continue;
            const char *const *skip = cp->config.arch->skip;
            while (*skip != NULL && fnmatch(*skip, t->name, 0) != 0)
                skip++;
            const struct tensor *first = find(cp, t->name);
            if (*skip == NULL && first != t)
                return err_set(err, ERR_INPUT, "%s: tensor '%s' is stored in %s too", t->file, t->name, first->file);
            if (*skip == NULL)
                return err_set(err, ERR_INPUT, "%s: tensor '%s' is not part of a %s with this config.json", t->file, t->name,
                               cp->config.architecture);
        }
    return 0;
}

const struct tensor *checkpoint_tensor(const struct checkpoint *cp, enum role role, int layer)
{
    const struct tensor *const *slot = cp->slots[role];
    const struct tensor *t = NULL;
    if (slot != NULL) {
        const struct arch_tensor *row = arch_tensor(&cp->config, role);
        t = slot[row != NULL && row->per_layer ? layer : 0];
    }
    if (cp->config.tied && (role == ROLE_LM_HEAD || role == ROLE_TOKEN_EMBED)) {
        /* The token embedding decides; a tied checkpoint may have stored its only copy as the head. */
        bool lm = cp->config.head == HEAD_LM || cp->config.head == HEAD_MLM;
        const struct tensor *embed = cp->slots[ROLE_TOKEN_EMBED] == NULL ? NULL : cp->slots[ROLE_TOKEN_EMBED][0];
        const struct tensor *head = cp->slots[ROLE_LM_HEAD] == NULL ? NULL : cp->slots[ROLE_LM_HEAD][0];
        if (lm)
            t = embed != NULL ? embed : head;
    }
    return t;
}

const struct tensor *checkpoint_scale(const struct checkpoint *cp, const struct tensor *t)
{
    char name[NAME_CAP + sizeof "_scale"];
    if (t->dtype != DTYPE_I8)
        return NULL;
    (void)snprintf(name, sizeof name, "%s_scale", t->name);
    return find(cp, name);
}

/* The first tensor of a part that is missing. */
static const struct arch_tensor *missing(const struct checkpoint *cp, enum part part, int *layer)
{
    const struct config *c = &cp->config;
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++) {
        if (row->part != part || !arch_present(c, row))
            continue;
        for (int l = 0; l < arch_count(c, row); l++)
            if (checkpoint_tensor(cp, row->role, l) == NULL) {
                *layer = l;
                return row;
            }
    }
    return NULL;
}

static int check_parts(const struct checkpoint *cp, unsigned need, struct err *err)
{
    for (unsigned part = PART_EMBED; part <= PART_HEAD; part++) {
        int layer = 0;
        const struct arch_tensor *row = (need & 1u << part) == 0 ? NULL : missing(cp, (enum part)part, &layer);
        if (row == NULL)
            continue;
        char name[NAME_CAP];
        if (checkpoint_name(name, &cp->config, row, layer, 0, 0, err) != 0)
            return -1;
        return err_set(err, ERR_INPUT, "%s: tensor '%s' (%s) is missing%s", cp->dir, name, arch_role_name(row->role),
                       row->role == ROLE_LM_HEAD && !cp->config.tied ? "; config.json says tie_word_embeddings false" : "");
    }
    return 0;
}

/* ------------------------------------------------------------------ opening */

int checkpoint_open(struct checkpoint **out, const char *dir, unsigned need, struct err *err)
{
    return checkpoint_open_signed(out, dir, need, NULL, err);
}

int checkpoint_open_signed(struct checkpoint **out, const char *dir, unsigned need, const struct manifest *m, struct err *err)
{
    size_t used = 0;
    if (!file_is_dir(dir))
        return err_set(err, ERR_INPUT, "%s: no such folder; expected the folder of a Hugging Face checkpoint", dir);
    struct checkpoint *cp = calloc(1, sizeof *cp);
    if (cp == NULL)
        return err_oom(err, sizeof *cp);
    if ((cp->dir = strdup(dir)) == NULL) {
        err_oom(err, strlen(dir));
        goto fail;
    }
    cp->manifest = m;
    /* A signed folder's config.json is read once: what was checked is what is used. */
    if (m == NULL && config_read(&cp->config, dir, err) != 0)
        goto fail;
    if (load_json(cp, "config.json", JSON_CAP_CONFIG, &cp->json, err) != 0 ||
        (m != NULL && config_parse(&cp->config, cp->json, err) != 0) || open_files(cp, err) != 0 || fill_slots(cp, &used, err) != 0 || check_unknown(cp, used, err) != 0 ||
        check_parts(cp, need, err) != 0)
        goto fail;
    *out = cp;
    return 0;
fail:
    checkpoint_close(cp);
    return -1;
}

void checkpoint_heed(struct checkpoint *cp, const atomic_bool *stop)
{
    cp->stop = stop;
}

void checkpoint_close(struct checkpoint *cp)
{
    if (cp == NULL)
        return;
    for (int r = 0; r < ROLE_COUNT; r++)
        free(cp->slots[r]);
    for (size_t i = 0; i < cp->shard_count; i++) {
        safetensors_close(cp->shards[i]);
        free(cp->shard_names[i]);
    }
    free(cp->shards);
    free(cp->shard_names);
    json_free(cp->json);
    config_free(&cp->config);
    free(cp->dir);
    free(cp);
}

int checkpoint_view(struct tensor *view, const struct checkpoint *cp, const struct tensor *t, uint64_t row, uint64_t rows, struct err *err)
{
    *view = *t;
    if (cp->stop != NULL && atomic_load(cp->stop))
        return err_set(err, ERR_INTERNAL, "%s: reading was stopped", cp->dir);
    return cp->manifest == NULL ? 0 : safetensors_view(view, cp->shards[checkpoint_file_of(cp, t)], t, row, rows, err);
}

const char *checkpoint_dir(const struct checkpoint *cp)
{
    return cp->dir;
}

const struct config *checkpoint_config(const struct checkpoint *cp)
{
    return &cp->config;
}

const struct json_doc *checkpoint_json(const struct checkpoint *cp)
{
    return cp->json;
}

bool checkpoint_has(const struct checkpoint *cp, enum part part)
{
    int layer;
    return missing(cp, part, &layer) == NULL;
}

size_t checkpoint_files(const struct checkpoint *cp)
{
    return cp->shard_count;
}

const char *checkpoint_file_name(const struct checkpoint *cp, size_t i)
{
    return cp->shard_names[i];
}

size_t checkpoint_file_of(const struct checkpoint *cp, const struct tensor *t)
{
    size_t i = 0;
    while (safetensors_find(cp->shards[i], t->name) != t)
        i++;
    return i;
}

uint64_t checkpoint_bytes(const struct checkpoint *cp)
{
    uint64_t sum = 0;
    for (size_t s = 0; s < cp->shard_count; s++)
        for (size_t i = 0; i < safetensors_count(cp->shards[s]); i++)
            sum += safetensors_at(cp->shards[s], i)->bytes;
    return sum;
}

int checkpoint_rows_f32(const struct tensor *t, uint64_t row, uint64_t rows, float *dst, struct err *err)
{
    uint64_t all = t->rank == 0 ? 1 : t->dim[0], width = all == 0 ? 0 : t->count / all, size = dtype_size(t->dtype);
    assert(row + rows <= all);
    const uint8_t *src = t->data + row * width * size;
    size_t n = rows * width, bad = dtype_first_nonfinite(t->dtype, src, n);
    if (bad < n)
        return err_set(err, ERR_INPUT, "%s: tensor '%s': NaN or infinity at element %" PRIu64, t->file, t->name,
                       row * width + bad);
    dtype_to_f32(t->dtype, src, dst, n);
    return 0;
}

const int8_t *checkpoint_rows_i8(const struct tensor *t, uint64_t row)
{
    assert(t->dtype == DTYPE_I8 && t->rank == 2 && row < t->dim[0]);
    return (const int8_t *)t->data + row * t->dim[1];
}
