#include "transport/role_config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "transport/transport.h"

#define KEYS_MAX 64

static int check_keys(const struct role_config *c, const char *const *own, struct err *err)
{
    static const char *const common[] = {"role", "identity", "log", NULL};
    const char *all[KEYS_MAX];
    size_t n = 0;
    for (const char *const *k = common; *k != NULL; k++)
        all[n++] = *k;
    for (const char *const *k = own; *k != NULL && n + 1 < KEYS_MAX; k++)
        all[n++] = *k;
    all[n] = NULL;
    return json_only(c->doc, json_root(c->doc), all, err);
}

static int set_log(const struct role_config *c, const char *role, struct err *err)
{
    static const char *const keys[] = {"level", "json", NULL};
    const struct json *log = json_get(json_root(c->doc), "log");
    const char *level = "info";
    enum log_level parsed;
    bool as_json = false;
    if (!json_is_null(log)) {
        if (json_only(c->doc, log, keys, err) != 0 || json_opt_str(c->doc, log, "level", &level, err) != 0 ||
            json_opt_bool(c->doc, log, "json", &as_json, err) != 0)
            return err_wrap(err, "log");
    }
    const char *environment = getenv("STIP_LOG");
    if (environment != NULL)
        level = environment;
    if (!log_level_parse(level, &parsed))
        return err_set(err, ERR_USAGE, "%s: log level '%.30s' is not one of error, warn, info, debug", json_name(c->doc), level);
    log_init(role, parsed, as_json);
    return 0;
}

int role_config_open(struct role_config *out, const char *path, const char *role, const char *const *keys, struct err *err)
{
    struct role_config c = {0};
    const char *found;
    char dir[FILE_PATH_MAX];
    if (json_load(&c.doc, path, JSON_CAP_CONFIG, true, err) != 0)
        return -1;
    if (json_type(json_root(c.doc)) != JSON_OBJECT) {
        err_set(err, ERR_USAGE, "%s: expected an object, found %s", path, json_type_name(json_root(c.doc)));
        goto fail;
    }
    /* The role first: the keys of another role would be refused one by one. */
    if (json_get_str(c.doc, json_root(c.doc), "role", &found, err) != 0)
        goto fail;
    if (strcmp(found, role) != 0) {
        err_set(err, ERR_USAGE, "%s: this is the config of role '%.30s', expected '%s'", path, found, role);
        goto fail;
    }
    if (check_keys(&c, keys, err) != 0 || file_dir(c.dir, path, err) != 0 || set_log(&c, role, err) != 0 || role_config_path(&c, "identity", dir, err) != 0 ||
        identity_load(&c.identity, dir, err) != 0)
        goto fail;
    *out = c;
    return 0;
fail:
    role_config_close(&c);
    return -1;
}

void role_config_close(struct role_config *c)
{
    json_free(c->doc);
    identity_free(c->identity);
    *c = (struct role_config){0};
}

int role_config_path(const struct role_config *c, const char *key, char out[FILE_PATH_MAX], struct err *err)
{
    const char *value;
    if (json_get_str(c->doc, json_root(c->doc), key, &value, err) != 0)
        return -1;
    if (file_join(out, c->dir, value, err) != 0)
        return err_wrap(err, "%s: field '%s'", json_name(c->doc), key);
    return 0;
}

int role_config_peer_node(const struct role_config *c, const struct json *node, struct role_peer *out, struct err *err)
{
    static const char *const keys[] = {"endpoint", "key", NULL};
    struct role_peer p;
    const char *text;
    if (node == NULL || json_type(node) != JSON_OBJECT)
        return err_set(err, ERR_USAGE, "%s: expected {\"endpoint\": ..., \"key\": ...}, found %s", json_name(c->doc),
                       json_type_name(node));
    if (json_only(c->doc, node, keys, err) != 0 || json_get_str(c->doc, node, "endpoint", &p.endpoint, err) != 0 ||
        json_get_str(c->doc, node, "key", &text, err) != 0)
        return -1;
    if (transport_endpoint(p.endpoint, false, err) != 0)
        return err_wrap(err, "%s: field 'endpoint'", json_name(c->doc));
    if (peer_key_config(&p.key, text, c->dir, err) != 0)
        return err_wrap(err, "%s: field 'key'", json_name(c->doc));
    *out = p;
    return 0;
}

int role_config_peer(const struct role_config *c, const struct json *parent, const char *key, struct role_peer *out,
                     struct err *err)
{
    if (role_config_peer_node(c, json_get(parent, key), out, err) != 0)
        return err_wrap(err, "peer '%s'", key);
    return 0;
}

int role_config_allow(const struct role_config *c, const struct json *parent, const char *key, struct peer_key **out,
                      size_t *n, struct err *err)
{
    const struct json *list = json_get(parent, key);
    size_t count = json_is_null(list) ? 0 : json_count(list), i = 0;
    if (!json_is_null(list) && json_type(list) != JSON_ARRAY)
        return err_set(err, ERR_USAGE, "%s: field '%s': expected a list of keys, found %s", json_name(c->doc), key,
                       json_type_name(list));
    struct peer_key *keys = calloc(count + 1, sizeof *keys);
    if (keys == NULL)
        return err_oom(err, count * sizeof *keys);
    for (const struct json *k = count == 0 ? NULL : json_first(list); k != NULL; k = json_next(k)) {
        const char *text = json_string(k);
        int rc = text == NULL ? err_set(err, ERR_USAGE, "expected \"stip1:...\" or \"@FILE\", found %s", json_type_name(k))
                              : peer_key_config(&keys[i++], text, c->dir, err);
        if (rc != 0) {
            free(keys);
            return err_wrap(err, "%s: field '%s'", json_name(c->doc), key);
        }
    }
    *out = keys;
    *n = count;
    return 0;
}
