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

/* Sealed by a separate Python program: what was sealed by another release, or for one, opens. Mutations on both sides at once, which agree
 * with each other: a salt without one of the keys, another label. */
Test(seal, equals_an_independent_implementation)
{
    static const uint8_t sealed[] = {
        0x53, 0x54, 0x49, 0x50, 0x53, 0x45, 0x41, 0x31, 0xd9, 0xa5, 0x6b, 0x98, 0x69, 0x28, 0x67, 0xea, 0x57, 0x14, 0x76, 0x9d,
        0x11, 0x6b, 0xf7, 0x64, 0x36, 0xae, 0x74, 0xbc, 0x79, 0x3d, 0x2c, 0x30, 0xad, 0x19, 0x03, 0xc5, 0x9a, 0xc5, 0x27, 0x38,
        0x05, 0xc7, 0xe2, 0x69, 0x8b, 0x41, 0x0c, 0x36, 0xda, 0x43, 0xea, 0x13, 0x41, 0xa9, 0xf3, 0xc2, 0x1c, 0xa7, 0x66, 0x0c,
        0xec, 0x1f, 0x77, 0xa3, 0xad, 0xad, 0x62, 0xda, 0x8c, 0x61, 0x87};
    static const uint8_t curve_pub[] = {
        0x07, 0xa3, 0x7c, 0xbc, 0x14, 0x20, 0x93, 0xc8, 0xb7, 0x55, 0xdc, 0x1b, 0x10, 0xe8, 0x6c, 0xb4, 0x26, 0x37, 0x4a, 0xd1,
        0x6a, 0xa8, 0x53, 0xed, 0x0b, 0xdf, 0xc0, 0xb2, 0xb8, 0x6d, 0x1c, 0x7c};
    struct identity mine = {.curve_key = {0}};
    size_t len;
    for (size_t i = 0; i < 32; i++) {
        mine.curve_key[i] = (uint8_t)(i + 1);
        mine.sign_pub[i] = 5;
    }
    memcpy(mine.curve_pub, curve_pub, sizeof mine.curve_pub);
    tempdir_spill(tempdir_path(dir, "known"), sealed, sizeof sealed);
    cr_assert_eq(seal_open_file(tempdir_path(dir, "known"), tempdir_path(dir, "opened"), &mine, &err), 0, "%s", err.text);
    char *text = tempdir_slurp(tempdir_path(dir, "opened"), &len);
    cr_expect(len == 7 && memcmp(text, "a grant", 7) == 0);
    free(text);
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
