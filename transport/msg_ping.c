#include "transport/msg_ping.h"

struct frame msg_ping_encode(uint64_t seq)
{
    struct frame f = wire_frame(WIRE_PING, NULL, NULL, 0);
    f.h.seq = seq;
    return f;
}

struct frame msg_pong_encode(const struct frame *ping)
{
    struct frame f = wire_frame(WIRE_PONG, NULL, NULL, 0);
    f.h.seq = ping->h.seq;
    return f;
}
