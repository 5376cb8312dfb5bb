/* user/generate.h - the loop of private generation; how the data flows through this project reads here.
 *
 * Data flow   text -pretok-> tokenizer -> ids -embed-> x [T,D] -seal-> x_p -msg_rows-> |wire| -> forward (kernels) -> y_p
 *             -msg_out-> |wire| -unseal-> y -head-> logits -sample-> id -> text
 *             With speculation T is 1 + k, and as many ids come out as the guesses were right: user/speculate.h.
 * Units       tokens.
 * Errors      prompt that does not fit, empty prompt of a model without a start token, wire errors, unknown tokens.
 * Memory      results are released by generate_free.
 * Secrets     prompt, tokens and text are the user's; nothing is logged.
 */
#ifndef STIP_USER_GENERATE_H
#define STIP_USER_GENERATE_H

#include <stdbool.h>

#include "user/sample.h"
#include "user/session.h"
#include "user/speculate.h"

struct generated;

struct generate_opts {
    int max_tokens;
    struct sample_opts sample;
    int logprobs;     /* most probable alternatives to report per token; -1: none, 0: the chosen one only */
    bool ignore_eos;  /* go on until max_tokens (for measurements) */
    /* NULL: one token per round trip. Else the session needs 1 + speculate_most outputs; what it learns serves the next call too. */
    struct speculate *speculate;
    /* Called with each new piece of text (may be NULL). */
    void (*piece)(void *arg, const char *text, size_t len);
    /* Called after each token (and its piece), with all so far; false ends the generation as "cancelled". May be NULL. */
    bool (*token)(void *arg, const struct generated *so_far);
    /* With an engine of others, asked now and then while nothing comes; false ends it as "cancelled". May be NULL. */
    bool (*wanted)(void *arg);
    void *arg;
};

struct token_logprob {
    int32_t id;
    double logprob;
};

struct generated {
    int32_t *tokens;
    int count, prompt_count;
    const char *finish_reason; /* "stop", "length" or "cancelled" */
    int32_t stop_token;        /* the end token that was drawn, -1 for the others; not among tokens */
    char *text;
    size_t text_len;
    struct token_logprob *logprobs; /* [count][1 + logprobs]: the chosen one first; NULL if not asked */
    uint64_t prompt_us, decode_us;  /* wall time of the prefill and of all later steps */
    int drafted, accepted;          /* guesses that were sent, and that became tokens */
};

/* Generates on an open session after `prompt` (which is appended to what the session holds). `context` are all tokens of the
 * session so far, for penalties; it ends with the prompt. */
MUST_CHECK int generate(struct generated *out, struct session *s, const struct grant *g, const int32_t *context, int context_count,
                        int prompt_count, const struct generate_opts *opts, struct err *err);
void generate_free(struct generated *g);

/* Text to ids as this model starts a text; refuses an empty result. Appends to *ids. */
MUST_CHECK int generate_prompt(const struct grant *g, const char *text, size_t len, bool first, struct token_ids *ids,
                               struct err *err);

#endif
