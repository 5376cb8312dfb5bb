/* Config files of the roles, with an identity beside them that is sound. The first byte says which role reads. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/settings.h"
#include "tests/fuzz/folder.h"
#include "transport/role_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_peers(const struct role_config *c)
{
    struct role_peer peer;
    struct peer_key *keys = NULL;
    char path[FILE_PATH_MAX];
    size_t n;
    const struct json *root = json_root(c->doc), *peers = json_get(root, "peers");
    (void)!role_config_peer(c, peers, "server", &peer, NULL);
    (void)!role_config_path(c, "grant", path, NULL);
    if (role_config_allow(c, root, "allow", &keys, &n, NULL) == 0)
        free(keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"peers", "allow", "grant", "threads", NULL};
    static struct identity *id;
    struct role_config c = {0};
    struct settings s = {0};
    struct err err;
    if (size < 1)
        return 0;
    if (id == NULL) {
        if (identity_generate(&id, &err) != 0 || identity_save(id, folder_path("a.id"), &err) != 0)
            abort();
        folder_take();
    }
    folder_put("role.json", data + 1, size - 1);
    if (data[0] % 2 == 0) {
        if (settings_read(&s, folder_path("role.json"), &err) == 0)
            settings_free(&s);
    } else if (role_config_open(&c, folder_path("role.json"), "user", keys, &err) == 0) {
        read_peers(&c);
        role_config_close(&c);
    }
    return 0;
}
