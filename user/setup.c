#include "user/setup.h"

#include <unistd.h>

#include "engine/kernels/matmul.h"

int setup_read(struct setup *out, const struct cli_cmd *cmd, struct err *err)
{
    static const char *const keys[] = {"grant", "peers", "threads", "chat_turn", "gateway", NULL};
    static const char *const peer_keys[] = {"server", "model_dev", NULL};
    const char *path;
    int64_t threads = 0;
    struct setup s = {0};
    if (cli_need(cmd, "config", &path, err) != 0 || role_config_open(&s.config, path, "user", keys, err) != 0)
        return -1;
    const struct json_doc *doc = s.config.doc;
    const struct json *peers = json_get(json_root(doc), "peers");
    if (json_only(doc, peers, peer_keys, err) != 0 || role_config_peer(&s.config, peers, "server", &s.server, err) != 0 ||
        role_config_path(&s.config, "grant", s.grant_dir, err) != 0 ||
        json_opt_int(doc, json_root(doc), "threads", 0, 1024, &threads, err) != 0) {
        setup_close(&s);
        return -1;
    }
    matmul_threads(threads > 0 ? (int)threads : (int)sysconf(_SC_NPROCESSORS_ONLN));
    *out = s;
    return 0;
}

int setup_connect(struct setup *s, const struct cli_cmd *cmd, struct err *err)
{
    if (grant_open(&s->grant, s->grant_dir, err) != 0 || transport_open(&s->transport, err) != 0)
        return -1;
    return connection_open(&s->connection, s->transport, s->server.endpoint, &s->server.key, s->config.identity, s->grant,
                           cli_str(cmd, "trace", NULL), err);
}

void setup_close(struct setup *s)
{
    connection_close(s->connection);
    transport_close(s->transport);
    grant_free(s->grant);
    role_config_close(&s->config);
    *s = (struct setup){0};
}
