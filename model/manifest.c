#include "model/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/expiry.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/size.h"
#include "base/threads.h"

#define VERSION 1
#define FILES_MAX 4096
#define SIZE_MAX_FILE ((int64_t)1 << 46)
#define PIECE (64 * MANIFEST_CHUNK) /* mapped bytes held while hashing */

void manifest_free(struct manifest *m)
{
    for (size_t i = 0; i < m->file_count; i++) {
        free(m->files[i].name);
        free(m->files[i].chunks);
    }
    free(m->files);
    m->files = NULL;
    m->file_count = 0;
}

uint64_t manifest_bytes(const struct manifest *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m->file_count; i++)
        sum += m->files[i].size;
    return sum;
}

static size_t chunks_of(uint64_t size)
{
    return (size_t)((size + MANIFEST_CHUNK - 1) / MANIFEST_CHUNK);
}

/* ------------------------------------------------------------------ the folder */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct manifest_file *)a)->name, ((const struct manifest_file *)b)->name);
}

static int add_file(struct manifest *m, const char *dir, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct stat st;
    if (file_join(path, dir, name, err) != 0)
        return -1;
    if (lstat(path, &st) != 0)
        return err_set(err, ERR_INPUT, "cannot stat %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || !file_name_ok(name))
        return err_set(err, ERR_INPUT, "%s: a package holds plain files only", path);
    if (m->file_count == FILES_MAX)
        return err_set(err, ERR_INPUT, "%s: more than %d files", dir, FILES_MAX);
    struct manifest_file *files = realloc(m->files, (m->file_count + 1) * sizeof *files);
    if (files == NULL)
        return err_oom(err, (m->file_count + 1) * sizeof *files);
    m->files = files;
    struct manifest_file *f = &files[m->file_count];
    *f = (struct manifest_file){.size = (uint64_t)st.st_size};
    if ((f->name = strdup(name)) == NULL)
        return err_oom(err, strlen(name));
    m->file_count++;
    return 0;
}

/* Names and sizes of all files but the manifest's own two, sorted. */
static int list_files(struct manifest *m, const char *dir, struct err *err)
{
    DIR *d = opendir(dir);
    if (d == NULL)
        return err_set(err, ERR_INPUT, "cannot open folder %s: %s", dir, strerror(errno));
    int rc = 0;
    for (const struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;) {
        const char *n = e->d_name;
        if (strcmp(n, ".") != 0 && strcmp(n, "..") != 0 && strcmp(n, MANIFEST_NAME) != 0 && strcmp(n, MANIFEST_SIG_NAME) != 0)
            rc = add_file(m, dir, n, err);
    }
    closedir(d);
    if (rc == 0 && m->file_count > 0)
        qsort(m->files, m->file_count, sizeof *m->files, by_name);
    return rc;
}

/* ------------------------------------------------------------------ hashing */

/* A piece of a file that all threads hash together: its chunks, and, where it is wanted, the next part of the whole file's digest. */
struct hashing {
    const unsigned char *data;
    size_t size;
    uint8_t *chunks;           /* of this piece */
    struct crypto_hash *whole; /* NULL: not wanted */
    atomic_bool failed;
};

static void hash_task(void *arg, int i)
{
    struct hashing *h = arg;
    struct err err;
    int rc;
    if (h->whole != NULL && i == 0) /* the long one first */
        rc = crypto_hash_add(h->whole, h->data, h->size, &err);
    else {
        size_t chunk = (size_t)i - (h->whole != NULL ? 1 : 0), at = chunk * MANIFEST_CHUNK;
        size_t n = h->size - at < MANIFEST_CHUNK ? h->size - at : MANIFEST_CHUNK;
        rc = crypto_sha256(h->data + at, n, h->chunks + chunk * CRYPTO_HASH_LEN, &err);
    }
    if (rc != 0)
        h->failed = true;
}

/* Digests of a file's chunks, and of the whole file unless sha256 is NULL. `progress` counts bytes of all files from *done. */
static int hash_file(const char *path, uint64_t size, uint8_t *sha256, uint8_t *chunks, struct progress *progress, uint64_t *done,
                     struct err *err)
{
    struct file_map map;
    struct crypto_hash *whole = NULL;
    if (file_map(&map, path, err) != 0)
        return -1;
    int rc = -1;
    if (map.size != size) {
        err_set(err, ERR_CHECK, "%s: expected %" PRIu64 " bytes, found %zu", path, size, map.size);
        goto done;
    }
    if (sha256 != NULL && crypto_hash_new(&whole, err) != 0)
        goto done;
    for (size_t at = 0; at < map.size; at += PIECE) {
        struct hashing h = {.data = map.data + at, .size = map.size - at < PIECE ? map.size - at : PIECE,
                            .chunks = chunks + at / MANIFEST_CHUNK * CRYPTO_HASH_LEN, .whole = whole};
        threads_for((int)chunks_of(h.size) + (whole != NULL ? 1 : 0), hash_task, &h);
        if (h.failed) {
            err_set(err, ERR_INTERNAL, "%s: hashing failed", path);
            goto done;
        }
        *done += h.size;
        progress_at(progress, *done);
        (void)madvise((void *)(uintptr_t)h.data, h.size, MADV_DONTNEED); /* keeps the resident set small: not read again here */
    }
    rc = whole == NULL ? 0 : crypto_hash_end(whole, sha256, err);
done:
    crypto_hash_free(whole);
    file_unmap(&map);
    return rc;
}

int manifest_build(struct manifest *m, const char *dir, struct err *err)
{
    struct manifest fresh = *m;
    struct progress progress;
    uint64_t done = 0;
    fresh.files = NULL;
    fresh.file_count = 0;
    int rc = list_files(&fresh, dir, err);
    if (rc == 0 && fresh.file_count == 0)
        rc = err_set(err, ERR_INPUT, "%s: the folder is empty", dir);
    progress_start(&progress, "hashing", "B", manifest_bytes(&fresh));
    for (size_t i = 0; rc == 0 && i < fresh.file_count; i++) {
        struct manifest_file *f = &fresh.files[i];
        char path[FILE_PATH_MAX];
        f->chunk_count = chunks_of(f->size);
        if ((f->chunks = malloc(f->chunk_count * CRYPTO_HASH_LEN + 1)) == NULL)
            rc = err_oom(err, f->chunk_count * CRYPTO_HASH_LEN);
        else if ((rc = file_join(path, dir, f->name, err)) == 0)
            rc = hash_file(path, f->size, f->sha256, f->chunks, &progress, &done, err);
    }
    progress_end(&progress);
    if (rc != 0) {
        manifest_free(&fresh);
        return -1;
    }
    manifest_free(m);
    *m = fresh;
    return 0;
}

static int compare_chunk(const struct manifest_file *f, const char *path, size_t chunk, const uint8_t digest[CRYPTO_HASH_LEN], struct err *err)
{
    if (memcmp(digest, f->chunks + chunk * CRYPTO_HASH_LEN, CRYPTO_HASH_LEN) == 0)
        return 0;
    return err_set(err, ERR_CHECK, "%s: MiB %zu is not what was signed: the file was changed; fetch the package again", path, chunk);
}

int manifest_check_chunk(const struct manifest_file *f, const char *path, size_t chunk, const void *data, size_t n, struct err *err)
{
    uint8_t digest[CRYPTO_HASH_LEN];
    return crypto_sha256(data, n, digest, err) != 0 ? -1 : compare_chunk(f, path, chunk, digest, err);
}

/* By its chunks: they are signed and leave nothing out. The digest of the whole file is there for people and other tools. */
static int check_file(const struct manifest_file *f, const char *dir, struct progress *progress, uint64_t *done, struct err *err)
{
    char path[FILE_PATH_MAX];
    uint8_t *chunks = malloc(f->chunk_count * CRYPTO_HASH_LEN + 1);
    if (chunks == NULL)
        return err_oom(err, f->chunk_count * CRYPTO_HASH_LEN);
    int rc = file_join(path, dir, f->name, err);
    if (rc == 0)
        rc = hash_file(path, f->size, NULL, chunks, progress, done, err);
    for (size_t i = 0; rc == 0 && i < f->chunk_count; i++)
        rc = compare_chunk(f, path, i, chunks + i * CRYPTO_HASH_LEN, err);
    free(chunks);
    return rc;
}

int manifest_check_list(const struct manifest *m, const char *dir, struct err *err)
{
    /* A file that nobody signed could be loaded in place of one that was. */
    struct manifest there = {0};
    int rc = list_files(&there, dir, err);
    for (size_t i = 0; rc == 0 && i < there.file_count; i++)
        if (m->file_count == 0 || bsearch(&there.files[i], m->files, m->file_count, sizeof *m->files, by_name) == NULL)
            rc = err_set(err, ERR_CHECK, "%s/%s is not in the signed manifest; remove it", dir, there.files[i].name);
    for (size_t i = 0; rc == 0 && i < m->file_count; i++) {
        const struct manifest_file *f = there.file_count == 0 ? NULL : bsearch(&m->files[i], there.files, there.file_count, sizeof *there.files, by_name);
        if (f == NULL)
            rc = err_set(err, ERR_CHECK, "%s/%s is missing; the signed manifest names it", dir, m->files[i].name);
        else if (f->size != m->files[i].size)
            rc = err_set(err, ERR_CHECK, "%s/%s: expected %" PRIu64 " bytes, found %" PRIu64, dir, f->name, m->files[i].size, f->size);
    }
    manifest_free(&there);
    return rc;
}

int manifest_check_files(const struct manifest *m, const char *dir, struct err *err)
{
    struct progress progress;
    uint64_t done = 0;
    int rc = manifest_check_list(m, dir, err);
    progress_start(&progress, "checking", "B", manifest_bytes(m));
    for (size_t i = 0; rc == 0 && i < m->file_count; i++)
        rc = check_file(&m->files[i], dir, &progress, &done, err);
    progress_end(&progress);
    return rc;
}

/* ------------------------------------------------------------------ text */

static int put_file(struct json_doc *doc, struct json *list, const struct manifest_file *f, struct err *err)
{
    char digest[2 * CRYPTO_HASH_LEN + 1], *chunks = malloc(2 * CRYPTO_HASH_LEN * f->chunk_count + 1);
    if (chunks == NULL)
        return err_oom(err, 2 * CRYPTO_HASH_LEN * f->chunk_count);
    crypto_hex(f->sha256, sizeof f->sha256, digest);
    crypto_hex(f->chunks, CRYPTO_HASH_LEN * f->chunk_count, chunks);
    struct json *node = json_put_object(doc, list, NULL);
    json_put_str(doc, node, "name", f->name);
    json_put_int(doc, node, "size", (int64_t)f->size);
    json_put_str(doc, node, "sha256", digest);
    json_put_str(doc, node, "chunks", chunks);
    free(chunks);
    return 0;
}

static int print(const struct manifest *m, char **text, struct err *err)
{
    char signer[2 * CRYPTO_KEY_LEN + 1], previous[2 * CRYPTO_HASH_LEN + 1], expires[32];
    crypto_hex(m->signer, sizeof m->signer, signer);
    struct json_doc *doc = json_new_object(MANIFEST_NAME);
    struct json *root = json_node(doc);
    json_put_int(doc, root, "version", VERSION);
    json_put_str(doc, root, "model", m->model);
    json_put_str(doc, root, "profile", m->profile);
    json_put_str(doc, root, "head", m->head);
    json_put_str(doc, root, "dtype", m->dtype);
    json_put_str(doc, root, "compute", compute_name(m->compute));
    json_put_int(doc, root, "epoch", m->epoch);
    json_put_str(doc, root, "created", m->created);
    /* The next are left out where there is nothing to say: a program that does not know them must not take a package that needs them. */
    if (m->local_layers > 0)
        json_put_int(doc, root, "local_layers", m->local_layers);
    if (m->expires != EXPIRY_NEVER) {
        clock_iso(m->expires, expires);
        json_put_str(doc, root, "expires", expires);
    }
    if (m->chained) {
        crypto_hex(m->previous, sizeof m->previous, previous);
        json_put_str(doc, root, "previous", previous);
    }
    json_put_str(doc, root, "signer", signer);
    json_put_int(doc, root, "chunk_size", (int64_t)MANIFEST_CHUNK);
    struct json *list = json_put_array(doc, root, "files");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < m->file_count; i++)
        rc = put_file(doc, list, &m->files[i], err);
    if (rc == 0)
        rc = json_print(doc, true, text, err);
    json_free(doc);
    return rc;
}

