#include "transport/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/le.h"
#include "base/size.h"

static const char MAGIC[8] = {'S', 'T', 'I', 'P', 'T', 'R', 'C', '1'};
#define RECORD 16u
#define FILE_MAX ((size_t)1 << 30)

struct trace {
    int fd;
    uint64_t start_us;
};

static int write_all(struct trace *t, struct iovec *part, int n, struct err *err)
{
    while (n > 0) {
        ssize_t done = writev(t->fd, part, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return err_set(err, ERR_INTERNAL, "cannot write the trace: %s", strerror(errno));
        while (n > 0 && (size_t)done >= part->iov_len) {
            done -= (ssize_t)part->iov_len;
            part++;
            n--;
        }
        if (n > 0) {
            part->iov_base = (uint8_t *)part->iov_base + done;
            part->iov_len -= (size_t)done;
        }
    }
    return 0;
}

/* writev wants non-const bases and does not write through them. */
static struct iovec piece(const void *data, size_t len)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
}

int trace_open(struct trace **out, const char *path, struct err *err)
{
    struct trace *t = malloc(sizeof *t);
    if (t == NULL)
        return err_oom(err, sizeof *t);
    t->start_us = clock_us();
    t->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (t->fd < 0 || fchmod(t->fd, 0600) != 0) {
        err_set(err, ERR_INPUT, "cannot create the trace %s: %s", path, strerror(errno));
        if (t->fd >= 0)
            close(t->fd);
        free(t);
        return -1;
    }
    struct iovec magic = piece(MAGIC, sizeof MAGIC);
    if (write_all(t, &magic, 1, err) != 0) {
        close(t->fd);
        free(t);
        return -1;
    }
    *out = t;
    return 0;
}

int trace_frame(struct trace *t, char direction, const void *header, size_t header_len, const void *payload,
                size_t payload_len, struct err *err)
{
    if (t == NULL)
        return 0;
    uint8_t record[RECORD] = {(uint8_t)direction};
    le_put32(record + 4, (uint32_t)(header_len + payload_len));
    le_put64(record + 8, clock_us() - t->start_us);
    struct iovec part[3] = {piece(record, sizeof record), piece(header, header_len), piece(payload, payload_len)};
    return write_all(t, part, 3, err);
}

int trace_close(struct trace *t, struct err *err)
{
    if (t == NULL)
        return 0;
    int rc = close(t->fd) == 0 ? 0 : err_set(err, ERR_INTERNAL, "cannot write the trace: %s", strerror(errno));
    free(t);
    return rc;
}

/* ------------------------------------------------------------------ reading */

int trace_read(struct trace_entries *out, const char *path, struct err *err)
{
    struct trace_entries e = {0};
    size_t len = 0, room = 0;
    if (file_read(path, FILE_MAX, &e.file, &len, err) != 0)
        return -1;
    const uint8_t *data = (const uint8_t *)e.file;
    if (len < sizeof MAGIC || memcmp(data, MAGIC, sizeof MAGIC) != 0) {
        err_set(err, ERR_INPUT, "%s: not a trace (it does not begin with STIPTRC1)", path);
        goto fail;
    }
    for (size_t at = sizeof MAGIC; at < len;) {
        if (len - at < RECORD || len - at - RECORD < le_get32(data + at + 4)) {
            err_set(err, ERR_INPUT, "%s: cut at byte %zu", path, at);
            goto fail;
        }
        if (e.count == room) {
            room = room == 0 ? 64 : 2 * room;
            struct trace_entry *grown = realloc(e.entry, room * sizeof *grown);
            if (grown == NULL) {
                err_oom(err, room * sizeof *grown);
                goto fail;
            }
            e.entry = grown;
        }
        e.entry[e.count++] = (struct trace_entry){.direction = (char)data[at], .time_us = le_get64(data + at + 8),
                                                  .data = data + at + RECORD, .len = le_get32(data + at + 4)};
        at += RECORD + le_get32(data + at + 4);
    }
    *out = e;
    return 0;
fail:
    trace_entries_free(&e);
    return -1;
}

void trace_entries_free(struct trace_entries *e)
{
    free(e->entry);
    free(e->file);
    *e = (struct trace_entries){0};
}
