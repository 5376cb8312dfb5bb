/* stip-model-dev audit and protect --derived-from as a developer runs them: JSON, picture, exit status, refusals. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tests/support/shell.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"

static char dir[FILE_PATH_MAX], model[FILE_PATH_MAX], out[FILE_PATH_MAX], other[FILE_PATH_MAX], chart[FILE_PATH_MAX];
static struct shell s;

static void path(char to[FILE_PATH_MAX], const char *name)
{
    (void)snprintf(to, FILE_PATH_MAX, "%s", tempdir_path(dir, name));
}

static void setup(void)
{
    struct err err;
    const struct synth_shape small = {.D = 64, .H = 4, .G = 2, .L = 2, .F = 128, .V = 200}, wide = {.D = 96, .H = 4, .G = 2, .L = 2, .F = 128, .V = 200};
    tempdir_make(dir);
    path(model, "model");
    path(out, "out");
    path(other, "other");
    path(chart, "chart.svg");
    cr_assert_eq(synth_checkpoint(model, "LlamaForCausalLM", &small, 1, &err), 0, "%s", err.text);
    cr_assert_eq(synth_checkpoint(other, "LlamaForCausalLM", &wide, 1, &err), 0, "%s", err.text);
    const char tokenizer[] = "{\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[UNK]\":0}}}";
    cr_assert_eq(file_write(tempdir_path(dir, "model/tokenizer.json"), tokenizer, strlen(tokenizer), 0644, &err), 0, "%s", err.text);
}

static void teardown(void)
{
    shell_free(&s);
    tempdir_remove(dir);
}

TestSuite(audit, .init = setup, .fini = teardown);

#define RUN(...) (shell_free(&s), shell_run(&s, SHELL_ARGV("stip-model-dev", __VA_ARGS__)))
#define PROTECT(...) RUN("protect", "--model", model, "--out", out, __VA_ARGS__)
#define AUDIT(...) RUN("audit", "--protected", out, "--model", model, "--sample", "64", __VA_ARGS__)

static void says(int status, const char *sentence)
{
    cr_expect_eq(s.status, status, "%s: %d: %s", s.command, s.status, s.err);
    cr_expect_not_null(strstr(s.err, sentence), "%s: expected '%s' in: %s", s.command, sentence, s.err);
}

/* Catches: a rate that could not be measured and is printed as 0, or left out. */
Test(audit, json_has_a_status_for_every_cell)
{
    PROTECT("--derived-from", "none");
    AUDIT("--drift", "0,5", "--json", "--plot", chart);
    struct json_doc *doc = shell_json(&s);
    size_t attacks = 0, silent = 0;
    for (const struct json *a = json_first(json_get(json_root(doc), "attacks")); a != NULL; a = json_next(a), attacks++)
        for (const struct json *c = json_first(json_get(a, "cells")); c != NULL; c = json_next(c)) {
            const char *status = json_string(json_get(c, "status"));
            bool rate = json_get(c, "rate") != NULL, reason = json_get(c, "reason") != NULL;
            silent += strcmp(status, "not measured") == 0 ? rate || !reason : !rate;
            silent += strcmp(status, "measured") == 0 && (json_get(c, "low") == NULL || json_get(c, "tries") == NULL);
        }
    cr_expect_eq(attacks, 14);
    cr_expect_eq(silent, 0);
    cr_expect_gt(json_count(json_get(json_root(doc), "verdict")), 3);
    json_free(doc);
    size_t len;
    char *svg = tempdir_slurp(chart, &len);
    cr_expect_eq(strncmp(svg, "<svg ", 5), 0);
    cr_expect_not_null(strstr(svg, "A3 inner products: pi"));
    free(svg);
}

Test(audit, a_threshold_fails_when_it_is_passed)
{
    PROTECT("--head", "server", "--derived-from", "public");
    AUDIT("--drift", "none", "--fail-above", "50");
    says(1, "100.0 % recovered (A5: tokens, knowing nothing); --fail-above allows 50 %");
    cr_expect_not_null(strstr(s.out, "use --head user"), "%s", s.out);
    PROTECT("--head", "user", "--force", "--derived-from", "public");
    AUDIT("--drift", "none", "--fail-above", "60"); /* frequencies of made-up tokens give some away */
    cr_expect_eq(s.status, 0, "%s", s.err);
    AUDIT("--drift", "0", "--fail-above", "60");
    says(1, "knowing drift 0 %");
}

Test(audit, what_does_not_belong_together_is_refused)
{
    PROTECT("--derived-from", "none");
    AUDIT("--base", other);
    says(3, "D=96");
    cr_expect_not_null(strstr(s.err, "D=64"), "%s", s.err);
    RUN("audit", "--protected", out, "--model", other);
    says(3, "was not made from this checkpoint");
    RUN("audit", "--protected", other, "--model", model);
    says(3, "package");
    AUDIT("--drift", "1,x");
    says(2, "--drift");
    AUDIT("--fail-above", "101");
    says(2, "--fail-above");
    AUDIT("--drift", "none", "--ids", chart);
    says(3, "chart.svg");
}

/* Slices of a long run: one attack, at as many places as there is time for. */
Test(audit, one_attack_at_so_many_places)
{
    PROTECT("--derived-from", "none");
    AUDIT("--drift", "0", "--only", "A7", "--places", "7");
    cr_expect_eq(s.status, 0, "%s", s.err);
    cr_expect_not_null(strstr(s.out, "the first 7 places, all 200 tokens tried at each"), "%s", s.out);
    cr_expect_not_null(strstr(s.out, "left out by --only"), "%s", s.out);
    AUDIT("--only", "A9");
    says(2, "--only: expected the name of an attack");
    AUDIT("--places", "0");
    says(2, "--places");
}

Test(audit, protect_says_what_the_origin_of_the_weights_means)
{
    PROTECT("--force", "--json");
    says(0, "nobody said what the weights derive from");
    PROTECT("--force", "--derived-from", "Foo 7B");
    says(0, "derived from Foo 7B: a server that has these weights undoes the protection");
    size_t len;
    char *manifest = tempdir_slurp(tempdir_path(dir, "out/package/manifest.json"), &len); /* the name goes nowhere */
    cr_expect_null(strstr(manifest, "Foo"));
    free(manifest);
    PROTECT("--force", "--derived-from", "none");
    says(0, "derived from none");
    cr_expect_null(strstr(s.err, "warn"), "%s", s.err);
    PROTECT("--force", "--derived-from", "");
    says(2, "--derived-from");
}

Test(audit, profiles_that_it_does_not_know_are_refused)
{
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", model, "--out", out, "--profile", "engine", "--derived-from", "none"));
    cr_expect_eq(s.status, 0, "%s", s.err);
    AUDIT("--drift", "none");
    says(3, "has profile engine; audit knows stip");
}
