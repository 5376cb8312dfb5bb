#include "user/serve.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/secret.h"
#include "user/cmd.h"
#include "user/serve_page.h"

#define LISTEN "127.0.0.1:7847"
#define BODY_MAX ((size_t)4 << 20)
#define KEY_FILE_MAX 4096
#define STOP_MS 3000

/* ------------------------------------------------------------------ replies */

static void text_reply(struct serve *s, struct http_request *r, enum serve_route route, int status, const char *type, char *text)
{
    serve_count(s, route, text == NULL ? 500 : status);
    http_reply(r, status, type, text, text == NULL ? 0 : strlen(text));
}

void serve_fail(struct serve *s, struct http_request *r, enum serve_route route, const struct openai_error *e)
{
    text_reply(s, r, route, e->status, "application/json", openai_error_text(e));
}

void serve_json(struct serve *s, struct http_request *r, enum serve_route route, struct json_doc *doc)
{
    char *text = NULL;
    if (json_print(doc, false, &text, NULL) != 0)
        text = NULL;
    json_free(doc);
    text_reply(s, r, route, 200, "application/json", text);
}

/* ------------------------------------------------------------------ models, health, metrics */

/* Who computes. */
static const char *asked(const struct serve *s)
{
    return s->set.grant->engine ? s->set.backend.url : s->set.servers[0].endpoint;
}

static int context_of(struct serve *s)
{
    int seen = pool_stats(s->pool).context, own = s->set.grant->config->positions;
    return seen > 0 && seen < own ? seen : own;
}

static void put_model(struct serve *s, struct json_doc *doc, struct json *node)
{
    const struct config *k = s->set.grant->config;
    json_put_str(doc, node, "id", s->model);
    json_put_str(doc, node, "object", "model");
    json_put_int(doc, node, "created", s->started);
    json_put_str(doc, node, "owned_by", "stip");
    struct json *meta = json_put_object(doc, node, "meta");
    json_put_str(doc, meta, "architecture", k->architecture);
    json_put_int(doc, meta, "n_vocab", k->V);
    json_put_int(doc, meta, "n_ctx", context_of(s));
    json_put_int(doc, meta, "n_embd", k->D);
}

static void models(struct serve *s, struct http_request *r)
{
    struct json_doc *doc = json_new_object("models");
    json_put_str(doc, json_node(doc), "object", "list");
    put_model(s, doc, json_put_object(doc, json_put_array(doc, json_node(doc), "data"), NULL));
    serve_json(s, r, SERVE_MODELS, doc);
}

static void model(struct serve *s, struct http_request *r, const char *name)
{
    const struct openai_request asked = {.model = name};
    struct openai_error e;
    if (serve_check_model(s, &asked, &e) != 0) {
        serve_fail(s, r, SERVE_MODELS, &e);
        return;
    }
    struct json_doc *doc = json_new_object("model");
    put_model(s, doc, json_node(doc));
    serve_json(s, r, SERVE_MODELS, doc);
}

static void health(struct serve *s, struct http_request *r)
{
    struct err err = {0};
    if (pool_check(s->pool, &err) == 0) {
        struct json_doc *doc = json_new_object("health");
        json_put_str(doc, json_node(doc), "status", "ok");
        serve_json(s, r, SERVE_OTHER, doc);
        return;
    }
    struct openai_error e;
    (void)openai_fail(&e, 503, "server_unavailable", NULL, "%s", err.text);
    serve_fail(s, r, SERVE_OTHER, &e);
}

static void metrics(struct serve *s, struct http_request *r)
{
    text_reply(s, r, SERVE_OTHER, 200, "text/plain; version=0.0.4", serve_metrics_text(s));
}

/* ------------------------------------------------------------------ tokens and templates */

static int tokenize(struct serve *s, const struct openai_request *req, struct json_doc *doc, struct openai_error *e)
{
    struct token_ids ids = {0};
    struct err err = {0};
    const char *text = req->inputs[0].text;
    if (tokenizer_encode(s->set.grant->tokenizer, text, strlen(text), NULL, 0, req->special, &ids, &err) != 0)
        return openai_from_err(e, &err);
    struct json *list = json_put_array(doc, json_node(doc), "tokens");
    for (size_t i = 0; i < ids.n; i++)
        json_put_int(doc, list, NULL, ids.ids[i]);
    token_ids_free(&ids);
    return 0;
}

