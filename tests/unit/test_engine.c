/* Loading and embedding: what is refused, and that nothing is touched then. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/le.h"
#include "engine/embed.h"
#include "engine/floats.h"
#include "engine/forward.h"
#include "tests/support/protected.h"

static char dir[64];
static struct err err;

static void make_folder(void)
{
    strcpy(dir, "/tmp/stip-engine-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static void remove_folder(void)
{
    cr_assert_eq(file_remove_tree(dir, &err), 0, "%s", err.text);
}

TestSuite(engine, .init = make_folder, .fini = remove_folder);

static const struct synth_shape small = {.D = 16, .H = 4, .G = 2, .L = 2, .V = 30, .F = 24, .positions = 20};

static struct checkpoint *open_synth(const char *architecture, const struct synth_shape *shape, unsigned need)
{
    struct checkpoint *cp;
    cr_assert_eq(synth_checkpoint(dir, architecture, shape, 5, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&cp, dir, need, &err), 0, "%s", err.text);
    return cp;
}

/* Overwrites one stored float32: the first of all tensors, or the last. */
static void store_nan(bool first)
{
    char path[FILE_PATH_MAX];
    uint8_t length[8];
    const float nan = NAN;
    (void)snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *f = fopen(path, "r+b");
    cr_assert_not_null(f);
    cr_assert_eq(fread(length, 1, 8, f), 8);
    cr_assert_eq(first ? fseek(f, 8 + (long)le_get64(length), SEEK_SET) : fseek(f, -4, SEEK_END), 0);
    cr_assert_eq(fwrite(&nan, sizeof nan, 1, f), 1);
    cr_assert_eq(fclose(f), 0);
}

