/* tests/support/synth.h - checkpoints of random weights, of any architecture and shape that model/arch.c knows.
 *
 * Data flow   architecture + shape + seed -> DIR/config.json + DIR/model.safetensors (images: + DIR/preprocessor_config.json).
 * Shapes      letters of model/shape.h; fields left 0 take the value said beside them.
 * Units       matrices with variance 1/in, so that activations stay of order one; norm gains in [0.5,1.5]; biases in
 *             [-0.3,0.3]. A value depends on seed, role, layer and place only: the same model in another dtype, under other
 *             names or untied-with-equal-tables is the same model.
 * Errors      unknown architecture, a config that config_parse refuses, disk, memory.
 * Memory      streams; gives nothing.
 * Secrets     none.
 */
#ifndef STIP_TESTS_SUPPORT_SYNTH_H
#define STIP_TESTS_SUPPORT_SYNTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/config.h"
#include "model/dtype.h"

struct synth_shape {
    int D, H, L, V;
    int G;           /* 0: H */
    int K;           /* 0: D/H */
    int F;           /* 0: 4 D */
    int positions;   /* 0: 512 */
    int classes;     /* 0: 2; classifiers only */
    int image, wide, patch, channels; /* ViT, DeiT: 0: 32 pixels a side, as high as wide, 8, 3 */
    bool no_qkv_bias;                 /* ViT, DeiT */
    bool qkv_bias;   /* Llama, Qwen3: biases of q, k, v and o; the other families have theirs always */
    double partial;  /* Phi-3, GPT-NeoX: part of a head that positions turn, 0: the family's own */
    int experts, experts_used; /* Mixtral, Qwen3-MoE; 0: 5 and 2 */
    bool renormalise;          /* Qwen3-MoE: norm_topk_prob */
    int groups;      /* ALBERT: sets of weights that the layers share, 0: 1 */
    bool sequential; /* GPT-NeoX: feed-forward after attention, not beside it */
    bool mlp_bias;   /* Llama */
    bool untied;
    bool same_tables;        /* untied: the head's table holds the token embedding's values */
    bool head_only;          /* tied: the one table is stored under the head's name */
    enum dtype dtype;        /* DTYPE_F32 is 0 */
    const char *act;         /* Hugging Face name, NULL: the family's own */
    struct rope_config rope; /* theta 0: 10000; longrope: the lists are made up */
    bool rope_v5;            /* written the way transformers 5 does, as rope_parameters */
    int window, window_from; /* Mistral, Qwen2; window 0: none */
    int prefix, alias;       /* which of the accepted name prefixes and spellings */
    int bos, eos;            /* 0: none */
    unsigned without;        /* CHECKPOINT_ parts that are left out */
};

MUST_CHECK int synth_checkpoint(const char *dir, const char *architecture, const struct synth_shape *shape, uint64_t seed,
                                struct err *err);
/* Random pixels in [-1,1), as if prepared. */
void synth_pixels(float *pixels, size_t n, uint64_t seed);
/* Random token ids below V. */
void synth_ids(int32_t *ids, int n, int V, uint64_t seed);

#endif
