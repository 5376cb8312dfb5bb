/* Sealed files: only the recipient opens them, and only whole and unchanged. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/support/tempdir.h"
#include "transport/seal.h"

static struct err err;
static char dir[FILE_PATH_MAX];
static struct identity *id, *other;
static struct peer_key to;

static void make(void)
{
    tempdir_make(dir);
    cr_assert_eq(identity_generate(&id, &err), 0);
    cr_assert_eq(identity_generate(&other, &err), 0);
    to = identity_public(id);
}

static void drop(void)
{
    identity_free(id);
    identity_free(other);
    tempdir_remove(dir);
}

TestSuite(seal, .init = make, .fini = drop);

static void seal_bytes(size_t n)
{
    uint8_t *data = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)(i * 31 + (i >> 10));
    tempdir_spill(tempdir_path(dir, "plain"), data, n);
    free(data);
    cr_assert_eq(seal_file(tempdir_path(dir, "plain"), tempdir_path(dir, "sealed"), &to, &err), 0, "%s", err.text);
}

static int reopen(const struct identity *as)
{
    return seal_open_file(tempdir_path(dir, "sealed"), tempdir_path(dir, "opened"), as, &err);
}

/* Lengths around the chunk border. Mutation: the last-flag of make_nonce is always 0 (then truncation opens). */
Test(seal, every_length_comes_back)
{
    static const size_t lengths[] = {0, 1, 15, 16, SEAL_CHUNK - 1, SEAL_CHUNK, SEAL_CHUNK + 1, 2 * SEAL_CHUNK, 2 * SEAL_CHUNK + 77};
    struct stat st;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        seal_bytes(lengths[i]);
        cr_assert_eq(reopen(id), 0, "%zu: %s", lengths[i], err.text);
        cr_expect(tempdir_same(tempdir_path(dir, "plain"), tempdir_path(dir, "opened")), "%zu", lengths[i]);
        cr_assert_eq(stat(tempdir_path(dir, "opened"), &st), 0);
        cr_expect_eq(st.st_mode & 0777, 0600);
    }
}

Test(seal, another_key_is_told_whose_it_is)
{
    char print[FINGERPRINT_TEXT];
    peer_key_fingerprint(&to, print);
    seal_bytes(100);
    cr_assert_eq(reopen(other), -1);
    cr_expect_eq(err.code, ERR_AUTH);
    cr_expect(strstr(err.text, "sealed for another key") != NULL && strstr(err.text, print) != NULL, "%s", err.text);
    cr_expect_not(file_exists(tempdir_path(dir, "opened")));
}

/* Somebody who writes their own fingerprint over the recipient's still cannot open it. */
Test(seal, the_name_in_the_header_is_not_what_protects)
{
    struct peer_key key = identity_public(other);
    char print[FINGERPRINT_TEXT];
    size_t n = 0;
    seal_bytes(100);
    char *data = tempdir_slurp(tempdir_path(dir, "sealed"), &n);
    peer_key_fingerprint(&key, print);
    for (size_t i = 0, at = 0; i < 8; i++, at += 2) {
        char hex[3] = {0};
        if (print[at] == '-')
            at++;
        memcpy(hex, print + at, 2);
        data[8 + i] = (char)strtoul(hex, NULL, 16);
    }
    tempdir_spill(tempdir_path(dir, "sealed"), data, n);
    free(data);
    cr_assert_eq(reopen(other), -1);
    cr_expect(strstr(err.text, "does not open") != NULL, "%s", err.text);
}

Test(seal, two_seals_of_one_file_share_nothing_behind_the_name)
{
    size_t n = 0, m = 0;
    seal_bytes(100);
    char *a = tempdir_slurp(tempdir_path(dir, "sealed"), &n);
    seal_bytes(100);
    char *b = tempdir_slurp(tempdir_path(dir, "sealed"), &m);
    cr_assert(n == m && n == SEAL_HEADER_BYTES + 100 + 16);
    cr_expect_neq(memcmp(a + 16, b + 16, 32), 0);
    cr_expect_neq(memcmp(a + 48, b + 48, 100), 0);
    free(a);
    free(b);
}

static void expect_refused(const char *what, const char *data, size_t n)
{
    tempdir_spill(tempdir_path(dir, "sealed"), data, n);
    cr_expect_eq(reopen(id), -1, "%s", what);
    cr_expect(err.code == ERR_AUTH || err.code == ERR_INPUT);
    cr_expect_not(file_exists(tempdir_path(dir, "opened")), "%s left a file", what);
}

/* Mutations: no last-flag (cut at a chunk border), no chunk number (swapped chunks), no header as associated data. */
Test(seal, cut_swapped_and_changed_files_are_refused)
{
    size_t n = 0, sealed = SEAL_CHUNK + 16, head = SEAL_HEADER_BYTES;
    seal_bytes(3 * SEAL_CHUNK);
    char *data = tempdir_slurp(tempdir_path(dir, "sealed"), &n);
    cr_assert_eq(n, head + 3 * sealed);
    expect_refused("cut at a chunk border", data, head + 2 * sealed);
    expect_refused("cut inside a chunk", data, n - 1000);
    expect_refused("cut to a few bytes of a chunk", data, head + 2 * sealed + 5);
    expect_refused("cut in the header", data, 30);
    expect_refused("empty", data, 0);
    char *copy = malloc(n + sealed);
    memcpy(copy, data, n);
    memcpy(copy + head, data + head + sealed, sealed);
    memcpy(copy + head + sealed, data + head, sealed);
    expect_refused("first two chunks swapped", copy, n);
    memcpy(copy, data, n);
    memcpy(copy + n, data + n - sealed, sealed);
    expect_refused("last chunk twice", copy, n + sealed);
    for (size_t at = 0; at < n; at += at < 80 ? 1 : 500009) {
        memcpy(copy, data, n);
        copy[at] ^= 1;
        expect_refused("one bit", copy, n);
    }
    free(copy);
    free(data);
}

Test(seal, a_full_disk_leaves_no_file)
{
    struct rlimit old, tiny;
    uint8_t *data = calloc(3, SEAL_CHUNK);
    tempdir_spill(tempdir_path(dir, "plain"), data, (size_t)3 * SEAL_CHUNK);
    free(data);
    cr_assert_neq(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    tiny = old;
    tiny.rlim_cur = 1500000;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &tiny), 0);
    int rc = seal_file(tempdir_path(dir, "plain"), tempdir_path(dir, "sealed"), &to, &err);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    cr_expect_eq(rc, -1);
    cr_expect(strstr(err.text, "sealed") != NULL, "%s", err.text);
    cr_expect_eq(tempdir_count(dir), 1, "only the plain file is there");
}
