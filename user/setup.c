#include "user/setup.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/threads.h"
#include "engine/kernels/table.h"

/* One server, or a list of them. */
static int read_servers(struct setup *s, const struct json *peers, struct err *err)
{
    const struct json *list = json_get(peers, "server");
    if (list == NULL && json_get(json_root(s->config.doc), "backend") != NULL)
        return 0;
    if (json_type(list) != JSON_ARRAY) {
        s->server_count = 1;
        return role_config_peer(&s->config, peers, "server", &s->servers[0], err);
    }
    size_t n = json_count(list);
    if (n < 1 || n > CONNECTION_PEERS)
        return err_set(err, ERR_USAGE, "%s: field 'peers.server': expected 1 to %d servers, found %zu", json_name(s->config.doc),
                       CONNECTION_PEERS, n);
    for (const struct json *p = json_first(list); p != NULL; p = json_next(p), s->server_count++)
        if (role_config_peer_node(&s->config, p, &s->servers[s->server_count], err) != 0)
            return err_wrap(err, "peer 'server', number %d of the list", s->server_count + 1);
    return 0;
}

/* "pad_to": [64, 256, 1024] */
static int read_buckets(struct connection_pad *pad, const struct json_doc *doc, struct err *err)
{
    const struct json *list = json_get(json_root(doc), "pad_to");
    if (list == NULL)
        return 0;
    int64_t last = 0, value;
    for (const struct json *node = json_first(list); node != NULL; node = json_next(node), last = value) {
        if (pad->n == CONNECTION_BUCKETS || !json_integer(node, &value) || value <= last || value > 1 << 20)
            return err_set(err, ERR_USAGE, "%s: field 'pad_to': expected at most %d growing lengths of 1 to %d tokens", json_name(doc),
                           CONNECTION_BUCKETS, 1 << 20);
        pad->to[pad->n++] = (int)value;
    }
    return json_type(list) == JSON_ARRAY && pad->n > 0
               ? 0
               : err_set(err, ERR_USAGE, "%s: field 'pad_to': expected a list of lengths, such as [64, 256, 1024]", json_name(doc));
}

/* What only some commands read: all of them refuse what is not known there. */
static int check_sections(struct setup *s, struct err *err)
{
    static const char *const gateway[] = {"listen", "model", "api_key_file", "cors", "hosts", "max_tokens", "parallel", "connections", NULL};
    static const char *const backend[] = {"url", "model", "key", "prompt_embeds", NULL}, *const draft[] = {"model", NULL};
    const struct json_doc *doc = s->config.doc;
    const struct json *root = json_root(doc);
    if (json_only(doc, json_get(root, "gateway"), gateway, err) != 0 || json_only(doc, json_get(root, "backend"), backend, err) != 0 ||
        json_only(doc, json_get(root, "draft"), draft, err) != 0 || json_opt_num(doc, root, "verify_rate", &s->verify_rate, err) != 0)
        return -1;
    if (!(s->verify_rate >= 0 && s->verify_rate <= 1))
        return err_set(err, ERR_USAGE, "%s: field 'verify_rate': expected 0 to 1, found %g", json_name(doc), s->verify_rate);
    return 0;
}

int setup_read(struct setup *out, const struct cli_cmd *cmd, struct err *err)
{
    static const char *const keys[] = {"grant", "peers", "threads", "chat_turn", "wire", "speculate", "draft", "gateway", "retry_s", "backend", "verify_rate", "pad_to", NULL};
    static const char *const peer_keys[] = {"server", "model_dev", NULL};
    const char *path;
    int64_t threads = 0, retry_s = 60;
    struct setup s = {0};
    if (cli_need(cmd, "config", &path, err) != 0 || role_config_open(&s.config, path, "user", keys, err) != 0)
        return -1;
    const struct json_doc *doc = s.config.doc;
    const struct json *peers = json_get(json_root(doc), "peers");
    if (json_only(doc, peers, peer_keys, err) != 0 || read_servers(&s, peers, err) != 0 ||
        role_config_path(&s.config, "grant", s.grant_dir, err) != 0 ||
        json_opt_int(doc, json_root(doc), "threads", 0, 1024, &threads, err) != 0 ||
        json_opt_int(doc, json_root(doc), "retry_s", 0, 86400, &retry_s, err) != 0 || read_buckets(&s.pad, doc, err) != 0 || check_sections(&s, err) != 0 ||
        kernels_choose(NULL, err) != 0 ||
        threads_start(threads_fit((int)threads), err) != 0) {
        setup_close(&s);
        return -1;
    }
    s.retry_ms = (int)retry_s * 1000;
    *out = s;
    return 0;
}

