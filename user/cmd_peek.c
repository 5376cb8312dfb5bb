#include <stdio.h>
#include <stdlib.h>

#include "user/cmd.h"
#include "user/generate.h"
#include "user/peek.h"
#include "user/report.h"
#include "user/setup.h"

#define AT_ONCE 256

/* Sends the whole text as a prompt would be sent, and keeps what went out. No outputs are asked for. */
static int send_text(struct session *s, struct peek *p, const struct token_ids *ids, int rows, struct err *err)
{
    for (int at = 0; at < (int)ids->n;) {
        const int T = (int)ids->n - at < rows ? (int)ids->n - at : rows;
        if (session_forward(s, ids->ids + at, ids->type_ids + at, T, 0, 0, NULL, err) != 0 || peek_take(p, s, err) != 0)
            return -1;
        at += T;
    }
    return 0;
}

/* Of one message: the session keeps the rows of its last one. A bidirectional model takes whole texts. */
static int rows_at_once(const struct setup *set, const struct token_ids *ids)
{
    const uint32_t most = set->connection->server.max_rows;
    return !set->grant->config->causal ? (int)ids->n : most < AT_ONCE ? (int)most : AT_ONCE;
}

static int show(const struct setup *set, struct peek *p, const struct token_ids *ids, bool as_json, struct err *err)
{
    if (!as_json)
        return peek_print(p, stdout, ids->ids, 0, (int)ids->n, err);
    struct json_doc *doc = json_new_object("result");
    json_put_int(doc, json_node(doc), "width", set->grant->config->D);
    if (peek_json(p, doc, json_node(doc), ids->ids, 0, (int)ids->n, err) != 0) {
        json_free(doc);
        return -1;
    }
    report_wire(doc, json_node(doc), set->connection);
    return report_print(doc, err);
}

int cmd_peek(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    struct token_ids ids = {0};
    struct session *s = NULL;
    struct peek *p = NULL;
    char *text = NULL;
    size_t len;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cmd_text(cmd, "text", &text, &len, err) != 0)
        return -1;
    if (setup_read(&set, cmd, err) != 0 || setup_connect(&set, cmd, err) != 0 || generate_prompt(set.grant, text, len, true, &ids, err) != 0 ||
        session_open(&s, set.connection, (int)ids.n, 1, err) != 0 || peek_open(&p, set.grant, err) != 0 ||
        send_text(s, p, &ids, rows_at_once(&set, &ids), err) != 0)
        goto done;
    rc = show(&set, p, &ids, cli_on(cmd, "json"), err);
done:
    session_close(s);
    peek_close(p);
    token_ids_free(&ids);
    setup_close(&set);
    free(text);
    return rc;
}
