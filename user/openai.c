#include "user/openai.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define CONTENT_MAX ((size_t)64 << 20)

/* ------------------------------------------------------------------ errors */

int openai_fail(struct openai_error *e, int status, const char *code, const char *param, const char *fmt, ...)
{
    va_list ap;
    *e = (struct openai_error){.status = status,
                               .code = code,
                               .type = status == 401   ? "authentication_error"
                                       : status == 503 ? "unavailable_error"
                                       : status >= 500 ? "server_error"
                                                       : "invalid_request_error"};
    (void)snprintf(e->param, sizeof e->param, "%s", param == NULL ? "" : param);
    va_start(ap, fmt);
    (void)vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    return -1;
}

int openai_from_err(struct openai_error *e, const struct err *err)
{
    int status = err->code == ERR_INPUT || err->code == ERR_USAGE ? 400
                 : err->code == ERR_PEER                          ? 503
                 : err->code == ERR_AUTH || err->code == ERR_CHECK ? 502
                                                                  : 500;
    return openai_fail(e, status,
                       status == 503   ? "server_unavailable"
                       : status == 502 ? (err->code == ERR_CHECK ? "server_not_verified" : "not_authorised")
                                       : NULL,
                       NULL, "%s", err->text);
}

char *openai_error_text(const struct openai_error *e)
{
    struct json_doc *doc = json_new_object("error");
    struct json *node = json_put_object(doc, json_node(doc), "error");
    char *text = NULL;
    json_put_str(doc, node, "message", e->message);
    json_put_str(doc, node, "type", e->type);
    if (e->param[0] == '\0')
        json_put_null(doc, node, "param");
    else
        json_put_str(doc, node, "param", e->param);
    if (e->code == NULL)
        json_put_null(doc, node, "code");
    else
        json_put_str(doc, node, "code", e->code);
    if (json_print(doc, false, &text, NULL) != 0)
        text = NULL;
    json_free(doc);
    return text;
}

static int wrong(struct openai_error *e, const char *param, const struct err *err)
{
    return openai_fail(e, 400, "invalid_value", param, "%s", err->text);
}

static int expected(struct openai_error *e, const char *param, const char *what, const struct json *found)
{
    return openai_fail(e, 400, "invalid_value", param, "'%s': expected %s, found %s", param, what, json_type_name(found));
}

static int unsupported(struct openai_error *e, const char *param, const char *why)
{
    return openai_fail(e, 400, "unsupported_parameter", param, "'%s' is not supported: %s", param, why);
}

static int no_memory(struct openai_error *e)
{
    return openai_fail(e, 500, NULL, NULL, "out of memory");
}

/* ------------------------------------------------------------------ single fields */

struct reading {
    const struct json_doc *doc;
    const struct json *root;
    struct openai_error *e;
};

static int flag(const struct reading *r, const char *key, bool *out)
{
    struct err err;
    return json_opt_bool(r->doc, r->root, key, out, &err) == 0 ? 0 : wrong(r->e, key, &err);
}

static int integer(const struct reading *r, const char *key, int64_t min, int64_t max, int64_t *out)
{
    struct err err;
    return json_opt_int(r->doc, r->root, key, min, max, out, &err) == 0 ? 0 : wrong(r->e, key, &err);
}

static int number(const struct reading *r, const char *key, double min, double max, double *out)
{
    struct err err;
    double v = *out;
    if (json_opt_num(r->doc, r->root, key, &v, &err) != 0)
        return wrong(r->e, key, &err);
    if (!(v >= min && v <= max))
        return openai_fail(r->e, 400, "invalid_value", key, "'%s': expected a number from %g to %g, found %g", key, min, max, v);
    *out = v;
    return 0;
}

static int text(const struct reading *r, const char *key, const char **out)
{
    struct err err;
    return json_opt_str(r->doc, r->root, key, out, &err) == 0 ? 0 : wrong(r->e, key, &err);
}

/* ------------------------------------------------------------------ what is refused */

static bool is_text(const struct json *node, const char *value)
{
    return json_string(node) != NULL && strcmp(json_string(node), value) == 0;
}

