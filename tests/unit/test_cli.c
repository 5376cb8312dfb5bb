/* base/cli: one table of commands and flags. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cli.h"
#include "tests/support/capture.h"

/* What the command saw. */
static struct {
    int runs, argc;
    const char *model, *first;
    int64_t tokens, seed;
    double heat;
    bool json;
} seen;

static int run_generate(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    seen.runs++;
    seen.argc = argc;
    seen.first = argc > 0 ? argv[0] : NULL;
    seen.model = cli_str(cmd, "model", "the fallback");
    seen.json = cli_on(cmd, "json");
    if (cli_int(cmd, "max-tokens", 1, 1000, &seen.tokens, err) != 0 ||
        cli_int(cmd, "seed", INT64_MIN, INT64_MAX, &seen.seed, err) != 0)
        return -1;
    return cli_num(cmd, "heat", 0, 2, &seen.heat, err);
}

static int run_fails(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *need;
    (void)argc;
    (void)argv;
    if (cli_need(cmd, "key", &need, err) != 0)
        return -1;
    return err_set(err, (enum err_code)atoi(need), "as asked");
}

static struct cli_opt generate_opts[] = {
    {"model", "DIR", "the checkpoint", NULL, false}, {"max-tokens", "N", "at most", NULL, false}, {"heat", "X", "temperature", NULL, false},
    {"json", NULL, "one object", NULL, false},       {"seed", "N", "of the draw", NULL, false},     {0},
};
static struct cli_opt fails_opts[] = {{"key", "FILE", "a key", NULL, false}, {0}};
static const struct cli_cmd cmds[] = {
    {.name = "generate", .line = "writes", .example = "t generate --model m", .opts = generate_opts, .run = run_generate, .args = "[FILE...]"},
    {.name = "fail", .line = "fails", .example = "t fail --key 3", .opts = fails_opts, .run = run_fails},
    {.name = "for", .line = "runs another", .example = "t for -- generate", .opts = generate_opts, .run = run_generate, .args = "COMMAND ..."},
    {0},
};
static const struct cli_program program = {"t", "a test", cmds};

#define MAX_ARGS 16

/* Runs "t <args>" (split at '|') and gives exit status, stdout and stderr. */
static int run(const char *args, char **out, char **err)
{
    static char copy[512];
    char *argv[MAX_ARGS] = {"t"};
    int argc = 1;
    struct capture o, e;
    memset(&seen, 0, sizeof seen);
    seen.tokens = 256;
    (void)strcpy(copy, args);
    for (char *p = strtok(copy, "|"); p != NULL && argc < MAX_ARGS; p = strtok(NULL, "|"))
        argv[argc++] = p;
    capture_begin(&o, STDOUT_FILENO);
    capture_begin(&e, STDERR_FILENO);
    int rc = cli_main(&program, argc, argv);
    char *etext = capture_end(&e), *otext = capture_end(&o);
    if (err != NULL)
        *err = etext;
    else
        free(etext);
    if (out != NULL)
        *out = otext;
    else
        free(otext);
    return rc;
}

Test(cli, flags_take_their_value_behind_a_space_or_an_equals_sign)
{
    cr_expect_eq(run("generate|--model|m1|--max-tokens=7|--heat|0.5|--json|file|more", NULL, NULL), 0);
    cr_expect_str_eq(seen.model, "m1");
    cr_expect_eq(seen.tokens, 7);
    cr_expect_eq(seen.heat, 0.5);
    cr_expect(seen.json);
    cr_expect_eq(seen.argc, 2);
    cr_expect_str_eq(seen.first, "file");
    cr_expect_eq(run("generate|--model=a=b|--model=", NULL, NULL), 0, "the last one counts; an empty value is a value");
    cr_expect_str_eq(seen.model, "");
    cr_expect_eq(run("generate|--seed|-9223372036854775808", NULL, NULL), 0);
    cr_expect_eq(seen.seed, INT64_MIN);
}

