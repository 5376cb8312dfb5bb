/* model/hub: repositories in a cache of Hugging Face that the test makes up. Mutations caught, each tried: a revision that may
 * climb out of refs, HF_HOME before HF_HUB_CACHE, a missing snapshot taken as found. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/hub.h"
#include "tests/support/tempdir.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define OTHER "fedcba9876543210fedcba9876543210fedcba98"

static char dir[FILE_PATH_MAX], found[FILE_PATH_MAX];
static struct err err;

static void file(const char *path, const char *text)
{
    char full[FILE_PATH_MAX], parent[FILE_PATH_MAX];
    cr_assert_eq(file_join(full, dir, path, &err), 0);
    cr_assert_eq(file_dir(parent, full, &err), 0);
    cr_assert_eq(file_mkdirs(parent, 0700, &err), 0);
    tempdir_spill(full, text, strlen(text));
}

static void setup(void)
{
    static const char *const variables[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    tempdir_make(dir);
    setenv("HOME", tempdir_path(dir, "home"), 1);
    setenv("HF_HUB_CACHE", tempdir_path(dir, "hub"), 1);
    file("hub/models--org--name/refs/main", COMMIT "\n");
    file("hub/models--org--name/refs/pr/1", OTHER);
    file("hub/models--org--name/blobs/abc", "{}");
    file("hub/models--org--name/snapshots/" OTHER "/config.json", "{}");
    cr_assert_eq(file_mkdirs(tempdir_path(dir, "hub/models--org--name/snapshots/" COMMIT), 0700, &err), 0);
    cr_assert_eq(symlink("../../blobs/abc", tempdir_path(dir, "hub/models--org--name/snapshots/" COMMIT "/config.json")), 0);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(hub, .init = setup, .fini = teardown);

static void finds(const char *model, const char *expected)
{
    char *text;
    size_t len;
    err = (struct err){0};
    cr_assert_eq(hub_find(found, model, &err), 0, "%s: %s", model, err.text);
    cr_expect_str_eq(found, tempdir_path(dir, expected));
    cr_assert_eq(file_read(tempdir_path(found, "config.json"), 100, &text, &len, &err), 0, "%s", err.text);
    free(text);
}

static void refuses(const char *model, const char *why)
{
    strcpy(found, "untouched");
    cr_expect_eq(hub_find(found, model, &err), -1, "%s: found %s", model, found);
    cr_expect(strstr(err.text, why) != NULL, "%s: expected '%s' in: %s", model, why, err.text);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_str_eq(found, "untouched");
}

Test(hub, a_folder_is_taken_as_it_is)
{
    const char *folder = tempdir_path(dir, "hub/models--org--name/snapshots/" OTHER);
    cr_assert_eq(hub_find(found, folder, &err), 0);
    cr_expect_str_eq(found, folder);
    cr_assert_eq(chdir(tempdir_path(dir, "hub")), 0);
    cr_assert_eq(file_mkdirs("org/name", 0700, &err), 0);
    cr_assert_eq(hub_find(found, "org/name", &err), 0);
    cr_expect_str_eq(found, "org/name", "a folder of that name comes before the cache");
    cr_assert_eq(chdir("/"), 0);
}

Test(hub, a_repository_is_found_by_branch_and_by_commit)
{
    finds("org/name", "hub/models--org--name/snapshots/" COMMIT);
    finds("org/name@main", "hub/models--org--name/snapshots/" COMMIT);
    finds("org/name@pr/1", "hub/models--org--name/snapshots/" OTHER);
    finds("org/name@" OTHER, "hub/models--org--name/snapshots/" OTHER);
}

Test(hub, the_oldest_models_have_no_organisation)
{
    file("hub/models--gpt2/refs/main", COMMIT);
    file("hub/models--gpt2/snapshots/" COMMIT "/config.json", "{}");
    finds("gpt2", "hub/models--gpt2/snapshots/" COMMIT);
}

Test(hub, the_cache_is_where_the_first_variable_says)
{
    file("b/hub/models--org--name/snapshots/main/config.json", "{}");
    file("home/.cache/huggingface/hub/models--org--name/snapshots/main/config.json", "{}");
    file("x/huggingface/hub/models--org--name/snapshots/main/config.json", "{}");
    setenv("HF_HOME", tempdir_path(dir, "b"), 1);
    setenv("XDG_CACHE_HOME", tempdir_path(dir, "x"), 1);
    finds("org/name", "hub/models--org--name/snapshots/" COMMIT);
    unsetenv("HF_HUB_CACHE");
    finds("org/name", "b/hub/models--org--name/snapshots/main");
    setenv("HF_HOME", "", 1);
    finds("org/name", "x/huggingface/hub/models--org--name/snapshots/main");
    unsetenv("XDG_CACHE_HOME");
    finds("org/name", "home/.cache/huggingface/hub/models--org--name/snapshots/main");
    setenv("HF_HOME", "~/.cache/huggingface", 1);
    finds("org/name", "home/.cache/huggingface/hub/models--org--name/snapshots/main");
}

Test(hub, what_is_missing_is_named_and_how_to_get_it)
{
    refuses("org/other", "has no models--org--other. Models are never fetched from here; run: hf download org/other");
    refuses("org/name@v9", "has no snapshot of revision 'v9'; run: hf download org/name --revision v9");
    file("hub/models--org--name/refs/gone", "1111111111111111111111111111111111111111");
    refuses("org/name@gone", "has no snapshot of revision 'gone'");
    refuses("./nothing", "./nothing: there is no such folder");
    refuses("/nothing/here", "there is no such folder");
    refuses("a/b/c", "there is no such folder");
    refuses("", "there is no such folder");
    refuses(tempdir_path(dir, "hub/models--org--name/blobs/abc"), "expected the folder of a model, found a file");
}

Test(hub, no_name_or_file_leads_out_of_the_cache)
{
    file("secret/config.json", "{}");
    static const char *const bad[] = {"../secret", "org/..",         "org/name@../../../../secret", "org/name@",  "org/name@/x",
                                      "org/name@a//b", "org/name@a/../b", "org/na me",        "-org/name", "org/name@.x", "org/n..e"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuses(bad[i], "there is no such folder");
    file("hub/models--org--name/refs/evil", "../../../secret");
    refuses("org/name@evil", "expected the name of a snapshot");
    file("hub/models--org--name/refs/empty", "\n");
    refuses("org/name@empty", "expected the name of a snapshot");
}
