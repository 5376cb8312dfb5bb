/* server/serve.h - the server's loop: two listeners, one worker, until told to stop.
 *
 * Data flow   users -> infer listener -> core -> worker -> core -> users; developers -> admin listener -> install -> new
 *             package -> core.
 * Errors      those of starting up; afterwards a peer costs a session, never the process.
 * Memory      everything is released on return.
 * Secrets     the identity; permuted weights and rows.
 */
#ifndef STIP_SERVER_SERVE_H
#define STIP_SERVER_SERVE_H

#include <stdbool.h>

#include "server/settings.h"

/* Ends on SIGTERM or SIGINT with 0. `json`: events as JSON lines on stdout. */
MUST_CHECK int serve(const struct settings *s, bool json, struct err *err);

#endif
