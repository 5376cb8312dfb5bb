#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "transport/blob.h"
#include "transport/msg_blob.h"

struct blob_source {
    const char *dir;
    const struct blob_list *list;
    const uint8_t *manifest;
    size_t manifest_len;
    int fd; /* of file `open`, -1 for none */
    uint32_t open;
    uint8_t *buffer; /* one chunk */
};

int blob_source_open(struct blob_source **out, const char *dir, const struct blob_list *list, const uint8_t *manifest,
                     size_t manifest_len, struct err *err)
{
    struct blob_source *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    *s = (struct blob_source){.dir = dir, .list = list, .manifest = manifest, .manifest_len = manifest_len, .fd = -1};
    if ((s->buffer = secret_alloc(WIRE_PAYLOAD_MAX)) == NULL) {
        free(s);
        return err_oom(err, WIRE_PAYLOAD_MAX);
    }
    *out = s;
    return 0;
}

void blob_source_close(struct blob_source *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        close(s->fd);
    secret_free(s->buffer);
    free(s);
}

static int open_file(struct blob_source *s, uint32_t file, struct err *err)
{
    char path[FILE_PATH_MAX];
    if (s->fd >= 0 && s->open == file)
        return 0;
    if (file_join(path, s->dir, s->list->file[file].name, err) != 0)
        return -1;
    if (s->fd >= 0)
        close(s->fd);
    s->open = file;
    if ((s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) < 0)
        return err_set(err, ERR_INPUT, "cannot open %s: %s", path, strerror(errno));
    return 0;
}

static int read_chunk(struct blob_source *s, const struct blob_file *f, uint32_t chunk, size_t n, struct err *err)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = pread(s->fd, s->buffer + at, n - at, (off_t)chunk * WIRE_PAYLOAD_MAX + (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(err, ERR_INPUT, "%s/%s: %s", s->dir, f->name,
                           got == 0 ? "shorter than when it was listed" : strerror(errno));
        at += (size_t)got;
    }
    return 0;
}

static enum wire_code unknown(const struct msg_get *want, struct err *err)
{
    (void)err_set(err, ERR_INPUT, "there is no chunk %u of file %u", want->chunk, want->file);
    return WIRE_UNKNOWN_FILE;
}

enum wire_code blob_source_answer(struct blob_source *s, const struct frame *get, struct frame *chunk, struct err *err)
{
    struct msg_get want = msg_get_decode(get);
    if (want.file == BLOB_MANIFEST) {
        if (want.chunk >= blob_chunks(s->manifest_len))
            return unknown(&want, err);
        *chunk = msg_chunk_encode(want.file, want.chunk, s->manifest + (size_t)want.chunk * WIRE_PAYLOAD_MAX,
                                  blob_chunk_bytes(s->manifest_len, want.chunk));
        return WIRE_OK;
    }
    if (want.file >= s->list->count || want.chunk >= blob_chunks(s->list->file[want.file].size))
        return unknown(&want, err);
    const struct blob_file *f = &s->list->file[want.file];
    size_t n = blob_chunk_bytes(f->size, want.chunk);
    if (open_file(s, want.file, err) != 0 || read_chunk(s, f, want.chunk, n, err) != 0)
        return WIRE_INTERNAL;
    *chunk = msg_chunk_encode(want.file, want.chunk, s->buffer, n);
    return WIRE_OK;
}
