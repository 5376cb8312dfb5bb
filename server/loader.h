/* server/loader.h - a package is hashed, checked and loaded in a thread of its own, while the server goes on answering.
 *
 * Data flow   loader_start -> thread: package_load, pool of pages, worker -> eventfd -> loader_take.
 * Units       bytes.
 * Errors      those of package_load; the pool of keys and values, the buffers of a pass and the worker's thread; all with
 *             numbers where memory is short.
 * Memory      loader_open gives, loader_close ends a load under way. loader_take gives (loaded_free).
 * Secrets     permuted weights.
 */
#ifndef STIP_SERVER_LOADER_H
#define STIP_SERVER_LOADER_H

#include "server/package.h"
#include "server/settings.h"
#include "server/stock.h"
#include "server/worker.h"

/* A model that can be served. */
struct loaded {
    struct package *package;
    struct kvpool *pool;
    struct stock *stock;
    struct worker *worker;
};
void loaded_free(struct loaded *m); /* leaves it empty; waits for the worker */

struct loader;
/* wake_fd: an eventfd that is written when a load, or a pass of a worker, is done. */
MUST_CHECK int loader_open(struct loader **out, const struct settings *set, int wake_fd, struct err *err);
void loader_close(struct loader *l);
bool loader_busy(struct loader *l);
/* A load under way fails at its next piece of the weights, and so does every later one. */
void loader_stop(struct loader *l);
/* Only while not busy. `held`: bytes of the model that is served meanwhile. */
MUST_CHECK int loader_start(struct loader *l, size_t held, struct err *err);
/* True once after each load: *rc says how it went, *out is given when that is 0, *err is set when it is not. */
bool loader_take(struct loader *l, struct loaded *out, int *rc, struct err *err);

#endif
