/* engine/kernels/attention.h - softmax attention of new rows over a sequence's pages of keys and values.
 *
 * Data flow   k, v of the pass's rows -> attention_store -> pages; q of the pass's rows + pages -> attention_head -> mixed values.
 * Shapes      q [T, H*K] and k, v [T, G*K] with a row stride of `stride`; y [T, H*K], no gaps. Query head h reads key/value head
 *             h / (H/G). Pages as engine/kvcache.h lays them out; `offset` is where the layer's first block starts in each page.
 * Units       scale 0: 1/sqrt(K). cap c > 0: scores s become c tanh(s/c). window in tokens, 0 for none: row i sees row j if i - j < window, and j <= i if causal.
 * Errors      none: preconditions are asserted.
 * Memory      no allocation, a few KB of stack. y overlaps nothing.
 * Secrets     none of its own.
 * Source      Vaswani et al. 2017; online softmax: Milakov & Gimelshein 2018.
 *
 * A row meets its keys page by page, in order, and each of its sums has one order: its bits do not depend on which rows share the
 * call or on how queries are split between calls.
 */
#ifndef STIP_ENGINE_KERNELS_ATTENTION_H
#define STIP_ENGINE_KERNELS_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/kvcache.h"

struct attention {
    int H, G, K;
    int window;
    bool causal;
    enum kv_dtype dtype;
    size_t block_bytes;
    double scale, cap;
};

/* Queries that one task should take at least, so that a page is read once for many of them. */
#define ATTENTION_TILE 48

/* Stores n rows of all heads as tokens at, at+1, ... */
void attention_store(const struct attention *a, struct kvpage *const *pages, size_t offset, int at, const float *k, const float *v,
                     size_t stride, int n);
/* Queries from..to-1 of key/value head g, which has T*(H/G) of them: number i is row i / (H/G), head g*(H/G) + i % (H/G).
 * Row 0 is token S of the sequence. */
void attention_head(const struct attention *a, int g, float *y, const float *q, size_t stride, struct kvpage *const *pages,
                    size_t offset, int S, int T, int from, int to);

#endif
