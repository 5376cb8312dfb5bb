/* server/figures.h - what the server tells Prometheus: its counters as text.
 *
 * Data flow   core_stats, core_load, the loop's own counts -> figures_text -> transport/metrics.h.
 * Units       rows (a row is a token), bytes, seconds.
 * Errors      sticky in the buffer.
 * Memory      fills the caller's buffer.
 * Secrets     counts, and the public context id of the package.
 */
#ifndef STIP_SERVER_FIGURES_H
#define STIP_SERVER_FIGURES_H

#include "base/buf.h"
#include "server/core.h"
#include "server/package.h"

struct figures {
    struct msg_stats stats; /* sums of all generations; what counts connections is the listener's */
    struct core_load load;
    uint64_t packages; /* loaded so far */
};

/* A generation that is served. */
void figures_add(struct figures *f, const struct core *core);
/* One that ends: its counts stay, what it holds does not. */
void figures_end(struct figures *f, const struct core *core);
/* package NULL: none is served. */
void figures_text(struct buf *b, const struct figures *f, const struct core_limits *limits, const struct package *package);

#endif
