/* permute/gauge.h - the exact transforms of profile "gauge", that go before the permutations.
 *
 * Data flow   residual sub-key -> struct gauge_end (developer and users): x -> c x R, rows before they are sealed, columns of
 *             what adds to the residual; back again for hidden rows.
 *             sub-key of a layer and group -> struct gauge_head (developer only): the same for a head's q, k, v and its side of O.
 * Shapes      end: rows of D. head: rows of K. Row-vector convention, q' = q A.
 * Units       c and the scales lie in [1/4,4] and [1/2,2], evenly in their logarithm: what is multiplied stays well-conditioned.
 * Errors      memory, derivation.
 * Memory      secret memory; *_wipe releases, fine on a zeroed struct.
 * Secrets     all of it. gauge_end is the users', the rest stays with the developer.
 * Source      docs/decisions/0013-gauge.md. R is orthogonal, so RMS norms see the same numbers with eps' = c^2 eps. For
 *             LayerNorm R keeps the all-ones direction, and rows lose their mean, which no consumer sees. Rotary pairs (i, i + n/2)
 *             commute with a turn of the same pair; q A (k A^-T)^T = q k^T; v B B^-1 = v.
 */
#ifndef STIP_PERMUTE_GAUGE_H
#define STIP_PERMUTE_GAUGE_H

#include <stdbool.h>

#include "permute/keyset.h"
#include "permute/walk.h"

struct gauge_end {
    double c;
    bool layer_norm; /* R keeps the all-ones row, x loses its mean */
    struct walk walk;
};

/* `key` is the sub-key of KEY_RESIDUAL. */
MUST_CHECK int gauge_end_new(struct gauge_end *out, int D, bool layer_norm, const uint8_t key[CRYPTO_KEY_LEN], struct err *err);
void gauge_end_wipe(struct gauge_end *g);
/* x = x R, without c. */
void gauge_end_turn(const struct gauge_end *g, double *x);
/* x = x R^T */
void gauge_end_back(const struct gauge_end *g, double *x);
/* Rows [n,D] in place: x = c x R, what a user does before it seals; and x R^T for final rows, which a norm has freed of c. */
MUST_CHECK int gauge_end_rows(const struct gauge_end *g, float *x, size_t n, struct err *err);
MUST_CHECK int gauge_end_rows_back(const struct gauge_end *g, float *x, size_t n, struct err *err);

/* A general well-conditioned matrix: rotation, scales, rotation. */
struct gauge_bend {
    struct walk first, then;
    double *scale; /* [n] secret memory */
};

struct gauge_head {
    int K, rotary;           /* the first `rotary` dims turn with positions */
    struct walk_angle *pair; /* [rotary/2] secret memory: turn ... */
    double *pair_scale;      /* ... and scale of each rotary pair */
    struct gauge_bend rest;  /* of the other dims of q and k */
    struct gauge_bend value;
};

/* Of the heads of one key/value group. */
MUST_CHECK int gauge_head_new(struct gauge_head *out, const struct keyset *keys, int K, int rotary, int layer, int group, struct err *err);
void gauge_head_wipe(struct gauge_head *g);
/* Rows of K in place: q A, k A^-T, v B, and w B^-T for a row of O's columns of a head. */
void gauge_query(const struct gauge_head *g, double *x);
void gauge_key(const struct gauge_head *g, double *x);
void gauge_value(const struct gauge_head *g, double *x);
void gauge_mix(const struct gauge_head *g, double *x);

/* Scales of a gated layer's ups [F], of any sign; downs are divided by them. scale is the caller's secret memory. */
MUST_CHECK int gauge_ups(double *scale, const struct keyset *keys, int F, int layer, struct err *err);

#endif