static bool is_empty(const struct json *node)
{
    return json_is_null(node) || ((json_type(node) == JSON_ARRAY || json_type(node) == JSON_OBJECT) && json_count(node) == 0);
}

/* Fields that would change the answer. Their neutral values pass: clients send them without being asked. */
static int refuse(const struct reading *r)
{
    static const char *const never[] = {"functions",   "audio",        "prediction",    "web_search_options",    "grammar",
                                        "guided_json", "guided_regex", "chat_template", "continue_final_message"};
    const struct json *root = r->root, *f;
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (!is_empty(json_get(root, never[i])) &&
            !(json_type(json_get(root, never[i])) == JSON_BOOL && !json_true(json_get(root, never[i]))))
            return unsupported(r->e, never[i], "this gateway gives plain text");
    if (!is_empty(json_get(root, "tools")))
        return unsupported(r->e, "tools", "this gateway does not call tools");
    static const char *const choices[] = {"tool_choice", "function_call"};
    for (size_t i = 0; i < 2; i++) {
        f = json_get(root, choices[i]);
        if (!json_is_null(f) && !is_text(f, "none") && !is_text(f, "auto"))
            return unsupported(r->e, choices[i], "this gateway does not call tools");
    }
    f = json_get(root, "response_format");
    if (!json_is_null(f) && !is_text(json_get(f, "type"), "text"))
        return unsupported(r->e, "response_format", "only {\"type\": \"text\"}; output is not constrained to a schema");
    f = json_get(root, "modalities");
    if (!json_is_null(f) && !(json_type(f) == JSON_ARRAY && json_count(f) == 1 && is_text(json_first(f), "text")))
        return unsupported(r->e, "modalities", "only [\"text\"]");
    static const char *const ones[] = {"n", "best_of"};
    for (size_t i = 0; i < 2; i++) {
        int64_t n = 1;
        if (integer(r, ones[i], 1, 1 << 20, &n) != 0)
            return -1;
        if (n != 1)
            return unsupported(r->e, ones[i], "one answer per request; ask again with another seed");
    }
    bool echo = false;
    const char *suffix = "";
    if (flag(r, "echo", &echo) != 0 || text(r, "suffix", &suffix) != 0)
        return -1;
    if (echo)
        return unsupported(r->e, "echo", "the prompt is not repeated");
    return suffix[0] == '\0' ? 0 : unsupported(r->e, "suffix", "text is continued, not filled in");
}

/* ------------------------------------------------------------------ messages */

/* A content of text parts, joined. */
static int parts(const struct reading *r, const struct json *list, const char *param, char **out)
{
    struct buf b;
    buf_init(&b, CONTENT_MAX);
    for (const struct json *p = json_first(list); p != NULL; p = json_next(p)) {
        const char *value = json_string(json_get(p, "text"));
        if (!is_text(json_get(p, "type"), "text") || value == NULL) {
            buf_free(&b);
            const char *type = json_string(json_get(p, "type"));
            return openai_fail(r->e, 400, "unsupported_parameter", param,
                               "'%s': only parts {\"type\": \"text\", \"text\": \"...\"} are supported, found %.40s", param,
                               type == NULL ? "another form" : type);
        }
        buf_put_str(&b, value);
    }
    *out = buf_take(&b, NULL);
    return *out == NULL ? no_memory(r->e) : 0;
}

static int message(const struct reading *r, const struct json *node, size_t i, struct openai_message *m)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant"};
    char param[64];
    const struct json *content = json_get(node, "content");
    (void)snprintf(param, sizeof param, "messages[%zu]", i);
    if (json_type(node) != JSON_OBJECT)
        return expected(r->e, param, "an object with role and content", node);
    (void)snprintf(param, sizeof param, "messages[%zu].role", i);
    const char *role = json_string(json_get(node, "role"));
    for (size_t k = 0; role != NULL && k < sizeof roles / sizeof *roles; k++)
        if (strcmp(role, roles[k]) == 0)
            m->role = roles[k];
    if (m->role == NULL)
        return openai_fail(r->e, 400, "invalid_value", param, "'%s': expected system, developer, user or assistant, found %.40s",
                           param, role == NULL ? json_type_name(json_get(node, "role")) : role);
    (void)snprintf(param, sizeof param, "messages[%zu].tool_calls", i);
    if (!is_empty(json_get(node, "tool_calls")))
        return unsupported(r->e, param, "this gateway does not call tools");
    (void)snprintf(param, sizeof param, "messages[%zu].content", i);
    if (json_type(content) == JSON_ARRAY)
        return parts(r, content, param, &m->content);
    if (json_string(content) == NULL)
        return expected(r->e, param, "a text or a list of text parts", content);
    m->content = strdup(json_string(content));
    return m->content == NULL ? no_memory(r->e) : 0;
}

