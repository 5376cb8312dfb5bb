/* base/reader.h - reads a byte string from front to back with one sticky failure.
 *
 * Data flow   wire frame or key file bytes -> reader_* -> fields.
 * Errors      reading past the end sets `failed`, and every later read gives 0 or NULL. A message must end
 *             exactly where its reader ends: reader_end() checks both.
 * Memory      borrows the bytes.
 * Secrets     none of its own.
 */
#ifndef STIP_BASE_READER_H
#define STIP_BASE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct reader {
    const uint8_t *at, *end;
    bool failed;
};

void reader_init(struct reader *r, const void *data, size_t len);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
/* Borrows n bytes of the input, or NULL. */
const uint8_t *reader_bytes(struct reader *r, size_t n);
/* Fills dst with n bytes, or with zeros after a failure. */
void reader_copy(struct reader *r, void *dst, size_t n);
static inline size_t reader_left(const struct reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->at);
}
/* True when all was read and nothing is left over. */
MUST_CHECK bool reader_end(const struct reader *r);

#endif
