/* bench/machine_units.h - loops that keep one unit of the CPU busy with nothing else to wait for.
 *
 * Data flow   rounds -> multiply-adds in registers -> a number that depends on all of them.
 * Units       operations; a multiply-add is two.
 * Errors      none: NULL for a unit that this CPU or its kernel does not offer.
 * Memory      registers; machine_read reads what it is given.
 * Secrets     none.
 * Source      Intel's intrinsics; CPUID for what is there, arch_prctl(2) for the permission that AMX needs on Linux.
 */
#ifndef STIP_BENCH_MACHINE_UNITS_H
#define STIP_BENCH_MACHINE_UNITS_H

#include <stddef.h>

#include "bench/machine.h"

typedef double (*machine_loop)(long rounds);

/* Twelve or more independent chains, so that latency does not count. */
machine_loop machine_unit_loop(enum machine_unit unit, double *operations_per_round);
/* bytes: a multiple of 256; 64-byte aligned. */
double machine_read(const char *data, size_t bytes);

#endif
