/* bench/stream.h - a client of the gateway that does nothing but count: its own work is as little of a figure as can be.
 *
 * Data flow   token ids -> POST /v1/completions, streamed, greedy, no end token -> events, counted as bytes go by -> token callback.
 *             No JSON is read: an event begins with "data: " on a line of its own, and none has a line break within.
 * Units       tokens, events.
 * Errors      ERR_PEER: no connection, another status than 200 (with the answer's beginning), an error event, a stream that breaks off.
 * Memory      stream_open gives; stream_close releases. NULL is fine there.
 * Secrets     none: random prompts.
 *
 * Thread      one at a time. A connection is kept for the next request.
 */
#ifndef STIP_BENCH_STREAM_H
#define STIP_BENCH_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct stream;
/* On this machine. */
MUST_CHECK int stream_open(struct stream **out, int port, struct err *err);
void stream_close(struct stream *s);
/* `event` is called after each event with text; false gives up (the connection is closed, *whole is false). never: ids that must not
 * be drawn. */
MUST_CHECK int stream_ask(struct stream *s, const int32_t *prompt, int n, int max_tokens, const int *never, int never_n,
                          bool (*event)(void *arg), void *arg, bool *whole, struct err *err);

#endif
