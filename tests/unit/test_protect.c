/* model_dev/protect: the package against the definition, element by element, for every family; and what is not in it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model/checkpoint.h"
#include "model/manifest.h"
#include "model/quant.h"
#include "model_dev/context_key.h"
#include "tests/support/protected.h"
#include "tests/support/tempdir.h"

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

TestSuite(protect, .init = setup, .fini = teardown);

static struct protect_report protect(const struct protect_opts *o)
{
    struct protect_report r;
    cr_assert_eq(protect_checkpoint(o, &r, &err), 0, "%s", err.text);
    return r;
}

static struct checkpoint *open_checkpoint(const char *name, unsigned need)
{
    struct checkpoint *cp = NULL;
    cr_assert_eq(checkpoint_open(&cp, tempdir_path(dir, name), need, &err), 0, "%s", err.text);
    return cp;
}

/* ------------------------------------------------------------------ the definition, W'[i][j] = W[out[i]][in[j]] */

/* Keys from the axes, not from model_dev/rules. */
static enum key key_of(enum axis axis)
{
    static const enum key keys[] = {[AX_ONE] = KEY_NONE,
                                    [AX_D] = KEY_RESIDUAL,
                                    [AX_Q] = KEY_QUERY,
                                    [AX_KEY] = KEY_KEY,
                                    [AX_VALUE] = KEY_VALUE,
                                    [AX_QKV] = KEY_QKV,
                                    [AX_QKV_HEADS] = KEY_QKV_HEADS,
                                    [AX_HEAD] = KEY_NONE,
                                    [AX_GATE_UP] = KEY_GATE_UP, [AX_EXPERT] = KEY_EXPERTS,
                                    [AX_MIX] = KEY_MIX,
                                    [AX_F] = KEY_FFN,
                                    [AX_POOL] = KEY_POOL,
                                    [AX_MLM] = KEY_MLM,
                                    [AX_V] = KEY_OUTPUT,
                                    [AX_C] = KEY_OUTPUT};
    return keys[axis];
}

/* Element (out, in) of a tensor, however it is stored. */
static const uint8_t *element(const struct arch_tensor *row, const struct tensor *t, uint64_t out, uint64_t in)
{
    uint64_t at = t->rank == 1 ? out : row->conv1d ? in * t->dim[1] + out : out * t->dim[1] + in;
    return t->data + at * dtype_size(t->dtype);
}

/* True if the stored result is the source in dtype `to`. */
static bool same_value(const struct tensor *got, const uint8_t *g, const struct tensor *want, const uint8_t *w)
{
    uint8_t converted[4];
    float f;
    if (got->dtype == want->dtype)
        return memcmp(g, w, dtype_size(got->dtype)) == 0;
    dtype_to_f32(want->dtype, w, &f, 1);
    dtype_from_f32(got->dtype, &f, converted, 1);
    return memcmp(g, converted, dtype_size(got->dtype)) == 0;
}

/* int8 of one output in plain space: its integers [in] and its scale. Permuted elements must be these, wherever they are. */
static float quantised(const struct arch_tensor *row, const struct tensor *t, uint64_t out, uint64_t in, int8_t *q)
{
    float scale, *w = malloc(in * sizeof *w);
    for (uint64_t j = 0; j < in; j++)
        dtype_to_f32(t->dtype, element(row, t, out, j), &w[j], 1);
    quant_row(q, &scale, w, in);
    free(w);
    return scale;
}

static void check_int8(const struct checkpoint *cp, const struct arch_tensor *row, const struct tensor *plain, const struct tensor *packed,
                       const struct perm *out, const struct perm *in, uint64_t rows, uint64_t cols)
{
    const struct tensor *scale = checkpoint_scale(cp, packed);
    int8_t *q = malloc(cols);
    cr_assert(scale != NULL && scale->count == rows && scale->dim[0] == rows);
    for (uint64_t i = 0; i < rows; i++) {
        float found, want = quantised(row, plain, out->to[i], cols, q);
        memcpy(&found, scale->data + i * sizeof found, sizeof found);
        cr_assert_eq(found, want, "%s: scale %lu", arch_role_name(row->role), (unsigned long)i);
        for (uint64_t j = 0; j < cols; j++)
            cr_assert_eq((int8_t)*element(row, packed, i, j), q[in->n == 0 ? j : in->to[j]], "%s at %lu,%lu", arch_role_name(row->role),
                         (unsigned long)i, (unsigned long)j);
    }
    free(q);
}

