/* base/buf.h - a growing byte buffer with a ceiling.
 *
 * Data flow   encoders and readers of unknown length append; the owner takes the bytes out.
 * Units       bytes.
 * Errors      sticky: after the first failure (memory, ceiling) appends do nothing and buf_failed() says so.
 *             Check once at the end.
 * Memory      buf_init borrows nothing; buf_free releases; buf_take gives the bytes to the caller (free()).
 * Secrets     not for keys: growing leaves copies behind. Keys live in base/secret.h memory.
 */
#ifndef STIP_BASE_BUF_H
#define STIP_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf {
    uint8_t *data;
    size_t len, cap, ceiling;
    bool failed;
};

void buf_init(struct buf *b, size_t ceiling);
void buf_free(struct buf *b);
/* Returns where the n new bytes start, to be filled by the caller, or NULL after a failure. */
uint8_t *buf_extend(struct buf *b, size_t n);
void buf_put(struct buf *b, const void *data, size_t n);
void buf_put_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_put8(struct buf *b, uint8_t v);
void buf_put16(struct buf *b, uint16_t v);
void buf_put32(struct buf *b, uint32_t v);
void buf_put64(struct buf *b, uint64_t v);
/* Names the failure; `what` says what was being built. */
MUST_CHECK int buf_check(const struct buf *b, const char *what, struct err *err);
/* Gives the bytes with a terminating NUL (not counted); the buffer is empty afterwards. NULL if failed. */
char *buf_take(struct buf *b, size_t *len);

#endif
