/* stip-user serve: what is refused, who may use it, what happens when one side goes away, what is kept. */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "engine/embed.h"
#include "model/checkpoint.h"
#include "tests/support/gateway.h"
#include "tests/support/proc.h"
#include "tests/support/tempdir.h"

/* ------------------------------------------------------------------ what is refused */

struct refusal {
    const char *path, *body;
    int status;
    const char *named; /* in the answer */
};

Test(gateway_limits, requests_at_fault_are_named_and_the_next_one_is_answered)
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
        {CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]}", 400,
         "messages[0].content"},
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
    gateway_both_open(&t, &g, DEMO_LM);
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
    struct json_doc *doc = gateway_ask(
        &g, CHAT,
        "{" GREEDY
        "\"n\":1,\"tools\":[],\"tool_choice\":\"none\",\"response_format\":{\"type\":\"text\"},\"user\":\"u\",\"store\":false,"
        "\"unknown_field\":{\"a\":[1]},\"stop\":null,\"logit_bias\":{},\"seed\":-5," SAY("What colour is the sky?") "}");
    cr_expect_str_eq(gateway_answer(doc), "The sky is blue.");
    json_free(doc);
    gateway_both_close(&t, &g);
}

/* Mutation: Host compared by prefix, origins by suffix, the key by its length, a body kept before its size is known. */
Test(gateway_limits, strangers_large_bodies_and_idle_connections_are_bounded)
{
    struct trio t;
    struct gateway g;
    struct web w;
    trio_open(&t, DEMO_LM, "user");
    tempdir_spill(trio_path(&t, "key"), "a-long-secret\n", 14);
    cr_assert_eq(chmod(trio_path(&t, "key"), 0600), 0);
    char key[FILE_PATH_MAX];
    (void)snprintf(key, sizeof key, "%s", trio_path(&t, "key"));
    gateway_open(&g, &t,
                 SHELL_ARGV("--turn", TURN, "--cors", "https://app.example,http://localhost:3000", "--host", "box.local",
                            "--api-key-file", key, "--connections", "12"));
#define KEY "Authorization: Bearer a-long-secret\r\n"
    cr_expect_eq(gateway_status(&g, "/v1/models", KEY, NULL), 200);
    cr_expect_eq(gateway_status(&g, "/v1/models", "", NULL), 401);
    cr_expect_eq(gateway_status(&g, "/v1/models", "Authorization: Bearer a-long-secreT\r\n", NULL), 401);
    cr_expect_eq(gateway_status(&g, "/v1/models", "Authorization: Bearer a-long-secret2\r\n", NULL), 401);
    cr_expect_eq(gateway_status(&g, "/health", "", NULL), 200, "health asks for no key");
    static const struct {
        const char *host;
        int status;
    } hosts[] = {{"evil.example", 403},
                 {"localhost.evil.example", 403},
                 {"127.0.0.1.evil.example", 403},
                 {"", 403},
                 {"localhost:1", 200},
                 {"127.0.0.1", 200},
                 {"[::1]:7847", 200},
                 {"box.local:80", 200},
                 {"xbox.local", 403},
                 {"[::1]x", 403}};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char head[256];
        (void)snprintf(head, sizeof head, KEY "Host: %s\r\n", hosts[i].host);
        cr_expect_eq(gateway_status(&g, "/v1/models", head, NULL), hosts[i].status, "Host: %s", hosts[i].host);
    }
    static const struct {
        const char *origin;
        int status;
    } origins[] = {{"https://app.example", 200},
                   {"http://localhost:3000", 200},
                   {"https://app.example.evil", 403},
                   {"http://app.example", 403},
                   {"null", 403}};
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        char head[256], allowed[256];
        (void)snprintf(head, sizeof head, KEY "Origin: %s\r\n", origins[i].origin);
        (void)snprintf(allowed, sizeof allowed, "Access-Control-Allow-Origin: %s\r\n", origins[i].origin);
        web_call(g.port, "/v1/models", head, NULL, &w);
        cr_expect_eq(w.status, origins[i].status, "Origin: %s", origins[i].origin);
        cr_expect_eq(strstr(w.head, allowed) != NULL, w.status == 200, "Origin: %s: %s", origins[i].origin, w.head);
        web_free(&w);
    }
    web_request(g.port, "OPTIONS", CHAT,
                "Origin: https://app.example\r\nAccess-Control-Request-Headers: authorization,x-stainless-os\r\n", NULL, 0, &w);
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

    /* Half a request on each of many connections: as many threads as were allowed, and room again when they go. Those that are turned
     * away have a thread for a moment, 32 of them at most. */
    enum { MANY = 100 };
    int fds[MANY];
    for (size_t i = 0; i < MANY; i++)
        fds[i] = web_send(g.port, "POST", CHAT, KEY "Content-Length: 100\r\n", NULL, 0);
    struct proc p;
    cr_assert(proc_look(g.process.pid, &p));
    cr_expect_leq(p.threads, 12 + 32 + 8);
    for (uint64_t end = clock_ms() + 20000; proc_look(g.process.pid, &p) && p.threads > 12 + 8 && clock_ms() < end;)
        (void)usleep(20000);
    cr_expect_leq(p.threads, 12 + 8, "%d threads for 12 connections", (int)p.threads);
    for (size_t i = 0; i < MANY; i++)
        close(fds[i]);
    int status = 0;
    for (int tries = 0; status != 200 && tries < 1200; tries++, (void)usleep(50000)) /* a thread notices in its own time */
        status = gateway_status(&g, CHAT, KEY, "{" GREEDY SAY("What colour is the sky?") "}");
    cr_expect_eq(status, 200);
    gateway_both_close(&t, &g);
}

