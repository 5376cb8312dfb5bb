#include <stdio.h>

#include "base/expiry.h"
#include "base/threads.h"
#include "engine/kernels/table.h"
#include "model_dev/cmd.h"
#include "model_dev/grant.h"
#include "model_dev/dev_config.h"
#include "model_dev/ledger.h"
#include "transport/canary.h"

#define CANARIES 8

static int print(const struct release *p, const struct peer_key *user, const char *path, int64_t end, bool as_json, struct err *err)
{
    char context[2 * CRYPTO_HASH_LEN + 1], fingerprint[FINGERPRINT_TEXT], expires[32];
    cmd_expires(expires, end);
    uint64_t bytes = 0;
    if (file_size(path, &bytes, err) != 0)
        return -1;
    crypto_hex(p->context, sizeof p->context, context);
    peer_key_fingerprint(user, fingerprint);
    if (!as_json) {
        printf("grant    %s (%.1f MB)\nfor user %s, who alone can open it\ncontext  %s\nexpires  %s\n", path, (double)bytes / 1e6,
               fingerprint, context, expires);
        return 0;
    }
    struct json_doc *doc = json_new_object("grant");
    struct json *root = json_node(doc);
    json_put_str(doc, root, "grant", path);
    json_put_int(doc, root, "bytes", (int64_t)bytes);
    json_put_str(doc, root, "user", fingerprint);
    json_put_str(doc, root, "context", context);
    cmd_put_expires(doc, root, end);
    int rc = cmd_print(doc, err);
    json_free(doc);
    return rc;
}

int cmd_grant(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    const char *user_file, *out;
    struct peer_key user;
    struct dev_config s = {0};
    struct release p = {0};
    int64_t expires, canaries = CANARIES;
    if (cli_need(cmd, "user", &user_file, err) != 0 || cli_need(cmd, "out", &out, err) != 0 ||
        cmd_peer_key(&user, user_file, err) != 0 || cmd_option_expires(cmd, &expires, err) != 0 ||
        cli_int(cmd, "canaries", 0, CANARY_COUNT_MAX, &canaries, err) != 0)
        return -1;
    int rc = dev_config_open(&s, cmd, err);
    if (rc == 0 && s.model[0] == '\0')
        rc = err_set(err, ERR_USAGE, "grant needs the plain checkpoint: --model HFDIR, or 'model' in the config");
    if (rc == 0)
        rc = kernels_choose(NULL, err);
    if (rc == 0)
        rc = threads_start(threads_fit(0), err);
    if (rc == 0)
        rc = release_open(&p, s.protected, s.identity->sign_pub, err);
    if (rc == 0) /* first: a line too many costs a revocation nothing, one too few hides a grant from it */
        rc = ledger_add(s.protected, &user, p.context, err);
    if (rc == 0)
        rc = grant_seal(&(struct grant_source){.model = s.model, .from = &p, .identity = s.identity, .expires = expires,
                                                .canaries = (size_t)canaries, .rows = s.rows || cli_on(cmd, "prompt-embeds")},
                        &user, out, err);
    if (rc == 0)
        rc = print(&p, &user, out, expiry_first(expires, p.manifest.expires), cli_on(cmd, "json"), err);
    threads_stop();
    release_close(&p);
    dev_config_close(&s);
    return rc;
}