static void check_tensor(const struct checkpoint *cp, const struct keyset *ks, const struct config *c, const struct arch_tensor *row, int layer,
                         const struct tensor *plain, const struct tensor *packed, bool keep)
{
    struct perm out = {0}, in = {0};
    uint64_t rows = (uint64_t)arch_axis_size(c, row->out), cols = (uint64_t)arch_axis_size(c, row->in);
    const char *what = arch_role_name(row->role);
    cr_assert_eq(keyset_perm(ks, key_of(row->out), layer, &out, NULL), 0);
    cr_assert_eq(keyset_perm(ks, key_of(row->in), layer, &in, NULL), 0);
    cr_assert_not_null(packed, "%s of layer %d is not in the package", what, layer);
    cr_assert_eq(packed->count, rows * cols);
    cr_assert(!keep || packed->dtype == plain->dtype);
    if (packed->dtype == DTYPE_I8)
        check_int8(cp, row, plain, packed, &out, &in, rows, cols);
    for (uint64_t i = 0; i < rows && packed->dtype != DTYPE_I8; i++)
        for (uint64_t j = 0; j < cols; j++) {
            const uint8_t *want = element(row, plain, out.n == 0 ? i : out.to[i], in.n == 0 ? 0 : in.to[j]);
            cr_assert(same_value(packed, element(row, packed, i, j), plain, want), "%s of layer %d at %lu,%lu", what, layer,
                      (unsigned long)i, (unsigned long)j);
        }
    perm_wipe(&out);
    perm_wipe(&in);
}

/* Which of the plain tensors stands at place l: experts are in a secret order in their layer. */
static int plain_number(const struct keyset *ks, const struct config *c, const struct arch_tensor *row, int l)
{
    struct perm order = {0};
    if (!row->per_expert)
        return l;
    cr_assert_eq(keyset_perm(ks, KEY_EXPERTS, l / c->experts, &order, NULL), 0);
    int expert = (int)order.to[l % c->experts];
    perm_wipe(&order);
    return l / c->experts * c->experts + expert;
}

/* Every tensor of the core and, with `head`, of the head; nothing of the embeddings; nothing else. */
static void check_package(uint8_t seed, bool head, bool keep)
{
    struct checkpoint *plain = open_checkpoint("plain", CHECKPOINT_ALL);
    struct checkpoint *packed = open_checkpoint("out/package", CHECKPOINT_CORE | (head ? CHECKPOINT_HEAD : 0u));
    const struct config *c = checkpoint_config(plain);
    struct keyset *ks = protected_keys(c, seed);
    int checked = 0;
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++)
        for (int l = 0; arch_present(c, row) && l < arch_count(c, row); l++) {
            const struct tensor *t = checkpoint_tensor(packed, row->role, l);
            if (row->part == PART_CORE || (row->part == PART_HEAD && head)) {
                check_tensor(packed, ks, c, row, l, checkpoint_tensor(plain, row->role, plain_number(ks, c, row, l)), t, keep);
                checked++;
            } else {
                cr_assert_null(t, "%s left for the server", arch_role_name(row->role));
            }
        }
    cr_assert_geq(checked, 10);
    keyset_free(ks);
    checkpoint_close(plain);
    checkpoint_close(packed);
}

static void check_family(const char *architecture, const struct synth_shape *shape, const char *head, const char *dtype)
{
    protected_synth(dir, architecture, shape, 5);
    struct protect_opts o = protected_opts(dir, 9);
    o.head = protected_head(dir, head);
    o.dtype = dtype;
    struct protect_report r = protect(&o);
    check_package(9, !r.head_user, dtype == NULL);
    cr_assert_eq(file_remove_tree(tempdir_path(dir, "out"), NULL), 0);
    cr_assert_eq(file_remove_tree(tempdir_path(dir, "plain"), NULL), 0);
}

/* Catches columns permuted by the inverse, rows left as they were, Conv1D permuted as if it were [out,in], the fused matrix
 * under the key of Q alone, a bias left as it was (all tried). */
