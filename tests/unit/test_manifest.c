/* model/manifest: hashes and signature hold for the bytes that were signed and for no others. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/manifest.h"
#include "tests/support/tempdir.h"

enum { LONG = (2 << 20) + 17 }; /* two whole chunks and a short one */

static char dir[FILE_PATH_MAX];
static uint8_t pub[CRYPTO_KEY_LEN], key[CRYPTO_KEY_LEN], context_id[CRYPTO_HASH_LEN];

static void spill(const char *name, size_t len)
{
    uint8_t *bytes = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 4099);
    tempdir_spill(tempdir_path(dir, name), bytes, len);
    free(bytes);
}

static void setup(void)
{
    struct err err = {0};
    struct manifest m = {.model = "LlamaForCausalLM", .profile = "stip", .head = "user", .dtype = "BF16", .compute = COMPUTE_BF16, .epoch = 3,
                         .created = "2026-11-21T09:30:00Z"};
    tempdir_make(dir);
    spill("model.safetensors", LONG);
    spill("config.json", 3);
    spill("empty", 0);
    cr_assert_eq(crypto_sign_keypair(pub, key, &err), 0);
    memcpy(m.signer, pub, sizeof pub);
    cr_assert_eq(manifest_build(&m, dir, &err), 0, "%s", err.text);
    cr_assert_eq(manifest_write(&m, dir, key, context_id, &err), 0, "%s", err.text);
    manifest_free(&m);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(manifest, .init = setup, .fini = teardown);

static struct manifest load(char **text, size_t *len, uint8_t sig[CRYPTO_SIG_LEN])
{
    struct manifest m = {0};
    struct err err = {0};
    cr_assert_eq(manifest_load(&m, dir, text, len, sig, &err), 0, "%s", err.text);
    return m;
}

Test(manifest, comes_back_as_it_was_written)
{
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN], again[CRYPTO_HASH_LEN], one[CRYPTO_HASH_LEN];
    struct manifest m = load(&text, &len, sig);
    cr_expect_str_eq(m.model, "LlamaForCausalLM");
    cr_expect(strcmp(m.profile, "stip") == 0 && strcmp(m.head, "user") == 0 && strcmp(m.dtype, "BF16") == 0 && m.epoch == 3);
    cr_expect_eq(m.compute, COMPUTE_BF16);
    cr_expect_arr_eq(m.signer, pub, sizeof pub);
    cr_assert_eq(m.file_count, 3);
    cr_expect_str_eq(m.files[0].name, "config.json");
    cr_expect_str_eq(m.files[1].name, "empty");
    cr_expect_str_eq(m.files[2].name, "model.safetensors");
    cr_expect(m.files[0].chunk_count == 1 && m.files[1].chunk_count == 0 && m.files[2].chunk_count == 3);
    cr_expect_eq(m.files[2].size, LONG);
    cr_expect_eq(manifest_bytes(&m), LONG + 3);
    size_t n;
    char *bytes = tempdir_slurp(tempdir_path(dir, "model.safetensors"), &n);
    cr_assert_eq(crypto_sha256(bytes, n, again, NULL), 0);
    cr_expect_arr_eq(again, m.files[2].sha256, sizeof again);
    cr_assert_eq(crypto_sha256(bytes + (2 << 20), 17, one, NULL), 0);
    cr_expect_arr_eq(one, m.files[2].chunks + 64, sizeof one, "the last chunk is the short one");
    cr_assert_eq(manifest_context_id(text, len, again, NULL), 0);
    cr_expect_arr_eq(again, context_id, sizeof again);
    free(bytes);
    free(text);
    manifest_free(&m);
}

Test(manifest, verifies_with_the_pinned_key_only_and_over_every_byte)
{
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN], other[CRYPTO_KEY_LEN], other_key[CRYPTO_KEY_LEN];
    struct err err = {0};
    struct manifest m = load(&text, &len, sig);
    cr_expect_eq(manifest_verify(text, len, sig, pub, &err), 0, "%s", err.text);
    cr_assert_eq(crypto_sign_keypair(other, other_key, NULL), 0);
    cr_expect_eq(manifest_verify(text, len, sig, other, &err), -1);
    cr_expect_eq(err.code, ERR_AUTH);
    cr_expect_not_null(strstr(err.text, "not signed by the trusted"), "%s", err.text);
    for (size_t i = 0; i < len; i += 97) {
        text[i] ^= 1;
        cr_expect_eq(manifest_verify(text, len, sig, pub, NULL), -1, "byte %zu", i);
        text[i] ^= 1;
    }
    free(text);
    manifest_free(&m);
}

