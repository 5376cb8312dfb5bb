/* model/checkpoint: synthetic checkpoints of every family, whole and with one thing wrong. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "model/checkpoint.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"

static char dir[FILE_PATH_MAX];

static void setup(void)
{
    tempdir_make(dir);
}

/* ------------------------------------------------------------------ a model.safetensors in memory, to be edited */

struct item {
    char name[256];
    enum dtype dtype;
    int rank;
    uint64_t dim[TENSOR_MAX_RANK];
    size_t bytes;
    uint8_t *data;
};

#define MAX_ITEMS 200
static struct item items[MAX_ITEMS];
static size_t item_count;

static void teardown(void)
{
    for (size_t i = 0; i < MAX_ITEMS; i++)
        free(items[i].data);
    tempdir_remove(dir);
}

TestSuite(checkpoint, .init = setup, .fini = teardown);

static struct item *add(const char *name, enum dtype dtype, int rank, const uint64_t *dim)
{
    struct item *it = &items[item_count++];
    cr_assert_lt(item_count, MAX_ITEMS);
    (void)snprintf(it->name, sizeof it->name, "%s", name);
    it->dtype = dtype;
    it->rank = rank;
    it->bytes = dtype_size(dtype);
    for (int d = 0; d < rank; d++) {
        it->dim[d] = dim[d];
        it->bytes *= dim[d];
    }
    it->data = calloc(1, it->bytes + 1);
    cr_assert_not_null(it->data);
    return it;
}

static struct item *item(const char *name)
{
    size_t i = 0;
    while (i < item_count && strcmp(items[i].name, name) != 0)
        i++;
    cr_assert_lt(i, item_count, "no tensor %s", name);
    return &items[i];
}

static void drop(const char *name)
{
    struct item *it = item(name), last = items[--item_count];
    free(it->data);
    items[item_count].data = NULL;
    *it = it == &items[item_count] ? (struct item){0} : last;
}

/* Makes a checkpoint and loads its tensors for editing. */
static void make(const char *architecture, const struct synth_shape *shape)
{
    struct err err = {0};
    struct safetensors *st = NULL;
    cr_assert_eq(synth_checkpoint(dir, architecture, shape, 1, &err), 0, "%s", err.text);
    cr_assert_eq(safetensors_open(&st, tempdir_path(dir, "model.safetensors"), &err), 0, "%s", err.text);
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct tensor *t = safetensors_at(st, i);
        struct item *it = add(t->name, t->dtype, t->rank, t->dim);
        memcpy(it->data, t->data, t->bytes);
    }
    safetensors_close(st);
}

/* Writes items [from, to) into DIR/file. */
static void save(const char *file, size_t from, size_t to)
{
    struct safetensors_out *out = NULL;
    struct err err = {0};
    cr_assert_eq(safetensors_out_new(&out, &err), 0);
    for (size_t i = from; i < to; i++)
        cr_assert_eq(safetensors_out_declare(out, items[i].name, items[i].dtype, items[i].rank, items[i].dim, &err), 0);
    cr_assert_eq(safetensors_out_begin(out, tempdir_path(dir, file), 0644, &err), 0, "%s", err.text);
    for (const char *name; (name = safetensors_out_next(out)) != NULL;)
        cr_assert_eq(safetensors_out_write(out, item(name)->data, item(name)->bytes, &err), 0);
    cr_assert_eq(safetensors_out_commit(out, &err), 0);
    safetensors_out_free(out);
}

static struct checkpoint *open_it(unsigned need)
{
    struct checkpoint *cp = NULL;
    struct err err = {0};
    cr_assert_eq(checkpoint_open(&cp, dir, need, &err), 0, "%s", err.text);
    return cp;
}

/* Opening fails, and the message holds the folder and each of the parts. */
static void refused(unsigned need, const char *a, const char *b, const char *c)
{
    struct checkpoint *cp = NULL;
    struct err err = {0};
    const char *const parts[] = {dir, a, b, c};
    cr_assert_eq(checkpoint_open(&cp, dir, need, &err), -1, "taken, but expected: %s", a);
    cr_expect_eq(err.code, ERR_INPUT);
    for (int i = 0; i < 4; i++)
        cr_expect(parts[i] == NULL || strstr(err.text, parts[i]) != NULL, "'%s' is not in: %s", parts[i], err.text);
}

