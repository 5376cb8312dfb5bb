#include "transport/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/reader.h"
#include "base/secret.h"
#include "base/size.h"

static const char MAGIC[8] = {'S', 'T', 'I', 'P', 'B', 'L', 'B', '1'};
#define SIZE_LIMIT ((uint64_t)1 << 51) /* so that chunk numbers fit into 32 bits */

uint32_t blob_chunks(uint64_t size)
{
    return (uint32_t)((size + WIRE_PAYLOAD_MAX - 1) / WIRE_PAYLOAD_MAX);
}

size_t blob_chunk_bytes(uint64_t size, uint32_t chunk)
{
    uint64_t left = size - (uint64_t)chunk * WIRE_PAYLOAD_MAX;
    return left < WIRE_PAYLOAD_MAX ? (size_t)left : WIRE_PAYLOAD_MAX;
}

void blob_list_free(struct blob_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->file[i].chunk);
    free(list->file);
    *list = (struct blob_list){0};
}

uint64_t blob_list_bytes(const struct blob_list *list)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < list->count; i++)
        sum += list->file[i].size;
    return sum;
}

int blob_list_add(struct blob_list *list, struct blob_file *file, struct err *err)
{
    if (!file_name_ok(file->name) || file->name[0] == '.')
        return err_set(err, ERR_INPUT, "file list: a name that is not a plain file name");
    if (file->size > SIZE_LIMIT)
        return err_set(err, ERR_INPUT, "file list: '%s': %llu bytes, at most %llu", file->name, (unsigned long long)file->size,
                       (unsigned long long)SIZE_LIMIT);
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->file[i].name, file->name) == 0)
            return err_set(err, ERR_INPUT, "file list: '%s' stands twice", file->name);
    if (list->count >= BLOB_FILES_MAX)
        return err_set(err, ERR_INPUT, "file list: more than %u files", BLOB_FILES_MAX);
    struct blob_file *grown = realloc(list->file, (list->count + 1) * sizeof *grown);
    if (grown == NULL)
        return err_oom(err, (list->count + 1) * sizeof *grown);
    list->file = grown;
    list->file[list->count++] = *file;
    file->chunk = NULL;
    return 0;
}

int blob_list_known(struct blob_list *list, const char *name, uint64_t size, const uint8_t sha256[32], const uint8_t *chunks, size_t n,
                    struct err *err)
{
    struct blob_file b = {.size = size};
    if (strlen(name) > BLOB_NAME_MAX)
        return err_set(err, ERR_INPUT, "file name '%.60s...' is longer than %d bytes", name, BLOB_NAME_MAX);
    memcpy(b.name, name, strlen(name) + 1);
    memcpy(b.sha256, sha256, sizeof b.sha256);
    if ((b.chunk = malloc(n * CRYPTO_HASH_LEN + 1)) == NULL)
        return err_oom(err, n * CRYPTO_HASH_LEN);
    memcpy(b.chunk, chunks, n * CRYPTO_HASH_LEN);
    if (blob_list_add(list, &b, err) == 0)
        return 0;
    free(b.chunk);
    return -1;
}

/* ------------------------------------------------------------------ hashing */

static int hash_chunks(struct blob_file *f, int fd, uint8_t *buffer, const char *path, struct err *err)
{
    struct crypto_hash *whole = NULL;
    if (crypto_hash_new(&whole, err) != 0)
        return -1;
    int rc = -1;
    for (uint32_t i = 0; i < blob_chunks(f->size); i++) {
        size_t n = blob_chunk_bytes(f->size, i), have = 0;
        while (have < n) {
            ssize_t got = pread(fd, buffer + have, n - have, (off_t)i * WIRE_PAYLOAD_MAX + (off_t)have);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0) {
                err_set(err, ERR_INPUT, "%s: %s", path, got == 0 ? "became shorter while it was read" : strerror(errno));
                goto done;
            }
            have += (size_t)got;
        }
        if (crypto_sha256(buffer, n, f->chunk + (size_t)i * 32, err) != 0 || crypto_hash_add(whole, buffer, n, err) != 0)
            goto done;
    }
    rc = crypto_hash_end(whole, f->sha256, err);
done:
    crypto_hash_free(whole);
    return rc;
}

