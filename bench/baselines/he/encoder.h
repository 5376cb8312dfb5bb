/* bench/baselines/he/encoder.h - a BERT encoder's layers in float64: exact, and as the HE systems approximate them.
 *
 * FOR MEASUREMENT, NOT FOR PROTECTING DATA.
 *
 * Data flow   checkpoint -> struct encoder -> encoder_exact (the judge) and the twins of bench/baselines/he/the_x.c and poly_net.c.
 * Shapes      letters of model/shape.h, float64, row-major: activations [T,D], weights [out,in].
 * Errors      models that are no BERT encoder with absolute positions; memory.
 * Memory      encoder_read gives; the rest fills.
 * Secrets     whatever the checkpoint holds, in plain.
 */
#ifndef STIP_BENCH_BASELINES_HE_ENCODER_H
#define STIP_BENCH_BASELINES_HE_ENCODER_H

#include "base/err.h"
#include "model/checkpoint.h"

struct encoder_layer {
    double *wq, *bq, *wk, *bk, *wv, *bv, *wo, *bo; /* [D,D], [D] */
    double *g1, *b1;                               /* norm after attention */
    double *wu, *bu, *wd, *bd;                     /* up [F,D], down [D,F] */
    double *g2, *b2;
};

struct encoder {
    int L, D, H, K, F;
    double eps;
    struct encoder_layer *layer;
};

MUST_CHECK int encoder_read(struct encoder *out, const struct checkpoint *cp, struct err *err);
void encoder_free(struct encoder *m);

/* y = x w' + b; b NULL: none. x [T,in], w [out,in], y [T,out]. */
void encoder_linear(double *y, const double *x, const double *w, const double *b, int T, int in, int out);
/* Scores of one head, [T,T]: q k' / sqrt(K). q, k [T,D]. */
void encoder_scores(const struct encoder *m, double *s, const double *q, const double *k, int head, int T);
/* One layer with exact softmax, GeLU and norms; x [T,D] becomes its output. */
MUST_CHECK int encoder_exact(const struct encoder *m, int layer, double *x, int T, struct err *err);
/* Embeddings of random or given token ids, as the client computes them: x [T,D]. */
MUST_CHECK int encoder_embed(const struct checkpoint *cp, const int32_t *ids, int T, double *x, struct err *err);

#endif