Test(protect, every_tensor_equals_the_definition_for_every_family)
{
    const struct synth_shape any = {.D = 24, .H = 6, .L = 2, .V = 50, .F = 40, .classes = 3, .untied = true};
    for (size_t i = 0; arch_at(i) != NULL; i++)
        check_family(arch_at(i)->name, &any, "server", NULL);
    for (size_t i = 0; arch_at(i) != NULL; i++)
        check_family(arch_at(i)->name, &any, "user", NULL);
}

Test(protect, grouped_heads_biases_half_precision_and_old_spellings_too)
{
    static const char *const llamas[] = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"};
    for (int g = 1; g <= 8; g *= 2)
        for (int i = 0; i < 3; i++) {
            const struct synth_shape grouped = {.D = 24, .H = 8, .G = g, .K = 6, .L = 2, .V = 50, .F = 40, .qkv_bias = true,
                                                .mlp_bias = true, .dtype = i == 0 ? DTYPE_BF16 : i == 1 ? DTYPE_F16 : DTYPE_F32};
            check_family(llamas[i], &grouped, "server", NULL);
        }
    const struct synth_shape old = {.D = 24, .H = 6, .L = 2, .V = 50, .F = 40, .prefix = 1, .alias = 1};
    check_family("GPT2LMHeadModel", &old, "server", NULL);
    check_family("BertForMaskedLM", &old, "server", NULL);
    const struct synth_shape head_only = {.D = 24, .H = 6, .L = 2, .V = 50, .F = 40, .head_only = true};
    check_family("LlamaForCausalLM", &head_only, "server", NULL);
}

Test(protect, conversion_rounds_and_keeping_does_not)
{
    for (enum dtype from = DTYPE_F32; from <= DTYPE_F16; from++) {
        const struct synth_shape s = {.D = 24, .H = 6, .L = 1, .V = 50, .F = 40, .dtype = from, .untied = true};
        check_family("LlamaForCausalLM", &s, NULL, NULL);
        check_family("LlamaForCausalLM", &s, NULL, "f32");
        check_family("GPT2LMHeadModel", &s, NULL, "bf16");
    }
}

/* Which tensors a dtype touches: f32 all, bf16 and int8 the matrices, since norms and biases are computed in float32. */
static void check_dtypes(const char *dtype, enum dtype matrices, enum dtype vectors, const char *said)
{
    struct protect_opts o = protected_opts(dir, 9);
    struct manifest m = {0};
    char *text;
    size_t len;
    uint8_t sig[CRYPTO_SIG_LEN];
    o.dtype = dtype;
    o.head = "server";
    struct protect_report r = protect(&o);
    struct checkpoint *cp = open_checkpoint("out/package", CHECKPOINT_CORE | CHECKPOINT_HEAD);
    const struct config *c = checkpoint_config(cp);
    for (const struct arch_tensor *row = c->arch->tensors; row->role != ROLE_COUNT; row++) {
        const struct tensor *t = arch_present(c, row) ? checkpoint_tensor(cp, row->role, 0) : NULL;
        if (t != NULL)
            cr_expect_eq(t->dtype, row->in == AX_ONE ? vectors : matrices, "%s %s", dtype, t->name);
    }
    checkpoint_close(cp);
    cr_assert_eq(manifest_load(&m, r.package, &text, &len, sig, &err), 0, "%s", err.text);
    cr_expect(strcmp(m.dtype, dtype_name(matrices)) == 0 && strcmp(compute_name(m.compute), said) == 0 && m.compute == r.compute);
    manifest_free(&m);
    free(text);
    cr_assert_eq(file_remove_tree(tempdir_path(dir, "out"), NULL), 0);
}

Test(protect, bf16_and_int8_are_for_matrices_and_say_so_in_the_manifest)
{
    const struct synth_shape s = {.D = 24, .H = 6, .L = 1, .V = 50, .F = 40, .dtype = DTYPE_F16};
    protected_synth(dir, "BertForMaskedLM", &s, 5);
    check_dtypes("keep", DTYPE_F16, DTYPE_F16, "f32");
    check_dtypes("f32", DTYPE_F32, DTYPE_F32, "f32");
    check_dtypes("bf16", DTYPE_BF16, DTYPE_F16, "bf16");
    check_dtypes("int8", DTYPE_I8, DTYPE_F16, "int8");
}

