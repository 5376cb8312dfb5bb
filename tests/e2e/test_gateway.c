/* stip-user serve in front of three real processes: what clients get, what is refused, what happens when one side goes away. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "engine/embed.h"
#include "model/checkpoint.h"
#include "tests/support/tempdir.h"
#include "tests/support/web.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define TURN "<|user|>%s<|end|><|assistant|>"
#define CHAT "/v1/chat/completions"
#define TEXT "/v1/completions"
#define GREEDY "\"temperature\":0,"
#define SAY(text) "\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]"

TestSuite(gateway, .timeout = 280);

static void both_open(struct trio *t, struct gateway *g)
{
    trio_open(t, DEMO_LM, "user");
    gateway_open(g, t, SHELL_ARGV("--turn", TURN));
}

static void both_close(struct trio *t, struct gateway *g)
{
    cr_expect_eq(gateway_close(g), 0);
    trio_close(t);
}

static struct json_doc *ask(const struct gateway *g, const char *path, const char *body)
{
    struct web w;
    web_call(g->port, path, "", body, &w);
    cr_assert_eq(w.status, 200, "%s %s: %d %s", path, body, w.status, w.body);
    cr_expect(w.whole);
    struct json_doc *doc = web_json(&w);
    web_free(&w);
    return doc;
}

static const struct json *first_choice(const struct json_doc *doc)
{
    return json_first(json_get(json_root(doc), "choices"));
}

static const char *answer_of(const struct json_doc *doc)
{
    const struct json *c = first_choice(doc), *m = json_get(c, "message");
    const char *text = json_string(m == NULL ? json_get(c, "text") : json_get(m, "content"));
    cr_assert_not_null(text);
    return text;
}

/* The metric's number. */
static double metric(const struct gateway *g, const char *name)
{
    struct web w;
    char line[128];
    web_call(g->port, "/metrics", "", NULL, &w);
    (void)snprintf(line, sizeof line, "\nstip_gateway_%s ", name);
    const char *at = w.status == 200 ? strstr(w.body, line) : NULL;
    cr_assert_not_null(at, "no metric %s: %d %s", name, w.status, w.body);
    double value = strtod(at + strlen(line), NULL);
    web_free(&w);
    return value;
}

static void wait_metric(const struct gateway *g, const char *name, double value, int ms)
{
    uint64_t end = clock_ms() + (uint64_t)ms;
    while (metric(g, name) != value && clock_ms() < end)
        (void)usleep(20000);
    cr_expect_eq(metric(g, name), value, "%s is %g, expected %g", name, metric(g, name), value);
}

/* ------------------------------------------------------------------ streams */

struct heard {
    struct buf text;
    char finish[32];
    size_t chunks, entries; /* with text; log-probabilities */
    double tokens;          /* of usage, -1: none came */
    bool role, done, error;
};

/* Every event is one line of valid JSON in valid UTF-8. */
static void listen_to(const struct web *w, struct heard *h)
{
    *h = (struct heard){.tokens = -1};
    buf_init(&h->text, 1 << 20);
    cr_assert_eq(w->status, 200, "%d %s", w->status, w->body);
    for (char *line = w->body, *end; (end = strstr(line, "\n\n")) != NULL; line = end + 2) {
        struct json_doc *doc;
        struct err err;
        cr_assert(strncmp(line, "data: ", 6) == 0 || line[0] == ':', "%.80s", line);
        if (line[0] == ':')
            continue;
        cr_expect_not(h->done, "something after [DONE]");
        if (strncmp(line + 6, "[DONE]", 6) == 0) {
            h->done = true;
            continue;
        }
        cr_assert_eq(json_parse(&doc, line + 6, (size_t)(end - line) - 6, false, "event", &err), 0, "%s", err.text);
        const struct json *root = json_root(doc), *c = first_choice(doc), *delta = json_get(c, "delta");
        const char *text = json_string(delta == NULL ? json_get(c, "text") : json_get(delta, "content"));
        const char *finish = json_string(json_get(c, "finish_reason"));
        h->error = h->error || json_get(root, "error") != NULL;
        h->role = h->role || json_string(json_get(delta, "role")) != NULL;
        if (text != NULL && text[0] != '\0') {
            buf_put_str(&h->text, text);
            h->chunks++;
        }
        h->entries += json_count(json_get(json_get(c, "logprobs"), "content"));
        if (finish != NULL)
            (void)snprintf(h->finish, sizeof h->finish, "%s", finish);
        if (!json_is_null(json_get(root, "usage")))
            h->tokens = json_number(json_get(json_get(root, "usage"), "completion_tokens"));
        json_free(doc);
    }
    buf_put8(&h->text, 0);
}

static void stream(const struct gateway *g, const char *path, const char *body, struct heard *h)
{
    struct web w;
    web_call(g->port, path, "", body, &w);
    listen_to(&w, h);
    cr_expect(w.whole, "the stream was cut");
    web_free(&w);
}

/* ------------------------------------------------------------------ the answer is the model's */

static struct json_doc *generated(const struct trio *t, const char *const words[])
{
    struct shell s;
    trio_user(t, &s, words);
    struct json_doc *doc = shell_json(&s);
    shell_free(&s);
    return doc;
}