/* ------------------------------------------------------------------ going away */

#define BEGUN "\"delta\":{\"content\":" /* the second event of a stream: the first has the role */

/* The server gives this user one session: a second answer begins only if the first one's session is really gone.
 * Mutation: generate on after the client has gone, or not tell the server. */
Test(gateway_limits, a_client_that_hangs_up_ends_its_generation_on_the_server)
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
            cr_expect(web_comes(fd, "\"content\":\"\""));
        else
            gateway_wait_metric(&g, "connections_busy", 1);
        double tokens = gateway_metric(&g, "generated_tokens_total"), trips = gateway_metric(&g, "round_trips_total");
        close(fd);
        gateway_wait_metric(&g, "cancelled_total", i + 1);
        gateway_wait_metric(&g, "connections_busy", 0);
        cr_expect_eq(gateway_metric(&g, "generated_tokens_total"), tokens, "it was generated to the end");
        trips = gateway_metric(&g, "round_trips_total") - trips;
        cr_expect_lt(trips, 1000, "%g round trips after the client had gone, or 3000 tokens take too short a time here", trips);
    }
    struct json_doc *doc = gateway_ask(&g, CHAT, "{\"max_tokens\":2," SAY("Go on") "}");
    json_free(doc);
    gateway_both_close(&t, &g);
    tempdir_remove(dir);
}

Test(gateway_limits, a_server_that_goes_away_is_an_error_and_comes_back)
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
    cr_expect(web_comes(fd, BEGUN));
    (void)process_stop(&t.server);
    web_finish(fd, &w);
    struct heard h;
    heard_read(&w, &h);
    cr_expect(h.error && !h.done, "the stream ended without a word: %.200s", w.body);
    buf_free(&h.text);
    web_free(&w);
    web_call(g.port, CHAT, "", "{\"max_tokens\":2," SAY("Go on") "}", &w);
    cr_expect(w.status == 503 && strstr(w.head, "Retry-After") != NULL && strstr(w.body, "server_unavailable") != NULL, "%d %s",
              w.status, w.body);
    web_free(&w);
    cr_expect_eq(gateway_status(&g, "/health", "", NULL), 503);
    trio_start_server(&t, NULL);
    cr_expect_eq(gateway_status(&g, "/health", "", NULL), 200);
    struct json_doc *doc = gateway_ask(&g, CHAT, "{\"max_tokens\":2," SAY("Go on") "}");
    json_free(doc);
    /* An idle connection that died unseen is not the next client's trouble. */
    (void)process_stop(&t.server);
    trio_start_server(&t, NULL);
    doc = gateway_ask(&g, CHAT, "{\"max_tokens\":2," SAY("Go on") "}");
    json_free(doc);
    /* A gateway that is stopped says so to those it is talking to. */
    fd = web_send(g.port, "POST", CHAT, "", body, strlen(body));
    cr_expect(web_comes(fd, BEGUN));
    cr_expect_eq(gateway_close(&g), 0);
    web_finish(fd, &w);
    cr_expect_not_null(strstr(w.body, "gateway_stopping"), "%.300s", w.body);
    web_free(&w);
    trio_close(&t);
    tempdir_remove(dir);
}

