#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "base/size.h"

void buf_init(struct buf *b, size_t ceiling)
{
    *b = (struct buf){.ceiling = ceiling};
}

void buf_free(struct buf *b)
{
    if (b == NULL)
        return;
    free(b->data);
    *b = (struct buf){.ceiling = b->ceiling};
}

uint8_t *buf_extend(struct buf *b, size_t n)
{
    size_t need;
    if (b->failed || size_add(b->len, n, &need) || need > b->ceiling) {
        b->failed = true;
        return NULL;
    }
    if (need + 1 > b->cap) {
        size_t cap = b->cap < 64 ? 64 : b->cap;
        while (cap < need + 1)
            cap = cap > b->ceiling / 2 ? b->ceiling + 1 : cap * 2;
        uint8_t *data = realloc(b->data, cap);
        if (data == NULL) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
    }
    uint8_t *at = b->data + b->len;
    b->len = need;
    b->data[need] = 0;
    return at;
}

void buf_put(struct buf *b, const void *data, size_t n)
{
    uint8_t *at = buf_extend(b, n);
    if (at != NULL && n > 0)
        memcpy(at, data, n);
}

void buf_put_str(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    uint8_t *at = n < 0 ? NULL : buf_extend(b, (size_t)n);
    if (at != NULL)
        (void)vsnprintf((char *)at, (size_t)n + 1, fmt, again);
    va_end(again);
}

void buf_put8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, 1);
}

void buf_put16(struct buf *b, uint16_t v)
{
    uint8_t *at = buf_extend(b, 2);
    if (at != NULL)
        le_put16(at, v);
}

void buf_put32(struct buf *b, uint32_t v)
{
    uint8_t *at = buf_extend(b, 4);
    if (at != NULL)
        le_put32(at, v);
}

void buf_put64(struct buf *b, uint64_t v)
{
    uint8_t *at = buf_extend(b, 8);
    if (at != NULL)
        le_put64(at, v);
}

int buf_check(const struct buf *b, const char *what, struct err *err)
{
    if (!b->failed)
        return 0;
    return err_set(err, ERR_INTERNAL, "%s: out of memory, or larger than %zu bytes", what, b->ceiling);
}

char *buf_take(struct buf *b, size_t *len)
{
    if (b->failed || (b->data == NULL && buf_extend(b, 0) == NULL)) {
        buf_free(b);
        return NULL;
    }
    char *data = (char *)b->data;
    if (len != NULL)
        *len = b->len;
    *b = (struct buf){.ceiling = b->ceiling};
    return data;
}
