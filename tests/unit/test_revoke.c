/* model_dev/revoke, ledger: one user leaves the list, and nothing else of the file changes. */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "model_dev/ledger.h"
#include "model_dev/revoke.h"
#include "tests/support/tempdir.h"

static char dir[FILE_PATH_MAX], config[FILE_PATH_MAX];
static char text[3][PEER_KEY_TEXT], print[3][FINGERPRINT_TEXT];
static struct peer_key key[3];
static struct err err;

static void setup(void)
{
    tempdir_make(dir);
    (void)snprintf(config, sizeof config, "%s", tempdir_path(dir, "model_dev.json"));
    for (int i = 0; i < 3; i++) {
        struct identity *id = NULL;
        char name[8];
        cr_assert_eq(identity_generate(&id, &err), 0);
        key[i] = identity_public(id);
        peer_key_text(&key[i], text[i]);
        peer_key_fingerprint(&key[i], print[i]);
        (void)snprintf(name, sizeof name, "%d.pub", i);
        tempdir_spill(tempdir_path(dir, name), text[i], strlen(text[i]));
        identity_free(id);
    }
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(revoke, .init = setup, .fini = teardown);

static void write_config(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void write_config(const char *format, ...)
{
    char all[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(all, sizeof all, format, args);
    va_end(args);
    tempdir_spill(config, all, (size_t)n);
}

static void expect_config(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void expect_config(const char *format, ...)
{
    char all[4096];
    size_t len;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(all, sizeof all, format, args);
    va_end(args);
    char *now = tempdir_slurp(config, &len);
    cr_expect_str_eq(now, all);
    free(now);
}

static size_t revoke(int who)
{
    size_t removed = 77;
    struct peer_key was;
    cr_assert_eq(revoke_user(config, print[who], &removed, &was, &err), 0, "%s", err.text);
    if (removed > 0)
        cr_expect(peer_key_equal(&was, &key[who]));
    return removed;
}

/* First, middle and last of a list, by file and by key, with comments between. */
Test(revoke, takes_one_entry_out_and_leaves_all_other_text)
{
    static const char frame[] = "{\n  // who we are\n  \"role\": \"model_dev\", \"allow\": [\n%s  ], /* more */ \"listen\": \"x\"\n}\n";
    char list[3][1024];
    (void)snprintf(list[0], sizeof list[0], "    \"@0.pub\", // alice\n    \"%s\",\n    \"@2.pub\"\n", text[1]);
    write_config(frame, list[0]);
    cr_assert_eq(chmod(config, 0640), 0);
    cr_expect_eq(revoke(1), 1);
    expect_config(frame, "    \"@0.pub\", // alice\n    \"@2.pub\"\n");
    struct stat st;
    cr_expect(stat(config, &st) == 0 && (st.st_mode & 0777) == 0640);
    cr_expect_eq(revoke(2), 1);
    cr_expect_eq(revoke(2), 0, "is gone");
    cr_expect_eq(revoke(0), 1);
    size_t len;
    char *left = tempdir_slurp(config, &len);
    cr_expect(strstr(left, ".pub") == NULL && strstr(left, "// who we are") != NULL && strstr(left, "/* more */") != NULL, "%s", left);
    free(left);
}

Test(revoke, takes_every_entry_of_one_key_on_one_line)
{
    write_config("{\"allow\":[\"@0.pub\",\"@1.pub\",\"%s\"]}", text[0]);
    cr_expect_eq(revoke(0), 2);
    expect_config("{\"allow\":[\"@1.pub\"]}");
}

/* Mutation: cut without only_that_is_gone: the key goes from another list, and stays allowed. Two guards refuse this: the other is that the entry is still found. */
Test(revoke, changes_nothing_where_a_program_could_go_wrong)
{
    size_t removed = 77;
    write_config("{\"peers\":{\"key\":\"@0.pub\"},\"allow\":[\"@0.pub\"]}");
    cr_expect_eq(revoke_user(config, print[0], &removed, NULL, &err), -1);
    cr_expect_not_null(strstr(err.text, "by hand"), "%s", err.text);
    expect_config("{\"peers\":{\"key\":\"@0.pub\"},\"allow\":[\"@0.pub\"]}");
    write_config("{\"other\":[\"@0.pub\"],\"allow\":[\"@0.p\\u0075b\"]}");
    cr_expect_eq(revoke_user(config, print[0], &removed, NULL, &err), -1);
    cr_expect_not_null(strstr(err.text, "by hand"), "%s", err.text);
    write_config("{\"name\":\"the \\\"@0.pub\\\" of alice\",\"allow\":[\"@0.p\\u0075b\"]}");
    cr_expect_eq(revoke_user(config, print[0], &removed, NULL, &err), -1);
    cr_expect_not_null(strstr(err.text, "by hand"), "%s", err.text);
    cr_expect_eq(removed, 77);
}

Test(revoke, a_ledger_tells_who_was_given_which_context)
{
    const uint8_t here[CRYPTO_HASH_LEN] = {1}, there[CRYPTO_HASH_LEN] = {2};
    struct ledger_answer a;
    struct stat st;
    cr_assert_eq(ledger_find(&a, dir, print[0], here, &err), 0);
    cr_expect_not(a.known);
    cr_assert_eq(ledger_add(dir, &key[0], here, &err), 0, "%s", err.text);
    cr_assert_eq(ledger_add(dir, &key[1], there, &err), 0, "%s", err.text);
    cr_expect(stat(tempdir_path(dir, "grants.log"), &st) == 0 && (st.st_mode & 0777) == 0600);
    cr_assert_eq(ledger_find(&a, dir, print[0], here, &err), 0, "%s", err.text);
    cr_expect(a.known && strncmp(a.when, "20", 2) == 0);
    cr_assert_eq(ledger_find(&a, dir, print[0], there, &err), 0, "%s", err.text);
    cr_expect(a.known && a.when[0] == '\0');
    tempdir_spill(tempdir_path(dir, "grants.log"), "nonsense\n", 9);
    cr_expect_eq(ledger_find(&a, dir, print[0], there, &err), -1);
    cr_expect_not_null(strstr(err.text, "line 1"), "%s", err.text);
}