/* Mutation: a template without its end token, a sampler that is not seeded, text held back and lost at the end, a chunk twice. */
Test(gateway, streamed_and_whole_answers_are_those_of_generate)
{
    struct trio t;
    struct gateway g;
    struct heard h;
    both_open(&t, &g);
    struct json_doc *expected =
        generated(&t, SHELL_ARGV("generate", "--prompt", "<|user|>Tell me a story about a fox and a lantern.<|end|><|assistant|>",
                                 "--max-tokens", "48", "--json"));
    const char *text = json_string(json_get(json_root(expected), "text"));
    struct json_doc *whole = ask(&g, CHAT, "{\"model\":\"stip\"," GREEDY "\"max_tokens\":48," SAY("Tell me a story about a fox and a lantern.") "}");
    cr_expect_str_eq(answer_of(whole), text);
    cr_expect_str_eq(json_string(json_get(first_choice(whole), "finish_reason")), "length");
    cr_expect_eq(json_number(json_get(json_get(json_root(whole), "usage"), "completion_tokens")), 48);
    cr_expect_eq(json_number(json_get(json_get(json_root(whole), "usage"), "prompt_tokens")),
                 (double)json_count(json_get(json_root(expected), "prompt_tokens")));
    json_free(whole);
    stream(&g, CHAT,
           "{\"model\":\"stip\"," GREEDY "\"max_completion_tokens\":48,\"stream\":true,\"stream_options\":{\"include_usage\":true}," SAY(
               "Tell me a story about a fox and a lantern.") "}",
           &h);
    cr_expect_str_eq((const char *)h.text.data, text);
    cr_expect_str_eq(h.finish, "length");
    cr_expect(h.role && h.done && !h.error);
    cr_expect_eq(h.tokens, 48);
    cr_expect_gt(h.chunks, 40, "%zu chunks: tokens did not come one by one", h.chunks);
    buf_free(&h.text);
    json_free(expected);

    /* A seed draws the same in both programs; without include_usage there is none. */
    expected = generated(&t, SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", "30", "--temperature", "1", "--seed",
                                        "7", "--top-p", "0.95", "--json"));
    text = json_string(json_get(json_root(expected), "text"));
    stream(&g, TEXT, "{\"prompt\":\"Once upon a time\",\"max_tokens\":30,\"seed\":7,\"top_p\":0.95,\"stream\":true}", &h);
    cr_expect_str_eq((const char *)h.text.data, text);
    cr_expect_eq(h.tokens, -1);
    buf_free(&h.text);
    /* Token ids are a prompt too. */
    struct buf body;
    buf_init(&body, 1 << 16);
    buf_put_str(&body, "{\"max_tokens\":30,\"seed\":7,\"top_p\":0.95,\"prompt\":[");
    for (const struct json *id = json_first(json_get(json_root(expected), "prompt_tokens")); id != NULL; id = json_next(id))
        buf_printf(&body, "%s%.0f", body.data[body.len - 1] == '[' ? "" : ",", json_number(id));
    buf_put(&body, "]}", 3);
    whole = ask(&g, TEXT, (const char *)body.data);
    cr_expect_str_eq(answer_of(whole), text);
    json_free(whole);
    buf_free(&body);
    json_free(expected);
    both_close(&t, &g);
}

/* The model ends its turn itself; a talk goes on after it. */
Test(gateway, a_talk_of_several_turns_is_put_together_as_chat_does)
{
    struct trio t;
    struct gateway g;
    both_open(&t, &g);
    struct json_doc *doc = ask(&g, CHAT, "{" GREEDY SAY("What colour is the sky?") "}");
    cr_expect_str_eq(answer_of(doc), "The sky is blue.");
    cr_expect_str_eq(json_string(json_get(first_choice(doc), "finish_reason")), "stop");
    json_free(doc);
    doc = ask(&g, "/apply-template",
              "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},"
              "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"c\"},{\"type\":\"text\",\"text\":\"d\"}]}]}");
    cr_expect_str_eq(json_string(json_get(json_root(doc), "prompt")),
                     "<|user|>a<|end|><|assistant|>b<|end|><|user|>cd<|end|><|assistant|>");
    json_free(doc);
    both_close(&t, &g);
}

/* Mutation: the stop text left in, its beginning lost when it is not completed, tokens behind it in the log-probabilities. */
Test(gateway, stop_texts_end_an_answer_before_them)
{
    struct trio t;
    struct gateway g;
    struct heard h;
    both_open(&t, &g);
    struct json_doc *free_run = ask(&g, TEXT, "{\"prompt\":\"Once upon a time\"," GREEDY "\"max_tokens\":40}");
    const char *text = answer_of(free_run);
    cr_assert_gt(strlen(text), 60);
    /* Cuts through tokens: from 20 characters on, 9 long; and another that never comes, but begins like every blank. */
    char cut[32], body[512];
    (void)snprintf(cut, sizeof cut, "%.9s", text + 20);
    size_t at = (size_t)(strstr(text, cut) - text);
    (void)snprintf(body, sizeof body,
                   "{\"prompt\":\"Once upon a time\"," GREEDY "\"max_tokens\":40,\"stop\":[\" zzzz\",\"%s\"],\"logprobs\":0,\"stream\":%%s}", cut);
    for (int streamed = 0; streamed < 2; streamed++) {
        char full[600];
        (void)snprintf(full, sizeof full, body, streamed ? "true" : "false");
        if (streamed) {
            stream(&g, TEXT, full, &h);
            cr_expect_eq(h.text.len - 1, at, "'%s' of '%s'", (const char *)h.text.data, text);
            cr_expect(memcmp(h.text.data, text, at) == 0);
            cr_expect_str_eq(h.finish, "stop");
            buf_free(&h.text);
            continue;
        }
        struct json_doc *doc = ask(&g, TEXT, full);
        cr_expect(strlen(answer_of(doc)) == at && memcmp(answer_of(doc), text, at) == 0, "'%s' of '%s'", answer_of(doc), text);
        cr_expect_str_eq(json_string(json_get(first_choice(doc), "finish_reason")), "stop");
        const struct json *offsets = json_get(json_get(first_choice(doc), "logprobs"), "text_offset");
        cr_expect_gt(json_count(offsets), 2);
        for (const struct json *o = json_first(offsets); o != NULL; o = json_next(o))
            cr_expect_lt(json_number(o), (double)at, "a token from behind the stop text");
        json_free(doc);
    }
    /* What may begin a stop text is held back, and comes when the answer ends without it. */
    char last = text[strlen(text) - 1];
    cr_assert(isalpha((unsigned char)last), "choose another length: '%s'", text);
    (void)snprintf(body, sizeof body, "{\"prompt\":\"Once upon a time\"," GREEDY "\"max_tokens\":40,\"stop\":\"%c zzzz\",\"stream\":true}", last);
    stream(&g, TEXT, body, &h);
    cr_expect_str_eq((const char *)h.text.data, text);
    cr_expect_str_eq(h.finish, "length");
    buf_free(&h.text);
    json_free(free_run);
    both_close(&t, &g);
}

