/* model_dev/context_key: written and read back, and every way in which the file can be wrong. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/le.h"
#include "model_dev/context_key.h"
#include "tests/support/tempdir.h"

static const struct context_key SAMPLE = {
    .seed = {1, 2, 3}, .context_id = {0xab, 0xcd}, .head_user = true, .epoch = 7,
    .shape = {.D = 768, .H = 12, .G = 4, .K = 64, .F = 3072, .outputs = 30522, .rotary = 16},
};

static char dir[FILE_PATH_MAX];
static const char *path;

static void setup(void)
{
    struct err err = {0};
    tempdir_make(dir);
    path = tempdir_path(dir, "context.key");
    cr_assert_eq(context_key_write(path, &SAMPLE, &err), 0, "%s", err.text);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(context_key, .init = setup, .fini = teardown);

static void expect_refused(const void *data, size_t len, const char *said)
{
    struct context_key key = {.epoch = 99};
    struct err err = {0};
    cr_expect_eq(context_key_parse(&key, data, len, "some.key", &err), -1);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect_not_null(strstr(err.text, said), "expected '%s' in '%s'", said, err.text);
    cr_expect_not_null(strstr(err.text, "some.key"));
    cr_expect_eq(key.epoch, 99);
}

/* Recomputes the checksum, so that only the change itself can be what is refused. */
static void expect_field_refused(size_t at, uint32_t value, const char *said)
{
    size_t len;
    uint8_t *bytes = (uint8_t *)tempdir_slurp(path, &len);
    le_put32(bytes + at, value);
    cr_assert_eq(crypto_sha256(bytes, len - CRYPTO_HASH_LEN, bytes + len - CRYPTO_HASH_LEN, NULL), 0);
    expect_refused(bytes, len, said);
    free(bytes);
}

Test(context_key, comes_back_as_it_was_and_only_for_its_owner)
{
    struct context_key key = {0};
    struct stat st;
    struct err err = {0};
    cr_assert_eq(context_key_read(&key, path, &err), 0, "%s", err.text);
    cr_expect_arr_eq(key.seed, SAMPLE.seed, sizeof key.seed);
    cr_expect_arr_eq(key.context_id, SAMPLE.context_id, sizeof key.context_id);
    cr_expect(key.shape.D == 768 && key.shape.H == 12 && key.shape.G == 4 && key.shape.K == 64 && key.shape.F == 3072);
    cr_expect(key.shape.outputs == 30522 && key.shape.rotary == 16 && key.head_user && key.epoch == 7);
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    cr_expect_eq(st.st_size, CONTEXT_KEY_LEN);
}

Test(context_key, is_refused_when_others_can_read_it)
{
    struct context_key key = {0};
    struct err err = {0};
    cr_assert_eq(chmod(path, 0640), 0);
    cr_expect_eq(context_key_read(&key, path, &err), -1);
    cr_expect_not_null(strstr(err.text, "chmod 600"), "%s", err.text);
}

Test(context_key, refuses_every_truncation)
{
    size_t len;
    char *bytes = tempdir_slurp(path, &len);
    for (size_t n = 0; n < len; n++) {
        struct context_key key = {0};
        struct err err = {0};
        cr_expect_eq(context_key_parse(&key, (uint8_t *)bytes, n, "k", &err), -1, "%zu bytes", n);
        cr_expect_eq(err.code, ERR_INPUT);
    }
    expect_refused(bytes, 100, "truncated");
    free(bytes);
}

Test(context_key, refuses_every_flipped_bit)
{
    size_t len;
    char *bytes = tempdir_slurp(path, &len);
    for (size_t i = 0; i < 8 * len; i++) {
        struct context_key key = {0};
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
        cr_expect_eq(context_key_parse(&key, (uint8_t *)bytes, len, "k", NULL), -1, "bit %zu", i);
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
    }
    free(bytes);
}

Test(context_key, names_what_is_wrong)
{
    expect_refused("-----BEGIN PRIVATE KEY-----", 27, "not a context key");
    expect_field_refused(8, 2, "version 2");
    expect_field_refused(76, 0x80000001u, "out of range");  /* D */
    expect_field_refused(104, 2, "out of range"); /* head */
    expect_field_refused(108, 1, "out of range"); /* profile */
    expect_field_refused(112, 0, "out of range"); /* epoch */
    size_t len;
    char *bytes = tempdir_slurp(path, &len);
    bytes[40]++;
    expect_refused(bytes, len, "checksum");
    free(bytes);
}

Test(context_key, refuses_another_context_and_names_both)
{
    struct err err = {0};
    uint8_t other[CRYPTO_HASH_LEN] = {0x12, 0x34};
    cr_expect_eq(context_key_check(&SAMPLE, SAMPLE.context_id, "a.key", "pkg", &err), 0);
    cr_expect_eq(context_key_check(&SAMPLE, other, "a.key", "pkg", &err), -1);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect(strstr(err.text, "abcd0000") != NULL && strstr(err.text, "12340000") != NULL && strstr(err.text, "pkg") != NULL,
              "%s", err.text);
}
