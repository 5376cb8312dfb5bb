/* The engine against the float64 reference (tests/ref), on random models of every family and many shapes; and the engine
 * against itself: chunks, batches, truncation. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/ref/ref.h"
#include "tests/support/plain.h"
#include "tests/support/synth.h"

enum { CAP = 96 };

static char dir[64];
static struct err err;

static void make_folder(void)
{
    strcpy(dir, "/tmp/stip-forward-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static void remove_folder(void)
{
    cr_assert_eq(file_remove_tree(dir, &err), 0, "%s", err.text);
}

TestSuite(forward, .init = make_folder, .fini = remove_folder);

static struct plain open_synth(const char *architecture, const struct synth_shape *shape, bool head)
{
    struct plain p;
    cr_assert_eq(synth_checkpoint(dir, architecture, shape, 7, &err), 0, "%s", err.text);
    cr_assert_eq(plain_open(&p, dir, head, CAP, COMPUTE_F32, &err), 0, "%s", err.text);
    return p;
}

static float *outputs_of(struct plain *p, const int32_t *ids, const int32_t *types, int T, int out_n)
{
    float *y = malloc((size_t)out_n * (size_t)net_outputs(p->net) * sizeof *y);
    cr_assert_not_null(y);
    kvcache_truncate(p->kv, 0);
    cr_assert_eq(plain_append(p, ids, types, T, out_n, y, &err), 0, "%s", err.text);
    return y;
}

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

static double distance_f32(const float *got, const float *want, size_t n)
{
    double most = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        most = d > most || isnan(d) ? d : most;
        scale = fmax(scale, fabs((double)want[i]));
    }
    return most / scale;
}

/* Runs T tokens through both and compares hidden rows and head outputs. */
static void check_against_ref(const char *name, const char *architecture, const struct synth_shape *shape, int T)
{
    const double tolerance = 1e-5;
    int32_t ids[CAP], types[CAP];
    double *hidden, *logits;
    synth_ids(ids, T, shape->V, 3);
    for (int t = 0; t < T; t++)
        types[t] = t > T / 2;
    struct plain p = open_synth(architecture, shape, true);
    const int32_t *used_types = p.config->type_vocab > 0 ? types : NULL;
    cr_assert_eq(ref_forward(p.cp, COMPUTE_F32, ids, used_types, T, &hidden, &logits, &err), 0, "%s", err.text);
    int n = p.config->head == HEAD_CLASSIFY ? 1 : T;
    float *y = outputs_of(&p, ids, used_types, T, n);
    double head_error = distance(y, logits, (size_t)n * (size_t)net_outputs(p.net));
    cr_assert(head_error < tolerance, "%s: outputs differ by %.3g", name, head_error);
    free(y);
    plain_close(&p);

    cr_assert_eq(plain_open(&p, dir, false, CAP, COMPUTE_F32, &err), 0, "%s", err.text);
    kvcache_truncate(p.kv, 0);
    y = outputs_of(&p, ids, used_types, T, T);
    double hidden_error = distance(y, hidden, (size_t)T * (size_t)p.config->D);
    cr_assert(hidden_error < tolerance, "%s: hidden rows differ by %.3g", name, hidden_error);
    printf("%-24s hidden %.1e  outputs %.1e\n", name, hidden_error, head_error);
    free(y);
    free(hidden);
    free(logits);
    plain_close(&p);
}

/* ------------------------------------------------------------------ against the reference */

/* Catches query head h reading group h % G, keys and values exchanged, gate and up exchanged, rope pairs interleaved or turned
 * the other way, rope on the keys left out, the norm's gain or eps left out (each tried). */
Test(forward, llama_of_every_group_ratio_follows_the_reference)
{
    static const int groups[] = {8, 4, 2, 1};
    char name[32];
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        struct synth_shape s = {.D = 72, .H = 8, .G = groups[i], .K = i == 2 ? 12 : 0, .L = 3, .V = 101, .F = 90};
        if (s.K == 0)
            s.K = i == 0 ? 10 : 16; /* none of them is D/H */
        (void)snprintf(name, sizeof name, "llama H/G=%d K=%d", 8 / s.G, s.K);
        check_against_ref(name, "LlamaForCausalLM", &s, 70);
    }
}