/* Mutation: alternatives of the wrong token, probabilities after sampling instead of the model's, bias or penalty not applied. */
Test(gateway, logprobs_bias_and_penalties_are_what_they_say)
{
    struct trio t;
    struct gateway g;
    struct heard h;
    both_open(&t, &g);
    struct json_doc *expected = generated(&t, SHELL_ARGV("generate", "--prompt", "<|user|>What colour is the sky?<|end|><|assistant|>",
                                                         "--max-tokens", "5", "--logprobs", "3", "--json"));
    struct json_doc *doc = ask(&g, CHAT, "{" GREEDY "\"max_tokens\":5,\"logprobs\":true,\"top_logprobs\":3," SAY("What colour is the sky?") "}");
    const struct json *mine = json_first(json_get(json_get(first_choice(doc), "logprobs"), "content"));
    struct buf joined;
    size_t n = 0;
    buf_init(&joined, 1 << 16);
    for (const struct json *e = json_first(json_get(json_root(expected), "logprobs")); e != NULL; e = json_next(e), mine = json_next(mine), n++) {
        cr_assert_not_null(mine);
        cr_expect_float_eq(json_number(json_get(mine, "logprob")), json_number(json_get(e, "logprob")), 1e-5);
        cr_expect_eq(json_count(json_get(mine, "top_logprobs")), 3);
        const struct json *b = json_first(json_get(e, "top"));
        for (const struct json *a = json_first(json_get(mine, "top_logprobs")); a != NULL; a = json_next(a), b = json_next(b))
            cr_expect_float_eq(json_number(json_get(a, "logprob")), json_number(json_get(b, "logprob")), 1e-5);
        buf_put_str(&joined, json_string(json_get(mine, "token")));
    }
    buf_put8(&joined, 0);
    cr_expect_eq(n, 5);
    cr_expect_str_eq((const char *)joined.data, answer_of(doc), "the tokens' texts make the answer");
    buf_free(&joined);
    json_free(doc);
    stream(&g, CHAT, "{" GREEDY "\"max_tokens\":5,\"stream\":true,\"logprobs\":true," SAY("What colour is the sky?") "}", &h);
    cr_expect_eq(h.entries, 5);
    buf_free(&h.text);

    /* The token that greedy begins with, never; then another, only. */
    double first = json_number(json_first(json_get(json_root(expected), "tokens")));
    char body[512];
    (void)snprintf(body, sizeof body, "{" GREEDY "\"max_tokens\":4,\"logit_bias\":{\"%.0f\":-100}," SAY("What colour is the sky?") "}", first);
    doc = ask(&g, CHAT, body);
    cr_expect(strncmp(answer_of(doc), "The", 3) != 0, "'%s'", answer_of(doc));
    json_free(doc);
    (void)snprintf(body, sizeof body, "{\"seed\":1,\"max_tokens\":4,\"logit_bias\":{\"%.0f\":100}," SAY("What colour is the sky?") "}", first);
    doc = ask(&g, CHAT, body);
    cr_expect_str_eq(answer_of(doc), "TheTheTheThe");
    json_free(doc);
    /* With a penalty for each time, the forced token's lead of 100 (5 of them a step) is not enough for ever: it is with none. */
    (void)snprintf(body, sizeof body,
                   "{" GREEDY "\"max_tokens\":60,\"frequency_penalty\":2,\"logit_bias\":{\"%.0f\":40}," SAY("What colour is the sky?") "}", first);
    doc = ask(&g, CHAT, body);
    const char *end = answer_of(doc);
    size_t said = 0;
    while (strncmp(end, "The", 3) == 0) {
        end += 3;
        said++;
    }
    cr_expect(said >= 5 && said < 60, "%zu times: %s", said, answer_of(doc));
    json_free(doc);
    json_free(expected);
    both_close(&t, &g);
}