static const struct synth_shape small = {.D = 16, .H = 4, .G = 2, .L = 2, .V = 32, .F = 24, .positions = 20};
static const struct synth_shape plain = {.D = 16, .H = 4, .L = 2, .V = 32, .F = 24, .positions = 20};

#define Q1 "model.layers.1.self_attn.q_proj.weight"

/* ------------------------------------------------------------------ what is right */

Test(checkpoint, every_architecture_opens_and_gives_every_tensor)
{
    for (size_t i = 0; arch_at(i) != NULL; i++)
        for (int prefix = 0; prefix < 2; prefix++) {
            struct err err = {0};
            struct synth_shape shape = plain;
            shape.prefix = prefix;
            cr_assert_eq(synth_checkpoint(dir, arch_at(i)->name, &shape, 1, &err), 0, "%s", err.text);
            struct checkpoint *cp = open_it(CHECKPOINT_ALL);
            const struct config *c = checkpoint_config(cp);
            uint64_t bytes = 0;
            for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++)
                for (int l = 0; l < arch_count(c, row) && arch_present(c, row); l++) {
                    const struct tensor *t = checkpoint_tensor(cp, row->role, l);
                    cr_assert_not_null(t, "%s: %s of layer %d", c->architecture, arch_role_name(row->role), l);
                    cr_expect_eq(checkpoint_file_of(cp, t), 0);
                    const bool shared = l > 0 && t == checkpoint_tensor(cp, row->role, l - 1);
                    cr_expect_eq(shared, l > 0 && c->groups == 1, "%s: layer %d", c->architecture, l);
                    bytes += shared || (row->role == ROLE_LM_HEAD && c->tied) ? 0 : t->bytes;
                }
            cr_expect_eq(checkpoint_bytes(cp), bytes);
            cr_expect(checkpoint_has(cp, PART_EMBED) && checkpoint_has(cp, PART_CORE) && checkpoint_has(cp, PART_HEAD));
            cr_expect_str_eq(checkpoint_dir(cp), dir);
            cr_expect_eq(checkpoint_files(cp), 1);
            cr_expect_not_null(json_get(json_root(checkpoint_json(cp)), "architectures"));
            checkpoint_close(cp);
        }
    checkpoint_close(NULL);
}

Test(checkpoint, layers_are_not_mixed_up)
{
    make("LlamaForCausalLM", &small);
    struct checkpoint *cp = open_it(CHECKPOINT_ALL);
    cr_expect_str_eq(checkpoint_tensor(cp, ROLE_Q, 1)->name, Q1);
    cr_expect_str_eq(checkpoint_tensor(cp, ROLE_Q, 0)->name, "model.layers.0.self_attn.q_proj.weight");
    checkpoint_close(cp);
}

Test(checkpoint, a_tied_model_may_store_its_only_table_as_the_head)
{
    struct synth_shape shape = small;
    shape.head_only = true;
    make("LlamaForCausalLM", &shape);
    struct checkpoint *cp = open_it(CHECKPOINT_ALL);
    const struct tensor *t = checkpoint_tensor(cp, ROLE_TOKEN_EMBED, 0);
    cr_assert_not_null(t);
    cr_expect_str_eq(t->name, "lm_head.weight");
    cr_expect(checkpoint_tensor(cp, ROLE_LM_HEAD, 0) == t);
    checkpoint_close(cp);
}

/* transformers takes the embedding for both. Catches: the head's own numbers (tried). */
Test(checkpoint, of_two_tables_of_a_tied_model_the_embedding_decides)
{
    static const uint64_t dim[] = {32, 16};
    make("LlamaForCausalLM", &small);
    (void)add("lm_head.weight", DTYPE_F32, 2, dim);
    save("model.safetensors", 0, item_count);
    struct checkpoint *cp = open_it(CHECKPOINT_ALL);
    cr_expect_str_eq(checkpoint_tensor(cp, ROLE_LM_HEAD, 0)->name, "model.embed_tokens.weight");
    cr_expect_str_eq(checkpoint_tensor(cp, ROLE_TOKEN_EMBED, 0)->name, "model.embed_tokens.weight");
    checkpoint_close(cp);
}

