/* bench/baselines/he/primer_line.h - the line between Primer's two parties: numbers, ciphertexts, keys, and wire labels by oblivious transfer.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA: the line is not encrypted, and answers of the base transfers are not flooded with noise.
 *
 * Data flow   client and server call the same functions in the same order; each knows whether it sends.
 * Shapes      numbers modulo t go as 5 bytes, bits as bits, labels as 16 bytes.
 * Units       bytes that this party sends; messages: changes of direction, seen by this party.
 * Errors      sticky: after the first failure nothing is sent, received or changed; primer_line_check. ERR_PEER names the other party.
 * Memory      primer_line_new gives.
 * Secrets     those of the transfers: the server's choices are the difference of its labels.
 * Source      oblivious transfers from few: Ishai, Kilian, Nissim, Petrank (CRYPTO 2003); their rows taken as labels of free XOR: Asharov et al.
 *             (CCS 2013). The first 128 are a product under BFV: choice (second - first) + first, with the server's own key.
 */
#ifndef STIP_BENCH_BASELINES_HE_PRIMER_LINE_H
#define STIP_BENCH_BASELINES_HE_PRIMER_LINE_H

#include "bench/baselines/he/bfv.h"
#include "bench/baselines/he/garble.h"
#include "transport/bare.h"

#define PRIMER_TIMEOUT_MS 600000

enum primer_role { PRIMER_CLIENT, PRIMER_SERVER };

struct primer_line {
    enum primer_role role;
    struct bare *bare; /* borrowed */
    const struct bfv *b;
    int timeout_ms;
    uint64_t sent, messages, wait_us;
    int direction; /* of the last message: 1 sent, -1 received */
    struct crypto_stream *first[128], *second[128]; /* client: both; server: `first` is the one it chose */
    struct garble_label difference;                 /* server */
    bool failed;
    struct err err;
};

/* Greets: another version, run or shape ends it. `what` is of both alike. */
MUST_CHECK int primer_line_new(struct primer_line **out, enum primer_role role, struct bare *bare, const struct bfv *b, const char *what, int timeout_ms,
                               struct err *err);
void primer_line_free(struct primer_line *l);
MUST_CHECK int primer_line_check(const struct primer_line *l, struct err *err);
/* Keeps the first failure of what the caller did in between; rc is its result. */
void primer_line_fail(struct primer_line *l, int rc, const struct err *err);

void primer_send(struct primer_line *l, const void *data, size_t n);
void primer_recv(struct primer_line *l, void *data, size_t n);
/* The client's or the server's, by `from`. */
void primer_pass(struct primer_line *l, enum primer_role from, void *data, size_t n);
/* v in [0, 2^40). */
void primer_pass_numbers(struct primer_line *l, enum primer_role from, uint64_t *v, size_t n);
/* bit [n]: 0 or 1. */
void primer_pass_bits(struct primer_line *l, enum primer_role from, uint8_t *bit, size_t n);
/* x [n] are made at the receiver. seeds NULL: whole ciphertexts. */
void primer_pass_ciphers(struct primer_line *l, enum primer_role from, struct ckks_cipher *x, int n, uint8_t (*seeds)[CRYPTO_KEY_LEN]);

/* Once, before transfers: `e` is this party's evaluator. */
void primer_transfer_base(struct primer_line *l, struct ckks_eval *e);
/* The client's bits [n] -> its labels [n]; the server's: those of 0. */
void primer_transfer(struct primer_line *l, const uint8_t *bit, struct garble_label *label, size_t n);

#endif
