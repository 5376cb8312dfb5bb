#include "tests/support/gateway.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/slow.h"

#define WAIT_MS 120000

void gateway_both_open(struct trio *t, struct gateway *g, const char *model)
{
    trio_open(t, model, "user");
    gateway_open(g, t, SHELL_ARGV("--turn", TURN));
}

void gateway_both_close(struct trio *t, struct gateway *g)
{
    cr_expect_eq(gateway_close(g), 0);
    trio_close(t);
}

struct json_doc *gateway_ask(const struct gateway *g, const char *path, const char *body)
{
    struct web w;
    web_call(g->port, path, "", body, &w);
    cr_assert_eq(w.status, 200, "%s %s: %d %s", path, body, w.status, w.body);
    cr_expect(w.whole);
    struct json_doc *doc = web_json(&w);
    web_free(&w);
    return doc;
}

const struct json *gateway_choice(const struct json_doc *doc)
{
    return json_first(json_get(json_root(doc), "choices"));
}

const char *gateway_answer(const struct json_doc *doc)
{
    const struct json *c = gateway_choice(doc), *m = json_get(c, "message");
    const char *text = json_string(m == NULL ? json_get(c, "text") : json_get(m, "content"));
    cr_assert_not_null(text);
    return text;
}

/* The metric's number. */
double gateway_metric(const struct gateway *g, const char *name)
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

void gateway_wait_metric(const struct gateway *g, const char *name, double value)
{
    uint64_t end = clock_ms() + WAIT_MS * slow_times();
    while (gateway_metric(g, name) != value && clock_ms() < end)
        (void)usleep(20000);
    cr_expect_eq(gateway_metric(g, name), value, "%s is %g, expected %g", name, gateway_metric(g, name), value);
}

/* ------------------------------------------------------------------ streams */

/* Every event is one line of valid JSON in valid UTF-8. */
void heard_read(const struct web *w, struct heard *h)
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
        const struct json *root = json_root(doc), *c = gateway_choice(doc), *delta = json_get(c, "delta");
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

void gateway_stream(const struct gateway *g, const char *path, const char *body, struct heard *h)
{
    struct web w;
    web_call(g->port, path, "", body, &w);
    heard_read(&w, h);
    cr_expect(w.whole, "the stream was cut");
    web_free(&w);
}

int gateway_status(const struct gateway *g, const char *path, const char *headers, const char *body)
{
    struct web w;
    web_call(g->port, path, headers, body, &w);
    int status = w.status;
    web_free(&w);
    return status;
}
