/* tests/support/resident.h - what another process holds.
 *
 * Data flow   /proc/PID -> a number.
 * Units       KiB; descriptors.
 * Errors      a process that is gone ends the test.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_TESTS_SUPPORT_RESIDENT_H
#define STIP_TESTS_SUPPORT_RESIDENT_H

#include <sys/types.h>

long resident_kb(pid_t pid);
int resident_descriptors(pid_t pid);

#endif
