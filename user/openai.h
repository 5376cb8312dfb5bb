/* user/openai.h - requests of the OpenAI API: bytes in, a checked struct or an error in OpenAI's shape out. No I/O, no model.
 *
 * Data flow   body -> openai_parse -> struct openai_request -> user/serve_answer.c; struct openai_error -> JSON.
 * Units       bytes, tokens; probabilities and penalties as the API has them.
 * Errors      openai_parse fills an openai_error: status, message, and the name of the field in `param`. A field that would
 *             change the answer and is not implemented is refused by name; unknown ones are ignored. docs/GATEWAY.md lists them.
 * Memory      openai_parse fills, openai_request_free releases; strings are borrowed from the request's document.
 * Secrets     requests are prompts: messages of errors go back to whoever asked and nowhere else.
 * Source      OpenAI API reference (chat completions, completions, embeddings); llama.cpp's server for tokenize, detokenize and
 *             apply-template.
 */
#ifndef STIP_USER_OPENAI_H
#define STIP_USER_OPENAI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "user/sample.h"

#define OPENAI_STOP_MAX 4
#define OPENAI_TOP_MAX 20
#define OPENAI_INPUTS_MAX 256 /* prompts or texts in one request */

enum openai_kind { OPENAI_CHAT, OPENAI_COMPLETION, OPENAI_EMBEDDINGS, OPENAI_TOKENIZE, OPENAI_DETOKENIZE, OPENAI_TEMPLATE };

struct openai_error {
    int status;       /* of HTTP */
    const char *type; /* static */
    const char *code; /* static, NULL: null */
    char param[64];   /* "": null */
    char message[1024];
};

struct openai_message {
    const char *role; /* "system", "developer", "user" or "assistant" */
    char *content;    /* text parts of a list joined */
};

/* A text, or token ids (then text is NULL). */
struct openai_input {
    const char *text;
    int32_t *ids;
    size_t n;
};

struct openai_request {
    struct json_doc *doc;
    const char *model; /* NULL: not said */
    struct openai_message *messages;
    size_t message_count;
    struct openai_input *inputs;
    size_t input_count;
    bool stream, include_usage;
    int64_t max_tokens;        /* 0: not said */
    struct sample_opts sample; /* its bias is owned here */
    bool seeded;
    const char *stop[OPENAI_STOP_MAX];
    int stop_count;
    int logprobs;       /* alternatives per token, -1: none */
    bool base64;        /* embeddings */
    int64_t dimensions; /* 0: not said */
    bool special;       /* tokenize: with the tokens that the model puts around a text */
    bool trace;         /* chat: keep what the server saw for the page */
};

/* 0, or -1 with *e filled. */
int openai_parse(struct openai_request *out, enum openai_kind kind, const char *body, size_t len, struct openai_error *e);
void openai_request_free(struct openai_request *r);

/* -1, so that `return openai_fail(...)` reads as one step. Status 400 is an invalid_request_error, others a server_error. */
int openai_fail(struct openai_error *e, int status, const char *code, const char *param, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* A failure of this program in the API's terms: input 400, peer 503, not authorised 502, internal 500. */
int openai_from_err(struct openai_error *e, const struct err *err);
/* {"error": {...}}; free(). NULL when out of memory. */
char *openai_error_text(const struct openai_error *e);

#endif
