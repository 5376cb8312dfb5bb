/* Three processes with the first layers on the user, or rotated weights: every command answers as it does without.
 * Mutations: the user computes its layers in f32 whatever the package does; it does not look at how many layers its grant has;
 * rotate forgets them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/synth.h"
#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"

static const char *const PLAIN[] = {NULL}, *const LOCAL[] = {"--local-layers", "2", NULL},
                         *const GAUGE[] = {"--profile", "gauge", "--head", "server", NULL},
                         *const GAUGE_LOCAL[] = {"--profile", "gauge", "--local-layers", "1", NULL}, *const LOCAL_SERVER[] = {"--local-layers", "1", "--head", "server", NULL};

static void expect_ok(const struct shell *s)
{
    cr_assert_eq(s->status, 0, "%s: exit status %d: %s", s->command, s->status, s->err);
}

/* What the commands print, one after another. */
static char *answers(const char *model, const char *const flags[], const char *const (*commands)[16], size_t n)
{
    struct trio t;
    struct shell s;
    char *all = calloc(1, 1);
    trio_open_protected(&t, model, flags);
    for (size_t i = 0; i < n; i++) {
        trio_user(&t, &s, commands[i]);
        expect_ok(&s);
        all = realloc(all, strlen(all) + strlen(s.out) + 1);
        cr_assert_not_null(all);
        strcat(all, s.out);
        shell_free(&s);
    }
    trio_close(&t);
    return all;
}

Test(profiles, text_is_the_same_in_every_profile)
{
    static const char *const commands[][16] = {
        {"generate", "--prompt", "Once upon a time", "--max-tokens", "60", "--ignore-eos", "--speculate", "off"},
        {"generate", "--prompt", "One day, a little fox found a drum. The fox found a drum. The fox", "--max-tokens", "60",
         "--ignore-eos", "--speculate", "7", "--draft-model", DEMO_LM},
        {"generate", "--prompt", "Once", "--max-tokens", "40", "--temperature", "0.9", "--seed", "7", "--ignore-eos"},
        {"score", "--text", "Once upon a time there was a little girl. She had a red ball and a big dog.", "--stride", "8"}};
    char *plain = answers(DEMO_LM, PLAIN, commands, 4);
    char *local = answers(DEMO_LM, LOCAL, commands, 4), *server = answers(DEMO_LM, LOCAL_SERVER, commands, 4);
    char *gauge = answers(DEMO_LM, GAUGE, commands, 4), *both = answers(DEMO_LM, GAUGE_LOCAL, commands, 4);
    char *score_gauge = strstr(gauge, "tokens "), *score_both = strstr(both, "tokens ");
    char *score_plain = strstr(plain, "tokens "), *score_local = strstr(local, "tokens "), *score_server = strstr(server, "tokens ");
    cr_assert(score_plain != NULL && score_local != NULL && score_server != NULL && score_gauge != NULL && score_both != NULL, "%s", plain);
    double a = strtod(strstr(score_plain, "nll") + 3, NULL);
    cr_expect_float_eq(strtod(strstr(score_local, "nll") + 3, NULL), a, 1e-5);
    cr_expect_float_eq(strtod(strstr(score_server, "nll") + 3, NULL), a, 1e-5);
    cr_expect_float_eq(strtod(strstr(score_gauge, "nll") + 3, NULL), a, 1e-5);
    cr_expect_float_eq(strtod(strstr(score_both, "nll") + 3, NULL), a, 1e-5);
    *score_plain = *score_local = *score_server = *score_gauge = *score_both = '\0';
    cr_expect_str_eq(local, plain);
    cr_expect_str_eq(server, plain);
    cr_expect_str_eq(gauge, plain);
    cr_expect_str_eq(both, plain);
    free(gauge);
    free(both);
    free(plain);
    free(local);
    free(server);
}

