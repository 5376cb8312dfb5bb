/* transport/metrics.h - /health and /metrics of a daemon, over HTTP: counts for Prometheus, and whether it can be of use now.
 *
 * Data flow   the daemon's loop, now and then -> metrics_publish(text, state) -> GET /metrics, GET /health.
 * Units       as the names say: _total counts, _bytes, _seconds. The text is at most METRICS_MS older than the loop.
 * Errors      metrics_open: address, memory.
 * Memory      metrics_open gives; texts are consumed.
 * Secrets     counts only: no keys, names of users, contents. Anybody who reaches the address may read them.
 * Source      Prometheus text exposition format 0.0.4.
 *
 * Thread      published by one thread, read by those of HTTP. /health fails too when the loop has not come by for METRICS_STALE_MS.
 */
#ifndef STIP_TRANSPORT_METRICS_H
#define STIP_TRANSPORT_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define METRICS_MS 500
#define METRICS_STALE_MS 10000

struct metrics;
/* listen NULL: none are wanted; *out is NULL then, which the others take. */
MUST_CHECK int metrics_open(struct metrics **out, const char *listen, struct err *err);
void metrics_close(struct metrics *m);
/* Where it listens: "127.0.0.1:9847"; "" for NULL. */
const char *metrics_listen(const struct metrics *m);
/* A loop that waits for longer than this milliseconds is late; *wait_ms is shortened. True: the figures want to be published. */
bool metrics_due(const struct metrics *m, uint64_t now_ms, int *wait_ms);
/* state NULL: healthy; else why not, in a word or two (static). Consumes the text; what ran out of memory keeps the last one. */
void metrics_publish(struct metrics *m, uint64_t now_ms, const char *state, struct buf *text);

/* One metric without labels: its HELP, TYPE and value. */
void metrics_count(struct buf *b, const char *name, const char *help, uint64_t value);
void metrics_gauge(struct buf *b, const char *name, const char *help, uint64_t value);
void metrics_seconds(struct buf *b, const char *name, const char *help, uint64_t us); /* a counter */
/* A counter by class of wire code: errors[code / 100]. */
void metrics_errors(struct buf *b, const char *name, const char *help, const uint64_t errors[6]);
/* Memory of this process. */
void metrics_process(struct buf *b);

#endif
