/* bench/cmd.h - the subcommands of stip-bench.
 *
 * Data flow   command line -> run; results on stdout.
 * Errors      as base/cli.h; a comparison that fails is ERR_CHECK.
 * Memory      none kept.
 * Secrets     a developer's and researcher's tool: it sees plain and permuted side by side.
 */
#ifndef STIP_BENCH_CMD_H
#define STIP_BENCH_CMD_H

#include "base/cli.h"
#include "model/config.h"

MUST_CHECK int cmd_compare(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_party(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_primer_party(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_equality(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_cheats(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_demo(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_gateway(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_he(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_keys(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_link(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_load(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_loopback(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_profiles(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_speed(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_start(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_synth(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);

/* Refuses a model of images. */
MUST_CHECK int cmd_reads_text(const struct cli_cmd *cmd, const struct config *c, struct err *err);

#endif