/* Quantising and permuting commute: the package holds the plain integers in another order. Catches a scale vector left in plain
 * order, a Conv1D quantised by the scale of the column that stood there before, a neighbour's scale, 128 for 127 (each tried). */
Test(protect, int8_is_the_plain_model_quantised_and_then_permuted)
{
    const struct synth_shape any = {.D = 24, .H = 6, .L = 2, .V = 50, .F = 40, .classes = 3, .untied = true};
    for (size_t i = 0; arch_at(i) != NULL; i++) {
        check_family(arch_at(i)->name, &any, "server", "int8");
        check_family(arch_at(i)->name, &any, "user", "int8");
    }
    const struct synth_shape halves = {.D = 24, .H = 8, .G = 2, .K = 6, .L = 2, .V = 50, .F = 40, .dtype = DTYPE_BF16};
    check_family("LlamaForCausalLM", &halves, "server", "int8"); /* tied: the server's table is int8, the embedding stays */
    check_family("GPT2LMHeadModel", &halves, "server", "int8");
}

/* ------------------------------------------------------------------ determinism */

/* Paths and the map of the process decide nothing: only model, seed, date and signer do. */
Test(protect, same_seed_gives_the_same_bytes_and_another_seed_does_not)
{
    const struct synth_shape s = {.D = 24, .H = 6, .L = 2, .V = 50};
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    static const char *const names[] = {"package/config.json", "package/model.safetensors", "package/manifest.json",
                                        "package/manifest.sig", "context.key"};
    struct protect_opts o = protected_opts(dir, 1);
    char first[FILE_PATH_MAX], second[FILE_PATH_MAX], third[FILE_PATH_MAX];
    cr_assert_eq(file_join(first, dir, "a", NULL) | file_join(second, dir, "b", NULL) | file_join(third, dir, "c", NULL), 0);
    o.out = first;
    protect(&o);
    o.out = second;
    struct protect_report same = protect(&o);
    o.out = third;
    o.seed = protected_opts(dir, 2).seed;
    struct protect_report other = protect(&o);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cr_expect(tempdir_same(tempdir_path(first, names[i]), tempdir_path(second, names[i])), "%s", names[i]);
        if (i > 0)
            cr_expect_not(tempdir_same(tempdir_path(first, names[i]), tempdir_path(third, names[i])), "%s", names[i]);
    }
    cr_expect_arr_neq(same.context_id, other.context_id, sizeof same.context_id);
}

Test(protect, draws_a_new_seed_each_time_when_none_is_given)
{
    const struct synth_shape s = {.D = 24, .H = 6, .L = 1, .V = 50};
    struct context_key a = {0}, b = {0};
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    struct protect_opts o = protected_opts(dir, 1);
    o.seed = NULL;
    struct protect_report r = protect(&o);
    cr_assert_eq(context_key_read(&a, r.key, &err), 0, "%s", err.text);
    o.force = true;
    protect(&o);
    cr_assert_eq(context_key_read(&b, r.key, &err), 0, "%s", err.text);
    cr_expect_arr_neq(a.seed, b.seed, sizeof a.seed);
}

/* ------------------------------------------------------------------ what goes along and what does not */

Test(protect, package_is_signed_complete_and_named_by_its_key)
{
    const struct synth_shape s = {.D = 24, .H = 6, .L = 2, .V = 50, .dtype = DTYPE_BF16, .untied = true};
    struct manifest m = {0};
    struct context_key key = {0};
    char *text = NULL;
    size_t len = 0;
    uint8_t sig[CRYPTO_SIG_LEN], id[CRYPTO_HASH_LEN];
    struct stat st;
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    struct protect_opts o = protected_opts(dir, 1);
    o.epoch = 4;
    struct protect_report r = protect(&o);
    cr_assert_eq(manifest_load(&m, r.package, &text, &len, sig, &err), 0, "%s", err.text);
    cr_expect_eq(manifest_verify(text, len, sig, protected_signer(), &err), 0, "%s", err.text);
    cr_expect_eq(manifest_check_files(&m, r.package, &err), 0, "%s", err.text);
    cr_assert_eq(manifest_context_id(text, len, id, &err), 0);
    cr_assert_eq(context_key_read(&key, r.key, &err), 0, "%s", err.text);
    cr_expect_eq(context_key_check(&key, id, r.key, r.package, &err), 0, "%s", err.text);
    cr_expect_arr_eq(id, r.context_id, sizeof id);
    cr_expect(key.epoch == 4 && m.epoch == 4 && !key.head_user && key.shape.outputs == 50 && key.shape.rotary == 4);
    cr_expect(strcmp(m.model, "LlamaForCausalLM") == 0 && strcmp(m.dtype, "BF16") == 0 && strcmp(m.head, "server") == 0);
    cr_expect_str_eq(m.created, "2026-11-21T09:30:00Z");
    cr_expect_eq(r.bytes, manifest_bytes(&m));
    cr_expect(stat(r.key, &st) == 0 && (st.st_mode & 0777) == 0600);
    cr_expect_eq(tempdir_count(o.out), 2, "something else lies in the folder");
    cr_expect_eq(tempdir_count(r.package), 4);
    free(text);
    manifest_free(&m);
}

