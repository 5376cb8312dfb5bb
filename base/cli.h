/* base/cli.h - subcommands and flags from one table; flag > environment > config file.
 *
 * Data flow   argv, STIP_* environment -> struct cli_opt values -> the subcommand.
 *             --max-tokens is also STIP_MAX_TOKENS; an empty variable counts as not set, and 0 leaves a switch off.
 * Errors      ERR_USAGE with the flag's name and what is known.
 * Memory      values borrow argv and the environment.
 * Secrets     none: keys are never flags, only files (protect --seed is for tests).
 */
#ifndef STIP_BASE_CLI_H
#define STIP_BASE_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct cli_opt {
    const char *name;  /* without the dashes */
    const char *arg;   /* "FILE", "N", ...; NULL for a switch */
    const char *help;
    const char *value; /* result: NULL when not given; a switch gives "1" */
    bool flag_only;    /* never from the environment: what decides keys is said on the command line */
};

struct cli_cmd {
    const char *name;
    const char *line;    /* one line of help; NULL: not for people, not in the list */
    const char *example;
    struct cli_opt *opts; /* ends with a NULL name */
    int (*run)(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
    /* Positional arguments as shown in the help, NULL for none (then they are refused). "COMMAND ...": they are a command line of their
     * own, and flags that follow the first of them belong to it. */
    const char *args;
};

struct cli_program {
    const char *name, *line;
    const struct cli_cmd *cmds; /* ends with a NULL name */
};

/* Every program also has: --help, --version, completion bash|zsh, and --man for the build (base/cli_text.h).
 * Finds the subcommand, parses, runs, prints the error if any; gives the exit status for main. */
int cli_main(const struct cli_program *program, int argc, char **argv);

/* Value of a flag, or fallback. */
const char *cli_str(const struct cli_cmd *cmd, const char *name, const char *fallback);
bool cli_on(const struct cli_cmd *cmd, const char *name);
MUST_CHECK int cli_need(const struct cli_cmd *cmd, const char *name, const char **out, struct err *err);
/* Not given: *out stays. */
MUST_CHECK int cli_int(const struct cli_cmd *cmd, const char *name, int64_t min, int64_t max, int64_t *out, struct err *err);
MUST_CHECK int cli_num(const struct cli_cmd *cmd, const char *name, double min, double max, double *out, struct err *err);

#endif
