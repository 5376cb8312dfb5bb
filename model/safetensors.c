#include "model/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/json.h"
#include "base/le.h"
#include "base/size.h"
#include "model/checked.h"

#define HEADER_MAX ((uint64_t)100000000)

struct safetensors {
    struct file_map map; /* empty when parsed from memory */
    struct checked *checked; /* else NULL */
    struct json_doc *header; /* owns the names */
    struct tensor *tensors;
    size_t count;
};

/* ------------------------------------------------------------------ reading */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    /* An empty tensor shares its offset with its neighbour and stands before it. */
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int read_shape(struct tensor *t, const struct json *node, const char *file, struct err *err)
{
    const struct json *shape = json_get(node, "shape");
    if (shape == NULL || json_type(shape) != JSON_ARRAY)
        return err_set(err, ERR_INPUT, "%s: tensor '%s': field 'shape': expected a list, found %s", file, t->name,
                       json_type_name(shape));
    t->count = 1;
    for (const struct json *d = json_first(shape); d != NULL; d = json_next(d)) {
        int64_t dim;
        if (!json_integer(d, &dim) || dim < 0)
            return err_set(err, ERR_INPUT, "%s: tensor '%s': field 'shape': expected whole numbers, found %s", file, t->name,
                           json_type_name(d));
        if (t->rank == TENSOR_MAX_RANK)
            return err_set(err, ERR_INPUT, "%s: tensor '%s': more than %d dimensions", file, t->name, TENSOR_MAX_RANK);
        if (size_mul(t->count, (size_t)dim, &t->count))
            return err_set(err, ERR_INPUT, "%s: tensor '%s': the product of its shape overflows", file, t->name);
        t->dim[t->rank++] = (uint64_t)dim;
    }
    return 0;
}

