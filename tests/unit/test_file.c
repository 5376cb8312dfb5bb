/* base/file: whole files, secrets, atomic writing, folders. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "tests/support/tempdir.h"

static char dir[FILE_PATH_MAX];

static void setup(void)
{
    tempdir_make(dir);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(file, .init = setup, .fini = teardown);

static const char *at(const char *name)
{
    return tempdir_path(dir, name);
}

static void has(const char *text, const char *part)
{
    cr_expect_not_null(strstr(text, part), "'%s' is not in: %s", part, text);
}

/* ------------------------------------------------------------------ reading */

Test(file, reading_gives_all_bytes_and_a_nul_behind_them)
{
    char *data = NULL;
    size_t len = 0;
    tempdir_spill(at("a"), "x\0y", 3);
    cr_assert_eq(file_read(at("a"), 3, &data, &len, NULL), 0, "a file as large as the cap is fine");
    cr_expect_eq(len, 3);
    cr_expect_eq(memcmp(data, "x\0y\0", 4), 0);
    free(data);
    tempdir_spill(at("empty"), "", 0);
    cr_assert_eq(file_read(at("empty"), 0, &data, &len, NULL), 0);
    cr_expect_eq(len, 0);
    cr_expect_eq(data[0], 0);
    free(data);
}

Test(file, reading_refuses_what_is_no_plain_file)
{
    char *data = "untouched";
    size_t len = 7;
    struct err err = {0};
    struct file_map map = {0};
    cr_assert_eq(mkfifo(at("fifo"), 0600), 0);
    cr_expect_eq(file_read(at("fifo"), 10, &data, &len, &err), -1, "and does not wait for a writer");
    has(err.text, "fifo: not a regular file");
    cr_expect_eq(file_map(&map, dir, &err), -1);
    has(err.text, "not a regular file");
    cr_expect_eq(file_read("/dev/zero", 10, &data, &len, &err), -1);
    cr_expect_eq(file_read(at("none"), 10, &data, &len, &err), -1);
    has(err.text, "none: No such file or directory");
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_str_eq(data, "untouched");
    cr_expect_eq(len, 7);
}

Test(file, a_map_shows_the_bytes_and_an_empty_file_maps_to_nothing)
{
    struct file_map map;
    tempdir_spill(at("a"), "hello", 5);
    cr_assert_eq(file_map(&map, at("a"), NULL), 0);
    cr_expect_eq(map.size, 5);
    cr_expect_eq(memcmp(map.data, "hello", 5), 0);
    file_unmap(&map);
    cr_expect_null(map.data);
    tempdir_spill(at("empty"), "", 0);
    cr_assert_eq(file_map(&map, at("empty"), NULL), 0);
    cr_expect_eq(map.size, 0);
    file_unmap(&map);
}

/* ------------------------------------------------------------------ secret files */

static int read_secret(const char *path, struct err *err)
{
    uint8_t *data = NULL;
    size_t len = 0;
    int rc = file_read_secret(path, 64, &data, &len, err);
    if (rc == 0)
        cr_expect(len == 3 && memcmp(data, "key", 3) == 0);
    secret_free(data);
    return rc;
}

/* Catches: a mask of 007 instead of 077, O_NOFOLLOW left out, nlink unchecked (each tried). */
Test(file, a_key_file_must_be_private_plain_and_alone)
{
    struct err err = {0};
    cr_assert_eq(file_write(at("key"), "key", 3, 0600, &err), 0, "%s", err.text);
    cr_expect_eq(read_secret(at("key"), &err), 0, "%s", err.text);
    static const mode_t open_modes[] = {0640, 0604, 0610, 0601, 0660, 0777, 0620};
    for (size_t i = 0; i < sizeof open_modes / sizeof *open_modes; i++) {
        cr_assert_eq(chmod(at("key"), open_modes[i]), 0);
        cr_expect_eq(read_secret(at("key"), &err), -1, "mode %o", open_modes[i]);
        has(err.text, "open to others");
        has(err.text, "chmod 600");
    }
    cr_assert_eq(chmod(at("key"), 0400), 0);
    cr_expect_eq(read_secret(at("key"), &err), 0);
    cr_assert_eq(symlink("key", at("link")), 0);
    cr_expect_eq(read_secret(at("link"), &err), -1);
    has(err.text, "link");
    cr_assert_eq(link(at("key"), at("second")), 0);
    cr_expect_eq(read_secret(at("key"), &err), -1);
    has(err.text, "2 hard links");
    cr_assert_eq(unlink(at("second")), 0);
    cr_expect_eq(read_secret(at("key"), &err), 0);
    cr_expect_eq(read_secret(dir, &err), -1);
    has(err.text, "not a regular file");
}

