#include "user/backend.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "user/torch_file.h"

#define CONNECT_MS 5000L
#define SILENCE_S 120L
#define CHECK_SILENCE_S 5L /* whether it is there is asked for /health, which nobody waits for that long */
#define BODY_MAX ((size_t)16 << 20) /* of one answer that is not a stream, of one event, of all text */
#define URL_MAX 1024

static bool is_loopback(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "localhost", 9) == 0 || strncmp(host, "[::1]", 5) == 0;
}

int backend_parse(struct backend *out, const char *value, struct err *err)
{
    static const char kind[] = "openai:";
    const char *url = value + sizeof kind - 1;
    if (strncmp(value, kind, sizeof kind - 1) != 0 || (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) ||
        strlen(url) > URL_MAX - 32)
        return err_set(err, ERR_USAGE, "backend: expected openai:http://HOST:PORT/v1 (or https), found '%.80s'", value);
    if (strncmp(url, "https://", 8) != 0 && !is_loopback(url))
        log_warn("%s is not https: whoever is on the way sees the permuted tokens, and can change the answer", url);
    out->url = url;
    return 0;
}

int backend_parse_rows(struct backend *out, const char *value, const struct grant *g, struct err *err)
{
    static const char *const values[] = {[BACKEND_IDS] = "off", [BACKEND_ROWS] = "on", [BACKEND_ROWS_TRY] = "try"};
    int v = BACKEND_ROWS_TRY;
    while (v > BACKEND_IDS && strcmp(value, values[v]) != 0)
        v--;
    if (strcmp(value, values[v]) != 0)
        return err_set(err, ERR_USAGE, "prompt_embeds (--prompt-embeds): expected off, on or try, found '%.30s'", value);
    if (v != BACKEND_IDS && g->rows == NULL)
        return err_set(err, ERR_USAGE, "prompt_embeds (--prompt-embeds): this grant has no rows; ask the developer for one made with: "
                                       "stip-model-dev grant --prompt-embeds");
    out->rows = (enum backend_rows)v;
    return 0;
}

/* ------------------------------------------------------------------ what comes */

struct answer {
    const struct grant *grant;
    const struct generate_opts *opts;
    const char *url;
    struct generated *out;
    struct tokenizer_stream *stream;
    struct buf body; /* of a list of models, of a refusal; else the line under way */
    struct buf places; /* text that is not yet whole places */
    struct buf text;
    CURL *curl;
    bool streams, done; /* done: nothing more is wanted */
    uint64_t start_us, first_us, bytes;
    struct err *err;
    bool failed; /* err says why */
    long status; /* of HTTP, of the last request that was answered */
};

static int give_piece(struct answer *a, const char *piece, size_t len)
{
    buf_put(&a->text, piece, len);
    if (a->opts->piece != NULL && len > 0)
        a->opts->piece(a->opts->arg, piece, len);
    return buf_check(&a->text, "the answer", a->err);
}

static void cancel(struct answer *a)
{
    a->out->finish_reason = "cancelled";
    a->done = true;
}

static int take_place(struct answer *a, uint32_t place)
{
    const struct perm *order = &a->grant->output;
    const char *piece;
    size_t len;
    if (place >= order->n)
        return err_set(a->err, ERR_PEER, "%s answered with token %u of a vocabulary of %u; does it serve the exported package?", a->url,
                       place, order->n);
    const int32_t id = (int32_t)order->to[place];
    if (a->done) /* what follows an end */
        return 0;
    if (!a->opts->ignore_eos && grant_is_eos(a->grant, id)) {
        a->out->finish_reason = "stop";
        a->out->stop_token = id;
        a->done = true;
        return 0;
    }
    if (a->out->count == a->opts->max_tokens)
        return err_set(a->err, ERR_PEER, "%s answered with more than the %d tokens that were asked for", a->url, a->opts->max_tokens);
    if (a->first_us == 0)
        a->first_us = clock_us();
    a->out->tokens[a->out->count++] = id;
    if (tokenizer_stream_feed(a->stream, id, &piece, &len, a->err) != 0 || give_piece(a, piece, len) != 0)
        return -1;
    if (a->opts->token != NULL && !a->opts->token(a->opts->arg, a->out))
        cancel(a);
    return 0;
}

