#include "base/cli_text.h"

#include <ctype.h>
#include <string.h>

/* Puts a backslash before each of these characters. */
static void escaped(FILE *to, const char *text, const char *characters)
{
    for (; *text != '\0'; text++) {
        if (strchr(characters, *text) != NULL)
            (void)fputc('\\', to);
        (void)fputc(*text, to);
    }
}

/* Within single quotes of a shell; `also` are characters that the shell's own notation wants escaped. */
static void quoted(FILE *to, const char *text, const char *also)
{
    for (; *text != '\0'; text++) {
        if (strchr(also, *text) != NULL)
            (void)fputc('\\', to);
        if (*text == '\'')
            (void)fputs("'\\''", to);
        else
            (void)fputc(*text, to);
    }
}

/* A shell function cannot be called stip-user. */
static void function_name(FILE *to, const char *program)
{
    (void)fputc('_', to);
    for (; *program != '\0'; program++)
        (void)fputc(isalnum((unsigned char)*program) ? *program : '_', to);
}

/* This command, or the next one that --help shows. */
static const struct cli_cmd *shown(const struct cli_cmd *c)
{
    while (c->name != NULL && c->line == NULL)
        c++;
    return c;
}

enum value { VALUE_NONE, VALUE_FILE, VALUE_FOLDER, VALUE_OTHER };

static enum value value_of(const char *arg)
{
    if (arg == NULL)
        return VALUE_NONE;
    if (strstr(arg, "DIR") != NULL)
        return VALUE_FOLDER;
    return strcmp(arg, "FILE") == 0 || strcmp(arg, "KEY") == 0 ? VALUE_FILE : VALUE_OTHER;
}

/* ------------------------------------------------------------------ bash */

/* "command --flag"|... of the flags whose value is of this kind. */
static void bash_values(const struct cli_program *p, enum value value, const char *action, FILE *to)
{
    bool any = false;
    for (const struct cli_cmd *c = shown(p->cmds); c->name != NULL; c = shown(c + 1))
        for (const struct cli_opt *o = c->opts; o->name != NULL; o++)
            if (value_of(o->arg) == value) {
                (void)fprintf(to, "%s'%s --%s'", any ? "|" : "    ", c->name, o->name);
                any = true;
            }
    if (any)
        (void)fprintf(to, ")\n        %s ;;\n", action);
}