static int messages(const struct reading *r, struct openai_request *out)
{
    const struct json *list = json_get(r->root, "messages");
    size_t n = json_count(list);
    if (json_type(list) != JSON_ARRAY || n == 0)
        return expected(r->e, "messages", "a list of at least one message", json_type(list) == JSON_ARRAY ? NULL : list);
    if ((out->messages = calloc(n, sizeof *out->messages)) == NULL)
        return no_memory(r->e);
    out->message_count = n;
    size_t i = 0;
    for (const struct json *m = json_first(list); m != NULL; m = json_next(m), i++)
        if (message(r, m, i, &out->messages[i]) != 0)
            return -1;
    return 0;
}

/* ------------------------------------------------------------------ inputs: a text, texts, ids, lists of ids */

static int ids(const struct reading *r, const struct json *list, const char *param, struct openai_input *out)
{
    size_t n = json_count(list), i = 0;
    if (n == 0)
        return openai_fail(r->e, 400, "invalid_value", param, "'%s': an empty list of token ids", param);
    if ((out->ids = malloc(n * sizeof *out->ids)) == NULL)
        return no_memory(r->e);
    for (const struct json *t = json_first(list); t != NULL; t = json_next(t)) {
        int64_t id;
        if (!json_integer(t, &id) || id < 0 || id > INT32_MAX)
            return expected(r->e, param, "token ids, whole numbers from 0", t);
        out->ids[i++] = (int32_t)id;
    }
    out->n = n;
    return 0;
}

static int inputs(const struct reading *r, const char *key, struct openai_request *out)
{
    const struct json *node = json_get(r->root, key), *first = json_first(node);
    bool single = json_type(node) == JSON_STRING || (json_type(node) == JSON_ARRAY && json_type(first) == JSON_NUMBER);
    size_t n = single ? 1 : json_count(node), i = 0;
    if (json_is_null(node) || (!single && json_type(node) != JSON_ARRAY) || n == 0)
        return expected(r->e, key, "a text, a list of texts, token ids, or lists of token ids, and none of them empty",
                        n == 0 && json_type(node) == JSON_ARRAY ? NULL : node);
    if (n > OPENAI_INPUTS_MAX)
        return openai_fail(r->e, 400, "invalid_value", key, "'%s': %zu of them; at most %d", key, n, OPENAI_INPUTS_MAX);
    if ((out->inputs = calloc(n, sizeof *out->inputs)) == NULL)
        return no_memory(r->e);
    out->input_count = n;
    for (const struct json *p = single ? node : first; i < n; p = json_next(p), i++) {
        struct openai_input *in = &out->inputs[i];
        if (json_type(p) == JSON_ARRAY ? ids(r, p, key, in) != 0 : (in->text = json_string(p)) == NULL)
            return json_type(p) == JSON_ARRAY ? -1 : expected(r->e, key, "a text or a list of token ids", p);
    }
    return 0;
}

/* ------------------------------------------------------------------ sampling */