/* Catches biases left out (of q, k, v; of gate and up; of o and down: each tried), and a head taken from the embedding's
 * table although the model has its own (tried). */
Test(forward, llama_biases_and_own_head_follow_the_reference)
{
    struct synth_shape s = {.D = 64, .H = 4, .G = 2, .L = 2, .V = 77, .F = 96, .qkv_bias = true, .mlp_bias = true, .untied = true};
    check_against_ref("llama biases untied", "LlamaForCausalLM", &s, 33);
    s.act = "gelu";
    s.dtype = DTYPE_BF16;
    check_against_ref("llama gelu bf16", "LlamaForCausalLM", &s, 9);
    s.act = "gelu_pytorch_tanh";
    s.dtype = DTYPE_F16;
    check_against_ref("llama gelu_tanh f16", "LlamaForCausalLM", &s, 9);
}

/* Catches a scaling kind that is ignored (tried: default used for linear and for llama3). */
Test(forward, rope_scaling_follows_the_reference)
{
    struct synth_shape s = {.D = 64, .H = 2, .L = 2, .V = 50, .rope = {.kind = ROPE_LINEAR, .theta = 20000, .factor = 4}};
    check_against_ref("rope linear", "LlamaForCausalLM", &s, 60);
    s.rope = (struct rope_config){.kind = ROPE_LLAMA3, .theta = 500, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4,
                                  .original = 64};
    check_against_ref("rope llama3", "LlamaForCausalLM", &s, 60);
    s.rope_v5 = true;
    check_against_ref("rope llama3, v5 keys", "LlamaForCausalLM", &s, 60);
}

/* Catches the window ignored, one off, or used in the layers below window_from (each tried). */
Test(forward, sliding_windows_follow_the_reference)
{
    struct synth_shape s = {.D = 64, .H = 4, .G = 1, .L = 3, .V = 50, .window = 9};
    check_against_ref("mistral window", "MistralForCausalLM", &s, 50);
    s.window_from = 2;
    check_against_ref("qwen2 window above", "Qwen2ForCausalLM", &s, 50);
}

/* Catches Conv1D not turned round (square matrices hide it from shape checks), rows lost between its blocks of 64, bias of a
 * LayerNorm left out, final norm left out, gelu for gelu_new (each tried). */
Test(forward, gpt2_follows_the_reference)
{
    struct synth_shape s = {.D = 80, .H = 5, .L = 3, .V = 90, .F = 80, .positions = 80};
    check_against_ref("gpt2", "GPT2LMHeadModel", &s, 70);
    s.act = "gelu";
    s.prefix = 1;
    s.untied = true;
    check_against_ref("gpt2 erf bare untied", "GPT2LMHeadModel", &s, 20);
    s.act = "relu";
    check_against_ref("gpt2 relu", "GPT2LMHeadModel", &s, 20);
}

/* Catches a causal mask, norms before instead of after, types ignored, the embedding's norm left out, the pooler without
 * tanh (each tried). */
Test(forward, bert_classifier_follows_the_reference)
{
    struct synth_shape s = {.D = 48, .H = 4, .L = 3, .V = 80, .F = 100, .classes = 5};
    check_against_ref("bert classify", "BertForSequenceClassification", &s, 65);
    s.alias = 1; /* LayerNorm.gamma and beta */
    s.dtype = DTYPE_F16;
    check_against_ref("bert gamma/beta f16", "BertForSequenceClassification", &s, 1);
}

/* Catches the transform's activation or norm left out, the output bias left out (each tried). */
Test(forward, bert_masked_lm_follows_the_reference)
{
    struct synth_shape s = {.D = 48, .H = 4, .L = 2, .V = 80};
    check_against_ref("bert mlm", "BertForMaskedLM", &s, 40);
    s.untied = true;
    check_against_ref("bert mlm untied", "BertForMaskedLM", &s, 7);
}

