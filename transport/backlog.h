/* transport/backlog.h - ends connections of which libzmq holds too much, and those that say nothing.
 *
 * Data flow   bytes that the kernel took from a connection (TCP_INFO) - bytes that the listener got from it (ZMQ_SRCFD)
 *             = what lies in libzmq and in the socket. Above BACKLOG_MAX the connection is shut down, and libzmq drops the rest.
 *             libzmq bounds the size of a part and the number of whole messages; a message of endlessly many parts is neither, and is
 *             shown to nobody before it is whole.
 *             A connection that has brought nothing after BACKLOG_SILENT_MS is ended too; so is one that has begun a handshake and not
 *             brought its first command, while there are more than BACKLOG_BEGUN of those. libzmq has one time for a whole handshake;
 *             where thousands of users come at once it has to be longer than a stranger may stay.
 * Units       bytes, milliseconds.
 * Errors      none: what cannot be looked at (no /proc) is let be.
 * Memory      backlog_new gives; 32 bytes per descriptor.
 * Secrets     none.
 *
 * Thread      as its listener.
 */
#ifndef STIP_TRANSPORT_BACKLOG_H
#define STIP_TRANSPORT_BACKLOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A sound peer has 8 fragments of 1 MiB under way and a few short frames. */
#define BACKLOG_MAX ((uint64_t)24 << 20)
#define BACKLOG_LOOK_MS 100
#define BACKLOG_SILENT_MS 1500 /* 8,000 at once are gone within 3 s, with the time that looking at so many takes */
#define BACKLOG_BEGUN 4096     /* as many as may wait to be accepted */

struct backlog;
/* Of the connections that were accepted at this local port. */
MUST_CHECK int backlog_new(struct backlog **out, unsigned port, struct err *err);
void backlog_free(struct backlog *b);
/* The listener got so many bytes of the connection with this descriptor. -1: of none. */
void backlog_took(struct backlog *b, int fd, size_t bytes);
/* Looks when it is time to; gives the milliseconds until it is time again. */
int backlog_look(struct backlog *b, uint64_t now_ms);

#endif
