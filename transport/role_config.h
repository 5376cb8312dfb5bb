/* transport/role_config.h - what the three roles' config files have in common.
 *
 * Data flow   ROLE.json (comments allowed) -> role_config_open -> identity, log, peers, allow-lists; the role reads its own
 *             keys from the same document.
 * Units       relative paths are relative to the folder of the config file.
 * Errors      ERR_USAGE / ERR_INPUT naming file and key; unknown keys are refused by name.
 * Memory      role_config_open gives; strings and nodes are borrowed from it. role_config_allow gives (free()).
 * Secrets     the identity, in secret memory.
 */
#ifndef STIP_TRANSPORT_ROLE_CONFIG_H
#define STIP_TRANSPORT_ROLE_CONFIG_H

#include <stddef.h>

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "transport/identity.h"

struct role_config {
    struct json_doc *doc;
    char dir[FILE_PATH_MAX]; /* of the config file */
    struct identity *identity;
};

struct role_peer {
    const char *endpoint; /* "tcp://HOST:PORT" */
    struct peer_key key;
};

/* `keys`: the role's own keys, NULL-terminated; role, identity and log are known to all. Sets up the log. */
MUST_CHECK int role_config_open(struct role_config *out, const char *path, const char *role, const char *const *keys,
                                struct err *err);
void role_config_close(struct role_config *c);
/* A required path, made absolute by the config's folder. */
MUST_CHECK int role_config_path(const struct role_config *c, const char *key, char out[FILE_PATH_MAX], struct err *err);
/* A required peer: {"endpoint": "tcp://...", "key": "stip1:..." or "@FILE"} under `key` of `parent`. */
MUST_CHECK int role_config_peer(const struct role_config *c, const struct json *parent, const char *key,
                                struct role_peer *out, struct err *err);
MUST_CHECK int role_config_peer_node(const struct role_config *c, const struct json *node, struct role_peer *out,
                                     struct err *err);
/* A list of keys: ["stip1:...", "@FILE", ...]; absent is an empty list. */
MUST_CHECK int role_config_allow(const struct role_config *c, const struct json *parent, const char *key,
                                 struct peer_key **out, size_t *n, struct err *err);

#endif
