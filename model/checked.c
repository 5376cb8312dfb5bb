#include "model/checked.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/file.h"
#include "base/threads.h"

#define HUGE_PAGE ((size_t)2 << 20)

struct checked {
    const struct manifest_file *file;
    struct file_in in;
    void *place;
    uint8_t *window; /* chunks from..to-1, each compared */
    size_t from, to, room;
};

/* Chunks that are read together, to window + at... */
struct fetching {
    const struct checked *c;
    uint8_t *to;
    size_t first;
    pthread_mutex_t lock;
    size_t failed; /* the first one in order, so that the error does not depend on the threads */
    struct err err;
};

static const struct manifest_file *find(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->file_count; i++)
        if (strcmp(m->files[i].name, name) == 0)
            return &m->files[i];
    return NULL;
}

int checked_open(struct checked **out, const struct manifest *m, const char *dir, const char *name, struct err *err)
{
    char path[FILE_PATH_MAX];
    const struct manifest_file *file = find(m, name);
    if (file == NULL)
        return err_set(err, ERR_CHECK, "%s/%s is not in the signed manifest", dir, name);
    struct checked *c = calloc(1, sizeof *c);
    if (c == NULL)
        return err_oom(err, sizeof *c);
    c->file = file;
    c->in.fd = -1;
    if (file_join(path, dir, name, err) != 0 || file_in_open(&c->in, path, err) != 0)
        goto fail;
    if (c->in.size != file->size) {
        err_set(err, ERR_CHECK, "%s: expected %" PRIu64 " bytes, found %" PRIu64, path, file->size, c->in.size);
        goto fail;
    }
    if (file->size > 0) {
        c->place = mmap(NULL, (size_t)file->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (c->place == MAP_FAILED) {
            c->place = NULL;
            err_oom(err, file->size);
            goto fail;
        }
    }
    *out = c;
    return 0;
fail:
    checked_close(c);
    return -1;
}

void checked_close(struct checked *c)
{
    if (c == NULL)
        return;
    if (c->place != NULL)
        (void)munmap(c->place, (size_t)c->file->size);
    file_in_close(&c->in);
    free(c->window);
    free(c);
}

const uint8_t *checked_place(const struct checked *c)
{
    return c->place;
}

size_t checked_size(const struct checked *c)
{
    return (size_t)c->file->size;
}

static void read_task(void *arg, int i)
{
    struct fetching *f = arg;
    const struct checked *c = f->c;
    struct err err;
    size_t chunk = f->first + (size_t)i, at = chunk * MANIFEST_CHUNK, rest = (size_t)c->file->size - at;
    size_t n = rest < MANIFEST_CHUNK ? rest : MANIFEST_CHUNK;
    uint8_t *to = f->to + (size_t)i * MANIFEST_CHUNK;
    if (file_in_read(&c->in, at, to, n, &err) == 0 && manifest_check_chunk(c->file, c->in.path, chunk, to, n, &err) == 0)
        return;
    pthread_mutex_lock(&f->lock);
    if (chunk < f->failed) {
        f->failed = chunk;
        f->err = err;
    }
    pthread_mutex_unlock(&f->lock);
}

static int read_chunks(const struct checked *c, uint8_t *to, size_t first, size_t last, struct err *err)
{
    struct fetching f = {.c = c, .to = to, .first = first, .failed = SIZE_MAX};
    (void)pthread_mutex_init(&f.lock, NULL);
    threads_for((int)(last - first), read_task, &f);
    (void)pthread_mutex_destroy(&f.lock);
    if (f.failed == SIZE_MAX)
        return 0;
    *err = f.err;
    return -1;
}

/* Room for so many chunks, with what the window holds at its start. */
static int make_room(struct checked *c, size_t chunks, struct err *err)
{
    if (chunks <= c->room)
        return 0;
    size_t align = chunks < 2 ? MANIFEST_CHUNK : HUGE_PAGE, bytes = (chunks * MANIFEST_CHUNK + align - 1) / align * align;
    uint8_t *window = aligned_alloc(align, bytes);
    if (window == NULL)
        return err_oom(err, bytes);
    if (align == HUGE_PAGE)
        (void)madvise(window, bytes, MADV_HUGEPAGE); /* a hint: without huge pages it is only slower */
    if (c->to > c->from)
        memcpy(window, c->window, (c->to - c->from) * MANIFEST_CHUNK);
    free(c->window);
    c->window = window;
    c->room = bytes / MANIFEST_CHUNK;
    return 0;
}

int checked_read(struct checked *c, size_t at, size_t n, const uint8_t **bytes, struct err *err)
{
    size_t size = (size_t)c->file->size, first = at / MANIFEST_CHUNK, last = (at + n + MANIFEST_CHUNK - 1) / MANIFEST_CHUNK;
    assert(at <= size && n <= size - at);
    if (n == 0) {
        *bytes = c->place;
        return 0;
    }
    if (first < c->from || last > c->to) {
        /* A file is mostly read from its start to its end: what the window ends with may be what this piece begins with. */
        size_t kept = first >= c->from && first < c->to ? c->to - first : 0, skipped = kept > 0 ? first - c->from : 0;
        if (kept > 0)
            memmove(c->window, c->window + skipped * MANIFEST_CHUNK, kept * MANIFEST_CHUNK);
        c->from = first;
        c->to = first + kept;
        if (make_room(c, last - first, err) != 0 || read_chunks(c, c->window + kept * MANIFEST_CHUNK, first + kept, last, err) != 0)
            return -1;
        c->to = last;
    }
    *bytes = c->window + (at - c->from * MANIFEST_CHUNK);
    return 0;
}
