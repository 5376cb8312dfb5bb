/* server/cmd.h - the commands of stip-server that have a file of their own.
 *
 * Data flow   main's table -> cmd_NAME -> lines on stdout.
 * Errors      codes of base/err.h; printed once by cli_main.
 * Memory      none kept.
 * Secrets     no command prints any.
 */
#ifndef STIP_SERVER_CMD_H
#define STIP_SERVER_CMD_H

#include "base/cli.h"

MUST_CHECK int cmd_doctor(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);

#endif