/* Labels say what a model is for; paths say whose it is. */
Test(protect, config_carries_no_text_of_the_source)
{
    static const char config[] =
        "{\"architectures\":[\"BertForSequenceClassification\"],\"model_type\":\"bert\",\"vocab_size\":50,\"hidden_size\":24,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":6,\"intermediate_size\":96,\"max_position_embeddings\":512,"
        "\"hidden_act\":\"relu\",\"id2label\":{\"0\":\"SECRET-a\",\"1\":\"SECRET-b\",\"2\":\"SECRET-c\"},"
        "\"label2id\":{\"SECRET-a\":0,\"SECRET-b\":1,\"SECRET-c\":2},\"_name_or_path\":\"/home/SECRET\",\"finetuning_task\":"
        "\"SECRET\",\"task_specific_params\":{\"SECRET\":1},\"type_vocab_size\":2,\"torch_dtype\":\"float32\"}";
    const struct synth_shape s = {.D = 24, .H = 6, .L = 1, .V = 50, .classes = 3, .act = "relu"};
    size_t len;
    protected_synth(dir, "BertForSequenceClassification", &s, 5);
    tempdir_spill(tempdir_path(dir, "plain/config.json"), config, sizeof config - 1);
    struct protect_opts o = protected_opts(dir, 1);
    struct protect_report r = protect(&o);
    char *text = tempdir_slurp(tempdir_path(r.package, "config.json"), &len);
    cr_expect_null(strstr(text, "SECRET"), "%s", text);
    struct checkpoint *cp = open_checkpoint("out/package", CHECKPOINT_CORE | CHECKPOINT_HEAD);
    cr_expect_eq(checkpoint_config(cp)->C, 3);
    cr_expect_eq(checkpoint_config(cp)->act, ACT_RELU);
    cr_expect_null(checkpoint_config(cp)->labels);
    checkpoint_close(cp);
    free(text);
}

static struct protect_report protect_head(const char *architecture, struct synth_shape s, const char *head)
{
    protected_synth(dir, architecture, &s, 5);
    struct protect_opts o = protected_opts(dir, 1);
    o.head = head;
    o.force = true;
    return protect(&o);
}

/* A server with the embedding table as output table can name every row, so that is never the default. Catches auto that
 * trusts config.json only (tried). */
Test(protect, head_stays_with_the_user_when_its_table_is_the_embedding_table)
{
    const struct synth_shape tied = {.D = 24, .H = 6, .L = 1, .V = 50};
    struct synth_shape untied = tied, copied = tied;
    untied.untied = copied.untied = copied.same_tables = true;
    cr_expect(protect_head("LlamaForCausalLM", tied, NULL).head_user);
    cr_expect(protect_head("GPT2LMHeadModel", tied, "auto").head_user);
    cr_expect(protect_head("BertForMaskedLM", tied, NULL).head_user);
    cr_expect(protect_head("LlamaForCausalLM", copied, NULL).head_user, "tied in all but name");
    cr_expect_not(protect_head("LlamaForCausalLM", untied, NULL).head_user);
    cr_expect_not(protect_head("BertForSequenceClassification", tied, NULL).head_user);
    struct protect_report r = protect_head("LlamaForCausalLM", tied, "server");
    cr_expect(!r.head_user && r.table_exposed, "asked for, and said");
    struct checkpoint *cp = open_checkpoint("out/package", CHECKPOINT_CORE | CHECKPOINT_HEAD);
    cr_expect_not(checkpoint_config(cp)->tied, "the package has no embedding to be tied to");
    checkpoint_close(cp);
    cr_expect_not(protect_head("LlamaForCausalLM", untied, "server").table_exposed);
    cr_expect_not(protect_head("LlamaForCausalLM", tied, "user").table_exposed);
}

