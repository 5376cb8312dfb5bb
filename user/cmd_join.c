#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/expiry.h"
#include "base/log.h"
#include "base/progress.h"
#include "transport/bundle.h"
#include "transport/canary.h"
#include "transport/client.h"
#include "transport/seal.h"
#include "user/cmd.h"
#include "user/report.h"
#include "user/setup.h"

#define BUNDLE_FILE "grant.bundle"
#define CANARY_BUNDLE_FILE "canaries.bundle" /* this user's own; a grant that came as a file has them inside */

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct progress *bar = arg;
    bar->total = total;
    progress_at(bar, done);
}

/* Pulls grant.bundle, and canaries.bundle where there is one, from model_dev into FOLDER. */
static int pull(struct channel *ch, const char *folder, struct err *err)
{
    struct msg_hello_ok ok;
    struct msg_offer offer;
    struct blob_list list = {0};
    struct blob_sink *sink = NULL;
    struct progress bar;
    char *manifest = NULL;
    size_t len;
    bool checked = false;
    int rc = -1;
    progress_start(&bar, "join", "B", 0);
    if (client_hello(ch, NULL, &ok, err) != 0 || client_grant(ch, NULL, &offer, err) != 0 ||
        client_manifest(ch, offer.manifest_bytes, &manifest, &len, err) != 0 ||
        blob_list_decode(&list, (const uint8_t *)manifest, len, err) != 0)
        goto done;
    if (list.count < 1 || list.count > 2 || strcmp(list.file[0].name, BUNDLE_FILE) != 0 ||
        (list.count == 2 && strcmp(list.file[1].name, CANARY_BUNDLE_FILE) != 0)) {
        err_set(err, ERR_PEER, "%s offers something that is not a grant", channel_endpoint(ch));
        goto done;
    }
    if (blob_sink_open(&sink, folder, &list, err) != 0)
        goto done;
    while (!checked)
        if (blob_sink_check(sink, 64, &checked, err) != 0)
            goto done;
    if (client_pull(ch, sink, on_progress, &bar, blob_list_bytes(&list), err) == 0)
        rc = blob_sink_install(sink, err);
done:
    progress_end(&bar);
    blob_sink_close(sink);
    blob_list_free(&list);
    free(manifest);
    return rc;
}

/* canaries.bin out of its bundle, to where the rest of the grant lies. */
static int add_canaries(const char *bundle, const char *fresh, const struct role_peer *developer, struct err *err)
{
    char folder[FILE_PATH_MAX], from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    if (bundle == NULL || !file_exists(bundle))
        return 0;
    if (snprintf(folder, sizeof folder, "%s.folder", bundle) >= (int)sizeof folder)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", bundle);
    if (bundle_unpack(bundle, folder, "canaries", developer->key.sign_pub, err) != 0 ||
        file_join(from, folder, CANARY_FILE, err) != 0 || file_join(to, fresh, CANARY_FILE, err) != 0)
        return -1;
    return rename(from, to) == 0 ? 0 : err_set(err, ERR_INTERNAL, "cannot move %s to %s: %s", from, to, strerror(errno));
}

/* The bundle becomes the grant, once all of it is known to be good: what was there before stays until then. */
static int take(const char *bundle, const char *canaries, const char *grant_dir, const struct role_peer *developer, struct err *err)
{
    char fresh[FILE_PATH_MAX];
    struct grant *grant = NULL;
    struct err left;
    size_t n = strlen(grant_dir);
    while (n > 1 && grant_dir[n - 1] == '/')
        n--;
    if (snprintf(fresh, sizeof fresh, "%.*s.next", (int)n, grant_dir) >= (int)sizeof fresh)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", grant_dir);
    int rc = bundle_unpack(bundle, fresh, "grant", developer->key.sign_pub, err);
    if (rc == 0)
        rc = add_canaries(canaries, fresh, developer, err);
    if (rc == 0)
        rc = grant_open(&grant, fresh, err);
    if (rc == 0)
        rc = grant_check_time(grant, err);
    if (rc == 0)
        rc = grant_check_newer(grant, grant_dir, err);
    grant_free(grant);
    if (rc == 0)
        rc = file_replace_tree(fresh, grant_dir, err);
    if (rc != 0 && file_remove_tree(fresh, &left) != 0)
        log_warn("%s", left.text);
    return rc;
}

