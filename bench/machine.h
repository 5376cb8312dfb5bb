/* bench/machine.h - what this machine can do at most, measured in the run that quotes it.
 *
 * Data flow   threads -> reads of a large buffer; multiply-adds in registers, of each unit that this CPU has -> the limits.
 * Units       bytes per second, operations per second (a multiply-add is two).
 * Errors      memory, threads.
 * Memory      512 MB while it measures.
 * Secrets     none.
 */
#ifndef STIP_BENCH_MACHINE_H
#define STIP_BENCH_MACHINE_H

#include "base/err.h"

enum machine_unit {
    MACHINE_F32_FMA, MACHINE_BF16_DOT /* AVX512-BF16 */, MACHINE_BF16_AMX, MACHINE_INT8_DOT /* AVX512-VNNI */, MACHINE_INT8_AMX,
    MACHINE_UNITS
};

struct machine {
    double bandwidth;
    double ops[MACHINE_UNITS]; /* 0: this CPU has no such unit */
};

/* Best of several tries, on `threads` threads. */
MUST_CHECK int machine_measure(struct machine *out, int threads, struct err *err);
/* The higher of each figure. */
void machine_best(struct machine *m, const struct machine *other);
/* "f32_fma", ... */
const char *machine_unit_name(enum machine_unit unit);
/* The most that weights of this dtype ("f32", "bf16", "int8") can be multiplied with here. f32 counts for the narrow ones
 * too, where they have no faster unit: they can be widened. */
double machine_peak(const struct machine *m, const char *dtype);

#endif
