/* bench/baselines/smpc/network.h - a whole encoder, or a step of a decoder, on shared numbers, in each system's protocols.
 *
 * Data flow   checkpoint (party 0) -> shared weights; embedded rows (party 1) -> layers -> final hidden rows, opened to party 1, who
 *             has embedding and head, as STIP's user has them with its head at home.
 *             Each layer is two phases: material of the dealer (offline), then the layer (online).
 * Shapes      letters of model/shape.h; rows [T,D]; a decoder keeps keys and values of S earlier tokens, shared.
 * Units       microseconds, bytes.
 * Errors      network_new: what is no BERT or GPT-2; a missing tensor. Others sticky in struct party.
 * Memory      network_new gives; shares lie in the party's arena.
 * Secrets     none of its own.
 * Source      systems: see approx.h.
 */
#ifndef STIP_BENCH_BASELINES_SMPC_NETWORK_H
#define STIP_BENCH_BASELINES_SMPC_NETWORK_H

#include "bench/baselines/smpc/approx.h"
#include "model/checkpoint.h"

struct network_system {
    const char *name;
    int parties;
    approx_gelu gelu;
    approx_softmax softmax;
    approx_norm norm;
    bool exact; /* its functions approximate the model's; else the model has to be tuned for them */
    const char *protects;
};
/* NULL: unknown. */
const struct network_system *network_system(const char *name);

struct network_times {
    uint64_t offline_us, online_us;
    uint64_t cpu_us; /* of online_us: processor time of this process, which other jobs on the machine do not lengthen */
};

struct network;
/* cp: the checkpoint, or NULL for who does not know the weights. cap: most tokens of a sequence. */
MUST_CHECK int network_new(struct network **out, struct party *p, const struct network_system *system, const struct config *c,
                           const struct checkpoint *cp, int cap, struct err *err);
void network_free(struct network *n);
/* What one pass costs, without running: the walk of PARTY_PLAN for T tokens after S. offline: what its layers need of a dealer. */
MUST_CHECK int network_plan(struct party_cost *out, const struct network_system *system, const struct config *c, int S, int T,
                            struct err *err);
/* Words of memory that a party needs for passes of at most T tokens and `cap` in all. */
MUST_CHECK int network_words(size_t *out, const struct network_system *system, const struct config *c, int cap, int T, struct err *err);

void network_restart(struct network *n);
/* rows [T,D] at party 1 (and a twin), NULL elsewhere; out [T,D] likewise. times: RUN only, may be NULL. */
MUST_CHECK int network_pass(struct network *n, const float *rows, int T, double *out, struct network_times *times, struct err *err);

#endif
