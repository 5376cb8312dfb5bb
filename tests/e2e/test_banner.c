/* A daemon that starts on a terminal shows what the others paste into their configs, and it is what they need.
 * Mutation: another port, or the other half of the key: the pasted config reaches nobody. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/tempdir.h"
#include "tests/support/terminal.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"

/* The object that stands behind this text. */
static void pasted(struct terminal *term, const char *before, char out[512])
{
    terminal_expect(term, before);
    const size_t at = term->from;
    terminal_expect(term, "}");
    (void)snprintf(out, 512, "%.*s", (int)(term->from - at), term->seen + at);
}

Test(banner, of_the_server_is_the_peer_of_user_and_developer)
{
    static struct terminal term;
    struct trio t;
    struct shell s;
    char user[512], developer[512], text[2048];
    trio_make(&t, DEMO_LM, "user");
    static const char config[] = "{\"role\":\"server\",\"identity\":\"server.id\",\"listen\":\"tcp://127.0.0.1:*\",\"listen_admin\":"
                                 "\"tcp://127.0.0.1:*\",\"package\":\"package\",\"allow\":{\"users\":[\"@user.id/identity.pub\"],"
                                 "\"model_devs\":[\"@model_dev.id/identity.pub\"]}}";
    tempdir_spill(trio_path(&t, "server.json"), config, strlen(config));
    terminal_open(&term, SHELL_ARGV("stip-server", "serve", "--config", trio_path(&t, "server.json")));
    terminal_expect(&term, "ready: ");
    pasted(&term, "  user.json        \"server\": ", user);
    pasted(&term, "  model_dev.json   ", developer);
    int n = snprintf(text, sizeof text,
                     "{\"role\":\"model_dev\",\"identity\":\"model_dev.id\",\"protected\":\"protected\",\"peers\":{\"servers\":[%s]}}",
                     developer);
    tempdir_spill(trio_path(&t, "model_dev.json"), text, (size_t)n);
    shell_run(&s, SHELL_ARGV("stip-model-dev", "push", "--config", trio_path(&t, "model_dev.json")));
    cr_expect_eq(s.status, 0, "%s: %s", developer, s.err);
    shell_free(&s);
    n = snprintf(text, sizeof text, "{\"role\":\"user\",\"identity\":\"user.id\",\"grant\":\"grant\",\"peers\":{\"server\":%s}}", user);
    tempdir_spill(trio_path(&t, "user.json"), text, (size_t)n);
    trio_user(&t, &s, SHELL_ARGV("doctor"));
    cr_expect_not_null(strstr(s.out, "the peer holds the pinned key"), "%s: %s%s", user, s.out, s.err);
    shell_free(&s);
    cr_assert_eq(kill(term.pid, SIGTERM), 0);
    cr_expect_eq(terminal_end(&term, NULL), 0);
    trio_close(&t);
}
