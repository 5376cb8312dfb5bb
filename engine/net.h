/* engine/net.h - a network in memory, ready for forward().
 *
 * Data flow   checkpoint (plain or permuted: the engine cannot tell) -> weights packed for the kernels, fused and transposed once.
 * Shapes      letters of model/shape.h. Linear weights [out,in]; q, k, v fused to one [H*K + 2*G*K, D] matrix; gate and
 *             up fused to [2F, D].
 * Units       `compute` says how products are done (model/compute.h). bf16 tensors stay two bytes in memory whatever it is.
 * Errors      memory, missing part, NaN or infinity (tensor named).
 * Memory      net_load gives; immutable afterwards, so any number of threads may read it.
 * Secrets     holds what it is given. On the server that is permuted weights only.
 */
#ifndef STIP_ENGINE_NET_H
#define STIP_ENGINE_NET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "engine/weights.h"
#include "model/checkpoint.h"

struct linear {
    struct weights w; /* [out,in] */
    float *b;         /* [out] or NULL */
};

struct norm {
    float *w, *b; /* b NULL for RMS */
};

struct expert {
    struct linear up, down;
};

struct net_layer {
    struct norm attn_norm, mlp_norm;
    struct norm q_norm, k_norm; /* w NULL: none */
    struct norm attn_post, mlp_post; /* of what is added; w NULL: none */
    struct linear qkv, o;
    struct linear up;   /* gated: gate rows first, then up rows, [2F,D] */
    struct linear down;
    struct expert *experts; /* config.experts of them in place of up and down, or NULL */
    struct linear router;   /* [E,D] in f32, with experts only */
};

/* What stands on top of the last hidden rows; on the server, or on the user with `head: user`. */
struct head {
    enum head_kind kind;
    struct linear out;   /* [V,D] or [C,D] */
    struct linear dense; /* pooler (tanh) or masked-LM transform */
    struct norm norm;    /* masked-LM transform */
};

struct net {
    struct config config; /* labels stay with the checkpoint */
    struct net_layer *layers;
    struct norm final_norm; /* w NULL when the model has none (post-norm) */
    struct head *head;      /* NULL: outputs are the final hidden rows */
    double *rope;           /* [rotary/2] radians per position, NULL without rotary positions */
    double *rope_sliding;   /* the same of layers with a window, NULL: as the others */
};

/* head: load the head too (the checkpoint must have it). */
MUST_CHECK int net_load(struct net **out, const struct checkpoint *cp, bool head, enum compute compute, struct err *err);
/* The first `layers` layers alone, without final norm and head, for a user who runs them: outputs are the rows that enter the
 * next layer. Only those layers have to be in the checkpoint. */
MUST_CHECK int net_load_first(struct net **out, const struct checkpoint *cp, int layers, enum compute compute, struct err *err);
void net_free(struct net *net);
/* Bytes that net_load will take, to refuse before loading. */
size_t net_bytes(const struct checkpoint *cp, bool head, enum compute compute);
/* Width of one output row: V, C (two classifiers: 2 C) or D. */
int net_outputs(const struct net *net);
/* The norm of this model's kind over n rows of D; y may be x. */
void norm_apply(const struct config *c, const struct norm *norm, float *y, const float *x, int n);

/* Loaders that net_load and head_load share. `roles` are stacked from top to bottom, all biased or none; the tensors must be
 * there. On error *out is left empty. */
MUST_CHECK int linear_load(struct linear *out, const struct checkpoint *cp, enum compute compute, const enum role *roles,
                           const enum role *biases, int count, int layer, struct err *err);
/* Bytes of weights and biases that linear_load, head_load will take. */
size_t linear_forecast(const struct checkpoint *cp, enum compute compute, const enum role *roles, const enum role *biases, int count,
                       int layer);
size_t head_forecast(const struct checkpoint *cp, enum compute compute);
/* y = x W^T + b. work: matmul_work_bytes. */
void linear_apply(const struct linear *l, float *y, const float *x, int rows, void *work);
size_t linear_work_bytes(const struct linear *l, int rows);
void linear_free(struct linear *l);
/* b ROLE_COUNT: an RMS norm, whatever the model's kind is. */
MUST_CHECK int norm_load(struct norm *out, const struct checkpoint *cp, enum role w, enum role b, int layer, struct err *err);
void norm_free(struct norm *n);

MUST_CHECK int head_load(struct head **out, const struct checkpoint *cp, enum compute compute, struct err *err);
void head_free(struct head *head);
/* hidden [n,D] (plain or permuted) -> out [n, V or C; two classifiers: 2 C]; a model without head gives its rows as they are, [n,D].
 * work: head_work_bytes(head, n), 64-byte aligned. A classifier reads pooled
 * rows: the caller gives the first row of each sequence. */
void head_apply(const struct config *c, const struct head *head, const float *hidden, int n, void *work, float *out);
/* An image's classes from its n = arch_answer_rows rows [n, n * C]: of row r the logits of classifier r, averaged. */
void head_average(const struct config *c, const float *rows, float *out);
size_t head_work_bytes(const struct head *head, int n);
/* Such a buffer; free(). */
MUST_CHECK int head_work_new(void **out, const struct head *head, int n, struct err *err);

#endif
