#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "model/checkpoint.h"
#include "model_dev/cmd.h"
#include "model_dev/dev_config.h"
#include "model_dev/release.h"
#include "transport/client.h"
#include "transport/hops.h"

/* Signature, hashes, and the key of it. */
static bool check_package(struct doctor *d, const struct dev_config *c, struct release *r)
{
    struct err err;
    char id[17];
    if (release_open(r, c->protected, c->identity->sign_pub, &err) != 0) {
        doctor_fail(d, "package",
                    err.code == ERR_AUTH ? "take the identity that signed it, or protect again with --force" : "stip-model-dev protect", "%s",
                    err.text);
        return false;
    }
    if (manifest_check_files(&r->manifest, r->package, &err) != 0) {
        doctor_fail(d, "package", "restore it from a copy, or protect again with --force", "%s", err.text);
        return true;
    }
    crypto_hex(r->context, 8, id);
    doctor_ok(d, "package", "%s, context %s, epoch %u, signed by this identity, every hash right", r->manifest.model, id, r->manifest.epoch);
    doctor_expiry(d, "package expiry", "the package", r->manifest.expires, "stip-model-dev rotate");
    return true;
}

static void check_key(struct doctor *d, const struct release *r)
{
    struct err err;
    struct context_key *key = secret_alloc(sizeof *key);
    if (key == NULL)
        doctor_fail(d, "context key", "free memory", "out of memory");
    else if (release_key(r, key, &err) != 0)
        doctor_fail(d, "context key", "restore the key of this package from a copy; without it no grant can be made", "%s", err.text);
    else
        doctor_ok(d, "context key", "%s belongs to this package, closed to others", r->key);
    secret_free(key);
}

static void check_model(struct doctor *d, const struct dev_config *c, const struct release *r)
{
    struct checkpoint *cp = NULL;
    struct err err;
    if (c->model[0] == '\0')
        doctor_fail(d, "model", "set `model` of the config to the folder of the plain checkpoint", "not given: `serve` and `grant` need it");
    else if (checkpoint_open(&cp, c->model, CHECKPOINT_ALL, &err) != 0)
        doctor_fail(d, "model", "correct `model` of the config", "%s", err.text);
    else if (strcmp(checkpoint_config(cp)->architecture, r->manifest.model) != 0)
        doctor_fail(d, "model", "set `model` to the checkpoint that the package was made from", "%s is a %s, the package a %s", c->model,
                    checkpoint_config(cp)->architecture, r->manifest.model);
    else
        doctor_ok(d, "model", "%s, %s", c->model, checkpoint_config(cp)->architecture);
    checkpoint_close(cp);
}

/* Which package the server has, as its admin address says. */
static void check_installed(struct doctor *d, const char *name, struct channel *ch, const struct release *r)
{
    static const uint8_t none[WIRE_CONTEXT_BYTES];
    struct msg_hello_ok ok;
    struct err err;
    char line[64], id[17];
    (void)snprintf(line, sizeof line, "%s package", name);
    if (client_hello(ch, NULL, &ok, &err) != 0) {
        doctor_fail(d, line, "is it the admin address (listen_admin) of a stip-server?", "%s", err.text);
        return;
    }
    crypto_hex(ok.context, 8, id);
    if (memcmp(ok.context, r->context, sizeof ok.context) == 0)
        doctor_ok(d, line, "the server has this package");
    else if (memcmp(ok.context, none, sizeof none) == 0)
        doctor_warn(d, line, "stip-model-dev serve, or push", "the server has no package yet");
    else
        doctor_warn(d, line, "stip-model-dev serve, or push", "the server has another package, context %s", id);
}

static void check_servers(struct doctor *d, const struct dev_config *c, const struct release *r, bool released)
{
    struct transport *t = NULL;
    struct channel *ch;
    struct err err;
    char name[32];
    if (c->server_count == 0)
        doctor_warn(d, "servers", "put them into peers.servers", "peers.servers is empty: `serve` pushes to nobody");
    else if (transport_open(&t, &err) != 0)
        doctor_fail(d, "servers", "free memory or descriptors", "%s", err.text);
    for (size_t i = 0; t != NULL && i < c->server_count; i++) {
        (void)snprintf(name, sizeof name, c->server_count == 1 ? "server" : "server%zu", i + 1);
        hops_peer(d, name, &c->servers[i], c->identity, t, true, &ch);
        if (ch != NULL && released)
            check_installed(d, name, ch, r);
        channel_close(ch);
    }
    transport_close(t);
}

static void check(struct doctor *d, struct dev_config *c, struct release *r, const char *config)
{
    struct err err;
    if (!hops_identity(d, config))
        return;
    if (dev_config_load(c, config, &err) != 0) {
        doctor_fail(d, "config", "correct the file; docs/CONFIG.md lists the keys", "%s", err.text);
        return;
    }
    doctor_ok(d, "config", "%s", config);
    hops_allow(d, "users", "allow", c->user_count, "nobody may fetch a grant");
    const bool released = check_package(d, c, r);
    if (released) {
        check_key(d, r);
        check_model(d, c, r);
    }
    if (c->listen != NULL)
        hops_listen(d, "listen", c->listen);
    else
        doctor_warn(d, "listen", "set `listen` of the config, for example tcp://0.0.0.0:7403", "not given: `serve` needs it");
    hops_metrics(d, c->metrics);
    check_servers(d, c, r, released);
    doctor_disk(d, c->protected, released ? manifest_bytes(&r->manifest) : 0); /* of the next `protect` */
    doctor_threads(d, 0);
    doctor_clock(d);
}

int cmd_doctor(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct doctor d = {.json = cli_on(cmd, "json")};
    struct dev_config c = {0};
    struct release r = {0};
    const char *config = cli_str(cmd, "config", "model_dev.json");
    (void)argc;
    (void)argv;
    check(&d, &c, &r, config);
    release_close(&r);
    dev_config_close(&c);
    return doctor_end(&d, err);
}