Test(checkpoint, an_untied_model_has_two_tables)
{
    struct synth_shape shape = small;
    shape.untied = true;
    make("LlamaForCausalLM", &shape);
    struct checkpoint *cp = open_it(CHECKPOINT_ALL);
    cr_expect_str_eq(checkpoint_tensor(cp, ROLE_LM_HEAD, 0)->name, "lm_head.weight");
    checkpoint_close(cp);
    drop("lm_head.weight");
    save("model.safetensors", 0, item_count);
    refused(CHECKPOINT_ALL, "tensor 'lm_head.weight' (output table) is missing", "tie_word_embeddings false", NULL);
}

Test(checkpoint, gpt2_without_prefix_and_with_mask_buffers_opens)
{
    static const uint64_t mask[] = {1, 1, 20, 20};
    struct synth_shape shape = plain;
    shape.prefix = 1;
    make("GPT2LMHeadModel", &shape);
    cr_expect_eq(item("h.0.attn.c_attn.weight")->dim[1], 48, "stored [in,out]");
    (void)add("h.0.attn.bias", DTYPE_U8, 4, mask);
    (void)add("h.1.attn.bias", DTYPE_BOOL, 4, mask);
    (void)add("h.1.attn.masked_bias", DTYPE_F32, 0, NULL);
    save("model.safetensors", 0, item_count);
    struct checkpoint *cp = open_it(CHECKPOINT_ALL);
    cr_expect_str_eq(checkpoint_tensor(cp, ROLE_QKV_BIAS, 0)->name, "h.0.attn.c_attn.bias");
    checkpoint_close(cp);
}

Test(checkpoint, norms_may_be_called_gamma_and_beta)
{
    struct synth_shape shape = plain;
    shape.alias = 1;
    make("BertForMaskedLM", &shape);
    struct checkpoint *cp = open_it(CHECKPOINT_ALL);
    cr_expect_str_eq(checkpoint_tensor(cp, ROLE_EMBED_NORM_W, 0)->name, "bert.embeddings.LayerNorm.gamma");
    cr_expect_str_eq(checkpoint_tensor(cp, ROLE_MLM_NORM_B, 0)->name, "cls.predictions.transform.LayerNorm.beta");
    cr_expect_str_eq(checkpoint_tensor(cp, ROLE_ATTN_NORM_B, 1)->name, "bert.encoder.layer.1.attention.output.LayerNorm.beta");
    checkpoint_close(cp);
}

Test(checkpoint, buffers_that_transformers_once_stored_are_passed_over)
{
    static const uint64_t one[] = {1, 20}, freq[] = {2}, pool[] = {16, 16}, two[] = {2, 16};
    make("BertForMaskedLM", &plain);
    (void)add("bert.embeddings.position_ids", DTYPE_I64, 2, one);
    (void)add("bert.pooler.dense.weight", DTYPE_F32, 2, pool);
    (void)add("cls.seq_relationship.weight", DTYPE_F32, 2, two);
    save("model.safetensors", 0, item_count);
    checkpoint_close(open_it(CHECKPOINT_ALL));
    while (item_count > 0)
        drop(items[0].name);
    make("LlamaForCausalLM", &small);
    (void)add("model.layers.0.self_attn.rotary_emb.inv_freq", DTYPE_F32, 1, freq);
    save("model.safetensors", 0, item_count);
    checkpoint_close(open_it(CHECKPOINT_ALL));
}

Test(checkpoint, parts_that_are_not_needed_may_be_missing)
{
    make("LlamaForCausalLM", &small);
    drop("model.embed_tokens.weight");
    save("model.safetensors", 0, item_count);
    struct checkpoint *cp = open_it(CHECKPOINT_CORE);
    cr_expect(checkpoint_has(cp, PART_CORE));
    cr_expect_not(checkpoint_has(cp, PART_EMBED));
    cr_expect_not(checkpoint_has(cp, PART_HEAD), "a tied head left with the embedding");
    cr_expect_null(checkpoint_tensor(cp, ROLE_TOKEN_EMBED, 0));
    cr_expect_null(checkpoint_tensor(cp, ROLE_POOL, 0));
    checkpoint_close(cp);
    refused(CHECKPOINT_ALL, "tensor 'model.embed_tokens.weight' (token embedding) is missing", NULL, NULL);
    refused(CHECKPOINT_CORE | CHECKPOINT_HEAD, "is missing", NULL, NULL);
}

