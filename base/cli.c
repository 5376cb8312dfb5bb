#include "base/cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cli_text.h"
#include "base/progress.h"

static void print_commands(const struct cli_program *p, FILE *to)
{
    (void)fprintf(to, "%s - %s\n\nusage: %s COMMAND [flags]\n\n", p->name, p->line, p->name);
    for (const struct cli_cmd *c = p->cmds; c->name != NULL; c++)
        if (c->line != NULL)
            (void)fprintf(to, "  %-10s %s\n", c->name, c->line);
    (void)fprintf(to, "  %-10s print completions for a shell: %s " CLI_TEXT_COMPLETION " bash|zsh\n", CLI_TEXT_COMPLETION, p->name);
    (void)fprintf(to,
                  "\n%s COMMAND --help shows the flags of a command. A flag --max-tokens can also be given as the\n"
                  "environment variable STIP_MAX_TOKENS; flags win over the environment, and both over a config file where it has\n"
                  "the same setting (docs/CONFIG.md).\n"
                  "Exit status: 0 ok, 1 a check failed, 2 usage, 3 bad input file, 4 not authorised, 5 peer or network,\n"
                  "6 internal.\n",
                  p->name);
}

static void print_command(const struct cli_program *p, const struct cli_cmd *c)
{
    printf("%s %s - %s\n\nusage: %s %s [flags]%s%s\n\n", p->name, c->name, c->line == NULL ? "started by other commands" : c->line, p->name, c->name,
           c->args == NULL ? "" : " ", c->args == NULL ? "" : c->args);
    for (const struct cli_opt *o = c->opts; o->name != NULL; o++) {
        char left[64];
        (void)snprintf(left, sizeof left, "--%s%s%s", o->name, o->arg == NULL ? "" : " ", o->arg == NULL ? "" : o->arg);
        printf("  %-26s %s\n", left, o->help);
    }
    printf("\nexample:\n  %s\n", c->example);
}

static struct cli_opt *find(const struct cli_cmd *cmd, const char *name, size_t len)
{
    for (struct cli_opt *o = cmd->opts; o->name != NULL; o++)
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    return NULL;
}

static void from_environment(const struct cli_cmd *cmd)
{
    for (struct cli_opt *o = cmd->opts; o->name != NULL; o++) {
        char env[64] = "STIP_";
        size_t n = 5;
        for (const char *p = o->name; *p != '\0' && n + 1 < sizeof env; p++)
            env[n++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        env[n] = '\0';
        o->value = o->flag_only ? NULL : getenv(env);
        /* An empty variable is one that is not set; STIP_JSON=0 leaves the switch off. */
        if (o->value != NULL && (o->value[0] == '\0' || (o->arg == NULL && strcmp(o->value, "0") == 0)))
            o->value = NULL;
    }
}

/* Flags first, then positional arguments; "--" ends the flags. */
static int parse(const struct cli_cmd *cmd, int argc, char **argv, int *rest, struct err *err)
{
    int i = 0;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        const char *name = argv[i] + 2;
        if (*name == '\0') {
            i++;
            break;
        }
        const char *equals = strchr(name, '=');
        struct cli_opt *o = find(cmd, name, equals != NULL ? (size_t)(equals - name) : strlen(name));
        if (o == NULL)
            return err_set(err, ERR_USAGE, "%s: unknown flag '%s'; %s --help lists the flags", cmd->name, argv[i], cmd->name);
        if (o->arg == NULL) {
            if (equals != NULL)
                return err_set(err, ERR_USAGE, "--%s takes no value", o->name);
            o->value = "1";
        } else if (equals != NULL) {
            o->value = equals + 1;
        } else if (i + 1 < argc) {
            o->value = argv[++i];
        } else {
            return err_set(err, ERR_USAGE, "--%s needs a value (%s)", o->name, o->arg);
        }
    }
    if (i < argc && cmd->args == NULL)
        return err_set(err, ERR_USAGE, "%s: unexpected argument '%s'", cmd->name, argv[i]);
    *rest = i;
    return 0;
}

