/* server/worker.h - the thread that computes, so that the network never waits for a matrix product.
 *
 * Data flow   serve loop -> worker_start(batch of steps) -> forward() -> wake_fd -> worker_finish -> core_done.
 * Shapes      the sum of all rows of a batch is at most `rows` of worker_open.
 * Units       microseconds.
 * Errors      worker_open: memory, threads.
 * Memory      worker_open gives; one batch is out at a time and borrows the jobs' buffers.
 * Secrets     permuted values.
 */
#ifndef STIP_SERVER_WORKER_H
#define STIP_SERVER_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "server/core.h"

#define WORKER_BATCH 64

struct worker;
/* wake_fd: an eventfd that is written when a batch is done. */
MUST_CHECK int worker_open(struct worker **out, const struct net *net, int rows, int wake_fd, struct err *err);
/* Waits for the batch that is being computed. */
void worker_close(struct worker *w);
bool worker_idle(struct worker *w);
void worker_start(struct worker *w, const struct core_job *jobs, int n);
/* The jobs of a batch that is done (0 if none) and what each cost. The worker is idle afterwards. */
int worker_finish(struct worker *w, struct core_job jobs[WORKER_BATCH], uint32_t *server_us);

#endif
