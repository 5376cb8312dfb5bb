#include "model_dev/dev_config.h"

#include <stdlib.h>
#include <string.h>

#include "model/hub.h"
#include "transport/canary.h"

#define CANARIES 4
#define DEFAULT_CONFIG "model_dev.json"

static int read_servers(struct dev_config *s, struct err *err)
{
    static const char *const keys[] = {"servers", NULL};
    const struct json_doc *doc = s->file.doc;
    const struct json *peers = json_get(json_root(doc), "peers");
    if (json_is_null(peers))
        return 0;
    if (json_type(peers) != JSON_OBJECT)
        return err_set(err, ERR_USAGE, "%s: field 'peers': expected an object, found %s", json_name(doc), json_type_name(peers));
    if (json_only(doc, peers, keys, err) != 0)
        return err_wrap(err, "peers");
    const struct json *list = json_get(peers, "servers");
    if (json_is_null(list))
        return 0;
    if (json_type(list) != JSON_ARRAY)
        return err_set(err, ERR_USAGE, "%s: field 'peers.servers': expected a list, found %s", json_name(doc),
                       json_type_name(list));
    if ((s->servers = calloc(json_count(list) + 1, sizeof *s->servers)) == NULL)
        return err_oom(err, json_count(list) * sizeof *s->servers);
    for (const struct json *n = json_first(list); n != NULL; n = json_next(n))
        if (role_config_peer_node(&s->file, n, &s->servers[s->server_count++], err) != 0)
            return err_wrap(err, "peers.servers[%zu]", s->server_count - 1);
    return 0;
}

static int optional_path(const struct role_config *c, const char *key, char out[FILE_PATH_MAX], struct err *err)
{
    return json_is_null(json_get(json_root(c->doc), key)) ? 0 : role_config_path(c, key, out, err);
}

static int read_file(struct dev_config *s, const char *path, struct err *err)
{
    static const char *const keys[] = {"listen", "metrics", "peers", "allow", "protected", "model", "canaries", "prompt_embeds", NULL};
    if (role_config_open(&s->file, path, "model_dev", keys, err) != 0)
        return -1;
    s->identity = s->file.identity; /* one owner: this struct */
    s->file.identity = NULL;
    const struct json *root = json_root(s->file.doc);
    int64_t canaries = CANARIES;
    if (role_config_path(&s->file, "protected", s->protected, err) != 0 ||
        optional_path(&s->file, "model", s->model, err) != 0 || json_opt_str(s->file.doc, root, "listen", &s->listen, err) != 0 ||
        json_opt_str(s->file.doc, root, "metrics", &s->metrics, err) != 0 ||
        json_opt_int(s->file.doc, root, "canaries", 0, CANARY_COUNT_MAX, &canaries, err) != 0 ||
        json_opt_bool(s->file.doc, root, "prompt_embeds", &s->rows, err) != 0 ||
        role_config_allow(&s->file, root, "allow", &s->users, &s->user_count, err) != 0)
        return -1;
    s->canaries = (size_t)canaries;
    return read_servers(s, err);
}

static int read_flags(struct dev_config *s, const struct cli_cmd *cmd, struct err *err)
{
    const char *protected = cli_str(cmd, "protected", NULL), *model = cli_str(cmd, "model", NULL);
    const char *identity = cli_str(cmd, "identity", NULL);
    char dir[FILE_PATH_MAX];
    if ((protected != NULL && file_join(s->protected, NULL, protected, err) != 0) ||
        (model != NULL && hub_find(s->model, model, err) != 0))
        return -1;
    if (s->identity != NULL && identity == NULL)
        return 0;
    /* Where `protect` puts the identity that it makes when none is given. */
    if (file_join(dir, s->protected, "identity", err) != 0)
        return -1;
    identity_free(s->identity);
    s->identity = NULL;
    return identity_load(&s->identity, identity != NULL ? identity : dir, err);
}

int dev_config_open(struct dev_config *out, const struct cli_cmd *cmd, struct err *err)
{
    struct dev_config s = {0};
    const char *config = cli_str(cmd, "config", NULL);
    if (config == NULL && cli_str(cmd, "protected", NULL) == NULL) {
        if (!file_exists(DEFAULT_CONFIG))
            return err_set(err, ERR_USAGE, "%s needs --config FILE or --protected DIR; for example: %s", cmd->name, cmd->example);
        config = DEFAULT_CONFIG;
    }
    if ((config != NULL && read_file(&s, config, err) != 0) || read_flags(&s, cmd, err) != 0) {
        dev_config_close(&s);
        return -1;
    }
    *out = s;
    return 0;
}

int dev_config_load(struct dev_config *out, const char *path, struct err *err)
{
    struct dev_config s = {0};
    if (read_file(&s, path, err) != 0) {
        dev_config_close(&s);
        return -1;
    }
    *out = s;
    return 0;
}

void dev_config_close(struct dev_config *s)
{
    role_config_close(&s->file);
    identity_free(s->identity);
    free(s->servers);
    free(s->users);
    *s = (struct dev_config){0};
}
