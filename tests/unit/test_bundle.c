/* transport/bundle: a signed folder in one file; whatever was changed on the way leaves the old folder as it was. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "tests/support/tempdir.h"
#include "transport/bundle.h"

static char dir[FILE_PATH_MAX];
static uint8_t pub[CRYPTO_KEY_LEN], key[CRYPTO_KEY_LEN];

static const char *at(const char *name)
{
    return tempdir_path(dir, name);
}

static void setup(void)
{
    tempdir_make(dir);
    cr_assert_eq(crypto_sign_keypair(pub, key, NULL), 0);
    cr_assert_eq(file_mkdirs(at("in"), 0700, NULL), 0);
    tempdir_spill(at("in/a.key"), "first", 5);
    tempdir_spill(at("in/empty"), "", 0);
    tempdir_spill(at("in/z.json"), "{}\n", 3);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(bundle, .init = setup, .fini = teardown);

/* An unpacked folder from earlier, with one file that the bundle does not have. */
static void make_old(void)
{
    cr_assert_eq(file_mkdirs(at("out"), 0700, NULL), 0);
    tempdir_spill(at("out/old"), "precious", 8);
}

static bool old_is_whole(void)
{
    size_t len;
    char *text = file_exists(at("out/old")) ? tempdir_slurp(at("out/old"), &len) : NULL;
    bool whole = text != NULL && strcmp(text, "precious") == 0 && tempdir_count(at("out")) == 1;
    free(text);
    return whole && !file_exists(at("out.part"));
}

/* ------------------------------------------------------------------ what is right */

