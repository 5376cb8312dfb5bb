/* stip-user serve in front of three real processes: what clients get is what the model says. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "tests/support/gateway.h"

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
    gateway_both_open(&t, &g, DEMO_LM);
    struct json_doc *expected =
        generated(&t, SHELL_ARGV("generate", "--prompt", "<|user|>Tell me a story about a fox and a lantern.<|end|><|assistant|>",
                                 "--max-tokens", "48", "--json"));
    const char *text = json_string(json_get(json_root(expected), "text"));
    struct json_doc *whole = gateway_ask(
        &g, CHAT, "{\"model\":\"stip\"," GREEDY "\"max_tokens\":48," SAY("Tell me a story about a fox and a lantern.") "}");
    cr_expect_str_eq(gateway_answer(whole), text);
    cr_expect_str_eq(json_string(json_get(gateway_choice(whole), "finish_reason")), "length");
    cr_expect_eq(json_number(json_get(json_get(json_root(whole), "usage"), "completion_tokens")), 48);
    cr_expect_eq(json_number(json_get(json_get(json_root(whole), "usage"), "prompt_tokens")),
                 (double)json_count(json_get(json_root(expected), "prompt_tokens")));
    json_free(whole);
    gateway_stream(&g, CHAT,
                   "{\"model\":\"stip\"," GREEDY
                   "\"max_completion_tokens\":48,\"stream\":true,\"stream_options\":{\"include_usage\":true}," SAY(
                       "Tell me a story about a fox and a lantern.") "}",
                   &h);
    cr_expect_str_eq((const char *)h.text.data, text);
    cr_expect_str_eq(h.finish, "length");
    cr_expect(h.role && h.done && !h.error);
    cr_expect_eq(h.tokens, 48);
    cr_expect_gt(h.chunks, 12, "%zu chunks of 48 tokens: they did not come one by one", h.chunks); /* a slow gateway says two at once */
    buf_free(&h.text);
    json_free(expected);

    /* A seed draws the same in both programs; without include_usage there is none. */
    expected = generated(&t, SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", "30", "--temperature", "1",
                                        "--seed", "7", "--top-p", "0.95", "--json"));
    text = json_string(json_get(json_root(expected), "text"));
    gateway_stream(&g, TEXT, "{\"prompt\":\"Once upon a time\",\"max_tokens\":30,\"seed\":7,\"top_p\":0.95,\"stream\":true}", &h);
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
    whole = gateway_ask(&g, TEXT, (const char *)body.data);
    cr_expect_str_eq(gateway_answer(whole), text);
    json_free(whole);
    buf_free(&body);
    json_free(expected);
    gateway_both_close(&t, &g);
}

/* The model ends its turn itself; a talk goes on after it. */
Test(gateway, a_talk_of_several_turns_is_put_together_as_chat_does)
{
    struct trio t;
    struct gateway g;
    gateway_both_open(&t, &g, DEMO_LM);
    struct json_doc *doc = gateway_ask(&g, CHAT, "{" GREEDY SAY("What colour is the sky?") "}");
    cr_expect_str_eq(gateway_answer(doc), "The sky is blue.");
    cr_expect_str_eq(json_string(json_get(gateway_choice(doc), "finish_reason")), "stop");
    json_free(doc);
    doc =
        gateway_ask(&g, "/apply-template",
                    "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},"
                    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"c\"},{\"type\":\"text\",\"text\":\"d\"}]}]}");
    cr_expect_str_eq(json_string(json_get(json_root(doc), "prompt")),
                     "<|user|>a<|end|><|assistant|>b<|end|><|user|>cd<|end|><|assistant|>");
    json_free(doc);
    gateway_both_close(&t, &g);
}