/* A text that a flag or the config gives. */
static int text_of(const struct setup *s, const struct cli_cmd *cmd, const char *name, const char **out, struct err *err)
{
    if (json_opt_str(s->config.doc, json_root(s->config.doc), name, out, err) != 0)
        return -1;
    *out = cli_str(cmd, name, *out);
    return 0;
}

int setup_open(struct setup *s, const struct cli_cmd *cmd, struct err *err)
{
    const char *wire = "f32";
    if (text_of(s, cmd, "wire", &wire, err) != 0)
        return -1;
    if (strcmp(wire, "f32") != 0 && strcmp(wire, "bf16") != 0)
        return err_set(err, ERR_USAGE, "wire (--wire): expected f32 or bf16, found '%.30s'", wire);
    s->bf16 = strcmp(wire, "bf16") == 0;
    if (grant_open(&s->grant, s->grant_dir, err) != 0 || transport_open(&s->transport, err) != 0)
        return -1;
    if (!s->grant->engine && (cli_on(cmd, "backend") || cli_on(cmd, "prompt-embeds")))
        return err_set(err, ERR_USAGE, "--%s: this grant is for a stip-server; an engine needs one of profile 'engine' (docs/ENGINES.md)",
                       cli_on(cmd, "backend") ? "backend" : "prompt-embeds");
    if (config_reads_images(s->grant->config) && !s->images)
        return err_set(err, ERR_USAGE, "a %s reads images: stip-user classify --config FILE --image FILE", s->grant->config->architecture);
    if (s->pad.n > 0 && !s->grant->config->causal)
        return err_set(err, ERR_USAGE, "%s: field 'pad_to': a %s reads all rows, and more of them would change its answer; leave it out",
                       json_name(s->config.doc), s->grant->config->architecture);
    return 0;
}

/* What only a stip-server does is not left out without a word. */
static int check_plain(const struct setup *s, const struct cli_cmd *cmd, struct err *err)
{
    static const char *const flags[] = {"speculate", "draft-model", "wire", "trace"}, *const keys[] = {"speculate", "draft", "wire"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (cli_on(cmd, flags[i]))
            return err_set(err, ERR_USAGE, "--%s: of the line to a stip-server; leave it out with a grant of profile 'engine'", flags[i]);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_get(json_root(s->config.doc), keys[i]) != NULL)
            log_warn("%s: field '%s' is of the line to a stip-server, and not used with an engine", json_name(s->config.doc), keys[i]);
    if (s->verify_rate > 0)
        return err_set(err, ERR_USAGE, "%s: field 'verify_rate': an engine gives no log-probabilities to check known answers by; leave it out",
                       json_name(s->config.doc));
    return s->pad.n == 0 ? 0
                         : err_set(err, ERR_USAGE, "%s: field 'pad_to': prompts for an engine are not lengthened; leave it out",
                                   json_name(s->config.doc));
}

int setup_backend(struct setup *s, const struct cli_cmd *cmd, struct err *err)
{
    const struct json_doc *doc = s->config.doc;
    const struct json *node = json_get(json_root(doc), "backend");
    const char *url = NULL, *rows = "off";
    struct backend b = {0};
    if (json_opt_str(doc, node, "url", &url, err) != 0 || json_opt_str(doc, node, "model", &b.model, err) != 0 ||
        json_opt_str(doc, node, "key", &b.key, err) != 0 || json_opt_str(doc, node, "prompt_embeds", &rows, err) != 0)
        return -1;
    url = cli_str(cmd, "backend", url);
    b.model = cli_str(cmd, "backend-model", b.model);
    b.key = cli_str(cmd, "backend-key", b.key);
    if (url == NULL)
        return err_set(err, ERR_USAGE, "this grant is of profile 'engine'; say which engine serves it: --backend openai:http://HOST:PORT/v1, "
                                       "or field 'backend' of the config");
    if (check_plain(s, cmd, err) != 0 || backend_parse(&b, url, err) != 0 || backend_parse_rows(&b, cli_str(cmd, "prompt-embeds", rows), s->grant, err) != 0)
        return -1;
    log_warn("profile engine: %s computes on a substitution cipher of your tokens; weaker than profile stip (docs/ENGINES.md)", b.url);
    if (b.rows != BACKEND_IDS)
        log_warn("prompt_embeds: rows of the engine's own table; each is worth as much as its token id to whoever holds that table");
    s->backend = b;
    return 0;
}