Test(file, a_key_file_of_somebody_else_or_a_huge_one_is_refused)
{
    struct err err = {0};
    char big[65] = {0};
    cr_assert_eq(file_write(at("big"), big, sizeof big, 0600, NULL), 0);
    cr_expect_eq(read_secret(at("big"), &err), -1);
    has(err.text, "65 bytes, a key file has at most 64");
    cr_assert_eq(file_write(at("key"), "key", 3, 0600, NULL), 0);
    if (geteuid() == 0) { /* only root can give files away */
        cr_assert_eq(chown(at("key"), 12345, (gid_t)-1), 0);
        cr_expect_eq(read_secret(at("key"), &err), -1);
        has(err.text, "belongs to another user (uid 12345)");
    }
}

/* ------------------------------------------------------------------ writing */

Test(file, writing_replaces_the_whole_file_with_its_mode)
{
    struct stat st;
    (void)umask(0077);
    tempdir_spill(at("a"), "a long old text", 15);
    cr_assert_eq(file_write(at("a"), "new", 3, 0640, NULL), 0);
    size_t len;
    char *text = tempdir_slurp(at("a"), &len);
    cr_expect_str_eq(text, "new");
    free(text);
    cr_assert_eq(stat(at("a"), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0640);
    cr_expect_eq(tempdir_count(dir), 1, "no .part is left");
}

/* A full disk, by a limit on the file size. Catches: writing in place, .part left behind (tried). */
Test(file, a_failed_write_keeps_the_old_content_and_leaves_no_part)
{
    const struct rlimit small = {4096, RLIM_INFINITY};
    struct rlimit kept;
    char *big = calloc(1, 100000);
    struct err err = {0};
    tempdir_spill(at("a"), "old", 3);
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &kept), 0);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = file_write(at("a"), big, 100000, 0600, &err);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &kept), 0);
    cr_expect_eq(rc, -1);
    has(err.text, "cannot write");
    has(err.text, "File too large");
    size_t len;
    char *text = tempdir_slurp(at("a"), &len);
    cr_expect_str_eq(text, "old");
    cr_expect_eq(tempdir_count(dir), 1);
    free(text);
    free(big);
}

/* fsync is stood in for. Catches: ignoring its result, or trying again (tried). */
static int fsync_fails, fsync_calls;

int fsync(int fd)
{
    fsync_calls++;
    if (fsync_fails > 0) {
        fsync_fails--;
        errno = EIO;
        return -1;
    }
    return fdatasync(fd);
}

Test(file, a_failed_fsync_is_reported_and_never_tried_again)
{
    struct err err = {0};
    tempdir_spill(at("a"), "old", 3);
    fsync_fails = 1;
    fsync_calls = 0;
    cr_expect_eq(file_write(at("a"), "new", 3, 0600, &err), -1);
    cr_expect_eq(fsync_calls, 1);
    has(err.text, "cannot fsync");
    cr_expect_eq(err.code, ERR_INTERNAL);
    size_t len;
    char *text = tempdir_slurp(at("a"), &len);
    cr_expect_str_eq(text, "old");
    free(text);
    cr_expect_eq(tempdir_count(dir), 1);
    fsync_calls = 0;
    cr_expect_eq(file_write(at("a"), "new", 3, 0600, &err), 0);
    cr_expect_eq(fsync_calls, 2, "the file, then its folder");
}

Test(file, an_open_output_is_invisible_until_it_is_committed)
{
    struct file_out out;
    struct err err = {0};
    cr_assert_eq(file_out_open(&out, at("a"), 0600, &err), 0, "%s", err.text);
    cr_assert_eq(file_out_write(&out, "ab", 2, &err), 0);
    cr_assert_eq(file_out_write(&out, "c", 1, &err), 0);
    cr_expect_eq(out.size, 3);
    cr_expect_not(file_exists(at("a")));
    cr_expect_eq(tempdir_count(dir), 1);
    file_out_drop(&out);
    file_out_drop(&out);
    cr_expect_eq(tempdir_count(dir), 0);
    cr_assert_eq(file_out_open(&out, at("a"), 0600, &err), 0);
    cr_assert_eq(file_out_commit(&out, &err), 0);
    cr_expect(file_exists(at("a")));
    file_out_drop(&out);
    cr_expect(file_exists(at("a")), "dropping after the commit does nothing");
    uint64_t size = 9;
    cr_expect_eq(file_size(at("a"), &size, &err), 0);
    cr_expect_eq(size, 0);
    cr_expect_eq(file_size(at("b"), &size, &err), -1);
}

