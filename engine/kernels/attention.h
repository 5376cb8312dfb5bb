/* engine/kernels/attention.h - softmax attention of new rows over a sequence's cached keys and values.
 *
 * Data flow   q of the pass's rows, k and v of all rows so far -> mixed values per query head.
 * Shapes      q [T, H*K] with row stride q_stride; k, v [S+T, G*K] with row stride kv_stride, the T new rows already there;
 *             y [T, H*K], no gaps. Query head h reads key/value head h / (H/G).
 * Units       scale 1/sqrt(K). window in tokens, 0 for none: row i sees row j if i - j < window, and j <= i if causal.
 * Errors      none: preconditions are asserted.
 * Memory      no allocation, about 1 KB of stack. y overlaps nothing.
 * Secrets     none of its own.
 * Source      Vaswani et al. 2017; online softmax: Milakov & Gimelshein 2018.
 *
 * A row meets its keys in blocks with fixed borders, in order: its bits do not depend on which rows share the call.
 */
#ifndef STIP_ENGINE_KERNELS_ATTENTION_H
#define STIP_ENGINE_KERNELS_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>

struct attention {
    int H, G, K;
    int window;
    bool causal;
};

void attention(const struct attention *a, float *y, const float *q, size_t q_stride, const float *k, const float *v,
               size_t kv_stride, int S, int T);

#endif