/* A character of two tokens, and bytes that are no character: what comes is valid text at every moment, and the same as whole. */
Test(gateway, characters_split_over_tokens_are_never_sent_half)
{
    static const char *const forced[] = {"\xc3\xa9", "\xf0\x9f\xa6\x8a", "\xe2\x82\xac"};
    struct trio t;
    struct gateway g;
    both_open(&t, &g);
    for (size_t i = 0; i < 3; i++) {
        char body[512];
        struct heard h;
        (void)snprintf(body, sizeof body, "{\"content\":\"%s\"}", forced[i]);
        struct json_doc *ids = ask(&g, "/tokenize", body);
        const struct json *list = json_get(json_root(ids), "tokens"), *id = json_first(list);
        cr_assert_gt(json_count(list), 1, "the vocabulary has '%s' whole: choose another", forced[i]);
        /* The first byte in the prompt and then as an answer of its own, again and again. */
        for (int streamed = 0; streamed < 2; streamed++) {
            (void)snprintf(body, sizeof body, "{\"prompt\":[260,%.0f]," GREEDY "\"max_tokens\":3,\"logit_bias\":{\"%.0f\":100},\"stream\":%s}",
                           json_number(id), json_number(json_next(id)), streamed ? "true" : "false");
            if (streamed) {
                struct heard whole = h;
                stream(&g, TEXT, body, &h);
                cr_expect(h.text.len == whole.text.len && memcmp(h.text.data, whole.text.data, h.text.len) == 0);
                buf_free(&whole.text);
            } else {
                struct json_doc *doc = ask(&g, TEXT, body);
                buf_init(&h.text, 4096);
                buf_put(&h.text, answer_of(doc), strlen(answer_of(doc)) + 1);
                json_free(doc);
            }
        }
        buf_free(&h.text);
        json_free(ids);
    }
    both_close(&t, &g);
}

Test(gateway, tokens_and_embeddings_come_in_both_forms)
{
    struct trio t;
    struct gateway g;
    both_open(&t, &g);
    struct json_doc *ids = ask(&g, "/tokenize", "{\"content\":\"Once upon a time\"}");
    struct buf body;
    buf_init(&body, 4096);
    buf_put_str(&body, "{\"tokens\":[");
    for (const struct json *id = json_first(json_get(json_root(ids), "tokens")); id != NULL; id = json_next(id))
        buf_printf(&body, "%.0f%s", json_number(id), json_next(id) == NULL ? "" : ",");
    buf_put(&body, "]}", 3);
    struct json_doc *doc = ask(&g, "/detokenize", (const char *)body.data);
    cr_expect_str_eq(json_string(json_get(json_root(doc), "content")), "Once upon a time");
    json_free(doc);
    buf_free(&body);
    json_free(ids);

    struct json_doc *plain = ask(&g, "/v1/embeddings", "{\"input\":[\"a fox\",\"a lantern\"]}");
    struct json_doc *packed = ask(&g, "/v1/embeddings", "{\"input\":\"a lantern\",\"encoding_format\":\"base64\"}");
    const struct json *second = json_next(json_first(json_get(json_root(plain), "data")));
    const char *text = json_string(json_get(json_first(json_get(json_root(packed), "data")), "embedding"));
    float vector[192];
    cr_assert(text != NULL && crypto_unbase64(text, vector, sizeof vector));
    double square = 0;
    size_t d = 0;
    for (const struct json *v = json_first(json_get(second, "embedding")); v != NULL; v = json_next(v), d++) {
        cr_assert_lt(d, 192);
        cr_expect_float_eq(json_number(v), (double)vector[d], 1e-6);
        square += json_number(v) * json_number(v);
    }
    cr_expect_eq(d, 192);
    cr_expect_float_eq(square, 1, 1e-5);
    json_free(plain);
    json_free(packed);
    both_close(&t, &g);
}

/* Where the server has the head no hidden rows come back, and nothing is made up. */
Test(gateway, embeddings_of_a_model_without_them_are_refused_by_name)
{
    struct trio t;
    struct gateway g;
    struct web w;
    trio_open(&t, DEMO_LM, "server");
    gateway_open(&g, &t, SHELL_ARGV("--model", "mine"));
    web_call(g.port, "/v1/embeddings", "", "{\"input\":\"x\",\"model\":\"mine\"}", &w);
    cr_expect_eq(w.status, 400);
    cr_expect_not_null(strstr(w.body, "--head user"), "%s", w.body);
    web_free(&w);
    /* And without a chat_turn nothing says how messages become a prompt. */
    web_call(g.port, CHAT, "", "{" SAY("x") "}", &w);
    cr_expect(w.status == 400 && strstr(w.body, "no_chat_template") != NULL, "%d %s", w.status, w.body);
    web_free(&w);
    web_call(g.port, "/v1/models", "", NULL, &w);
    cr_expect_not_null(strstr(w.body, "\"id\":\"mine\""), "%s", w.body);
    web_free(&w);
    both_close(&t, &g);
}

/* ------------------------------------------------------------------ what is refused */

struct refusal {
    const char *path, *body;
    int status;
    const char *named; /* in the answer */
};

