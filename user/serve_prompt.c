#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "user/generate.h"
#include "user/serve.h"

#define PROMPT_MAX ((size_t)64 << 20)

/* By chat_turn, as `stip-user chat` does: a user's text stands in the turn, an answer ends with the model's end token. */
static int by_turn(const struct serve *s, const struct openai_request *req, struct buf *b, struct openai_error *e)
{
    const struct openai_message *messages = req->messages;
    const size_t count = req->message_count;
    const char *mark = strstr(s->turn, "%s");
    const struct grant *g = s->set.grant;
    for (size_t i = 0; i < count; i++) {
        const struct openai_message *m = &messages[i];
        if (strcmp(m->role, "user") == 0) {
            buf_put(b, s->turn, (size_t)(mark - s->turn));
            buf_put_str(b, m->content);
            buf_put_str(b, mark + 2);
        } else if (strcmp(m->role, "assistant") == 0) {
            size_t len = 0;
            const char *end = g->eos_count > 0 ? tokenizer_token(g->tokenizer, g->eos[0], &len) : NULL;
            buf_put_str(b, m->content);
            buf_put(b, end == NULL ? "" : end, len);
        } else
            return openai_fail(e, 400, "unsupported_value", "messages",
                               "messages[%zu].role: chat_turn of the config has no place for a %s message", i, m->role);
    }
    if (strcmp(messages[count - 1].role, "user") != 0)
        return openai_fail(e, 400, "unsupported_value", "messages", "the last message must be the user's, found %s",
                           messages[count - 1].role);
    return 0;
}

/* By the model's own template. Parts of a content are joined; a developer's message is a system message to it. */
static int by_template(const struct serve *s, const struct openai_request *req, struct buf *b, struct openai_error *e)
{
    struct json_doc *doc = json_new_object("messages");
    struct json *list = json_put_array(doc, json_node(doc), "messages");
    struct err err = {0};
    char *check = NULL;
    for (size_t i = 0; i < req->message_count; i++) {
        const char *role = req->messages[i].role;
        struct json *m = json_put_object(doc, list, NULL);
        json_put_str(doc, m, "role", strcmp(role, "developer") == 0 ? "system" : role);
        json_put_str(doc, m, "content", req->messages[i].content);
    }
    int rc = json_print(doc, false, &check, &err); /* says whether memory was enough */
    if (rc == 0)
        rc = chat_template_render(s->template, json_get(json_root(doc), "messages"), true,
                                  json_get(json_root(req->doc), "chat_template_kwargs"), b, &err);
    free(check);
    json_free(doc);
    return rc == 0 ? 0 : openai_fail(e, err.code == ERR_INTERNAL ? 500 : 400, "chat_template", "messages", "%s", err.text);
}

int serve_prompt_text(const struct serve *s, const struct openai_request *req, char **text, size_t *len, struct openai_error *e)
{
    struct buf b;
    if (s->turn == NULL && s->template == NULL)
        return openai_fail(
            e, 400, "no_chat_template", "messages",
            "nothing says how messages become a prompt for this model; set chat_turn (--turn), or use /v1/completions");
    buf_init(&b, PROMPT_MAX);
    if ((s->turn != NULL ? by_turn(s, req, &b, e) : by_template(s, req, &b, e)) != 0) {
        buf_free(&b);
        return -1;
    }
    if ((*text = buf_take(&b, len)) == NULL)
        return openai_fail(e, 500, NULL, NULL, "out of memory, or a prompt of more than %zu bytes", PROMPT_MAX);
    return 0;
}

/* first: the text begins a prompt, and gets the tokens that do so. */
static int encode(const struct serve *s, const char *text, size_t len, bool first, struct token_ids *ids, struct openai_error *e)
{
    struct err err = {0};
    return generate_prompt(s->set.grant, text, len, first, ids, &err) == 0 ? 0 : openai_from_err(e, &err);
}

int serve_prompt_ids(const struct serve *s, const struct openai_request *req, size_t i, struct token_ids *ids,
                     struct openai_error *e)
{
    if (req->message_count > 0) {
        char *text;
        size_t len;
        if (serve_prompt_text(s, req, &text, &len, e) != 0)
            return -1;
        int rc = encode(s, text, len, s->turn != NULL, ids, e); /* a template has written the special tokens itself */
        free(text);
        return rc;
    }
    const struct openai_input *in = &req->inputs[i];
    if (in->text != NULL)
        return encode(s, in->text, strlen(in->text), true, ids, e);
    for (size_t k = 0; k < in->n; k++) {
        struct err err = {0};
        if (in->ids[k] >= s->set.grant->config->V)
            return openai_fail(e, 400, "invalid_value", "prompt", "token id %d is not one of this model's %d", in->ids[k],
                               s->set.grant->config->V);
        if (token_ids_push(ids, in->ids[k], 0, &err) != 0)
            return openai_from_err(e, &err);
    }
    return 0;
}

int serve_check_model(const struct serve *s, const struct openai_request *req, struct openai_error *e)
{
    if (req->model == NULL || strcmp(req->model, s->model) == 0)
        return 0;
    return openai_fail(e, 404, "model_not_found", "model", "the model '%.100s' is not here; this gateway serves '%s'", req->model,
                       s->model);
}
