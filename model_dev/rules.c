#include "model_dev/rules.h"

#include <stddef.h>

#define NORM "the gain of a residual column moves with it"
#define TO_RESIDUAL "added to the residual, so in its order"

/* clang-format off */
static const struct rule rules[] = {
    {ROLE_ATTN_NORM_W,    HEAD_NONE, KEY_RESIDUAL, KEY_NONE,     NORM},
    {ROLE_ATTN_NORM_B,    HEAD_NONE, KEY_RESIDUAL, KEY_NONE,     NORM},
    {ROLE_MLP_NORM_W,     HEAD_NONE, KEY_RESIDUAL, KEY_NONE,     NORM},
    {ROLE_MLP_NORM_B,     HEAD_NONE, KEY_RESIDUAL, KEY_NONE,     NORM},
    {ROLE_ATTN_POST_W,    HEAD_NONE, KEY_RESIDUAL, KEY_NONE,     NORM},
    {ROLE_MLP_POST_W,     HEAD_NONE, KEY_RESIDUAL, KEY_NONE,     NORM},
    {ROLE_FINAL_NORM_W,   HEAD_NONE, KEY_RESIDUAL, KEY_NONE,     NORM},
    {ROLE_FINAL_NORM_B,   HEAD_NONE, KEY_RESIDUAL, KEY_NONE,     NORM},

    {ROLE_Q,              HEAD_NONE, KEY_QUERY,    KEY_RESIDUAL, "rows follow the query heads, columns the residual"},
    {ROLE_Q_BIAS,         HEAD_NONE, KEY_QUERY,    KEY_NONE,     "follows the query heads"},
    {ROLE_K,              HEAD_NONE, KEY_KEY,      KEY_RESIDUAL, "rows follow the groups with the dims of Q, columns the residual"},
    {ROLE_K_BIAS,         HEAD_NONE, KEY_KEY,      KEY_NONE,     "follows the groups with the dims of Q"},
    {ROLE_V,              HEAD_NONE, KEY_VALUE,    KEY_RESIDUAL, "rows follow the groups with dims of their own, columns the residual"},
    {ROLE_V_BIAS,         HEAD_NONE, KEY_VALUE,    KEY_NONE,     "follows the groups with dims of their own"},
    {ROLE_QKV,            HEAD_NONE, KEY_QKV,      KEY_RESIDUAL, "rows are Q, K and V one after the other, each by its own rule"},
    {ROLE_QKV_BIAS,       HEAD_NONE, KEY_QKV,      KEY_NONE,     "Q, K and V one after the other, each by its own rule"},
    {ROLE_QKV_HEADS,      HEAD_NONE, KEY_QKV_HEADS, KEY_RESIDUAL, "rows are Q, K and V of one head after the other, each by its own rule"},
    {ROLE_QKV_HEADS_BIAS, HEAD_NONE, KEY_QKV_HEADS, KEY_NONE,    "Q, K and V of one head after the other, each by its own rule"},
    {ROLE_Q_NORM,         HEAD_NONE, KEY_NONE,     KEY_NONE,     "one gain per dim for all heads: dims keep their places, heads move whole"},
    {ROLE_K_NORM,         HEAD_NONE, KEY_NONE,     KEY_NONE,     "one gain per dim for all heads: dims keep their places, heads move whole"},
    {ROLE_O,              HEAD_NONE, KEY_RESIDUAL, KEY_MIX,      "columns meet the heads of Q with the dims of V, rows go to the residual"},
    {ROLE_O_BIAS,         HEAD_NONE, KEY_RESIDUAL, KEY_NONE,     TO_RESIDUAL},

    {ROLE_GATE,           HEAD_NONE, KEY_FFN,      KEY_RESIDUAL, "a gate meets the up neuron of its number: both in one order"},
    {ROLE_GATE_BIAS,      HEAD_NONE, KEY_FFN,      KEY_NONE,     "follows the neurons"},
    {ROLE_GATE_UP,        HEAD_NONE, KEY_GATE_UP,  KEY_RESIDUAL, "rows are the gates, then the ups, both in one order"},
    {ROLE_ROUTER,         HEAD_NONE, KEY_EXPERTS,  KEY_RESIDUAL, "rows follow the order of the experts, columns the residual"},
    {ROLE_UP,             HEAD_NONE, KEY_FFN,      KEY_RESIDUAL, "rows follow the neurons, columns the residual"},
    {ROLE_UP_BIAS,        HEAD_NONE, KEY_FFN,      KEY_NONE,     "follows the neurons"},
    {ROLE_DOWN,           HEAD_NONE, KEY_RESIDUAL, KEY_FFN,      "columns meet the neurons, rows go to the residual"},
    {ROLE_DOWN_BIAS,      HEAD_NONE, KEY_RESIDUAL, KEY_NONE,     TO_RESIDUAL},

    {ROLE_LM_HEAD,        HEAD_LM,   KEY_OUTPUT,   KEY_RESIDUAL, "rows are tokens in an order that only users undo, columns the residual"},
    {ROLE_LM_HEAD,        HEAD_MLM,  KEY_OUTPUT,   KEY_MLM,      "rows are tokens in an order that only users undo, columns the transform"},
    {ROLE_POOL,           HEAD_NONE, KEY_POOL,     KEY_RESIDUAL, "an order of its own between residual and classifier"},
    {ROLE_POOL_BIAS,      HEAD_NONE, KEY_POOL,     KEY_NONE,     "follows the pooler"},
    {ROLE_CLASSIFY,       HEAD_NONE, KEY_OUTPUT,   KEY_POOL,     "rows are classes in an order that only users undo, columns the pooler"},
    {ROLE_CLASSIFY_ROW,   HEAD_NONE, KEY_OUTPUT,   KEY_RESIDUAL, "rows are classes in an order that only users undo, columns the residual"},
    {ROLE_CLASSIFY_BIAS,  HEAD_NONE, KEY_OUTPUT,   KEY_NONE,     "follows the classes"},
    {ROLE_MLM_DENSE,      HEAD_NONE, KEY_MLM,      KEY_RESIDUAL, "an order of its own between residual and output table"},
    {ROLE_MLM_DENSE_BIAS, HEAD_NONE, KEY_MLM,      KEY_NONE,     "follows the transform"},
    {ROLE_MLM_NORM_W,     HEAD_NONE, KEY_MLM,      KEY_NONE,     "the gain of a transform column moves with it"},
    {ROLE_MLM_NORM_B,     HEAD_NONE, KEY_MLM,      KEY_NONE,     "the bias of a transform column moves with it"},
    {ROLE_MLM_OUT_BIAS,   HEAD_NONE, KEY_OUTPUT,   KEY_NONE,     "follows the output rows"},
};
/* Profile "engine": the embeddings go out too, so the vocabulary itself is in secret order, the same for what goes in and what
 * comes out: engines feed their answers back. */
static const struct rule engine_rules[] = {
    {ROLE_TOKEN_EMBED,    HEAD_NONE, KEY_OUTPUT,   KEY_RESIDUAL, "rows are tokens in an order that only users undo, columns the residual"},
    {ROLE_POSITION_EMBED, HEAD_NONE, KEY_NONE,     KEY_RESIDUAL, "positions are counted in plain order, columns follow the residual"},
};
/* clang-format on */

const struct rule *rules_find(enum role role, enum head_kind head)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].role == role && (rules[i].head == HEAD_NONE || rules[i].head == head))
            return &rules[i];
    return NULL;
}

const struct rule *rules_engine(enum role role)
{
    for (size_t i = 0; i < sizeof engine_rules / sizeof *engine_rules; i++)
        if (engine_rules[i].role == role)
            return &engine_rules[i];
    return NULL;
}

struct key_shape rules_shape(const struct config *c)
{
    return (struct key_shape){
        .D = c->D, .H = c->H, .G = c->G, .K = c->K, .F = c->F, .outputs = config_outputs(c), .experts = c->experts,
        .rotary = c->qk_norm ? c->K : c->rotary, /* dims that keep their places */
    };
}
