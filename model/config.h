/* model/config.h - what a checkpoint's config.json says, in the terms of the forward pass.
 *
 * Data flow   config.json -> config_read -> struct config -> arch table, rules, engine, user's embedding.
 * Shapes      letters of model/shape.h.
 * Errors      names file and field; an architecture, activation, rope type or option that is not implemented is
 *             refused by its name, never guessed.
 * Memory      plain struct; labels are released by config_free.
 * Secrets     none: the configuration is public to all three parties.
 * Source      Hugging Face transformers configuration keys, spelled as versions 4 and 5 write them.
 */
#ifndef STIP_MODEL_CONFIG_H
#define STIP_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "model/shape.h"

struct arch;

enum norm_kind { NORM_RMS, NORM_LAYER };
enum act_kind { ACT_SILU, ACT_GELU, ACT_GELU_TANH, ACT_RELU, ACT_TANH };
enum position_kind { POSITION_ROPE, POSITION_LEARNED };
enum rope_kind { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_LONGROPE };
/* What stands on top of the last hidden rows. */
enum head_kind { HEAD_NONE, HEAD_LM, HEAD_CLASSIFY, HEAD_MLM };

#define CONFIG_MAX_EOS 16

#define ROPE_MAX_PAIRS 256 /* of longrope's list */

struct rope_config {
    enum rope_kind kind;
    double theta, factor;                     /* factor: linear, llama3, yarn */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double original;                          /* llama3, yarn: original_max_position_embeddings */
    double beta_fast, beta_slow;              /* yarn: turns within `original` from which on, and up to which, a dim is kept, stretched */
    bool truncate;                            /* yarn: the borders between these are whole dims */
    double stretch[ROPE_MAX_PAIRS];           /* longrope: of each pair */
    double attention_factor;                  /* cosine and sine are multiplied by it; 0: 1 */
};

struct config {
    char architecture[64]; /* "LlamaForCausalLM" */
    const struct arch *arch;
    int D, L, H, G, K, F, V, C;
    int experts, experts_used; /* feed-forward parts of each layer, and how many of them a row goes through; 0: one, without choice */
    bool renormalise;          /* the weights of the experts used are divided by their sum */
    int E;               /* columns of the embedding tables; 0: D */
    int groups;          /* sets of weights that the layers share, one after the other; 0: each layer has its own */
    int channels;          /* of an image: 1 or 3; 0: the model reads text, else it has no vocabulary and V is 0 */
    int image[2], patch[2]; /* pixels, high and wide */
    int positions;       /* longest sequence; of an image model, the one there is */
    int position_offset; /* row of the position table that the first token takes (RoBERTa: behind the padding's) */
    int type_vocab;      /* rows of the token type table, 0 for none */
    enum norm_kind norm;
    double norm_eps;
    bool post_norm; /* norms stand after the residual addition (BERT) */
    bool parallel;  /* attention and feed-forward both read the rows before the layer (GPT-NeoX) */
    bool causal;
    bool gated;                  /* feed-forward is down(act(gate x) * up x) */
    enum act_kind act, head_act; /* head_act: between the two matrices of a classifier's or masked-LM head */
    bool qkv_bias, o_bias, mlp_bias;
    enum position_kind position;
    struct rope_config rope;
    int rotary;              /* dims of a query or key head that positions turn, from the first on; 0 without rotary positions */
    bool qk_norm;            /* RMS norm of each query and key head, one gain per dim for all heads */
    struct rope_config rope_sliding; /* of layers with a window, where two_ropes */
    bool two_ropes;
    int window;                          /* of sliding layers, in tokens; 0: no layer slides */
    uint64_t sliding[SHAPE_MAX_L / 64];  /* a bit for each layer */
    double query_scale;                  /* of scores; 0: 1/sqrt(K) */
    double score_cap, logit_cap;         /* c tanh(x/c) of scores and of a language model's logits; 0: none */
    double embed_scale;                  /* of embedded rows; 0: 1 */
    bool gain_plus_one;                  /* norms multiply by 1 + gain */
    bool post_norms;                     /* what attention and feed-forward add is normed too */
    enum head_kind head;
    bool tied;      /* output rows are the token embedding table */
    bool quantised; /* a quantization_config says that the matrices of products are int8 */
    int bos, pad;   /* -1 when there is none */
    int eos[CONFIG_MAX_EOS], eos_count;
    char **labels;  /* C names, or NULL */
};

/* Reads DIR/config.json. */
MUST_CHECK int config_read(struct config *out, const char *dir, struct err *err);
/* The same from parsed JSON, for tests and for grants. */
MUST_CHECK int config_parse(struct config *out, const struct json_doc *doc, struct err *err);
void config_free(struct config *c);
/* Attention window of a layer, 0 for none. */
static inline int config_window(const struct config *c, int layer)
{
    return (c->sliding[layer / 64] >> (layer % 64) & 1) != 0 ? c->window : 0;
}
/* Rotary positions of a layer. */
static inline const struct rope_config *config_rope(const struct config *c, int layer)
{
    return c->two_ropes && config_window(c, layer) > 0 ? &c->rope_sliding : &c->rope;
}
/* Feed-forward parts of a layer. */
static inline int config_feeds(const struct config *c)
{
    return c->experts > 0 ? c->experts : 1;
}
static inline bool config_reads_images(const struct config *c)
{
    return c->channels > 0;
}
/* Patches of an image. */
static inline int config_patches(const struct config *c)
{
    return (c->image[0] / c->patch[0]) * (c->image[1] / c->patch[1]);
}
/* Output width of the head: V, C, or D without one. */
int config_outputs(const struct config *c);

#endif
