#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "user/cmd.h"
#include "user/report.h"
#include "user/setup.h"

/* One text, one session: a bidirectional model sees it whole. */
static int classify(const struct setup *set, const char *text, size_t len, float *logits, struct err *err)
{
    struct token_ids ids = {0};
    struct session *s = NULL;
    int rc = -1;
    if (tokenizer_encode(set->grant->tokenizer, text, len, NULL, 0, true, &ids, err) != 0)
        return -1;
    if (ids.n == 0)
        err_set(err, ERR_INPUT, "the text has no tokens");
    else if (ids.n > set->connection->server.max_tokens)
        err_set(err, ERR_INPUT, "the text has %zu tokens, the context holds %u; shorten it", ids.n,
                set->connection->server.max_tokens);
    else if (session_open(&s, set->connection, (int)ids.n, 1, err) == 0)
        rc = session_forward(s, ids.ids, ids.type_ids, (int)ids.n, 0, 1, logits, err);
    session_close(s);
    token_ids_free(&ids);
    return rc;
}

static void print_result(const struct setup *set, const float *logits, const char *text, size_t len, bool as_json, struct err *err,
                         int *rc)
{
    const struct config *c = set->grant->config;
    int best = sample_argmax(logits, c->C);
    char number[16];
    (void)snprintf(number, sizeof number, "LABEL_%d", best);
    const char *label = c->labels != NULL ? c->labels[best] : number;
    if (!as_json) {
        printf("%s  %.4f  %.*s\n", label, exp(sample_logprob(logits, c->C, best)), (int)(len > 1000 ? 1000 : len), text);
        return;
    }
    struct json_doc *doc = json_new_object("result");
    json_put_str(doc, json_node(doc), "label", label);
    json_put_int(doc, json_node(doc), "id", best);
    struct json *list = json_put_array(doc, json_node(doc), "logits");
    for (int i = 0; i < c->C; i++)
        json_put_num(doc, list, NULL, (double)logits[i]);
    list = json_put_array(doc, json_node(doc), "probs");
    for (int i = 0; i < c->C; i++)
        json_put_num(doc, list, NULL, exp(sample_logprob(logits, c->C, i)));
    report_wire(doc, json_node(doc), set->connection);
    *rc = report_print(doc, err);
}

/* --text is one text; of --file every line that is not empty is one. */
static int each(const struct setup *set, char *text, size_t len, bool lines, bool as_json, struct err *err)
{
    float *logits = malloc((size_t)set->grant->config->C * sizeof *logits);
    struct progress bar;
    int rc = logits == NULL ? err_oom(err, (size_t)set->grant->config->C * sizeof *logits) : 0;
    progress_start(&bar, "classify", "B", len);
    for (size_t at = 0; rc == 0 && at < len;) {
        const char *end = lines ? memchr(text + at, '\n', len - at) : NULL;
        size_t n = end == NULL ? len - at : (size_t)(end - (text + at));
        size_t body = lines && n > 0 && text[at + n - 1] == '\r' ? n - 1 : n;
        if (body > 0 && (rc = classify(set, text + at, body, logits, err)) == 0)
            print_result(set, logits, text + at, body, as_json, err, &rc);
        at += n + 1;
        progress_at(&bar, at < len ? at : len);
    }
    progress_end(&bar);
    free(logits);
    return rc;
}

int cmd_classify(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    char *text = NULL;
    size_t len;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cmd_text(cmd, "text", &text, &len, err) != 0)
        return -1;
    if (len == 0)
        err_set(err, ERR_INPUT, "there is no text to classify");
    else if (setup_read(&set, cmd, err) == 0 && setup_connect(&set, cmd, err) == 0)
        rc = set.grant->config->head == HEAD_CLASSIFY
                 ? each(&set, text, len, cli_on(cmd, "file"), cli_on(cmd, "json"), err)
                 : err_set(err, ERR_USAGE, "%s is not a classifier", set.grant->config->architecture);
    setup_close(&set);
    free(text);
    return rc;
}
