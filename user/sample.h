/* user/sample.h - from logits to the next token, on the user's machine.
 *
 * Data flow   logits [V] (un-permuted) -> bias -> frequency and presence penalty -> repetition penalty -> temperature -> top-k -> top-p -> min-p -> draw -> token id.
 * Shapes      one row of V floats per token.
 * Errors      sampler_new: memory, randomness. sampler_next: randomness; logits are finite (checked on receipt).
 * Memory      sampler_new gives and borrows opts->bias; nothing is allocated per token.
 * Secrets     reads logits and the transcript; keeps neither.
 * Source      order and meaning of the filters as in transformers' generate(); bias, frequency and presence as in the API
 *             that the gateway speaks, counting what this sampler has drawn.
 */
#ifndef STIP_USER_SAMPLE_H
#define STIP_USER_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sample_bias {
    int32_t id;
    float add; /* to the logit */
};

struct sample_opts {
    double temperature;    /* 0: greedy */
    int top_k;             /* 0: off */
    double top_p, min_p;   /* 1 and 0: off */
    double repeat_penalty; /* 1: off; over all tokens so far */
    double frequency_penalty, presence_penalty; /* 0: off; per time drawn, and once for having been drawn */
    const struct sample_bias *bias;
    int bias_count;
    uint64_t seed;
};

struct sampler;
MUST_CHECK int sampler_new(struct sampler **out, const struct sample_opts *opts, int vocab, struct err *err);
void sampler_free(struct sampler *s);
/* `history` are the n tokens so far. Logits are used as scratch. */
MUST_CHECK int sampler_next(struct sampler *s, float *logits, const int32_t *history, size_t n, int32_t *token, struct err *err);
/* Index of the largest; the first of equals. */
int32_t sample_argmax(const float *logits, int n);
/* ln of softmax(logits)[token], summed in double. */
double sample_logprob(const float *logits, int n, int32_t token);

#endif