static int bias(const struct reading *r, struct openai_request *out)
{
    const struct json *map = json_get(r->root, "logit_bias");
    if (json_is_null(map))
        return 0;
    if (json_type(map) != JSON_OBJECT)
        return expected(r->e, "logit_bias", "an object from token ids to numbers", map);
    size_t n = json_count(map);
    if (n == 0)
        return 0;
    struct sample_bias *list = calloc(n, sizeof *list);
    if (list == NULL)
        return no_memory(r->e);
    out->sample.bias = list;
    for (const struct json *b = json_first(map); b != NULL; b = json_next(b)) {
        char *end;
        const char *key = json_key(b);
        double add = json_number(b);
        long id = key[0] >= '0' && key[0] <= '9' ? strtol(key, &end, 10) : -1;
        if (id < 0 || id > INT32_MAX || *end != '\0')
            return openai_fail(r->e, 400, "invalid_value", "logit_bias",
                               "'logit_bias': expected token ids as keys, found '%.40s'", key);
        if (!(add >= -100 && add <= 100))
            return openai_fail(r->e, 400, "invalid_value", "logit_bias",
                               "'logit_bias': token %ld: expected a number from -100 to 100", id);
        /* The API's extremes mean never and only. */
        list[out->sample.bias_count++] = (struct sample_bias){(int32_t)id, (float)(add <= -100 ? -1e4 : add >= 100 ? 1e4 : add)};
    }
    return 0;
}

static int stops(const struct reading *r, struct openai_request *out)
{
    const struct json *node = json_get(r->root, "stop");
    if (json_is_null(node))
        return 0;
    bool single = json_type(node) == JSON_STRING;
    if (!single && json_type(node) != JSON_ARRAY)
        return expected(r->e, "stop", "a text or a list of texts", node);
    for (const struct json *s = single ? node : json_first(node); s != NULL; s = single ? NULL : json_next(s)) {
        if (json_string(s) == NULL || json_string(s)[0] == '\0')
            return expected(r->e, "stop", "texts that are not empty", s);
        if (out->stop_count == OPENAI_STOP_MAX)
            return openai_fail(r->e, 400, "invalid_value", "stop", "'stop': at most %d texts", OPENAI_STOP_MAX);
        out->stop[out->stop_count++] = json_string(s);
    }
    return 0;
}

static int logprobs(const struct reading *r, enum openai_kind kind, struct openai_request *out)
{
    int64_t top = -1;
    bool on = false;
    if (kind == OPENAI_COMPLETION) {
        if (integer(r, "logprobs", 0, OPENAI_TOP_MAX, &top) != 0)
            return -1;
        out->logprobs = (int)top;
        return 0;
    }
    if (flag(r, "logprobs", &on) != 0 || integer(r, "top_logprobs", 0, OPENAI_TOP_MAX, &top) != 0)
        return -1;
    if (top >= 0 && !on)
        return openai_fail(r->e, 400, "invalid_value", "top_logprobs", "'top_logprobs' needs 'logprobs': true");
    out->logprobs = !on ? -1 : top < 0 ? 0 : (int)top;
    return 0;
}

static int sampling(const struct reading *r, enum openai_kind kind, struct openai_request *out)
{
    struct sample_opts *s = &out->sample;
    const struct json *options = json_get(r->root, "stream_options"), *own = json_get(r->root, "stip");
    const struct json *variables = json_get(r->root, "chat_template_kwargs");
    const struct reading inner = {r->doc, options, r->e};
    int64_t top_k = 0, seed = 0, newer = 0;
    out->seeded = !json_is_null(json_get(r->root, "seed"));
    if (flag(r, "stream", &out->stream) != 0 || number(r, "temperature", 0, 100, &s->temperature) != 0 ||
        number(r, "top_p", 0, 1, &s->top_p) != 0 || number(r, "min_p", 0, 1, &s->min_p) != 0 ||
        integer(r, "top_k", -1, 1 << 24, &top_k) != 0 || number(r, "repetition_penalty", 0.01, 100, &s->repeat_penalty) != 0 ||
        number(r, "frequency_penalty", -2, 2, &s->frequency_penalty) != 0 ||
        number(r, "presence_penalty", -2, 2, &s->presence_penalty) != 0 ||
        integer(r, "seed", -(INT64_C(1) << 53), INT64_C(1) << 53, &seed) != 0 ||
        integer(r, "max_tokens", 1, 1 << 24, &out->max_tokens) != 0 ||
        integer(r, "max_completion_tokens", 1, 1 << 24, &newer) != 0 || logprobs(r, kind, out) != 0 || stops(r, out) != 0 ||
        bias(r, out) != 0)
        return -1;
    if (!json_is_null(options) && json_type(options) != JSON_OBJECT)
        return expected(r->e, "stream_options", "an object", options);
    if (!json_is_null(options) && flag(&inner, "include_usage", &out->include_usage) != 0)
        return -1;
    if (!json_is_null(variables) && json_type(variables) != JSON_OBJECT)
        return expected(r->e, "chat_template_kwargs", "an object", variables);
    if (!json_is_null(own) && json_type(own) != JSON_OBJECT)
        return expected(r->e, "stip", "an object", own);
    if (!json_is_null(own) && flag(&(struct reading){r->doc, own, r->e}, "trace", &out->trace) != 0)
        return -1;
    s->top_k = top_k < 0 ? 0 : (int)top_k;
    s->seed = (uint64_t)seed;
    out->max_tokens = newer > 0 ? newer : out->max_tokens;
    return 0;
}

