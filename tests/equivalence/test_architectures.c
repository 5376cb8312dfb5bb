/* Each architecture's own operators: the engine against the float64 reference, a prompt in pieces and in a batch against the same
 * at once, and the permuted model against the plain one. The families that were here first are in test_forward.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/table.h"
#include "tests/ref/ref.h"
#include "tests/support/permuted.h"
#include "tests/support/tempdir.h"

enum { T = 50, CAP = 64 };

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

TestSuite(architectures, .init = setup, .fini = teardown);

/* Largest difference, in units of the largest value. */
static double distance(const float *got, const double *want, size_t n)
{
    double most = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - want[i]);
        most = d > most || isnan(d) ? d : most;
        scale = fmax(scale, fabs(want[i]));
    }
    return most / scale;
}

/* Pieces of 7 tokens. What OpenBLAS multiplies is equal up to rounding, our own kernels give the same bits. */
static void check_pieces(struct plain *p, const int32_t *ids, const float *whole, const char *name)
{
    size_t width = (size_t)net_outputs(p->net), n = T * width;
    float *y = malloc(n * sizeof *y);
    kvcache_truncate(p->kv, 0);
    for (int at = 0; at < T; at += 7) {
        int m = T - at < 7 ? T - at : 7;
        cr_assert_eq(plain_append(p, ids + at, NULL, m, m, y + (size_t)at * width, &err), 0, "%s", err.text);
    }
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)y[i] - (double)whole[i]));
    cr_expect(kernels_get()->f32_by_blas ? most < 1e-4 : memcmp(y, whole, n * sizeof *y) == 0, "%s: pieces differ by %.3g", name,
              most);
    free(y);
}

static void check(const char *name, const char *architecture, const struct synth_shape *shape)
{
    static const char *const heads[] = {"server", "user"};
    int32_t ids[T];
    synth_ids(ids, T, shape->V, 3);
    protected_synth(dir, architecture, shape, 7);
    for (int h = 0; h < 2; h++) {
        struct permuted p;
        double *logits;
        cr_assert_eq(permuted_open(&p, dir, heads[h], NULL, CAP, &err), 0, "%s: %s", name, err.text);
        const struct config *c = p.plain.config;
        int rows = c->head == HEAD_CLASSIFY ? 1 : T;
        size_t n = (size_t)rows * (size_t)config_outputs(c);
        float *plain = malloc(n * sizeof *plain), *permuted = malloc(n * sizeof *permuted);
        cr_assert_eq(ref_forward(p.plain.cp, COMPUTE_F32, ids, NULL, T, NULL, &logits, &err), 0, "%s", err.text);
        cr_assert_eq(plain_append(&p.plain, ids, NULL, T, rows, plain, &err), 0, "%s", err.text);
        cr_assert_eq(permuted_append(&p, ids, NULL, T, rows, permuted, &err), 0, "%s", err.text);
        double own = distance(plain, logits, n), ours = distance(permuted, logits, n);
        printf("%-28s head on %-6s plain %.1e  permuted %.1e\n", name, heads[h], own, ours);
        cr_expect_lt(own, 1e-5, "%s: the plain engine is off by %.3g", name, own);
        cr_expect_lt(ours, 3 * own + 1e-6, "%s: permuted %.3g, plain %.3g", name, ours, own);
        if (h == 0 && c->causal)
            check_pieces(&p.plain, ids, plain, name);
        free(logits);
        free(plain);
        free(permuted);
        permuted_close(&p);
    }
    cr_assert_eq(file_remove_tree(tempdir_path(dir, "plain"), &err), 0);
}

/* Catches the norms left out and the gain of the other one (both tried). */
Test(architectures, qwen3_norms_queries_and_keys_head_by_head)
{
    struct synth_shape s = {.D = 48, .H = 8, .G = 2, .K = 10, .L = 3, .V = 101, .F = 64};
    check("qwen3 H/G=4 K=10", "Qwen3ForCausalLM", &s);
    s.G = 8;
    s.qkv_bias = true;
    s.window = 9;
    s.window_from = 1;
    s.untied = true;
    check("qwen3 biases, window", "Qwen3ForCausalLM", &s);
}

/* Catches an order of the gates that is not that of the ups (tried). */
Test(architectures, phi3_has_fused_tensors_and_maybe_partial_rotary)
{
    struct synth_shape s = {.D = 48, .H = 6, .G = 2, .L = 3, .V = 101, .F = 64, .untied = true};
    check("phi3", "Phi3ForCausalLM", &s);
    s.partial = 0.5;
    s.window = 7;
    check("phi3 half rotary, window", "Phi3ForCausalLM", &s);
}

/* Catches feed-forward after the attention where it stands beside it and the other way round, query, key and value taken for
 * stacked ones, biases not taken apart, free dims of Q and K in two orders (each tried). */
Test(architectures, gpt_neox_has_parallel_parts_and_interleaved_heads)
{
    struct synth_shape s = {.D = 48, .H = 4, .L = 3, .V = 101, .F = 64, .untied = true};
    check("gpt-neox", "GPTNeoXForCausalLM", &s);
    s.sequential = true;
    s.partial = 1;
    s.untied = false;
    check("gpt-neox sequential, tied", "GPTNeoXForCausalLM", &s);
    s.dtype = DTYPE_BF16;
    check("gpt-neox bf16", "GPTNeoXForCausalLM", &s);
}