Test(gateway, requests_at_fault_are_named_and_the_next_one_is_answered)
{
    static const struct refusal list[] = {
        {CHAT, "", 400, "invalid_json"},
        {CHAT, "{\"messages\":", 400, "invalid_json"},
        {CHAT, "[1]", 400, "invalid_json"},
        {CHAT, "{\"a\":1,\"a\":2}", 400, "invalid_json"},
        {CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}", 400, "invalid_json"},
        {CHAT, "{}", 400, "\"param\":\"messages\""},
        {CHAT, "{\"messages\":[]}", 400, "\"param\":\"messages\""},
        {CHAT, "{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", 400, "messages[0].role"},
        {CHAT, "{\"messages\":[{\"role\":\"system\",\"content\":\"x\"}]}", 400, "messages[0].role"},
        {CHAT, "{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}]}", 400, "\"param\":\"messages\""},
        {CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]}", 400, "messages[0].content"},
        {CHAT, "{\"model\":\"gpt-4\"," SAY("x") "}", 404, "model_not_found"},
        {CHAT, "{\"n\":2," SAY("x") "}", 400, "\"param\":\"n\""},
        {CHAT, "{\"tools\":[{\"type\":\"function\"}]," SAY("x") "}", 400, "\"param\":\"tools\""},
        {CHAT, "{\"response_format\":{\"type\":\"json_object\"}," SAY("x") "}", 400, "\"param\":\"response_format\""},
        {CHAT, "{\"temperature\":\"hot\"," SAY("x") "}", 400, "\"param\":\"temperature\""},
        {CHAT, "{\"temperature\":-1," SAY("x") "}", 400, "\"param\":\"temperature\""},
        {CHAT, "{\"temperature\":1e999," SAY("x") "}", 400, "invalid_json"},
        {CHAT, "{\"top_p\":2," SAY("x") "}", 400, "\"param\":\"top_p\""},
        {CHAT, "{\"max_tokens\":0," SAY("x") "}", 400, "\"param\":\"max_tokens\""},
        {CHAT, "{\"max_tokens\":1.5," SAY("x") "}", 400, "\"param\":\"max_tokens\""},
        {CHAT, "{\"seed\":\"a\"," SAY("x") "}", 400, "\"param\":\"seed\""},
        {CHAT, "{\"stream\":\"yes\"," SAY("x") "}", 400, "\"param\":\"stream\""},
        {CHAT, "{\"stream_options\":1," SAY("x") "}", 400, "\"param\":\"stream_options\""},
        {CHAT, "{\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]," SAY("x") "}", 400, "\"param\":\"stop\""},
        {CHAT, "{\"stop\":[1]," SAY("x") "}", 400, "\"param\":\"stop\""},
        {CHAT, "{\"stop\":\"\"," SAY("x") "}", 400, "\"param\":\"stop\""},
        {CHAT, "{\"top_logprobs\":3," SAY("x") "}", 400, "\"param\":\"top_logprobs\""},
        {CHAT, "{\"logprobs\":true,\"top_logprobs\":21," SAY("x") "}", 400, "\"param\":\"top_logprobs\""},
        {CHAT, "{\"logit_bias\":{\"x\":1}," SAY("x") "}", 400, "\"param\":\"logit_bias\""},
        {CHAT, "{\"logit_bias\":{\"1\":101}," SAY("x") "}", 400, "\"param\":\"logit_bias\""},
        {CHAT, "{\"frequency_penalty\":3," SAY("x") "}", 400, "\"param\":\"frequency_penalty\""},
        {CHAT, "{\"presence_penalty\":true," SAY("x") "}", 400, "\"param\":\"presence_penalty\""},
        {TEXT, "{}", 400, "\"param\":\"prompt\""},
        {TEXT, "{\"prompt\":[]}", 400, "\"param\":\"prompt\""},
        {TEXT, "{\"prompt\":[1,\"a\"]}", 400, "\"param\":\"prompt\""},
        {TEXT, "{\"prompt\":[99999999]}", 400, "\"param\":\"prompt\""},
        {TEXT, "{\"prompt\":\"x\",\"echo\":true}", 400, "\"param\":\"echo\""},
        {TEXT, "{\"prompt\":\"x\",\"suffix\":\"y\"}", 400, "\"param\":\"suffix\""},
        {TEXT, "{\"prompt\":\"x\",\"best_of\":3}", 400, "\"param\":\"best_of\""},
        {"/v1/embeddings", "{\"input\":\"x\",\"encoding_format\":\"int8\"}", 400, "\"param\":\"encoding_format\""},
        {"/v1/embeddings", "{\"input\":\"x\",\"dimensions\":7}", 400, "\"param\":\"dimensions\""},
        {"/tokenize", "{}", 400, "\"param\":\"content\""},
        {"/detokenize", "{\"tokens\":[-1]}", 400, "\"param\":\"tokens\""},
        {"/v1/responses", "{}", 404, "not_found"},
        {"/v1/models", "{}", 405, "method_not_allowed"},
        {CHAT, NULL, 405, "method_not_allowed"},
        {"/v1/models/gpt-4", NULL, 404, "model_not_found"},
        {"/stip/trace?id=nobody", NULL, 404, "unknown_id"},
    };
    struct trio t;
    struct gateway g;
    struct web w;
    both_open(&t, &g);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        web_call(g.port, list[i].path, "", list[i].body, &w);
        cr_expect_eq(w.status, list[i].status, "%s %s: %d %s", list[i].path, list[i].body, w.status, w.body);
        struct json_doc *doc = web_json(&w);
        const struct json *e = json_get(json_root(doc), "error");
        cr_expect(json_string(json_get(e, "message")) != NULL && json_string(json_get(e, "type")) != NULL, "%s", w.body);
        cr_expect_not_null(strstr(w.body, list[i].named), "%s %s: %s", list[i].path, list[i].body, w.body);
        json_free(doc);
        web_free(&w);
    }
    /* Beyond the context, by one token and by far; and neutral values that clients send unasked. */
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_put_str(&body, "{\"prompt\":[");
    for (int i = 0; i < 512; i++)
        buf_printf(&body, "260%s", i == 511 ? "]}" : ",");
    buf_put8(&body, 0);
    web_call(g.port, TEXT, "", (const char *)body.data, &w);
    cr_expect(w.status == 400 && strstr(w.body, "context_length_exceeded") != NULL, "%d %s", w.status, w.body);
    web_free(&w);
    buf_free(&body);
    struct json_doc *doc = ask(&g, CHAT, "{" GREEDY "\"n\":1,\"tools\":[],\"tool_choice\":\"none\",\"response_format\":{\"type\":\"text\"},\"user\":\"u\",\"store\":false,"
                                         "\"unknown_field\":{\"a\":[1]},\"stop\":null,\"logit_bias\":{},\"seed\":-5," SAY("What colour is the sky?") "}");
    cr_expect_str_eq(answer_of(doc), "The sky is blue.");
    json_free(doc);
    both_close(&t, &g);
}

