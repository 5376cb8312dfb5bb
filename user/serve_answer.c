/* Completions and chat completions, at once or as server-sent events. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/le.h"
#include "user/serve.h"
#include "user/serve_chunk.h"
#include "user/serve_job.h"

#define PING_MS 15000 /* below HTTP_KEEPALIVE_S */
#define FIRST_MS 5000 /* so long an error still becomes a status, and not an event */
#define OUT_MAX ((size_t)64 << 20)

/* One request being answered: its prompts one after the other, a choice each. */
struct answer {
    struct serve *serve;
    enum openai_kind kind;
    int client;
    struct openai_request req;
    struct token_ids *prompts; /* [count] */
    size_t count, at;          /* the choice that is being generated */
    struct chunk_head head;
    struct job *job;
    bool opened;      /* stream: the role of this choice was said */
    struct chunk_frame frame; /* stream without log-probabilities: of this choice */
    bool ended;       /* stream: nothing more comes */
    int32_t previous; /* the token before the next one */
    struct chunk_usage usage;
    struct buf text, out; /* of the stream: text taken, bytes to send */
    size_t sent;
};

static enum serve_route route(enum openai_kind kind)
{
    return kind == OPENAI_CHAT ? SERVE_CHAT : SERVE_COMPLETIONS;
}

static void answer_free(struct answer *a)
{
    if (a == NULL)
        return;
    job_free(a->job);
    for (size_t i = 0; a->prompts != NULL && i < a->count; i++)
        token_ids_free(&a->prompts[i]);
    free(a->prompts);
    chunk_frame_free(&a->frame);
    buf_free(&a->text);
    buf_free(&a->out);
    openai_request_free(&a->req);
    atomic_fetch_sub(&a->serve->metrics.running, 1);
    free(a);
}

/* ------------------------------------------------------------------ from the request to the first job */

static int too_long(const struct answer *a, size_t tokens, struct openai_error *e)
{
    int context = pool_stats(a->serve->pool).context;
    if (context == 0 || context > a->serve->set.grant->config->positions)
        context = a->serve->set.grant->config->positions;
    if (tokens < (size_t)context)
        return 0;
    return openai_fail(e, 400, "context_length_exceeded", a->kind == OPENAI_CHAT ? "messages" : "prompt",
                       "the prompt has %zu tokens, the context holds %d and an answer needs room too; shorten it", tokens,
                       context);
}

static int prepare(struct answer *a, const struct http_request *r, struct openai_error *e)
{
    uint8_t random[20];
    struct err err = {0};
    if (openai_parse(&a->req, a->kind, r->body, r->body_len, e) != 0 || serve_check_model(a->serve, &a->req, e) != 0)
        return -1;
    if (a->serve->set.grant->config->head != HEAD_LM)
        return openai_fail(e, 400, "unsupported_model", "model", "%s does not generate text",
                           a->serve->set.grant->config->architecture);
    if (crypto_random(random, sizeof random, &err) != 0)
        return openai_from_err(e, &err);
    char id[25];
    crypto_hex(random, 12, id);
    (void)snprintf(a->head.id, sizeof a->head.id, "%s-%s", a->kind == OPENAI_CHAT ? "chatcmpl" : "cmpl", id);
    if (a->serve->set.grant->engine) /* nothing goes out that the page could show: no rows, one round trip */
        a->req.trace = false;
    if (!a->req.seeded)
        a->req.sample.seed = le_get64(random + 12);
    size_t count = a->kind == OPENAI_CHAT ? 1 : a->req.input_count;
    if ((a->prompts = calloc(count, sizeof *a->prompts)) == NULL)
        return openai_fail(e, 500, NULL, NULL, "out of memory");
    a->count = count;
    for (size_t i = 0; i < count; i++)
        if (serve_prompt_ids(a->serve, &a->req, i, &a->prompts[i], e) != 0 || too_long(a, a->prompts[i].n, e) != 0)
            return -1;
    return 0;
}

static int start_job(struct answer *a, struct openai_error *e)
{
    const struct token_ids *p = &a->prompts[a->at];
    int64_t most = a->req.max_tokens > 0 ? a->req.max_tokens : a->serve->max_tokens,
            positions = a->serve->set.grant->config->positions;
    const struct job_ask ask = {.prompt = p->ids,
                                .prompt_count = (int)p->n,
                                .max_tokens = (int)(most < positions ? most : positions),
                                .sample = a->req.sample,
                                .logprobs = a->req.logprobs,
                                .stop = a->req.stop,
                                .stop_count = a->req.stop_count,
                                .views = a->req.trace ? a->serve->views : NULL,
                                .id = a->head.id};
    struct err err = {0};
    a->previous = p->ids[p->n - 1];
    a->opened = false;
    return job_start(&a->job, a->serve->pool, &ask, &err) == 0 ? 0 : openai_from_err(e, &err);
}

