/* model_dev/dev_config.h - what push, grant and serve work with: from model_dev.json, from flags, or both.
 *
 * Data flow   --config (or ./model_dev.json when it is there and --protected is not given) -> flags replace single values.
 * Units       relative paths of the file are relative to its folder, those of flags to the working folder.
 * Errors      ERR_USAGE / ERR_INPUT naming file and key; a value that nobody gave, by flag and key.
 * Memory      dev_config_open fills a struct that owns its parts (dev_config_close, fine on a zeroed struct).
 * Secrets     the identity, in secret memory.
 */
#ifndef STIP_MODEL_DEV_DEV_CONFIG_H
#define STIP_MODEL_DEV_DEV_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cli.h"
#include "base/err.h"
#include "base/file.h"
#include "transport/role_config.h"

struct dev_config {
    struct role_config file; /* zero without one */
    struct identity *identity;
    char protected[FILE_PATH_MAX]; /* folder that `protect` wrote */
    char model[FILE_PATH_MAX];     /* folder of the plain checkpoint; "" when not given */
    const char *listen;            /* NULL when not given */
    const char *metrics;           /* ADDRESS:PORT, NULL: none */
    struct role_peer *servers;
    size_t server_count;
    struct peer_key *users; /* who may ask for a grant */
    size_t user_count;
    size_t canaries; /* of each user that serve grants */
    bool rows;       /* grants for an engine have its table */
};

/* Flags that the command does not have are skipped: config, protected, model, identity. */
MUST_CHECK int dev_config_open(struct dev_config *out, const struct cli_cmd *cmd, struct err *err);
/* From a file only. */
MUST_CHECK int dev_config_load(struct dev_config *out, const char *path, struct err *err);
void dev_config_close(struct dev_config *s);

#endif
