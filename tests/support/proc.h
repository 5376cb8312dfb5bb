/* tests/support/proc.h - what a process has taken of the machine, for tests of floods and of long runs.
 *
 * Data flow   /proc/PID -> figures.
 * Units       KB; numbers.
 * Errors      a process that is gone: false, and nothing is filled.
 * Memory      the caller's struct.
 * Secrets     none.
 */
#ifndef STIP_TESTS_SUPPORT_PROC_H
#define STIP_TESTS_SUPPORT_PROC_H

#include <stdbool.h>
#include <sys/types.h>

struct proc {
    long memory_kb, peak_kb; /* resident, and the most since it was reset (/proc/PID/clear_refs) */
    int threads, descriptors;
};

bool proc_look(pid_t pid, struct proc *out);

#endif
