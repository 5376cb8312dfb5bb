/* transport/msg_stats.h - STATS_GET and STATS: counters of a server.
 *
 * Data flow   model_dev or user -> STATS_GET -> STATS; a user gets the counters of the whole server too: they are counts.
 * Units       as named.
 * Errors      decode: WIRE_BAD_FRAME. A longer list of a newer peer is read as far as known, what a shorter one of an older
 *             peer lacks is 0.
 * Memory      body in the caller's buffer.
 * Secrets     counts only, no names, no keys.
 */
#ifndef STIP_TRANSPORT_MSG_STATS_H
#define STIP_TRANSPORT_MSG_STATS_H

#include "transport/wire.h"

#define MSG_STATS_BYTES 112u
#define MSG_STATS_MIN 88u /* up to peers_dropped */
struct msg_stats {
    uint64_t uptime_ms, sessions_open, sessions_total, rows_in, rows_out, bytes_in, bytes_out, busy_us;
    uint64_t keys_refused, frames_refused, peers_dropped;
    uint64_t rows_reused;        /* of rows_in: not computed, their keys and values were there */
    uint64_t kv_used, kv_budget; /* bytes of keys and values, of all sessions and what is kept for reuse */
};

struct frame msg_stats_get_encode(void);
struct frame msg_stats_encode(const struct msg_stats *m, uint8_t body[MSG_STATS_BYTES]);
MUST_CHECK enum wire_code msg_stats_decode(struct msg_stats *out, const struct frame *f, struct err *err);

#endif
