/* bench/baselines/he/the_x.h - THE-X: a BERT layer under CKKS, with the client's help for what is no polynomial.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   x [T,D] -the_x_twin-> what the formulas give in float64, and the layer's constants (struct the_x_fit);
 *             x sealed by the client -the_x_layer-> x, which the client refreshes for the next layer. Without keys: the same, counted.
 * Shapes      letters of model/shape.h; D, K and the ciphertext's features powers of two, or whole ciphertexts; K at most one ciphertext.
 * Units       levels: the_x_params.
 * Errors      those of the evaluator; singular fits.
 * Memory      the_x_fit_free.
 * Secrets     the client learns scores, sums and hidden values of every layer, as in the paper; the server learns nothing but shapes.
 * Source      arXiv 2206.00216: GeLU becomes ReLU; softmax becomes ReLU((s/2 + 1)^3) times a learned estimate of the reciprocal of its sum;
 *             LayerNorm becomes g x + b. Here, without their training, the estimate is the cubic that fits the reciprocal best on the
 *             range seen, and g and b hold the mean and deviation seen: docs/COMPARE-HE.md.
 */
#ifndef STIP_BENCH_BASELINES_HE_THE_X_H
#define STIP_BENCH_BASELINES_HE_THE_X_H

#include "bench/baselines/he/encoder.h"
#include "bench/baselines/he/packed.h"

#define THE_X_TOP 7 /* data primes */
#define THE_X_DEGREE 3

/* Constants of a layer, norms and scale of the scores folded into the weights. */
struct the_x_fit {
    double *wq, *bq, *wo, *bo, *wd, *bd, *g1, *g2;
    double reciprocal[THE_X_DEGREE + 1];
    double shrink; /* the client's factor that keeps sums at or below 1 */
};

/* Parameters that hold T tokens; false if 2^15 coefficients are too few for one head. */
bool the_x_params(struct ckks_params *out, int T, int D, int K, bool toy);
/* x becomes the output of the layer's approximation. */
MUST_CHECK int the_x_twin(const struct encoder *m, int layer, double *x, int T, struct the_x_fit *fit, struct err *err);
void the_x_fit_free(struct the_x_fit *fit);
/* x is at THE_X_TOP and holds the tokens twice; becomes the layer's output, with neither. m's weights and fit are not read in a counted run. */
MUST_CHECK int the_x_layer(struct ckks_eval *e, const struct encoder *m, int layer, const struct the_x_fit *fit, struct packed *x,
                           struct err *err);

#endif
