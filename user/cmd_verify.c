#include <math.h>
#include <stdio.h>

#include "user/cmd.h"
#include "user/report.h"
#include "user/setup.h"
#include "user/verify.h"

#define COUNT 3
#define ROOM 128 /* tokens that stip-user generate asks for: an OPEN should not tell the two apart */

struct asked {
    int n, failed, again;
    double max_diff;
    char what[400]; /* the first failure */
};

static void add(struct asked *a, const struct verify_result *r, struct json_doc *doc, struct json *list)
{
    a->n++;
    a->max_diff = fmax(a->max_diff, r->max_diff);
    if (!r->passed && a->failed++ == 0)
        (void)snprintf(a->what, sizeof a->what, "%s", r->what);
    struct json *node = json_put_object(doc, list, NULL);
    json_put_bool(doc, node, "passed", r->passed);
    json_put_int(doc, node, "tokens", r->tokens);
    json_put_num(doc, node, "max_diff", r->max_diff);
    if (!r->passed)
        json_put_str(doc, node, "what", r->what);
}

static int ask_all(struct setup *set, struct verify *v, int64_t count, double tolerance, struct asked *a, struct json_doc *doc,
                   struct json *list, struct err *err)
{
    /* Once it has failed, a line that is gone need not be asked again; before, being gone is a failure. */
    for (int64_t i = 0; i < count && (a->failed == 0 || !channel_broken(set->connection->channel)); i++) {
        const struct canary *c;
        struct verify_result r;
        bool again;
        if (verify_next(v, &c, &again, err) != 0 ||
            verify_ask(c, set->connection, set->speculate, ROOM, tolerance, &r, err) != 0)
            return -1;
        a->again += again ? 1 : 0;
        add(a, &r, doc, list);
    }
    return 0;
}

static int print(const struct setup *set, const struct asked *a, double tolerance, struct json_doc *doc, bool as_json, struct err *err)
{
    if (as_json) {
        struct json *root = json_node(doc);
        json_put_bool(doc, root, "passed", a->failed == 0);
        json_put_int(doc, root, "asked", a->n);
        json_put_int(doc, root, "failed", a->failed);
        json_put_int(doc, root, "asked_before", a->again);
        json_put_num(doc, root, "max_diff", a->max_diff);
        json_put_num(doc, root, "tolerance", tolerance);
        report_wire(doc, root, set->connection);
        return report_print(doc, err);
    }
    json_free(doc);
    printf("%s  %d of %d answers as the developer computed them; largest difference of a log-probability %.3g, honest up to %.3g\n",
           a->failed == 0 ? "passed" : "FAILED", a->n - a->failed, a->n, a->max_diff, tolerance);
    if (a->again > 0)
        printf("%d of them were asked before: a server that remembers could answer those from memory. A new grant has new ones.\n",
               a->again);
    return 0;
}

int cmd_verify(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    struct verify *v = NULL;
    struct asked a = {0};
    int64_t count = COUNT, timeout_s = 60;
    double tolerance = 0;
    int rc = -1;
    (void)argc;
    (void)argv;
    if (cli_int(cmd, "count", 1, CANARY_COUNT_MAX, &count, err) != 0 || cli_int(cmd, "timeout", 1, 86400, &timeout_s, err) != 0 ||
        cli_num(cmd, "tolerance", 0, 100, &tolerance, err) != 0 || setup_read(&set, cmd, err) != 0 || setup_open(&set, cmd, err) != 0 ||
        verify_open(&v, set.grant_dir, set.grant, err) != 0 ||
        setup_connection(&set, &set.connection, cli_str(cmd, "trace", NULL), err) != 0 ||
        (set.grant->config->head == HEAD_LM && setup_speculation(&set, cmd, err) != 0))
        goto done;
    struct json_doc *doc = json_new_object("result");
    struct json *list = json_put_array(doc, json_node(doc), "answers");
    set.connection->step_ms = (int)timeout_s * 1000;
    tolerance = tolerance > 0 ? tolerance : verify_tolerance(v, set.bf16);
    rc = ask_all(&set, v, count, tolerance, &a, doc, list, err);
    if (rc != 0)
        json_free(doc);
    else
        rc = print(&set, &a, tolerance, doc, cli_on(cmd, "json"), err);
    if (rc == 0 && a.failed > 0)
        rc = err_set(err, ERR_CHECK, "the server does not compute the model of this grant: %s", a.what);
done:
    verify_close(v);
    setup_close(&set);
    return rc;
}
