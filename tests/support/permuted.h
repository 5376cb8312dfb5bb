/* tests/support/permuted.h - the same model plain and permuted, in one process: what developer, server and user do, without
 * their sockets.
 *
 * Data flow   DIR/plain -> protect -> DIR/out/package -> net; ids -> rows (-> first layers) -> gather_cols -> forward -> scatter_cols (-> head).
 * Shapes      letters of model/shape.h; outputs as those of tests/support/plain.h.
 * Errors      those of model/, model_dev/ and engine/.
 * Memory      permuted_open gives; permuted_close releases.
 * Secrets     fixed seeds, tests and benches only.
 */
#ifndef STIP_TESTS_SUPPORT_PERMUTED_H
#define STIP_TESTS_SUPPORT_PERMUTED_H

#include "permute/gather.h"
#include "permute/gauge.h"
#include "tests/support/plain.h"
#include "tests/support/protected.h"
#include "user/local.h"

struct permuted {
    struct plain plain;    /* embeds, and holds the head when it stays with the user */
    struct checkpoint *cp; /* the package */
    struct net *net;       /* what the server has */
    struct kvcache *kv;
    struct scratch *scratch;
    struct keyset *keys;
    struct perm residual, output;
    bool head_user;
    struct net *first;     /* the user's layers and their cache; NULL without */
    struct local *local;
    struct gauge_end turn; /* profile gauge; walk.n 0 without */
    float *x_p, *y_p, *hidden;
    void *work; /* for head_apply; NULL with the head on the server */
};

/* Protects DIR/plain into DIR/out (replacing one that is there) and opens both. head, dtype: as protect's, NULL is its default. */
MUST_CHECK int permuted_open(struct permuted *out, const char *dir, const char *head, const char *dtype, int cap, struct err *err);
/* The same with any options of protect but its paths, key and signer. */
MUST_CHECK int permuted_open_as(struct permuted *out, const char *dir, const struct protect_opts *how, int cap, struct err *err);
/* The same with the first layers on the user. */
MUST_CHECK int permuted_open_local(struct permuted *out, const char *dir, const char *head, const char *dtype, int layers, int cap,
                                   struct err *err);
void permuted_close(struct permuted *p);
/* As plain_append: the outputs come back in plain order. */
MUST_CHECK int permuted_append(struct permuted *p, const int32_t *ids, const int32_t *types, int T, int out_n, float *out,
                               struct err *err);
/* As plain_image. */
MUST_CHECK int permuted_image(struct permuted *p, const float *pixels, float *out, struct err *err);
/* Forgets all tokens of both. */
void permuted_restart(struct permuted *p);

#endif