Test(bundle, a_folder_travels_with_all_its_bytes)
{
    struct err err = {0};
    struct stat st;
    cr_assert_eq(bundle_write(at("b"), at("in"), "grant", "about", key, &err), 0, "%s", err.text);
    cr_assert_eq(stat(at("b"), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600, "a grant is secret");
    cr_assert_eq(bundle_unpack(at("b"), at("out"), "grant", pub, &err), 0, "%s", err.text);
    cr_expect_eq(tempdir_count(at("out")), 3);
    cr_expect(tempdir_same(at("in/a.key"), at("out/a.key")));
    cr_expect(tempdir_same(at("in/empty"), at("out/empty")));
    cr_expect(tempdir_same(at("in/z.json"), at("out/z.json")));
    cr_assert_eq(stat(at("out/a.key"), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    cr_assert_eq(stat(at("out"), &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0700);
    cr_expect_eq(tempdir_count(dir), 3, "in, b, out, and nothing else");
}

Test(bundle, unpacking_replaces_the_old_folder_as_a_whole)
{
    struct err err = {0};
    make_old();
    cr_assert_eq(file_mkdirs(at("out.part"), 0700, NULL), 0); /* left by a killed process */
    tempdir_spill(at("out.part/junk"), "x", 1);
    cr_assert_eq(bundle_write(at("b"), at("in"), "grant", "", key, &err), 0, "%s", err.text);
    for (int again = 0; again < 2; again++) {
        cr_assert_eq(bundle_unpack(at("b"), again == 0 ? at("out") : at("out/"), "grant", pub, &err), 0, "%s", err.text);
        cr_expect_eq(tempdir_count(at("out")), 3, "the old file is gone");
        cr_expect_eq(tempdir_count(dir), 3);
    }
}

Test(bundle, an_empty_folder_travels_too)
{
    struct err err = {0};
    cr_assert_eq(file_mkdirs(at("none"), 0700, NULL), 0);
    cr_assert_eq(bundle_write(at("b"), at("none"), "grant", "", key, &err), 0, "%s", err.text);
    cr_assert_eq(bundle_unpack(at("b"), at("out"), "grant", pub, &err), 0, "%s", err.text);
    cr_expect_eq(tempdir_count(at("out")), 0);
}

Test(bundle, the_same_folder_gives_the_same_bytes)
{
    cr_assert_eq(bundle_write(at("b1"), at("in"), "grant", "x", key, NULL), 0);
    cr_assert_eq(bundle_write(at("b2"), at("in"), "grant", "x", key, NULL), 0);
    cr_expect(tempdir_same(at("b1"), at("b2")));
}

Test(bundle, writing_refuses_what_cannot_travel)
{
    struct err err = {0};
    cr_assert_eq(file_mkdirs(at("in/sub"), 0700, NULL), 0);
    cr_expect_eq(bundle_write(at("b"), at("in"), "grant", "", key, &err), -1);
    cr_expect_not_null(strstr(err.text, "in/sub: not a regular file"), "%s", err.text);
    cr_assert_eq(rmdir(at("in/sub")), 0);
    tempdir_spill(at("in/line\nbreak"), "", 0);
    cr_expect_eq(bundle_write(at("b"), at("in"), "grant", "", key, &err), -1);
    cr_expect_not_null(strstr(err.text, "cannot travel in a bundle"), "%s", err.text);
    cr_expect_eq(bundle_write(at("b"), at("nowhere"), "grant", "", key, &err), -1);
    cr_expect_not_null(strstr(err.text, "cannot list"), "%s", err.text);
    cr_expect_eq(tempdir_count(dir), 1, "no file, no part");
}

/* ------------------------------------------------------------------ what was changed on the way */

/* Catches: a signature or a digest left unchecked, unpacking into the old folder (all tried). */
Test(bundle, one_bit_flipped_anywhere_is_refused_and_the_old_folder_stays)
{
    struct err err = {0};
    size_t len;
    cr_assert_eq(bundle_write(at("b"), at("in"), "grant", "about", key, &err), 0);
    char *bytes = tempdir_slurp(at("b"), &len);
    make_old();
    FILE *f = fopen(at("b"), "r+b");
    cr_assert_not_null(f);
    for (size_t i = 0; i < len; i++) {
        int bit = (int)(i * 5 % 8);
        cr_assert_eq(fseek(f, (long)i, SEEK_SET), 0);
        cr_assert_eq(fputc((unsigned char)bytes[i] ^ 1 << bit, f), (unsigned char)(bytes[i] ^ 1 << bit));
        cr_assert_eq(fflush(f), 0);
        err = (struct err){0};
        cr_assert_eq(bundle_unpack(at("b"), at("out"), "grant", pub, &err), -1, "byte %zu", i);
        cr_assert(err.code == ERR_AUTH || err.code == ERR_INPUT, "byte %zu: %s", i, err.text);
        cr_assert(old_is_whole(), "byte %zu: %s", i, err.text);
        cr_assert_not_null(strstr(err.text, at("b")));
        cr_assert_eq(fseek(f, (long)i, SEEK_SET), 0);
        (void)fputc((unsigned char)bytes[i], f);
        (void)fflush(f);
    }
    cr_assert_eq(fclose(f), 0);
    cr_expect_eq(bundle_unpack(at("b"), at("out"), "grant", pub, &err), 0, "put back, it unpacks");
    free(bytes);
}

Test(bundle, a_bundle_cut_at_any_length_is_refused)
{
    struct err err = {0};
    size_t len;
    cr_assert_eq(bundle_write(at("b"), at("in"), "grant", "about", key, &err), 0);
    free(tempdir_slurp(at("b"), &len));
    make_old();
    for (size_t cut = len; cut-- > 0;) {
        cr_assert_eq(truncate(at("b"), (off_t)cut), 0);
        cr_assert_eq(bundle_unpack(at("b"), at("out"), "grant", pub, &err), -1, "%zu of %zu bytes", cut, len);
        cr_assert(old_is_whole());
    }
    cr_expect_eq(bundle_unpack(at("none"), at("out"), "grant", pub, &err), -1);
    cr_expect(old_is_whole());
}

Test(bundle, another_signer_or_another_kind_is_refused)
{
    struct err err = {0};
    uint8_t pub2[CRYPTO_KEY_LEN], key2[CRYPTO_KEY_LEN];
    make_old();
    cr_assert_eq(crypto_sign_keypair(pub2, key2, NULL), 0);
    cr_assert_eq(bundle_write(at("b"), at("in"), "grant", "", key, NULL), 0);
    cr_expect_eq(bundle_unpack(at("b"), at("out"), "grant", pub2, &err), -1);
    cr_expect_eq(err.code, ERR_AUTH);
    cr_expect_not_null(strstr(err.text, "not signed by the model_dev of the config"), "%s", err.text);
    cr_expect_eq(bundle_unpack(at("b"), at("out"), "package", pub, &err), -1);
    cr_expect_not_null(strstr(err.text, "expected a package, found a grant"), "%s", err.text);
    cr_expect(old_is_whole());
}

/* ------------------------------------------------------------------ signed, but not well formed */

/* A bundle with a header of our own (' for ") and a body, signed as it should be. */
static void write_signed(const char *header, const char *body)
{
    struct buf b;
    uint8_t sig[CRYPTO_SIG_LEN];
    size_t n = strlen(header);
    buf_init(&b, 1 << 22);
    buf_put_str(&b, "STIPBDL1");
    buf_put32(&b, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        buf_put8(&b, header[i] == '\'' ? '"' : (uint8_t)header[i]);
    cr_assert_eq(crypto_sign(key, b.data, b.len, sig, NULL), 0);
    buf_put(&b, sig, sizeof sig);
    buf_put_str(&b, body);
    tempdir_spill(at("b"), b.data, b.len);
    buf_free(&b);
}

#define X_SHA "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881" /* of "x" */
#define ONE(name, size, sha) "{'name':'" name "','size':" size ",'sha256':'" sha "'}"
#define HEAD(files) "{'kind':'grant','about':'','files':" files "}"

Test(bundle, a_signed_header_is_checked_all_the_same)
{
    static const struct {
        const char *header, *body, *error;
    } cases[] = {
        {HEAD("[" ONE("../evil", "1", X_SHA) "]"), "x", "bad name or digest"},
        {HEAD("[" ONE("/tmp/evil", "1", X_SHA) "]"), "x", "bad name or digest"},
        {HEAD("[" ONE("a/b", "1", X_SHA) "]"), "x", "bad name or digest"},
        {HEAD("[" ONE("..", "1", X_SHA) "]"), "x", "bad name or digest"},
        {HEAD("[" ONE("", "1", X_SHA) "]"), "x", "bad name or digest"},
        {HEAD("[" ONE("a", "1", "2d71") "]"), "x", "bad name or digest"},
        {HEAD("[" ONE("a", "1", X_SHA) "," ONE("a", "1", X_SHA) "]"), "xx", "file 'a' stands twice"},
        {HEAD("[" ONE("a", "-1", X_SHA) "]"), "x", "field 'size': expected a whole number from 0"},
        {HEAD("[" ONE("a", "2", X_SHA) "]"), "x", "file 'a' ends past the bundle"},
        {HEAD("[" ONE("a", "1e300", X_SHA) "]"), "x", "field 'size'"},
        {HEAD("[" ONE("a", "1", X_SHA) "]"), "y", "file 'a' was changed on the way"},
        {HEAD("[" ONE("a", "1", X_SHA) "]"), "xx", "1 bytes follow the last file"},
        {HEAD("[{'name':'a','size':1}]"), "x", "field 'sha256': expected a string, found nothing"},
        {HEAD("[{'name':'a','size':1,'sha256':'','mode':511}]"), "x", "unknown key 'mode'"},
        {HEAD("[7]"), "", "expected an object, found a number"},
        {HEAD("[['name']]"), "", "expected an object, found a list"},
        {HEAD("{}"), "", "field 'files': expected a list"},
        {"{'kind':'grant','about':''}", "", "field 'files': expected a list"},
        {"{'kind':'grant','about':'','files':[],'run':'x'}", "", "unknown key 'run'"},
        {"{'about':'','files':[]}", "", "field 'kind': expected a string, found nothing"},
        {"{'kind':'grant','kind':'grant','files':[]}", "", "stands twice"},
        {"[]", "", "expected an object, found a list"},
        {"", "", "not valid JSON"},
    };
    make_old();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = {0};
        write_signed(cases[i].header, cases[i].body);
        cr_expect_eq(bundle_unpack(at("b"), at("out"), "grant", pub, &err), -1, "case %zu", i);
        cr_expect_not_null(strstr(err.text, cases[i].error), "case %zu: %s", i, err.text);
        cr_expect(old_is_whole(), "case %zu", i);
    }
    cr_expect_eq(tempdir_count(dir), 3, "in, out, b: nothing was written beside them");
    struct err err = {0};
    write_signed(HEAD("[" ONE("a", "1", X_SHA) "]"), "x");
    cr_expect_eq(bundle_unpack(at("b"), at("out"), "grant", pub, &err), 0, "%s", err.text);
}

Test(bundle, too_many_files_are_refused)
{
    struct err err = {0};
    char *header = malloc(4097 * 3 + 100);
    cr_assert_not_null(header);
    size_t n = (size_t)sprintf(header, "{'kind':'grant','about':'','files':[");
    for (int i = 0; i < 4097; i++)
        n += (size_t)sprintf(header + n, "%s", i == 0 ? "1" : ",1");
    (void)sprintf(header + n, "]}");
    write_signed(header, "");
    cr_expect_eq(bundle_unpack(at("b"), at("out"), "grant", pub, &err), -1);
    cr_expect_not_null(strstr(err.text, "a list of at most 4096 entries"), "%s", err.text);
    cr_expect_not(file_exists(at("out")));
    free(header);
}
