#include <stdio.h>
#include <string.h>

#include "transport/hops.h"
#include "user/cmd.h"
#include "user/setup.h"

/* The folder that join filled, its keys closed to others and of one model. */
static bool check_grant(struct doctor *d, struct setup *s, const struct cli_cmd *cmd)
{
    struct err err;
    char id[17];
    s->images = true;
    if (setup_open(s, cmd, &err) != 0) {
        doctor_fail(d, "grant", "stip-user join --config FILE", "%s", err.text);
        return false;
    }
    crypto_hex(s->grant->context, 8, id);
    doctor_ok(d, "grant", "%s, profile %s, context %s, epoch %u, head on the %s, first layers here: %d, key file closed to others", s->grant->config->architecture,
              s->grant->profile, id, s->grant->epoch, s->grant->head_here ? "user" : "server", s->grant->local_layers);
    doctor_expiry(d, "grant expiry", "the grant", s->grant->expires, "ask the developer for another, then: stip-user join --config FILE");
    return true;
}

/* What the server shows is signed by the developer and is the package that the grant is for; and it has room. */
static void check_serving(struct doctor *d, const struct setup *s, const char *name, const struct role_peer *server, struct transport *t)
{
    struct connection *c = NULL;
    struct session *session = NULL;
    struct err err;
    char package[64], room[64];
    (void)snprintf(package, sizeof package, "%s package", name);
    (void)snprintf(room, sizeof room, "%s session", name);
    if (connection_open(&c, t, server->endpoint, &server->key, s->config.identity, s->grant, NULL, &err) != 0) {
        doctor_fail(d, package,
                    err.code == ERR_AUTH ? "stip-user join --config FILE, if the developer has made a new package"
                                         : "ask the server's operator; `stip-server doctor` there says more",
                    "%s", err.text);
        return;
    }
    doctor_ok(d, package, "the server's manifest is signed by the developer, and is the one of the grant");
    if (session_open(&session, c, 1, 1, &err) != 0)
        doctor_fail(d, room, "try later, or ask the server's operator for higher limits", "%s", err.text);
    else
        doctor_ok(d, room, "the server gives one, of at most %u tokens", c->server.max_tokens);
    session_close(session);
    connection_close(c);
}

static void check_servers(struct doctor *d, const struct setup *s, bool granted, struct transport *t)
{
    if (s->server_count == 0)
        doctor_fail(d, "server", "set peers.server of the config: docs/CONFIG.md", "peers.server is missing: nobody computes");
    for (int i = 0; i < s->server_count; i++) {
        struct channel *ch;
        char name[32];
        (void)snprintf(name, sizeof name, s->server_count == 1 ? "server" : "server%d", i + 1);
        hops_peer(d, name, &s->servers[i], s->config.identity, t, true, &ch);
        channel_close(ch);
        if (ch != NULL && granted)
            check_serving(d, s, name, &s->servers[i], t);
    }
}

/* With a grant of profile "engine" an engine of others computes, over HTTP. */
static void check_engine(struct doctor *d, struct setup *s, const struct cli_cmd *cmd)
{
    char endpoint[300];
    struct err err;
    if (setup_backend(s, cmd, &err) != 0) {
        doctor_fail(d, "engine", "set `backend` of the config: docs/CONFIG.md", "%s", err.text);
        return;
    }
    const char *host = strstr(s->backend.url, "://");
    host = host == NULL ? s->backend.url : host + 3;
    const int n = (int)strcspn(host, "/");
    const bool port = memchr(host, ':', (size_t)n) != NULL;
    (void)snprintf(endpoint, sizeof endpoint, "tcp://%.*s%s", n, host, port ? "" : strncmp(s->backend.url, "https", 5) == 0 ? ":443" : ":80");
    (void)hops_reach(d, "engine", endpoint, true);
}

/* Needed to join, and not afterwards. */
static void check_developer(struct doctor *d, const struct setup *s, bool granted, struct transport *t)
{
    struct role_peer developer;
    struct channel *ch;
    struct err err;
    const struct json *peers = json_get(json_root(s->config.doc), "peers");
    if (json_is_null(json_get(peers, "model_dev")))
        return;
    if (role_config_peer(&s->config, peers, "model_dev", &developer, &err) != 0) {
        doctor_fail(d, "model_dev", "correct the file; docs/CONFIG.md lists the keys", "%s", err.text);
        return;
    }
    hops_peer(d, "model_dev", &developer, s->config.identity, t, !granted, &ch);
    channel_close(ch);
}

static void check(struct doctor *d, struct setup *s, const struct cli_cmd *cmd, const char *config)
{
    struct transport *t = NULL;
    struct err err;
    int64_t threads = 0;
    if (!hops_identity(d, config))
        return;
    if (setup_read(s, cmd, &err) != 0) {
        doctor_fail(d, "config", "correct the file; docs/CONFIG.md lists the keys", "%s", err.text);
        return;
    }
    doctor_ok(d, "config", "%s", config);
    const bool granted = check_grant(d, s, cmd);
    if (transport_open(&t, &err) != 0) {
        doctor_fail(d, "transport", "free memory or descriptors", "%s", err.text);
        return;
    }
    if (granted && s->grant->engine)
        check_engine(d, s, cmd);
    else
        check_servers(d, s, granted, t);
    check_developer(d, s, granted, t);
    transport_close(t);
    doctor_disk(d, s->grant_dir, 0);
    if (json_opt_int(s->config.doc, json_root(s->config.doc), "threads", 0, 1024, &threads, &err) == 0)
        doctor_threads(d, (int)threads);
    doctor_clock(d);
}

int cmd_doctor(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    struct doctor d = {.json = cli_on(cmd, "json")};
    struct setup set = {0};
    const char *config;
    (void)argc;
    (void)argv;
    if (cli_need(cmd, "config", &config, err) != 0)
        return -1;
    check(&d, &set, cmd, config);
    setup_close(&set);
    return doctor_end(&d, err);
}
