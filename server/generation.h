/* server/generation.h - a package that is served: its model, its sessions, and how long it goes on beside a newer one.
 *
 * Data flow   loader -> loaded -> generation_start -> frames that generation_of routes here -> worker -> answers -> generation_end.
 *             HELLO says which context is meant; what follows on that connection stays with the generation that answered it.
 * Units       milliseconds of a monotonic clock; seconds since 1970 for the end of the package.
 * Errors      memory.
 * Memory      generation_start consumes the loaded model. Each generation has sessions, pages and buffers of its own, within the
 *             same limits.
 * Secrets     permuted weights and rows.
 */
#ifndef STIP_SERVER_GENERATION_H
#define STIP_SERVER_GENERATION_H

#include "server/core.h"
#include "server/loader.h"
#include "server/patience.h"

struct generation {
    struct loaded model; /* empty until there is one */
    struct core *core;
    uint64_t until_ms;   /* when it ends, UINT64_MAX while no newer one is there */
    bool expired;        /* past the day of its package */
    int64_t warned;      /* when that day was last in the log */
    struct patience patience;
};

/* The core that a frame belongs to: `old`'s where it may be open and the connection is its own, or the HELLO names its context. */
struct core *generation_of(const struct generation *old, const struct generation *now, const struct listener_peer *peer,
                           const struct frame *f);
/* True while its worker computes. */
bool generation_computing(const struct generation *g);
/* Gives the worker what waits, and takes what is done. *wait: milliseconds until it wants to be called again, made less if need be
 * (server/patience.h). */
void generation_feed(struct generation *g, int *wait);
void generation_collect(struct generation *g);
/* Closes the service when the package's day is over (by this machine's clock, which may be put right again), and says so before. */
void generation_watch(struct generation *g, int64_t now);
/* Sessions are told EPOCH_CHANGED. Only while it does not compute. */
void generation_end(struct generation *g);
/* At the end of the server: waits for the worker, tells nobody. */
void generation_free(struct generation *g);

#endif
