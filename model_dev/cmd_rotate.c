#include <stdio.h>

#include "model_dev/cmd.h"
#include "model_dev/dev_config.h"
#include "model_dev/rotate.h"

static int print(const struct protect_report *r, const uint8_t previous[CRYPTO_HASH_LEN], bool as_json, struct err *err)
{
    char context[2 * CRYPTO_HASH_LEN + 1], before[2 * CRYPTO_HASH_LEN + 1], expires[32];
    crypto_hex(r->context_id, sizeof r->context_id, context);
    crypto_hex(previous, CRYPTO_HASH_LEN, before);
    cmd_expires(expires, r->expires);
    if (!as_json) {
        printf("context   %s (epoch %u, expires %s)\nreplaces  %s\npackage   %s (%.1f MB)\ntime      %.2f s\n"
               "next      stip-model-dev push, or serve, which notices; then every user: stip-user join\n",
               context, r->epoch, expires, before, r->package, (double)r->bytes / 1e6, r->seconds);
        return 0;
    }
    struct json_doc *doc = json_new_object("rotate");
    struct json *root = json_node(doc);
    json_put_str(doc, root, "context", context);
    json_put_str(doc, root, "previous", before);
    json_put_int(doc, root, "epoch", r->epoch);
    cmd_put_expires(doc, root, r->expires);
    json_put_str(doc, root, "package", r->package);
    json_put_str(doc, root, "key", r->key);
    json_put_int(doc, root, "bytes", (int64_t)r->bytes);
    json_put_num(doc, root, "seconds", r->seconds);
    int rc = cmd_print(doc, err);
    json_free(doc);
    return rc;
}

int cmd_rotate(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    struct dev_config s = {0};
    struct protect_report report;
    uint8_t previous[CRYPTO_HASH_LEN];
    int64_t expires;
    if (cmd_option_expires(cmd, &expires, err) != 0)
        return -1;
    int rc = dev_config_open(&s, cmd, err);
    if (rc == 0 && s.model[0] == '\0')
        rc = err_set(err, ERR_USAGE, "rotate needs the plain checkpoint: --model HFDIR, or 'model' in the config");
    if (rc == 0)
        rc = rotate(&(struct rotate_opts){.dir = s.protected, .model = s.model, .dtype = cli_str(cmd, "dtype", NULL),
                                          .identity = s.identity, .expires = expires},
                    &report, previous, err);
    if (rc == 0)
        rc = print(&report, previous, cli_on(cmd, "json"), err);
    dev_config_close(&s);
    return rc;
}