Test(manifest, refuses_to_sign_with_a_key_that_is_not_the_signers)
{
    struct manifest m = {.model = "X", .profile = "stip", .head = "user", .dtype = "F32", .epoch = 1, .signer = {9}};
    uint8_t id[CRYPTO_HASH_LEN];
    cr_assert_eq(manifest_build(&m, dir, NULL), 0);
    cr_expect_eq(manifest_write(&m, dir, key, id, NULL), -1);
    manifest_free(&m);
}

static void expect_check(const char *said)
{
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    struct err err = {0};
    struct manifest m = load(&text, &len, sig);
    int rc = manifest_check_files(&m, dir, &err);
    if (said == NULL)
        cr_expect_eq(rc, 0, "%s", err.text);
    else
        cr_expect(rc == -1 && strstr(err.text, said) != NULL, "expected '%s', got %d '%s'", said, rc, err.text);
    free(text);
    manifest_free(&m);
}

/* Catches the comparison of one chunk only, and unlisted files let through (both tried). */
Test(manifest, check_finds_every_kind_of_change)
{
    static const size_t places[] = {0, (1 << 20) - 1, 1 << 20, LONG - 1};
    const char *model = tempdir_path(dir, "model.safetensors");
    size_t n;
    expect_check(NULL);
    char *bytes = tempdir_slurp(model, &n);
    for (size_t i = 0; i < 4; i++) {
        char said[32];
        (void)snprintf(said, sizeof said, "MiB %zu ", places[i] >> 20);
        bytes[places[i]] ^= 4;
        tempdir_spill(model, bytes, n);
        expect_check(said);
        bytes[places[i]] ^= 4;
    }
    tempdir_spill(model, bytes, n - 1);
    expect_check("expected 2097169 bytes, found 2097168");
    tempdir_spill(model, bytes, n);
    expect_check(NULL);
    /* A sharded package into which somebody puts model.safetensors would be loaded from that. */
    spill("other.safetensors", 5);
    expect_check("other.safetensors is not in the signed manifest");
    cr_assert_eq(unlink(tempdir_path(dir, "other.safetensors")), 0);
    cr_assert_eq(symlink("config.json", tempdir_path(dir, "link")), 0);
    expect_check("plain files only");
    cr_assert_eq(unlink(tempdir_path(dir, "link")), 0);
    cr_assert_eq(unlink(tempdir_path(dir, "empty")), 0);
    expect_check("empty");
    free(bytes);
}

/* Replaces the first occurrence of a text and expects the parser to say so. */
static void expect_parse_refusal(const char *find, const char *put, const char *said)
{
    char *text, *at;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    struct err err = {0};
    struct manifest m = load(&text, &len, sig), out = {.epoch = 77};
    manifest_free(&m);
    cr_assert_not_null(at = strstr(text, find), "%s", find);
    char *changed = malloc(len + strlen(put) + 1);
    size_t before = (size_t)(at - text);
    memcpy(changed, text, before);
    strcpy(changed + before, put);
    strcat(changed, at + strlen(find));
    cr_expect_eq(manifest_parse(&out, changed, strlen(changed), "m.json", &err), -1, "%s -> %s", find, put);
    cr_expect_eq(err.code, ERR_INPUT);
    cr_expect(strstr(err.text, said) != NULL && strstr(err.text, "m.json") != NULL, "expected '%s' in '%s'", said, err.text);
    cr_expect(out.epoch == 77 && out.files == NULL, "touched the output");
    free(changed);
    free(text);
}

