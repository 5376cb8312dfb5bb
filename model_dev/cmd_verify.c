#include <stdio.h>

#include "base/secret.h"
#include "model_dev/cmd.h"
#include "model_dev/dev_config.h"
#include "model_dev/release.h"

static int check_key(const struct release *p, struct err *err)
{
    struct context_key *key = secret_alloc(sizeof *key);
    if (key == NULL)
        return err_oom(err, sizeof *key);
    const int rc = release_key(p, key, err);
    secret_free(key);
    return rc;
}

static int print(const struct release *p, bool as_json, struct err *err)
{
    char context[2 * CRYPTO_HASH_LEN + 1];
    crypto_hex(p->context, sizeof p->context, context);
    if (!as_json) {
        printf("%s: context %.16s, signed by this identity, %zu files of %llu bytes as signed, %s belongs to it\n", p->package, context,
               p->manifest.file_count, (unsigned long long)manifest_bytes(&p->manifest), p->key);
        return 0;
    }
    struct json_doc *doc = json_new_object("verify");
    struct json *root = json_node(doc);
    json_put_str(doc, root, "package", p->package);
    json_put_str(doc, root, "context", context);
    json_put_int(doc, root, "files", (int64_t)p->manifest.file_count);
    json_put_int(doc, root, "bytes", (int64_t)manifest_bytes(&p->manifest));
    json_put_bool(doc, root, "passed", true);
    const int rc = cmd_print(doc, err);
    json_free(doc);
    return rc;
}

int cmd_verify(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct dev_config c;
    struct release p;
    (void)argc;
    (void)argv;
    if (dev_config_open(&c, cmd, err) != 0)
        return -1;
    int rc = release_open(&p, c.protected, c.identity->sign_pub, err);
    if (rc == 0) {
        rc = manifest_check_files(&p.manifest, p.package, err);
        if (rc == 0)
            rc = check_key(&p, err);
        if (rc == 0)
            rc = print(&p, cli_on(cmd, "json"), err);
        release_close(&p);
    }
    dev_config_close(&c);
    return rc;
}
