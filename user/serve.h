/* user/serve.h - the gateway: an OpenAI API on this machine, whose answers come from a server that cannot read them.
 *
 * Data flow   HTTP (transport/http.h) -> openai_parse -> prompt ids -> jobs (user/serve_job.h) -> JSON or server-sent events -> HTTP.
 *             serve.c: start, routes, small endpoints. serve_answer.c: completions. serve_embed.c: embeddings.
 *             serve_prompt.c: messages to a prompt. serve_metrics.c: counters.
 * Units       tokens, microseconds.
 * Errors      each request its own, in OpenAI's shape; a server that is down costs the requests that need it.
 * Memory      one struct serve for the process; requests borrow it.
 * Secrets     prompts and answers pass through in memory: never logged, never on disk, not in metrics.
 *
 * Thread      handlers run in many threads at once; struct serve does not change after the start, but for its atomics.
 */
#ifndef STIP_USER_SERVE_H
#define STIP_USER_SERVE_H

#include <stdatomic.h>

#include "user/chat_template.h"
#include "transport/http.h"
#include "user/openai.h"
#include "user/serve_pool.h"
#include "user/serve_view.h"

enum serve_route {
    SERVE_CHAT,
    SERVE_COMPLETIONS,
    SERVE_EMBEDDINGS,
    SERVE_MODELS,
    SERVE_TOKENS,
    SERVE_PAGE,
    SERVE_OTHER,
    SERVE_ROUTES
};

struct serve_metrics {
    atomic_ullong requests[SERVE_ROUTES][3]; /* answered 2xx, 4xx, 5xx */
    atomic_ullong prompt_tokens, tokens, cancelled, stream_errors;
    atomic_ullong prompt_us, decode_us, server_us, user_us; /* summed over answers */
    atomic_int running;
};

struct serve {
    struct setup set;
    struct pool *pool;
    struct views *views;
    const char *model;              /* how clients call it */
    struct chat_template *template; /* the model's own, NULL when it has none or chat_turn is set */
    const char *turn;               /* chat_turn, NULL when it is not set */
    int max_tokens;                 /* of an answer whose request does not say */
    int stop;                       /* eventfd: readable when the gateway ends */
    int64_t started;
    struct serve_metrics metrics;
};

/* ------------------------------------------------------------------ replies, counted */
void serve_fail(struct serve *s, struct http_request *r, enum serve_route route, const struct openai_error *e);
/* Prints and frees the document. */
void serve_json(struct serve *s, struct http_request *r, enum serve_route route, struct json_doc *doc);
void serve_count(struct serve *s, enum serve_route route, int status);

/* ------------------------------------------------------------------ endpoints */
void serve_answer(struct serve *s, struct http_request *r, enum openai_kind kind);
void serve_embed(struct serve *s, struct http_request *r);
/* Prometheus text; free(). NULL when out of memory. */
char *serve_metrics_text(struct serve *s);

/* ------------------------------------------------------------------ prompts */
/* The one place where a request's messages become a text. Gives it (free()). -1 with *e filled. */
int serve_prompt_text(const struct serve *s, const struct openai_request *req, char **text, size_t *len, struct openai_error *e);
/* Token ids of a request's messages or of its i-th input; appends to *ids. -1 with *e filled. */
int serve_prompt_ids(const struct serve *s, const struct openai_request *req, size_t i, struct token_ids *ids,
                     struct openai_error *e);
/* 404 for a model that is not here. */
int serve_check_model(const struct serve *s, const struct openai_request *req, struct openai_error *e);

#endif
