/* stip-model-dev audit --save: the verdict goes with grants to users, and is shown by their gateway. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/gateway.h"
#include "tests/support/tempdir.h"

TestSuite(audited);

static struct trio t;

static void developer(const char *const words[], const char *sentence)
{
    struct shell s;
    shell_run(&s, words);
    cr_assert_eq(s.status, 0, "%s: %s", s.command, s.err);
    if (sentence != NULL)
        cr_expect_not_null(strstr(s.err, sentence), "%s: %s", s.command, s.err);
    shell_free(&s);
}

static void give(const char *to, const char *warning)
{
    struct shell s;
    developer(SHELL_ARGV("stip-model-dev", "grant", "--config", trio_path(&t, "model_dev.json"), "--user", trio_path(&t, "user.id/identity.pub"),
                         "--canaries", "0", "--out", to), warning);
    trio_user(&t, &s, SHELL_ARGV("join", "--grant", to));
    cr_assert_eq(s.status, 0, "%s: %s", s.command, s.err);
    shell_free(&s);
}

/* Sentences of the verdict that the page is told. */
static size_t told(void)
{
    struct gateway g;
    struct web w;
    struct err err;
    struct json_doc *doc;
    gateway_open(&g, &t, SHELL_ARGV("--turn", TURN));
    web_call(g.port, "/stip/info", "", NULL, &w);
    cr_assert_eq(w.status, 200);
    cr_assert_eq(json_parse(&doc, w.body, strlen(w.body), false, "info", &err), 0, "%s", err.text);
    const struct json *audit = json_get(json_root(doc), "audit");
    const size_t n = json_count(json_get(audit, "verdict"));
    if (n > 0) {
        cr_expect_eq(strlen(json_string(json_get(audit, "created"))), strlen("2026-11-21T00:00:00Z"));
        cr_expect_not_null(strstr(w.body, "A server that knows nothing else recovers"), "%s", w.body);
    }
    json_free(doc);
    web_free(&w);
    cr_expect_eq(gateway_close(&g), 0);
    return n;
}

/* Mutation: the verdict of another package goes into a grant; a grant has none; the page is not told. */
Test(audited, a_saved_verdict_is_told_to_users_of_that_package)
{
    trio_open_protected(&t, DEMO_LM, SHELL_ARGV("--head", "user"));
    cr_expect_eq(told(), 0);
    developer(SHELL_ARGV("stip-model-dev", "audit", "--protected", trio_path(&t, "protected"), "--model", DEMO_LM, "--sample", "16", "--drift", "none",
                         "--skip-slow", "--save"), NULL);
    give(trio_path(&t, "first"), NULL);
    cr_expect_gt(told(), 0);
    size_t len;
    struct err err;
    char *saved = tempdir_slurp(trio_path(&t, "protected/audit.json"), &len), *context = strstr(saved, "\"context\"");
    context = strchr(context + strlen("\"context\""), '"') + 1;
    *context = *context == '0' ? '1' : '0'; /* another package's */
    cr_assert_eq(file_write(trio_path(&t, "protected/audit.json"), saved, len, 0600, &err), 0, "%s", err.text);
    free(saved);
    give(trio_path(&t, "second"), "is of another package");
    cr_expect_eq(told(), 0);
    trio_close(&t);
}
