/* model_dev/rotate: the same model under another key, chained to the one before; or nothing at all. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/expiry.h"
#include "model/safetensors.h"
#include "model_dev/context_key.h"
#include "model_dev/rotate.h"
#include "tests/support/developer.h"
#include "tests/support/tempdir.h"

static char dir[FILE_PATH_MAX];
static struct err err;
static struct developer dev;

static void setup(void)
{
    tempdir_make(dir);
}

static void teardown(void)
{
    developer_free(&dev);
    tempdir_remove(dir);
}

TestSuite(rotate, .init = setup, .fini = teardown);

static const struct synth_shape small = {.D = 32, .H = 4, .L = 2, .V = 50, .untied = true};

static int turn(const char *model, int64_t expires, uint8_t previous[CRYPTO_HASH_LEN])
{
    struct protect_report report;
    const struct rotate_opts o = {.dir = dev.out, .model = model, .identity = dev.identity, .expires = expires};
    return rotate(&o, &report, previous, &err);
}

static struct release open_now(void)
{
    struct release r = {0};
    cr_assert_eq(release_open(&r, dev.out, dev.identity->sign_pub, &err), 0, "%s", err.text);
    return r;
}

/* Mutations: epoch that stays; previous of the new manifest itself; the seed of the old key used again. */
Test(rotate, makes_the_next_context_of_a_chain_with_another_key)
{
    uint8_t previous[CRYPTO_HASH_LEN];
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, "user");
    cr_expect_not(dev.release.manifest.chained);
    struct context_key *before = calloc(1, sizeof *before), *after = calloc(1, sizeof *after);
    cr_assert_eq(release_key(&dev.release, before, &err), 0);
    for (unsigned i = 1; i <= 3; i++) {
        struct release was = open_now();
        cr_assert_eq(turn(dev.plain, EXPIRY_NEVER, previous), 0, "%s", err.text);
        struct release now = open_now();
        cr_expect_eq(now.manifest.epoch, was.manifest.epoch + 1);
        cr_expect(now.manifest.chained && memcmp(now.manifest.previous, was.context, sizeof was.context) == 0);
        cr_expect_arr_eq(previous, was.context, sizeof previous);
        cr_expect_str_eq(now.manifest.head, "user");
        cr_expect_eq(now.manifest.expires, EXPIRY_NEVER);
        cr_assert_eq(release_key(&now, after, &err), 0, "%s", err.text);
        cr_expect(memcmp(before->seed, after->seed, sizeof before->seed) != 0, "the seed is the old one");
        cr_expect_eq(after->epoch, now.manifest.epoch);
        cr_expect_eq(manifest_check_files(&now.manifest, now.package, &err), 0, "%s", err.text);
        *before = *after;
        char old[64];
        (void)snprintf(old, sizeof old, "package.%u", i);
        cr_expect(file_exists(tempdir_path(dev.out, old)), "the old package is kept");
        (void)snprintf(old, sizeof old, "context.key.%u", i);
        cr_expect(file_exists(tempdir_path(dev.out, old)), "the old key is kept");
        release_close(&was);
        release_close(&now);
    }
    context_key_wipe(before);
    context_key_wipe(after);
    free(before);
    free(after);
}

/* The weights themselves lie in another order: a package that is only signed anew protects nobody. */
Test(rotate, moves_every_matrix)
{
    struct safetensors *a = NULL, *b = NULL;
    uint8_t previous[CRYPTO_HASH_LEN];
    size_t moved = 0;
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, "server");
    cr_assert_eq(turn(dev.plain, EXPIRY_NEVER, previous), 0, "%s", err.text);
    char path[FILE_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/package.1/model.safetensors", dev.out);
    cr_assert_eq(safetensors_open(&a, path, &err), 0, "%s", err.text);
    (void)snprintf(path, sizeof path, "%s/package/model.safetensors", dev.out);
    cr_assert_eq(safetensors_open(&b, path, &err), 0, "%s", err.text);
    for (size_t i = 0; i < safetensors_count(a); i++) {
        const struct tensor *x = safetensors_at(a, i), *y = safetensors_find(b, x->name);
        cr_assert(y != NULL && y->bytes == x->bytes && y->dtype == x->dtype, "%s", x->name);
        if (x->rank < 2)
            continue;
        cr_expect(memcmp(x->data, y->data, x->bytes) != 0, "%s lies as before", x->name);
        moved++;
    }
    cr_expect_geq(moved, 14);
    safetensors_close(a);
    safetensors_close(b);
}

