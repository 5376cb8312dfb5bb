#include <stdio.h>

#include "model_dev/cmd.h"
#include "model_dev/push.h"
#include "model_dev/dev_config.h"

/* One line per server, or the same as an entry of the list in `doc`. */
static void report(struct json_doc *doc, struct json *list, const struct role_peer *server, bool there)
{
    if (doc == NULL) {
        printf("%s  %s\n", server->endpoint, there ? "already there" : "delivered");
        return;
    }
    struct json *node = json_put_object(doc, list, NULL);
    json_put_str(doc, node, "endpoint", server->endpoint);
    json_put_bool(doc, node, "already_there", there);
}

static int push_list(const struct release *p, const struct identity *id, const struct role_peer *servers, size_t n,
                     struct json_doc *doc, struct err *err)
{
    char context[2 * CRYPTO_HASH_LEN + 1];
    struct push *push = NULL;
    struct transport *t = NULL;
    struct json *list = NULL;
    crypto_hex(p->context, sizeof p->context, context);
    if (doc != NULL) {
        json_put_str(doc, json_node(doc), "context", context);
        json_put_int(doc, json_node(doc), "bytes", (int64_t)manifest_bytes(&p->manifest));
        list = json_put_array(doc, json_node(doc), "servers");
    }
    int rc = push_open(&push, p, err);
    if (rc == 0)
        rc = transport_open(&t, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        bool there = false;
        rc = push_to(push, t, &servers[i], id, &there, err);
        if (rc == 0)
            report(doc, list, &servers[i], there);
    }
    transport_close(t);
    push_close(push);
    return rc;
}

/* The server of --to and --key, or those of the config. */
static int targets(const struct cli_cmd *cmd, struct dev_config *s, struct role_peer *one, const struct role_peer **list, size_t *n,
                   struct err *err)
{
    const char *key;
    one->endpoint = cli_str(cmd, "to", NULL);
    if (one->endpoint != NULL) {
        if (cli_need(cmd, "key", &key, err) != 0 || cmd_peer_key(&one->key, key, err) != 0)
            return -1;
        *list = one;
        *n = 1;
        return 0;
    }
    *list = s->servers;
    *n = s->server_count;
    return *n > 0 ? 0 : err_set(err, ERR_USAGE, "push needs --to ENDPOINT and --key KEY, or 'peers.servers' in the config");
}

int cmd_push(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    struct dev_config s = {0};
    struct release p = {0};
    struct role_peer one;
    const struct role_peer *list = NULL;
    struct json_doc *doc = cli_on(cmd, "json") ? json_new_object("push") : NULL;
    size_t n = 0;
    int rc = dev_config_open(&s, cmd, err);
    if (rc == 0)
        rc = targets(cmd, &s, &one, &list, &n, err);
    if (rc == 0)
        rc = release_open(&p, s.protected, s.identity->sign_pub, err);
    if (rc == 0)
        rc = push_list(&p, s.identity, list, n, doc, err);
    if (rc == 0 && doc != NULL)
        rc = cmd_print(doc, err);
    json_free(doc);
    release_close(&p);
    dev_config_close(&s);
    return rc;
}