static int detokenize(struct serve *s, const struct openai_request *req, struct json_doc *doc, struct openai_error *e)
{
    struct err err = {0};
    char *text;
    size_t len;
    if (tokenizer_decode(s->set.grant->tokenizer, req->inputs[0].ids, req->inputs[0].n, false, &text, &len, &err) != 0)
        return openai_from_err(e, &err);
    json_put_text(doc, json_node(doc), "content", text, len);
    free(text);
    return 0;
}

static int apply_template(struct serve *s, const struct openai_request *req, struct json_doc *doc, struct openai_error *e)
{
    char *text;
    size_t len;
    if (serve_prompt_text(s, req, &text, &len, e) != 0)
        return -1;
    json_put_text(doc, json_node(doc), "prompt", text, len);
    free(text);
    return 0;
}

static void tokens(struct serve *s, struct http_request *r, enum openai_kind kind)
{
    struct openai_request req = {0};
    struct openai_error e;
    struct json_doc *doc = json_new_object("tokens");
    int rc = openai_parse(&req, kind, r->body, r->body_len, &e);
    if (rc == 0)
        rc = kind == OPENAI_TOKENIZE     ? tokenize(s, &req, doc, &e)
             : kind == OPENAI_DETOKENIZE ? detokenize(s, &req, doc, &e)
                                         : apply_template(s, &req, doc, &e);
    openai_request_free(&req);
    if (rc == 0)
        serve_json(s, r, SERVE_TOKENS, doc);
    else {
        json_free(doc);
        serve_fail(s, r, SERVE_TOKENS, &e);
    }
}

/* ------------------------------------------------------------------ the page and what it shows */

static void info(struct serve *s, struct http_request *r)
{
    const struct grant *g = s->set.grant;
    struct json_doc *doc = json_new_object("info");
    struct json *root = json_node(doc);
    char id[2 * CRYPTO_HASH_LEN + 1];
    crypto_hex(g->context, sizeof g->context, id);
    json_put_str(doc, root, "model", s->model);
    json_put_str(doc, root, "architecture", g->config->architecture);
    json_put_str(doc, root, "profile", g->profile);
    json_put_int(doc, root, "local_layers", g->local_layers);
    json_put_str(doc, root, "head", g->head_here ? "user" : "server");
    json_put_str(doc, root, "server", asked(s));
    json_put_str(doc, root, "package", id);
    json_put_int(doc, root, "width", g->config->D);
    json_put_int(doc, root, "vocabulary", g->config->V);
    json_put_int(doc, root, "context", context_of(s));
    json_put_bool(doc, root, "chat", (s->turn != NULL || s->template != NULL) && g->config->head == HEAD_LM);
    json_put_str(doc, root, "version", STIP_VERSION);
    if (g->verdict_count > 0) {
        struct json *audit = json_put_object(doc, root, "audit"), *verdict = json_put_array(doc, audit, "verdict");
        json_put_str(doc, audit, "created", g->audited);
        for (int i = 0; i < g->verdict_count; i++)
            json_put_str(doc, verdict, NULL, g->verdict[i]);
    }
    serve_json(s, r, SERVE_PAGE, doc);
}

static void trace(struct serve *s, struct http_request *r)
{
    const char *id = http_query(r, "id"), *after = http_query(r, "after");
    char *text = id == NULL ? NULL : view_text(s->views, id, after == NULL ? 0 : strtoull(after, NULL, 10));
    struct openai_error e;
    if (text == NULL) {
        (void)openai_fail(&e, 404, "unknown_id", "id", "no answer with this id is kept; ask with {\"stip\": {\"trace\": true}}");
        serve_fail(s, r, SERVE_PAGE, &e);
    } else
        text_reply(s, r, SERVE_PAGE, 200, "application/json", text);
}