/* Catches positions counted from 0, and tanh where ReLU or gelu belongs between the head's matrices (each tried). */
Test(architectures, roberta_and_distilbert_heads_and_positions)
{
    struct synth_shape s = {.D = 48, .H = 4, .L = 2, .V = 80, .F = 100, .classes = 5, .positions = T};
    check("roberta classify", "RobertaForSequenceClassification", &s);
    check("distilbert classify", "DistilBertForSequenceClassification", &s);
    s.act = "relu";
    check("roberta mlm", "RobertaForMaskedLM", &s);
    check("distilbert mlm", "DistilBertForMaskedLM", &s);
    check("xlm-roberta mlm", "XLMRobertaForMaskedLM", &s);
}

/* Catches each kind taken for default, the attention factor left out, a steeper ramp of yarn (each tried). */
Test(architectures, every_kind_of_rotary_positions)
{
    struct synth_shape s = {.D = 64, .H = 2, .L = 2, .V = 60, .F = 48, .positions = 256,
                            .rope = {.kind = ROPE_YARN, .theta = 1000, .factor = 4, .original = 64}};
    check("yarn", "Qwen3ForCausalLM", &s);
    s.rope_v5 = true;
    s.rope.attention_factor = 1.5;
    check("yarn, own factor, v5 keys", "LlamaForCausalLM", &s);
    s.rope = (struct rope_config){.kind = ROPE_LONGROPE, .original = 64};
    check("longrope, v5 keys", "Phi3ForCausalLM", &s);
    s.rope_v5 = false;
    s.partial = 0.75;
    check("longrope, partial", "Phi3ForCausalLM", &s);
}

/* Catches gains without their one, embeddings not scaled, a norm of what is added left out, caps left out, the scale of the
 * head's width, windows on the other layers, one rotation for all layers (each tried). */
Test(architectures, gemma_norms_caps_and_takes_turns)
{
    struct synth_shape s = {.D = 48, .H = 4, .G = 2, .K = 16, .L = 4, .V = 101, .F = 64, .window = 9};
    check("gemma", "GemmaForCausalLM", &s);
    check("gemma2", "Gemma2ForCausalLM", &s);
    check("gemma3", "Gemma3ForCausalLM", &s);
    s.rope = (struct rope_config){.kind = ROPE_LINEAR, .theta = 1e5, .factor = 8};
    s.rope_v5 = true;
    check("gemma3 linear, v5 keys", "Gemma3ForCausalLM", &s);
    s.untied = true;
    s.dtype = DTYPE_BF16;
    check("gemma2 untied bf16", "Gemma2ForCausalLM", &s);
}

/* Catches experts in plain order beside a permuted router and the other way round, weights divided by their sum where they should not
 * be, one expert too few, weights left out (each tried). */
Test(architectures, rows_go_through_the_experts_that_the_router_chooses)
{
    struct synth_shape s = {.D = 48, .H = 6, .G = 2, .L = 3, .V = 101, .F = 40, .untied = true};
    check("mixtral", "MixtralForCausalLM", &s);
    s.experts = 13;
    s.experts_used = 4;
    check("qwen3-moe 4 of 13", "Qwen3MoeForCausalLM", &s);
    s.renormalise = true;
    s.window = 8;
    check("qwen3-moe renormalised", "Qwen3MoeForCausalLM", &s);
    s.experts = s.experts_used = 3;
    s.dtype = DTYPE_BF16;
    check("mixtral all of 3, bf16", "MixtralForCausalLM", &s);
}

/* Catches a final norm left out or put where there is none, the pooler's place taken by the head (both tried). */
Test(architectures, models_without_head_give_their_rows)
{
    struct synth_shape s = {.D = 48, .H = 4, .L = 2, .V = 80, .F = 100, .positions = T};
    check("bert", "BertModel", &s);
    check("roberta", "RobertaModel", &s);
    check("xlm-roberta", "XLMRobertaModel", &s);
    check("distilbert", "DistilBertModel", &s);
    s.alias = 1;
    s.prefix = 1;
    check("bert with prefix, gamma and beta", "BertModel", &s);
    s = (struct synth_shape){.D = 48, .H = 8, .G = 2, .K = 10, .L = 3, .V = 101, .F = 64};
    check("qwen3", "Qwen3Model", &s);
    s.dtype = DTYPE_BF16;
    check("llama bf16", "LlamaModel", &s);
}

/* Catches the map left out, its bias left out, the tables read as wide as the model, one layer's copy under another's key, a set of
 * weights for every second layer where it is for the first and the second (each tried). */
Test(architectures, albert_widens_its_rows_and_shares_its_layers)
{
    struct synth_shape s = {.D = 48, .H = 4, .L = 6, .V = 80, .F = 100, .positions = T, .classes = 3};
    check("albert, one set", "AlbertModel", &s);
    s.groups = 3;
    check("albert, three sets", "AlbertModel", &s);
    s.alias = 1;
    check("albert classify, gamma and beta", "AlbertForSequenceClassification", &s);
}
