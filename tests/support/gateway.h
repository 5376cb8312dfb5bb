/* tests/support/gateway.h - what tests of the gateway ask it, and what they read out of its answers.
 *
 * Data flow   request -> web_call -> status, JSON, events, metrics -> test.
 * Units       milliseconds.
 * Errors      what a test does not ask for (another status, a broken event) fails it.
 * Memory      documents are the caller's (json_free), the text of a struct heard too (buf_free).
 * Secrets     of a test.
 */
#ifndef STIP_TESTS_SUPPORT_GATEWAY_H
#define STIP_TESTS_SUPPORT_GATEWAY_H

#include "base/buf.h"
#include "tests/support/web.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define TURN "<|user|>%s<|end|><|assistant|>"
#define CHAT "/v1/chat/completions"
#define TEXT "/v1/completions"
#define GREEDY "\"temperature\":0,"
#define SAY(text) "\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]"

/* The demo model with its head at the user, and a gateway that knows its turns. */
void gateway_both_open(struct trio *t, struct gateway *g, const char *model);
void gateway_both_close(struct trio *t, struct gateway *g);
/* A POST that is answered with 200. */
struct json_doc *gateway_ask(const struct gateway *g, const char *path, const char *body);
int gateway_status(const struct gateway *g, const char *path, const char *headers, const char *body);
/* Of a whole answer: its first choice, and that one's text. */
const struct json *gateway_choice(const struct json_doc *doc);
const char *gateway_answer(const struct json_doc *doc);
/* The number of stip_gateway_NAME; and waiting, as long as it takes, until it has a value. */
double gateway_metric(const struct gateway *g, const char *name);
void gateway_wait_metric(const struct gateway *g, const char *name, double value);

/* A stream, put together. */
struct heard {
    struct buf text; /* with a NUL */
    char finish[32];
    size_t chunks, entries; /* with text; log-probabilities */
    double tokens;          /* of usage, -1: none came */
    bool role, done, error;
};
/* Every event must be one line of valid JSON in valid UTF-8. */
void heard_read(const struct web *w, struct heard *h);
/* Asks for a stream, which must come to its end. */
void gateway_stream(const struct gateway *g, const char *path, const char *body, struct heard *h);

#endif