Test(cli, what_is_not_given_keeps_its_default)
{
    cr_expect_eq(run("generate", NULL, NULL), 0);
    cr_expect_str_eq(seen.model, "the fallback");
    cr_expect_eq(seen.tokens, 256);
    cr_expect_not(seen.json);
    cr_expect_eq(seen.argc, 0);
}

/* Catches: the first argument ends the flags (as it was). */
Test(cli, flags_may_follow_the_arguments)
{
    cr_expect_eq(run("generate|file|--json|more|--model|m2", NULL, NULL), 0);
    cr_expect_eq(seen.argc, 2);
    cr_expect_str_eq(seen.first, "file");
    cr_expect(seen.json);
    cr_expect_str_eq(seen.model, "m2");
}

/* Catches: passes_on() false (tried). */
Test(cli, flags_behind_another_command_belong_to_that_command)
{
    static const char *const ways[] = {"for|--model|m|generate|--json|--help", "for|--model|m|--|generate|--json|--help"};
    for (size_t i = 0; i < 2; i++) {
        cr_expect_eq(run(ways[i], NULL, NULL), 0);
        cr_expect_eq(seen.argc, 3);
        cr_expect_str_eq(seen.first, "generate");
        cr_expect_not(seen.json);
    }
}

Test(cli, a_value_is_no_flag)
{
    cr_expect_eq(run("generate|--model|--help|x", NULL, NULL), 0);
    cr_expect_str_eq(seen.model, "--help");
    cr_expect_eq(run("generate|--model|-h", NULL, NULL), 0);
    cr_expect_str_eq(seen.model, "-h");
}

/* Catches: a stream that is closed is left to the next file that is opened (tried: the pipe then has number 1). */
Test(cli, a_closed_stdout_is_not_the_next_file)
{
    int ends[2], kept = dup(STDOUT_FILENO);
    char *argv[] = {"t", "--version", NULL};
    cr_assert_geq(kept, 0);
    cr_assert_eq(close(STDOUT_FILENO), 0);
    const int rc = cli_main(&program, 2, argv);
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(dup2(kept, STDOUT_FILENO), STDOUT_FILENO);
    clearerr(stdout);
    cr_expect_eq(rc, ERR_INTERNAL, "the version reached nobody");
    cr_expect_gt(ends[0], STDERR_FILENO);
    cr_expect_gt(ends[1], STDERR_FILENO);
}

Test(cli, two_dashes_end_the_flags)
{
    cr_expect_eq(run("generate|--json|--|--help|x", NULL, NULL), 0);
    cr_expect_eq(seen.argc, 2);
    cr_expect_str_eq(seen.first, "--help");
}

/* Catches: environment read after the flags (tried). */
Test(cli, a_flag_wins_over_the_environment)
{
    setenv("STIP_MODEL", "from env", 1);
    setenv("STIP_MAX_TOKENS", "9", 1);
    setenv("STIP_JSON", "1", 1);
    cr_expect_eq(run("generate", NULL, NULL), 0);
    cr_expect_str_eq(seen.model, "from env");
    cr_expect_eq(seen.tokens, 9);
    cr_expect(seen.json);
    cr_expect_eq(run("generate|--max-tokens|11", NULL, NULL), 0);
    cr_expect_str_eq(seen.model, "from env");
    cr_expect_eq(seen.tokens, 11);
    setenv("STIP_MODEL", "", 1);
    setenv("STIP_JSON", "0", 1);
    cr_expect_eq(run("generate", NULL, NULL), 0);
    cr_expect_str_eq(seen.model, "the fallback", "an empty variable is not set");
    cr_expect_not(seen.json, "0 leaves a switch off");
    setenv("STIP_MAX_TOKENS", "many", 1);
    cr_expect_eq(run("generate", NULL, NULL), ERR_USAGE);
}

struct usage_case {
    const char *args, *error;
};

