/* Embeddings: the rows of a text as one vector, as `stip-user embed` makes it (user/embedding.h). */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/le.h"
#include "user/embedding.h"
#include "user/serve.h"

static int forward(struct serve *s, const struct token_ids *ids, float *x, struct openai_error *e)
{
    const struct grant *g = s->set.grant;
    const enum pooling pooling = g->sentence.pooling;
    atomic_bool cancel = false;
    struct lease l;
    struct err err = {0};
    if (pool_take(s->pool, &l, &cancel, &err) != 0)
        return openai_from_err(e, &err);
    int rc = pool_session(s->pool, &l, (int)ids->n, embedding_outputs(pooling, (int)ids->n), NULL, &err);
    if (rc == 0)
        rc = embedding_vector(l.s, g, pooling, ids, x, &err);
    l.broken = rc != 0;
    pool_give(s->pool, &l, NULL);
    return rc == 0 ? 0 : openai_from_err(e, &err);
}

static int put_vector(struct json_doc *doc, struct json *node, const float *x, size_t D, bool base64, struct openai_error *e)
{
    if (!base64) {
        struct json *list = json_put_array(doc, node, "embedding");
        for (size_t d = 0; d < D; d++)
            json_put_num(doc, list, NULL, (double)x[d]);
        return 0;
    }
    uint8_t *bytes = malloc(4 * D);
    char *text = malloc(4 * ((4 * D + 2) / 3) + 1);
    int rc = bytes == NULL || text == NULL ? openai_fail(e, 500, NULL, NULL, "out of memory") : 0;
    for (size_t d = 0; rc == 0 && d < D; d++) {
        uint32_t bits;
        memcpy(&bits, &x[d], sizeof bits);
        le_put32(bytes + 4 * d, bits);
    }
    if (rc == 0) {
        (void)crypto_base64(bytes, 4 * D, text);
        json_put_str(doc, node, "embedding", text);
    }
    free(bytes);
    free(text);
    return rc;
}

/* A text gets the prompt that the model's developer named for it; ids are taken as they are. */
static int encode(const struct serve *s, const struct openai_request *req, size_t i, struct token_ids *ids, struct openai_error *e)
{
    const struct grant *g = s->set.grant;
    const struct sentence_prompt *usual = g->sentence.usual;
    const char *text = req->inputs[i].text;
    struct err err = {0};
    if (text == NULL)
        return serve_prompt_ids(s, req, i, ids, e);
    return embedding_encode(g, usual == NULL ? NULL : usual->text, text, strlen(text), ids, &err) == 0 ? 0 : openai_from_err(e, &err);
}

static int one(struct serve *s, const struct openai_request *req, size_t i, struct json_doc *doc, struct json *list,
               int64_t *tokens, struct openai_error *e)
{
    const struct grant *g = s->set.grant;
    const size_t D = (size_t)g->config->D;
    struct token_ids ids = {0};
    float *x = malloc(D * sizeof *x);
    int rc = x == NULL ? openai_fail(e, 500, NULL, NULL, "out of memory") : encode(s, req, i, &ids, e);
    if (rc == 0 && ids.n > (size_t)embedding_most(g))
        rc = openai_fail(e, 400, "context_length_exceeded", "input", "input %zu has %zu tokens, this model reads %d", i, ids.n,
                         embedding_most(g));
    if (rc == 0)
        rc = forward(s, &ids, x, e);
    if (rc == 0) {
        struct json *node = json_put_object(doc, list, NULL);
        json_put_str(doc, node, "object", "embedding");
        json_put_int(doc, node, "index", (int64_t)i);
        rc = put_vector(doc, node, x, D, req->base64, e);
        *tokens += (int64_t)ids.n;
    }
    token_ids_free(&ids);
    free(x);
    return rc;
}

/* Looked at between two inputs: one is a single message to the server. */
static bool hung_up(const struct http_request *r)
{
    struct pollfd fd = {.fd = r->client, .events = POLLRDHUP};
    return poll(&fd, 1, 0) > 0;
}

void serve_embed(struct serve *s, struct http_request *r)
{
    struct openai_request req = {0};
    struct openai_error e;
    struct json_doc *doc = json_new_object("embeddings");
    struct json *root = json_node(doc);
    int64_t tokens = 0;
    struct err err = {0};
    int rc = openai_parse(&req, OPENAI_EMBEDDINGS, r->body, r->body_len, &e);
    if (rc == 0)
        rc = serve_check_model(s, &req, &e);
    if (rc == 0 && embedding_check(s->set.grant, &err) != 0)
        rc = openai_fail(&e, 400, "unsupported_model", "model", "%s", err.text);
    if (rc == 0 && req.dimensions > 0 && req.dimensions != s->set.grant->config->D)
        rc = openai_fail(&e, 400, "invalid_value", "dimensions",
                         "'dimensions': this model's vectors have %d numbers and are not cut", s->set.grant->config->D);
    json_put_str(doc, root, "object", "list");
    struct json *list = json_put_array(doc, root, "data");
    http_asleep(r);
    bool gone = false;
    for (size_t i = 0; rc == 0 && i < req.input_count && !(gone = hung_up(r)); i++)
        rc = one(s, &req, i, doc, list, &tokens, &e);
    http_awake(r);
    openai_request_free(&req);
    if (gone) {
        atomic_fetch_add(&s->metrics.cancelled, 1);
        json_free(doc);
        return;
    }
    if (rc != 0) {
        json_free(doc);
        serve_fail(s, r, SERVE_EMBEDDINGS, &e);
        return;
    }
    json_put_str(doc, root, "model", s->model);
    struct json *usage = json_put_object(doc, root, "usage");
    json_put_int(doc, usage, "prompt_tokens", tokens);
    json_put_int(doc, usage, "total_tokens", tokens);
    serve_json(s, r, SERVE_EMBEDDINGS, doc);
}