/* ------------------------------------------------------------------ what is wrong with a tensor */

Test(checkpoint, a_missing_tensor_is_named_with_its_layer)
{
    make("LlamaForCausalLM", &small);
    drop(Q1);
    save("model.safetensors", 0, item_count);
    refused(CHECKPOINT_CORE, "tensor '" Q1 "' (query) is missing", NULL, NULL);
}

Test(checkpoint, a_misshapen_tensor_is_named_with_both_shapes)
{
    static const uint64_t turned[] = {24, 16}, flat[] = {256}, deep[] = {16, 16, 1}, longer[] = {17};
    static const struct {
        const char *architecture, *name;
        int rank;
        const uint64_t *dim;
        const char *expected, *found;
    } cases[] = {
        {"LlamaForCausalLM", "model.layers.0.mlp.down_proj.weight", 2, turned, "(down): config.json asks for shape [16,24]", "found [24,16]"},
        {"LlamaForCausalLM", Q1, 1, flat, "(query): config.json asks for shape [16,16]", "found [256]"},
        {"LlamaForCausalLM", Q1, 3, deep, "asks for shape [16,16]", "found [16,16,1]"},
        {"LlamaForCausalLM", "model.norm.weight", 1, longer, "(final norm gain): config.json asks for shape [16]", "found [17]"},
        {"LlamaForCausalLM", "model.norm.weight", 0, NULL, "asks for shape [16]", "found []"},
        {"GPT2LMHeadModel", "transformer.h.1.mlp.c_fc.weight", 2, turned, "(up): config.json asks for shape [16,24]", "found [24,16]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        while (item_count > 0)
            drop(items[0].name);
        make(cases[i].architecture, strcmp(cases[i].architecture, "GPT2LMHeadModel") == 0 ? &plain : &small);
        drop(cases[i].name);
        (void)add(cases[i].name, DTYPE_F32, cases[i].rank, cases[i].dim);
        save("model.safetensors", 0, item_count);
        refused(CHECKPOINT_ALL, cases[i].name, cases[i].expected, cases[i].found);
        refused(CHECKPOINT_ALL, "/model.safetensors: tensor '", NULL, NULL);
    }
}

Test(checkpoint, weights_must_be_floats)
{
    static const uint64_t dim[] = {16, 16};
    static const enum dtype kinds[] = {DTYPE_I64, DTYPE_F64, DTYPE_I16, DTYPE_U8, DTYPE_BOOL};
    make("LlamaForCausalLM", &small);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char found[64];
        drop(Q1);
        (void)add(Q1, kinds[i], 2, dim);
        save("model.safetensors", 0, item_count);
        (void)snprintf(found, sizeof found, "expected F32, BF16 or F16, found %s", dtype_name(kinds[i]));
        refused(CHECKPOINT_ALL, "model.safetensors: tensor '" Q1 "'", found, NULL);
    }
}

/* ------------------------------------------------------------------ int8 */

#define NORM1 "model.layers.1.input_layernorm.weight"

static struct item *add_scale(const char *name, enum dtype dtype, int rank, uint64_t first, uint64_t second)
{
    const uint64_t dim[] = {first, second, 2};
    struct item *it = add(name, dtype, rank, dim);
    for (size_t i = 0; dtype == DTYPE_F32 && i < it->bytes / sizeof(float); i++) {
        const float value = (float)i / 64;
        memcpy(it->data + i * sizeof value, &value, sizeof value);
    }
    return it;
}

#define W8A8 \
    "\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"int-quantized\",\"config_groups\":{\"group_0\":{" \
    "\"weights\":{\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"channel\",\"dynamic\":false}," \
    "\"input_activations\":{\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"token\",\"dynamic\":true}}}},"