/* Integers are equal bit for bit, so the score is to its last digit: the user quantises its layers as the package has the others. */
Test(profiles, the_users_layers_are_computed_in_the_packages_way)
{
    static const char *const commands[][16] = {
        {"generate", "--prompt", "Once upon a time", "--max-tokens", "60", "--ignore-eos"},
        {"score", "--text", "Once upon a time there was a little girl. She had a red ball and a big dog."}};
    static const char *const all[] = {"--dtype", "int8", NULL}, *const some[] = {"--dtype", "int8", "--local-layers", "3", NULL};
    char *plain = answers(DEMO_LM, all, commands, 2), *local = answers(DEMO_LM, some, commands, 2);
    cr_expect_str_eq(local, plain);
    free(plain);
    free(local);
}

Test(profiles, labels_are_the_same_with_local_layers)
{
    static const char *const commands[][16] = {{"classify", "--text", "a wonderful film, I loved it"},
                                               {"classify", "--text", "dull, far too long and badly acted"}};
    static const char *const one[] = {"--local-layers", "1", NULL};
    char *plain = answers(DEMO_CLASSIFIER, PLAIN, commands, 2), *local = answers(DEMO_CLASSIFIER, one, commands, 2);
    cr_expect_str_eq(local, plain);
    free(plain);
    free(local);
}

/* Rows of the same token differ once what stands before it does: no dictionary of rows. */
Test(profiles, equal_tokens_send_different_rows)
{
    struct trio t;
    struct shell s;
    trio_open_protected(&t, DEMO_LM, LOCAL);
    trio_user(&t, &s, SHELL_ARGV("peek", "--text", "ball ball ball ball", "--json"));
    struct json_doc *doc = shell_json(&s);
    const struct json *tokens = json_get(json_root(doc), "tokens");
    int pairs = 0;
    for (const struct json *a = json_first(tokens); a != NULL; a = json_next(a))
        for (const struct json *b = json_next(a); b != NULL; b = json_next(b)) {
            if (json_number(json_get(a, "id")) != json_number(json_get(b, "id")))
                continue;
            pairs++;
            cr_expect_neq(json_number(json_first(json_get(a, "received"))), json_number(json_first(json_get(b, "received"))));
            cr_expect_eq(json_number(json_first(json_get(a, "embedded"))), json_number(json_first(json_get(b, "embedded"))));
        }
    cr_expect_gt(pairs, 0);
    json_free(doc);
    shell_free(&s);
    trio_close(&t);
}

/* The grant says how many layers are here; a folder that was changed finds no server that agrees. */
Test(profiles, another_number_of_layers_is_refused_before_anything_is_sent)
{
    struct trio t;
    struct shell s;
    size_t len;
    char path[FILE_PATH_MAX];
    trio_open_protected(&t, DEMO_LM, LOCAL);
    (void)snprintf(path, sizeof path, "%s/grant.json", trio_path(&t, "user.grant"));
    char *text = tempdir_slurp(path, &len), *at = strstr(text, "\"local_layers\"");
    cr_assert_not_null(at);
    at = strchr(at, '2');
    *at = '1';
    tempdir_spill(path, text, len);
    free(text);
    trio_user(&t, &s, SHELL_ARGV("generate", "--prompt", "Once", "--max-tokens", "4"));
    cr_expect_eq(s.status, 4, "%d: %s", s.status, s.err);
    cr_expect_not_null(strstr(s.err, "first 2 layers"), "%s", s.err);
    shell_free(&s);
    trio_close(&t);
}

/* A grant of another checkpoint of the same sizes would give nonsense: the package is held against it. Mutation: nothing is compared. */
Test(profiles, grants_of_gauge_are_made_from_the_same_checkpoint_only)
{
    struct trio t;
    struct shell s;
    struct err err;
    char other[FILE_PATH_MAX];
    const struct synth_shape shape = {.D = 48, .H = 6, .L = 2, .V = 101, .F = 80};
    trio_open_protected(&t, DEMO_LM, GAUGE);
    (void)snprintf(other, sizeof other, "%s", trio_path(&t, "other-model"));
    cr_assert_eq(synth_checkpoint(other, "LlamaForCausalLM", &shape, 5, &err), 0, "%s", err.text);
    shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", other, "--profile", "gauge", "--out", trio_path(&t, "again"),
                             "--identity", trio_path(&t, "model_dev.id")));
    expect_ok(&s);
    shell_free(&s);
    cr_assert_eq(synth_checkpoint(other, "LlamaForCausalLM", &shape, 6, &err), 0, "%s", err.text);
    shell_run(&s, SHELL_ARGV("stip-model-dev", "grant", "--protected", trio_path(&t, "again"), "--model", other, "--identity",
                             trio_path(&t, "model_dev.id"), "--user", trio_path(&t, "user.id/identity.pub"), "--out", trio_path(&t, "g")));
    cr_expect_eq(s.status, 3, "%d: %s", s.status, s.err);
    cr_expect_not_null(strstr(s.err, "layer 0 differ"), "%s", s.err);
    shell_free(&s);
    trio_close(&t);
}

