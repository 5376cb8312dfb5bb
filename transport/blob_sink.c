#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/secret.h"
#include "transport/blob.h"
#include "transport/msg_blob.h"

enum state { MISSING, ASKED, HERE };

struct blob_sink {
    char folder[FILE_PATH_MAX], part[FILE_PATH_MAX];
    const struct blob_list *list;
    size_t *first;   /* [files] number of the file's first chunk among all */
    bool *left_over; /* [files] an earlier attempt left bytes */
    uint8_t *state;  /* [chunks], enum state */
    size_t chunks, here, checked, cursor;
    unsigned asked;
    uint64_t bytes;
    int fd; /* of file `open`, -1 for none */
    size_t open;
    uint8_t *buffer; /* one chunk, for hashing what is on disk */
};

static bool disk_full(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

static int fail(const struct blob_sink *s, const char *verb, size_t file, int error, struct err *err)
{
    return err_set(err, ERR_INTERNAL, "cannot %s %s/%s: %s%s", verb, s->part, s->list->file[file].name, strerror(error),
                   disk_full(error) ? "; free some space and start again: what is there is kept" : "");
}

static int open_file(struct blob_sink *s, size_t file, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct stat st;
    if (s->fd >= 0 && s->open == file)
        return 0;
    if (file_join(path, s->part, s->list->file[file].name, err) != 0)
        return -1;
    if (s->fd >= 0)
        close(s->fd);
    s->open = file;
    if ((s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        return fail(s, "open", file, errno, err);
    if (fstat(s->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INTERNAL, "%s: not a regular file; remove it", path);
    return 0;
}

/* ------------------------------------------------------------------ opening */

/* Space first: a disk that is too small is told before hours of transfer, not after. */
static int reserve(struct blob_sink *s, size_t file, struct err *err)
{
    struct stat st;
    uint64_t size = s->list->file[file].size;
    if (open_file(s, file, err) != 0)
        return -1;
    if (fstat(s->fd, &st) != 0)
        return fail(s, "stat", file, errno, err);
    s->left_over[file] = st.st_size > 0;
    if ((uint64_t)st.st_size > size && ftruncate(s->fd, (off_t)size) != 0)
        return fail(s, "shorten", file, errno, err);
    int error = 0;
    do
        error = size > 0 ? posix_fallocate(s->fd, 0, (off_t)size) : 0;
    while (error == EINTR);
    return error == 0 ? 0 : fail(s, "reserve space for", file, error, err);
}

static bool listed(const struct blob_sink *s, const char *name)
{
    for (size_t i = 0; i < s->list->count; i++)
        if (strcmp(s->list->file[i].name, name) == 0)
            return true;
    return false;
}

/* What an attempt with another list left must not become part of this folder. */
static int sweep(const struct blob_sink *s, struct err *err)
{
    DIR *dir = opendir(s->part);
    if (dir == NULL)
        return err_set(err, ERR_INTERNAL, "cannot read %s: %s", s->part, strerror(errno));
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || listed(s, e->d_name))
            continue;
        if (unlinkat(dirfd(dir), e->d_name, 0) != 0)
            rc = err_set(err, ERR_INTERNAL, "cannot remove %s/%s: %s", s->part, e->d_name, strerror(errno));
    }
    closedir(dir);
    return rc;
}

static int plan(struct blob_sink *s, struct err *err)
{
    size_t n = s->list->count;
    s->first = calloc(n, sizeof *s->first);
    s->left_over = calloc(n, sizeof *s->left_over);
    s->buffer = secret_alloc(WIRE_PAYLOAD_MAX);
    if (s->first == NULL || s->left_over == NULL || s->buffer == NULL)
        return err_oom(err, WIRE_PAYLOAD_MAX);
    for (size_t i = 0; i < n; i++) {
        s->first[i] = s->chunks;
        s->chunks += blob_chunks(s->list->file[i].size);
    }
    s->state = calloc(s->chunks + 1, 1);
    return s->state != NULL ? 0 : err_oom(err, s->chunks + 1);
}

int blob_sink_open(struct blob_sink **out, const char *folder, const struct blob_list *list, struct err *err)
{
    if (list->count == 0)
        return err_set(err, ERR_INPUT, "%s: an empty file list", folder);
    if (file_exists(folder))
        return err_set(err, ERR_INPUT, "%s: exists already", folder);
    struct blob_sink *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    s->list = list;
    s->fd = -1;
    int n = snprintf(s->part, sizeof s->part, "%s.part", folder);
    if (n < 0 || (size_t)n >= sizeof s->part) {
        err_set(err, ERR_INPUT, "path too long: %.80s...", folder);
        goto fail;
    }
    memcpy(s->folder, folder, (size_t)n - 4);
    s->folder[n - 5] = '\0';
    if (plan(s, err) != 0 || file_mkdirs(s->part, 0700, err) != 0 || sweep(s, err) != 0)
        goto fail;
    for (size_t i = 0; i < list->count; i++)
        if (reserve(s, i, err) != 0)
            goto fail;
    *out = s;
    return 0;
fail:
    blob_sink_close(s);
    return err_wrap(err, "receiving into %s", folder);
}

void blob_sink_close(struct blob_sink *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        close(s->fd);
    free(s->first);
    free(s->left_over);
    free(s->state);
    secret_free(s->buffer);
    free(s);
}

const char *blob_sink_folder(const struct blob_sink *s)
{
    return s->part;
}

/* ------------------------------------------------------------------ what is there already */

/* The file that chunk number `at` belongs to; empty files have none. */
static size_t file_of(const struct blob_sink *s, size_t at)
{
    size_t low = 0, high = s->list->count;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (s->first[mid] <= at)
            low = mid;
        else
            high = mid;
    }
    return low;
}

static int matches(const struct blob_file *f, uint32_t chunk, const uint8_t *data, size_t n, bool *same, struct err *err)
{
    uint8_t sum[CRYPTO_HASH_LEN];
    if (crypto_sha256(data, n, sum, err) != 0)
        return -1;
    *same = memcmp(sum, f->chunk + (size_t)chunk * 32, sizeof sum) == 0;
    return 0;
}

static void mark_here(struct blob_sink *s, size_t at, size_t n)
{
    s->state[at] = HERE;
    s->here++;
    s->bytes += n;
}

static int check_one(struct blob_sink *s, size_t at, struct err *err)
{
    size_t file = file_of(s, at);
    if (!s->left_over[file] || s->state[at] == HERE)
        return 0;
    const struct blob_file *f = &s->list->file[file];
    uint32_t chunk = (uint32_t)(at - s->first[file]);
    size_t n = blob_chunk_bytes(f->size, chunk), have = 0;
    if (open_file(s, file, err) != 0)
        return -1;
    while (have < n) {
        ssize_t got = pread(s->fd, s->buffer + have, n - have, (off_t)chunk * WIRE_PAYLOAD_MAX + (off_t)have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return fail(s, "read", file, got < 0 ? errno : EIO, err);
        have += (size_t)got;
    }
    bool same = false;
    if (matches(f, chunk, s->buffer, n, &same, err) != 0)
        return -1;
    if (same)
        mark_here(s, at, n);
    return 0;
}

int blob_sink_check(struct blob_sink *s, uint32_t chunks, bool *done, struct err *err)
{
    for (; chunks > 0 && s->checked < s->chunks; chunks--, s->checked++)
        if (check_one(s, s->checked, err) != 0)
            return -1;
    *done = s->checked == s->chunks;
    return 0;
}

/* ------------------------------------------------------------------ pulling */

bool blob_sink_next(struct blob_sink *s, struct frame *get)
{
    if (s->asked >= WIRE_CREDIT)
        return false;
    while (s->cursor < s->chunks && s->state[s->cursor] != MISSING)
        s->cursor++;
    if (s->cursor == s->chunks)
        return false;
    size_t file = file_of(s, s->cursor);
    *get = msg_get_encode((uint32_t)file, (uint32_t)(s->cursor - s->first[file]));
    s->state[s->cursor++] = ASKED;
    s->asked++;
    return true;
}

void blob_sink_forget(struct blob_sink *s)
{
    for (size_t i = 0; i < s->chunks; i++)
        if (s->state[i] == ASKED)
            s->state[i] = MISSING;
    s->asked = 0;
    s->cursor = 0;
}

static enum wire_code write_chunk(struct blob_sink *s, size_t file, uint32_t chunk, const uint8_t *data, size_t n,
                                  struct err *err)
{
    if (open_file(s, file, err) != 0)
        return WIRE_INTERNAL;
    for (size_t at = 0; at < n;) {
        ssize_t put = pwrite(s->fd, data + at, n - at, (off_t)chunk * WIRE_PAYLOAD_MAX + (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            int error = errno;
            (void)fail(s, "write", file, error, err);
            return disk_full(error) ? WIRE_DISK_FULL : WIRE_INTERNAL;
        }
        at += (size_t)put;
    }
    return WIRE_OK;
}

enum wire_code blob_sink_take(struct blob_sink *s, const struct frame *chunk, struct err *err)
{
    struct msg_get which = msg_chunk_decode(chunk);
    const struct blob_file *f = which.file < s->list->count ? &s->list->file[which.file] : NULL;
    if (chunk->h.type != WIRE_CHUNK || f == NULL || which.chunk >= blob_chunks(f->size) ||
        s->state[s->first[which.file] + which.chunk] != ASKED || chunk->h.length != blob_chunk_bytes(f->size, which.chunk)) {
        (void)err_set(err, ERR_PEER, "a chunk that was not asked for, or of the wrong length");
        return WIRE_BAD_FRAME;
    }
    size_t at = s->first[which.file] + which.chunk;
    bool same = false;
    s->state[at] = MISSING;
    s->asked--;
    if (s->cursor > at)
        s->cursor = at;
    if (matches(f, which.chunk, chunk->payload, chunk->h.length, &same, err) != 0)
        return WIRE_INTERNAL;
    if (!same) {
        (void)err_set(err, ERR_PEER, "file '%s', chunk %u of %u: its SHA-256 is not the one in the manifest", f->name,
                      which.chunk + 1, blob_chunks(f->size));
        return WIRE_BAD_CHUNK;
    }
    enum wire_code code = write_chunk(s, which.file, which.chunk, chunk->payload, chunk->h.length, err);
    if (code == WIRE_OK)
        mark_here(s, at, chunk->h.length);
    return code;
}

bool blob_sink_complete(const struct blob_sink *s)
{
    return s->here == s->chunks;
}

uint64_t blob_sink_bytes(const struct blob_sink *s)
{
    return s->bytes;
}

/* ------------------------------------------------------------------ putting into place */

/* After a failed fsync nobody knows what the disk holds, and a second fsync may say yes to lost pages: all is thrown away. */
static int sync_files(struct blob_sink *s, struct err *err)
{
    for (size_t i = 0; i < s->list->count; i++) {
        if (open_file(s, i, err) != 0)
            return -1;
        if (fsync(s->fd) != 0) {
            (void)fail(s, "fsync", i, errno, err);
            (void)!file_remove_tree(s->part, NULL);
            return -1;
        }
    }
    return file_fsync_dir(s->part, err);
}

int blob_sink_install(struct blob_sink *s, struct err *err)
{
    char parent[FILE_PATH_MAX];
    if (!blob_sink_complete(s))
        return err_set(err, ERR_INTERNAL, "%s: not complete", s->part);
    if (sync_files(s, err) != 0)
        return -1;
    if (rename(s->part, s->folder) != 0)
        return err_set(err, ERR_INTERNAL, "cannot rename %s to %s: %s", s->part, s->folder, strerror(errno));
    return file_dir(parent, s->folder, err) != 0 ? -1 : file_fsync_dir(parent, err);
}