int manifest_write(const struct manifest *m, const char *dir, const uint8_t sign_key[CRYPTO_KEY_LEN],
                   uint8_t context_id[CRYPTO_HASH_LEN], struct err *err)
{
    char path[FILE_PATH_MAX], sig_path[FILE_PATH_MAX], *text = NULL;
    uint8_t sig[CRYPTO_SIG_LEN];
    if (print(m, &text, err) != 0)
        return -1;
    size_t len = strlen(text);
    int rc = -1;
    if (len > MANIFEST_CAP)
        err_set(err, ERR_INPUT, "%s: the manifest would have %zu bytes, at most %zu are read back", dir, len, MANIFEST_CAP);
    else if (crypto_sign(sign_key, text, len, sig, err) == 0 && crypto_verify(m->signer, text, len, sig, err) == 0 &&
             file_join(path, dir, MANIFEST_NAME, err) == 0 && file_join(sig_path, dir, MANIFEST_SIG_NAME, err) == 0 &&
             file_write(path, text, len, 0644, err) == 0 && file_write(sig_path, sig, sizeof sig, 0644, err) == 0)
        rc = manifest_context_id(text, len, context_id, err);
    free(text);
    return rc;
}

/* ------------------------------------------------------------------ reading back */

static int get_text(const struct json_doc *doc, const struct json *node, const char *key, char *out, size_t cap, struct err *err)
{
    const char *s;
    if (json_get_str(doc, node, key, &s, err) != 0)
        return -1;
    if (strlen(s) >= cap)
        return err_set(err, ERR_INPUT, "%s: field '%s': more than %zu characters", json_name(doc), key, cap - 1);
    memcpy(out, s, strlen(s) + 1);
    return 0;
}

