/* A permuted model answers what the plain one answers: for every family, with the head on either side, against the float64
 * reference. The yardstick is the plain engine's own rounding: permuting must not be worse than that by more than chance. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/ref/ref.h"
#include "tests/support/permuted.h"
#include "tests/support/tempdir.h"

enum { T = 48, CAP = 96 };

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

TestSuite(permuted_model, .init = setup, .fini = teardown);

static struct permuted open_permuted(const char *head)
{
    struct permuted p;
    cr_assert_eq(permuted_open(&p, dir, head, NULL, CAP, &err), 0, "%s", err.text);
    return p;
}

static double largest(const double *x, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(x[i]));
    return most;
}

static double distance(const float *x, const double *ref, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - ref[i]);
        most = d > most || isnan(d) ? d : most;
    }
    return most;
}

/* Both runs over the same tokens, judged by the reference. */
static void run_texts(struct permuted *p, double **logits, float *plain, float *permuted, int out_n)
{
    const struct config *c = p->plain.config;
    int32_t ids[T], mixed[T];
    const int32_t *types = c->type_vocab > 1 ? mixed : NULL;
    synth_ids(ids, T, c->V, 3);
    for (int t = 0; t < T; t++)
        mixed[t] = t % 2;
    cr_assert_eq(ref_forward(p->plain.cp, COMPUTE_F32, ids, types, T, NULL, logits, &err), 0, "%s", err.text);
    cr_assert_eq(plain_append(&p->plain, ids, types, T, out_n, plain, &err), 0, "%s", err.text);
    cr_assert_eq(permuted_append(p, ids, types, T, out_n, permuted, &err), 0, "%s", err.text);
}

/* Or over the same image. */
static void run_image(struct permuted *p, double **logits, float *plain, float *permuted)
{
    static float pixels[3 * 32 * 32];
    synth_pixels(pixels, sizeof pixels / sizeof *pixels, 3);
    cr_assert_eq(ref_image(p->plain.cp, COMPUTE_F32, pixels, NULL, logits, &err), 0, "%s", err.text);
    cr_assert_eq(plain_image(&p->plain, pixels, plain, &err), 0, "%s", err.text);
    cr_assert_eq(permuted_image(p, pixels, permuted, &err), 0, "%s", err.text);
}

static void compare(const char *name, struct permuted *p)
{
    const struct config *c = p->plain.config;
    double *logits = NULL;
    int out_n = c->head == HEAD_CLASSIFY ? 1 : T;
    size_t n = (size_t)out_n * (size_t)config_outputs(c);
    float *plain = malloc(n * sizeof *plain), *permuted = malloc(n * sizeof *permuted);
    permuted_restart(p);
    if (config_reads_images(c))
        run_image(p, &logits, plain, permuted);
    else
        run_texts(p, &logits, plain, permuted, out_n);
    double scale = largest(logits, n), own = distance(plain, logits, n) / scale, ours = distance(permuted, logits, n) / scale;
    printf("%-32s head on %s: plain against float64 %.1e, permuted against float64 %.1e\n", name, p->head_user ? "user" : "server",
           own, ours);
    cr_expect_lt(own, 1e-5, "%s: the plain engine is off by %g", name, own);
    cr_expect_lt(ours, 3 * own + 1e-6, "%s: permuted %g, plain %g", name, ours, own);
    free(logits);
    free(plain);
    free(permuted);
}

static void check(const char *architecture, const struct synth_shape *shape)
{
    static const char *const heads[] = {"server", "user"};
    protected_synth(dir, architecture, shape, 5);
    for (int h = 0; h < 2; h++) {
        struct permuted p = open_permuted(heads[h]);
        compare(architecture, &p);
        permuted_close(&p);
    }
}

/* Also the families to come: the registry is what is looped over. Random gains and biases, so a forgotten one shows. */
Test(permuted_model, every_family_answers_as_the_plain_model)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 3, .V = 101, .F = 80, .classes = 5, .untied = true};
    for (size_t i = 0; arch_at(i) != NULL; i++)
        check(arch_at(i)->name, &s);
}