static struct answer *answer_new(struct serve *s, const struct http_request *r, enum openai_kind kind, struct openai_error *e)
{
    struct answer *a = calloc(1, sizeof *a);
    if (a == NULL) {
        (void)openai_fail(e, 500, NULL, NULL, "out of memory");
        return NULL;
    }
    atomic_fetch_add(&s->metrics.running, 1);
    a->serve = s;
    a->kind = kind;
    a->client = r->client;
    buf_init(&a->text, OUT_MAX);
    buf_init(&a->out, OUT_MAX);
    if (prepare(a, r, e) != 0) {
        answer_free(a);
        return NULL;
    }
    a->head.chat = kind == OPENAI_CHAT;
    a->head.model = s->model;
    a->head.created = clock_unix();
    a->head.context = s->set.grant->context;
    a->head.tokenizer = s->set.grant->tokenizer;
    if (a->req.trace)
        view_begin(s->views, a->head.id);
    if (start_job(a, e) != 0) {
        answer_free(a);
        return NULL;
    }
    return a;
}

/* The choice has ended well: counted, and the job let go. */
static void settle(struct answer *a)
{
    const struct job_result *j = job_result(a->job);
    struct serve_metrics *m = &a->serve->metrics;
    a->usage.prompt += j->prompt_tokens;
    a->usage.completion += j->tokens;
    atomic_fetch_add(&m->prompt_tokens, (unsigned long long)j->prompt_tokens);
    atomic_fetch_add(&m->tokens, (unsigned long long)j->tokens);
    atomic_fetch_add(&m->prompt_us, j->prompt_us);
    atomic_fetch_add(&m->decode_us, j->decode_us);
    atomic_fetch_add(&m->server_us, j->server_us);
    atomic_fetch_add(&m->user_us, j->user_us);
}

static void hung_up(struct answer *a)
{
    atomic_fetch_add(&a->serve->metrics.cancelled, 1);
    a->ended = true;
}

/* ------------------------------------------------------------------ as a stream */

static void put_event(struct answer *a, struct json_doc *doc)
{
    char *text = NULL;
    if (json_print(doc, false, &text, NULL) == 0) {
        buf_put_str(&a->out, "data: ");
        buf_put_str(&a->out, text);
        buf_put_str(&a->out, "\n\n");
    } else
        a->out.failed = true;
    free(text);
    json_free(doc);
}

static void open_choice(struct answer *a)
{
    if (a->head.chat)
        put_event(a, chunk_role(&a->head, (int)a->at));
    chunk_frame_free(&a->frame);
    if (chunk_frame(&a->frame, &a->head, (int)a->at) != 0)
        a->out.failed = true;
    a->opened = true;
}

static void put_text(struct answer *a)
{
    if (a->frame.text == NULL)
        return;
    buf_put_str(&a->out, "data: ");
    chunk_framed(&a->frame, (const char *)a->text.data, a->text.len, &a->out);
    buf_put_str(&a->out, "\n\n");
}

static void put_error(struct answer *a, const struct openai_error *e)
{
    char *text = openai_error_text(e);
    atomic_fetch_add(&a->serve->metrics.stream_errors, 1);
    if (text != NULL)
        buf_printf(&a->out, "data: %s\n\n", text);
    free(text);
    a->ended = true;
}

static int stopping(struct openai_error *e)
{
    return openai_fail(e, 503, "gateway_stopping", NULL, "the gateway is stopping");
}

static void put_stopping(struct answer *a)
{
    struct openai_error e;
    (void)stopping(&e);
    put_error(a, &e);
}

/* After a choice: the next one, or the end. */
static void go_on(struct answer *a)
{
    struct openai_error e;
    settle(a);
    put_event(a, chunk_finish(&a->head, (int)a->at, job_result(a->job)));
    job_free(a->job);
    a->job = NULL;
    if (++a->at < a->count) {
        if (start_job(a, &e) != 0)
            put_error(a, &e);
        return;
    }
    if (a->req.include_usage)
        put_event(a, chunk_usage(&a->head, &a->usage));
    buf_put_str(&a->out, "data: [DONE]\n\n");
    a->ended = true;
}