static int read_tensor(struct tensor *t, const struct json *node, const uint8_t *data, uint64_t size, const char *file,
                       struct err *err)
{
    *t = (struct tensor){.name = json_key(node), .file = file};
    if (t->name[0] == '\0' || strlen(t->name) > 400)
        return err_set(err, ERR_INPUT, "%s: tensor with an empty or overlong name", file);
    if (json_type(node) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: tensor '%s': expected an object, found %s", file, t->name, json_type_name(node));
    const char *dtype = json_string(json_get(node, "dtype"));
    if (dtype == NULL || !dtype_parse(dtype, &t->dtype))
        return err_set(err, ERR_INPUT, "%s: tensor '%s': field 'dtype': expected F32, BF16, F16, F64, I64, I32, I16, I8, U8 or "
                                       "BOOL, found '%.32s'", file, t->name,
                       dtype == NULL ? json_type_name(json_get(node, "dtype")) : dtype);
    if (read_shape(t, node, file, err) != 0)
        return -1;

    const struct json *offsets = json_get(node, "data_offsets");
    int64_t begin, end;
    if (json_type(offsets) != JSON_ARRAY || json_count(offsets) != 2 || !json_integer(json_first(offsets), &begin) ||
        !json_integer(json_next(json_first(offsets)), &end) || begin < 0 || end < begin)
        return err_set(err, ERR_INPUT, "%s: tensor '%s': field 'data_offsets': expected [begin, end]", file, t->name);
    if ((uint64_t)end > size)
        return err_set(err, ERR_INPUT, "%s: tensor '%s' ends past the file (offset %" PRId64 ", the data has %" PRIu64 " bytes)",
                       file, t->name, end, size);
    size_t bytes;
    if (size_mul(t->count, dtype_size(t->dtype), &bytes) || bytes != (uint64_t)(end - begin))
        return err_set(err, ERR_INPUT, "%s: tensor '%s': its shape and dtype do not need the %" PRId64 " bytes it is given", file,
                       t->name, end - begin);
    t->bytes = bytes;
    t->data = data + begin;
    return 0;
}

/* Ranges must tile the data exactly: no holes, no overlaps. */
static int check_tiling(const struct safetensors *st, const uint8_t *data, uint64_t size, const char *file, struct err *err)
{
    if (st->count == 0)
        return size == 0 ? 0 : err_set(err, ERR_INPUT, "%s: %" PRIu64 " bytes of data belong to no tensor", file, size);
    struct tensor *order = malloc(st->count * sizeof *order);
    if (order == NULL)
        return err_oom(err, st->count * sizeof *order);
    memcpy(order, st->tensors, st->count * sizeof *order);
    qsort(order, st->count, sizeof *order, by_place);
    const uint8_t *at = data;
    int rc = 0;
    for (size_t i = 0; i < st->count && rc == 0; i++) {
        if (order[i].data < at)
            rc = err_set(err, ERR_INPUT, "%s: tensor '%s' overlaps the one before it", file, order[i].name);
        else if (order[i].data > at)
            rc = err_set(err, ERR_INPUT, "%s: there is a hole before tensor '%s'", file, order[i].name);
        at = order[i].data + order[i].bytes;
    }
    if (rc == 0 && at != data + size)
        rc = err_set(err, ERR_INPUT, "%s: %zu bytes after the last tensor belong to no tensor", file, (size_t)(data + size - at));
    free(order);
    return rc;
}

/* Bytes of the file up to the end of its header. */
static int header_end(const uint8_t *data, size_t size, const char *name, size_t *end, struct err *err)
{
    if (size < 8)
        return err_set(err, ERR_INPUT, "%s: %zu bytes are too few for a safetensors file", name, size);
    uint64_t header = le_get64(data);
    if (header > HEADER_MAX)
        return err_set(err, ERR_INPUT, "%s: header of %" PRIu64 " bytes, at most %" PRIu64 " are allowed: not a safetensors file?",
                       name, header, HEADER_MAX);
    if (header > size - 8)
        return err_set(err, ERR_INPUT, "%s: header of %" PRIu64 " bytes ends past the file (%zu bytes): truncated?", name, header,
                       size);
    *end = 8 + (size_t)header;
    return 0;
}

/* `data`: the file up to the end of its header; `place`: where the file's bytes are, or are reckoned to be. */
static int parse(struct safetensors **out, const uint8_t *data, const uint8_t *place, size_t size, const char *name, struct err *err)
{
    size_t end;
    if (header_end(data, size, name, &end, err) != 0)
        return -1;
    const size_t header = end - 8;
    if (header < 2 || data[8] != '{')
        return err_set(err, ERR_INPUT, "%s: the header does not start with '{': not a safetensors file?", name);

    struct safetensors *st = calloc(1, sizeof *st);
    if (st == NULL)
        return err_oom(err, sizeof *st);
    if (json_parse(&st->header, (const char *)data + 8, header, false, name, err) != 0)
        goto fail;
    const struct json *root = json_root(st->header);
    size_t entries = json_count(root);
    if ((st->tensors = calloc(entries + 1, sizeof *st->tensors)) == NULL) {
        err_oom(err, entries * sizeof *st->tensors);
        goto fail;
    }
    const uint8_t *body = place + end;
    uint64_t body_size = size - end;
    for (const struct json *node = json_first(root); node != NULL; node = json_next(node)) {
        if (strcmp(json_key(node), "__metadata__") == 0) {
            if (json_type(node) != JSON_OBJECT) {
                err_set(err, ERR_INPUT, "%s: '__metadata__': expected an object, found %s", name, json_type_name(node));
                goto fail;
            }
            continue;
        }
        if (read_tensor(&st->tensors[st->count], node, body, body_size, json_name(st->header), err) != 0)
            goto fail;
        st->count++;
    }
    qsort(st->tensors, st->count, sizeof *st->tensors, by_name);
    if (check_tiling(st, body, body_size, name, err) != 0)
        goto fail;
    *out = st;
    return 0;
fail:
    safetensors_close(st);
    return -1;
}

int safetensors_parse(struct safetensors **out, const uint8_t *data, size_t size, const char *name, struct err *err)
{
    return parse(out, data, data, size, name, err);
}

int safetensors_open(struct safetensors **out, const char *path, struct err *err)
{
    struct file_map map;
    if (file_map(&map, path, err) != 0)
        return -1;
    if (safetensors_parse(out, map.data, map.size, path, err) != 0) {
        file_unmap(&map);
        return -1;
    }
    (*out)->map = map;
    return 0;
}

int safetensors_open_checked(struct safetensors **out, struct checked *file, const char *path, struct err *err)
{
    const size_t size = checked_size(file);
    const uint8_t *header;
    size_t end = 0;
    if (checked_read(file, 0, size < 8 ? size : 8, &header, err) != 0 || header_end(header, size, path, &end, err) != 0 ||
        checked_read(file, 0, end, &header, err) != 0 || parse(out, header, checked_place(file), size, path, err) != 0) {
        checked_close(file);
        return -1;
    }
    (*out)->checked = file;
    return 0;
}

int safetensors_view(struct tensor *view, const struct safetensors *st, const struct tensor *t, uint64_t row, uint64_t rows, struct err *err)
{
    const uint8_t *bytes;
    *view = *t;
    if (st->checked == NULL)
        return 0;
    /* A row is all that one index of the first dimension has; a scalar is one. */
    size_t width = (size_t)(t->rank == 0 ? t->bytes : t->dim[0] == 0 ? 0 : t->bytes / t->dim[0]);
    size_t at = (size_t)(t->data - checked_place(st->checked)), before = (size_t)row * width;
    if (checked_read(st->checked, at + before, (size_t)rows * width, &bytes, err) != 0)
        return -1;
    view->data = (const uint8_t *)((uintptr_t)bytes - before);
    return 0;
}

void safetensors_close(struct safetensors *st)
{
    if (st == NULL)
        return;
    checked_close(st->checked);
    file_unmap(&st->map);
    json_free(st->header);
    free(st->tensors);
    free(st);
}

size_t safetensors_count(const struct safetensors *st)
{
    return st->count;
}

const struct tensor *safetensors_at(const struct safetensors *st, size_t i)
{
    return &st->tensors[i];
}

const struct tensor *safetensors_find(const struct safetensors *st, const char *name)
{
    struct tensor key = {.name = name};
    return st->count == 0 ? NULL : bsearch(&key, st->tensors, st->count, sizeof key, by_name);
}

void safetensors_release(const struct tensor *t)
{
    /* Whole pages inside the tensor only: the neighbours keep theirs. */
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)t->data + page - 1) / page * page, to = ((uintptr_t)t->data + t->bytes) / page * page;
    if (to > from)
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