Test(file, writing_where_no_folder_is_names_the_path)
{
    struct err err = {0};
    char path[FILE_PATH_MAX + 10];
    cr_expect_eq(file_write(at("no/such/file"), "x", 1, 0600, &err), -1);
    has(err.text, "no/such/file");
    has(err.text, "No such file or directory");
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    cr_expect_eq(file_write(path, "x", 1, 0600, &err), -1);
    has(err.text, "path too long");
    cr_assert_eq(mkdir(at("folder"), 0700), 0);
    cr_expect_eq(file_write(at("folder"), "x", 1, 0600, &err), -1, "a folder is not replaced by a file");
    cr_expect_eq(tempdir_count(dir), 1);
}

/* ------------------------------------------------------------------ names and folders */

Test(file, folders_are_made_with_their_parents)
{
    struct err err = {0};
    cr_expect_eq(file_mkdirs(at("a/b//c/"), 0700, &err), 0, "%s", err.text);
    cr_expect(file_is_dir(at("a/b/c")));
    cr_expect_eq(file_mkdirs(at("a/b"), 0700, &err), 0, "what is there is fine");
    cr_expect_eq(file_mkdirs("/", 0700, &err), 0);
    tempdir_spill(at("file"), "", 0);
    cr_expect_eq(file_mkdirs(at("file"), 0700, &err), -1);
    has(err.text, "file: not a folder");
    cr_expect_eq(file_mkdirs(at("file/x"), 0700, &err), -1);
    cr_expect_eq(file_mkdirs("", 0700, &err), -1);
}

/* Catches: FTW_PHYS left out of nftw, which then empties what the link points to (tried). */
Test(file, removing_a_tree_does_not_follow_links)
{
    struct err err = {0};
    cr_assert_eq(file_mkdirs(at("keep"), 0700, NULL), 0);
    tempdir_spill(at("keep/precious"), "x", 1);
    cr_assert_eq(file_mkdirs(at("tree/sub"), 0700, NULL), 0);
    tempdir_spill(at("tree/sub/file"), "x", 1);
    cr_assert_eq(symlink(at("keep"), at("tree/link")), 0);
    cr_assert_eq(symlink("nowhere", at("tree/dangling")), 0);
    cr_expect_eq(file_remove_tree(at("tree"), &err), 0, "%s", err.text);
    cr_expect_not(file_exists(at("tree")));
    cr_expect(file_exists(at("keep/precious")));
    cr_assert_eq(symlink(at("keep"), at("alias")), 0);
    cr_expect_eq(file_remove_tree(at("alias"), &err), 0, "a link itself is removed, not what it points to");
    cr_expect(file_exists(at("keep/precious")));
    cr_expect_eq(file_remove_tree(at("never there"), &err), 0);
}

Test(file, paths_are_joined_and_split)
{
    char out[FILE_PATH_MAX], path[FILE_PATH_MAX];
    struct err err = {0};
    static const char *const join[][3] = {
        {"d", "n", "d/n"}, {"d", "/n", "/n"}, {"", "n", "n"}, {NULL, "n", "n"}, {"/", "n", "//n"}, {"d", "s/n", "d/s/n"},
    };
    for (size_t i = 0; i < sizeof join / sizeof *join; i++) {
        cr_expect_eq(file_join(out, join[i][0], join[i][1], &err), 0);
        cr_expect_str_eq(out, join[i][2]);
    }
    static const char *const split[][2] = {{"a", "."}, {"a/b", "a"}, {"/a", "/"}, {"/a/b/c", "/a/b"}, {"", "."}, {"a/", "a"}};
    for (size_t i = 0; i < sizeof split / sizeof *split; i++) {
        cr_expect_eq(file_dir(out, split[i][0], &err), 0);
        cr_expect_str_eq(out, split[i][1]);
    }
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    cr_expect_eq(file_join(out, NULL, path, &err), 0, "4095 bytes fit");
    cr_expect_eq(file_join(out, "d", path, &err), -1);
    has(err.text, "path too long");
}

Test(file, a_plain_name_has_no_way_out_of_its_folder)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "/etc", "../x", "a\\b", "a\nb", "a\x7f", "\x1b[2J"};
    static const char *const good[] = {"a", "...", ".hidden", "model-00001-of-00002.safetensors", "a b", "\xc3\xa9"};
    char name[202];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(file_name_ok(bad[i]), "%s", bad[i]);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_expect(file_name_ok(good[i]), "%s", good[i]);
    memset(name, 'x', 201);
    name[201] = '\0';
    cr_expect_not(file_name_ok(name));
    name[200] = '\0';
    cr_expect(file_name_ok(name));
}