/* Mutation: the stop text left in, its beginning lost when it is not completed, tokens behind it in the log-probabilities. */
Test(gateway, stop_texts_end_an_answer_before_them)
{
    struct trio t;
    struct gateway g;
    struct heard h;
    gateway_both_open(&t, &g, DEMO_LM);
    struct json_doc *free_run = gateway_ask(&g, TEXT, "{\"prompt\":\"Once upon a time\"," GREEDY "\"max_tokens\":40}");
    const char *text = gateway_answer(free_run);
    cr_assert_gt(strlen(text), 60);
    /* Cuts through tokens: from 20 characters on, 9 long; and another that never comes, but begins like every blank. */
    char cut[32], body[512];
    (void)snprintf(cut, sizeof cut, "%.9s", text + 20);
    size_t at = (size_t)(strstr(text, cut) - text);
    (void)snprintf(body, sizeof body,
                   "{\"prompt\":\"Once upon a time\"," GREEDY
                   "\"max_tokens\":40,\"stop\":[\" zzzz\",\"%s\"],\"logprobs\":0,\"stream\":%%s}",
                   cut);
    for (int streamed = 0; streamed < 2; streamed++) {
        char full[600];
        (void)snprintf(full, sizeof full, body, streamed ? "true" : "false");
        if (streamed) {
            gateway_stream(&g, TEXT, full, &h);
            cr_expect_eq(h.text.len - 1, at, "'%s' of '%s'", (const char *)h.text.data, text);
            cr_expect(memcmp(h.text.data, text, at) == 0);
            cr_expect_str_eq(h.finish, "stop");
            buf_free(&h.text);
            continue;
        }
        struct json_doc *doc = gateway_ask(&g, TEXT, full);
        cr_expect(strlen(gateway_answer(doc)) == at && memcmp(gateway_answer(doc), text, at) == 0, "'%s' of '%s'",
                  gateway_answer(doc), text);
        cr_expect_str_eq(json_string(json_get(gateway_choice(doc), "finish_reason")), "stop");
        const struct json *offsets = json_get(json_get(gateway_choice(doc), "logprobs"), "text_offset");
        cr_expect_gt(json_count(offsets), 2);
        for (const struct json *o = json_first(offsets); o != NULL; o = json_next(o))
            cr_expect_lt(json_number(o), (double)at, "a token from behind the stop text");
        json_free(doc);
    }
    /* What may begin a stop text is held back, and comes when the answer ends without it. */
    char last = text[strlen(text) - 1];
    cr_assert(isalpha((unsigned char)last), "choose another length: '%s'", text);
    (void)snprintf(body, sizeof body,
                   "{\"prompt\":\"Once upon a time\"," GREEDY "\"max_tokens\":40,\"stop\":\"%c zzzz\",\"stream\":true}", last);
    gateway_stream(&g, TEXT, body, &h);
    cr_expect_str_eq((const char *)h.text.data, text);
    cr_expect_str_eq(h.finish, "length");
    buf_free(&h.text);
    json_free(free_run);
    gateway_both_close(&t, &g);
}