/* Mutations: retry_ms not set for a lease; kept for the next one (then no server is 60 s of silence in place of 503). */
Test(gateway_limits, a_stream_goes_on_where_a_server_was_killed)
{
    struct trio t;
    struct gateway g;
    struct web w;
    struct heard whole, h;
    char dir[FILE_PATH_MAX], model[FILE_PATH_MAX];
    tempdir_make(dir);
    trio_slow_model(model, dir, DEMO_LM "/tokenizer.json");
    trio_open(&t, model, "server");
    t.retry_s = 60;
    trio_write_user(&t, "user");
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN));
    static const char body[] = "{\"max_tokens\":1200,\"temperature\":0,\"stream\":true,\"logit_bias\":{\"1\":-100}," SAY("Go on") "}";
    int fd = web_send(g.port, "POST", CHAT, "", body, strlen(body));
    web_finish(fd, &w);
    heard_read(&w, &whole);
    cr_assert(whole.done && !whole.error, "%.300s", w.body);
    web_free(&w);
    fd = web_send(g.port, "POST", CHAT, "", body, strlen(body));
    cr_expect(web_comes(fd, BEGUN));
    (void)kill(t.server.pid, SIGKILL);
    (void)process_stop(&t.server);
    trio_start_server(&t, NULL);
    web_finish(fd, &w);
    heard_read(&w, &h);
    cr_expect(h.done && !h.error, "%s", w.body + (w.len > 300 ? w.len - 300 : 0));
    size_t len;
    char *log = tempdir_slurp(trio_path(&t, "gateway.log"), &len);
    cr_expect_not_null(strstr(log, "connected again"), "the answer was whole before the server was killed");
    free(log);
    cr_expect(h.text.len == whole.text.len && memcmp(h.text.data, whole.text.data, h.text.len) == 0, "another answer");
    buf_free(&h.text);
    buf_free(&whole.text);
    web_free(&w);
    (void)process_stop(&t.server);
    const uint64_t asked = clock_ms();
    web_call(g.port, CHAT, "", "{\"max_tokens\":2," SAY("Go on") "}", &w);
    cr_expect(w.status == 503, "%d %s", w.status, w.body);
    cr_expect_lt(clock_ms() - asked, 45000, "it waited for a server as an answer that has begun does");
    web_free(&w);
    cr_expect_eq(gateway_close(&g), 0);
    trio_close(&t);
    tempdir_remove(dir);
}

/* More clients than places: all are answered, each with its own answer. Mutation: a lease given to two, answers crossed. */
Test(gateway_limits, many_clients_at_once_get_their_own_answers)
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
        struct json_doc *doc = gateway_ask(&g, TEXT, body);
        alone[i] = strdup(gateway_answer(doc));
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
        heard_read(&w, &h);
        cr_expect(h.done);
        cr_expect_str_eq((const char *)h.text.data, alone[i % 4]);
        buf_free(&h.text);
        web_free(&w);
    }
    cr_expect_leq(gateway_metric(&g, "connections_open"), 5);
    for (size_t i = 0; i < 4; i++)
        free(alone[i]);
    gateway_both_close(&t, &g);
}

/* ------------------------------------------------------------------ what is kept */

/* Mutation: log the body of a request that could not be read. */
Test(gateway_limits, nothing_of_a_prompt_or_an_answer_is_logged_or_counted)
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
            cr_expect_leq(abs(plain[d] - seen[d]), 1, "row %d, number %d of their order: %d, expected %d", t, d, seen[d],
                          plain[d]);
    }
    embed_free(embed);
    checkpoint_close(cp);
}

/* What the page shows is what was sent: as many rows as tokens went up, and nothing is kept unless it was asked for. */
Test(gateway_limits, the_page_and_its_view_of_the_server_are_there)
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
        struct json_doc *doc = gateway_ask(&g, CHAT,
                                           traced ? "{" GREEDY "\"stip\":{\"trace\":true}," SAY("What colour is the sky?") "}"
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
            struct json_doc *tokens =
                gateway_ask(&g, "/tokenize", "{\"content\":\"<|user|>What colour is the sky?<|end|><|assistant|>\"}");
            for (const struct json *id = json_first(json_get(json_root(tokens), "tokens")); id != NULL && n < 9;
                 id = json_next(id))
                ids[n++] = (int32_t)json_number(id);
            json_free(tokens);
            rows_are_permuted_embeddings(image, ids, n);
            cr_expect_leq(json_number(json_get(root, "bytes_up")), json_number(json_get(own, "bytes_up")));
            json_free(view);
        }
        web_free(&w);
        json_free(doc);
    }
    gateway_both_close(&t, &g);
}
