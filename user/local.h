/* user/local.h - the first layers of the model, on the user's machine, in plain space.
 *
 * Data flow   x [T,D] of the embedding -> first layers over a KV cache of their own -> y [T,D] -> seal. What the server gets of a
 *             token depends on the tokens before it (both sides, for a bidirectional model) and equals no row of a table.
 * Shapes      letters of model/shape.h.
 * Units       tokens. Keys and values are kept as f32.
 * Errors      memory.
 * Memory      local_new gives; pages of the cache are taken as tokens come. The net is borrowed and may be shared by any number.
 * Secrets     plain rows, keys and values of the user's text.
 * Source      docs/SECURITY.md, local layers.
 */
#ifndef STIP_USER_LOCAL_H
#define STIP_USER_LOCAL_H

#include "engine/forward.h"

struct local;
/* tokens: most of a sequence; rows: most of one call. */
MUST_CHECK int local_new(struct local **out, const struct net *net, enum kv_dtype dtype, int tokens, int rows, struct err *err);
void local_free(struct local *l);
/* The T rows behind the first `length`, in place; those after `length` of calls before are forgotten first. length is 0 for a
 * bidirectional model. */
MUST_CHECK int local_rows(struct local *l, int length, float *x, int T, struct err *err);

#endif