/* One table under either name, tied or twice: one model. Catches a tied checkpoint that is read by one of the two names only
 * (tried). */
Test(forward, where_the_one_table_is_stored_does_not_matter)
{
    struct synth_shape s = {.D = 32, .H = 4, .L = 1, .V = 60};
    int32_t ids[5];
    synth_ids(ids, 5, 60, 1);
    struct plain p = open_synth("LlamaForCausalLM", &s, true);
    float *tied = outputs_of(&p, ids, NULL, 5, 5);
    plain_close(&p);
    for (int i = 0; i < 2; i++) {
        s.head_only = i == 0;
        s.untied = s.same_tables = i == 1;
        p = open_synth("LlamaForCausalLM", &s, true);
        float *y = outputs_of(&p, ids, NULL, 5, 5);
        cr_assert_arr_eq(y, tied, 5 * 60 * sizeof *y);
        free(y);
        plain_close(&p);
    }
    free(tied);
}

/* ------------------------------------------------------------------ against itself */

static const struct synth_shape llama = {.D = 64, .H = 8, .G = 2, .L = 3, .V = 101, .F = 90};
static const struct synth_shape gpt2 = {.D = 64, .H = 4, .L = 3, .V = 101};

static void check_chunks(const char *architecture, const struct synth_shape *shape, int window)
{
    enum { T = 50 };
    int32_t ids[T];
    struct synth_shape s = *shape;
    s.window = window;
    synth_ids(ids, T, s.V, 9);
    struct plain p = open_synth(architecture, &s, true);
    float *whole = outputs_of(&p, ids, NULL, T, T), *y = malloc(T * (size_t)s.V * sizeof *y);
    for (int chunk = 1; chunk < T; chunk += 16) {
        kvcache_truncate(p.kv, 0);
        for (int at = 0; at < T; at += chunk) {
            int n = T - at < chunk ? T - at : chunk;
            cr_assert_eq(plain_append(&p, ids + at, NULL, n, n, y + at * s.V, &err), 0, "%s", err.text);
        }
        double d = distance_f32(y, whole, T * (size_t)s.V);
        cr_assert_lt(d, 1e-5, "chunks of %d: %.3g", chunk, d);
    }
    free(whole);
    free(y);
    plain_close(&p);
}

/* Catches positions counted from the chunk instead of the sequence, keys written to the wrong row (both tried). */
Test(forward, prefill_in_chunks_and_token_by_token_equals_prefill_at_once)
{
    check_chunks("LlamaForCausalLM", &llama, 0);
    check_chunks("MistralForCausalLM", &llama, 11);
    check_chunks("GPT2LMHeadModel", &gpt2, 0);
}

/* Catches a length that is not set back, and new keys written to the wrong row (both tried). */
Test(forward, a_truncated_cache_continues_as_if_the_tokens_had_never_been)
{
    enum { T = 40, CUT = 17 };
    int32_t ids[T], other[T];
    synth_ids(ids, T, llama.V, 1);
    synth_ids(other, T, llama.V, 2);
    memcpy(other, ids, CUT * sizeof *ids);
    struct plain p = open_synth("LlamaForCausalLM", &llama, true);
    float *want = outputs_of(&p, ids, NULL, T, T - CUT);
    free(outputs_of(&p, other, NULL, T, 1));
    kvcache_truncate(p.kv, CUT);
    float *y = malloc((T - CUT) * (size_t)llama.V * sizeof *y);
    cr_assert_eq(plain_append(&p, ids + CUT, NULL, T - CUT, T - CUT, y, &err), 0, "%s", err.text);
    cr_assert_lt(distance_f32(y, want, (T - CUT) * (size_t)llama.V), 1e-5);
    cr_assert_eq(p.kv->len, T);
    free(want);
    free(y);
    plain_close(&p);
}

