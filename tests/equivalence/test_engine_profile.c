/* Profile "engine": a plain engine that knows nothing of keys runs the package, and its answers are the plain model's in another
 * vocabulary. Mutations: embedding rows by another key than the output rows; columns of positions not moved; ids in config.json as
 * they were; a tied table written twice, or by two orders. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/plain.h"
#include "tests/support/protected.h"
#include "tests/support/tempdir.h"

enum { T = 40, CAP = 96, SEED = 5 };

static char dir[FILE_PATH_MAX];
static struct err err;

static void setup(void)
{
    tempdir_make(dir);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(engine_profile, .init = setup, .fini = teardown);

static void export(struct protect_report *report, const char *dtype)
{
    struct protect_opts o = protected_opts(dir, SEED);
    o.profile = "engine";
    o.dtype = dtype;
    cr_assert_eq(protect_checkpoint(&o, report, &err), 0, "%s", err.text);
}

static void open_one(struct plain *p, const char *name)
{
    cr_assert_eq(plain_open(p, tempdir_path(dir, name), true, CAP, COMPUTE_F32, &err), 0, "%s", err.text);
}

static void check(const char *architecture, const struct synth_shape *shape)
{
    struct plain plain, package;
    struct protect_report report;
    struct perm order, inverse;
    int32_t ids[CAP], places[CAP];
    protected_synth(dir, architecture, shape, 9);
    export(&report, NULL);
    open_one(&plain, "plain");
    open_one(&package, "out/package");
    const struct config *c = plain.config, *moved = package.config;
    struct keyset *keys = protected_keys(c, SEED);
    cr_assert_eq(keyset_perm(keys, KEY_OUTPUT, 0, &order, &err), 0, "%s", err.text);
    cr_assert_eq(perm_inverse(&inverse, &order, &err), 0, "%s", err.text);

    const size_t V = (size_t)c->V;
    float *a = malloc(T * V * sizeof *a), *b = malloc(T * V * sizeof *b);
    synth_ids(ids, T, c->V, 3);
    for (int t = 0; t < T; t++)
        places[t] = (int32_t)inverse.to[ids[t]];
    cr_assert_eq(plain_append(&plain, ids, NULL, T, T, a, &err), 0, "%s", err.text);
    cr_assert_eq(plain_append(&package, places, NULL, T, T, b, &err), 0, "%s", err.text);
    double most = 0, off = 0;
    for (size_t t = 0; t < T; t++)
        for (size_t j = 0; j < V; j++) {
            most = fmax(most, fabs((double)a[t * V + order.to[j]]));
            off = fmax(off, fabs((double)a[t * V + order.to[j]] - (double)b[t * V + j]));
        }
    printf("%-20s largest logit %.2f, apart by %.1e\n", architecture, most, off);
    cr_expect_lt(off, 2e-5 * most, "%s: %g of %g", architecture, off, most);

    /* A table that is tied is there once; an end of text is where the config says. */
    cr_expect_eq(moved->tied, c->tied);
    cr_expect_eq(moved->eos_count, c->eos_count);
    for (int i = 0; i < c->eos_count; i++)
        cr_expect_eq(order.to[moved->eos[i]], (uint32_t)c->eos[i]);
    if (c->bos >= 0)
        cr_expect_eq(order.to[moved->bos], (uint32_t)c->bos);
    free(a);
    free(b);
    perm_wipe(&order);
    perm_wipe(&inverse);
    keyset_free(keys);
    plain_close(&plain);
    plain_close(&package);
}

Test(engine_profile, a_llama_answers_the_same_in_another_vocabulary)
{
    check("LlamaForCausalLM", &(struct synth_shape){.D = 64, .H = 4, .G = 2, .L = 2, .V = 96, .bos = 1, .eos = 7});
}

Test(engine_profile, one_with_a_head_of_its_own_too)
{
    check("LlamaForCausalLM", &(struct synth_shape){.D = 48, .H = 4, .L = 2, .V = 81, .untied = true, .eos = 80});
}

Test(engine_profile, and_one_with_positions_in_a_table)
{
    check("GPT2LMHeadModel", &(struct synth_shape){.D = 48, .H = 4, .L = 2, .V = 70, .bos = 69, .eos = 69});
}

static void refused(const char *architecture, const char *dtype, const char *head, const char *why)
{
    struct protect_report report;
    protected_synth(dir, architecture, &(struct synth_shape){.D = 32, .H = 4, .L = 1, .V = 40}, 1);
    struct protect_opts o = protected_opts(dir, SEED);
    o.profile = "engine";
    o.dtype = dtype;
    o.head = head;
    cr_assert_eq(protect_checkpoint(&o, &report, &err), -1);
    cr_expect_eq(err.code, ERR_USAGE);
    cr_expect_not_null(strstr(err.text, why), "%s", err.text);
    cr_expect_not(file_exists(o.out));
}

Test(engine_profile, what_an_engine_cannot_serve_is_refused)
{
    refused("BertForSequenceClassification", NULL, NULL, "generates no text");
    refused("LlamaForCausalLM", "int8", NULL, "the engine's tool");
    refused("LlamaForCausalLM", NULL, "user", "computes the whole model");
}

/* Every place has a token of its number, and no text of the model's own vocabulary is there. */
Test(engine_profile, the_tokenizer_is_numbers)
{
    struct protect_report report;
    struct json_doc *doc;
    int n = 0;
    protected_synth(dir, "LlamaForCausalLM", &(struct synth_shape){.D = 32, .H = 4, .L = 1, .V = 300, .eos = 2}, 1);
    export(&report, "bf16");
    cr_expect(report.engine && report.table_exposed);
    cr_assert_eq(json_load(&doc, tempdir_path(dir, "out/package/tokenizer.json"), JSON_CAP_CONFIG, false, &err), 0, "%s", err.text);
    const struct json *vocab = json_get(json_get(json_root(doc), "model"), "vocab");
    for (const struct json *m = json_first(vocab); m != NULL; m = json_next(m), n++) {
        char want[16];
        (void)snprintf(want, sizeof want, "<%d>", n);
        cr_expect_str_eq(json_key(m), want);
        cr_expect_eq((int)json_number(m), n);
    }
    cr_expect_eq(n, 300);
    json_free(doc);
}
