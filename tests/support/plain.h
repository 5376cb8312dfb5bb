/* tests/support/plain.h - a checkpoint run by engine/ in one process, without any party: what private runs are compared to.
 *
 * Data flow   folder -> checkpoint, net, embed, one cache, one scratch -> outputs of rows.
 * Shapes      letters of model/shape.h.
 * Errors      those of model/ and engine/.
 * Memory      plain_open gives; plain_close releases.
 * Secrets     none: tests and benches only.
 */
#ifndef STIP_TESTS_SUPPORT_PLAIN_H
#define STIP_TESTS_SUPPORT_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/embed.h"
#include "engine/forward.h"
#include "engine/net.h"
#include "model/checkpoint.h"

struct plain {
    struct checkpoint *cp;
    const struct config *config;
    struct net *net;
    struct embed *embed;
    struct kvcache *kv; /* of `cap` tokens */
    struct scratch *scratch;
    float *x;           /* [cap,D] */
};

/* head false: outputs are the final hidden rows. cap: most tokens of a sequence. */
MUST_CHECK int plain_open(struct plain *out, const char *dir, bool head, int cap, enum compute compute, struct err *err);
/* Another type of cache in place of the float32 one. */
MUST_CHECK int plain_cache(struct plain *p, enum kv_dtype dtype, struct err *err);
void plain_close(struct plain *p);
/* Appends T tokens to the cache and writes the outputs of the last `out_n` of them (of the first row for a classifier). */
MUST_CHECK int plain_append(struct plain *p, const int32_t *ids, const int32_t *types, int T, int out_n, float *out,
                            struct err *err);
/* A whole image, its pixels prepared; `cap` was the config's positions at least. The classes of its first row. */
MUST_CHECK int plain_image(struct plain *p, const float *pixels, float *out, struct err *err);
/* Continues ids [n] greedily until there are `total`; ids has room for them. */
MUST_CHECK int plain_greedy(struct plain *p, int32_t *ids, int n, int total, struct err *err);

#endif