/* Catches outputs picked from the wrong sequence, or rows counted from the wrong place (both tried). */
Test(forward, asked_rows_are_the_same_rows_that_a_full_answer_has)
{
    enum { T = 37 };
    int32_t ids[T];
    synth_ids(ids, T, llama.V, 4);
    struct plain p = open_synth("LlamaForCausalLM", &llama, true);
    size_t V = (size_t)llama.V;
    float *all = outputs_of(&p, ids, NULL, T, T), *y = malloc(T * V * sizeof *y);
    for (int from = 0; from < T; from += 5)
        for (int n = 0; n <= T - from; n += 8) {
            kvcache_truncate(p.kv, 0);
            cr_assert_eq(embed_rows(p.embed, ids, NULL, T, 0, p.x, &err), 0);
            memset(y, 0, T * V * sizeof *y);
            struct forward_seq seq = {.kv = p.kv, .x = p.x, .T = T, .out_from = from, .out_n = n, .out = y};
            forward(p.net, p.scratch, &seq, 1);
            if (n > 0)
                cr_assert_lt(distance_f32(y, all + (size_t)from * V, (size_t)n * V), 1e-5, "rows %d+%d", from, n);
            cr_assert_eq(y[(size_t)n * V < T * V ? (size_t)n * V : 0] != 0.0f, n == T);
        }
    free(all);
    free(y);
    plain_close(&p);
}

struct member {
    struct kvcache *kv;
    float *x, *out;
    int T;
};

enum { MEMBERS = 5 };

/* Sequences of different lengths, some of them already in progress. */
static void fill_batch(struct plain *p, struct member *m, struct forward_seq *seqs, int before)
{
    static const int lengths[MEMBERS] = {1, 13, 1, 7, 30};
    for (int b = 0; b < MEMBERS; b++) {
        int32_t ids[CAP];
        int T = lengths[b], cached = p->config->causal && b % 2 == 0 ? before + b : 0;
        size_t D = (size_t)p->config->D, width = (size_t)net_outputs(p->net);
        synth_ids(ids, cached + T, p->config->V, 50 + (uint64_t)b);
        cr_assert_eq(kvcache_new_alone(&m[b].kv, p->config, KV_F32, CAP, &err), 0);
        m[b].x = malloc((size_t)(cached + T) * D * sizeof(float));
        m[b].out = calloc((size_t)T * width, sizeof(float));
        cr_assert_eq(embed_rows(p->embed, ids, NULL, cached + T, 0, m[b].x, &err), 0);
        if (cached > 0) {
            struct forward_seq warm = {.kv = m[b].kv, .x = m[b].x, .T = cached};
            forward(p->net, p->scratch, &warm, 1);
        }
        m[b].T = p->config->head == HEAD_CLASSIFY ? 1 : T;
        seqs[b] = (struct forward_seq){.kv = m[b].kv, .x = m[b].x + (size_t)cached * D, .T = T, .out_n = m[b].T, .out = m[b].out};
    }
}

static void free_batch(struct member *m)
{
    for (int b = 0; b < MEMBERS; b++) {
        kvcache_free(m[b].kv);
        free(m[b].x);
        free(m[b].out);
    }
}

static void check_batch(const char *architecture, const struct synth_shape *shape)
{
    struct plain p = open_synth(architecture, shape, true);
    struct member together[MEMBERS], alone[MEMBERS];
    struct forward_seq seqs[MEMBERS];
    fill_batch(&p, together, seqs, 20);
    forward(p.net, p.scratch, seqs, MEMBERS);
    fill_batch(&p, alone, seqs, 20);
    for (int b = 0; b < MEMBERS; b++) {
        forward(p.net, p.scratch, &seqs[b], 1);
        double d = distance_f32(together[b].out, alone[b].out, (size_t)alone[b].T * (size_t)net_outputs(p.net));
        cr_assert_lt(d, 1e-5, "%s: sequence %d differs by %.3g", architecture, b, d);
        cr_assert_eq(together[b].kv->len, alone[b].kv->len);
    }
    free_batch(together);
    free_batch(alone);
    plain_close(&p);
}

