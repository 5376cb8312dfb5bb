/* bench/stage.h - three roles as three processes on loopback, in one temporary folder.
 *
 * Data flow   checkpoint -> keygen x3, protect -> server, model_dev (pushes the package) -> user joins -> user commands.
 *             Folder: model_dev.id/ server.id/ user.id/ protected/ server.package/ grant/ *.json *.log
 * Units       none.
 * Errors      what a role printed, with its exit code.
 * Memory      stage_open gives; stage_close ends all processes and removes the folder.
 * Secrets     a bench holds all three roles' secrets; the folder is 0700.
 */
#ifndef STIP_BENCH_STAGE_H
#define STIP_BENCH_STAGE_H

#include "base/cli.h"
#include "base/file.h"
#include "bench/process.h"

struct stage;
/* A stage does not die of SIGINT or SIGTERM (bench/interrupt.h): what runs on it should come to its end.
 * Flags profile, head, local-layers, dtype, seed, audit, threads, kv, memory-mb, rtt and rate of `cmd`, where it has them. */
MUST_CHECK int stage_open(struct stage **out, const char *model, const struct cli_cmd *cmd, struct err *err);
/* Server and developer at TUNNEL_SERVER; the user has joined from TUNNEL_USER, where its connections are to be made. */
MUST_CHECK int stage_open_at(struct stage **out, const char *model, const struct cli_cmd *cmd, const struct tunnel *tunnel, struct err *err);
void stage_close(struct stage *st, bool keep);
/* The path of a program that stands beside this one. */
MUST_CHECK int stage_program(char out[FILE_PATH_MAX], const char *name, struct err *err);
const char *stage_dir(const struct stage *st);
pid_t stage_pid(const struct stage *st, const char *role); /* "server" or "model_dev" */
/* Runs stip-user with --config put behind the subcommand; stdin and stderr are ours, and stdout too unless `out` is given,
 * which takes at most cap - 1 bytes of it. *status is the exit status. */
MUST_CHECK int stage_user(struct stage *st, int argc, char *const *argv, char *out, size_t cap, int *status, struct err *err);

#endif