int blob_file_hash(struct blob_file *out, const char *dir, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct blob_file f = {0};
    if (!file_name_ok(name))
        return err_set(err, ERR_INPUT, "file list: \"%.80s\" is not a plain file name", name);
    memcpy(f.name, name, strlen(name) + 1);
    if (file_join(path, dir, name, err) != 0 || file_size(path, &f.size, err) != 0)
        return -1;
    if (f.size > SIZE_LIMIT)
        return err_set(err, ERR_INPUT, "%s: too large", path);
    int rc = -1, fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *buffer = secret_alloc(WIRE_PAYLOAD_MAX); /* a grant's files are keys */
    f.chunk = malloc((size_t)blob_chunks(f.size) * 32 + 1);
    if (fd < 0)
        err_set(err, ERR_INPUT, "cannot open %s: %s", path, strerror(errno));
    else if (buffer == NULL || f.chunk == NULL)
        err_oom(err, WIRE_PAYLOAD_MAX);
    else
        rc = hash_chunks(&f, fd, buffer, path, err);
    secret_free(buffer);
    if (fd >= 0)
        close(fd);
    if (rc == 0)
        *out = f;
    else
        free(f.chunk);
    return rc;
}

/* ------------------------------------------------------------------ bytes */

int blob_list_encode(const struct blob_list *list, uint8_t **out, size_t *len, struct err *err)
{
    struct buf b;
    buf_init(&b, (size_t)16 << 20);
    buf_put(&b, MAGIC, sizeof MAGIC);
    buf_put32(&b, (uint32_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        const struct blob_file *f = &list->file[i];
        size_t n = strlen(f->name);
        buf_put8(&b, (uint8_t)n);
        buf_put(&b, f->name, n);
        buf_put64(&b, f->size);
        buf_put(&b, f->sha256, sizeof f->sha256);
        buf_put(&b, f->chunk, (size_t)blob_chunks(f->size) * 32);
    }
    int rc = buf_check(&b, "file list", err);
    if (rc == 0)
        *out = (uint8_t *)buf_take(&b, len);
    buf_free(&b);
    return rc;
}

static int read_file(struct blob_list *list, struct reader *r, struct err *err)
{
    struct blob_file f = {0};
    size_t n = reader_u8(r);
    const uint8_t *name = n <= BLOB_NAME_MAX ? reader_bytes(r, n) : NULL;
    f.size = reader_u64(r);
    reader_copy(r, f.sha256, sizeof f.sha256);
    if (name == NULL || r->failed || memchr(name, '\0', n) != NULL || f.size > SIZE_LIMIT)
        return err_set(err, ERR_INPUT, "file list: cut or malformed");
    memcpy(f.name, name, n);
    size_t hashes = (size_t)blob_chunks(f.size) * 32;
    const uint8_t *chunk = reader_bytes(r, hashes); /* before anything of that size is allocated */
    if (chunk == NULL)
        return err_set(err, ERR_INPUT, "file list: '%s': fewer chunk hashes than its size needs", f.name);
    if ((f.chunk = malloc(hashes + 1)) == NULL)
        return err_oom(err, hashes);
    memcpy(f.chunk, chunk, hashes);
    int rc = blob_list_add(list, &f, err);
    free(f.chunk); /* NULL once the list has it */
    return rc;
}

int blob_list_decode(struct blob_list *out, const uint8_t *data, size_t len, struct err *err)
{
    struct reader r;
    struct blob_list list = {0};
    if (len < sizeof MAGIC || memcmp(data, MAGIC, sizeof MAGIC) != 0)
        return err_set(err, ERR_INPUT, "file list: it does not begin with STIPBLB1");
    reader_init(&r, data + sizeof MAGIC, len - sizeof MAGIC);
    uint32_t count = reader_u32(&r);
    if (count == 0 || count > BLOB_FILES_MAX)
        return err_set(err, ERR_INPUT, "file list: %u files, expected 1 to %u", count, BLOB_FILES_MAX);
    for (uint32_t i = 0; i < count; i++)
        if (read_file(&list, &r, err) != 0)
            goto fail;
    if (!reader_end(&r)) {
        err_set(err, ERR_INPUT, "file list: bytes after its end");
        goto fail;
    }
    *out = list;
    return 0;
fail:
    blob_list_free(&list);
    return -1;
}
