/* protect --derived-from on a terminal: who does not say it is asked, and hears what the answer means. Mutations: the question asked
 * although the flag is there; asked where nobody sits; an empty answer taken for "none"; a long name cut off and taken. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "tests/support/shell.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "tests/support/terminal.h"

#define QUESTION "What do these weights derive from?"
#define NOBODY_SAID "nobody said what the weights derive from"

static char dir[FILE_PATH_MAX], model[FILE_PATH_MAX], out[FILE_PATH_MAX];
static struct terminal t;

static void setup(void)
{
    struct err err;
    const struct synth_shape small = {.D = 32, .H = 4, .L = 2, .V = 50};
    tempdir_make(dir);
    (void)snprintf(model, sizeof model, "%s", tempdir_path(dir, "model"));
    (void)snprintf(out, sizeof out, "%s", tempdir_path(dir, "out"));
    cr_assert_eq(synth_checkpoint(model, "LlamaForCausalLM", &small, 1, &err), 0, "%s", err.text);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(derived, .init = setup, .fini = teardown);

#define PROTECT(...) ((const char *const[]){"stip-model-dev", "protect", "--model", model, "--out", out, __VA_ARGS__})

static void answered(const char *keys, const char *sentence, int status)
{
    terminal_open(&t, PROTECT("--force", NULL));
    terminal_expect(&t, QUESTION);
    terminal_type(&t, keys);
    terminal_expect(&t, sentence);
    cr_expect_eq(terminal_end(&t, NULL), status, "%s", t.seen);
}

static bool seen(const char *text)
{
    return memmem(t.seen, t.n, text, strlen(text)) != NULL;
}

Test(derived, an_answer_is_told_what_it_means)
{
    answered("none\n", "derived from none: what users send is private as long as", 0);
    cr_expect(!seen(NOBODY_SAID), "%s", t.seen);
    answered("public\n", "derived from a public model: a server that has these weights undoes the protection", 0);
    answered("Foo 7B\n", "derived from Foo 7B: a server that has these weights", 0);
    cr_expect(!seen(NOBODY_SAID), "%s", t.seen);
}

/* An empty line and the end of input are no answers, and no reason to stop. */
Test(derived, no_answer_is_a_warning)
{
    answered("\n", NOBODY_SAID, 0);
    cr_expect(!seen("derived from none"), "%s", t.seen);
    answered("\004", NOBODY_SAID, 0);
    cr_expect(!seen("derived from none"), "%s", t.seen);
    cr_expect(file_exists(tempdir_path(dir, "out/package/manifest.json")));
}

Test(derived, a_name_that_is_no_name_is_refused_before_anything_is_written)
{
    char name[129];
    memset(name, 'n', sizeof name - 1);
    memcpy(name + sizeof name - 1, "", 1);
    terminal_open(&t, PROTECT("--force", NULL));
    terminal_expect(&t, QUESTION);
    terminal_type(&t, name);
    terminal_type(&t, "\n");
    terminal_expect(&t, "at most 127 characters");
    cr_expect_eq(terminal_end(&t, NULL), 2, "%s", t.seen);
    answered("bell\007\n", "at most 127 characters", 2);
    cr_expect(!file_exists(out));
}

Test(derived, the_flag_answers_and_only_a_person_is_asked)
{
    struct shell s;
    terminal_open(&t, PROTECT("--force", "--derived-from", "none", NULL));
    terminal_expect(&t, "derived from none");
    cr_expect_eq(terminal_end(&t, NULL), 0);
    cr_expect(!seen(QUESTION), "%s", t.seen);
    shell_run(&s, PROTECT("--force", NULL)); /* no terminal: a question would hang a script */
    cr_expect_eq(s.status, 0, "%s", s.err);
    cr_expect_null(strstr(s.err, QUESTION), "%s", s.err);
    cr_expect_not_null(strstr(s.err, NOBODY_SAID), "%s", s.err);
    shell_free(&s);
}
