/* base/threads.h - the threads that share the work of one pass.
 *
 * Data flow   threads_for(n tasks) -> every thread takes the next task until none is left -> all are done, return.
 * Units       tasks; a task is tens of microseconds of work or more, or the caller runs it itself.
 * Errors      threads_start: threads cannot be created.
 * Memory      one pool per process. threads_stop ends its threads.
 * Secrets     none.
 *
 * Threads spin for a moment between two calls and then sleep: the passes of a network call this some hundred times in a row, and
 * waking a thread costs more than many of those tasks. A task's result must not depend on which thread runs it; then the number of
 * threads changes no bit of any result. One caller at a time has the pool; another one that comes meanwhile runs its tasks alone.
 */
#ifndef STIP_BASE_THREADS_H
#define STIP_BASE_THREADS_H

#include <stdbool.h>

#include "base/err.h"

/* n threads in all, the caller among them. Replaces what was started before. 0: as many as this process may run on CPUs. */
MUST_CHECK int threads_start(int n, struct err *err);
/* How many of those that a config asks for make sense: not more than there are CPUs (said in the log). 0: as many as those. */
int threads_fit(int asked);
/* CPUs that this process may run on. */
int threads_cpus(void);
void threads_stop(void);
int threads_count(void);
/* Whether callers do their tasks alone, without the others: for a while in which there are enough callers to keep the CPUs busy. */
void threads_apart(bool apart);
/* task(arg, i) for each i in 0..n-1. Without threads_start: one after another. */
void threads_for(int n, void (*task)(void *arg, int i), void *arg);

#endif
