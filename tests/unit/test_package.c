/* server/package: the manifest's compute decides how an installed package is computed, and must go with what is stored. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "server/package.h"
#include "tests/support/developer.h"
#include "tests/support/protected.h"
#include "tests/support/tempdir.h"

static char dir[FILE_PATH_MAX];
static struct err err;
static struct identity *developer;
static struct protect_report report;

static void setup(void)
{
    tempdir_make(dir);
    cr_assert_eq(identity_generate(&developer, &err), 0, "%s", err.text);
}

static void teardown(void)
{
    identity_free(developer);
    tempdir_remove(dir);
}

TestSuite(package, .init = setup, .fini = teardown);

static void protect(const char *dtype)
{
    const struct synth_shape s = {.D = 24, .H = 6, .L = 2, .V = 50, .F = 40, .untied = true};
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    struct protect_opts o = protected_opts(dir, 9);
    o.dtype = dtype;
    o.sign_pub = developer->sign_pub;
    o.sign_key = developer->sign_key;
    o.force = true;
    cr_assert_eq(protect_checkpoint(&o, &report, &err), 0, "%s", err.text);
}

/* What a developer's broken program could sign: the same files under another manifest. */
static void sign_as(const char *dtype, enum compute compute)
{
    struct manifest m = {0};
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN], context[CRYPTO_HASH_LEN];
    cr_assert_eq(manifest_load(&m, report.package, &text, &len, sig, &err), 0, "%s", err.text);
    strcpy(m.dtype, dtype);
    m.compute = compute;
    cr_assert_eq(manifest_write(&m, report.package, developer->sign_key, context, &err), 0, "%s", err.text);
    manifest_free(&m);
    free(text);
}

static int load(struct package **p, size_t max_bytes)
{
    const struct peer_key self = identity_public(developer);
    const struct package_limits limits = {.weights = max_bytes};
    return package_load(p, report.package, &self, 1, &limits, &err);
}

/* Catches a server that computes in f32 whatever the manifest says (tried). */
Test(package, is_computed_as_its_manifest_says)
{
    static const struct {
        const char *dtype;
        enum compute compute;
    } cases[] = {{"keep", COMPUTE_F32}, {"f32", COMPUTE_F32}, {"bf16", COMPUTE_BF16}, {"int8", COMPUTE_INT8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct package *p = NULL;
        protect(cases[i].dtype);
        cr_assert_eq(load(&p, 0), 0, "%s", err.text);
        for (int l = 0; l < 2; l++) {
            const struct net_layer *y = &p->net->layers[l];
            cr_expect(y->qkv.w.compute == cases[i].compute && y->o.w.compute == cases[i].compute &&
                      y->up.w.compute == cases[i].compute && y->down.w.compute == cases[i].compute, "%s", cases[i].dtype);
        }
        cr_expect_eq(p->net->head->out.w.compute, cases[i].compute);
        package_free(p);
    }
}

Test(package, int8_matrices_under_another_manifest_are_refused_by_name)
{
    struct package *p = NULL;
    protect("int8");
    sign_as("F32", COMPUTE_F32);
    cr_assert_eq(load(&p, 0), -1);
    cr_expect(err.code == ERR_INPUT && strstr(err.text, "'model.layers.0.self_attn.q_proj.weight' is I8") != NULL, "%s", err.text);
    sign_as("BF16", COMPUTE_BF16);
    cr_assert_eq(load(&p, 0), -1);
    cr_expect_not_null(strstr(err.text, "is I8, which products in bf16 cannot read"), "%s", err.text);
    sign_as("I8", COMPUTE_F32);
    cr_assert_eq(load(&p, 0), -1);
    cr_expect_not_null(strstr(err.text, "f32 does not go with matrices of dtype I8"), "%s", err.text);
    cr_expect_null(p);
    protect("int8");
    cr_assert_eq(load(&p, 0), 0, "%s", err.text);
    package_free(p);
}

/* An operator may have put it there by hand. Mutation: what is pushed is looked at, and what is loaded is not. */
Test(package, what_is_for_engines_of_others_is_not_loaded)
{
    struct package *p = NULL;
    struct manifest m = {0};
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN], context[CRYPTO_HASH_LEN];
    protect("keep");
    cr_assert_eq(manifest_load(&m, report.package, &text, &len, sig, &err), 0, "%s", err.text);
    strcpy(m.profile, "engine");
    cr_assert_eq(manifest_write(&m, report.package, developer->sign_key, context, &err), 0, "%s", err.text);
    manifest_free(&m);
    free(text);
    cr_assert_eq(load(&p, 0), -1);
    cr_expect(err.code == ERR_INPUT && strstr(err.text, "profile 'engine'") != NULL, "%s", err.text);
}

/* int8 needs a quarter of the memory, and the limit knows it. */
Test(package, the_limit_of_memory_counts_what_the_compute_takes)
{
    struct package *p = NULL;
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        struct checkpoint *cp;
        protect(i == 0 ? "f32" : "int8");
        cr_assert_eq(checkpoint_open(&cp, report.package, CHECKPOINT_CORE | CHECKPOINT_HEAD, &err), 0, "%s", err.text);
        bytes[i] = net_bytes(cp, true, report.compute);
        checkpoint_close(cp);
        cr_assert_eq(load(&p, bytes[i] - 1), -1);
        cr_expect_not_null(strstr(err.text, "limits.weights_mb"), "%s", err.text);
        cr_assert_eq(load(&p, bytes[i]), 0, "%s", err.text);
        package_free(p);
        p = NULL;
    }
    cr_expect_lt(bytes[1], bytes[0]);
}