static int threads_of(pid_t pid)
{
    char path[64], line[256];
    int n = -1;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Threads: %d", &n) == 1)
            break;
    (void)fclose(f);
    return n;
}

static int status_of(const struct gateway *g, const char *path, const char *headers, const char *body)
{
    struct web w;
    web_call(g->port, path, headers, body, &w);
    int status = w.status;
    web_free(&w);
    return status;
}

/* Mutation: Host compared by prefix, origins by suffix, the key by its length, a body kept before its size is known. */
Test(gateway, strangers_large_bodies_and_idle_connections_are_bounded)
{
    struct trio t;
    struct gateway g;
    struct web w;
    trio_open(&t, DEMO_LM, "user");
    tempdir_spill(trio_path(&t, "key"), "a-long-secret\n", 14);
    cr_assert_eq(chmod(trio_path(&t, "key"), 0600), 0);
    char key[FILE_PATH_MAX];
    (void)snprintf(key, sizeof key, "%s", trio_path(&t, "key"));
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN, "--cors", "https://app.example,http://localhost:3000", "--host", "box.local", "--api-key-file", key,
                                    "--connections", "12"));
#define KEY "Authorization: Bearer a-long-secret\r\n"
    cr_expect_eq(status_of(&g, "/v1/models", KEY, NULL), 200);
    cr_expect_eq(status_of(&g, "/v1/models", "", NULL), 401);
    cr_expect_eq(status_of(&g, "/v1/models", "Authorization: Bearer a-long-secreT\r\n", NULL), 401);
    cr_expect_eq(status_of(&g, "/v1/models", "Authorization: Bearer a-long-secret2\r\n", NULL), 401);
    cr_expect_eq(status_of(&g, "/health", "", NULL), 200, "health asks for no key");
    static const struct {
        const char *host;
        int status;
    } hosts[] = {{"evil.example", 403}, {"localhost.evil.example", 403}, {"127.0.0.1.evil.example", 403}, {"", 403},         {"localhost:1", 200},
                 {"127.0.0.1", 200},    {"[::1]:7847", 200},             {"box.local:80", 200},           {"xbox.local", 403}, {"[::1]x", 403}};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char head[256];
        (void)snprintf(head, sizeof head, KEY "Host: %s\r\n", hosts[i].host);
        cr_expect_eq(status_of(&g, "/v1/models", head, NULL), hosts[i].status, "Host: %s", hosts[i].host);
    }
    static const struct {
        const char *origin;
        int status;
    } origins[] = {{"https://app.example", 200}, {"http://localhost:3000", 200}, {"https://app.example.evil", 403}, {"http://app.example", 403}, {"null", 403}};
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        char head[256], allowed[256];
        (void)snprintf(head, sizeof head, KEY "Origin: %s\r\n", origins[i].origin);
        (void)snprintf(allowed, sizeof allowed, "Access-Control-Allow-Origin: %s\r\n", origins[i].origin);
        web_call(g.port, "/v1/models", head, NULL, &w);
        cr_expect_eq(w.status, origins[i].status, "Origin: %s", origins[i].origin);
        cr_expect_eq(strstr(w.head, allowed) != NULL, w.status == 200, "Origin: %s: %s", origins[i].origin, w.head);
        web_free(&w);
    }
    web_request(g.port, "OPTIONS", CHAT, "Origin: https://app.example\r\nAccess-Control-Request-Headers: authorization,x-stainless-os\r\n", NULL, 0, &w);
    cr_expect(w.status == 204 && strstr(w.head, "x-stainless-os") != NULL, "%d %s", w.status, w.head);
    web_free(&w);

    size_t large = (size_t)100 << 20;
    char *zeros = calloc(1, large);
    cr_assert_not_null(zeros);
    web_request(g.port, "POST", CHAT, KEY, zeros, large, &w);
    cr_expect(w.status == 413 && strstr(w.body, "request_too_large") != NULL, "%d %s", w.status, w.body);
    web_free(&w);
    web_request(g.port, "POST", CHAT, KEY "Expect: 100-continue\r\n", zeros, (size_t)5 << 20, &w);
    cr_expect_eq(w.status, 413);
    web_free(&w);
    memset(zeros, ' ', (size_t)4 << 20);
    web_request(g.port, "POST", CHAT, KEY, zeros, (size_t)4 << 20, &w);
    cr_expect_eq(w.status, 400, "exactly the limit is read, and is not JSON: %d", w.status);
    web_free(&w);
    free(zeros);

    /* Half a request on each of many connections: as many threads as were allowed, and room again when they go. */
    int fds[60];
    for (size_t i = 0; i < 60; i++)
        fds[i] = web_send(g.port, "POST", CHAT, KEY "Content-Length: 100\r\n", NULL, 0);
    (void)usleep(300000);
    cr_expect_leq(threads_of(g.process.pid), 12 + 8);
    for (size_t i = 0; i < 60; i++)
        close(fds[i]);
    cr_expect_eq(status_of(&g, CHAT, KEY, "{" GREEDY SAY("What colour is the sky?") "}"), 200);
    both_close(&t, &g);
}

/* ------------------------------------------------------------------ going away */

/* The server gives this user one session: a second answer begins only if the first one's session is really gone.
 * Mutation: generate on after the client has gone, or not tell the server. */