Test(manifest, parser_names_what_is_wrong)
{
    expect_parse_refusal("\"version\":\t1", "\"version\":\t2", "'version'");
    expect_parse_refusal("\"epoch\":\t3", "\"epoch\":\t0", "'epoch'");
    expect_parse_refusal("\"epoch\":\t3", "\"epoch\":\t4294967296", "'epoch'");
    expect_parse_refusal("\"epoch\":\t3", "\"epoch\":\t3, \"extra\": 1", "'extra'");
    expect_parse_refusal("\"user\"", "\"nobody\"", "'head'");
    expect_parse_refusal("\"stip\"", "\"cipher\"", "'profile'");
    expect_parse_refusal("\"epoch\"", "\"local_layers\": -1, \"epoch\"", "'local_layers'");
    expect_parse_refusal("\"BF16\"", "\"F64\"", "'dtype'");
    expect_parse_refusal("\"compute\":\t\"bf16\"", "\"compute\":\t\"int4\"", "'compute'");
    expect_parse_refusal("\"compute\":\t\"bf16\"", "\"compute\":\t8", "'compute'");
    expect_parse_refusal("\"compute\":\t\"bf16\"", "\"compute\":\t\"int8\"", "does not go with matrices of dtype BF16");
    expect_parse_refusal("\"BF16\"", "\"I8\"", "bf16 does not go with matrices of dtype I8");
    expect_parse_refusal("\"chunk_size\":\t1048576", "\"chunk_size\":\t4096", "'chunk_size'");
    expect_parse_refusal("\"signer\":\t\"", "\"signer\":\t\"zz", "'signer'");
    expect_parse_refusal("config.json", "../config.json", "not the name of a package file");
    expect_parse_refusal("config.json", "manifest.sig", "not the name of a package file");
    expect_parse_refusal("\"empty\"", "\"config.json\"", "out of order or twice");
    expect_parse_refusal("\"empty\"", "\"zzz\"", "out of order or twice");
    expect_parse_refusal("\"size\":\t3", "\"size\":\t-1", "'size'");
    expect_parse_refusal("\"size\":\t3", "\"size\":\t70368744177664", "'chunks'"); /* a size alone allocates nothing */
    expect_parse_refusal("\"size\":\t0", "\"size\":\t1", "'chunks'");
    expect_parse_refusal("\"files\":", "\"files\": [], \"file\":", "'file'");
    expect_parse_refusal("\"created\":", "\"made\":", "'made'");
}

/* Catches: a missing field taken for another compute (tried). */
Test(manifest, packages_from_before_there_was_a_compute_are_f32)
{
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    struct err err = {0};
    struct manifest m = load(&text, &len, sig), old = {.compute = COMPUTE_INT8};
    char *from = strstr(text, "\"compute\""), *to = from == NULL ? NULL : strchr(from, '\n');
    cr_assert_not_null(to);
    memmove(from, to, strlen(to) + 1);
    cr_assert_eq(manifest_parse(&old, text, strlen(text), "m.json", &err), 0, "%s", err.text);
    cr_expect_eq(old.compute, COMPUTE_F32);
    manifest_free(&m);
    manifest_free(&old);
    free(text);
}

/* Mutations: a date that is read and not compared; `previous` left out. */
Test(manifest, an_end_and_the_context_before_are_signed_and_read_back)
{
    struct manifest m = {.model = "X", .profile = "stip", .head = "user", .dtype = "F32", .epoch = 2, .created = "2026-11-21T09:30:00Z",
                         .expires = 1795253400, .chained = true, .previous = {1, 2, 3}};
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN], id[CRYPTO_HASH_LEN];
    struct err err = {0};
    memcpy(m.signer, pub, sizeof pub);
    cr_assert_eq(manifest_build(&m, dir, &err), 0, "%s", err.text);
    cr_assert_eq(manifest_write(&m, dir, key, id, &err), 0, "%s", err.text);
    manifest_free(&m);
    m = load(&text, &len, sig);
    cr_expect(m.expires == 1795253400 && m.chained && m.previous[0] == 1 && m.previous[2] == 3 && m.previous[31] == 0);
    cr_expect_eq(manifest_check_time(&m, 1795253399, "it", &err), 0);
    cr_expect_eq(manifest_check_time(&m, 1795253400, "it", &err), -1);
    cr_expect(err.code == ERR_AUTH && strstr(err.text, "it expired on 2026-11-21T09:30:00Z") != NULL, "%s", err.text);
    manifest_free(&m);
    free(text);
    expect_parse_refusal("\"expires\":\t\"2026-11-21T09:30:00Z\"", "\"expires\":\t\"2026-11-21\"", "'expires'");
    expect_parse_refusal("\"expires\":\t\"2026-11-21T09:30:00Z\"", "\"expires\":\t1795253400", "'expires'");
    expect_parse_refusal("\"previous\":\t\"0102", "\"previous\":\t\"02", "'previous'");
}

Test(manifest, build_refuses_folders_links_and_an_empty_package)
{
    struct manifest m = {0};
    struct err err = {0};
    char empty[FILE_PATH_MAX];
    tempdir_make(empty);
    cr_expect_eq(manifest_build(&m, empty, &err), -1);
    cr_expect_eq(file_mkdirs(tempdir_path(empty, "sub"), 0755, &err), 0);
    cr_expect_eq(manifest_build(&m, empty, &err), -1);
    cr_expect_not_null(strstr(err.text, "plain files only"), "%s", err.text);
    cr_expect_eq(manifest_build(&m, tempdir_path(empty, "nowhere"), &err), -1);
    cr_expect_null(m.files);
    tempdir_remove(empty);
}
