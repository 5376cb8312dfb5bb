/* Embeddings: the mean of a text's last hidden rows, at length 1. Only where the head is the user's do hidden rows come back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/le.h"
#include "user/serve.h"

static int no_rows(const struct serve *s, struct openai_error *e)
{
    if (s->set.grant->head_here)
        return 0;
    return openai_fail(
        e, 400, "unsupported_model", "model",
        "the server computes this model's head and gives no hidden rows; embeddings need a package made with --head user");
}

static int forward(struct serve *s, const struct token_ids *ids, float *rows, struct openai_error *e)
{
    atomic_bool cancel = false;
    struct lease l;
    struct err err = {0};
    if (pool_take(s->pool, &l, &cancel, &err) != 0)
        return openai_from_err(e, &err);
    int rc = pool_session(s->pool, &l, (int)ids->n, (int)ids->n, NULL, &err);
    if (rc == 0)
        rc = session_hidden(l.s, ids->ids, (int)ids->n, rows, &err);
    l.broken = rc != 0;
    pool_give(s->pool, &l, NULL);
    return rc == 0 ? 0 : openai_from_err(e, &err);
}

/* x [D], length 1. */
static void mean(float *x, const float *rows, size_t T, size_t D)
{
    double square = 0;
    for (size_t d = 0; d < D; d++) {
        double sum = 0;
        for (size_t t = 0; t < T; t++)
            sum += (double)rows[t * D + d];
        x[d] = (float)(sum / (double)T);
        square += (double)x[d] * (double)x[d];
    }
    for (size_t d = 0; d < D && square > 0; d++)
        x[d] = (float)((double)x[d] / sqrt(square));
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

static int one(struct serve *s, const struct openai_request *req, size_t i, struct json_doc *doc, struct json *list,
               int64_t *tokens, struct openai_error *e)
{
    const struct config *k = s->set.grant->config;
    const size_t D = (size_t)k->D;
    struct token_ids ids = {0};
    float *rows = NULL, *x = NULL;
    int rc = serve_prompt_ids(s, req, i, &ids, e);
    if (rc == 0 && ids.n > (size_t)k->positions)
        rc = openai_fail(e, 400, "context_length_exceeded", "input", "input %zu has %zu tokens, the context holds %d", i, ids.n,
                         k->positions);
    if (rc == 0 && ((rows = malloc(ids.n * D * sizeof *rows)) == NULL || (x = malloc(D * sizeof *x)) == NULL))
        rc = openai_fail(e, 500, NULL, NULL, "out of memory");
    if (rc == 0)
        rc = forward(s, &ids, rows, e);
    if (rc == 0) {
        struct json *node = json_put_object(doc, list, NULL);
        mean(x, rows, ids.n, D);
        json_put_str(doc, node, "object", "embedding");
        json_put_int(doc, node, "index", (int64_t)i);
        rc = put_vector(doc, node, x, D, req->base64, e);
        *tokens += (int64_t)ids.n;
    }
    token_ids_free(&ids);
    free(rows);
    free(x);
    return rc;
}

void serve_embed(struct serve *s, struct http_request *r)
{
    struct openai_request req = {0};
    struct openai_error e;
    struct json_doc *doc = json_new_object("embeddings");
    struct json *root = json_node(doc);
    int64_t tokens = 0;
    int rc = openai_parse(&req, OPENAI_EMBEDDINGS, r->body, r->body_len, &e);
    if (rc == 0)
        rc = serve_check_model(s, &req, &e) == 0 ? no_rows(s, &e) : -1;
    if (rc == 0 && req.dimensions > 0 && req.dimensions != s->set.grant->config->D)
        rc = openai_fail(&e, 400, "invalid_value", "dimensions",
                         "'dimensions': this model's vectors have %d numbers and are not cut", s->set.grant->config->D);
    json_put_str(doc, root, "object", "list");
    struct json *list = json_put_array(doc, root, "data");
    http_asleep(r);
    for (size_t i = 0; rc == 0 && i < req.input_count; i++)
        rc = one(s, &req, i, doc, list, &tokens, &e);
    http_awake(r);
    openai_request_free(&req);
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
