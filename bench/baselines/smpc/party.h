/* bench/baselines/smpc/party.h - one party of a secret-sharing computation: lines, memory, randomness, counters.
 *
 * The same program (ops.h, approx.h, model.h) is walked in four modes. It never branches on a shared value, so all walks are alike:
 *   PARTY_PLAN  touches no data; counts words of memory, messages, rounds, correlated randomness.
 *   PARTY_TWIN  computes the protocol's own formulas in double, and watches the range that fixed point would need.
 *   PARTY_DEAL  the dealer: makes the correlated randomness that the parties will ask for, in the order in which they ask.
 *   PARTY_RUN   party `index` of `parties`, 2 (additive shares, a dealer) or 3 (replicated shares, no dealer).
 *
 * Data flow   words come from an arena; messages go to a peer's line; randomness comes from ChaCha20 streams.
 * Units       words of 64 bits; microseconds.
 * Errors      sticky, as in base/buf.h: after the first failure everything is a no-op, and party_check says what it was. Formulas
 *             stay readable that way. Texts name the party and the step. A twin that leaves the range is ERR_CHECK.
 * Memory      party_open gives. Words are released in the reverse order of taking, by marks.
 * Secrets     shares and seeds of a measurement; nothing here protects data of anybody (docs/COMPARE.md).
 */
#ifndef STIP_BENCH_BASELINES_SMPC_PARTY_H
#define STIP_BENCH_BASELINES_SMPC_PARTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/crypto.h"
#include "base/err.h"
#include "transport/bare.h"

#define PARTY_MAX 4 /* three and a dealer */
#define PARTY_TIMEOUT_MS 600000 /* of a peer that computes; tests wait less */

enum party_mode { PARTY_PLAN, PARTY_TWIN, PARTY_DEAL, PARTY_RUN };

/* What a walk costs, all parties together; a party that runs counts what it sends itself, too. */
struct party_cost {
    uint64_t bytes, path_bytes, rounds; /* online */
    uint64_t random, fixed;             /* words of material: from seeds; that have to be what the dealer says */
    uint64_t high;                      /* most words of memory */
};

struct party {
    enum party_mode mode;
    int index, parties;
    size_t parts; /* numbers that a party holds of one shared number: 1, or 2 of 3 */
    struct bare *line[PARTY_MAX]; /* borrowed; [parties] is the dealer's */
    struct err err;
    struct party_cost cost;
    uint64_t sent_bytes, wait_us;
    int timeout_ms;
    char where[64]; /* for messages */

    uint64_t *memory; /* arena */
    size_t capacity, used;

    struct crypto_stream *own, *next; /* RUN: common with party 1 - index (2), with index - 1 and index + 1 (3) */
    struct crypto_stream *seed[2];    /* DEAL: both parties'; RUN: [0] is this party's */
    uint64_t *random, *fixed;         /* RUN: material of this phase */
    size_t random_at, random_n, random_cap, fixed_at, fixed_n, fixed_cap;
    uint64_t *deal;                   /* DEAL: scratch */
    size_t deal_cap, chunk_n;
    uint64_t *chunk;

    double largest;        /* TWIN: largest number before a truncation, in units of what fits */
    double expected_wraps; /* TWIN: how many truncations of shares go wrong, on average */
};

/* words: capacity of the arena, 0 for PLAN and DEAL. */
MUST_CHECK int party_open(struct party **out, enum party_mode mode, int index, int parties, size_t words, struct err *err);
void party_close(struct party *p);
MUST_CHECK int party_check(const struct party *p, struct err *err);
void party_fail(struct party *p, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Says in messages what is being computed. */
void party_at(struct party *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline bool party_runs(const struct party *p)
{
    return p->mode == PARTY_RUN && p->err.code == ERR_NONE;
}
static inline bool party_twins(const struct party *p)
{
    return p->mode == PARTY_TWIN && p->err.code == ERR_NONE;
}

/* 64-byte aligned; never NULL (a failure is sticky, and then nothing reads them). */
uint64_t *party_words(struct party *p, size_t n);
size_t party_mark(const struct party *p);
void party_release(struct party *p, size_t mark);

/* One step in which messages cross: `total` words of all parties, `path` of them one after the other. */
void party_round(struct party *p, uint64_t total, uint64_t path);
void party_send(struct party *p, int to, const uint64_t *words, size_t n);
void party_recv(struct party *p, int from, uint64_t *words, size_t n);
/* Fills words from a stream. */
void party_stream(struct party *p, struct crypto_stream *stream, uint64_t *words, size_t n);

#endif
