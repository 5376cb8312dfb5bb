/* bench/baselines/he/primer_state.h - what a party of Primer holds while it runs: masks, shares, labels, tables; of use to primer_*.c only.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   primer_party opens it; for each layer primer_offline (with primer_masked_weights, primer_masked_online) fills it before the input
 *             is known, primer_online uses it up, primer_state_drop_layer empties it.
 * Shapes      values of a stage [rows,cols]; products as primer_products lists them.
 * Units       numbers modulo t; colours and bits are bytes of 0 or 1.
 * Errors      those of the line, sticky: after the first one nothing is computed any more.
 * Memory      the party's; tables of one layer are most of it.
 * Secrets     all of it.
 */
#ifndef STIP_BENCH_BASELINES_HE_PRIMER_STATE_H
#define STIP_BENCH_BASELINES_HE_PRIMER_STATE_H

#include "bench/baselines/he/primer_circuits.h"
#include "bench/baselines/he/primer_party.h"

__extension__ typedef __int128 primer_wide;

enum { PRIMER_AT_CUT_QKV, PRIMER_AT_SOFTMAX, PRIMER_AT_CUT_MIX, PRIMER_AT_NORM_1, PRIMER_AT_GELU, PRIMER_AT_NORM_2 };
/* As primer_products lists them: with weights, then of shared matrices by the masks of keys, queries, values, attention weights. */
enum { PRIMER_BY_QKV, PRIMER_BY_OUTPUT, PRIMER_BY_UP, PRIMER_BY_DOWN, PRIMER_BY_SCORES_K, PRIMER_BY_SCORES_Q,
       PRIMER_BY_MIX_V, PRIMER_BY_MIX_P };

/* One stage's half of this party. */
struct primer_half {
    struct primer_stage stage;
    size_t n, high, gates;     /* n: values */
    uint64_t *share, *mask;    /* client: [n] each; server: share, what it adds to a product [n] */
    struct garble_label *label[CIRCUIT_OWNERS]; /* client: its own and the weights'; server: of 0, its own */
    struct garble_label (*table)[2];            /* client */
    uint8_t *out;              /* server: colours of 0 */
};

struct primer_state {
    enum primer_role role;
    const struct encoder *m;
    int T;
    struct bfv *b;
    struct ckks_keys *keys;
    struct ckks_eval e;
    struct primer_line *l;
    struct crypto_stream *random;
    uint64_t t;
    struct primer_product product[PRIMER_PRODUCTS];
    struct primer_half half[PRIMER_STAGES];
    struct ckks_cipher *sealed[PRIMER_PRODUCTS]; /* server: the client's masks, of products that are done online */
    uint64_t *input;  /* [T D] client: mask of the layer's input; server: input - mask */
    uint64_t *answer[PRIMER_PRODUCTS]; /* server: its masks of online products */
    struct primer_sums sums;
};

/* ------------------------------------------------------------------ primer_state.c */

uint64_t primer_state_reduce(const struct primer_state *p, primer_wide v);
int64_t primer_state_centred(const struct primer_state *p, uint64_t v);
void primer_state_draw(struct primer_state *p, uint64_t *v, size_t n);
/* Zeros; NULL after a failure. */
void *primer_state_room(struct primer_state *p, size_t n);
/* Not zeroed: for what is gigabytes and filled at once. */
void *primer_state_raw(struct primer_state *p, size_t n);
void primer_state_whole(int64_t *out, const double *w, size_t n, double by);
/* Weights of a product and its bias at the product's scale, as whole numbers. Query's come times log2(e) / sqrt(K): scores are exponents of 2.
 * w [out,in], bias [out]. */
void primer_state_weights(const struct encoder *m, int layer, int product, int64_t *w, int64_t *bias);
/* The stage that a product with weights leads to. */
int primer_state_after(int product);
/* Bits of the values that enter a stage, in walk order. */
void primer_state_bits(struct primer_state *p, const struct primer_half *h, enum circuit_owner owner, const uint64_t *values, uint8_t *bits);
/* label of the server's bits: of 0, or with the difference on it. */
void primer_state_choose(const struct primer_state *p, struct garble_label *label, const uint8_t *bit, size_t n);
void primer_state_drop_layer(struct primer_state *p);

/* ------------------------------------------------------------------ primer_masked.c: products under BFV */

/* The server answers with the product less a mask; the client's share is what it opens. */
void primer_masked_answer(struct primer_state *p, const struct primer_product *q, struct ckks_cipher *sealed, const int64_t *w, const uint64_t *mask,
                          uint64_t *share, int out_parts);
/* Before the input is known: the client's mask times weights. */
void primer_masked_weights(struct primer_state *p, int layer, int product);
/* The masks of products that the server answers online. */
void primer_masked_online(struct primer_state *p);

/* ------------------------------------------------------------------ primer_offline.c, primer_online.c */

void primer_offline(struct primer_state *p, int layer);
void primer_online(struct primer_state *p, int layer);

#endif
