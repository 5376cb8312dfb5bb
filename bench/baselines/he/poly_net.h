/* bench/baselines/he/poly_net.h - the polynomial transformer: a BERT layer of sums and products only, under CKKS.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   x [T,D] -poly_net_twin-> what the formulas give in float64, and the layer's polynomials (struct poly_net_fit);
 *             x sealed by the client -poly_net_layer-> x. Without keys: the same, counted.
 * Shapes      letters of model/shape.h; one head to a ciphertext: N = 4 T K, so D is a whole number of ciphertexts.
 * Units       levels: poly_net.c.
 * Errors      those of the evaluator; polynomials that the samples do not determine.
 * Memory      poly_net_fit_free.
 * Secrets     none beside the evaluator's.
 * Source      arXiv 2311.08610: softmax becomes sigma(s) / S with a polynomial sigma and a constant S, GeLU a polynomial, LayerNorm's inverse square
 *             root a polynomial over the range seen. Here sigma / S is the cubic nearest to the attention weights seen, and nothing is
 *             trained. BOOTSTRAPPING IS NOT IMPLEMENTED: where it would stand the client opens and seals again, four times in a layer.
 */
#ifndef STIP_BENCH_BASELINES_HE_POLY_NET_H
#define STIP_BENCH_BASELINES_HE_POLY_NET_H

#include "bench/baselines/he/encoder.h"
#include "bench/baselines/he/packed.h"

#define POLY_NET_TOP 9 /* data primes */
#define POLY_NET_SIGMA 3
#define POLY_NET_GELU 7
#define POLY_NET_ROOT 7

/* 1 / sqrt(variance + eps) = p(scale variance + shift). */
struct poly_net_norm {
    double scale, shift, root[POLY_NET_ROOT + 1];
};

struct poly_net_fit {
    double *wq, *bq; /* the scores' factor folded in */
    double *wu, *bu; /* gain and shift of the norm in front, and GeLU's range, folded in */
    double sigma[POLY_NET_SIGMA + 1], gelu[POLY_NET_GELU + 1];
    struct poly_net_norm norm1, norm2;
};

bool poly_net_params(struct ckks_params *out, int T, int D, int K, bool toy);
/* x becomes the output of the layer's approximation. */
MUST_CHECK int poly_net_twin(const struct encoder *m, int layer, double *x, int T, struct poly_net_fit *fit, struct err *err);
void poly_net_fit_free(struct poly_net_fit *fit);
/* x is at POLY_NET_TOP and holds the tokens twice; becomes the layer's output. m's weights and fit are not read in a counted run. */
MUST_CHECK int poly_net_layer(struct ckks_eval *e, const struct encoder *m, int layer, const struct poly_net_fit *fit, struct packed *x,
                              struct err *err);

#endif