static void say_int8(void)
{
    size_t len;
    char *text = tempdir_slurp(tempdir_path(dir, "config.json"), &len), *changed = malloc(len + sizeof W8A8);
    int n = sprintf(changed, "{" W8A8 "%s", strchr(text, '{') + 1);
    tempdir_spill(tempdir_path(dir, "config.json"), changed, (size_t)n);
    free(changed);
    free(text);
}

/* A model whose products are int8, each with a good scale. */
static void make_int8(void)
{
    make("LlamaForCausalLM", &small);
    for (size_t i = 0, n = item_count; i < n; i++) {
        struct item *it = &items[i];
        char scale[sizeof it->name + 8];
        if (it->rank != 2 || strcmp(it->name, "model.embed_tokens.weight") == 0)
            continue;
        it->dtype = DTYPE_I8;
        it->bytes = it->dim[0] * it->dim[1];
        for (size_t k = 0; k < it->bytes; k++)
            it->data[k] = (uint8_t)(k * 37);
        (void)snprintf(scale, sizeof scale, "%s_scale", it->name);
        (void)add_scale(scale, DTYPE_F32, 2, it->dim[0], 1);
    }
    say_int8();
}

Test(checkpoint, an_int8_matrix_comes_with_its_scale)
{
    make_int8();
    save("model.safetensors", 0, item_count);
    struct checkpoint *cp = open_it(CHECKPOINT_ALL);
    const struct tensor *t = checkpoint_tensor(cp, ROLE_Q, 1), *scale = checkpoint_scale(cp, t);
    float value;
    struct err err = {0};
    cr_assert(t->dtype == DTYPE_I8 && scale != NULL);
    cr_expect_null(checkpoint_scale(cp, checkpoint_tensor(cp, ROLE_ATTN_NORM_W, 0)), "a float tensor has none");
    cr_expect_null(checkpoint_scale(cp, checkpoint_tensor(cp, ROLE_LM_HEAD, 0)), "nor has a table that is an embedding");
    cr_expect_arr_eq(checkpoint_rows_i8(t, 3), item(Q1)->data + 3 * 16, 16);
    cr_assert_eq(checkpoint_rows_f32(scale, 7, 1, &value, &err), 0, "%s", err.text);
    cr_expect_eq(value, 7.0f / 64);
    checkpoint_close(cp);
}

/* Catches: a scale that is not looked for, its shape, dtype or numbers not looked at (each tried). */
Test(checkpoint, an_int8_matrix_without_a_good_scale_is_refused_by_name)
{
    static const struct {
        enum dtype dtype;
        int rank;
        uint64_t first, second;
        const char *found;
    } shapes[] = {{DTYPE_F32, 2, 15, 1, "found F32 [15,1]"}, {DTYPE_F32, 2, 1, 16, "found F32 [1,16]"}, {DTYPE_F32, 1, 16, 0, "found F32 [16]"},
                  {DTYPE_F32, 3, 16, 1, "found F32 [16,1,2]"}, {DTYPE_BF16, 2, 16, 1, "found BF16 [16,1]"}, {DTYPE_I8, 2, 16, 1, "found I8 [16,1]"}, {DTYPE_F32, 2, 0, 1, "found F32 [0,1]"}};
    static const float values[] = {NAN, INFINITY, -INFINITY, -0.5f};
    make_int8();
    drop(Q1 "_scale");
    save("model.safetensors", 0, item_count);
    refused(CHECKPOINT_ALL, Q1, "is I8, but there is no tensor '" Q1 "_scale'", NULL);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        (void)add_scale(Q1 "_scale", shapes[i].dtype, shapes[i].rank, shapes[i].first, shapes[i].second);
        save("model.safetensors", 0, item_count);
        refused(CHECKPOINT_ALL, Q1 "_scale", "expected F32 [16,1]", shapes[i].found);
        drop(Q1 "_scale");
    }
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct item *it = add_scale(Q1 "_scale", DTYPE_F32, 2, 16, 1);
        memcpy(it->data + 15 * sizeof(float), &values[i], sizeof(float));
        save("model.safetensors", 0, item_count);
        refused(CHECKPOINT_ALL, Q1 "_scale", "expected finite scales from 0 up", "for output 15");
        drop(Q1 "_scale");
    }
}

