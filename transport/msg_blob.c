#include "transport/msg_blob.h"

#include <string.h>

#include "base/le.h"
#include "base/reader.h"
#include "transport/blob.h"

struct frame msg_offer_encode(const struct msg_offer *m, uint8_t body[MSG_OFFER_BYTES])
{
    memcpy(body, m->context, WIRE_CONTEXT_BYTES);
    le_put64(body + 32, m->manifest_bytes);
    le_put32(body + 40, m->files);
    le_put32(body + 44, m->epoch);
    return wire_frame(WIRE_OFFER, NULL, body, MSG_OFFER_BYTES);
}

enum wire_code msg_offer_decode(struct msg_offer *out, const struct frame *f, struct err *err)
{
    struct reader r;
    struct msg_offer m;
    reader_init(&r, f->payload, f->h.length);
    reader_copy(&r, m.context, sizeof m.context);
    m.manifest_bytes = reader_u64(&r);
    m.files = reader_u32(&r);
    m.epoch = reader_u32(&r);
    if (f->h.type != WIRE_OFFER || !reader_end(&r) || m.manifest_bytes == 0 || m.manifest_bytes > BLOB_MANIFEST_MAX ||
        m.files == 0 || m.files > BLOB_FILES_MAX) {
        (void)err_set(err, ERR_PEER, "OFFER: no files, too many files, or a manifest of more than 16 MiB");
        return WIRE_BAD_FRAME;
    }
    *out = m;
    return WIRE_OK;
}

struct frame msg_grant_encode(const uint8_t context[WIRE_CONTEXT_BYTES])
{
    return wire_frame(WIRE_GRANT, NULL, context, WIRE_CONTEXT_BYTES);
}

void msg_grant_decode(uint8_t context[WIRE_CONTEXT_BYTES], const struct frame *f)
{
    memcpy(context, f->payload, WIRE_CONTEXT_BYTES);
}

static struct frame numbered(enum wire_type type, uint32_t file, uint32_t chunk, const void *data, size_t len)
{
    struct frame f = wire_frame(type, NULL, data, len);
    f.h.arg[0] = file;
    f.h.arg[1] = chunk;
    return f;
}

struct frame msg_get_encode(uint32_t file, uint32_t chunk)
{
    return numbered(WIRE_GET, file, chunk, NULL, 0);
}

struct msg_get msg_get_decode(const struct frame *f)
{
    return (struct msg_get){.file = f->h.arg[0], .chunk = f->h.arg[1]};
}

struct frame msg_chunk_encode(uint32_t file, uint32_t chunk, const void *data, size_t len)
{
    return numbered(WIRE_CHUNK, file, chunk, data, len);
}

struct msg_get msg_chunk_decode(const struct frame *f)
{
    return msg_get_decode(f);
}

struct frame msg_done_encode(void)
{
    return wire_frame(WIRE_DONE, NULL, NULL, 0);
}
