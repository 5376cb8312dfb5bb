#include <stdlib.h>
#include <string.h>

#include "transport/blob.h"
#include "transport/msg_blob.h"

int blob_memory_open(struct blob_memory *m, uint64_t size, struct err *err)
{
    if (size == 0 || size > BLOB_MANIFEST_MAX)
        return err_set(err, ERR_PEER, "manifest: %llu bytes announced, expected 1 to %zu", (unsigned long long)size,
                       BLOB_MANIFEST_MAX);
    uint8_t *data = malloc((size_t)size + 1);
    if (data == NULL)
        return err_oom(err, (size_t)size + 1);
    data[size] = '\0';
    *m = (struct blob_memory){.data = data, .size = (size_t)size};
    return 0;
}

bool blob_memory_next(struct blob_memory *m, struct frame *get)
{
    if (m->asked == blob_chunks(m->size) || m->asked - m->have >= WIRE_CREDIT)
        return false;
    *get = msg_get_encode(BLOB_MANIFEST, m->asked++);
    return true;
}

enum wire_code blob_memory_take(struct blob_memory *m, const struct frame *chunk, struct err *err)
{
    struct msg_get which = msg_chunk_decode(chunk);
    if (chunk->h.type != WIRE_CHUNK || which.file != BLOB_MANIFEST || m->have == m->asked || which.chunk != m->have ||
        chunk->h.length != blob_chunk_bytes(m->size, m->have)) {
        (void)err_set(err, ERR_PEER, "manifest: a piece that was not asked for, or of the wrong length");
        return WIRE_BAD_FRAME;
    }
    memcpy(m->data + (size_t)m->have * WIRE_PAYLOAD_MAX, chunk->payload, chunk->h.length);
    m->have++;
    return WIRE_OK;
}

bool blob_memory_complete(const struct blob_memory *m)
{
    return m->have == blob_chunks(m->size);
}

void blob_memory_close(struct blob_memory *m)
{
    free(m->data);
    *m = (struct blob_memory){0};
}
