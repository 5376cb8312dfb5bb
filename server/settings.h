/* server/settings.h - server.json.
 *
 * Data flow   server.json -> struct settings -> serve.
 * Units       as the keys say: tokens, megabytes, seconds.
 * Errors      names file and key.
 * Memory      settings_read gives (settings_free).
 * Secrets     the identity.
 */
#ifndef STIP_SERVER_SETTINGS_H
#define STIP_SERVER_SETTINGS_H

#include "base/file.h"
#include "server/core.h"
#include "transport/role_config.h"

struct settings {
    struct role_config config;
    const char *listen, *listen_admin;
    const char *metrics; /* ADDRESS:PORT, NULL: none */
    char package[FILE_PATH_MAX];
    struct peer_key *users, *developers;
    size_t user_count, developer_count;
    struct core_limits limits;
    size_t weights_bytes; /* 0: no limit */
    int overlap_ms;       /* how long the package before is served beside a new one */
    size_t kv_bytes;      /* keys and values of all sessions */
    enum kv_dtype kv_dtype;
    int drain_ms;         /* steps under way are waited for when the server is stopped */
    int threads;          /* 0: all cores that this process may use */
    bool sandbox;         /* drop what a server does not need (server/sandbox.h) */
};

MUST_CHECK int settings_read(struct settings *out, const char *path, struct err *err);
void settings_free(struct settings *s);

#endif
