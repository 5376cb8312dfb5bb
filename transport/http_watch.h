/* transport/http_watch.h - connections that keep the server waiting: cut when their time is over, and first when others need the place.
 *
 * Data flow   watch_add when a connection begins; watch_request when the headers of a request are there, watch_busy when all of it is,
 *             watch_idle after its answer; watch_remove before its socket is closed. A thread shuts down the sockets whose time is over.
 * Units       seconds from the outside, milliseconds of clock_ms inside.
 * Errors      watch_open: no thread, no memory.
 * Memory      one entry per connection, owned by the watch between add and remove. NULL entries (no memory) are not watched.
 * Secrets     none.
 * Source      none.
 *
 * Who sends a byte now and then is never idle for the HTTP library, neither with its headers nor with its body; here the time of all of
 * it counts. Sockets are only shut down: their owner notices and closes them.
 */
#ifndef STIP_TRANSPORT_HTTP_WATCH_H
#define STIP_TRANSPORT_HTTP_WATCH_H

#include "base/err.h"

struct watch;
struct watched;

/* request_s: time for all headers, counted from the connection's beginning or the last answer, and again for a body. most: with more
 * connections than that, the one that has been without a request for longest is cut; that is the new one if the others all have one. */
MUST_CHECK int watch_open(struct watch **out, unsigned request_s, unsigned most, struct err *err);
void watch_close(struct watch *w);

struct watched *watch_add(struct watch *w, int fd);
void watch_request(struct watch *w, struct watched *c);
void watch_busy(struct watch *w, struct watched *c);
void watch_idle(struct watch *w, struct watched *c);
void watch_remove(struct watch *w, struct watched *c);

#endif