/* Whole "<digits>" are taken, the rest waits for more. */
static int take_places(struct answer *a, const char *text)
{
    size_t at = 0;
    buf_put_str(&a->places, text);
    if (buf_check(&a->places, "the answer", a->err) != 0)
        return -1;
    const char *s = (const char *)a->places.data;
    while (at < a->places.len) {
        uint32_t place = 0;
        size_t i = at + 1;
        if (s[at] == ' ' || s[at] == '\n') { /* some engines put one between tokens */
            at++;
            continue;
        }
        for (; i < a->places.len && i < at + 10 && s[i] >= '0' && s[i] <= '9'; i++)
            place = place * 10 + (uint32_t)(s[i] - '0');
        if (s[at] == '<' && i == a->places.len && i < at + 10)
            break; /* not whole yet */
        if (s[at] != '<' || i == at + 1 || s[i] != '>')
            return err_set(a->err, ERR_PEER,
                           "%s answered with text that is not of the exported vocabulary (%zu tokens were); does it serve the exported "
                           "package with its own tokenizer.json?",
                           a->url, (size_t)a->out->count);
        if (take_place(a, place) != 0)
            return -1;
        at = i + 1;
    }
    memmove(a->places.data, a->places.data + at, a->places.len - at);
    a->places.len -= at;
    return 0;
}

/* {"error": {"message": ...}}, {"error": "..."} or vLLM's {"message": ...}; NULL if it is none of them. */
static const char *refusal_of(const struct json *root)
{
    const struct json *error = json_get(root, "error");
    const char *text = json_string(error);
    if (text == NULL)
        text = json_string(json_get(error == NULL ? root : error, "message"));
    return text;
}

/* Engines leave the end token's text out. One that stops where the model knows no end has cut the answer. */
static int take_end(struct answer *a, const char *why, const struct json *token)
{
    const bool stop = strcmp(why, "stop") == 0;
    if (stop && a->grant->eos_count == 0)
        return err_set(a->err, ERR_PEER, "%s ended its answer after %d tokens at an end token, and this model has none: the engine takes "
                                         "another token for one (llama.cpp does so; docs/ENGINES.md)", a->url, a->out->count);
    a->out->finish_reason = stop ? "stop" : "length";
    if (stop) { /* the first, or the one that vLLM names as stop_reason */
        int64_t place;
        const bool named = json_integer(token, &place) && place >= 0 && place < a->grant->output.n;
        a->out->stop_token = named ? (int32_t)a->grant->output.to[place] : a->grant->eos[0];
    }
    return 0;
}

/* failed: the event says so. */
static int take_event(struct answer *a, bool failed, const char *data, size_t len)
{
    struct json_doc *doc;
    int rc = 0;
    if (len == 6 && memcmp(data, "[DONE]", 6) == 0) {
        a->done = true;
        return 0;
    }
    if (json_parse(&doc, data, len, false, a->url, a->err) != 0) {
        a->err->code = ERR_PEER;
        return -1;
    }
    const struct json *root = json_root(doc), *choice = json_first(json_get(root, "choices"));
    const char *text = json_string(json_get(choice, "text")), *end = json_string(json_get(choice, "finish_reason"));
    if (failed || json_get(root, "error") != NULL) {
        const char *why = refusal_of(root);
        rc = err_set(a->err, ERR_PEER, "%s ended the answer: %.300s", a->url, why == NULL ? "it does not say why" : why);
    }
    if (rc == 0 && text != NULL)
        rc = take_places(a, text);
    if (rc == 0 && end != NULL && !a->done)
        rc = take_end(a, end, json_get(choice, "stop_reason"));
    json_free(doc);
    return rc;
}

/* Length of the event's name with its colon: "data:", or llama.cpp's "error:"; 0 for comments and the empty lines between events. */
static size_t event_name(const char *line, size_t len, bool *failed)
{
    *failed = len >= 6 && memcmp(line, "error:", 6) == 0;
    return *failed ? 6 : len >= 5 && memcmp(line, "data:", 5) == 0 ? 5 : 0;
}

static int take_lines(struct answer *a)
{
    size_t at = 0;
    const char *s = (const char *)a->body.data;
    for (const char *end; at < a->body.len && (end = memchr(s + at, '\n', a->body.len - at)) != NULL; at = (size_t)(end - s) + 1) {
        size_t from = at, len = (size_t)(end - s) - at;
        if (len > 0 && s[from + len - 1] == '\r')
            len--;
        bool failed;
        const size_t name = event_name(s + from, len, &failed);
        if (name == 0)
            continue;
        for (from += name, len -= name; len > 0 && s[from] == ' '; len--)
            from++;
        if (take_event(a, failed, s + from, len) != 0)
            return -1;
    }
    memmove(a->body.data, a->body.data + at, a->body.len - at);
    a->body.len -= at;
    return 0;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;
    long status = 0;
    (void)size; /* 1 */
    a->bytes += n;
    buf_put(&a->body, data, n);
    (void)curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
    if (buf_check(&a->body, "the engine's answer", a->err) != 0 || (a->streams && status == 200 && take_lines(a) != 0)) {
        a->failed = true;
        return 0;
    }
    return a->done ? 0 : n; /* an engine that does not know this end would go on */
}