/* ------------------------------------------------------------------ writing */

struct entry {
    char *name;
    enum dtype dtype;
    int rank;
    uint64_t dim[TENSOR_MAX_RANK], bytes;
};

struct safetensors_out {
    struct entry *entries;
    size_t count, cap, at; /* at: the one whose bytes come next */
    uint64_t done;         /* bytes written of that one */
    struct file_out file;
};

int safetensors_out_new(struct safetensors_out **out, struct err *err)
{
    struct safetensors_out *st = calloc(1, sizeof *st);
    if (st == NULL)
        return err_oom(err, sizeof *st);
    st->file.fd = -1;
    *out = st;
    return 0;
}

int safetensors_out_declare(struct safetensors_out *st, const char *name, enum dtype dtype, int rank, const uint64_t *dim,
                            struct err *err)
{
    struct entry e = {.dtype = dtype, .rank = rank};
    size_t bytes = dtype_size(dtype);
    if (rank < 0 || rank > TENSOR_MAX_RANK)
        return err_set(err, ERR_INTERNAL, "tensor '%s': rank %d cannot be written", name, rank);
    for (int i = 0; i < rank; i++) {
        e.dim[i] = dim[i];
        if (size_mul(bytes, dim[i], &bytes))
            return err_set(err, ERR_INPUT, "tensor '%s': its size overflows", name);
    }
    e.bytes = bytes;
    if (st->count == st->cap) {
        size_t cap = st->cap == 0 ? 64 : st->cap * 2;
        struct entry *more = realloc(st->entries, cap * sizeof *more);
        if (more == NULL)
            return err_oom(err, cap * sizeof *more);
        st->entries = more;
        st->cap = cap;
    }
    if ((e.name = strdup(name)) == NULL)
        return err_oom(err, strlen(name));
    st->entries[st->count++] = e;
    return 0;
}