Test(cli, mistakes_are_named_and_exit_with_2)
{
    static const struct usage_case cases[] = {
        {"generate|--modle|m", "t generate: unknown flag '--modle'; --help lists the flags"},
        {"generate|--mod|m", "unknown flag '--mod'"},
        {"generate|--model", "--model needs a value (DIR)"},
        {"generate|--json=1", "--json takes no value"},
        {"generate|--max-tokens|0", "--max-tokens: expected a whole number from 1 to 1000, found '0'"},
        {"generate|--max-tokens|1001", "found '1001'"},
        {"generate|--max-tokens|12x", "found '12x'"},
        {"generate|--max-tokens|1.5", "found '1.5'"},
        {"generate|--max-tokens=", "found ''"},
        {"generate|--max-tokens|99999999999999999999999", "found '99999999999999999999999'"},
        {"generate|--seed|9223372036854775808", "found '9223372036854775808'"},
        {"generate|--heat|nan", "--heat: expected a number from 0 to 2, found 'nan'"},
        {"generate|--heat|-0.1", "found '-0.1'"},
        {"generate|--heat|1e", "found '1e'"},
        {"fail|stray", "t fail: unexpected argument 'stray'"},
        {"fail|-key", "unexpected argument '-key'"},
        {"fail", "fail needs --key; for example: t fail --key 3"},
        {"nonsense", "t: unknown command 'nonsense'"},
        {"gen", "unknown command 'gen'"},
        {"completion", "t: completion: expected bash or zsh"},
        {"completion|fish", "expected bash or zsh"},
        {"completion|bash|zsh", "expected bash or zsh"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *err = NULL, *out = NULL;
        cr_expect_eq(run(cases[i].args, &out, &err), ERR_USAGE, "%s", cases[i].args);
        cr_expect_not_null(strstr(err, cases[i].error), "%s gives: %s", cases[i].args, err);
        cr_expect_str_eq(out, "", "mistakes go to stderr");
        free(err);
        free(out);
    }
}

Test(cli, the_exit_status_is_the_class_of_the_error)
{
    char args[] = "fail|--key|0", *err = NULL;
    for (int code = 1; code <= 6; code++) {
        args[strlen(args) - 1] = (char)('0' + code);
        cr_expect_eq(run(args, NULL, &err), code);
        cr_expect_str_eq(err, "t fail: as asked\n");
        free(err);
    }
    cr_expect_eq(run("fail|--key|0", NULL, NULL), ERR_INTERNAL, "a failure is never success");
}

Test(cli, help_goes_to_stdout_and_shows_every_flag_and_the_example)
{
    static const char *const ways[] = {"--help", "-h", "help"};
    char *out = NULL, *err = NULL;
    for (size_t i = 0; i < 3; i++) {
        cr_expect_eq(run(ways[i], &out, &err), 0);
        cr_expect_not_null(strstr(out, "generate"));
        cr_expect_not_null(strstr(out, "Exit status"));
        cr_expect_str_eq(err, "");
        free(out);
        free(err);
    }
    cr_expect_eq(run("generate|--model|m|--help", &out, NULL), 0);
    cr_expect_eq(seen.runs, 0);
    for (const struct cli_opt *o = generate_opts; o->name != NULL; o++)
        cr_expect_not_null(strstr(out, o->name), "%s", o->name);
    cr_expect_not_null(strstr(out, "t generate --model m"));
    cr_expect_not_null(strstr(out, "[FILE...]"));
    free(out);
    cr_expect_eq(run("completion|--help", &out, NULL), 0);
    cr_expect_not_null(strstr(out, "usage: t completion bash|zsh"));
    free(out);
    cr_expect_eq(run("", &out, &err), ERR_USAGE, "no command at all is a mistake");
    cr_expect_str_eq(out, "");
    cr_expect_not_null(strstr(err, "usage: t COMMAND"));
    free(out);
    free(err);
    cr_expect_eq(run("--version", &out, NULL), 0);
    cr_expect_str_eq(out, "t " STIP_VERSION "\n");
    free(out);
}
