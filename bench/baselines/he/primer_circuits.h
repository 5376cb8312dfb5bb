/* bench/baselines/he/primer_circuits.h - what Primer computes in garbled circuits, as walks; and the same formulas in double.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   two shares modulo t -> their sum, cut to a word of 16 bits -> the function -> + t - mask, modulo t: the server's new share, whose
 *             other part is the client's mask. The sum of the shares is the number + 2^PRIMER_OFFSET_BITS (the server adds that, and half of
 *             what is cut off); the output is the number + 2^15 - mask.
 * Shapes      rows x cols values. Client's inputs [2][rows][cols]: shares, t - masks. Server's: shares [rows][cols]; weights [2][cols]: gain
 *             and bias of a norm. All in [0, t); gains and biases as two's complement.
 * Units       fixed point: numbers have PRIMER_FRACTION fraction bits, probabilities PRIMER_PROBABILITY; scores come times log2(e), so that
 *             softmax is to the base 2.
 * Errors      those of the circuit. What leaves its range is seen by the float formulas: false.
 * Memory      none of its own; a row's words are taken from the heap in primer_walk.
 * Secrets     none.
 */
#ifndef STIP_BENCH_BASELINES_HE_PRIMER_CIRCUITS_H
#define STIP_BENCH_BASELINES_HE_PRIMER_CIRCUITS_H

#include "bench/baselines/he/circuit.h"

#define PRIMER_WORD_BITS 16
#define PRIMER_FRACTION 11
#define PRIMER_WEIGHT 12 /* fraction bits of a weight */
#define PRIMER_PROBABILITY 14
#define PRIMER_OFFSET_BITS 36
#define PRIMER_SHARE_BITS 39  /* t is a prime next to 2^38 */
#define PRIMER_COLS_MAX 1024  /* of a row: sums of squares keep to words of 64 bits */

enum primer_function { PRIMER_CUT, PRIMER_SOFTMAX, PRIMER_GELU, PRIMER_NORM };

struct primer_stage {
    enum primer_function function;
    size_t rows, cols; /* SOFTMAX and NORM work on rows */
    int cut;           /* bits that are cut off */
    uint64_t t;
    double eps;        /* NORM */
};

size_t primer_client_bits(const struct primer_stage *s);
size_t primer_weight_bits(const struct primer_stage *s);
size_t primer_server_bits(const struct primer_stage *s);
size_t primer_out_bits(const struct primer_stage *s);
/* The whole stage, in the circuit's mode. */
MUST_CHECK int primer_walk(struct circuit *c, const struct primer_stage *s, struct err *err);
/* AND gates, without walking all rows; `high` (may be NULL): labels for circuit_open. */
MUST_CHECK int primer_count(const struct primer_stage *s, double *gates, size_t *high, struct err *err);

/* The formulas in double, in place: x [rows][cols]; g, b [cols] of a norm. False where a word of 16 bits would not hold a number. */
bool primer_float(const struct primer_stage *s, double *x, const double *g, const double *b);

#endif
