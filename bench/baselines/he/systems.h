/* bench/baselines/he/systems.h - the HE systems as rows of `stip-bench compare`.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   checkpoint + token ids -> systems_measure: the encoder really run under CKKS, beside its float64 twin and the exact one -> row;
 *             a shape -> systems_model: the same code counted, times the prices of this machine -> row.
 * Shapes      letters of model/shape.h; the encoder's layers. Embedding and head are the client's, in plain.
 * Units       seconds of one thread, bytes; row.note says what is counted.
 * Errors      shapes that the packing does not take, memory (refused with the number of bytes before keys are made).
 * Memory      fills.
 * Secrets     one process plays both parties.
 */
#ifndef STIP_BENCH_BASELINES_HE_SYSTEMS_H
#define STIP_BENCH_BASELINES_HE_SYSTEMS_H

#include "bench/baselines/he/encoder.h"
#include "bench/baselines/he/prices.h"
#include "bench/baselines/row.h"

enum systems_kind { SYSTEMS_THE_X, SYSTEMS_POLY, SYSTEMS_COUNT };

/* What stands behind a row. */
struct systems_detail {
    struct ckks_params params;
    struct ckks_tally tally;
    struct prices prices;
    double priced_s;  /* counts times prices: of a measured row, what the model would have said */
    double weights_s; /* of offline_s: encoding the weights */
    double cpu_s;     /* measured: processor time of online_s, without what other jobs on the machine cost */
    size_t keys_bytes;
};

const char *systems_name(enum systems_kind kind);
/* False if the system's packing does not take T tokens of this shape. */
bool systems_params(struct ckks_params *out, enum systems_kind kind, const struct encoder *m, int T);
/* Most bytes that a run holds at once, about. */
double systems_bytes(enum systems_kind kind, const struct encoder *m, int T, const struct ckks_params *p);
/* shape is for the row: "bert-tiny". hidden [T,D] (may be NULL): what the client opens at the end. detail may be NULL; then prices are not
 * measured. */
MUST_CHECK int systems_measure(struct compare_row *row, enum systems_kind kind, const struct checkpoint *cp, const char *shape,
                               const int32_t *ids, int T, double *hidden, struct systems_detail *detail, struct err *err);
/* m without weights: only L, D, H, K, F are read. */
MUST_CHECK int systems_model(struct compare_row *row, enum systems_kind kind, const struct encoder *m, const char *shape, int T,
                             struct systems_detail *detail, struct err *err);

#endif
