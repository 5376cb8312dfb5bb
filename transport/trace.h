/* transport/trace.h - a file with every frame that passed, for golden transcripts and `peek`.
 *
 * Data flow   channel, listener -> trace_frame -> file -> trace_read -> tests, peek.
 * Units       times in microseconds since the trace was opened. File: "STIPTRC1", then per frame
 *             direction u8 ('>' sent, '<' received), 3 zero bytes, length u32, time u64, the frame's bytes; little-endian.
 * Errors      a write that fails is reported by the send or receive that caused it.
 * Memory      trace_open gives; trace_read gives the bytes of the whole file's frames (trace_entries_free).
 * Secrets     the wire has permuted values only, still the file is 0600; no keys.
 */
#ifndef STIP_TRANSPORT_TRACE_H
#define STIP_TRANSPORT_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct trace;
/* Replaces a file that is there. */
MUST_CHECK int trace_open(struct trace **out, const char *path, struct err *err);
/* Header and payload as they are on the wire. A NULL trace does nothing. */
MUST_CHECK int trace_frame(struct trace *t, char direction, const void *header, size_t header_len, const void *payload,
                           size_t payload_len, struct err *err);
MUST_CHECK int trace_close(struct trace *t, struct err *err);

struct trace_entry {
    char direction;
    uint64_t time_us;
    const uint8_t *data;
    size_t len;
};
struct trace_entries {
    struct trace_entry *entry;
    size_t count;
    char *file;
};
MUST_CHECK int trace_read(struct trace_entries *out, const char *path, struct err *err);
void trace_entries_free(struct trace_entries *e);

#endif
