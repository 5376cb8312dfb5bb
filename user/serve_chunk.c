#include "user/serve_chunk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/json.h"

static struct json_doc *begin(const struct chunk_head *h, const char *object)
{
    struct json_doc *doc = json_new_object("answer");
    struct json *root = json_node(doc);
    char context[9], fingerprint[16];
    crypto_hex(h->context, 4, context);
    (void)snprintf(fingerprint, sizeof fingerprint, "stip-%s", context);
    json_put_str(doc, root, "id", h->id);
    json_put_str(doc, root, "object", object);
    json_put_int(doc, root, "created", h->created);
    json_put_str(doc, root, "model", h->model);
    json_put_str(doc, root, "system_fingerprint", fingerprint);
    return doc;
}

static struct json_doc *begin_chunk(const struct chunk_head *h)
{
    return begin(h, h->chat ? "chat.completion.chunk" : "text_completion");
}

static struct json *put_choice(struct json_doc *doc, struct json *list, int index)
{
    struct json *c = json_put_object(doc, list, NULL);
    json_put_int(doc, c, "index", index);
    return c;
}

/* ------------------------------------------------------------------ log-probabilities */

/* The text that a token adds after the one before it; empty while a character is not complete. */
struct token_text {
    struct tokenizer_stream *stream; /* owns the text */
    const char *text;
    size_t len;
};

static struct token_text token_text(const struct chunk_head *h, int32_t previous, int32_t id)
{
    struct token_text t = {0};
    struct err err;
    if (tokenizer_stream_new(&t.stream, h->tokenizer, false, &err) != 0 ||
        tokenizer_stream_feed(t.stream, previous, &t.text, &t.len, &err) != 0 ||
        tokenizer_stream_feed(t.stream, id, &t.text, &t.len, &err) != 0 || t.len == 0) {
        t.text = "";
        t.len = 0;
    }
    return t;
}

static struct json *put_entry(struct json_doc *doc, struct json *list, const struct chunk_head *h, int32_t previous,
                              struct token_logprob l)
{
    struct json *e = json_put_object(doc, list, NULL);
    struct token_text t = token_text(h, previous, l.id);
    json_put_text(doc, e, "token", t.text, t.len);
    json_put_num(doc, e, "logprob", l.logprob);
    struct json *bytes = json_put_array(doc, e, "bytes");
    for (size_t i = 0; i < t.len; i++)
        json_put_int(doc, bytes, NULL, (unsigned char)t.text[i]);
    tokenizer_stream_free(t.stream);
    return e;
}

static void put_chat_logprobs(struct json_doc *doc, struct json *choice, const struct chunk_head *h,
                              const struct job_token *tokens, int count, int top, int32_t previous)
{
    struct json *node = json_put_object(doc, choice, "logprobs"), *list = json_put_array(doc, node, "content");
    json_put_null(doc, node, "refusal");
    for (int i = 0; i < count; previous = tokens[i++].id) {
        struct json *others = json_put_array(doc, put_entry(doc, list, h, previous, tokens[i].logprobs[0]), "top_logprobs");
        for (int k = 1; k <= top; k++)
            if (tokens[i].logprobs[k].id >= 0)
                (void)put_entry(doc, others, h, previous, tokens[i].logprobs[k]);
    }
}

/* By its text: of several with the same text the most probable comes first and stays. */
static void put_alternative(struct json_doc *doc, struct json *map, const struct chunk_head *h, int32_t previous,
                            struct token_logprob l)
{
    struct token_text t = token_text(h, previous, l.id);
    char key[256];
    (void)snprintf(key, sizeof key, "%.*s", t.len < sizeof key ? (int)t.len : 0, t.text);
    if (json_get(map, key) == NULL)
        json_put_num(doc, map, key, l.logprob);
    tokenizer_stream_free(t.stream);
}

static void put_text_logprobs(struct json_doc *doc, struct json *choice, const struct chunk_head *h,
                              const struct job_token *tokens, int count, int top, int32_t previous)
{
    struct json *node = json_put_object(doc, choice, "logprobs");
    struct json *names = json_put_array(doc, node, "tokens"), *values = json_put_array(doc, node, "token_logprobs");
    struct json *tops = json_put_array(doc, node, "top_logprobs"), *offsets = json_put_array(doc, node, "text_offset");
    for (int i = 0; i < count; previous = tokens[i++].id) {
        struct token_text t = token_text(h, previous, tokens[i].id);
        json_put_text(doc, names, NULL, t.text, t.len);
        tokenizer_stream_free(t.stream);
        json_put_num(doc, values, NULL, tokens[i].logprobs[0].logprob);
        json_put_int(doc, offsets, NULL, (int64_t)tokens[i].at);
        struct json *others = json_put_object(doc, tops, NULL);
        for (int k = 1; k <= top; k++)
            if (tokens[i].logprobs[k].id >= 0)
                put_alternative(doc, others, h, previous, tokens[i].logprobs[k]);
    }
}

static void put_logprobs(struct json_doc *doc, struct json *choice, const struct chunk_head *h, const struct job_token *tokens,
                         int count, int top, int32_t previous)
{
    if (top < 0)
        json_put_null(doc, choice, "logprobs");
    else if (h->chat)
        put_chat_logprobs(doc, choice, h, tokens, count, top, previous);
    else
        put_text_logprobs(doc, choice, h, tokens, count, top, previous);
}

/* ------------------------------------------------------------------ figures */

static void put_usage(struct json_doc *doc, const struct chunk_usage *u)
{
    struct json *node = json_put_object(doc, json_node(doc), "usage");
    json_put_int(doc, node, "prompt_tokens", u->prompt);
    json_put_int(doc, node, "completion_tokens", u->completion);
    json_put_int(doc, node, "total_tokens", u->prompt + u->completion);
}