static double rate(const struct json_doc *doc, const char *id, const char *of, const char *knows)
{
    for (const struct json *a = json_first(json_get(json_root(doc), "attacks")); a != NULL; a = json_next(a))
        for (const struct json *c = json_first(json_get(a, "cells")); c != NULL; c = json_next(c))
            if (strcmp(json_string(json_get(a, "id")), id) == 0 && strcmp(json_string(json_get(a, "of")), of) == 0 &&
                strcmp(json_string(json_get(c, "knows")), knows) == 0 && json_get(c, "rate") != NULL)
                return json_number(json_get(c, "rate"));
    return -1;
}

/* What docs/SECURITY.md says of the profiles, attacked with the very same weights. The attacks work where they must: without the
 * rotation, by inner products, and with a user's key. Mutation: rows that are audited are not the ones that are sent. */
Test(profiles, gauge_stops_fingerprints_and_not_inner_products)
{
    static const char *const names[] = {"stip", "gauge"}, *const ids[] = {"A1", "A2"};
    char dir[FILE_PATH_MAX];
    struct shell s;
    tempdir_make(dir);
    for (int p = 0; p < 2; p++) {
        const char *out = tempdir_path(dir, names[p]);
        shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", DEMO_LM, "--profile", names[p], "--out", out));
        expect_ok(&s);
        shell_free(&s);
        shell_run(&s, SHELL_ARGV("stip-model-dev", "audit", "--protected", out, "--model", DEMO_LM, "--drift", "0", "--sample", "64",
                                 "--skip-slow", "--json"));
        struct json_doc *doc = shell_json(&s);
        for (int i = 0; i < 2; i++) {
            const double found = rate(doc, ids[i], "tokens", "drift 0 %");
            cr_expect(p == 0 ? found > 0.99 : found >= 0 && found < 0.1, "%s, %s: %g", names[p], ids[i], found);
        }
        cr_expect_gt(rate(doc, "A3", "tokens", "drift 0 %"), 0.99, "%s", names[p]);
        cr_expect_gt(rate(doc, "A4", "tokens", "drift 0 %"), 0.9, "%s", names[p]); /* sorted numbers, or lengths, which no rotation changes */
        cr_expect_gt(rate(doc, "A4", "tokens", "drift 0 % + user"), 0.99, "%s", names[p]);
        json_free(doc);
        shell_free(&s);
    }
    tempdir_remove(dir);
}

/* rotate keeps what was chosen. */
Test(profiles, the_next_context_has_the_same_profile)
{
    struct trio t;
    struct shell s;
    trio_open_protected(&t, DEMO_LM, SHELL_ARGV("--profile", "gauge", "--local-layers", "2"));
    shell_run(&s, SHELL_ARGV("stip-model-dev", "rotate", "--protected", trio_path(&t, "protected"), "--model", DEMO_LM, "--identity",
                             trio_path(&t, "model_dev.id")));
    expect_ok(&s);
    shell_free(&s);
    shell_run(&s, SHELL_ARGV("stip-model-dev", "inspect", "--json", trio_path(&t, "protected")));
    struct json_doc *doc = shell_json(&s);
    cr_expect_eq(json_number(json_get(json_root(doc), "local_layers")), 2);
    cr_expect_str_eq(json_string(json_get(json_root(doc), "profile")), "gauge");
    cr_expect_eq(json_number(json_get(json_root(doc), "epoch")), 2);
    json_free(doc);
    shell_free(&s);
    trio_close(&t);
}