/* Catches one sequence reading another one's cache, positions taken from the batch row (both tried). */
Test(forward, a_batch_of_sequences_equals_each_alone)
{
    const struct synth_shape bert = {.D = 64, .H = 4, .L = 2, .V = 101, .classes = 3};
    check_batch("LlamaForCausalLM", &llama);
    check_batch("GPT2LMHeadModel", &gpt2);
    check_batch("BertForSequenceClassification", &bert);
    check_batch("BertForMaskedLM", &bert);
}

/* Catches outputs taken from another sequence's rows, and old bytes of a buffer that enter a sum (both tried). */
Test(forward, nan_in_one_sequence_does_not_touch_the_others)
{
    struct plain p = open_synth("LlamaForCausalLM", &llama, true);
    struct member clean[MEMBERS], spoiled[MEMBERS];
    struct forward_seq seqs[MEMBERS];
    fill_batch(&p, clean, seqs, 20);
    forward(p.net, p.scratch, seqs, MEMBERS);
    fill_batch(&p, spoiled, seqs, 20);
    spoiled[3].x[5] = NAN; /* a sequence without cached tokens: x is its first row */
    forward(p.net, p.scratch, seqs, MEMBERS);
    for (int b = 0; b < MEMBERS; b++) {
        size_t n = (size_t)clean[b].T * (size_t)llama.V;
        if (b == 3)
            cr_assert(isnan(spoiled[b].out[0]));
        else
            cr_assert_arr_eq(spoiled[b].out, clean[b].out, n * sizeof(float), "sequence %d", b);
    }
    /* The scratch that saw the NaN serves the next pass as before. */
    free_batch(spoiled);
    fill_batch(&p, spoiled, seqs, 20);
    forward(p.net, p.scratch, seqs, MEMBERS);
    for (int b = 0; b < MEMBERS; b++)
        cr_assert_arr_eq(spoiled[b].out, clean[b].out, (size_t)clean[b].T * (size_t)llama.V * sizeof(float));
    free_batch(clean);
    free_batch(spoiled);
    plain_close(&p);
}

Test(forward, the_same_call_gives_the_same_bits)
{
    enum { T = 30 };
    int32_t ids[T];
    synth_ids(ids, T, llama.V, 1);
    struct plain p = open_synth("LlamaForCausalLM", &llama, true);
    float *first = outputs_of(&p, ids, NULL, T, T);
    for (int i = 0; i < 5; i++) {
        float *again = outputs_of(&p, ids, NULL, T, T);
        cr_assert_arr_eq(first, again, T * (size_t)llama.V * sizeof *first);
        free(again);
    }
    free(first);
    plain_close(&p);
}

/* `head: user` splits the model at the final hidden rows. Catches a final norm that is done twice or not at all (tried). */
Test(forward, hidden_rows_through_head_apply_equal_the_whole_model)
{
    static const char *const names[] = {"LlamaForCausalLM", "GPT2LMHeadModel", "BertForMaskedLM", "BertForSequenceClassification"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        enum { T = 11 };
        int32_t ids[T];
        struct head *head;
        synth_ids(ids, T, gpt2.V, 6);
        struct plain p = open_synth(names[i], &gpt2, true);
        int n = p.config->head == HEAD_CLASSIFY ? 1 : T, width = net_outputs(p.net);
        float *want = outputs_of(&p, ids, NULL, T, n);
        plain_close(&p);

        cr_assert_eq(plain_open(&p, dir, false, CAP, COMPUTE_F32, &err), 0, "%s", err.text);
        cr_assert_eq(head_load(&head, p.cp, COMPUTE_F32, &err), 0, "%s", err.text);
        float *hidden = outputs_of(&p, ids, NULL, T, T);
        void *work;
        cr_assert_eq(head_work_new(&work, head, T, &err), 0);
        float *y = malloc((size_t)n * (size_t)width * sizeof *y);
        head_apply(p.config, head, hidden, n, work, y);
        cr_assert_lt(distance_f32(y, want, (size_t)n * (size_t)width), 1e-6, "%s", names[i]);
        free(want);
        free(hidden);
        free(work);
        free(y);
        head_free(head);
        plain_close(&p);
    }
}