/* ------------------------------------------------------------------ a request */

static int embeddings(const struct reading *r, struct openai_request *out)
{
    const char *format = "float";
    if (inputs(r, "input", out) != 0 || text(r, "encoding_format", &format) != 0 ||
        integer(r, "dimensions", 1, 1 << 24, &out->dimensions) != 0)
        return -1;
    out->base64 = strcmp(format, "base64") == 0;
    if (!out->base64 && strcmp(format, "float") != 0)
        return openai_fail(r->e, 400, "invalid_value", "encoding_format",
                           "'encoding_format': expected float or base64, found '%.40s'", format);
    return 0;
}

/* One text in `content`, or a list of ids in `tokens`. */
static int one_input(const struct reading *r, const char *key, enum json_type type, struct openai_request *out)
{
    const struct json *node = json_get(r->root, key);
    if (json_is_null(node) || json_type(node) != type)
        return expected(r->e, key, type == JSON_STRING ? "a text" : "a list of token ids", node);
    if ((out->inputs = calloc(1, sizeof *out->inputs)) == NULL)
        return no_memory(r->e);
    out->input_count = 1;
    if (type == JSON_STRING)
        out->inputs[0].text = json_string(node);
    else if (json_count(node) > 0)
        return ids(r, node, key, &out->inputs[0]);
    return 0;
}

static int fields(const struct reading *r, enum openai_kind kind, struct openai_request *out)
{
    if (text(r, "model", &out->model) != 0)
        return -1;
    switch (kind) {
    case OPENAI_CHAT:
        return refuse(r) != 0 || messages(r, out) != 0 ? -1 : sampling(r, kind, out);
    case OPENAI_COMPLETION:
        return refuse(r) != 0 || inputs(r, "prompt", out) != 0 ? -1 : sampling(r, kind, out);
    case OPENAI_EMBEDDINGS:
        return embeddings(r, out);
    case OPENAI_TOKENIZE:
        return flag(r, "add_special", &out->special) != 0 ? -1 : one_input(r, "content", JSON_STRING, out);
    case OPENAI_DETOKENIZE:
        return one_input(r, "tokens", JSON_ARRAY, out);
    case OPENAI_TEMPLATE:
        return messages(r, out);
    }
    return openai_fail(r->e, 500, NULL, NULL, "unknown kind of request");
}

int openai_parse(struct openai_request *out, enum openai_kind kind, const char *body, size_t len, struct openai_error *e)
{
    struct openai_request req = {.logprobs = -1, .sample = {.temperature = 1, .top_p = 1, .repeat_penalty = 1}};
    struct err err;
    if (json_parse(&req.doc, body, len, false, "request", &err) != 0)
        return openai_fail(e, 400, "invalid_json", NULL, "%s", err.text);
    const struct reading r = {req.doc, json_root(req.doc), e};
    int rc = json_type(r.root) == JSON_OBJECT ? fields(&r, kind, &req)
                                              : openai_fail(e, 400, "invalid_json", NULL, "request: expected an object");
    if (rc != 0)
        openai_request_free(&req);
    else
        *out = req;
    return rc;
}

void openai_request_free(struct openai_request *r)
{
    for (size_t i = 0; i < r->message_count; i++)
        free(r->messages[i].content);
    free(r->messages);
    for (size_t i = 0; i < r->input_count; i++)
        free(r->inputs[i].ids);
    free(r->inputs);
    free((void *)(uintptr_t)r->sample.bias);
    json_free(r->doc);
    *r = (struct openai_request){0};
}