static bool page(struct serve *s, struct http_request *r)
{
    for (const struct serve_page *p = serve_pages; p->path != NULL; p++)
        if (strcmp(p->path, r->path) == 0) {
            serve_count(s, SERVE_PAGE, 200);
            http_reply_static(
                r, p->type, p->data, p->size, "Content-Security-Policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
            return true;
        }
    return false;
}

/* ------------------------------------------------------------------ routes */

enum endpoint {
    AT_CHAT,
    AT_COMPLETIONS,
    AT_EMBEDDINGS,
    AT_MODELS,
    AT_TOKENIZE,
    AT_DETOKENIZE,
    AT_TEMPLATE,
    AT_HEALTH,
    AT_METRICS,
    AT_INFO,
    AT_TRACE
};

static const struct {
    const char *method, *path;
    enum endpoint at;
    bool local; /* this machine only */
} routes[] = {
    {"POST", "/v1/chat/completions", AT_CHAT, false}, {"POST", "/v1/completions", AT_COMPLETIONS, false},
    {"POST", "/v1/embeddings", AT_EMBEDDINGS, false}, {"GET", "/v1/models", AT_MODELS, false},
    {"POST", "/tokenize", AT_TOKENIZE, false},        {"POST", "/detokenize", AT_DETOKENIZE, false},
    {"POST", "/apply-template", AT_TEMPLATE, false},  {"GET", "/health", AT_HEALTH, false},
    {"GET", "/metrics", AT_METRICS, false},           {"GET", "/stip/info", AT_INFO, true},
    {"GET", "/stip/trace", AT_TRACE, true},
};
#define ROUTES (sizeof routes / sizeof *routes)
#define MODEL_PATH "/v1/models/"

static void call(struct serve *s, struct http_request *r, enum endpoint at)
{
    switch (at) {
    case AT_CHAT:
        serve_answer(s, r, OPENAI_CHAT);
        break;
    case AT_COMPLETIONS:
        serve_answer(s, r, OPENAI_COMPLETION);
        break;
    case AT_EMBEDDINGS:
        serve_embed(s, r);
        break;
    case AT_MODELS:
        models(s, r);
        break;
    case AT_TOKENIZE:
        tokens(s, r, OPENAI_TOKENIZE);
        break;
    case AT_DETOKENIZE:
        tokens(s, r, OPENAI_DETOKENIZE);
        break;
    case AT_TEMPLATE:
        tokens(s, r, OPENAI_TEMPLATE);
        break;
    case AT_HEALTH:
        health(s, r);
        break;
    case AT_METRICS:
        metrics(s, r);
        break;
    case AT_INFO:
        info(s, r);
        break;
    case AT_TRACE:
        trace(s, r);
        break;
    }
}

/* What is refused before it comes here, in the API's words. */
static char *refusal(enum http_refusal why, int status)
{
    struct openai_error e;
    switch (why) {
    case HTTP_BAD_HOST:
        (void)openai_fail(
            &e, status, "host_not_allowed", NULL,
            "this gateway answers to localhost and to numeric addresses; other names in Host must be given with --host");
        break;
    case HTTP_BAD_ORIGIN:
        (void)openai_fail(&e, status, "origin_not_allowed", NULL, "this web origin is not one of those given with --cors");
        break;
    case HTTP_BAD_KEY:
        (void)openai_fail(&e, status, "invalid_api_key", NULL, "this gateway wants its API key: Authorization: Bearer KEY");
        break;
    default: (void)openai_fail(&e, status, "request_too_large", NULL, "a request has at most %zu bytes", (size_t)BODY_MAX); break;
    }
    return openai_error_text(&e);
}

static void handle(void *arg, struct http_request *r)
{
    struct serve *s = arg;
    struct openai_error e;
    const char *allowed = NULL;
    for (size_t i = 0; i < ROUTES; i++) {
        if (strcmp(routes[i].path, r->path) != 0)
            continue;
        allowed = routes[i].method;
        if (strcmp(allowed, r->method) == 0 && (!routes[i].local || r->loopback)) {
            call(s, r, routes[i].at);
            return;
        }
    }
    if (strcmp(r->method, "GET") == 0 && strncmp(r->path, MODEL_PATH, strlen(MODEL_PATH)) == 0) {
        model(s, r, r->path + strlen(MODEL_PATH));
        return;
    }
    if (strcmp(r->method, "GET") == 0 && page(s, r))
        return;
    if (allowed != NULL && strcmp(allowed, r->method) != 0)
        (void)openai_fail(&e, 405, "method_not_allowed", NULL, "%s takes %s", r->path, allowed);
    else if (allowed != NULL)
        (void)openai_fail(&e, 403, "not_local", NULL, "%s answers this machine only", r->path);
    else
        (void)openai_fail(&e, 404, "not_found", NULL, "this gateway has no %.100s; docs/GATEWAY.md lists what it has", r->path);
    serve_fail(s, r, SERVE_OTHER, &e);
}

/* ------------------------------------------------------------------ start and end */

struct options {
    struct http_opts http;
    char origins[4096], hosts[4096];
    const char *key_file;
    uint8_t *key; /* secret memory */
    int64_t parallel;
    int guesses;
};

/* A list of texts of the config, with commas. */
static int joined(const struct json_doc *doc, const struct json *node, const char *key, char *out, size_t cap, struct err *err)
{
    const struct json *list = json_get(node, key);
    size_t n = 0;
    for (const struct json *t = json_first(list); t != NULL; t = json_next(t)) {
        const char *text = json_string(t);
        if (text == NULL || n + strlen(text) + 2 > cap)
            return err_set(err, ERR_USAGE, "%s: field 'gateway.%s': expected a list of texts, %zu bytes in all at most, found %s",
                           json_name(doc), key, cap, json_type_name(t));
        n += (size_t)snprintf(out + n, cap - n, "%s%s", n == 0 ? "" : ",", text);
    }
    if (!json_is_null(list) && json_type(list) != JSON_ARRAY)
        return err_set(err, ERR_USAGE, "%s: field 'gateway.%s': expected a list of texts, found %s", json_name(doc), key,
                       json_type_name(list));
    return 0;
}

/* One line, kept in secret memory. */
static int read_key(const struct setup *set, const char *path, bool of_config, uint8_t **out, struct err *err)
{
    char full[FILE_PATH_MAX];
    size_t len;
    uint8_t *data = NULL;
    if (file_join(full, of_config ? set->config.dir : NULL, path, err) != 0 ||
        file_read_secret(full, KEY_FILE_MAX, &data, &len, err) != 0)
        return -1;
    size_t n = len;
    while (n > 0 && (data[n - 1] == '\n' || data[n - 1] == '\r'))
        n--;
    uint8_t *key = secret_alloc(n + 1);
    bool plain = n >= 8 && key != NULL;
    for (size_t i = 0; plain && i < n; i++)
        plain = data[i] > ' ' && data[i] < 0x7f;
    if (plain)
        memcpy(key, data, n);
    secret_free(data);
    if (!plain) {
        secret_free(key);
        return err_set(err, ERR_INPUT, "%s: expected one line with a key of at least 8 printable characters, without blanks",
                       full);
    }
    *out = key;
    return 0;
}

static int read_options(struct serve *s, const struct cli_cmd *cmd, struct options *o, struct err *err)
{
    const struct json_doc *doc = s->set.config.doc;
    const struct json *node = json_get(json_root(doc), "gateway");
    const char *listen = LISTEN, *name = "stip", *file = NULL;
    int64_t max_tokens = 1024, connections = 256;
    o->parallel = 32;
    if (json_opt_str(doc, node, "listen", &listen, err) != 0 ||
        json_opt_str(doc, node, "model", &name, err) != 0 || json_opt_str(doc, node, "api_key_file", &file, err) != 0 ||
        joined(doc, node, "cors", o->origins, sizeof o->origins, err) != 0 ||
        joined(doc, node, "hosts", o->hosts, sizeof o->hosts, err) != 0 ||
        json_opt_int(doc, node, "max_tokens", 1, 1 << 24, &max_tokens, err) != 0 ||
        json_opt_int(doc, node, "parallel", 1, 1024, &o->parallel, err) != 0 ||
        json_opt_int(doc, node, "connections", 1, 4096, &connections, err) != 0 ||
        json_opt_str(doc, json_root(doc), "chat_turn", &s->turn, err) != 0 ||
        cli_int(cmd, "max-tokens", 1, 1 << 24, &max_tokens, err) != 0 ||
        cli_int(cmd, "parallel", 1, 1024, &o->parallel, err) != 0 ||
        cli_int(cmd, "connections", 1, 4096, &connections, err) != 0 || setup_guesses(&s->set, cmd, &o->guesses, err) != 0)
        return -1;
    if (json_get(json_root(doc), "draft") != NULL)
        log_warn("%s: a draft model serves one answer at a time; the gateway makes its guesses by look-up", json_name(doc));
    s->turn = cli_str(cmd, "turn", s->turn);
    if (s->turn != NULL && strstr(s->turn, "%s") == NULL)
        return err_set(err, ERR_USAGE, "chat_turn (--turn): expected a text with %%s, which stands for the line, found '%.60s'",
                       s->turn);
    s->model = cli_str(cmd, "model", name);
    s->max_tokens = (int)max_tokens;
    o->http.listen = cli_str(cmd, "listen", listen);
    o->http.origins = cli_str(cmd, "cors", o->origins);
    o->http.hosts = cli_str(cmd, "host", o->hosts);
    o->http.connections = (unsigned)connections;
    o->http.body_max = BODY_MAX;
    o->key_file = cli_str(cmd, "api-key-file", file);
    return o->key_file == NULL ? 0 : read_key(&s->set, o->key_file, !cli_on(cmd, "api-key-file"), &o->key, err);
}

static void say_ready(const struct serve *s, const struct options *o, const struct http *h, bool loopback, bool json)
{
    char host[128], url[160];
    (void)snprintf(host, sizeof host, "%.*s", (int)(strrchr(o->http.listen, ':') - o->http.listen), o->http.listen);
    (void)snprintf(url, sizeof url, "http://%s:%d", host, http_port(h));
    if (!loopback)
        log_warn("%s: other machines can reach this gateway%s, and prompts travel to it unencrypted", o->http.listen,
                 o->key == NULL ? ", without a key" : "");
    log_info("ready: %s, model %s (%s), server %s", url, s->model, s->set.grant->config->architecture, asked(s));
    if (json)
        printf("{\"event\":\"ready\",\"url\":\"%s\",\"port\":%d}\n", url, http_port(h));
    else
        printf("chat        %s/\n"
               "clients     export OPENAI_BASE_URL=%s/v1\n"
               "            export OPENAI_API_KEY=%s\n"
               "try         curl %s/v1/chat/completions -H 'Content-Type: application/json'%s \\\n"
               "              -d '{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n"
               "%s: profile %s. %s\n",
               url, url, o->key == NULL ? "stip" : "\"$(cat KEYFILE)\"", url,
               o->key == NULL ? "" : " -H \"Authorization: Bearer $OPENAI_API_KEY\"", s->model,
               s->set.grant->engine ? "An engine computes on a substitution cipher of your tokens" : "The server computes on permuted numbers",
               s->set.grant->profile,
               s->set.grant->engine ? "Weaker than stip: docs/ENGINES.md" : "What that does not protect: docs/SECURITY.md");
    (void)fflush(stdout);
}

static int run(struct serve *s, const struct cli_cmd *cmd, struct options *o, struct err *err)
{
    static const char *const open_paths[] = {"/", "/page.css", "/page.js", "/health", NULL};
    struct http *h = NULL;
    bool loopback;
    sigset_t ends;
    int got;
    o->http.key = (const char *)o->key;
    o->http.open_paths = open_paths;
    o->http.handle = handle;
    o->http.refusal = refusal;
    o->http.arg = s;
    if (http_check_listen(o->http.listen, &loopback, err) != 0)
        return -1;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &ends, NULL); /* threads inherit it: the signal waits for sigwait below */
    s->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->stop < 0)
        return err_set(err, ERR_INTERNAL, "eventfd: %s", strerror(errno));
    if (setup_open(&s->set, cmd, err) != 0 || (s->set.grant->engine && setup_backend(&s->set, cmd, err) != 0) || pool_open(&s->pool, &s->set, (int)o->parallel, o->guesses, err) != 0)
        return -1;
    if (s->turn == NULL && chat_template_load(&s->template, s->set.grant_dir, err) != 0)
        return -1;
    if ((s->views = views_new()) == NULL)
        return err_oom(err, 1);
    struct err down = {0};
    if (pool_check(s->pool, &down) != 0)
        log_warn("%s; requests will try again", down.text);
    if (http_open(&h, &o->http, err) != 0)
        return -1;
    say_ready(s, o, h, loopback, cli_on(cmd, "json"));
    (void)sigwait(&ends, &got);
    log_info("stopping");
    http_quiesce(h);
    (void)!write(s->stop, &(const uint64_t){1}, sizeof(uint64_t));
    /* Streams end with a word, if their clients still listen. */
    for (uint64_t end = clock_ms() + STOP_MS; atomic_load(&s->metrics.running) > 0 && clock_ms() < end;)
        (void)poll(NULL, 0, 10);
    http_close(h);
    return 0;
}

int cmd_serve(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    static struct serve s;
    struct options *o = calloc(1, sizeof *o);
    (void)argc;
    (void)argv;
    if (o == NULL)
        return err_oom(err, sizeof *o);
    memory_keep_freed();
    s.stop = -1;
    s.started = clock_unix();
    int rc = setup_read(&s.set, cmd, err) == 0 && read_options(&s, cmd, o, err) == 0 ? run(&s, cmd, o, err) : -1;
    pool_close(s.pool);
    views_free(s.views);
    chat_template_free(s.template);
    setup_close(&s.set);
    if (s.stop >= 0)
        close(s.stop);
    secret_free(o->key);
    free(o);
    return rc;
}