static int fetch(const struct setup *set, const struct role_peer *developer, const char *grant_dir, struct err *err)
{
    char folder[FILE_PATH_MAX], bundle[FILE_PATH_MAX], canaries[FILE_PATH_MAX];
    struct transport *t = NULL;
    struct channel *ch = NULL;
    if (snprintf(folder, sizeof folder, "%s.incoming", grant_dir) >= (int)sizeof folder ||
        file_join(bundle, folder, BUNDLE_FILE, err) != 0 || file_join(canaries, folder, CANARY_BUNDLE_FILE, err) != 0)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", grant_dir);
    int rc = file_remove_tree(folder, err);
    if (rc == 0)
        rc = transport_open(&t, err);
    if (rc == 0)
        rc = channel_open(&ch, t, developer->endpoint, &developer->key, set->config.identity, CHANNEL_CONNECT_MS, err);
    if (rc == 0)
        rc = pull(ch, folder, err);
    if (rc == 0)
        rc = take(bundle, canaries, grant_dir, developer, err);
    struct err left;
    if (rc == 0 && file_remove_tree(folder, &left) != 0)
        rc = err_set(err, ERR_INTERNAL, "%s", left.text);
    channel_close(ch);
    transport_close(t);
    return rc;
}

/* A grant that came as a file, sealed to this user. */
static int open_sealed(const struct setup *set, const struct role_peer *developer, const char *path, struct err *err)
{
    char bundle[FILE_PATH_MAX];
    if (snprintf(bundle, sizeof bundle, "%s.bundle", set->grant_dir) >= (int)sizeof bundle)
        return err_set(err, ERR_INPUT, "path too long: %.80s...", set->grant_dir);
    if (seal_open_file(path, bundle, set->config.identity, err) != 0)
        return -1;
    int rc = take(bundle, NULL, set->grant_dir, developer, err);
    (void)unlink(bundle);
    return rc;
}

static int print_grant(const struct grant *g, bool as_json, struct err *err)
{
    char context[2 * CRYPTO_HASH_LEN + 1], expires[32] = "never";
    const char *head = g->head_here ? "user" : "server";
    if (g->expires != EXPIRY_NEVER)
        clock_iso(g->expires, expires);
    crypto_hex(g->context, sizeof g->context, context);
    if (!as_json) {
        printf("joined context %.16s...: %s, profile %s, head on the %s, first layers on the user: %d, epoch %u, expires %s\n", context,
               g->config->architecture, g->profile, head, g->local_layers, g->epoch, expires);
        return 0;
    }
    struct json_doc *doc = json_new_object("result");
    struct json *root = json_node(doc);
    json_put_str(doc, root, "context", context);
    json_put_str(doc, root, "architecture", g->config->architecture);
    json_put_str(doc, root, "profile", g->profile);
    json_put_str(doc, root, "head", head);
    json_put_int(doc, root, "local_layers", g->local_layers);
    json_put_int(doc, root, "epoch", g->epoch);
    json_put_str(doc, root, "expires", g->expires == EXPIRY_NEVER ? NULL : expires);
    return report_print(doc, err);
}

int cmd_join(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct setup set = {0};
    struct role_peer developer;
    const char *sealed = cli_str(cmd, "grant", NULL);
    int rc = -1;
    (void)argc;
    (void)argv;
    if (setup_read(&set, cmd, err) != 0)
        return -1;
    const struct json *peers = json_get(json_root(set.config.doc), "peers");
    if (role_config_peer(&set.config, peers, "model_dev", &developer, err) != 0)
        goto done;
    rc = sealed != NULL ? open_sealed(&set, &developer, sealed, err) : fetch(&set, &developer, set.grant_dir, err);
    if (rc == 0)
        rc = grant_open(&set.grant, set.grant_dir, err);
    if (rc == 0)
        rc = print_grant(set.grant, cli_on(cmd, "json"), err);
done:
    setup_close(&set);
    return rc;
}
