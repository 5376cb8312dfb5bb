/* /health and /metrics of server and developer: counts that are right, and nothing of what was said.
 * Mutations: count batches as steps; publish once only; 200 while there is no package; print the name of a key. Each fails here. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"
#include "tests/support/web.h"
#include "transport/metrics.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"

static int port_of(const char *listen)
{
    return atoi(strrchr(listen, ':') + 1);
}

static void health_becomes(const char *listen, int status, const char *word)
{
    const uint64_t deadline = clock_ms() + 30000;
    struct web w;
    for (;;) {
        web_call(port_of(listen), "/health", "", NULL, &w);
        const bool right = w.status == status && strstr(w.body, word) != NULL;
        if (right || clock_ms() > deadline) {
            cr_expect(right, "%d: %s", w.status, w.body);
            web_free(&w);
            return;
        }
        web_free(&w);
        (void)poll(NULL, 0, 100);
    }
}

/* A line "NAME VALUE", with HELP and TYPE before. */
static double value(const char *text, const char *name)
{
    char line[200];
    (void)snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text, line);
    cr_assert_not_null(at, "no %s in %s", name, text);
    if (strchr(name, '{') == NULL) {
        (void)snprintf(line, sizeof line, "# TYPE %s ", name);
        cr_expect_not_null(strstr(text, line), "%s has no type", name);
    }
    return atof(at + strlen(name) + 2);
}

/* As soon as they say what is waited for: what is published may be some time old. */
static char *figures(const char *listen, bool (*ready)(const char *text))
{
    for (const uint64_t deadline = clock_ms() + 60000;; (void)poll(NULL, 0, 50)) {
        struct web w;
        web_call(port_of(listen), "/metrics", "", NULL, &w);
        cr_assert_eq(w.status, 200);
        cr_expect_not_null(strstr(w.head, "text/plain; version=0.0.4"), "%s", w.head);
        char *text = ready(w.body) || clock_ms() > deadline ? strdup(w.body) : NULL;
        web_free(&w);
        if (text != NULL)
            return text;
    }
}

/* Each line is a comment, or a name, labels and a number. */
static void is_prometheus(const char *text)
{
    for (const char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        char *rest;
        if (strncmp(at, "# HELP ", 7) == 0 || strncmp(at, "# TYPE ", 7) == 0)
            continue;
        const char *blank = memchr(at, ' ', (size_t)(end - at));
        cr_assert_not_null(blank, "%.80s", at);
        (void)strtod(blank + 1, &rest);
        cr_expect(rest == end && rest > blank + 1, "%.80s", at);
        cr_expect_eq(strspn(at, "abcdefghijklmnopqrstuvwxyz_"), strcspn(at, "{ "), "%.80s", at);
    }
}

static void generate(const struct trio *t, const char *prompt, int *tokens)
{
    struct shell s;
    trio_user(t, &s, SHELL_ARGV("generate", "--prompt", prompt, "--max-tokens", "20", "--speculate", "off", "--ignore-eos", "--json"));
    struct json_doc *doc = shell_json(&s);
    *tokens = (int)(json_count(json_get(json_root(doc), "prompt_tokens")) + json_count(json_get(json_root(doc), "tokens")));
    json_free(doc);
    shell_free(&s);
}

static bool at_once(const char *text)
{
    (void)text;
    return true;
}

static bool answered(const char *text)
{
    return value(text, "stip_server_sessions_total") == 1 && value(text, "stip_server_sessions") == 0;
}

static bool one_granted_one_refused(const char *text)
{
    return value(text, "stip_model_dev_grants_total") >= 1 && value(text, "stip_model_dev_refused_keys_total") >= 1;
}