static int print_completion(const struct cli_program *p, const char *shell)
{
    if (shell != NULL && strcmp(shell, "bash") == 0)
        cli_text_bash(p, stdout);
    else if (shell != NULL && strcmp(shell, "zsh") == 0)
        cli_text_zsh(p, stdout);
    else if (shell != NULL && (strcmp(shell, "--help") == 0 || strcmp(shell, "-h") == 0))
        printf("usage: %s " CLI_TEXT_COMPLETION " bash|zsh\n\nexample:\n  source <(%s " CLI_TEXT_COMPLETION " bash)\n", p->name, p->name);
    else {
        (void)fprintf(stderr, "%s " CLI_TEXT_COMPLETION ": expected bash or zsh; for example: %s " CLI_TEXT_COMPLETION " bash\n", p->name,
                      p->name);
        return ERR_USAGE;
    }
    return 0;
}

int cli_main(const struct cli_program *program, int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_commands(program, argc < 2 ? stderr : stdout);
        return argc < 2 ? ERR_USAGE : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("%s %s\n", program->name, STIP_VERSION);
        return 0;
    }
    if (strcmp(argv[1], "--man") == 0) {
        cli_text_man(program, stdout);
        return 0;
    }
    if (strcmp(argv[1], CLI_TEXT_COMPLETION) == 0)
        return print_completion(program, argv[2]);
    const struct cli_cmd *cmd = program->cmds;
    while (cmd->name != NULL && strcmp(cmd->name, argv[1]) != 0)
        cmd++;
    if (cmd->name == NULL) {
        (void)fprintf(stderr, "%s: unknown command '%s'; %s --help lists the commands\n", program->name, argv[1], program->name);
        return ERR_USAGE;
    }
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_command(program, cmd);
            return 0;
        }
    struct err err = {0};
    int rest = 0;
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write(), with a sentence */
    from_environment(cmd);
    bool done = parse(cmd, argc - 2, argv + 2, &rest, &err) == 0;
    if (done && cli_on(cmd, "json"))
        progress_events();
    done = done && cmd->run(cmd, argc - 2 - rest, argv + 2 + rest, &err) == 0;
    bool written = fflush(stdout) == 0 && ferror(stdout) == 0;
    if (done && written)
        return 0;
    if (done)
        err_set(&err, ERR_INTERNAL, "cannot write the result to stdout: %s", strerror(errno));
    if (err.text[0] != '\0')
        (void)fprintf(stderr, "%s %s: %s\n", program->name, cmd->name, err.text);
    return err.code == ERR_NONE ? ERR_INTERNAL : (int)err.code;
}

const char *cli_str(const struct cli_cmd *cmd, const char *name, const char *fallback)
{
    const struct cli_opt *o = find(cmd, name, strlen(name));
    return o == NULL || o->value == NULL ? fallback : o->value;
}

bool cli_on(const struct cli_cmd *cmd, const char *name)
{
    return cli_str(cmd, name, NULL) != NULL;
}

int cli_need(const struct cli_cmd *cmd, const char *name, const char **out, struct err *err)
{
    const char *v = cli_str(cmd, name, NULL);
    if (v == NULL)
        return err_set(err, ERR_USAGE, "%s needs --%s; for example: %s", cmd->name, name, cmd->example);
    *out = v;
    return 0;
}

int cli_int(const struct cli_cmd *cmd, const char *name, int64_t min, int64_t max, int64_t *out, struct err *err)
{
    const char *v = cli_str(cmd, name, NULL);
    if (v == NULL)
        return 0;
    char *end;
    errno = 0;
    long long n = strtoll(v, &end, 10);
    if (end == v || *end != '\0' || errno != 0 || n < min || n > max)
        return err_set(err, ERR_USAGE, "--%s: expected a whole number from %lld to %lld, found '%.60s'", name, (long long)min,
                       (long long)max, v);
    *out = n;
    return 0;
}

int cli_num(const struct cli_cmd *cmd, const char *name, double min, double max, double *out, struct err *err)
{
    const char *v = cli_str(cmd, name, NULL);
    if (v == NULL)
        return 0;
    char *end;
    double n = strtod(v, &end);
    if (end == v || *end != '\0' || !(n >= min && n <= max))
        return err_set(err, ERR_USAGE, "--%s: expected a number from %g to %g, found '%.60s'", name, min, max, v);
    *out = n;
    return 0;
}
