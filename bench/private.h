/* bench/private.h - developer, server and user in one process, without sockets: the private side of a comparison.
 *
 * Data flow   HFDIR -> protect -> package -> net (all that a server has); grant folder -> struct grant (all that a user has);
 *             ids -> embed -> seal -> forward -> unseal -> head -> logits. Only sealed rows reach the net.
 * Shapes      letters of model/shape.h; logits [out_n, V or C].
 * Errors      those of protect, grant and engine.
 * Memory      private_open gives; a temporary folder is removed by private_close.
 * Secrets     a bench may hold both sides; the temporary folder is 0700.
 */
#ifndef STIP_BENCH_PRIVATE_H
#define STIP_BENCH_PRIVATE_H

#include "base/cli.h"
#include "engine/forward.h"
#include "user/grant.h"

struct private;

/* Flags profile, head, dtype, seed of `cmd` as protect takes them, and kv. cap: most tokens of a sequence. */
MUST_CHECK int private_open(struct private **out, const char *model, const struct cli_cmd *cmd, int cap, struct err *err);
void private_close(struct private *p);
/* The flag kv of `cmd`: what keys and values are kept as, f32 without it. */
MUST_CHECK int private_kv(const struct cli_cmd *cmd, enum kv_dtype *out, struct err *err);
/* Appends T tokens; logits of rows out_from.. of them. */
MUST_CHECK int private_append(struct private *p, const int32_t *ids, const int32_t *types, int T, int out_from, int out_n,
                              float *logits, struct err *err);
/* Appends T tokens; all their hidden rows [T,D], in plain order. The head is the user's. */
MUST_CHECK int private_hidden(struct private *p, const int32_t *ids, const int32_t *types, int T, float *x, struct err *err);
/* A whole image, its pixels prepared. */
MUST_CHECK int private_image(struct private *p, const float *pixels, float *logits, struct err *err);
void private_restart(struct private *p);
/* Microseconds that the servers have computed so far. */
uint64_t private_server_us(const struct private *p);
const struct grant *private_grant(const struct private *p);
/* What the server would hold. */
const struct net *private_net(const struct private *p);
/* Folder of its package and its key, as protect leaves them. */
const char *private_dir(const struct private *p);

/* A server in the place of the honest one. */
struct private_server {
    struct net *net;
    struct kvcache *kv;
    struct scratch *scratch;
};
/* Another checkpoint of the same shape under the same keys and options: what protect would leave in `out`. */
MUST_CHECK int private_protect(const struct private *p, const char *model, const char *out, struct err *err);
/* A server with the package in `dir`, that computes in its own way. */
MUST_CHECK int private_server_open(struct private_server *out, const struct private *p, const char *dir, enum compute compute, struct err *err);
void private_server_close(struct private_server *s); /* fine on a zeroed struct */
/* Who answers from here on, to a text that starts anew; NULL: the honest one. */
void private_ask(struct private *p, struct private_server *s);

#endif