/* What no product reads stays float; and a scale that belongs to nothing means another model. */
Test(checkpoint, only_matrices_of_products_may_be_int8)
{
    static const uint64_t dim[] = {16}, table[] = {32, 16};
    make("LlamaForCausalLM", &small);
    drop(NORM1);
    (void)add(NORM1, DTYPE_I8, 1, dim);
    save("model.safetensors", 0, item_count);
    refused(CHECKPOINT_ALL, NORM1, "expected F32, BF16 or F16, found I8", NULL);
    while (item_count > 0)
        drop(items[0].name);
    make("LlamaForCausalLM", &small); /* tied: the table is the embedding too */
    drop("model.embed_tokens.weight");
    (void)add("lm_head.weight", DTYPE_I8, 2, table);
    (void)add_scale("lm_head.weight_scale", DTYPE_F32, 2, 32, 1);
    save("model.safetensors", 0, item_count);
    refused(CHECKPOINT_ALL, "lm_head.weight", "expected F32, BF16 or F16, found I8", NULL);
    while (item_count > 0)
        drop(items[0].name);
    make("LlamaForCausalLM", &small);
    (void)add_scale(Q1 "_scale", DTYPE_F32, 2, 16, 1);
    save("model.safetensors", 0, item_count);
    refused(CHECKPOINT_ALL, Q1 "_scale", "is not part of a LlamaForCausalLM", NULL);
}

/* Floats in between would be quantised when they are loaded, and integers that nobody announced taken for weights. Catches dtypes
 * looked at one by one, in either direction (both tried). */
Test(checkpoint, int8_is_all_matrices_or_none_as_the_config_says)
{
    static const uint64_t square[] = {16, 16};
    make_int8();
    drop(Q1);
    (void)add(Q1, DTYPE_F32, 2, square);
    drop(Q1 "_scale");
    save("model.safetensors", 0, item_count);
    refused(CHECKPOINT_ALL, Q1, "expected I8, as config.json's quantization_config says, found F32", NULL);
    while (item_count > 0)
        drop(items[0].name);
    make("LlamaForCausalLM", &small);
    drop(Q1);
    (void)add(Q1, DTYPE_I8, 2, square);
    (void)add_scale(Q1 "_scale", DTYPE_F32, 2, 16, 1);
    save("model.safetensors", 0, item_count);
    refused(CHECKPOINT_ALL, Q1, "found I8", "int8 needs a quantization_config");
}

/* An unknown tensor means that another model is meant. Catches: passing over what no table row explains (tried). */
Test(checkpoint, an_unknown_tensor_is_refused)
{
    static const uint64_t dim[] = {16};
    static const char *const names[] = {"model.layers.0.self_attn.q_norm.weight", "model.layers.2.input_layernorm.weight",
                                        "model.layers.00.input_layernorm.weight", "model.layers.0.self_attn.q_proj.bias",
                                        "norm.weight", "lm_head.bias", "model.layers.0.self_attn.q_proj.qweight"};
    make("LlamaForCausalLM", &small);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)add(names[i], DTYPE_F32, 1, dim);
        save("model.safetensors", 0, item_count);
        refused(CHECKPOINT_ALL, names[i], "is not part of a LlamaForCausalLM with this config.json", NULL);
        drop(names[i]);
    }
}

/* ------------------------------------------------------------------ numbers */

