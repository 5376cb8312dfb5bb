/* user/setup.h - from user.json to an open connection: what every online command starts with.
 *
 * Data flow   user.json -> identity, grant folder, peers -> grant -> transport -> connection.
 * Units       none.
 * Errors      names config file and key, grant file, or peer.
 * Memory      setup_read and setup_connect fill; setup_close releases everything, fine on a zeroed struct.
 * Secrets     identity and grant.
 */
#ifndef STIP_USER_SETUP_H
#define STIP_USER_SETUP_H

#include "base/cli.h"
#include "base/file.h"
#include "transport/role_config.h"
#include "user/backend.h"
#include "user/session.h"
#include "user/speculate.h"

struct setup {
    struct role_config config;
    char grant_dir[FILE_PATH_MAX];
    struct role_peer servers[CONNECTION_PEERS]; /* all hold the package; the first is asked first */
    int server_count; /* 0: none is named, since an engine computes */
    struct backend backend; /* setup_backend; of the config, or of flags */
    bool images;  /* the command knows models of images; set between setup_read and setup_open */
    int retry_ms; /* of setup_connect */
    double verify_rate; /* 0 to 1 */
    struct connection_pad pad;
    struct grant *grant;
    struct transport *transport;
    bool bf16; /* connections carry bfloat16 */
    struct connection *connection;
    struct draft *draft;         /* setup_speculation; NULL without a draft model */
    struct speculate *speculate; /* NULL when it is off */
};

/* --config FILE only. */
MUST_CHECK int setup_read(struct setup *out, const struct cli_cmd *cmd, struct err *err);
/* Grant and transport; --wire TYPE if the command has it, or the config's `wire`. */
MUST_CHECK int setup_open(struct setup *s, const struct cli_cmd *cmd, struct err *err);
/* For grants of profile "engine": --backend, --backend-model, --backend-key, --prompt-embeds, or the config's `backend`; says what it
 * means, and refuses what only a stip-server does. */
MUST_CHECK int setup_backend(struct setup *s, const struct cli_cmd *cmd, struct err *err);
/* One connection more, to the first server that answers. It is not made again when it breaks. trace: a file, or NULL. */
MUST_CHECK int setup_connection(const struct setup *s, struct connection **out, const char *trace, struct err *err);
/* A connection for the whole of a command, after setup_open: with --trace FILE if it has it; trouble is met for up to the config's
 * `retry_s`. */
MUST_CHECK int setup_connected(struct setup *s, const struct cli_cmd *cmd, struct err *err);
/* setup_open, then for commands that an engine can serve setup_backend or setup_connected, as the grant is. */
MUST_CHECK int setup_computer(struct setup *s, const struct cli_cmd *cmd, struct err *err);
/* setup_open, then setup_connected. */
MUST_CHECK int setup_connect(struct setup *s, const struct cli_cmd *cmd, struct err *err);
/* --speculate, or the config's `speculate`: SPECULATE_AUTO, how many guesses, or 0 for none. */
MUST_CHECK int setup_guesses(const struct setup *s, const struct cli_cmd *cmd, int *out, struct err *err);
/* For commands that generate text: --speculate, --draft-model, or the config's `speculate`, `draft`. On an open connection. */
MUST_CHECK int setup_speculation(struct setup *s, const struct cli_cmd *cmd, struct err *err);
void setup_close(struct setup *s);

#endif
