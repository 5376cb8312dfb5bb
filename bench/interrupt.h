/* bench/interrupt.h - SIGINT and SIGTERM: what runs comes to its end, and so does what it started and left in folders.
 *
 * Data flow   signal -> a flag that long work looks at, and SIGTERM to the child that is waited for.
 * Units       none.
 * Errors      none.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_BENCH_INTERRUPT_H
#define STIP_BENCH_INTERRUPT_H

#include <stdbool.h>
#include <sys/types.h>

/* From now on this process does not die of either; before there is anything to be left behind. */
void interrupt_catch(void);
bool interrupt_seen(void);
/* A child that ends with us while it is waited for; 0: none. */
void interrupt_child(pid_t pid);

#endif