Test(rotate, keeps_a_dtype_and_gives_an_end_as_far_away_as_the_old_one_had)
{
    struct protect_report report;
    uint8_t previous[CRYPTO_HASH_LEN];
    const int64_t now = clock_unix();
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, "server");
    struct protect_opts o = {.model = dev.plain, .out = dev.out, .dtype = "int8", .local_layers = 1, .sign_pub = dev.identity->sign_pub,
                             .sign_key = dev.identity->sign_key, .force = true, .expires = now + 20 * EXPIRY_DAY,
                             .created = now - 10 * EXPIRY_DAY};
    cr_assert_eq(protect_checkpoint(&o, &report, &err), 0, "%s", err.text);
    cr_assert_eq(turn(dev.plain, EXPIRY_NEVER, previous), 0, "%s", err.text);
    struct release r = open_now();
    cr_expect_eq(r.manifest.compute, COMPUTE_INT8);
    cr_expect_eq(r.manifest.local_layers, 1);
    cr_expect(r.manifest.expires >= now + 30 * EXPIRY_DAY && r.manifest.expires < now + 30 * EXPIRY_DAY + 60, "30 days from now");
    release_close(&r);
    cr_assert_eq(turn(dev.plain, now + 5 * EXPIRY_DAY, previous), 0, "%s", err.text);
    r = open_now();
    cr_expect_eq(r.manifest.expires, now + 5 * EXPIRY_DAY, "what is said counts");
    cr_expect_eq(r.manifest.epoch, 4);
    release_close(&r);
}

/* Mutation: rotate without grant_check: then users of the new context would compute with tables of another model. */
Test(rotate, refuses_another_model_or_another_developer_and_leaves_everything)
{
    uint8_t previous[CRYPTO_HASH_LEN] = {9};
    char other[FILE_PATH_MAX];
    struct identity *own, *stranger = NULL;
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, "server");
    (void)snprintf(other, sizeof other, "%s", tempdir_path(dir, "other"));
    cr_assert_eq(synth_checkpoint(other, "LlamaForCausalLM", &small, 8, &err), 0, "%s", err.text);
    const int files = tempdir_count(dev.out);
    cr_expect_eq(turn(other, EXPIRY_NEVER, previous), -1);
    cr_expect_not_null(strstr(err.text, "was not made from this checkpoint"), "%s", err.text);
    cr_assert_eq(identity_generate(&stranger, &err), 0);
    own = dev.identity;
    dev.identity = stranger;
    cr_expect_eq(turn(dev.plain, EXPIRY_NEVER, previous), -1);
    cr_expect(err.code == ERR_AUTH && strstr(err.text, "not signed by") != NULL, "%s", err.text);
    dev.identity = own;
    identity_free(stranger);
    struct release r = open_now();
    cr_expect_arr_eq(r.context, dev.release.context, sizeof r.context);
    cr_expect_eq(tempdir_count(dev.out), files);
    cr_expect_eq(previous[0], 9);
    release_close(&r);
}

/* protect --force is a chain too, but only of one developer's packages: another's epoch says nothing. */
Test(rotate, a_package_of_another_developer_is_no_link_of_the_chain)
{
    struct identity *own, *stranger = NULL;
    struct protect_report report;
    developer_make(&dev, dir, "LlamaForCausalLM", &small, 7, "server");
    developer_protect_again(&dev, "server");
    cr_expect(dev.release.manifest.epoch == 2 && dev.release.manifest.chained);
    cr_assert_eq(identity_generate(&stranger, &err), 0);
    struct protect_opts o = {.model = dev.plain, .out = dev.out, .sign_pub = stranger->sign_pub, .sign_key = stranger->sign_key,
                             .force = true};
    cr_assert_eq(protect_checkpoint(&o, &report, &err), 0, "%s", err.text);
    cr_expect(report.epoch == 1 && !report.chained);
    own = dev.identity;
    dev.identity = stranger;
    struct release r = open_now();
    cr_expect(r.manifest.epoch == 1 && !r.manifest.chained);
    release_close(&r);
    dev.identity = own;
    identity_free(stranger);
}