/* Between data, and before the first; libcurl asks at least once a second. */
static int on_wait(void *arg, curl_off_t a1, curl_off_t a2, curl_off_t a3, curl_off_t a4)
{
    struct answer *a = arg;
    (void)a1, (void)a2, (void)a3, (void)a4;
    if (a->done || a->opts == NULL || a->opts->wanted == NULL || a->opts->wanted(a->opts->arg))
        return 0;
    cancel(a);
    return 1;
}

/* ------------------------------------------------------------------ one request */

static int refused(const struct answer *a, long status)
{
    struct json_doc *doc;
    struct err none;
    char why[256] = "it does not say why";
    if (json_parse(&doc, (const char *)a->body.data, a->body.len, false, "refusal", &none) == 0) {
        const char *text = refusal_of(json_root(doc));
        if (text != NULL)
            (void)snprintf(why, sizeof why, "%s", text);
        json_free(doc);
    }
    return err_set(a->err, status == 401 || status == 403 ? ERR_AUTH : ERR_PEER, "%s answered %ld: %s", a->url, status, why);
}

static int perform(struct answer *a, const struct backend *b, const char *path, const char *post)
{
    char url[URL_MAX], key[1024];
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    a->status = 0;
    a->body.len = 0;
    (void)snprintf(url, sizeof url, "%s%s", b->url, path);
    if (b->key != NULL && snprintf(key, sizeof key, "Authorization: Bearer %s", b->key) < (int)sizeof key)
        headers = curl_slist_append(headers, key);
    (void)curl_easy_setopt(a->curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(a->curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(a->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(a->curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(a->curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(a->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    (void)curl_easy_setopt(a->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(a->curl, CURLOPT_LOW_SPEED_TIME, a->opts == NULL ? CHECK_SILENCE_S : SILENCE_S);
    (void)curl_easy_setopt(a->curl, CURLOPT_WRITEFUNCTION, on_data);
    (void)curl_easy_setopt(a->curl, CURLOPT_WRITEDATA, a);
    (void)curl_easy_setopt(a->curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(a->curl, CURLOPT_XFERINFOFUNCTION, on_wait);
    (void)curl_easy_setopt(a->curl, CURLOPT_XFERINFODATA, a);
    if (post != NULL)
        (void)curl_easy_setopt(a->curl, CURLOPT_POSTFIELDS, post);
    CURLcode rc = curl_easy_perform(a->curl);
    (void)curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &a->status);
    curl_slist_free_all(headers);
    if (a->failed)
        return -1;
    if (a->done)
        return 0;
    if (rc != CURLE_OK)
        return err_set(a->err, ERR_PEER, "%s: %s; is the engine running?", url, curl_easy_strerror(rc));
    return a->status == 200 ? 0 : refused(a, a->status);
}

/* ------------------------------------------------------------------ which model, which request */

static int first_model(struct answer *a, const struct backend *b, char name[256])
{
    struct json_doc *doc;
    if (perform(a, b, "/models", NULL) != 0)
        return -1;
    if (a->done) /* cancelled */
        return 0;
    if (json_parse(&doc, (const char *)a->body.data, a->body.len, false, "the engine's list of models", a->err) != 0) {
        a->err->code = ERR_PEER;
        return -1;
    }
    const char *id = json_string(json_get(json_first(json_get(json_root(doc), "data")), "id"));
    int rc = id != NULL && strlen(id) < 256 ? 0 : err_set(a->err, ERR_PEER, "%s/models names no model; give one", b->url);
    if (rc == 0)
        (void)snprintf(name, 256, "%s", id);
    json_free(doc);
    return rc;
}

/* The rows of the engine's table that ids would name. */
static int put_rows(struct json_doc *doc, const struct answer *a, const int32_t *ids, int n, const struct perm *inverse)
{
    const struct tensor *t = a->grant->rows;
    const size_t width = (size_t)(t->bytes / t->dim[0]);
    struct buf rows, file;
    char *text = NULL;
    int rc = -1;
    buf_init(&rows, SIZE_MAX / 2);
    buf_init(&file, SIZE_MAX / 2);
    for (int i = 0; i < n; i++)
        buf_put(&rows, t->data + inverse->to[ids[i]] * width, width);
    if (buf_check(&rows, "the prompt's rows", a->err) != 0 ||
        torch_file_put(&file, t->dtype, (uint32_t)n, (uint32_t)t->dim[1], rows.data, a->err) != 0)
        goto done;
    if ((text = malloc(4 * ((file.len + 2) / 3) + 1)) == NULL) {
        err_oom(a->err, 4 * (file.len / 3));
        goto done;
    }
    (void)crypto_base64(file.data, file.len, text);
    json_put_str(doc, json_node(doc), "prompt_embeds", text);
    rc = 0;
done:
    free(text);
    buf_free(&file);
    buf_free(&rows);
    return rc;
}

/* With rows there is no `prompt`: an engine that does not know them then refuses, and cannot go on from nothing instead. */
static int put_prompt(struct json_doc *doc, const struct answer *a, bool rows, const int32_t *ids, int n, const struct perm *inverse)
{
    if (rows)
        return put_rows(doc, a, ids, n, inverse);
    struct json *prompt = json_put_array(doc, json_node(doc), "prompt");
    for (int i = 0; i < n; i++)
        json_put_int(doc, prompt, NULL, inverse->to[ids[i]]);
    return 0;
}

/* Fields that only some engines know are sent only where they are wanted; top_k and min_p always are, since llama.cpp has cuts of its own
 * (40 and 0.05) where nobody says. vLLM and llama.cpp spell the penalty differently, and each ignores the other's. */
static int make_request(char **out, const struct answer *a, const char *model, bool rows, const int32_t *ids, int n, const struct perm *inverse)
{
    const struct generate_opts *o = a->opts;
    const struct sample_opts *s = &o->sample;
    struct json_doc *doc = json_new_object("request");
    struct json *root = json_node(doc);
    json_put_str(doc, root, "model", model);
    int rc = put_prompt(doc, a, rows, ids, n, inverse);
    json_put_int(doc, root, "max_tokens", o->max_tokens);
    json_put_num(doc, root, "temperature", s->temperature);
    json_put_bool(doc, root, "stream", true);
    if (s->temperature > 0) {
        json_put_num(doc, root, "top_p", s->top_p);
        json_put_int(doc, root, "seed", (int64_t)(s->seed & INT32_MAX));
        json_put_int(doc, root, "top_k", s->top_k > 0 ? s->top_k : -1); /* all */
        json_put_num(doc, root, "min_p", s->min_p);
    }
    if (s->frequency_penalty < 0 || s->frequency_penalty > 0)
        json_put_num(doc, root, "frequency_penalty", s->frequency_penalty);
    if (s->presence_penalty < 0 || s->presence_penalty > 0)
        json_put_num(doc, root, "presence_penalty", s->presence_penalty);
    if (s->repeat_penalty < 1 || s->repeat_penalty > 1) {
        json_put_num(doc, root, "repetition_penalty", s->repeat_penalty);
        json_put_num(doc, root, "repeat_penalty", s->repeat_penalty);
        json_put_int(doc, root, "repeat_last_n", -1); /* all that came before */
    }
    if (o->ignore_eos)
        json_put_bool(doc, root, "ignore_eos", true);
    if (rc == 0)
        rc = json_print(doc, false, out, a->err);
    json_free(doc);
    return rc;
}

static int post(struct answer *a, const struct backend *b, const char *model, bool rows, const int32_t *ids, int n,
                const struct perm *inverse, struct backend_wire *wire)
{
    char *request = NULL;
    if (make_request(&request, a, model, rows, ids, n, inverse) != 0)
        return -1;
    wire->bytes_up += strlen(request);
    wire->round_trips++;
    int rc = perform(a, b, "/completions", request);
    free(request);
    return rc;
}

/* After a request with rows failed: whether to ask again with ids. */
static bool take_refusal(struct answer *a, enum backend_rows rows)
{
    if (rows == BACKEND_IDS || a->status < 400 || a->status == 401 || a->status == 403)
        return false;
    if (rows == BACKEND_ROWS_TRY) {
        log_warn("%s; it seems to take no rows: the prompt is sent as token ids", a->err->text);
        return true;
    }
    (void)err_wrap(a->err, "prompt sent as rows, which vLLM takes when it was started with --enable-prompt-embeds, and other engines do not "
                           "(--prompt-embeds try goes on with token ids, off begins with them)");
    return false;
}

/* The decoder reads the prompt first, so that the first piece joins it. */
static int start_stream(struct answer *a, const int32_t *ids, int n)
{
    const char *piece;
    size_t len;
    if (tokenizer_stream_new(&a->stream, a->grant->tokenizer, true, a->err) != 0)
        return -1;
    for (int i = 0; i < n; i++)
        if (tokenizer_stream_feed(a->stream, ids[i], &piece, &len, a->err) != 0)
            return -1;
    return 0;
}

static int ask(struct answer *a, const struct backend *b, const int32_t *ids, int n, struct backend_wire *wire)
{
    struct perm inverse = {0};
    char model[256];
    const char *piece;
    size_t len;
    int rc = -1;
    if (b->model != NULL)
        (void)snprintf(model, sizeof model, "%s", b->model);
    else if (first_model(a, b, model) != 0)
        return -1;
    if (a->done)
        return 0;
    if (perm_inverse(&inverse, &a->grant->output, a->err) != 0)
        return -1;
    if (start_stream(a, ids, n) != 0)
        goto done;
    *wire = (struct backend_wire){.round_trips = b->model != NULL ? 0 : 1};
    a->streams = true;
    a->start_us = clock_us();
    if (post(a, b, model, b->rows != BACKEND_IDS, ids, n, &inverse, wire) != 0 &&
        !(take_refusal(a, b->rows) && post(a, b, model, false, ids, n, &inverse, wire) == 0))
        goto done;
    if (a->out->finish_reason == NULL) {
        err_set(a->err, ERR_PEER, "%s broke off its answer after %d tokens", b->url, a->out->count);
        goto done;
    }
    a->out->decode_us = clock_us() - (a->first_us == 0 ? a->start_us : a->first_us);
    a->out->prompt_us = a->first_us == 0 ? 0 : a->first_us - a->start_us;
    if (tokenizer_stream_end(a->stream, &piece, &len, a->err) != 0 || give_piece(a, piece, len) != 0)
        goto done;
    wire->bytes_down = a->bytes;
    rc = 0;
done:
    perm_wipe(&inverse);
    return rc;
}

/* curl_easy_init does this too, but not where several threads begin at once. */
static void prepare_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static int open_curl(struct answer *a)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, prepare_curl);
    return (a->curl = curl_easy_init()) != NULL ? 0 : err_oom(a->err, 1);
}

int backend_check(const struct backend *b, struct err *err)
{
    struct answer a = {.url = b->url, .err = err};
    buf_init(&a.body, BODY_MAX);
    int rc = open_curl(&a) == 0 ? perform(&a, b, "/models", NULL) : -1;
    curl_easy_cleanup(a.curl);
    buf_free(&a.body);
    return rc;
}

static int check_opts(const struct generate_opts *o, struct err *err)
{
    if (o->logprobs >= 0)
        return err_set(err, ERR_INPUT, "log-probabilities: engines give them by token text, in ways of their own; not with profile 'engine'");
    return o->sample.bias_count == 0 ? 0 : err_set(err, ERR_INPUT, "logit_bias: engines take it in ways of their own; not with profile 'engine'");
}

int backend_generate(struct generated *out, const struct grant *g, const struct backend *b, const int32_t *ids, int n,
                     const struct generate_opts *opts, struct backend_wire *wire, struct err *err)
{
    struct generated result = {.prompt_count = n, .stop_token = -1};
    struct answer a = {.grant = g, .opts = opts, .url = b->url, .out = &result, .err = err};
    int rc = -1;
    if (check_opts(opts, err) != 0)
        return -1;
    buf_init(&a.body, BODY_MAX);
    buf_init(&a.places, BODY_MAX);
    buf_init(&a.text, BODY_MAX);
    if ((result.tokens = malloc((size_t)opts->max_tokens * sizeof *result.tokens)) == NULL)
        err_oom(err, (size_t)opts->max_tokens * sizeof *result.tokens);
    else if (open_curl(&a) == 0 && ask(&a, b, ids, n, wire) == 0 && ((result.text = buf_take(&a.text, &result.text_len)) != NULL || err_oom(err, 1) == 0))
        rc = 0;
    curl_easy_cleanup(a.curl);
    tokenizer_stream_free(a.stream);
    buf_free(&a.body);
    buf_free(&a.places);
    buf_free(&a.text);
    if (rc != 0)
        generate_free(&result);
    else
        *out = result;
    return rc;
}
