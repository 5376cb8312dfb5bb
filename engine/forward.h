/* engine/forward.h - one pass through the network for the rows of several sequences.
 *
 * Data flow   x [T,D] per sequence (embedded rows, sealed or plain) -> L layers over each sequence's KV cache -> the asked
 *             rows as logits, classes or final hidden rows.
 * Shapes      letters of model/shape.h; B sequences, rows of all of them go through each matrix product together.
 * Errors      none: preconditions (asserted; the caller checks what peers ask for) are: T is at least 1, kv has pages reserved
 *             for T more tokens, the sum of all T is at most the scratch's rows, asked rows are rows of this call, no cache
 *             appears twice; a bidirectional model gets whole sequences into empty caches. A NaN row spoils its own sequence only.
 * Memory      allocates nothing; all buffers are in struct scratch.
 * Secrets     cannot tell permuted from plain; keeps nothing but the KV cache.
 *
 * A row's bits do not depend on what shares the pass: batches, chunks of a prompt and single tokens give the same results (where
 * OpenBLAS multiplies, up to rounding).
 */
#ifndef STIP_ENGINE_FORWARD_H
#define STIP_ENGINE_FORWARD_H

#include <stddef.h>

#include "base/err.h"
#include "engine/kvcache.h"
#include "engine/net.h"

/* Everything forward() writes besides caches and outputs. rows: most rows of one pass, all sequences together. outputs: most
 * asked rows that go through the head at once; when more are asked the head's weights are read again. */
struct scratch;
MUST_CHECK int scratch_new(struct scratch **out, const struct net *net, int rows, int outputs, struct err *err);
void scratch_free(struct scratch *s);

struct forward_seq {
    struct kvcache *kv; /* the T rows are appended at kv->len */
    const float *x;     /* [T,D] */
    int T;
    int out_from, out_n; /* rows of this call whose outputs are wanted; a classifier takes out_from 0, out_n 0 or 1 */
    float *out;          /* [out_n, net_outputs] */
};

void forward(const struct net *net, struct scratch *s, struct forward_seq *seqs, int B);

#endif