Test(gateway, a_client_that_hangs_up_ends_its_generation_on_the_server)
{
    struct trio t;
    struct gateway g;
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX];
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open_limited(&t, model, "server", "\"user_sessions\":1");
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN, "--speculate", "off"));
    static const char long_answer[] = "{\"max_tokens\":3000,\"logit_bias\":{\"1\":-100},\"stream\":%s," SAY("Go on") "}";
    char body[256];
    for (int i = 0; i < 3; i++) {
        bool streamed = i != 1;
        (void)snprintf(body, sizeof body, long_answer, streamed ? "true" : "false");
        int fd = web_send(g.port, "POST", CHAT, "", body, strlen(body));
        if (streamed)
            cr_expect(web_until(fd, "\"content\":\"\"", 30000));
        else
            wait_metric(&g, "connections_busy", 1, 30000);
        double tokens = metric(&g, "generated_tokens_total"), trips = metric(&g, "round_trips_total");
        close(fd);
        wait_metric(&g, "cancelled_total", i + 1, 5000);
        wait_metric(&g, "connections_busy", 0, 5000);
        cr_expect_eq(metric(&g, "generated_tokens_total"), tokens, "it was generated to the end");
        trips = metric(&g, "round_trips_total") - trips;
        cr_expect_lt(trips, 1000, "%g round trips after the client had gone, or 3000 tokens take too short a time here", trips);
    }
    struct json_doc *doc = ask(&g, CHAT, "{\"max_tokens\":2," SAY("Go on") "}");
    json_free(doc);
    both_close(&t, &g);
    tempdir_remove(dir);
}

Test(gateway, a_server_that_goes_away_is_an_error_and_comes_back)
{
    struct trio t;
    struct gateway g;
    struct web w;
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX];
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open(&t, model, "server");
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN));
    static const char body[] = "{\"max_tokens\":3000,\"stream\":true,\"logit_bias\":{\"1\":-100}," SAY("Go on") "}";
    int fd = web_send(g.port, "POST", CHAT, "", body, strlen(body));
    (void)usleep(500000);
    (void)process_stop(&t.server);
    web_finish(fd, &w);
    struct heard h;
    listen_to(&w, &h);
    cr_expect(h.error && !h.done, "the stream ended without a word: %.200s", w.body);
    buf_free(&h.text);
    web_free(&w);
    web_call(g.port, CHAT, "", "{\"max_tokens\":2," SAY("Go on") "}", &w);
    cr_expect(w.status == 503 && strstr(w.head, "Retry-After") != NULL && strstr(w.body, "server_unavailable") != NULL, "%d %s", w.status, w.body);
    web_free(&w);
    cr_expect_eq(status_of(&g, "/health", "", NULL), 503);
    trio_start_server(&t, NULL);
    cr_expect_eq(status_of(&g, "/health", "", NULL), 200);
    struct json_doc *doc = ask(&g, CHAT, "{\"max_tokens\":2," SAY("Go on") "}");
    json_free(doc);
    /* An idle connection that died unseen is not the next client's trouble. */
    (void)process_stop(&t.server);
    trio_start_server(&t, NULL);
    doc = ask(&g, CHAT, "{\"max_tokens\":2," SAY("Go on") "}");
    json_free(doc);
    /* A gateway that is stopped says so to those it is talking to. */
    fd = web_send(g.port, "POST", CHAT, "", body, strlen(body));
    (void)usleep(500000);
    cr_expect_eq(gateway_close(&g), 0);
    web_finish(fd, &w);
    cr_expect_not_null(strstr(w.body, "gateway_stopping"), "%.300s", w.body);
    web_free(&w);
    trio_close(&t);
    tempdir_remove(dir);
}

/* More clients than places: all are answered, each with its own answer. Mutation: a lease given to two, answers crossed. */
Test(gateway, many_clients_at_once_get_their_own_answers)
{
    static const char *const prompts[] = {"Once upon a time", "Lily found a", "One day, a little fox", "The sun"};
    struct trio t;
    struct gateway g;
    struct web w;
    trio_open(&t, DEMO_LM, "user");
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN, "--parallel", "5"));
    char *alone[4], body[256];
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(body, sizeof body, "{\"prompt\":\"%s\"," GREEDY "\"max_tokens\":40}", prompts[i]);
        struct json_doc *doc = ask(&g, TEXT, body);
        alone[i] = strdup(answer_of(doc));
        json_free(doc);
    }
    int fds[24];
    for (size_t i = 0; i < 24; i++) {
        (void)snprintf(body, sizeof body, "{\"prompt\":\"%s\"," GREEDY "\"max_tokens\":40,\"stream\":true}", prompts[i % 4]);
        fds[i] = web_send(g.port, "POST", TEXT, "", body, strlen(body));
    }
    for (size_t i = 0; i < 24; i++) {
        struct heard h;
        web_finish(fds[i], &w);
        listen_to(&w, &h);
        cr_expect(h.done);
        cr_expect_str_eq((const char *)h.text.data, alone[i % 4]);
        buf_free(&h.text);
        web_free(&w);
    }
    cr_expect_leq(metric(&g, "connections_open"), 5);
    for (size_t i = 0; i < 4; i++)
        free(alone[i]);
    both_close(&t, &g);
}

/* ------------------------------------------------------------------ what is kept */