/* ------------------------------------------------------------------ sharded checkpoints */

/* Splits DIR/plain/model.safetensors: embeddings alone, then the rest in turns. */
static void shard(void)
{
    static const char *const names[] = {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors"};
    struct safetensors *whole = NULL;
    struct safetensors_out *out[3];
    char *text = NULL;
    cr_assert_eq(safetensors_open(&whole, tempdir_path(dir, "plain/model.safetensors"), &err), 0, "%s", err.text);
    struct json_doc *index = json_new_object("index");
    struct json *map = json_put_object(index, json_node(index), "weight_map");
    for (size_t f = 0; f < 3; f++)
        cr_assert_eq(safetensors_out_new(&out[f], &err), 0);
    for (size_t i = 0; i < safetensors_count(whole); i++) {
        const struct tensor *t = safetensors_at(whole, i);
        size_t f = strstr(t->name, "embed") != NULL ? 0 : 1 + i % 2;
        cr_assert_eq(safetensors_out_declare(out[f], t->name, t->dtype, t->rank, t->dim, &err), 0);
        json_put_str(index, map, t->name, names[f]);
    }
    for (size_t f = 0; f < 3; f++) {
        char path[FILE_PATH_MAX];
        const char *name;
        cr_assert_eq(file_join(path, tempdir_path(dir, "plain"), names[f], &err), 0);
        cr_assert_eq(safetensors_out_begin(out[f], path, 0644, &err), 0, "%s", err.text);
        while ((name = safetensors_out_next(out[f])) != NULL) {
            const struct tensor *t = safetensors_find(whole, name);
            cr_assert_eq(safetensors_out_write(out[f], t->data, t->bytes, &err), 0, "%s", err.text);
        }
        cr_assert_eq(safetensors_out_commit(out[f], &err), 0, "%s", err.text);
        safetensors_out_free(out[f]);
    }
    cr_assert_eq(json_print(index, false, &text, &err), 0);
    tempdir_spill(tempdir_path(dir, "plain/model.safetensors.index.json"), text, strlen(text));
    cr_assert_eq(remove(tempdir_path(dir, "plain/model.safetensors")), 0);
    free(text);
    json_free(index);
    safetensors_close(whole);
}

Test(protect, shards_stay_shards_and_one_that_held_embeddings_only_is_gone)
{
    const struct synth_shape s = {.D = 24, .H = 6, .G = 3, .K = 6, .L = 3, .V = 50, .F = 40, .untied = true};
    protected_synth(dir, "LlamaForCausalLM", &s, 5);
    shard();
    struct protect_opts o = protected_opts(dir, 9);
    struct protect_report r = protect(&o);
    check_package(9, true, true);
    cr_expect_eq(r.files, 4, "config, index, two shards; found %zu", r.files);
    cr_expect_not(file_exists(tempdir_path(r.package, "model-00001-of-00003.safetensors")));

    o.dtype = "int8";
    o.force = true;
    r = protect(&o);
    check_package(9, true, false); /* scales stand in the index and beside their matrices */
    cr_expect_eq(r.files, 4);
}

/* Routers stay float among int8 matrices. Catches a manifest that calls such a package mixed, which nobody would load (it was so). */
Test(protect, int8_with_experts_is_named_by_its_products)
{
    const struct synth_shape s = {.D = 24, .H = 6, .L = 2, .V = 50, .untied = true};
    struct manifest m = {0};
    char *text = NULL;
    size_t len = 0;
    uint8_t sig[CRYPTO_SIG_LEN];
    protected_synth(dir, "MixtralForCausalLM", &s, 5);
    struct protect_opts o = protected_opts(dir, 1);
    o.dtype = "int8";
    struct protect_report r = protect(&o);
    cr_assert_eq(manifest_load(&m, r.package, &text, &len, sig, &err), 0, "%s", err.text);
    cr_expect_str_eq(m.dtype, "I8");
    free(text);
    manifest_free(&m);
}
