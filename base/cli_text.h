/* base/cli_text.h - texts made from a program's table: shell completions, and the part of its man page that lists the commands.
 *
 * Data flow   struct cli_program -> PROGRAM completion bash|zsh, PROGRAM --man -> files of packaging.
 * Errors      none: what cannot be written is noticed when stdout is closed.
 * Memory      none.
 * Secrets     none.
 */
#ifndef STIP_BASE_CLI_TEXT_H
#define STIP_BASE_CLI_TEXT_H

#include <stdio.h>

#include "base/cli.h"

#define CLI_TEXT_COMPLETION "completion"

void cli_text_bash(const struct cli_program *p, FILE *to);
void cli_text_zsh(const struct cli_program *p, FILE *to);
/* Sections COMMANDS, ENVIRONMENT and EXIT STATUS in scdoc's notation. */
void cli_text_man(const struct cli_program *p, FILE *to);

#endif
