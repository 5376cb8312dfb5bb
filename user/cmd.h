/* user/cmd.h - the subcommands of stip-user, one file each.
 *
 * Data flow   command line -> run; results on stdout, progress and log on stderr.
 * Errors      as base/cli.h.
 * Memory      none kept.
 * Secrets     prompts and answers go to stdout only.
 */
#ifndef STIP_USER_CMD_H
#define STIP_USER_CMD_H

#include "base/cli.h"

MUST_CHECK int cmd_join(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_generate(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_classify(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_embed(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_fill(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_score(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_chat(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_peek(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_serve(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_verify(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_bench(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_doctor(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);
MUST_CHECK int cmd_tokenize(const struct cli_cmd *cmd, int argc, char **argv, struct err *err);

/* --prompt, --text or --file of a command: exactly one. Gives the bytes (free()). */
MUST_CHECK int cmd_text(const struct cli_cmd *cmd, const char *flag, char **text, size_t *len, struct err *err);
/* Each line of a text that is not empty, without its end; `what` is how the progress is called. Ends with the first -1. */
MUST_CHECK int cmd_lines(const char *what, const char *text, size_t len,
                         int (*one)(void *arg, const char *line, size_t n, struct err *err), void *arg, struct err *err);
struct sample_opts;
/* --temperature, --top-k, --top-p, --min-p, --repeat-penalty, --seed. */
MUST_CHECK int cmd_sampling(const struct cli_cmd *cmd, struct sample_opts *out, struct err *err);

#define CMD_CONFIG {"config", "FILE", "user.json (see configs/user.json)", NULL, false}
#define CMD_JSON {"json", NULL, "print JSON on stdout", NULL, false}
#define CMD_TRACE {"trace", "FILE", "write every frame of the connection to FILE", NULL, false}
#define CMD_WIRE {"wire", "TYPE", "rows and outputs travel as f32 (default), or bf16: half the bytes, not bit-exact", NULL, false}
/* Grants of profile "engine" only. */
#define CMD_BACKEND                                                                                                                \
    {"backend", "openai:URL", "the engine that serves an exported package (grants of profile engine)", NULL, false},                          \
        {"backend-model", "NAME", "its name there (default: the first that it lists)", NULL, false},                                          \
        {"backend-key", "KEY", "of the engine's API", NULL, false},                                                                           \
        {"prompt-embeds", "HOW", "the prompt as rows of the engine's table (vLLM's prompt_embeds): off (default), on, try (ids where they are refused). Hides nothing that ids do not: a row is worth as much as its id to whoever has the table", NULL, false}
#define CMD_SPECULATE                                                                                                              \
    {"speculate", "HOW", "guesses sent with each token: auto (default), off, or so many", NULL, false},                                         \
        {"draft-model", "DIR", "a small checkpoint of the same vocabulary that guesses on this machine", NULL, false}
#define CMD_SAMPLING                                                                                                               \
    {"temperature", "X", "0 is greedy (default 0)", NULL, false}, {"top-k", "N", "keep the N most probable tokens", NULL, false},               \
        {"top-p", "X", "keep the most probable tokens of total probability X", NULL, false},                                             \
        {"min-p", "X", "drop tokens less probable than X times the most probable", NULL, false},                                         \
        {"repeat-penalty", "X", "divide the logits of tokens already said (1 is off)", NULL, false},                                     \
        {"seed", "N", "makes sampling repeatable", NULL, false}

#endif