int setup_connection(const struct setup *s, struct connection **out, const char *trace, struct err *err)
{
    struct connection *c = NULL;
    int at = 0;
    if (s->grant->engine)
        return err_set(err, ERR_USAGE, "this grant is of profile 'engine', which serves generate, chat and serve only");
    if (s->server_count == 0)
        return err_set(err, ERR_USAGE, "%s: field 'peers.server' is missing; only grants of profile 'engine' do without",
                       json_name(s->config.doc));
    while (connection_open(&c, s->transport, s->servers[at].endpoint, &s->servers[at].key, s->config.identity, s->grant, trace,
                           err) != 0)
        if (++at == s->server_count)
            return -1;
    connection_keep(c, s->servers, s->server_count, at, 0);
    c->pad = s->pad;
    if (s->bf16 && connection_bf16(c, err) != 0) {
        connection_close(c);
        return -1;
    }
    *out = c;
    return 0;
}

int setup_connected(struct setup *s, const struct cli_cmd *cmd, struct err *err)
{
    if (setup_connection(s, &s->connection, cli_str(cmd, "trace", NULL), err) != 0)
        return -1;
    s->connection->retry_ms = s->retry_ms;
    return 0;
}

int setup_computer(struct setup *s, const struct cli_cmd *cmd, struct err *err)
{
    if (setup_open(s, cmd, err) != 0)
        return -1;
    return s->grant->engine ? setup_backend(s, cmd, err) : setup_connected(s, cmd, err);
}

int setup_connect(struct setup *s, const struct cli_cmd *cmd, struct err *err)
{
    return setup_open(s, cmd, err) != 0 ? -1 : setup_connected(s, cmd, err);
}

/* The folder of the draft model, "" for none. */
static int draft_dir(const struct setup *s, const struct cli_cmd *cmd, char out[FILE_PATH_MAX], struct err *err)
{
    const char *flag = cli_str(cmd, "draft-model", NULL), *configured = NULL;
    const struct json *node = json_get(json_root(s->config.doc), "draft");
    out[0] = '\0';
    if (node != NULL && json_get_str(s->config.doc, node, "model", &configured, err) != 0)
        return -1;
    if (flag == NULL && configured == NULL)
        return 0;
    return flag != NULL ? file_join(out, NULL, flag, err) : file_join(out, s->config.dir, configured, err);
}

int setup_guesses(const struct setup *s, const struct cli_cmd *cmd, int *out, struct err *err)
{
    const char *how = "auto";
    char *end;
    if (text_of(s, cmd, "speculate", &how, err) != 0)
        return -1;
    if (strcmp(how, "off") == 0 || strcmp(how, "auto") == 0) {
        *out = how[0] == 'o' ? 0 : SPECULATE_AUTO;
        return 0;
    }
    long guesses = strtol(how, &end, 10);
    if (how[0] < '0' || how[0] > '9' || *end != '\0' || guesses < 1 || guesses > SPECULATE_MOST)
        return err_set(err, ERR_USAGE, "speculate (--speculate): expected auto, off or 1 to %d, found '%.30s'", SPECULATE_MOST, how);
    *out = (int)guesses;
    return 0;
}

int setup_speculation(struct setup *s, const struct cli_cmd *cmd, struct err *err)
{
    char dir[FILE_PATH_MAX];
    int guesses;
    if (setup_guesses(s, cmd, &guesses, err) != 0 || draft_dir(s, cmd, dir, err) != 0)
        return -1;
    if (guesses == 0)
        return 0;
    if (dir[0] != '\0' &&
        draft_open(&s->draft, dir, s->grant->config, (int)s->connection->server.max_tokens, err) != 0)
        return -1;
    return speculate_new(&s->speculate, guesses, s->draft, err);
}

void setup_close(struct setup *s)
{
    speculate_free(s->speculate);
    draft_close(s->draft);
    connection_close(s->connection);
    transport_close(s->transport);
    grant_free(s->grant);
    role_config_close(&s->config);
    threads_stop();
    *s = (struct setup){0};
}
