#include "base/reader.h"

#include <string.h>

#include "base/le.h"

void reader_init(struct reader *r, const void *data, size_t len)
{
    *r = (struct reader){.at = data, .end = len == 0 ? data : (const uint8_t *)data + len};
}

const uint8_t *reader_bytes(struct reader *r, size_t n)
{
    if (r->failed || (size_t)(r->end - r->at) < n) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->at;
    r->at += n;
    return p;
}

void reader_copy(struct reader *r, void *dst, size_t n)
{
    const uint8_t *p = reader_bytes(r, n);
    if (p == NULL)
        memset(dst, 0, n);
    else
        memcpy(dst, p, n);
}

uint8_t reader_u8(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 1);
    return p == NULL ? 0 : *p;
}

uint16_t reader_u16(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 2);
    return p == NULL ? 0 : le_get16(p);
}

uint32_t reader_u32(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 4);
    return p == NULL ? 0 : le_get32(p);
}

uint64_t reader_u64(struct reader *r)
{
    const uint8_t *p = reader_bytes(r, 8);
    return p == NULL ? 0 : le_get64(p);
}

bool reader_end(const struct reader *r)
{
    return !r->failed && r->at == r->end;
}