/* Mutation: log the body of a request that could not be read. */
Test(gateway, nothing_of_a_prompt_or_an_answer_is_logged_or_counted)
{
    struct trio t;
    struct gateway g;
    struct web w;
    size_t len;
    trio_open(&t, DEMO_LM, "user");
    cr_assert_eq(setenv("STIP_LOG", "debug", 1), 0);
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN));
    (void)unsetenv("STIP_LOG");
    web_call(g.port, CHAT, "", "{" GREEDY SAY("canary-prompt-4711 What colour is the sky?") "}", &w);
    cr_expect_eq(w.status, 200);
    web_free(&w);
    web_call(g.port, CHAT, "", "{\"canary-prompt-4711", &w);
    web_free(&w);
    web_call(g.port, CHAT, "", "{\"model\":\"canary-prompt-4711\"," SAY("canary-prompt-4711") "}", &w);
    web_free(&w);
    web_call(g.port, "/canary-prompt-4711", "X-Canary: canary-prompt-4711\r\n", NULL, &w);
    web_free(&w);
    web_call(g.port, "/metrics", "", NULL, &w);
    cr_expect_null(strstr(w.body, "canary"));
    cr_expect_not_null(strstr(w.body, "stip_gateway_requests_total{endpoint=\"chat\",status=\"2xx\"} 1\n"), "%s", w.body);
    cr_expect_not_null(strstr(w.body, "stip_gateway_requests_total{endpoint=\"chat\",status=\"4xx\"} 2\n"), "%s", w.body);
    web_free(&w);
    cr_expect_eq(gateway_close(&g), 0);
    char *log = tempdir_slurp(trio_path(&t, "gateway.log"), &len);
    cr_expect_not_null(strstr(log, "ready"), "%s", log);
    cr_expect_null(strstr(log, "canary"), "%s", log);
    cr_expect_null(strstr(log, "sky"), "%s", log);
    free(log);
    trio_close(&t);
}

static int by_value(const void *a, const void *b)
{
    return (int)*(const uint8_t *)a - (int)*(const uint8_t *)b;
}

/* Each row of the picture is the embedding of its token in another order, as bytes: 128 is zero, 127 four times its size. */
static void rows_are_permuted_embeddings(const uint8_t *image, const int32_t *ids, int n)
{
    struct checkpoint *cp = NULL;
    struct embed *embed = NULL;
    struct err err = {0};
    float x[9 * 192];
    cr_assert_eq(checkpoint_open(&cp, DEMO_LM, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(embed_load(&embed, cp, &err), 0, "%s", err.text);
    cr_assert_eq(embed_rows(embed, ids, NULL, n, 0, x, &err), 0, "%s", err.text);
    for (int t = 0; t < n; t++) {
        uint8_t plain[192], seen[192];
        double square = 0;
        int moved = 0;
        for (int d = 0; d < 192; d++)
            square += (double)x[t * 192 + d] * (double)x[t * 192 + d];
        for (int d = 0; d < 192; d++)
            plain[d] = (uint8_t)lround(128 + fmax(-4, fmin(4, (double)x[t * 192 + d] / sqrt(square / 192))) * 127 / 4);
        memcpy(seen, image + (size_t)t * 192, 192);
        for (int d = 0; d < 192; d++)
            moved += abs(plain[d] - seen[d]) > 8;
        cr_expect_gt(moved, 96, "row %d is in its own order", t);
        qsort(plain, 192, 1, by_value);
        qsort(seen, 192, 1, by_value);
        for (int d = 0; d < 192; d++)
            cr_expect_leq(abs(plain[d] - seen[d]), 1, "row %d, number %d of their order: %d, expected %d", t, d, seen[d], plain[d]);
    }
    embed_free(embed);
    checkpoint_close(cp);
}

/* What the page shows is what was sent: as many rows as tokens went up, and nothing is kept unless it was asked for. */
Test(gateway, the_page_and_its_view_of_the_server_are_there)
{
    struct trio t;
    struct gateway g;
    struct web w;
    trio_open(&t, DEMO_LM, "user");
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN, "--speculate", "off", "--wire", "bf16"));
    web_call(g.port, "/", "", NULL, &w);
    cr_expect_eq(w.status, 200);
    cr_expect_not_null(strstr(w.head, "Content-Security-Policy: default-src 'none'"), "%s", w.head);
    cr_expect_null(strstr(w.body, "http://"), "the page asks for something outside");
    cr_expect_null(strstr(w.body, "https://"));
    web_free(&w);
    for (int traced = 0; traced < 2; traced++) {
        char path[128];
        struct json_doc *doc = ask(&g, CHAT, traced ? "{" GREEDY "\"stip\":{\"trace\":true}," SAY("What colour is the sky?") "}"
                                                    : "{" GREEDY SAY("What colour is the sky?") "}");
        (void)snprintf(path, sizeof path, "/stip/trace?id=%s", json_string(json_get(json_root(doc), "id")));
        web_call(g.port, path, "", NULL, &w);
        cr_expect_eq(w.status, traced ? 200 : 404);
        if (traced) {
            struct json_doc *view = web_json(&w);
            const struct json *root = json_root(view), *own = json_get(json_root(doc), "stip");
            cr_expect_eq(json_number(json_get(root, "rows")), 9 + 5, "prompt and answer but its last token, %s", w.body);
            cr_expect_eq(json_number(json_get(root, "columns")), 192);
            cr_expect(json_true(json_get(root, "done")));
            cr_expect_eq(strlen(json_string(json_get(root, "image"))), (size_t)(14 * 192 + 2) / 3 * 4);
            uint8_t image[14 * 192];
            int32_t ids[9];
            int n = 0;
            cr_assert(crypto_unbase64(json_string(json_get(root, "image")), image, sizeof image));
            struct json_doc *tokens = ask(&g, "/tokenize", "{\"content\":\"<|user|>What colour is the sky?<|end|><|assistant|>\"}");
            for (const struct json *id = json_first(json_get(json_root(tokens), "tokens")); id != NULL && n < 9; id = json_next(id))
                ids[n++] = (int32_t)json_number(id);
            json_free(tokens);
            rows_are_permuted_embeddings(image, ids, n);
            cr_expect_leq(json_number(json_get(root, "bytes_up")), json_number(json_get(own, "bytes_up")));
            json_free(view);
        }
        web_free(&w);
        json_free(doc);
    }
    both_close(&t, &g);
}
