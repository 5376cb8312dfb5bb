/* model/arch.h - the architecture registry: a table tensor name -> role, shape, part.
 *
 * Data flow   config.architecture -> arch_find -> table rows -> checkpoint (names, shapes), rules (keys), engine (weights),
 *             embedding and head (user). A new architecture is a new table, never a fork of the forward pass.
 * Shapes      each tensor has an out axis and an in axis (AX_ONE for vectors), sizes from struct config.
 * Errors      none here; lookups return NULL.
 * Memory      static tables.
 * Secrets     none.
 */
#ifndef STIP_MODEL_ARCH_H
#define STIP_MODEL_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/config.h"

enum role {
    ROLE_TOKEN_EMBED, ROLE_POSITION_EMBED, ROLE_TYPE_EMBED, ROLE_EMBED_NORM_W, ROLE_EMBED_NORM_B,
    ROLE_ATTN_NORM_W, ROLE_ATTN_NORM_B, ROLE_MLP_NORM_W, ROLE_MLP_NORM_B,
    ROLE_Q, ROLE_Q_BIAS, ROLE_K, ROLE_K_BIAS, ROLE_V, ROLE_V_BIAS, ROLE_QKV, ROLE_QKV_BIAS, ROLE_O, ROLE_O_BIAS,
    ROLE_GATE, ROLE_GATE_BIAS, ROLE_UP, ROLE_UP_BIAS, ROLE_DOWN, ROLE_DOWN_BIAS,
    ROLE_FINAL_NORM_W, ROLE_FINAL_NORM_B,
    ROLE_LM_HEAD,                                      /* [V,D]; tied models store it as the token embedding */
    ROLE_POOL, ROLE_POOL_BIAS, ROLE_CLASSIFY, ROLE_CLASSIFY_BIAS,
    ROLE_MLM_DENSE, ROLE_MLM_DENSE_BIAS, ROLE_MLM_NORM_W, ROLE_MLM_NORM_B, ROLE_MLM_OUT_BIAS, /* decoder itself: ROLE_LM_HEAD */
    ROLE_QKV_HEADS, ROLE_QKV_HEADS_BIAS, ROLE_Q_NORM, ROLE_K_NORM, ROLE_GATE_UP, ROLE_ATTN_POST_W, ROLE_MLP_POST_W,
    ROLE_PATCH, ROLE_PATCH_BIAS, ROLE_CLS_TOKEN, ROLE_DISTILL_TOKEN, /* of images, at the user */
    ROLE_CLASSIFY_ROW,                                 /* [C,D]: a classifier without pooler; its bias is ROLE_CLASSIFY_BIAS */
    ROLE_ROUTER,                                       /* [E,D]; always computed in f32 */
    ROLE_EMBED_MAP, ROLE_EMBED_MAP_BIAS,               /* [D,E]: widens embedded rows; computed in f32 */
    ROLE_CLASSIFY_SECOND, ROLE_CLASSIFY_SECOND_BIAS,   /* another classifier, of the second row */
    ROLE_COUNT /* new ones stand before this: made-up weights of tests follow the number */
};

enum axis {
    AX_ONE,       /* a vector has no second axis */
    AX_D,         /* residual stream, D */
    AX_Q,         /* query heads, H*K */
    AX_KEY,       /* keys, G*K */
    AX_VALUE,     /* values, G*K */
    AX_QKV,       /* fused: query heads, then keys, then values */
    AX_QKV_HEADS, /* fused head by head: each one's query, key, value, H*3*K */
    AX_HEAD,      /* dims of one query or key head, K: shared by all heads, so never in an order of its own */
    AX_MIX,       /* attention output before O, H*K */
    AX_F,         /* feed-forward neurons */
    AX_GATE_UP,   /* fused: gates, then ups, 2F */
    AX_EXPERT,    /* experts, E */
    AX_E,         /* columns of the embedding tables, where they are narrower than the residual stream */
    AX_POOL,      /* pooler output, D numbers of another order than AX_D */
    AX_MLM,       /* masked-LM transform output, D numbers of another order */
    AX_V,         /* output vocabulary */
    AX_C,         /* classes */
    AX_PATCH,     /* numbers of one patch of an image: channel, row, column */
    AX_TOKEN, AX_POSITION, AX_TYPE, /* rows of the user's tables */
};

/* Who holds it. */
enum part { PART_EMBED /* user only */, PART_CORE /* server */, PART_HEAD /* server or user, by choice */ };

/* Dims of the stored tensor, where they are not the two axes (one of a vector). */
enum stored {
    AS_AXES,
    AS_CONV,  /* AX_PATCH is three dims: channels, high, wide */
    AS_BATCH, /* a dim of 1 in front */
};

struct arch_tensor {
    enum role role;
    enum part part;
    enum axis out, in;
    bool per_layer;       /* names hold one %d */
    bool per_expert;      /* and a second one, of the expert in the layer */
    bool conv1d;          /* stored [in,out] */
    enum stored stored;
    const char *names[3]; /* accepted names, the first is the one written; without the prefix unless `absolute` */
    bool absolute;        /* the arch's prefixes do not apply */
};

struct arch {
    const char *name;      /* "LlamaForCausalLM" */
    const char *model_type; /* "llama" */
    enum head_kind head;
    const char *prefixes[3]; /* tried in order, for example "transformer.", "" */
    const struct arch_tensor *tensors; /* ends with ROLE_COUNT */
    const char *const *skip; /* glob patterns of stored buffers that carry no weights, NULL-terminated */
    /* Fills the family's fields of struct config from its own key names. */
    int (*read)(struct config *c, const struct json_doc *doc, struct err *err);
};

const struct arch *arch_find(const char *architecture); /* NULL: not implemented */
const struct arch *arch_at(size_t i);             /* NULL after the last */
/* All names, for the message that refuses one. */
const char *arch_names(void);
/* Which of the stored layers serves this one: another, where layers share weights. */
int arch_stored_layer(const struct config *c, int layer);
/* The table row, or NULL when this model has no such tensor (for example a bias that the config leaves out). */
const struct arch_tensor *arch_tensor(const struct config *c, enum role role);
/* How many tensors of this row the model has: one, L, or L * E with expert e of layer l as number l * E + e. */
int arch_count(const struct config *c, const struct arch_tensor *t);
/* How many of a per-layer row are in the layers before `layer`; 0 for other rows. */
int arch_below(const struct config *c, const struct arch_tensor *t, int layer);
/* True if the model that c describes has this tensor (conditions on biases, head, tying). */
bool arch_present(const struct config *c, const struct arch_tensor *t);
const char *arch_role_name(enum role role);
/* The stored shape that config.json asks for; gives the rank. */
int arch_shape(const struct config *c, const struct arch_tensor *t, uint64_t dim[4]);
/* Rows that an answer of a classifier is made of: 1, or with ROLE_CLASSIFY_SECOND 2. */
int arch_answer_rows(const struct config *c);
int64_t arch_axis_size(const struct config *c, enum axis axis);

#endif
