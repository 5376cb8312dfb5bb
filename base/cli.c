#include "base/cli.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
                  "\n%s COMMAND --help shows the flags of a command. Each can also be given by the environment,\n"
                  "--config as STIP_CONFIG; flags win over the environment, and both over a config file where it has the same\n"
                  "setting (docs/CONFIG.md).\n"
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

static bool passes_on(const struct cli_cmd *cmd)
{
    return cmd->args != NULL && strncmp(cmd->args, "COMMAND", 7) == 0;
}

/* Flags in any place. The other arguments move to the front of argv, in their order; *n of them. "--" ends the flags, and so does
 * the first argument where it is a command with flags of its own. */
static int parse(const struct cli_cmd *cmd, int argc, char **argv, int *n, struct err *err)
{
    bool flags = true;
    *n = 0;
    for (int i = 0; i < argc; i++) {
        if (!flags || strncmp(argv[i], "--", 2) != 0) {
            if (cmd->args == NULL)
                return err_set(err, ERR_USAGE, "unexpected argument '%s'", argv[i]);
            argv[(*n)++] = argv[i];
            flags = flags && !passes_on(cmd);
            continue;
        }
        const char *name = argv[i] + 2;
        if (*name == '\0') {
            flags = false;
            continue;
        }
        const char *equals = strchr(name, '=');
        struct cli_opt *o = find(cmd, name, equals != NULL ? (size_t)(equals - name) : strlen(name));
        if (o == NULL)
            return err_set(err, ERR_USAGE, "unknown flag '%s'; --help lists the flags", argv[i]);
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
    return 0;
}

/* Is --help among the flags? A flag's value is no flag, and what follows "--" neither. */
static bool asks_help(const struct cli_cmd *cmd, int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const bool flag = strncmp(argv[i], "--", 2) == 0;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
        if (!flag && passes_on(cmd))
            return false;
        const struct cli_opt *o = flag ? find(cmd, argv[i] + 2, strlen(argv[i] + 2)) : NULL;
        if (o != NULL && o->arg != NULL)
            i++;
    }
    return false;
}

/* The next file that is opened gets the number of a closed stream: what is printed would go into it. */
static void hold_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* so that using it still fails */
}

static int flush_result(struct err *err)
{
    if (fflush(stdout) != 0)
        return err_set(err, ERR_INTERNAL, "cannot write the result to stdout: %s", strerror(errno));
    return ferror(stdout) ? err_set(err, ERR_INTERNAL, "cannot write the result to stdout") : 0;
}

static int print_completion(const struct cli_program *p, int argc, char **argv, struct err *err)
{
    const char *shell = argc == 1 ? argv[0] : "";
    if (strcmp(shell, "bash") == 0)
        cli_text_bash(p, stdout);
    else if (strcmp(shell, "zsh") == 0)
        cli_text_zsh(p, stdout);
    else if (strcmp(shell, "--help") == 0 || strcmp(shell, "-h") == 0)
        printf("usage: %s " CLI_TEXT_COMPLETION " bash|zsh\n\nexample:\n  source <(%s " CLI_TEXT_COMPLETION " bash)\n", p->name, p->name);
    else
        return err_set(err, ERR_USAGE, CLI_TEXT_COMPLETION ": expected bash or zsh; for example: %s " CLI_TEXT_COMPLETION " bash", p->name);
    return 0;
}

static int run_command(const struct cli_program *program, const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    int n = 0;
    if (asks_help(cmd, argc, argv)) {
        print_command(program, cmd);
        return 0;
    }
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write(), with a sentence */
    from_environment(cmd);
    if (parse(cmd, argc, argv, &n, err) != 0)
        return -1;
    if (cli_on(cmd, "json"))
        progress_events();
    return cmd->run(cmd, n, argv, err);
}

/* What stands in place of a command. */
static int run_other(const struct cli_program *program, const char *name, int argc, char **argv, struct err *err)
{
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        print_commands(program, stdout);
    else if (strcmp(name, "--version") == 0)
        printf("%s %s\n", program->name, STIP_VERSION);
    else if (strcmp(name, "--man") == 0)
        cli_text_man(program, stdout);
    else if (strcmp(name, CLI_TEXT_COMPLETION) == 0)
        return print_completion(program, argc, argv, err);
    else
        return err_set(err, ERR_USAGE, "unknown command '%s'; %s --help lists the commands", name, program->name);
    return 0;
}

int cli_main(const struct cli_program *program, int argc, char **argv)
{
    struct err err = {0};
    hold_standard_streams();
    if (argc < 2) {
        print_commands(program, stderr);
        return ERR_USAGE;
    }
    const struct cli_cmd *cmd = program->cmds;
    while (cmd->name != NULL && strcmp(cmd->name, argv[1]) != 0)
        cmd++;
    int rc = cmd->name != NULL ? run_command(program, cmd, argc - 2, argv + 2, &err) : run_other(program, argv[1], argc - 2, argv + 2, &err);
    struct err unwritten = {0};
    if (flush_result(&unwritten) != 0 && rc == 0) {
        rc = -1;
        err = unwritten;
    }
    if (rc == 0)
        return 0;
    if (err.text[0] != '\0')
        (void)fprintf(stderr, "%s%s%s: %s\n", program->name, cmd->name == NULL ? "" : " ", cmd->name == NULL ? "" : cmd->name, err.text);
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
