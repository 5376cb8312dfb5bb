/* tests/support/smpc.h - a secret-sharing program run by all its parties, as threads of a test.
 *
 * Data flow   program -> plan -> dealer and parties over real lines, each in its own thread -> outputs of party 1; and the same
 *             program as a twin in double.
 * Shapes      as bench/baselines/smpc/ops.h.
 * Errors      the first party's error.
 * Memory      the caller's.
 * Secrets     none: tests only.
 */
#ifndef STIP_TESTS_SUPPORT_SMPC_H
#define STIP_TESTS_SUPPORT_SMPC_H

#include "bench/baselines/smpc/ops.h"

struct smpc_program {
    /* Takes x (and y) [n] as shares, writes z. */
    void (*run)(struct party *p, struct share z, struct share x, struct share y);
    const float *x, *y; /* [nx], [ny]; y NULL: none */
    size_t nx, ny, nz;
};

/* out [nz]. plan: what it would cost (may be NULL); sent: bytes that the parties really sent after the inputs (may be NULL). */
MUST_CHECK int smpc_run(const struct smpc_program *program, int parties, double *out, struct party_cost *plan, uint64_t *sent, struct err *err);
MUST_CHECK int smpc_twin(const struct smpc_program *program, double *out, struct err *err);

#endif