Test(engine, embedding_adds_token_type_and_position_and_norms)
{
    struct checkpoint *cp = open_synth("BertForMaskedLM", &small, CHECKPOINT_ALL);
    struct embed *e;
    const int32_t ids[3] = {4, 29, 0}, types[3] = {0, 1, 1};
    float x[3 * 16], token[16], position[16], type[16], w[16], b[16];
    cr_assert_eq(embed_load(&e, cp, &err), 0, "%s", err.text);
    cr_assert_eq(embed_rows(e, ids, types, 3, 7, x, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_rows_f32(checkpoint_tensor(cp, ROLE_EMBED_NORM_W, 0), 0, 16, w, &err), 0);
    cr_assert_eq(checkpoint_rows_f32(checkpoint_tensor(cp, ROLE_EMBED_NORM_B, 0), 0, 16, b, &err), 0);
    for (size_t t = 0; t < 3; t++) {
        cr_assert_eq(checkpoint_rows_f32(checkpoint_tensor(cp, ROLE_TOKEN_EMBED, 0), (uint64_t)ids[t], 1, token, &err), 0);
        cr_assert_eq(checkpoint_rows_f32(checkpoint_tensor(cp, ROLE_POSITION_EMBED, 0), 7 + t, 1, position, &err), 0);
        cr_assert_eq(checkpoint_rows_f32(checkpoint_tensor(cp, ROLE_TYPE_EMBED, 0), (uint64_t)types[t], 1, type, &err), 0);
        double sum[16], mean = 0, var = 0;
        for (int d = 0; d < 16; d++)
            mean += (sum[d] = (double)token[d] + (double)position[d] + (double)type[d]) / 16;
        for (int d = 0; d < 16; d++)
            var += (sum[d] - mean) * (sum[d] - mean) / 16;
        for (int d = 0; d < 16; d++)
            cr_assert_float_eq((double)x[t * 16 + (size_t)d], (sum[d] - mean) / sqrt(var + 1e-12) * (double)w[d] + (double)b[d],
                               1e-5);
    }
    embed_free(e);
    checkpoint_close(cp);
}

/* Catches a range check that is one off at either end (tried: id == V, position == positions). */
Test(engine, embedding_refuses_what_is_outside_its_tables_and_writes_nothing)
{
    struct checkpoint *cp = open_synth("BertForMaskedLM", &small, CHECKPOINT_ALL);
    struct embed *e;
    static const struct {
        int32_t id, type;
        int first;
        const char *text; /* NULL: fine */
    } cases[] = {{29, 1, 18, NULL}, {0, 0, 0, NULL}, {30, 0, 0, "token 2 of 2"}, {-1, 0, 0, "token 2 of 2"},
                 {INT32_MAX, 0, 0, "token 2 of 2"}, {INT32_MIN, 0, 0, "token 2 of 2"}, {0, 2, 0, "token type 2 of 2"},
                 {0, -1, 0, "token type 2 of 2"}, {0, 0, 19, "20 positions"}, {0, 0, 20, "20 positions"},
                 {0, 0, INT32_MAX, "20 positions"}, {0, 0, -1, "20 positions"}};
    cr_assert_eq(embed_load(&e, cp, &err), 0, "%s", err.text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int32_t ids[2] = {1, cases[i].id}, types[2] = {0, cases[i].type};
        float x[2 * 16] = {0};
        int rc = embed_rows(e, ids, types, 2, cases[i].first, x, &err);
        if (cases[i].text == NULL) {
            cr_assert_eq(rc, 0, "case %zu: %s", i, err.text);
            continue;
        }
        cr_assert(rc == -1 && err.code == ERR_INPUT && strstr(err.text, cases[i].text) != NULL, "case %zu: %s", i, err.text);
        for (int d = 0; d < 32; d++)
            cr_assert_eq(x[d], 0.0f);
    }
    embed_free(e);
    checkpoint_close(cp);
}

Test(engine, nan_in_a_tensor_is_refused_by_its_name)
{
    struct embed *e = NULL;
    struct net *net = NULL;
    struct checkpoint *cp = open_synth("LlamaForCausalLM", &small, CHECKPOINT_ALL);
    checkpoint_close(cp);
    store_nan(true);
    cr_assert_eq(checkpoint_open(&cp, dir, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(embed_load(&e, cp, &err), -1);
    cr_assert(err.code == ERR_INPUT && strstr(err.text, "model.embed_tokens.weight") != NULL, "%s", err.text);
    cr_assert_eq(net_load(&net, cp, true, COMPUTE_F32, &err), -1); /* the tied head is the same table */
    cr_assert_eq(net_load(&net, cp, false, COMPUTE_F32, &err), 0, "%s", err.text);
    net_free(net);
    checkpoint_close(cp);

    cp = open_synth("LlamaForCausalLM", &small, CHECKPOINT_ALL);
    checkpoint_close(cp);
    store_nan(false);
    net = NULL;
    cr_assert_eq(checkpoint_open(&cp, dir, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(net_load(&net, cp, true, COMPUTE_F32, &err), -1);
    cr_assert(err.code == ERR_INPUT && strstr(err.text, "model.norm.weight") != NULL, "%s", err.text);
    cr_assert(net == NULL && e == NULL);
    checkpoint_close(cp);
}

/* A package whose manifest says f32 but whose matrices are int8: integers must not be taken for weights. */
Test(engine, int8_matrices_are_for_int8_products_only)
{
    struct protect_report report;
    struct checkpoint *cp;
    struct net *net = NULL;
    struct head *head = NULL;
    struct synth_shape s = small;
    s.untied = true;
    protected_synth(dir, "GPT2LMHeadModel", &s, 5);
    struct protect_opts o = protected_opts(dir, 3);
    o.head = "server";
    o.dtype = "int8";
    cr_assert_eq(protect_checkpoint(&o, &report, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&cp, report.package, CHECKPOINT_CORE | CHECKPOINT_HEAD, &err), 0, "%s", err.text);
    for (enum compute compute = COMPUTE_F32; compute <= COMPUTE_BF16; compute++) {
        cr_assert_eq(net_load(&net, cp, true, compute, &err), -1);
        cr_expect(err.code == ERR_INPUT && strstr(err.text, "'transformer.h.0.attn.c_attn.weight' is I8") != NULL &&
                  strstr(err.text, compute_name(compute)) != NULL, "%s", err.text);
        cr_assert_eq(head_load(&head, cp, compute, &err), -1);
        cr_expect(strstr(err.text, "'lm_head.weight' is I8") != NULL, "%s", err.text);
    }
    cr_assert(net == NULL && head == NULL);
    cr_assert_eq(net_load(&net, cp, true, COMPUTE_INT8, &err), 0, "%s", err.text);
    net_free(net);
    checkpoint_close(cp);
}

Test(engine, parts_that_are_not_there_are_refused)
{
    struct synth_shape s = small;
    struct net *net = NULL;
    struct head *head = NULL;
    struct embed *e = NULL;
    s.untied = true;
    s.without = CHECKPOINT_HEAD | CHECKPOINT_EMBED;
    struct checkpoint *cp = open_synth("LlamaForCausalLM", &s, CHECKPOINT_CORE);
    cr_assert(net_load(&net, cp, true, COMPUTE_F32, &err) == -1 && err.code == ERR_INPUT && strstr(err.text, "head") != NULL, "%s", err.text);
    cr_assert(head_load(&head, cp, COMPUTE_F32, &err) == -1 && err.code == ERR_INPUT);
    cr_assert(embed_load(&e, cp, &err) == -1 && err.code == ERR_INPUT && strstr(err.text, "embeddings") != NULL, "%s", err.text);
    cr_assert_eq(net_load(&net, cp, false, COMPUTE_F32, &err), 0, "%s", err.text);
    cr_assert_eq(net_outputs(net), s.D);
    net_free(net);
    checkpoint_close(cp);

    s.without = CHECKPOINT_CORE;
    cp = open_synth("LlamaForCausalLM", &s, CHECKPOINT_EMBED | CHECKPOINT_HEAD);
    cr_assert(net_load(&net, cp, false, COMPUTE_F32, &err) == -1 && err.code == ERR_INPUT && strstr(err.text, "layers") != NULL, "%s", err.text);
    cr_assert_eq(head_load(&head, cp, COMPUTE_F32, &err), 0, "%s", err.text);
    head_free(head);
    checkpoint_close(cp);
}

static size_t linear_bytes(const struct linear *l)
{
    return weights_bytes(l->w.format, (size_t)l->w.out, (size_t)l->w.in) + (l->b == NULL ? 0 : (size_t)l->w.out * sizeof(float));
}

/* A refusal before loading is worth something only if the forecast is not below the truth. Mutation: a head stored as BF16 is counted
 * as if it took four bytes each. */
Test(engine, net_bytes_is_never_below_what_is_loaded_and_close_to_it)
{
    static const char *const names[] = {"LlamaForCausalLM", "GPT2LMHeadModel", "BertForMaskedLM", "BertForSequenceClassification"};
    struct synth_shape s = small;
    s.D = 64;
    s.V = 2000;
    for (size_t i = 0; i < 6 * (sizeof names / sizeof *names); i++)
        for (int head = 0; head < 2; head++) {
            const enum compute compute = (enum compute)(i % 3);
            struct net *net;
            s.dtype = i / 3 % 2 == 0 ? DTYPE_F32 : DTYPE_BF16;
            struct checkpoint *cp = open_synth(names[i / 6], &s, CHECKPOINT_ALL);
            cr_assert_eq(net_load(&net, cp, head != 0, compute, &err), 0, "%s", err.text);
            size_t norm = (net->config.norm == NORM_LAYER ? 2U : 1U) * 64 * sizeof(float), sum = 0;
            for (int l = 0; l < s.L; l++) {
                const struct net_layer *y = &net->layers[l];
                sum += linear_bytes(&y->qkv) + linear_bytes(&y->o) + linear_bytes(&y->up) + linear_bytes(&y->down) + 2 * norm;
            }
            sum += net->final_norm.w != NULL ? norm : 0;
            sum += net->rope != NULL ? (size_t)net->config.K / 2 * sizeof(double) : 0;
            if (net->head != NULL) {
                sum += linear_bytes(&net->head->out) + (net->head->dense.w.data != NULL ? linear_bytes(&net->head->dense) : 0);
                sum += net->head->norm.w != NULL ? norm : 0;
            }
            size_t forecast = net_bytes(cp, head != 0, compute);
            cr_assert(forecast >= sum && forecast < sum + sum / 10, "%s of %s in %s: %zu for %zu", names[i / 6],
                      s.dtype == DTYPE_BF16 ? "bf16" : "f32", compute_name(compute), forecast, sum);
            net_free(net);
            checkpoint_close(cp);
        }
}

Test(engine, sizes_that_no_memory_holds_are_an_error)
{
    float *p = NULL;
    cr_assert(floats_alloc(&p, SIZE_MAX / 2, 3, &err) == -1 && err.code == ERR_INTERNAL && p == NULL);
    cr_assert(floats_alloc(&p, SIZE_MAX / 8, 2, &err) == -1 && p == NULL);
    cr_assert(floats_alloc(&p, (size_t)1 << 58, 1, &err) == -1 && p == NULL);
    cr_assert_eq(floats_alloc(&p, 0, 5, &err), 0);
    free(p);
}

Test(engine, freeing_nothing_is_fine)
{
    net_free(NULL);
    head_free(NULL);
    embed_free(NULL);
    kvcache_free(NULL);
    scratch_free(NULL);
}