/* Mutation: alternatives of the wrong token, probabilities after sampling instead of the model's, bias or penalty not applied. */
Test(gateway, logprobs_bias_and_penalties_are_what_they_say)
{
    struct trio t;
    struct gateway g;
    struct heard h;
    gateway_both_open(&t, &g, DEMO_LM);
    struct json_doc *expected =
        generated(&t, SHELL_ARGV("generate", "--prompt", "<|user|>What colour is the sky?<|end|><|assistant|>", "--max-tokens",
                                 "5", "--logprobs", "3", "--json"));
    struct json_doc *doc = gateway_ask(
        &g, CHAT, "{" GREEDY "\"max_tokens\":5,\"logprobs\":true,\"top_logprobs\":3," SAY("What colour is the sky?") "}");
    const struct json *mine = json_first(json_get(json_get(gateway_choice(doc), "logprobs"), "content"));
    struct buf joined;
    size_t n = 0;
    buf_init(&joined, 1 << 16);
    for (const struct json *e = json_first(json_get(json_root(expected), "logprobs")); e != NULL;
         e = json_next(e), mine = json_next(mine), n++) {
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
    cr_expect_str_eq((const char *)joined.data, gateway_answer(doc), "the tokens' texts make the answer");
    buf_free(&joined);
    json_free(doc);
    gateway_stream(&g, CHAT, "{" GREEDY "\"max_tokens\":5,\"stream\":true,\"logprobs\":true," SAY("What colour is the sky?") "}",
                   &h);
    cr_expect_eq(h.entries, 5);
    buf_free(&h.text);

    /* The token that greedy begins with, never; then another, only. */
    double first = json_number(json_first(json_get(json_root(expected), "tokens")));
    char body[512];
    (void)snprintf(body, sizeof body,
                   "{" GREEDY "\"max_tokens\":4,\"logit_bias\":{\"%.0f\":-100}," SAY("What colour is the sky?") "}", first);
    doc = gateway_ask(&g, CHAT, body);
    cr_expect(strncmp(gateway_answer(doc), "The", 3) != 0, "'%s'", gateway_answer(doc));
    json_free(doc);
    (void)snprintf(body, sizeof body,
                   "{\"seed\":1,\"max_tokens\":4,\"logit_bias\":{\"%.0f\":100}," SAY("What colour is the sky?") "}", first);
    doc = gateway_ask(&g, CHAT, body);
    cr_expect_str_eq(gateway_answer(doc), "TheTheTheThe");
    json_free(doc);
    /* With a penalty for each time, the forced token's lead of 100 (5 of them a step) is not enough for ever: it is with none. */
    (void)snprintf(body, sizeof body,
                   "{" GREEDY
                   "\"max_tokens\":60,\"frequency_penalty\":2,\"logit_bias\":{\"%.0f\":40}," SAY("What colour is the sky?") "}",
                   first);
    doc = gateway_ask(&g, CHAT, body);
    const char *end = gateway_answer(doc);
    size_t said = 0;
    while (strncmp(end, "The", 3) == 0) {
        end += 3;
        said++;
    }
    cr_expect(said >= 5 && said < 60, "%zu times: %s", said, gateway_answer(doc));
    json_free(doc);
    json_free(expected);
    gateway_both_close(&t, &g);
}

/* A character of two tokens, and bytes that are no character: what comes is valid text at every moment, and the same as whole. */
Test(gateway, characters_split_over_tokens_are_never_sent_half)
{
    static const char *const forced[] = {"\xc3\xa9", "\xf0\x9f\xa6\x8a", "\xe2\x82\xac"};
    struct trio t;
    struct gateway g;
    gateway_both_open(&t, &g, DEMO_LM);
    for (size_t i = 0; i < 3; i++) {
        char body[512];
        struct heard h;
        (void)snprintf(body, sizeof body, "{\"content\":\"%s\"}", forced[i]);
        struct json_doc *ids = gateway_ask(&g, "/tokenize", body);
        const struct json *list = json_get(json_root(ids), "tokens"), *id = json_first(list);
        cr_assert_gt(json_count(list), 1, "the vocabulary has '%s' whole: choose another", forced[i]);
        /* The first byte in the prompt and then as an answer of its own, again and again. */
        for (int streamed = 0; streamed < 2; streamed++) {
            (void)snprintf(body, sizeof body,
                           "{\"prompt\":[260,%.0f]," GREEDY "\"max_tokens\":3,\"logit_bias\":{\"%.0f\":100},\"stream\":%s}",
                           json_number(id), json_number(json_next(id)), streamed ? "true" : "false");
            if (streamed) {
                struct heard whole = h;
                gateway_stream(&g, TEXT, body, &h);
                cr_expect(h.text.len == whole.text.len && memcmp(h.text.data, whole.text.data, h.text.len) == 0);
                buf_free(&whole.text);
            } else {
                struct json_doc *doc = gateway_ask(&g, TEXT, body);
                buf_init(&h.text, 4096);
                buf_put(&h.text, gateway_answer(doc), strlen(gateway_answer(doc)) + 1);
                json_free(doc);
            }
        }
        buf_free(&h.text);
        json_free(ids);
    }
    gateway_both_close(&t, &g);
}

Test(gateway, tokens_and_embeddings_come_in_both_forms)
{
    struct trio t;
    struct gateway g;
    gateway_both_open(&t, &g, DEMO_LM);
    struct json_doc *ids = gateway_ask(&g, "/tokenize", "{\"content\":\"Once upon a time\"}");
    struct buf body;
    buf_init(&body, 4096);
    buf_put_str(&body, "{\"tokens\":[");
    for (const struct json *id = json_first(json_get(json_root(ids), "tokens")); id != NULL; id = json_next(id))
        buf_printf(&body, "%.0f%s", json_number(id), json_next(id) == NULL ? "" : ",");
    buf_put(&body, "]}", 3);
    struct json_doc *doc = gateway_ask(&g, "/detokenize", (const char *)body.data);
    cr_expect_str_eq(json_string(json_get(json_root(doc), "content")), "Once upon a time");
    json_free(doc);
    buf_free(&body);
    json_free(ids);

    struct json_doc *plain = gateway_ask(&g, "/v1/embeddings", "{\"input\":[\"a fox\",\"a lantern\"]}");
    struct json_doc *packed = gateway_ask(&g, "/v1/embeddings", "{\"input\":\"a lantern\",\"encoding_format\":\"base64\"}");
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
    gateway_both_close(&t, &g);
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
    /* Without a chat_turn the model's own template makes a prompt of messages, and of those that it takes only. */
    web_call(g.port, CHAT, "", "{" SAY("x") "}", &w);
    cr_expect(w.status == 200 && strstr(w.body, "\"role\":\"assistant\"") != NULL, "%d %s", w.status, w.body);
    web_free(&w);
    web_call(g.port, CHAT, "", "{" SAY("x") ",\"chat_template_kwargs\":3}", &w);
    cr_expect(w.status == 400 && strstr(w.body, "chat_template_kwargs") != NULL, "%d %s", w.status, w.body);
    web_free(&w);
    web_call(g.port, "/v1/models", "", NULL, &w);
    cr_expect_not_null(strstr(w.body, "\"id\":\"mine\""), "%s", w.body);
    web_free(&w);
    gateway_both_close(&t, &g);
}
