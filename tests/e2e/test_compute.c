/* --dtype bf16 and int8 from the developer's command line to the user's answer. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/tempdir.h"
#include "tests/support/trio.h"

#define DEMO_LM STIP_SOURCE_DIR "/examples/demo-lm"
#define DEMO_CLASSIFIER STIP_SOURCE_DIR "/examples/demo-classifier"
#define HELLO SHELL_ARGV("generate", "--prompt", "Once upon a time", "--max-tokens", "12")

/* Three processes, and plain inference beside them in the same compute (bench/cmd_demo.c says how far they may be apart).
 * Mutation: a server that computes in f32 whatever the manifest says. */
Test(compute, the_demo_agrees_with_plain_inference_in_every_dtype)
{
    static const char *const dtypes[] = {"bf16", "int8"};
    for (int i = 0; i < 4; i++) {
        struct shell s;
        shell_run(&s, SHELL_ARGV("stip-bench", "demo", "--model", i < 2 ? DEMO_LM : DEMO_CLASSIFIER, "--max-tokens", "16", "--dtype",
                                 dtypes[i % 2]));
        cr_expect_eq(s.status, 0, "%s: %s%s", dtypes[i % 2], s.out, s.err);
        shell_free(&s);
    }
}

static void equality(const char *model, const char *text, const char *head, const char *dtype)
{
    struct shell s;
    shell_run(&s, SHELL_ARGV("stip-bench", "equality", "--model", model, "--text", text, "--head", head, "--dtype", dtype, "--gen", "32",
                             "--limit", "200", "--threads", "1", "--json"));
    struct json_doc *doc = shell_json(&s);
    const struct json *root = json_root(doc);
    cr_expect(s.status == 0 && json_true(json_get(root, "ok")), "%s %s, head %s: %s", model, dtype, head, s.out);
    cr_expect_str_eq(json_string(json_get(root, "compute")), dtype);
    if (json_get(root, "perplexity_plain") != NULL) {
        double plain = json_number(json_get(root, "perplexity_plain")), private = json_number(json_get(root, "perplexity_private"));
        double f32 = json_number(json_get(root, "perplexity_f32")), off = json_number(json_get(root, "perplexity_vs_f32"));
        cr_expect(fabs(plain - private) < 0.01 * plain, "%s: perplexity %.9g, %.9g", dtype, plain, private);
        cr_expect(fabs(fabs(plain - f32) / f32 - off) < 1e-9 && off > 0 && off < 0.02, "%s: %.9g in f32, %.9g off", dtype, f32, off);
    }
    /* The classifier's logits go up to 3.5. In f32 the reference would be five times as far away. */
    if (strcmp(model, DEMO_CLASSIFIER) == 0)
        cr_expect_lt(json_number(json_get(root, "plain_vs_f64")), strcmp(dtype, "bf16") == 0 ? 0.008 : 0.04, "%s", s.out);
    json_free(doc);
    shell_free(&s);
}

/* Mutation: the plain side in f32 (its perplexity is that of f32 then), the reference in f32. */
Test(compute, plain_private_and_reference_are_compared_in_one_compute)
{
    static const char *const dtypes[] = {"bf16", "int8"};
    for (int i = 0; i < 2; i++) {
        equality(DEMO_LM, DEMO_LM "/sample.txt", "server", dtypes[i]);
        equality(DEMO_LM, DEMO_LM "/sample.txt", "user", dtypes[i]);
        equality(DEMO_CLASSIFIER, DEMO_CLASSIFIER "/heldout.tsv", "server", dtypes[i]);
        equality(DEMO_CLASSIFIER, DEMO_CLASSIFIER "/heldout.tsv", "user", dtypes[i]);
    }
}

static void run(struct shell *s, int status, const char *sentence)
{
    cr_expect_eq(s->status, status, "%d: %s", s->status, s->err);
    cr_expect(strstr(s->out, sentence) != NULL || strstr(s->err, sentence) != NULL, "expected '%s' in: %s%s", sentence, s->out, s->err);
    shell_free(s);
}

static void edit_grant(const struct trio *t, const char *from, const char *to)
{
    size_t len;
    const char *path = trio_path(t, "user.grant/grant.json");
    char *text = tempdir_slurp(path, &len), *at = strstr(text, from), out[8192];
    cr_assert_not_null(at, "%s", text);
    int n = snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    tempdir_spill(trio_path(t, "user.grant/grant.json"), out, (size_t)n);
    free(text);
}

/* The developer chooses, everybody is told, and a user that would compute otherwise is stopped before a row is sent. */
Test(compute, is_written_by_protect_shown_by_inspect_and_checked_by_the_user)
{
    struct trio t;
    struct shell s;
    trio_make(&t, DEMO_LM, "user");
    shell_run(&s, SHELL_ARGV("stip-model-dev", "protect", "--model", DEMO_LM, "--out", trio_path(&t, "protected"), "--identity",
                             trio_path(&t, "model_dev.id"), "--dtype", "int8", "--force"));
    run(&s, 0, "computed in int8");
    shell_run(&s, SHELL_ARGV("stip-model-dev", "inspect", "--json", trio_path(&t, "protected")));
    run(&s, 0, "\"compute\":\"int8\"");
    shell_run(&s, SHELL_ARGV("stip-server", "inspect", "--json", trio_path(&t, "protected/package")));
    run(&s, 0, "\"compute\":\"int8\"");
    trio_start_server(&t, NULL);
    trio_start_model_dev(&t);
    trio_wait_serving(&t);
    trio_write_user(&t, "user");
    trio_user(&t, &s, SHELL_ARGV("join"));
    cr_assert_eq(s.status, 0, "%s", s.err);
    shell_free(&s);
    trio_user(&t, &s, HELLO);
    run(&s, 0, "");
    edit_grant(&t, "\"int8\"", "\"f32\"");
    trio_user(&t, &s, HELLO);
    run(&s, 4, "computes in int8, this grant is for f32; join again");
    edit_grant(&t, "\"f32\"", "\"int4\"");
    trio_user(&t, &s, HELLO);
    run(&s, 3, "field 'compute': expected f32, bf16 or int8, found 'int4'");
    trio_close(&t);
}
