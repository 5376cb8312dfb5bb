/* engine/scratch.h - the buffers of one pass. Private to the engine: others see an opaque struct (engine/forward.h).
 *
 * Shapes      rows: most rows of one pass, all sequences together; outputs: most rows that the head takes at once.
 * Errors      scratch_new: memory.
 * Memory      scratch_new gives all of it, scratch_free releases; nothing below forward() allocates.
 * Secrets     rows of the last pass stay until the next one overwrites them: activations, on the server permuted ones.
 */
#ifndef STIP_ENGINE_SCRATCH_H
#define STIP_ENGINE_SCRATCH_H

struct scratch {
    int rows, outputs;
    float *x;             /* [rows,D] the residual stream */
    float *normed;        /* [rows,D] */
    float *added;         /* [rows,D] what a sublayer adds to x */
    float *qkv;           /* [rows,(H+2G)K] */
    float *mix;           /* [rows,H*K] */
    float *up;            /* [rows,F], gated [rows,2F] */
    float *gated;         /* [rows,F], gated only */
    float *routed;        /* [rows,E] weights of the experts, 0 where a row does not go; experts only */
    float *collected;      /* [rows,D] rows of one expert, and what it makes of them */
    float *fed;
    int *members;         /* [rows] which rows these are */
    float *cosine, *sine; /* [rows,rotary/2] of each row's position, rotary only */
    float *cosine_sliding, *sine_sliding; /* the same of layers with a window */
    int *sequence;        /* [rows] which of the pass's sequences a row belongs to */
    int *token;           /* [rows] and its place in that sequence */
    float *pack;          /* rows in the order of the product kernels (bytes, kept as floats for the alignment) */
    float *picked;        /* [outputs,D] */
    float *head_work;     /* for head_apply, with a head only */
    float *out;           /* [outputs, net_outputs], with a head only */
    float **target;       /* [outputs] where each picked row's output goes */
};

#endif