static int get_one_of(const struct json_doc *doc, const char *key, const char *const *known, char *out, size_t cap,
                      struct err *err)
{
    if (get_text(doc, json_root(doc), key, out, cap, err) != 0)
        return -1;
    while (*known != NULL && strcmp(*known, out) != 0)
        known++;
    return *known != NULL ? 0 : err_set(err, ERR_INPUT, "%s: field '%s': '%s' is not known here", json_name(doc), key, out);
}

static int get_hex(const struct json_doc *doc, const struct json *node, const char *key, uint8_t *out, size_t n, struct err *err)
{
    const char *s;
    if (json_get_str(doc, node, key, &s, err) != 0)
        return -1;
    if (!crypto_unhex(s, out, n))
        return err_set(err, ERR_INPUT, "%s: field '%s': expected %zu hex digits, found %zu characters", json_name(doc), key, 2 * n,
                       strlen(s));
    return 0;
}

/* An unknown key in a signed file is a format that we do not know, not a slip in a config. */
static int only(const struct json_doc *doc, const struct json *node, const char *const *keys, struct err *err)
{
    int rc = json_only(doc, node, keys, err);
    if (rc != 0 && err != NULL)
        err->code = ERR_INPUT;
    return rc;
}

static int parse_file(struct manifest *m, const struct json_doc *doc, const struct json *node, struct err *err)
{
    static const char *const keys[] = {"name", "size", "sha256", "chunks", NULL};
    struct manifest_file *f = &m->files[m->file_count];
    const char *name;
    int64_t size;
    if (json_type(node) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: field 'files': expected objects, found %s", json_name(doc), json_type_name(node));
    if (only(doc, node, keys, err) != 0 || json_get_str(doc, node, "name", &name, err) != 0)
        return -1;
    if (!file_name_ok(name) || strcmp(name, MANIFEST_NAME) == 0 || strcmp(name, MANIFEST_SIG_NAME) == 0)
        return err_set(err, ERR_INPUT, "%s: field 'files': '%.100s' is not the name of a package file", json_name(doc), name);
    if (m->file_count > 0 && strcmp(m->files[m->file_count - 1].name, name) >= 0)
        return err_set(err, ERR_INPUT, "%s: field 'files': '%s' stands out of order or twice", json_name(doc), name);
    if (json_get_int(doc, node, "size", 0, SIZE_MAX_FILE, &size, err) != 0 ||
        get_hex(doc, node, "sha256", f->sha256, sizeof f->sha256, err) != 0)
        return err_wrap(err, "file '%s'", name);
    /* The text that is here bounds the allocation: a size alone could claim any number of chunks. */
    const char *chunks = json_string(json_get(node, "chunks"));
    f->size = (uint64_t)size;
    f->chunk_count = chunks_of(f->size);
    if (chunks == NULL || strlen(chunks) != 2 * CRYPTO_HASH_LEN * f->chunk_count)
        return err_set(err, ERR_INPUT, "%s: file '%s': field 'chunks': expected %zu hex digits for %" PRIu64 " bytes, found %zu",
                       json_name(doc), name, 2 * CRYPTO_HASH_LEN * f->chunk_count, f->size, chunks == NULL ? 0 : strlen(chunks));
    f->name = strdup(name);
    f->chunks = malloc(CRYPTO_HASH_LEN * f->chunk_count + 1);
    m->file_count++; /* from here manifest_free releases both */
    if (f->name == NULL || f->chunks == NULL)
        return err_oom(err, CRYPTO_HASH_LEN * f->chunk_count);
    if (get_hex(doc, node, "chunks", f->chunks, CRYPTO_HASH_LEN * f->chunk_count, err) != 0)
        return err_wrap(err, "file '%s'", name);
    return 0;
}

static int parse_files(struct manifest *m, const struct json_doc *doc, struct err *err)
{
    const struct json *list = json_get(json_root(doc), "files");
    size_t n = json_count(list);
    if (list == NULL || json_type(list) != JSON_ARRAY || n < 1 || n > FILES_MAX)
        return err_set(err, ERR_INPUT, "%s: field 'files': expected a list of 1 to %d files, found %s", json_name(doc), FILES_MAX,
                       json_type_name(list));
    if ((m->files = calloc(n, sizeof *m->files)) == NULL)
        return err_oom(err, n * sizeof *m->files);
    for (const struct json *f = json_first(list); f != NULL; f = json_next(f))
        if (parse_file(m, doc, f, err) != 0)
            return -1;
    return 0;
}

/* Absent in packages from before there was a choice. int8 matrices and int8 products go together: nothing else reads them. */
static int get_compute(struct manifest *m, const struct json_doc *doc, struct err *err)
{
    const char *name = compute_name(COMPUTE_F32);
    if (json_opt_str(doc, json_root(doc), "compute", &name, err) != 0)
        return -1;
    if (!compute_parse(name, &m->compute))
        return err_set(err, ERR_INPUT, "%s: field 'compute': expected f32, bf16 or int8, found '%.30s'", json_name(doc), name);
    if ((strcmp(m->dtype, "I8") == 0) != (m->compute == COMPUTE_INT8))
        return err_set(err, ERR_INPUT, "%s: field 'compute': %s does not go with matrices of dtype %s", json_name(doc), name, m->dtype);
    return 0;
}

static int get_life(struct manifest *m, const struct json_doc *doc, struct err *err)
{
    const struct json *root = json_root(doc);
    const char *expires = NULL;
    if (json_opt_str(doc, root, "expires", &expires, err) != 0)
        return -1;
    if (expires != NULL && !expiry_parse(&m->expires, expires))
        return err_set(err, ERR_INPUT, "%s: field 'expires': expected a date like 2027-03-01T12:00:00Z, found '%.40s'", json_name(doc),
                       expires);
    m->chained = !json_is_null(json_get(root, "previous"));
    return m->chained ? get_hex(doc, root, "previous", m->previous, sizeof m->previous, err) : 0;
}

static int parse_doc(struct manifest *m, const struct json_doc *doc, struct err *err)
{
    static const char *const keys[] = {"version", "model", "profile", "head", "dtype", "compute", "epoch", "created",
                                       "local_layers", "expires", "previous", "signer", "chunk_size", "files", NULL};
    static const char *const profiles[] = {"stip", "gauge", "engine", NULL}, *const heads[] = {"server", "user", NULL};
    static const char *const dtypes[] = {"F32", "BF16", "F16", "I8", "mixed", NULL};
    const struct json *root = json_root(doc);
    int64_t version, chunk, epoch, local_layers = 0;
    if (json_type(root) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: expected an object, found %s", json_name(doc), json_type_name(root));
    /* The version first: a newer one may well have other fields. */
    if (json_get_int(doc, root, "version", VERSION, VERSION, &version, err) != 0 || only(doc, root, keys, err) != 0 ||
        json_get_int(doc, root, "chunk_size", (int64_t)MANIFEST_CHUNK, (int64_t)MANIFEST_CHUNK, &chunk, err) != 0 ||
        json_get_int(doc, root, "epoch", 1, UINT32_MAX, &epoch, err) != 0 ||
        json_opt_int(doc, root, "local_layers", 0, UINT16_MAX, &local_layers, err) != 0 ||
        get_text(doc, root, "model", m->model, sizeof m->model, err) != 0 ||
        get_text(doc, root, "created", m->created, sizeof m->created, err) != 0 ||
        get_one_of(doc, "profile", profiles, m->profile, sizeof m->profile, err) != 0 ||
        get_one_of(doc, "head", heads, m->head, sizeof m->head, err) != 0 ||
        get_one_of(doc, "dtype", dtypes, m->dtype, sizeof m->dtype, err) != 0 || get_compute(m, doc, err) != 0 ||
        get_life(m, doc, err) != 0 || get_hex(doc, root, "signer", m->signer, sizeof m->signer, err) != 0)
        return -1;
    m->epoch = (uint32_t)epoch;
    m->local_layers = (uint32_t)local_layers;
    return parse_files(m, doc, err);
}

int manifest_for_server(const struct manifest *m, struct err *err)
{
    if (strcmp(m->profile, "engine") != 0)
        return 0;
    return err_set(err, ERR_INPUT, "a package of profile 'engine' is for engines of others, which are given the folder itself; a stip-server "
                                   "takes what protect writes with another profile");
}

int manifest_parse(struct manifest *out, const char *text, size_t len, const char *name, struct err *err)
{
    struct json_doc *doc;
    struct manifest m = {0};
    if (len > MANIFEST_CAP)
        return err_set(err, ERR_INPUT, "%s: %zu bytes, at most %zu are accepted", name, len, MANIFEST_CAP);
    if (json_parse(&doc, text, len, false, name, err) != 0)
        return -1;
    int rc = parse_doc(&m, doc, err);
    json_free(doc);
    if (rc != 0)
        manifest_free(&m);
    else
        *out = m;
    return rc;
}

int manifest_verify(const char *text, size_t len, const uint8_t sig[CRYPTO_SIG_LEN], const uint8_t signer[CRYPTO_KEY_LEN],
                    struct err *err)
{
    if (crypto_verify(signer, text, len, sig, err) == 0)
        return 0;
    char hex[2 * CRYPTO_KEY_LEN + 1];
    crypto_hex(signer, CRYPTO_KEY_LEN, hex);
    return err_wrap(err, "%s is not signed by the trusted developer key %.16s...", MANIFEST_NAME, hex);
}

int manifest_check_time(const struct manifest *m, int64_t now, const char *what, struct err *err)
{
    return expiry_check(m->expires, now, what, "its developer has to make another one (stip-model-dev rotate)", err);
}

int manifest_context_id(const char *text, size_t len, uint8_t out[CRYPTO_HASH_LEN], struct err *err)
{
    return crypto_sha256(text, len, out, err);
}

int manifest_load(struct manifest *out, const char *dir, char **text, size_t *len, uint8_t sig[CRYPTO_SIG_LEN], struct err *err)
{
    char path[FILE_PATH_MAX], sig_path[FILE_PATH_MAX], *bytes = NULL, *raw = NULL;
    size_t n = 0, raw_len = 0;
    int rc = -1;
    if (file_join(path, dir, MANIFEST_NAME, err) != 0 || file_join(sig_path, dir, MANIFEST_SIG_NAME, err) != 0 ||
        file_read(path, MANIFEST_CAP, &bytes, &n, err) != 0 || file_read(sig_path, 4096, &raw, &raw_len, err) != 0)
        goto done;
    if (raw_len != CRYPTO_SIG_LEN) {
        err_set(err, ERR_INPUT, "%s: expected %d bytes, found %zu", sig_path, CRYPTO_SIG_LEN, raw_len);
        goto done;
    }
    if (manifest_parse(out, bytes, n, path, err) != 0)
        goto done;
    memcpy(sig, raw, CRYPTO_SIG_LEN);
    *text = bytes;
    *len = n;
    bytes = NULL;
    rc = 0;
done:
    free(bytes);
    free(raw);
    return rc;
}
