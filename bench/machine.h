/* bench/machine.h - what this machine can do at most, measured in the run that quotes it.
 *
 * Data flow   threads -> reads of a large buffer, multiply-adds in registers -> the two limits.
 * Units       bytes per second, floating-point operations per second (a multiply-add is two).
 * Errors      memory, threads.
 * Memory      512 MB while it measures.
 * Secrets     none.
 */
#ifndef STIP_BENCH_MACHINE_H
#define STIP_BENCH_MACHINE_H

#include "base/err.h"

struct machine {
    double bandwidth, flops;
};

/* Best of 5, on `threads` threads. */
MUST_CHECK int machine_measure(struct machine *out, int threads, struct err *err);

#endif