static double per_second(int64_t n, uint64_t us)
{
    return us == 0 ? 0 : (double)n * 1e6 / (double)us;
}

static void put_figures(struct json_doc *doc, const struct job_result *r)
{
    struct json *t = json_put_object(doc, json_node(doc), "timings"), *s = json_put_object(doc, json_node(doc), "stip");
    json_put_int(doc, t, "prompt_n", r->prompt_tokens);
    json_put_num(doc, t, "prompt_ms", (double)r->prompt_us / 1e3);
    json_put_num(doc, t, "prompt_per_second", per_second(r->prompt_tokens, r->prompt_us));
    json_put_int(doc, t, "predicted_n", r->tokens);
    json_put_num(doc, t, "predicted_ms", (double)r->decode_us / 1e3);
    json_put_num(doc, t, "predicted_per_second", per_second(r->tokens > 1 ? r->tokens - 1 : 0, r->decode_us));
    json_put_int(doc, s, "bytes_up", (int64_t)r->wire.bytes_up);
    json_put_int(doc, s, "bytes_down", (int64_t)r->wire.bytes_down);
    json_put_int(doc, s, "round_trips", (int64_t)r->wire.round_trips);
    json_put_num(doc, s, "server_ms", (double)r->server_us / 1e3);
    json_put_num(doc, s, "user_ms", (double)r->user_us / 1e3);
}

/* ------------------------------------------------------------------ documents */

struct json_doc *chunk_whole(const struct chunk_head *h, const struct chunk_choice *choices, int count, int logprobs,
                             const struct chunk_usage *usage)
{
    struct json_doc *doc = begin(h, h->chat ? "chat.completion" : "text_completion");
    struct json *list = json_put_array(doc, json_node(doc), "choices");
    for (int i = 0; i < count; i++) {
        const struct chunk_choice *c = &choices[i];
        struct json *choice = put_choice(doc, list, i), *at = choice;
        const char *text = c->text.len > 0 ? (const char *)c->text.data : "";
        if (h->chat) {
            at = json_put_object(doc, choice, "message");
            json_put_str(doc, at, "role", "assistant");
        }
        json_put_text(doc, at, h->chat ? "content" : "text", text, c->text.len);
        if (h->chat)
            json_put_null(doc, at, "refusal");
        put_logprobs(doc, choice, h, c->tokens, c->count, logprobs, c->previous);
        json_put_str(doc, choice, "finish_reason", c->result.finish_reason);
    }
    put_usage(doc, usage);
    put_figures(doc, &choices[count - 1].result);
    return doc;
}

struct json_doc *chunk_role(const struct chunk_head *h, int index)
{
    struct json_doc *doc = begin_chunk(h);
    struct json *choice = put_choice(doc, json_put_array(doc, json_node(doc), "choices"), index);
    struct json *delta = json_put_object(doc, choice, "delta");
    json_put_str(doc, delta, "role", "assistant");
    json_put_str(doc, delta, "content", "");
    json_put_null(doc, choice, "logprobs");
    json_put_null(doc, choice, "finish_reason");
    return doc;
}

struct json_doc *chunk_text(const struct chunk_head *h, int index, const char *text, size_t len, const struct job_token *tokens,
                            int count, int logprobs, int32_t previous)
{
    struct json_doc *doc = begin_chunk(h);
    struct json *choice = put_choice(doc, json_put_array(doc, json_node(doc), "choices"), index);
    struct json *at = h->chat ? json_put_object(doc, choice, "delta") : choice;
    json_put_text(doc, at, h->chat ? "content" : "text", len > 0 ? text : "", len);
    put_logprobs(doc, choice, h, tokens, count, logprobs, previous);
    json_put_null(doc, choice, "finish_reason");
    return doc;
}

/* In printed JSON a quote within a string has a backslash before it: what is looked for is the member itself. */
int chunk_frame(struct chunk_frame *out, const struct chunk_head *h, int index)
{
    struct json_doc *doc = chunk_text(h, index, "", 0, NULL, 0, -1, 0);
    const char *member = h->chat ? "\"content\":\"\"" : "\"text\":\"\"";
    char *text = NULL;
    struct err err;
    int rc = json_print(doc, false, &text, &err);
    json_free(doc);
    if (rc != 0)
        return -1;
    char *value = strstr(text, member) + strlen(member) - 2;
    memmove(value, value + 2, strlen(value + 2) + 1);
    *out = (struct chunk_frame){text, (size_t)(value - text)};
    return 0;
}

void chunk_framed(const struct chunk_frame *f, const char *text, size_t len, struct buf *to)
{
    buf_put(to, f->text, f->split);
    json_quote(to, text, len);
    buf_put_str(to, f->text + f->split);
}

void chunk_frame_free(struct chunk_frame *f)
{
    free(f->text);
    *f = (struct chunk_frame){0};
}

struct json_doc *chunk_finish(const struct chunk_head *h, int index, const struct job_result *result)
{
    struct json_doc *doc = begin_chunk(h);
    struct json *choice = put_choice(doc, json_put_array(doc, json_node(doc), "choices"), index);
    if (h->chat)
        (void)json_put_object(doc, choice, "delta");
    else
        json_put_str(doc, choice, "text", "");
    json_put_null(doc, choice, "logprobs");
    json_put_str(doc, choice, "finish_reason", result->finish_reason);
    put_figures(doc, result);
    return doc;
}

struct json_doc *chunk_usage(const struct chunk_head *h, const struct chunk_usage *usage)
{
    struct json_doc *doc = begin_chunk(h);
    (void)json_put_array(doc, json_node(doc), "choices");
    put_usage(doc, usage);
    return doc;
}