void cli_text_bash(const struct cli_program *p, FILE *to)
{
    (void)fprintf(to, "# bash completion of %s, made by: %s " CLI_TEXT_COMPLETION " bash\n", p->name, p->name);
    function_name(to, p->name);
    (void)fprintf(to, "() {\n    local cur=${COMP_WORDS[COMP_CWORD]} words=''\n    COMPREPLY=()\n    if ((COMP_CWORD == 1)); then\n"
                      "        COMPREPLY=($(compgen -W '--help --version " CLI_TEXT_COMPLETION);
    for (const struct cli_cmd *c = shown(p->cmds); c->name != NULL; c = shown(c + 1))
        (void)fprintf(to, " %s", c->name);
    (void)fprintf(to, "' -- \"$cur\"))\n        return\n    fi\n    case \"${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD - 1]}\" in\n");
    bash_values(p, VALUE_FILE, "compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\")); return", to);
    bash_values(p, VALUE_FOLDER, "compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- \"$cur\")); return", to);
    bash_values(p, VALUE_OTHER, "return", to);
    (void)fprintf(to, "    esac\n    case ${COMP_WORDS[1]} in\n    " CLI_TEXT_COMPLETION ") words='bash zsh' ;;\n");
    for (const struct cli_cmd *c = shown(p->cmds); c->name != NULL; c = shown(c + 1)) {
        (void)fprintf(to, "    %s) words='", c->name);
        for (const struct cli_opt *o = c->opts; o->name != NULL; o++)
            (void)fprintf(to, "--%s ", o->name);
        (void)fprintf(to, "--help' ;;\n");
    }
    (void)fprintf(to, "    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                      "    [[ $cur == -* || ${#COMPREPLY[@]} -gt 0 ]] || { compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\")); }\n"
                      "}\ncomplete -F ");
    function_name(to, p->name);
    (void)fprintf(to, " %s\n", p->name);
}

/* ------------------------------------------------------------------ zsh */

void cli_text_zsh(const struct cli_program *p, FILE *to)
{
    static const char *const actions[] = {[VALUE_FILE] = "_files", [VALUE_FOLDER] = "_files -/", [VALUE_OTHER] = ""};
    (void)fprintf(to, "#compdef %s\n# made by: %s " CLI_TEXT_COMPLETION " zsh\n", p->name, p->name);
    function_name(to, p->name);
    (void)fprintf(to, "() {\n  local -a commands\n  commands=(\n");
    for (const struct cli_cmd *c = shown(p->cmds); c->name != NULL; c = shown(c + 1)) {
        (void)fprintf(to, "    '%s:", c->name);
        quoted(to, c->line, "");
        (void)fprintf(to, "'\n");
    }
    (void)fprintf(to, "    '" CLI_TEXT_COMPLETION ":print completions for a shell'\n  )\n  if (( CURRENT == 2 )); then\n"
                      "    _describe command commands\n    return\n  fi\n  shift words\n  (( CURRENT-- ))\n  case $words[1] in\n"
                      "  " CLI_TEXT_COMPLETION ") _arguments '1:shell:(bash zsh)' ;;\n");
    for (const struct cli_cmd *c = shown(p->cmds); c->name != NULL; c = shown(c + 1)) {
        (void)fprintf(to, "  %s)\n    _arguments '--help[show the flags]'", c->name);
        for (const struct cli_opt *o = c->opts; o->name != NULL; o++) {
            (void)fprintf(to, " \\\n      '--%s[", o->name);
            quoted(to, o->help, "[]:\\");
            (void)fputc(']', to);
            if (o->arg != NULL) {
                (void)fputc(':', to);
                quoted(to, o->arg, ":");
                (void)fprintf(to, ":%s", actions[value_of(o->arg)]);
            }
            (void)fputc('\'', to);
        }
        (void)fprintf(to, "%s ;;\n", c->args == NULL ? "" : " \\\n      '*:argument:_files'");
    }
    (void)fprintf(to, "  esac\n}\n");
    function_name(to, p->name);
    (void)fprintf(to, " \"$@\"\n");
}

/* ------------------------------------------------------------------ man */

#define MAN_MARKS "*_\\#<>"

void cli_text_man(const struct cli_program *p, FILE *to)
{
    (void)fprintf(to, "# COMMANDS\n\n");
    for (const struct cli_cmd *c = shown(p->cmds); c->name != NULL; c = shown(c + 1)) {
        (void)fprintf(to, "## %s", c->name);
        (void)fprintf(to, "\n\n*%s %s* [flags]%s", p->name, c->name, c->args == NULL ? "" : " ");
        escaped(to, c->args == NULL ? "" : c->args, MAN_MARKS);
        (void)fprintf(to, "\n\n");
        escaped(to, c->line, MAN_MARKS);
        (void)fprintf(to, "\n\n");
        for (const struct cli_opt *o = c->opts; o->name != NULL; o++) {
            (void)fprintf(to, "*--%s*", o->name);
            if (o->arg != NULL) {
                (void)fputc(' ', to);
                escaped(to, o->arg, MAN_MARKS);
            }
            (void)fprintf(to, "\n\t");
            escaped(to, o->help, MAN_MARKS);
            (void)fprintf(to, "\n\n");
        }
        (void)fprintf(to, "Example:\n\n```\n%s\n```\n\n", c->example);
    }
    (void)fprintf(to, "## " CLI_TEXT_COMPLETION "\n\n*%s " CLI_TEXT_COMPLETION "* bash|zsh\n\nprint completions for a shell\n\n", p->name);
    (void)fprintf(to, "# ENVIRONMENT\n\nA flag *--max-tokens* can also be given as *STIP\\_MAX\\_TOKENS*; a flag wins over the environment, and both "
                      "over a config file where it has the same setting. An empty variable counts as not set.\n\n"
                      "# EXIT STATUS\n\n*0*\n\tok\n\n*1*\n\ta check that was asked for failed\n\n*2*\n\tusage: a wrong flag, a wrong config\n\n"
                      "*3*\n\ta bad input file, or a text that cannot be taken\n\n*4*\n\tnot authorised\n\n*5*\n\tthe peer or the network\n\n"
                      "*6*\n\tinternal: memory, randomness, disk\n\n");
}
