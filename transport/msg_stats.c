#include "transport/msg_stats.h"

#include "base/le.h"

#define FIELDS (MSG_STATS_BYTES / 8)

_Static_assert(sizeof(struct msg_stats) == MSG_STATS_BYTES, "the struct is a list of u64");

struct frame msg_stats_get_encode(void)
{
    return wire_frame(WIRE_STATS_GET, NULL, NULL, 0);
}

struct frame msg_stats_encode(const struct msg_stats *m, uint8_t body[MSG_STATS_BYTES])
{
    const uint64_t *field = &m->uptime_ms;
    for (size_t i = 0; i < FIELDS; i++)
        le_put64(body + 8 * i, field[i]);
    return wire_frame(WIRE_STATS, NULL, body, MSG_STATS_BYTES);
}

enum wire_code msg_stats_decode(struct msg_stats *out, const struct frame *f, struct err *err)
{
    if (f->h.type != WIRE_STATS || f->h.length < MSG_STATS_MIN || f->h.length % 8 != 0) {
        (void)err_set(err, ERR_PEER, "STATS: %u bytes, expected %u or more, in words of 8", f->h.length, MSG_STATS_MIN);
        return WIRE_BAD_FRAME;
    }
    uint64_t *field = &out->uptime_ms;
    *out = (struct msg_stats){0};
    for (size_t i = 0; i < FIELDS && i < f->h.length / 8; i++)
        field[i] = le_get64(f->payload + 8 * i);
    return WIRE_OK;
}