static int by_entry_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int by_order(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    size_t sx = dtype_size(x->dtype), sy = dtype_size(y->dtype);
    return sx != sy ? (sx > sy ? -1 : 1) : strcmp(x->name, y->name);
}

static int header_text(struct safetensors_out *st, char **text, struct err *err)
{
    struct json_doc *doc = json_new_object("safetensors header");
    struct json *root = json_node(doc);
    json_put_str(doc, json_put_object(doc, root, "__metadata__"), "format", "pt");
    uint64_t at = 0;
    for (size_t i = 0; i < st->count; i++) {
        const struct entry *e = &st->entries[i];
        struct json *node = json_put_object(doc, root, e->name);
        json_put_str(doc, node, "dtype", dtype_name(e->dtype));
        struct json *shape = json_put_array(doc, node, "shape");
        for (int d = 0; d < e->rank; d++)
            json_put_int(doc, shape, NULL, (int64_t)e->dim[d]);
        struct json *offsets = json_put_array(doc, node, "data_offsets");
        json_put_int(doc, offsets, NULL, (int64_t)at);
        json_put_int(doc, offsets, NULL, (int64_t)(at + e->bytes));
        at += e->bytes;
    }
    int rc = json_print(doc, false, text, err);
    json_free(doc);
    return rc;
}

int safetensors_out_begin(struct safetensors_out *st, const char *path, mode_t mode, struct err *err)
{
    if (st->count > 0)
        qsort(st->entries, st->count, sizeof *st->entries, by_entry_name);
    for (size_t i = 1; i < st->count; i++)
        if (strcmp(st->entries[i - 1].name, st->entries[i].name) == 0)
            return err_set(err, ERR_INTERNAL, "%s: tensor '%s' was declared twice", path, st->entries[i].name);
    if (st->count > 0)
        qsort(st->entries, st->count, sizeof *st->entries, by_order);
    char *text = NULL;
    if (header_text(st, &text, err) != 0)
        return -1;
    size_t len = strlen(text), padded = (len + 7) / 8 * 8;
    uint8_t head[8];
    le_put64(head, padded);
    int rc = -1;
    if (file_out_open(&st->file, path, mode, err) == 0 && file_out_write(&st->file, head, sizeof head, err) == 0 &&
        file_out_write(&st->file, text, len, err) == 0)
        rc = file_out_write(&st->file, "        ", padded - len, err);
    free(text);
    return rc;
}

const char *safetensors_out_next(const struct safetensors_out *st)
{
    return st->at < st->count ? st->entries[st->at].name : NULL;
}

int safetensors_out_write(struct safetensors_out *st, const void *data, size_t len, struct err *err)
{
    if (st->at >= st->count || len > st->entries[st->at].bytes - st->done)
        return err_set(err, ERR_INTERNAL, "%s: more bytes than were declared", st->file.path);
    if (file_out_write(&st->file, data, len, err) != 0)
        return -1;
    st->done += len;
    if (st->done == st->entries[st->at].bytes) {
        st->at++;
        st->done = 0;
    }
    return 0;
}

int safetensors_out_commit(struct safetensors_out *st, struct err *err)
{
    if (st->at != st->count)
        return err_set(err, ERR_INTERNAL, "%s: tensor '%s' is incomplete", st->file.path, st->entries[st->at].name);
    return file_out_commit(&st->file, err);
}

void safetensors_out_free(struct safetensors_out *st)
{
    if (st == NULL)
        return;
    file_out_drop(&st->file);
    for (size_t i = 0; i < st->count; i++)
        free(st->entries[i].name);
    free(st->entries);
    free(st);
}