Test(metrics, of_the_server_count_what_was_computed)
{
    struct trio t;
    struct shell s;
    int tokens;
    trio_make(&t, DEMO_LM, "user");
    t.metrics = true;
    trio_start_server(&t, "\"user_sessions\":1");
    health_becomes(t.server_metrics, 503, "no package yet");
    char *text = figures(t.server_metrics, at_once);
    is_prometheus(text);
    cr_expect_eq(value(text, "stip_server_rows_in_total"), 0);
    cr_expect_eq(value(text, "stip_server_packages_loaded_total"), 0);
    free(text);
    trio_start_model_dev(&t);
    trio_wait_serving(&t);
    health_becomes(t.server_metrics, 200, "\"ok\"");
    trio_write_user(&t, "user");
    trio_user(&t, &s, SHELL_ARGV("join"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    generate(&t, "Lily found a secret zebra", &tokens);
    text = figures(t.server_metrics, answered);
    is_prometheus(text);
    cr_expect_eq(value(text, "stip_server_packages_loaded_total"), 1);
    cr_expect_eq(value(text, "stip_server_rows_in_total"), tokens - 1); /* the last token is not sent */
    cr_expect_eq(value(text, "stip_server_rows_out_total"), 20);
    cr_expect_eq(value(text, "stip_server_batches_total"), 20);
    cr_expect_eq(value(text, "stip_server_batch_steps_total"), 20);
    cr_expect_eq(value(text, "stip_server_batch_rows_total"), tokens - 1);
    cr_expect_eq(value(text, "stip_server_sessions_total"), 1);
    cr_expect_eq(value(text, "stip_server_sessions"), 0);
    cr_expect_eq(value(text, "stip_server_queue_rows"), 0);
    cr_expect_gt(value(text, "stip_server_busy_seconds_total"), 0);
    cr_expect_gt(value(text, "stip_server_uptime_seconds"), 0);
    cr_expect_gt(value(text, "stip_server_model_bytes"), 1e6);
    cr_expect_gt(value(text, "stip_server_kv_limit_bytes"), 1e6);
    cr_expect_gt(value(text, "process_resident_memory_bytes"), 1e6);
    cr_expect_eq(value(text, "stip_server_errors_total{class=\"request\"}"), 0);
    cr_expect_not_null(strstr(text, "architecture=\"LlamaForCausalLM\""));
    for (size_t i = 0; i < 3; i++)
        cr_expect_null(strstr(text, ((const char *const[]){"zebra", "stip1:", "user.id"})[i]), "%s", text);
    free(text);
    trio_close(&t);
}

Test(metrics, of_the_developer_count_grants_and_pushes)
{
    struct trio t;
    struct shell s;
    struct web w;
    trio_make(&t, DEMO_LM, "user");
    t.metrics = true;
    trio_start_server(&t, NULL);
    trio_start_model_dev(&t);
    trio_wait_serving(&t);
    health_becomes(t.model_dev_metrics, 200, "\"ok\"");
    trio_write_user(&t, "user");
    trio_user(&t, &s, SHELL_ARGV("join"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-user", "keygen", "--out", trio_path(&t, "stranger.id")));
    shell_free(&s);
    trio_write_user(&t, "stranger");
    trio_start_as(&t, "stranger", &s, SHELL_ARGV("join"));
    shell_wait(&s);
    cr_expect_eq(s.status, 4);
    shell_free(&s);
    char *text = figures(t.model_dev_metrics, one_granted_one_refused);
    is_prometheus(text);
    cr_expect_eq(value(text, "stip_model_dev_grants_total"), 1);
    cr_expect_eq(value(text, "stip_model_dev_users_allowed"), 2);
    cr_expect_eq(value(text, "stip_model_dev_pushes_total"), 1);
    cr_expect_eq(value(text, "stip_model_dev_pushes_failed_total"), 0);
    cr_expect_eq(value(text, "stip_model_dev_pushes_running"), 0);
    cr_expect_gt(value(text, "stip_model_dev_sent_bytes_total"), 100000);
    cr_expect_geq(value(text, "stip_model_dev_refused_keys_total"), 1);
    free(text);
    /* What else comes is refused. */
    web_call(port_of(t.model_dev_metrics), "/", "", NULL, &w);
    cr_expect_eq(w.status, 404);
    web_free(&w);
    web_call(port_of(t.model_dev_metrics), "/metrics", "", "x=1", &w);
    cr_expect_eq(w.status, 405);
    web_free(&w);
    web_call(port_of(t.model_dev_metrics), "/metrics", "Host: evil.example\r\n", NULL, &w);
    cr_expect_eq(w.status, 403);
    web_free(&w);
    trio_close(&t);
}

static void start_fails(const struct trio *t, const char *metrics, int status, const char *sentence)
{
    struct shell s;
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "{\"role\":\"server\",\"identity\":\"server.id\",\"listen\":\"tcp://127.0.0.1:*\",\"listen_admin\":\"tcp://127.0.0.1:*\","
                     "\"package\":\"package\",\"metrics\":%s}", metrics);
    tempdir_spill(trio_path(t, "bad.json"), text, (size_t)n);
    shell_run(&s, SHELL_ARGV("stip-server", "serve", "--config", trio_path(t, "bad.json")));
    cr_expect_eq(s.status, status, "%s: %d %s", metrics, s.status, s.err);
    cr_expect_not_null(strstr(s.err, sentence), "%s", s.err);
    shell_free(&s);
}

Test(metrics, a_wrong_address_is_an_error_before_anything_is_served)
{
    struct trio t;
    trio_make(&t, DEMO_LM, "user");
    start_fails(&t, "\"localhorst:9847\"", 2, "metrics: listen address 'localhorst:9847'");
    start_fails(&t, "\"203.0.113.1:9847\"", 5, "cannot listen at 203.0.113.1:9847");
    start_fails(&t, "9847", 2, "metrics");
    trio_close(&t);
}

/* A loop that does not come by any more cannot say that it is well. */
Test(metrics, a_loop_that_has_stalled_is_not_healthy)
{
    struct metrics *m = NULL;
    struct buf b;
    struct err err;
    struct web w;
    int wait = -1;
    cr_assert_eq(metrics_open(&m, NULL, &err), 0);
    cr_expect_null(m);
    cr_expect_not(metrics_due(m, 1, &wait));
    cr_expect_eq(wait, -1);
    cr_assert_eq(metrics_open(&m, "127.0.0.1:0", &err), 0, "%s", err.text);
    const char *listen = metrics_listen(m);
    const uint64_t now = clock_ms();
    cr_expect(metrics_due(m, now, &wait));
    cr_expect_eq(wait, METRICS_MS);
    buf_init(&b, 1000);
    metrics_count(&b, "a_total", "A.", 7);
    metrics_publish(m, now, NULL, &b);
    cr_expect_not(metrics_due(m, now, &wait));
    health_becomes(listen, 200, "ok");
    web_call(port_of(listen), "/metrics", "", NULL, &w);
    cr_expect_str_eq(w.body, "# HELP a_total A.\n# TYPE a_total counter\na_total 7\n");
    web_free(&w);
    buf_init(&b, 1000);
    metrics_publish(m, clock_ms() - METRICS_STALE_MS - 1, NULL, &b);
    health_becomes(listen, 503, "stalled");
    metrics_close(m);
}
