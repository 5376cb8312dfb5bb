#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "model/hub.h"
#include "model_dev/cmd.h"
#include "model_dev/derived.h"
#include "model_dev/protect.h"

/* The developer's identity: the given one, or OUT/identity, made on first use. *made says that it was made here. */
static int open_identity(struct identity **id, const char *given, const char *out, char dir[FILE_PATH_MAX], bool *made,
                         struct err *err)
{
    char key[FILE_PATH_MAX];
    if (given != NULL)
        return file_join(dir, NULL, given, err) != 0 ? -1 : identity_load(id, dir, err);
    if (file_join(dir, out, "identity", err) != 0 || file_join(key, dir, IDENTITY_KEY_FILE, err) != 0)
        return -1;
    if (file_exists(key))
        return identity_load(id, dir, err);
    if (file_mkdirs(out, 0700, err) != 0 || identity_generate(id, err) != 0 || identity_save(*id, dir, err) != 0)
        return -1;
    *made = true;
    return 0;
}

static int print_json(const struct protect_report *r, const struct identity *id, const char *identity, struct err *err)
{
    char context[2 * CRYPTO_HASH_LEN + 1], who[PEER_KEY_TEXT];
    struct peer_key self = identity_public(id);
    crypto_hex(r->context_id, sizeof r->context_id, context);
    peer_key_text(&self, who);
    struct json_doc *doc = json_new_object("protect");
    struct json *root = json_node(doc);
    json_put_str(doc, root, "package", r->package);
    json_put_str(doc, root, "key", r->key);
    json_put_str(doc, root, "context", context);
    json_put_str(doc, root, "architecture", r->architecture);
    json_put_str(doc, root, "profile", r->profile);
    json_put_str(doc, root, "head", r->head_user ? "user" : "server");
    json_put_int(doc, root, "local_layers", r->local_layers);
    json_put_str(doc, root, "compute", compute_name(r->compute));
    json_put_bool(doc, root, "table_exposed", r->table_exposed);
    json_put_int(doc, root, "epoch", r->epoch);
    json_put_bool(doc, root, "chained", r->chained);
    cmd_put_expires(doc, root, r->expires);
    json_put_int(doc, root, "tensors", (int64_t)r->tensors);
    json_put_int(doc, root, "files", (int64_t)r->files);
    json_put_int(doc, root, "bytes", (int64_t)r->bytes);
    json_put_num(doc, root, "seconds", r->seconds);
    json_put_str(doc, root, "identity", identity);
    json_put_str(doc, root, "model_dev", who);
    int rc = cmd_print(doc, err);
    json_free(doc);
    return rc;
}

static void print_text(const struct protect_report *r, const char *identity)
{
    char context[2 * CRYPTO_HASH_LEN + 1], expires[32];
    crypto_hex(r->context_id, sizeof r->context_id, context);
    cmd_expires(expires, r->expires);
    printf("package   %s  (for the %s: %zu tensors, %.1f MB, %s, computed in %s, head at the %s)\n"
           "profile   %s, first layers at the user: %d\n"
           "key       %s  (the developer's secret: keep a copy, give it to nobody)\n"
           "context   %s (epoch %u, expires %s)\n"
           "signed by %s\n"
           "time      %.2f s\n",
           r->package, r->engine ? "engine" : "server", r->tensors, (double)r->bytes / 1e6, r->architecture, compute_name(r->compute),
           r->head_user ? "user" : "server", r->profile, r->local_layers, r->key, context, r->epoch, expires, identity, r->seconds);
}

static int protect_as(const char *profile, const struct cli_cmd *cmd, struct err *err)
{
    struct protect_opts o = {.profile = profile, .head = cli_str(cmd, "head", NULL),
                             .dtype = cli_str(cmd, "dtype", NULL), .force = cli_on(cmd, "force")};
    const char *seed = cli_str(cmd, "seed", NULL);
    char identity[FILE_PATH_MAX] = "", model[FILE_PATH_MAX];
    uint8_t given_seed[CRYPTO_KEY_LEN];
    struct protect_report report;
    struct derived derived;
    struct identity *id = NULL;
    bool made = false, made_out;
    int64_t epoch = 0, local_layers = 0;
    if (hub_option(model, cmd, err) != 0 || cli_need(cmd, "out", &o.out, err) != 0 || derived_option(&derived, cmd, err) != 0)
        return -1;
    if (cli_int(cmd, "epoch", 1, UINT32_MAX, &epoch, err) != 0 || cmd_option_expires(cmd, &o.expires, err) != 0)
        return -1;
    o.epoch = (uint32_t)epoch;
    if (cli_int(cmd, "local-layers", 0, UINT16_MAX, &local_layers, err) != 0)
        return -1;
    o.local_layers = (int)local_layers;
    o.model = model;
    if (seed != NULL) {
        if (!crypto_unhex(seed, given_seed, sizeof given_seed))
            return err_set(err, ERR_USAGE, "--seed: expected %d hex digits, found %zu characters", 2 * CRYPTO_KEY_LEN, strlen(seed));
        log_warn("--seed is for tests: whoever knows the seed knows every key");
        o.seed = given_seed;
    }
    made_out = !file_exists(o.out);
    int rc = open_identity(&id, cli_str(cmd, "identity", NULL), o.out, identity, &made, err);
    if (rc == 0) {
        o.sign_pub = id->sign_pub;
        o.sign_key = id->sign_key;
        rc = protect_checkpoint(&o, &report, err);
    }
    if (made && rc != 0) { /* leave nothing of a run that came to nothing */
        (void)!file_remove_tree(identity, NULL);
        if (made_out)
            (void)rmdir(o.out);
    } else if (made) {
        log_info("made a developer identity in %s; give --identity DIR to use another", identity);
    }
    if (rc == 0 && report.engine)
        log_warn("profile engine: the engine holds the embedding table in secret order and sees every prompt and answer as a substitution "
                 "cipher; it hides less than profile stip (docs/ENGINES.md)");
    else if (rc == 0 && report.table_exposed)
        log_warn("the output table equals the embedding table and goes to the server: it can label every row that a user "
                 "sends; --head user avoids this");
    if (rc == 0)
        derived_say(&derived);
    if (rc == 0 && cli_on(cmd, "json"))
        rc = print_json(&report, id, identity, err);
    else if (rc == 0)
        print_text(&report, identity);
    identity_free(id);
    secret_wipe(given_seed, sizeof given_seed);
    return rc;
}

int cmd_protect(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    return protect_as(cli_str(cmd, "profile", NULL), cmd, err);
}

int cmd_export(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    (void)argc;
    (void)argv;
    return protect_as("engine", cmd, err);
}
