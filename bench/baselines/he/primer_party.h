/* bench/baselines/he/primer_party.h - Primer end to end: a client with tokens and a server with weights, two processes.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   set-up: rotation keys, first transfers. Each layer, before its input is known: masks sealed -> their products (primer.h) ->
 *             the client's shares; circuits garbled, tables and the client's labels sent. Then: input - mask -> for each of six stages the server's
 *             share of a product, as labels -> the client evaluates -> colours -> the server's next (value - mask). The two products of shared
 *             matrices are answered under BFV in between; the client hands its share of those over as (share - one that it drew before), so that
 *             all its labels are there before the input is.
 * Shapes      hidden rows [T,D]. T and K powers of two, as primer_takes.
 * Units       microseconds, bytes; messages: changes of direction, of both parties, after the input is known.
 * Errors      ERR_PEER names the other party; ERR_USAGE with the bytes where tables of a layer would not fit in memory.
 * Memory      the caller's rows.
 * Secrets     the client's: input, masks, BFV secret. The server's: weights, its masks.
 */
#ifndef STIP_BENCH_BASELINES_HE_PRIMER_PARTY_H
#define STIP_BENCH_BASELINES_HE_PRIMER_PARTY_H

#include "bench/baselines/he/primer_line.h"
#include "bench/baselines/he/primer.h"

struct primer_sums {
    uint64_t setup_us, offline_us, online_us, online_cpu_us, wait_us; /* wait: of online */
    uint64_t pages_us;                                                /* before any of it: the client takes the memory of its tables */
    uint64_t products_us, transfers_us, tables_us;                    /* of offline, one behind the other: products and masks under BFV; labels by
                                                                         oblivious transfers; tables garbled (server), or taken (client) */
    uint64_t setup_sent, offline_sent, online_sent, messages, gates;
    double he_us; /* operations on ciphertexts, processor time */
};

/* Bytes that the larger party holds at most, of a layer. */
MUST_CHECK int primer_memory(const struct encoder *m, int T, double *bytes, struct err *err);
/* The layers of m with the rows x [T,D] (client: in, out; server: NULL). Client: m without weights. toy: small rings, for tests. */
MUST_CHECK int primer_party(enum primer_role role, struct bare *bare, const struct encoder *m, int T, double *x, bool toy, int timeout_ms,
                            struct primer_sums *sums, struct err *err);
/* The same formulas in double, for the rows of one layer; ERR_CHECK where a word would not hold a number. */
MUST_CHECK int primer_twin(const struct encoder *m, int layer, double *x, int T, struct err *err);

#endif