/* What is there now, as events. */
static void take(struct answer *a)
{
    const struct job_token *tokens;
    struct openai_error e;
    int n;
    bool over = job_take(a->job, &a->text, &tokens, &n);
    const struct err *bad = over ? job_error(a->job) : NULL;
    if (bad != NULL) {
        (void)openai_from_err(&e, bad);
        put_error(a, &e);
        return;
    }
    if (!a->opened)
        open_choice(a);
    if (a->req.logprobs >= 0 && (n > 0 || a->text.len > 0))
        put_event(a, chunk_text(&a->head, (int)a->at, (const char *)a->text.data, a->text.len, tokens, n, a->req.logprobs,
                                a->previous));
    else if (a->text.len > 0)
        put_text(a);
    a->text.len = 0;
    if (n > 0)
        a->previous = tokens[n - 1].id;
    if (over)
        go_on(a);
}

static ssize_t stream_read(void *arg, char *buf, size_t max)
{
    struct answer *a = arg;
    while (a->sent == a->out.len && !a->ended) {
        a->out.len = a->sent = 0;
        take(a);
        if (a->out.len > 0 || a->ended)
            break;
        switch (job_wait(a->job, a->client, a->serve->stop, PING_MS)) {
        case JOB_QUIET:
            buf_put_str(&a->out, ": ping\n\n");
            break;
        case JOB_HUNG_UP:
            hung_up(a);
            break;
        case JOB_STOPPING:
            put_stopping(a);
            break;
        case JOB_NEWS:
        case JOB_DONE:
            break;
        }
    }
    if (a->out.failed)
        return -1;
    size_t n = a->out.len - a->sent;
    n = n < max ? n : max;
    memcpy(buf, a->out.data + a->sent, n);
    a->sent += n;
    return (ssize_t)n;
}

static void stream_end(void *arg)
{
    struct answer *a = arg;
    if (!a->ended)
        hung_up(a);
    answer_free(a);
}

/* ------------------------------------------------------------------ at once */

/* 0: generated into *c. 1: the client has gone. -1 with *e filled. */
static int whole_choice(struct answer *a, struct chunk_choice *c, struct openai_error *e)
{
    enum job_state state;
    while ((state = job_wait(a->job, a->client, a->serve->stop, PING_MS)) != JOB_DONE)
        if (state == JOB_HUNG_UP || state == JOB_STOPPING)
            return state == JOB_HUNG_UP ? 1 : stopping(e);
    buf_init(&c->text, OUT_MAX);
    (void)job_take(a->job, &c->text, &c->tokens, &c->count);
    c->previous = a->previous;
    c->result = *job_result(a->job);
    c->job = a->job;
    const struct err *bad = job_error(a->job);
    settle(a);
    a->job = NULL;
    return bad == NULL ? 0 : openai_from_err(e, bad);
}

static void whole(struct answer *a, struct http_request *r)
{
    struct chunk_choice *choices = calloc(a->count, sizeof *choices);
    struct openai_error e;
    int rc = choices == NULL ? openai_fail(&e, 500, NULL, NULL, "out of memory") : 0;
    http_asleep(r);
    for (; rc == 0 && a->at < a->count; a->at++) {
        if (a->at > 0)
            rc = start_job(a, &e);
        if (rc == 0)
            rc = whole_choice(a, &choices[a->at], &e);
    }
    http_awake(r);
    if (rc == 0)
        serve_json(a->serve, r, route(a->kind), chunk_whole(&a->head, choices, (int)a->count, a->req.logprobs, &a->usage));
    else if (rc < 0)
        serve_fail(a->serve, r, route(a->kind), &e);
    else
        hung_up(a);
    for (size_t i = 0; choices != NULL && i < a->count; i++) {
        job_free(choices[i].job);
        buf_free(&choices[i].text);
    }
    free(choices);
    answer_free(a);
}

void serve_answer(struct serve *s, struct http_request *r, enum openai_kind kind)
{
    struct openai_error e;
    struct answer *a = answer_new(s, r, kind, &e);
    if (a == NULL) {
        serve_fail(s, r, route(kind), &e);
        return;
    }
    if (!a->req.stream) {
        whole(a, r);
        return;
    }
    http_asleep(r);
    enum job_state state = job_wait(a->job, a->client, s->stop, FIRST_MS);
    http_awake(r);
    const struct err *bad = state == JOB_DONE ? job_error(a->job) : NULL;
    if (state == JOB_HUNG_UP)
        stream_end(a);
    else if (bad != NULL) {
        (void)openai_from_err(&e, bad);
        serve_fail(s, r, route(kind), &e);
        answer_free(a);
    } else {
        serve_count(s, route(kind), 200);
        http_stream(r, "text/event-stream", stream_read, stream_end, a);
    }
}
