/* model_dev/cmd.h - the commands of stip-model-dev, one file each.
 *
 * Data flow   main's table -> cmd_NAME -> the module that does the work -> one JSON object or a few lines on stdout.
 * Errors      codes of base/err.h; printed once by cli_main.
 * Memory      none kept.
 * Secrets     no command prints any.
 */
#ifndef STIP_MODEL_DEV_CMD_H
#define STIP_MODEL_DEV_CMD_H

#include "base/cli.h"
#include "base/json.h"
#include "transport/identity.h"

int cmd_keygen(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_protect(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_export(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_inspect(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_verify(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_audit(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_push(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_grant(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_rotate(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_revoke(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_doctor(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
int cmd_serve(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);

/* One line on stdout. */
MUST_CHECK int cmd_print(const struct json_doc *doc, struct err *err);
/* A key as people write it: the text form, or the name of an identity.pub file. */
MUST_CHECK int cmd_peer_key(struct peer_key *out, const char *value, struct err *err);

/* --expires of a command; 0 when it is not given. */
MUST_CHECK int cmd_option_expires(const struct cli_cmd *cmd, int64_t *out, struct err *err);
/* The date, or "never". */
void cmd_expires(char out[32], int64_t expires);
/* "expires": date or null. */
void cmd_put_expires(struct json_doc *doc, struct json *node, int64_t expires);

#endif
