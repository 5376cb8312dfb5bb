#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "user/cmd.h"
#include "user/report.h"
#include "user/setup.h"

/* BERT's family writes [MASK], RoBERTa's <mask>. */
static int32_t find_mask(const struct tokenizer *t, const char **name)
{
    *name = "[MASK]";
    if (tokenizer_id(t, *name) < 0)
        *name = "<mask>";
    return tokenizer_id(t, *name);
}

/* The most probable tokens for one mask; chosen ones are struck out of the logits. */
static void put_mask(struct json_doc *doc, struct json *list, const struct setup *set, float *logits, int position, int top)
{
    const struct config *c = set->grant->config;
    struct json *node = json_put_object(doc, list, NULL);
    json_put_int(doc, node, "position", position);
    struct json *tokens = json_put_array(doc, node, "tokens");
    float *plain = malloc((size_t)c->V * sizeof *plain);
    for (int k = 0; plain != NULL && k < top && k < c->V; k++) {
        if (k == 0)
            for (int i = 0; i < c->V; i++)
                plain[i] = logits[i];
        int32_t best = sample_argmax(logits, c->V);
        size_t len;
        const char *token = tokenizer_token(set->grant->tokenizer, best, &len);
        struct json *entry = json_put_object(doc, tokens, NULL);
        json_put_int(doc, entry, "id", best);
        json_put_str(doc, entry, "token", token == NULL ? "" : token);
        json_put_num(doc, entry, "prob", exp(sample_logprob(plain, c->V, best)));
        logits[best] = -INFINITY;
    }
    free(plain);
}

static int fill(const struct setup *set, const struct token_ids *ids, int32_t mask, int top, struct err *err)
{
    const struct config *c = set->grant->config;
    struct session *s = NULL;
    float *logits = malloc((size_t)c->V * sizeof *logits);
    struct json_doc *doc = json_new_object("result");
    struct json *list = json_put_array(doc, json_node(doc), "masks");
    int rc = logits == NULL ? err_oom(err, (size_t)c->V * sizeof *logits) : 0;
    /* A bidirectional text is sent once per mask: outputs of one row at a time keep the answer small. */
    for (size_t i = 0; rc == 0 && i < ids->n; i++) {
        if (ids->ids[i] != mask)
            continue;
        rc = session_open(&s, set->connection, (int)ids->n, 1, err);
        if (rc == 0)
            rc = session_forward(s, ids->ids, ids->type_ids, (int)ids->n, (int)i, 1, logits, err);
        session_close(s);
        s = NULL;
        if (rc == 0)
            put_mask(doc, list, set, logits, (int)i, top);
    }
    free(logits);
    if (rc != 0) {
        json_free(doc);
        return rc;
    }
    report_wire(doc, json_node(doc), set->connection);
    return report_print(doc, err);
}

int cmd_fill(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    struct token_ids ids = {0};
    char *text = NULL;
    const char *name;
    size_t len;
    int64_t top = 5;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cmd_text(cmd, "text", &text, &len, err) != 0)
        return -1;
    if (cli_int(cmd, "top", 1, 1000, &top, err) != 0 || setup_read(&set, cmd, err) != 0 || setup_connect(&set, cmd, err) != 0)
        goto done;
    int32_t mask = find_mask(set.grant->tokenizer, &name);
    if (set.grant->config->head != HEAD_MLM || mask < 0) {
        err_set(err, ERR_USAGE, "%s is not a masked language model", set.grant->config->architecture);
        goto done;
    }
    if (tokenizer_encode(set.grant->tokenizer, text, len, NULL, 0, true, &ids, err) != 0)
        goto done;
    size_t masks = 0;
    for (size_t i = 0; i < ids.n; i++)
        masks += ids.ids[i] == mask ? 1 : 0;
    if (masks == 0)
        err_set(err, ERR_INPUT, "the text has no %s", name);
    else if (ids.n > set.connection->server.max_tokens)
        err_set(err, ERR_INPUT, "the text has %zu tokens, the context holds %u; shorten it", ids.n, set.connection->server.max_tokens);
    else
        rc = fill(&set, &ids, mask, (int)top, err);
done:
    token_ids_free(&ids);
    setup_close(&set);
    free(text);
    return rc;
}