Test(permuted_model, tied_tables_too)
{
    const struct synth_shape s = {.D = 48, .H = 6, .L = 2, .V = 101, .F = 80};
    for (size_t i = 0; arch_at(i) != NULL; i++)
        check(arch_at(i)->name, &s);
}

/* Groups 1 (one key head for all) to 8 (each its own), K other than D/H, biases, scaled rotary, windows. */
Test(permuted_model, grouped_heads_biases_rope_scaling_and_windows)
{
    for (int g = 1; g <= 8; g *= 2) {
        struct synth_shape s = {.D = 48, .H = 8, .G = g, .K = 10, .L = 2, .V = 101, .F = 64, .qkv_bias = true, .mlp_bias = true};
        check("LlamaForCausalLM", &s);
        s.rope = (struct rope_config){.kind = ROPE_LLAMA3, .theta = 5e5, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4,
                                      .original = 64};
        s.window = 7;
        check("MistralForCausalLM", &s);
        s.window_from = 1;
        check("Qwen2ForCausalLM", &s);
    }
}

Test(permuted_model, half_precision_weights_are_moved_not_rounded)
{
    struct synth_shape s = {.D = 48, .H = 6, .L = 2, .V = 101, .F = 80, .dtype = DTYPE_BF16};
    check("LlamaForCausalLM", &s);
    s.dtype = DTYPE_F16;
    check("GPT2LMHeadModel", &s);
}

/* Token by token with a cache, 64 tokens. One wrong position, cache row or key would show in the text. */
static void check_greedy(struct permuted *p, const char *name)
{
    enum { N = 64, PROMPT = 5 };
    const struct config *c = p->plain.config;
    int32_t plain[N], permuted[N];
    float *logits = malloc((size_t)config_outputs(c) * sizeof *logits);
    synth_ids(plain, PROMPT, c->V, 8);
    memcpy(permuted, plain, sizeof plain);
    cr_assert_eq(plain_greedy(&p->plain, plain, PROMPT, N, &err), 0, "%s", err.text);
    kvcache_truncate(p->kv, 0);
    for (int n = PROMPT, fed = 0; n < N; n++) {
        cr_assert_eq(permuted_append(p, permuted + fed, NULL, n - fed, 1, logits, &err), 0, "%s", err.text);
        fed = n;
        permuted[n] = 0;
        for (int v = 1; v < config_outputs(c); v++)
            if (logits[v] > logits[permuted[n]])
                permuted[n] = v;
    }
    cr_expect_arr_eq(plain, permuted, sizeof plain, "%s", name);
    free(logits);
}

Test(permuted_model, greedy_text_is_the_same_token_by_token)
{
    static const char *const names[] = {"LlamaForCausalLM", "GPT2LMHeadModel"};
    const struct synth_shape s = {.D = 48, .H = 6, .L = 3, .V = 101, .F = 80};
    for (int i = 0; i < 2; i++)
        for (int h = 0; h < 2; h++) {
            protected_synth(dir, names[i], &s, 5);
            struct permuted p = open_permuted(h == 0 ? "user" : "server");
            check_greedy(&p, names[i]);
            permuted_close(&p);
        }
}

/* Real models, when they are there. */
Test(permuted_model, trained_models_answer_as_the_plain_ones)
{
    static const char data[] = STIP_SOURCE_DIR "/../shared/data/models/";
    static const char *const names[] = {"llama-stories260K", "llama-stories260K-sharded", "llama-stories260K-qwen2",
                                        "llama-stories260K-f16", "gpt2-slm4096", "bert-tiny-sst2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char model[FILE_PATH_MAX];
        cr_assert_eq(file_join(model, data, names[i], &err), 0);
        if (!file_is_dir(model))
            continue;
        cr_assert_eq(symlink(model, tempdir_path(dir, "plain")), 0);
        for (int h = 0; h < 2; h++) {
            struct permuted p = open_permuted(h == 0 ? "user" : "server");
            compare(names[i], &p);
            if (p.plain.config->head == HEAD_LM)
                check_greedy(&p, names[i]);
            permuted_close(&p);
        }
        cr_assert_eq(unlink(tempdir_path(dir, "plain")), 0);
    }
}