Test(checkpoint, rows_come_as_float32_from_every_dtype)
{
    static const enum dtype kinds[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    for (int i = 0; i < 3; i++) {
        struct synth_shape shape = small;
        struct err err = {0};
        float all[16 * 16], some[3 * 16], gain[16];
        shape.dtype = kinds[i];
        cr_assert_eq(synth_checkpoint(dir, "LlamaForCausalLM", &shape, 1, &err), 0, "%s", err.text);
        struct checkpoint *cp = open_it(CHECKPOINT_ALL);
        const struct tensor *q = checkpoint_tensor(cp, ROLE_Q, 1), *n = checkpoint_tensor(cp, ROLE_FINAL_NORM_W, 0);
        cr_assert_eq(checkpoint_rows_f32(q, 0, 16, all, &err), 0, "%s", err.text);
        cr_assert_eq(checkpoint_rows_f32(q, 5, 3, some, &err), 0);
        cr_expect_arr_eq(some, all + 5 * 16, sizeof some);
        cr_assert_eq(checkpoint_rows_f32(n, 2, 14, gain, &err), 0);
        for (int k = 0; k < 14; k++)
            cr_expect(gain[k] >= 0.5f && gain[k] <= 1.5f);
        cr_expect_eq(checkpoint_rows_f32(q, 16, 0, some, &err), 0);
        checkpoint_close(cp);
    }
}

Test(checkpoint, nan_and_infinity_are_refused_where_they_are_read)
{
    const float bad[] = {NAN, INFINITY, -INFINITY};
    make("LlamaForCausalLM", &small);
    for (int i = 0; i < 3; i++) {
        struct err err = {0};
        float row[16] = {7.0f};
        memcpy(item(Q1)->data + 4 * (3 * 16 + 5), &bad[i], 4);
        save("model.safetensors", 0, item_count);
        struct checkpoint *cp = open_it(CHECKPOINT_ALL);
        const struct tensor *q = checkpoint_tensor(cp, ROLE_Q, 1);
        cr_expect_eq(checkpoint_rows_f32(q, 2, 1, row, &err), 0);
        row[0] = 7.0f;
        cr_expect_eq(checkpoint_rows_f32(q, 3, 1, row, &err), -1);
        cr_expect_eq(row[0], 7.0f, "the output is untouched");
        cr_expect_eq(err.code, ERR_INPUT);
        cr_expect_not_null(strstr(err.text, "/model.safetensors: tensor '" Q1 "': NaN or infinity at element 53"), "%s", err.text);
        checkpoint_close(cp);
    }
}

/* ------------------------------------------------------------------ files */

#define S1 "model-00001-of-00002.safetensors"
#define S2 "model-00002-of-00002.safetensors"

/* Two shards and the index that belongs to them; then `from` is replaced by `to` in the index. */
static void make_shards(const char *from, const char *to)
{
    make("LlamaForCausalLM", &small);
    size_t half = item_count / 2;
    save(S1, 0, half);
    save(S2, half, item_count);
    cr_assert_eq(remove(tempdir_path(dir, "model.safetensors")), 0);
    struct json_doc *doc = json_new_object("index");
    struct json *map = json_put_object(doc, json_node(doc), "weight_map");
    char *text = NULL;
    for (size_t i = 0; i < item_count; i++)
        json_put_str(doc, map, items[i].name, i < half ? S1 : S2);
    cr_assert_eq(json_print(doc, false, &text, NULL), 0);
    char *at = from == NULL ? NULL : strstr(text, from);
    cr_assert(from == NULL || at != NULL);
    char *edited = calloc(1, strlen(text) + 500);
    cr_assert_not_null(edited);
    if (at == NULL)
        (void)strcpy(edited, text);
    else
        (void)sprintf(edited, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    tempdir_spill(tempdir_path(dir, "model.safetensors.index.json"), edited, strlen(edited));
    free(edited);
    free(text);
    json_free(doc);
}

Test(checkpoint, shards_make_one_checkpoint)
{
    make_shards(NULL, NULL);
    struct checkpoint *cp = open_it(CHECKPOINT_ALL);
    cr_expect_eq(checkpoint_files(cp), 2);
    for (size_t f = 0; f < 2; f++)
        cr_expect(strcmp(checkpoint_file_name(cp, f), S1) == 0 || strcmp(checkpoint_file_name(cp, f), S2) == 0);
    for (int l = 0; l < 2; l++) {
        const struct tensor *t = checkpoint_tensor(cp, ROLE_Q, l);
        const char *file = checkpoint_file_name(cp, checkpoint_file_of(cp, t));
        cr_expect_not_null(strstr(t->file, file), "%s is in %s", t->name, t->file);
    }
    checkpoint_close(cp);
}

Test(checkpoint, a_shard_that_the_index_names_must_be_there)
{
    make_shards(NULL, NULL);
    cr_assert_eq(remove(tempdir_path(dir, S2)), 0);
    refused(CHECKPOINT_ALL, "model.safetensors.index.json: ", S2 ": No such file", NULL);
}

Test(checkpoint, a_tensor_must_be_in_its_shard)
{
    make_shards("\"" Q1 "\":\"" S2 "\"", "\"" Q1 "\":\"" S1 "\"");
    refused(CHECKPOINT_ALL, "model.safetensors.index.json: tensor '" Q1 "' is said to be in " S1 ", but is not there", NULL, NULL);
}

Test(checkpoint, an_index_leads_nowhere_but_into_its_folder)
{
    static const char *const bad[] = {"\"../x.safetensors\"", "\"/etc/passwd\"", "\"a/b\"", "\"..\"", "\"\"", "7", "null"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        while (item_count > 0)
            drop(items[0].name);
        make_shards("\"" S1 "\"", bad[i]);
        refused(CHECKPOINT_ALL, "model.safetensors.index.json: tensor '", "expected a file name without folders", NULL);
    }
}

Test(checkpoint, an_index_without_a_map_is_refused)
{
    make_shards("\"weight_map\":", "\"weights\":");
    refused(CHECKPOINT_ALL, "index.json: field 'weight_map': expected an object, found nothing", NULL, NULL);
    make_shards(NULL, NULL);
    tempdir_spill(tempdir_path(dir, "model.safetensors.index.json"), "{\"weight_map\":{}}", 17);
    refused(CHECKPOINT_ALL, "is missing", NULL, NULL);
}

Test(checkpoint, a_tensor_stored_in_two_files_is_refused)
{
    make_shards(NULL, NULL);
    save(S2, item_count / 2 - 1, item_count);
    char both[FILE_PATH_MAX];
    (void)snprintf(both, sizeof both, "tensor '%s' is stored in ", items[item_count / 2 - 1].name);
    refused(CHECKPOINT_ALL, both, S1, S2);
}

Test(checkpoint, a_pickle_is_not_read_but_explained)
{
    make("LlamaForCausalLM", &small);
    cr_assert_eq(rename(tempdir_path(dir, "model.safetensors"), tempdir_path(dir, "pytorch_model.bin")), 0);
    refused(CHECKPOINT_ALL, "pytorch_model.bin is a pickle", "safe_serialization=True", NULL);
    cr_assert_eq(remove(tempdir_path(dir, "pytorch_model.bin")), 0);
    refused(CHECKPOINT_ALL, "there is neither model.safetensors nor model.safetensors.index.json", NULL, NULL);
}

Test(checkpoint, a_folder_that_is_none_is_refused)
{
    struct checkpoint *cp = NULL;
    struct err err = {0};
    tempdir_spill(tempdir_path(dir, "file"), "x", 1);
    cr_expect_eq(checkpoint_open(&cp, tempdir_path(dir, "file"), CHECKPOINT_ALL, &err), -1);
    cr_expect_not_null(strstr(err.text, "no such folder"));
    cr_expect_eq(checkpoint_open(&cp, tempdir_path(dir, "none"), CHECKPOINT_ALL, &err), -1);
    refused(CHECKPOINT_ALL, "there is no config.json", NULL, NULL);
    cr_expect_null(cp);
}

/* ------------------------------------------------------------------ the shared checkpoints, where they are */

Test(checkpoint, the_shared_checkpoints_open)
{
    static const char *const names[] = {"llama-stories260K", "llama-stories260K-bf16", "llama-stories260K-f16",
                                        "llama-stories260K-sharded", "llama-stories260K-untied", "llama-stories260K-mistral",
                                        "llama-stories260K-qwen2", "gpt2-slm4096", "bert-tiny-sst2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[FILE_PATH_MAX];
        struct checkpoint *cp = NULL;
        struct err err = {0};
        cr_assert_eq(file_join(path, STIP_SOURCE_DIR "/../shared/data/models", names[i], NULL), 0);
        if (!file_is_dir(path))
            continue;
        cr_expect_eq(checkpoint_open(&cp, path, CHECKPOINT_ALL, &err), 0, "%s", err.text);
        checkpoint_close(cp);
    }
}
