/* model_dev/audit: every attack works where it must, and finds no more than guessing where there is nothing to find. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/table.h"
#include "model_dev/audit_drift.h"
#include "model_dev/audit_match.h"
#include "model_dev/audit_report.h"
#include "tests/support/protected.h"
#include "tests/support/tempdir.h"

static char dir[FILE_PATH_MAX], base_dir[FILE_PATH_MAX], ids_path[FILE_PATH_MAX];
static struct err err;
static struct audit_report r;

static void setup(void)
{
    tempdir_make(dir);
    (void)snprintf(base_dir, sizeof base_dir, "%s", tempdir_path(dir, "base"));
    (void)snprintf(ids_path, sizeof ids_path, "%s", tempdir_path(dir, "ids"));
    cr_assert_eq(kernels_choose(NULL, &err), 0, "%s", err.text);
}

static void teardown(void)
{
    tempdir_remove(dir);
}

TestSuite(audit, .init = setup, .fini = teardown);

static const struct synth_shape small = {.D = 64, .H = 4, .G = 2, .L = 3, .F = 128, .V = 300};

static void protect(const char *architecture, const struct synth_shape *shape, const char *head)
{
    struct protect_report report;
    struct protect_opts o = protected_opts(dir, 7);
    o.head = head;
    protected_synth(dir, architecture, shape, 1);
    cr_assert_eq(protect_checkpoint(&o, &report, &err), 0, "%s", err.text);
}

static struct audit_options options(void)
{
    static char plain[FILE_PATH_MAX], out[FILE_PATH_MAX];
    (void)snprintf(plain, sizeof plain, "%s", tempdir_path(dir, "plain"));
    (void)snprintf(out, sizeof out, "%s", tempdir_path(dir, "out"));
    return (struct audit_options){.protected = out, .model = plain, .sample = 128};
}

static void audit(const struct audit_options *o)
{
    cr_assert_eq(audit_run(o, &r, &err), 0, "%s", err.text);
}

static const struct audit_cell *cell(const char *id, enum audit_target target, enum audit_knows knows)
{
    const struct audit_line *line = audit_find(&r, id, target);
    cr_assert_not_null(line, "%s %s", id, audit_target_name(target, false));
    for (size_t c = 0; c < r.column_count; c++)
        if (r.columns[c].knows == knows)
            return &line->cells[c];
    cr_assert_fail("no such column");
    return NULL;
}

static double rate(const char *id, enum audit_target target, enum audit_knows knows)
{
    double p, low, high;
    audit_rate(cell(id, target, knows), &p, &low, &high);
    return p;
}

/* Cells that were not measured; each must say why. */
static size_t without_figure(void)
{
    size_t count = 0;
    for (size_t i = 0; i < r.line_count; i++)
        for (size_t c = 0; c < r.column_count; c++) {
            const struct audit_cell *x = &r.lines[i].cells[c];
            cr_expect(x->status == AUDIT_MEASURED ? x->tries > 0 : x->reason[0] != '\0', "%s", r.lines[i].attack->id);
            count += x->status == AUDIT_SKIPPED;
        }
    return count;
}

#define ALL(id, target, knows) cr_expect_eq(rate(id, target, knows), 1.0, "%s %s: %g", id, audit_target_name(target, false), rate(id, target, knows))
/* Of 64 columns, 128 neurons, 300 tokens guessing finds one or two. */
#define CHANCE(id, target, knows) cr_expect_lt(rate(id, target, knows), 0.08, "%s %s: %g", id, audit_target_name(target, false), rate(id, target, knows))

/* ------------------------------------------------------------------ where they must work */

/* Catches: columns that are not sorted (A2), rows that are opened by the key's inverse, a judge that reads the key the wrong way. */
static void reads_everything(const char *architecture)
{
    struct synth_shape shape = small;
    shape.G = strcmp(architecture, "LlamaForCausalLM") == 0 || strcmp(architecture, "Gemma2ForCausalLM") == 0 ? 2 : 0;
    protect(architecture, &shape, NULL);
    struct audit_options o = options();
    o.drift_count = 1; /* drift 0: these very weights */
    audit(&o);
    for (int t = AUDIT_RESIDUAL; t <= AUDIT_TOKENS; t++)
        if (t != AUDIT_EXPERTS || r.experts > 0) {
            ALL("A1", (enum audit_target)t, AUDIT_DRIFT);
            ALL("A2", (enum audit_target)t, AUDIT_DRIFT);
            ALL("A3", (enum audit_target)t, AUDIT_DRIFT);
        }
    ALL("A4", AUDIT_TOKENS, AUDIT_DRIFT);
    const struct audit_cell *vocabulary = cell("A7", AUDIT_TOKENS, AUDIT_DRIFT);
    if (vocabulary->status == AUDIT_MEASURED)
        ALL("A7", AUDIT_TOKENS, AUDIT_DRIFT);
    else
        cr_expect_not_null(strstr(vocabulary->reason, "causal model"), "%s", vocabulary->reason);
}

Test(audit, who_has_the_weights_of_a_llama_reads_everything)
{
    reads_everything("LlamaForCausalLM");
}

Test(audit, who_has_the_weights_of_a_gemma_reads_everything)
{
    reads_everything("Gemma2ForCausalLM");
}

Test(audit, who_has_the_weights_of_a_gpt2_reads_everything)
{
    reads_everything("GPT2LMHeadModel");
}

Test(audit, who_has_the_weights_of_a_bert_reads_everything)
{
    reads_everything("BertForSequenceClassification");
}

/* Catches: an attack on one expert only, neurons that are looked for in the place of their expert, a judge that forgets the order of
 * the experts. */
Test(audit, who_has_the_weights_of_experts_reads_everything)
{
    reads_everything("MixtralForCausalLM");
    cr_expect_eq(r.experts, 5);
    cr_expect_str_eq(r.keys[r.key_count - 1].name, "experts, a layer");
}

Test(audit, fine_experts_in_int8_too)
{
    struct synth_shape shape = small;
    struct protect_report report;
    struct protect_opts p = protected_opts(dir, 7);
    struct audit_options o = options();
    shape.F = 48;
    shape.experts = 12;
    shape.experts_used = 3;
    protected_synth(dir, "Qwen3MoeForCausalLM", &shape, 1);
    p.dtype = "int8";
    cr_assert_eq(protect_checkpoint(&p, &report, &err), 0, "%s", err.text);
    o.drift_count = 1;
    audit(&o);
    for (int t = AUDIT_RESIDUAL; t <= AUDIT_EXPERTS; t++) {
        ALL("A1", (enum audit_target)t, AUDIT_DRIFT);
        ALL("A2", (enum audit_target)t, AUDIT_DRIFT);
        ALL("A3", (enum audit_target)t, AUDIT_DRIFT);
    }
    ALL("A2", AUDIT_EXPERTS, AUDIT_USER);
    cr_expect_eq(cell("A2", AUDIT_EXPERTS, AUDIT_DRIFT)->tries, 12);
}

/* ------------------------------------------------------------------ images */

static const struct synth_shape pictures = {.D = 64, .H = 4, .L = 3, .F = 128, .image = 24, .wide = 16, .patch = 4, .channels = 3};

static bool says(const char *id, enum audit_target target, enum audit_knows knows, const char *reason)
{
    const struct audit_cell *c = cell(id, target, knows);
    return c->status == AUDIT_SKIPPED && strstr(c->reason, reason) != NULL;
}

/* Catches: pixels in the wrong order or of the wrong place, a projection with the place in it, class tokens that are judged as patches,
 * an attack for texts that is put to images. */
static void reads_images(const char *architecture)
{
    protect(architecture, &pictures, NULL);
    struct audit_options o = options();
    o.drift_count = 1;
    audit(&o);
    for (int t = AUDIT_RESIDUAL; t <= AUDIT_TOKENS; t++)
        if (t != AUDIT_EXPERTS) {
            ALL("A1", (enum audit_target)t, AUDIT_DRIFT);
            ALL("A2", (enum audit_target)t, AUDIT_DRIFT);
            ALL("A3", (enum audit_target)t, AUDIT_DRIFT);
        }
    ALL("A4", AUDIT_TOKENS, AUDIT_USER);
    ALL("A6", AUDIT_EQUALITY, AUDIT_NOTHING); /* the upper halves of the made-up images are the same */
    cr_expect_gt(cell("A6", AUDIT_EQUALITY, AUDIT_NOTHING)->tries, 60);
    cr_expect_eq(cell("A2", AUDIT_TOKENS, AUDIT_DRIFT)->tries % 24, 0); /* patches, without class tokens */
    cr_expect(says("A4", AUDIT_TOKENS, AUDIT_DRIFT, "not applicable: patches are of no dictionary"));
    cr_expect(says("A6", AUDIT_TOKENS, AUDIT_NOTHING, "not applicable: patches are of no vocabulary"));
    cr_expect(says("A7", AUDIT_TOKENS, AUDIT_DRIFT, "not applicable: patches are of no vocabulary"));
    cr_expect_eq(cell("A5", AUDIT_TOKENS, AUDIT_NOTHING)->status, AUDIT_CLOSED);
    cr_expect_str_eq(audit_target_name(AUDIT_TOKENS, r.images), "patches");
    cr_expect_gt(without_figure(), 0);
}

Test(audit, who_has_the_weights_of_a_vit_computes_the_pixels_back)
{
    reads_images("ViTForImageClassification");
}

Test(audit, and_of_a_deit_whose_rows_begin_two_places_before)
{
    reads_images("DeiTForImageClassificationWithTeacher");
}

Test(audit, unrelated_weights_of_a_vit_are_worth_nothing)
{
    protect("ViTForImageClassification", &pictures, NULL);
    cr_assert_eq(synth_checkpoint(base_dir, "ViTForImageClassification", &pictures, 2, &err), 0, "%s", err.text);
    struct audit_options o = options();
    o.base = base_dir;
    audit(&o);
    for (int t = AUDIT_RESIDUAL; t <= AUDIT_TOKENS; t++)
        if (t != AUDIT_EXPERTS) {
            CHANCE("A1", (enum audit_target)t, AUDIT_BASE);
            CHANCE("A2", (enum audit_target)t, AUDIT_BASE);
            CHANCE("A3", (enum audit_target)t, AUDIT_BASE);
        }
    ALL("A4", AUDIT_TOKENS, AUDIT_USER); /* users hold the projection */
}

/* Catches: rows behind the users' layers that are taken for projections of patches. */
Test(audit, local_layers_close_the_pixels_and_equal_patches)
{
    struct protect_report report;
    struct protect_opts p = protected_opts(dir, 7);
    struct audit_options o = options();
    protected_synth(dir, "ViTForImageClassification", &pictures, 1);
    p.local_layers = 1;
    cr_assert_eq(protect_checkpoint(&p, &report, &err), 0, "%s", err.text);
    o.drift_count = 1;
    audit(&o);
    ALL("A2", AUDIT_RESIDUAL, AUDIT_DRIFT);
    CHANCE("A2", AUDIT_TOKENS, AUDIT_DRIFT);
    CHANCE("A6", AUDIT_EQUALITY, AUDIT_NOTHING);
}

Test(audit, a_little_drift_does_not_help)
{
    protect("LlamaForCausalLM", &small, NULL);
    struct audit_options o = options();
    o.drifts[0] = 1;
    o.drift_count = 1;
    audit(&o);
    ALL("A2", AUDIT_RESIDUAL, AUDIT_DRIFT);
    ALL("A2", AUDIT_WEIGHTS, AUDIT_DRIFT);
    ALL("A2", AUDIT_TOKENS, AUDIT_DRIFT);
}

/* Catches: gains of one layer only. */
Test(audit, gains_of_all_layers_outlast_more_drift_than_those_of_one)
{
    protect("LlamaForCausalLM", &small, NULL);
    struct audit_options o = options();
    o.drifts[0] = 5;
    o.drift_count = 1;
    audit(&o);
    cr_expect_gt(rate("A1", AUDIT_RESIDUAL, AUDIT_DRIFT), 0.9, "%g", rate("A1", AUDIT_RESIDUAL, AUDIT_DRIFT));
}

Test(audit, much_drift_does)
{
    protect("LlamaForCausalLM", &small, NULL);
    struct audit_options o = options();
    o.drifts[0] = 1000;
    o.drift_count = 1;
    audit(&o);
    CHANCE("A1", AUDIT_RESIDUAL, AUDIT_DRIFT);
    CHANCE("A2", AUDIT_RESIDUAL, AUDIT_DRIFT);
    CHANCE("A4", AUDIT_TOKENS, AUDIT_DRIFT);
}

Test(audit, a_server_with_a_user_reads_the_context_and_matches_the_rest)
{
    protect("LlamaForCausalLM", &small, NULL);
    struct audit_options o = options();
    o.drifts[0] = 5;
    o.drift_count = 1;
    audit(&o);
    ALL("A4", AUDIT_TOKENS, AUDIT_USER);
    ALL("A2", AUDIT_WEIGHTS, AUDIT_USER);
    cr_expect_eq(cell("A2", AUDIT_RESIDUAL, AUDIT_USER)->status, AUDIT_GIVEN);
    o.drift_count = 0; /* without related weights a user still reads, but has nothing to match */
    audit(&o);
    ALL("A4", AUDIT_TOKENS, AUDIT_USER);
    cr_expect_eq(cell("A2", AUDIT_WEIGHTS, AUDIT_USER)->status, AUDIT_SKIPPED);
}

/* Catches: labels that are taken for tokens without the output key. */
Test(audit, a_tied_table_on_the_server_labels_every_row)
{
    struct audit_options o = options();
    protect("LlamaForCausalLM", &small, "server");
    audit(&o);
    ALL("A5", AUDIT_TOKENS, AUDIT_NOTHING);
    char text[256], all[4096] = "";
    for (size_t i = 0; audit_verdict(&r, i, text) != NULL; i++)
        strncat(all, text, sizeof all - strlen(all) - 1);
    cr_expect(strstr(all, "100 % of input tokens can be labelled: use --head user") != NULL, "%s", all);
}

/* Catches: a table that is compared with rows that were scaled on their way in. */
Test(audit, with_scaled_embeddings_too)
{
    struct audit_options o = options();
    protect("Gemma2ForCausalLM", &small, "server");
    audit(&o);
    ALL("A5", AUDIT_TOKENS, AUDIT_NOTHING);
}

Test(audit, with_learned_positions_too)
{
    struct synth_shape shape = small;
    struct audit_options o = options();
    shape.G = 0;
    protect("GPT2LMHeadModel", &shape, "server");
    audit(&o);
    cr_expect_gt(rate("A5", AUDIT_TOKENS, AUDIT_NOTHING), 0.9); /* a position where all rows are one token gives no difference */
}

Test(audit, equal_tokens_are_equal_rows)
{
    struct audit_options o = options();
    protect("LlamaForCausalLM", &small, NULL);
    audit(&o);
    ALL("A6", AUDIT_EQUALITY, AUDIT_NOTHING);
}

/* Traffic is the end of the file: 40 rows; what was read before is 60 tokens, in the same order of frequency. */
Test(audit, frequencies_give_tokens_away)
{
    FILE *f = fopen(ids_path, "w");
    for (int half = 0; half < 2; half++)
        for (int token = 1, count = half == 0 ? 12 : 8; count > 0; token++, count -= 2)
            for (int i = 0; i < count * (half == 0 ? 1 : 2); i++)
                (void)fprintf(f, "%d ", 10 * token);
    (void)fclose(f);
    struct audit_options o = options();
    o.ids = ids_path;
    o.sample = 40;
    protect("LlamaForCausalLM", &small, NULL);
    audit(&o);
    ALL("A6", AUDIT_TOKENS, AUDIT_NOTHING);
}

/* With the first layer on the users a row depends on the tokens before it. Catches: layers of the package that are compared with
 * others of the base, a search that forgets the users' layers. */
Test(audit, local_layers_close_dictionaries_and_equalities_but_not_the_search)
{
    struct protect_report report;
    struct protect_opts p = protected_opts(dir, 7);
    struct audit_options o = options();
    protected_synth(dir, "LlamaForCausalLM", &small, 1);
    p.local_layers = 1;
    p.head = "server";
    cr_assert_eq(protect_checkpoint(&p, &report, &err), 0, "%s", err.text);
    o.drift_count = 1;
    audit(&o);
    for (int t = AUDIT_RESIDUAL; t <= AUDIT_WEIGHTS; t++) {
        ALL("A1", (enum audit_target)t, AUDIT_DRIFT);
        ALL("A2", (enum audit_target)t, AUDIT_DRIFT);
        ALL("A3", (enum audit_target)t, AUDIT_DRIFT);
    }
    CHANCE("A4", AUDIT_TOKENS, AUDIT_DRIFT);
    CHANCE("A5", AUDIT_TOKENS, AUDIT_DRIFT);
    CHANCE("A6", AUDIT_EQUALITY, AUDIT_DRIFT);
    ALL("A7", AUDIT_TOKENS, AUDIT_DRIFT);
    ALL("A7", AUDIT_TOKENS, AUDIT_USER);
}

/* Rotated rows. Catches: a key that is opened with the wrong scale, a judge that knows permutations only. */
static void gauge(const char *architecture, bool scaled)
{
    struct synth_shape shape = small;
    struct protect_report report;
    struct protect_opts p = protected_opts(dir, 7);
    struct audit_options o = options();
    shape.G = scaled ? 2 : 0;
    protected_synth(dir, architecture, &shape, 1);
    p.profile = "gauge";
    cr_assert_eq(protect_checkpoint(&p, &report, &err), 0, "%s", err.text);
    o.drift_count = 1;
    audit(&o);
    CHANCE("A1", AUDIT_RESIDUAL, AUDIT_DRIFT);
    CHANCE("A2", AUDIT_RESIDUAL, AUDIT_DRIFT);
    CHANCE("A1", AUDIT_WEIGHTS, AUDIT_DRIFT);
    CHANCE("A2", AUDIT_WEIGHTS, AUDIT_DRIFT);
    ALL("A3", AUDIT_RESIDUAL, AUDIT_DRIFT);
    ALL("A3", AUDIT_WEIGHTS, AUDIT_DRIFT);
    ALL("A3", AUDIT_TOKENS, AUDIT_DRIFT);
    cr_expect_gt(rate("A4", AUDIT_TOKENS, AUDIT_DRIFT), 0.8, "%g", rate("A4", AUDIT_TOKENS, AUDIT_DRIFT)); /* lengths stay */
    ALL("A7", AUDIT_TOKENS, AUDIT_DRIFT);
    ALL("A4", AUDIT_TOKENS, AUDIT_USER);
    ALL("A2", AUDIT_WEIGHTS, AUDIT_USER);
}

Test(audit, gauge_stops_the_cheap_attacks_and_not_procrustes)
{
    gauge("LlamaForCausalLM", true);
}

Test(audit, gauge_of_a_layer_norm_too)
{
    gauge("GPT2LMHeadModel", false);
}

/* ------------------------------------------------------------------ where they must not */

/* Catches: a judge that says yes, an attack that sees the plain model. */
static void reads_nothing(const char *architecture)
{
    struct synth_shape shape = small;
    shape.G = strcmp(architecture, "LlamaForCausalLM") == 0 ? 2 : 0;
    protect(architecture, &shape, NULL);
    cr_assert_eq(synth_checkpoint(base_dir, architecture, &shape, 2, &err), 0, "%s", err.text);
    struct audit_options o = options();
    o.base = base_dir;
    audit(&o);
    for (int t = AUDIT_RESIDUAL; t <= AUDIT_TOKENS; t++)
        if (t != AUDIT_EXPERTS) { /* one of five is found by guessing */
            CHANCE("A1", (enum audit_target)t, AUDIT_BASE);
            CHANCE("A2", (enum audit_target)t, AUDIT_BASE);
            CHANCE("A3", (enum audit_target)t, AUDIT_BASE);
        }
    CHANCE("A4", AUDIT_TOKENS, AUDIT_BASE);
    if (cell("A7", AUDIT_TOKENS, AUDIT_BASE)->status == AUDIT_MEASURED)
        CHANCE("A7", AUDIT_TOKENS, AUDIT_BASE);
    CHANCE("A2", AUDIT_WEIGHTS, AUDIT_USER); /* the residual key alone opens no inner one */
}

Test(audit, unrelated_weights_of_a_llama_are_worth_nothing)
{
    reads_nothing("LlamaForCausalLM");
}

Test(audit, unrelated_weights_of_a_gpt2_are_worth_nothing)
{
    reads_nothing("GPT2LMHeadModel");
}

Test(audit, unrelated_experts_are_worth_nothing)
{
    reads_nothing("MixtralForCausalLM");
}

Test(audit, unrelated_weights_of_a_bert_are_worth_nothing)
{
    reads_nothing("BertForSequenceClassification");
}

Test(audit, a_head_on_the_user_closes_the_output_table)
{
    struct audit_options o = options();
    protect("LlamaForCausalLM", &small, "user");
    audit(&o);
    cr_expect_eq(cell("A5", AUDIT_TOKENS, AUDIT_NOTHING)->status, AUDIT_CLOSED);
    cr_expect_eq(rate("A5", AUDIT_TOKENS, AUDIT_NOTHING), 0.0);
}

Test(audit, a_table_of_its_own_labels_nothing)
{
    struct synth_shape shape = small;
    struct audit_options o = options();
    shape.untied = true;
    protect("LlamaForCausalLM", &shape, "server");
    audit(&o);
    cr_expect_eq(cell("A5", AUDIT_TOKENS, AUDIT_NOTHING)->status, AUDIT_MEASURED);
    cr_expect_eq(rate("A5", AUDIT_TOKENS, AUDIT_NOTHING), 0.0);
}

/* Catches: the nearest row of the table, however far it is. */
Test(audit, a_row_that_is_not_in_the_table_gets_no_label)
{
    static float rows[8 * 64];
    static const int zero[8];
    struct checkpoint *package = NULL;
    struct audit_answer a = {0};
    protect("LlamaForCausalLM", &small, "server");
    cr_assert_eq(checkpoint_open(&package, tempdir_path(dir, "out/package"), CHECKPOINT_CORE | CHECKPOINT_HEAD, &err), 0, "%s", err.text);
    for (size_t i = 0; i < 8 * 64; i++)
        rows[i] = (float)i / 512;
    const struct audit_known k = {.c = checkpoint_config(package), .package = package, .n = 8, .rows = rows, .sequence = zero,
                                  .position = zero, .sample = 8};
    cr_assert_eq(audit_tied(&k, &a, &err), 0, "%s", err.text);
    for (size_t i = 0; i < 8; i++)
        cr_expect_eq(a.label[i], -1);
    audit_answer_free(&a);
    checkpoint_close(package);
}

Test(audit, learned_positions_hide_most_equalities)
{
    struct synth_shape shape = small;
    struct audit_options o = options();
    shape.G = 0;
    protect("GPT2LMHeadModel", &shape, NULL);
    audit(&o);
    double p = rate("A6", AUDIT_EQUALITY, AUDIT_NOTHING);
    cr_expect(p > 0 && p < 0.2, "%g", p);
}

/* ------------------------------------------------------------------ an orthogonal key instead of a permutation */

#define REFLECTIONS 40 /* of them make a key that is nothing like a permutation */

/* rows [n,D] times the key. */
static void turn_rows(float *x, size_t n, size_t D)
{
    float v[64];
    for (uint64_t q = 0; q < REFLECTIONS; q++) {
        double size = 0;
        for (size_t d = 0; d < D; d++) {
            v[d] = (float)((double)(audit_noise(q + 10, d) >> 11) / 4503599627370496.0 - 1);
            size += (double)v[d] * (double)v[d];
        }
        for (size_t i = 0; i < n; i++) {
            double along = 0;
            for (size_t d = 0; d < D; d++)
                along += (double)v[d] * (double)x[i * D + d];
            for (size_t d = 0; d < D; d++)
                x[i * D + d] -= (float)(2 * along / size) * v[d];
        }
    }
}

/* DIR/base as a package under that key: neurons read turned rows, gains are folded into them. */
static void write_turned(const struct checkpoint *plain)
{
    static const enum role roles[] = {ROLE_ATTN_NORM_W, ROLE_MLP_NORM_W, ROLE_FINAL_NORM_W, ROLE_Q, ROLE_K, ROLE_V, ROLE_O, ROLE_GATE,
                                      ROLE_UP, ROLE_DOWN};
    const struct config *c = checkpoint_config(plain);
    const size_t D = (size_t)c->D;
    struct safetensors_out *st = NULL;
    char names[64][512], *text;
    size_t count = 0, len;
    struct { enum role role; int layer; } what[64];
    cr_assert_eq(file_mkdirs(base_dir, 0700, &err), 0);
    cr_assert_eq(file_read(tempdir_path(dir, "plain/config.json"), 1 << 20, &text, &len, &err), 0);
    cr_assert_eq(file_write(tempdir_path(dir, "base/config.json"), text, len, 0600, &err), 0);
    free(text);
    cr_assert_eq(safetensors_out_new(&st, &err), 0);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        for (int l = 0; l < (roles[i] == ROLE_FINAL_NORM_W ? 1 : c->L); l++, count++) {
            const struct tensor *t = checkpoint_tensor(plain, roles[i], l);
            what[count].role = roles[i];
            what[count].layer = l;
            cr_assert_eq(checkpoint_name(names[count], c, arch_tensor(c, roles[i]), l, 0, 0, &err), 0);
            cr_assert_eq(safetensors_out_declare(st, names[count], DTYPE_F32, t->rank, t->dim, &err), 0);
        }
    cr_assert_eq(safetensors_out_begin(st, tempdir_path(dir, "base/model.safetensors"), 0600, &err), 0);
    for (const char *name; (name = safetensors_out_next(st)) != NULL;) {
        size_t i = 0;
        while (strcmp(names[i], name) != 0)
            i++;
        const struct tensor *t = checkpoint_tensor(plain, what[i].role, what[i].layer);
        float *x = malloc(t->count * sizeof *x), gain[64];
        cr_assert_eq(checkpoint_rows_f32(t, 0, t->dim[0], x, &err), 0);
        cr_assert_eq(checkpoint_rows_f32(checkpoint_tensor(plain, ROLE_MLP_NORM_W, what[i].layer), 0, D, gain, &err), 0);
        for (size_t j = 0; j < t->count; j++) {
            if (t->rank == 1)
                x[j] = 1.0f;
            else if (what[i].role == ROLE_GATE)
                x[j] *= gain[j % D];
        }
        if (what[i].role == ROLE_GATE)
            turn_rows(x, t->dim[0], D);
        cr_assert_eq(safetensors_out_write(st, x, t->count * sizeof *x, &err), 0);
        free(x);
    }
    cr_assert_eq(safetensors_out_commit(st, &err), 0);
    safetensors_out_free(st);
}

/* Catches: Procrustes the wrong way round, an iteration that does not arrive, invariants that are none. */
Test(audit, inner_products_find_an_orthogonal_key_that_the_cheap_attacks_do_not)
{
    struct checkpoint *plain = NULL, *package = NULL;
    struct audit_answer gram = {0}, gain = {0};
    float units[64 * 64] = {0};
    protected_synth(dir, "LlamaForCausalLM", &small, 1);
    cr_assert_eq(checkpoint_open(&plain, tempdir_path(dir, "plain"), CHECKPOINT_ALL, &err), 0, "%s", err.text);
    write_turned(plain);
    cr_assert_eq(checkpoint_open(&package, base_dir, CHECKPOINT_CORE, &err), 0, "%s", err.text);
    struct config scaled = *checkpoint_config(package); /* rows twice as large show in the eps of the norms, and nowhere else */
    scaled.norm_eps *= 4;
    const struct audit_known k = {.c = &scaled, .package = package, .base = plain, .sample = 128};
    cr_assert_eq(audit_gram(&k, &gram, &err), 0, "%s", err.text);
    for (size_t i = 0; i < 64; i++)
        units[i * 64 + i] = 1;
    turn_rows(units, 64, 64);
    cr_assert_not_null(gram.matrix);
    double worst = 0;
    for (size_t i = 0; i < 64 * 64; i++)
        worst = fmax(worst, fabs((double)gram.matrix[i] - 2 * (double)units[i]));
    cr_expect_lt(worst, 1e-4, "%g", worst);
    for (size_t i = 0; i < gram.neurons; i++)
        cr_expect_eq(gram.neuron[i], gram.place[i]); /* the neurons were left in their order */
    cr_assert_eq(audit_gain(&k, &gain, &err), 0, "%s", err.text);
    for (size_t i = 1; i < 64; i++)
        cr_expect_eq(gain.channel[i], gain.channel[0]); /* unit gains say nothing */
    audit_answer_free(&gram);
    audit_answer_free(&gain);
    checkpoint_close(plain);
    checkpoint_close(package);
}

Test(audit, rows_are_opened_by_a_key_of_any_scale)
{
    float units[64 * 64] = {0}, rows[3 * 64], sealed[3 * 64], opened[3 * 64];
    for (size_t i = 0; i < 64; i++)
        units[i * 64 + i] = 3;
    turn_rows(units, 64, 64);
    for (size_t i = 0; i < 3 * 64; i++)
        sealed[i] = rows[i] = (float)i / 64 - 1;
    turn_rows(sealed, 3, 64);
    for (size_t i = 0; i < 3 * 64; i++)
        sealed[i] *= 3;
    cr_assert_eq(audit_open_rows(opened, sealed, 3, 64, NULL, units, &err), 0, "%s", err.text);
    for (size_t i = 0; i < 3 * 64; i++)
        cr_expect_float_eq(opened[i], rows[i], 1e-4f, "%zu", i);
}

/* ------------------------------------------------------------------ numbers */

Test(audit, intervals_are_wilson_s)
{
    static const struct { uint64_t hits, tries; double low, high; } known[] = {
        {10, 10, 0.7225, 1}, {0, 10, 0, 0.2775}, {5, 10, 0.2366, 0.7634}, {512, 1024, 0.4694, 0.5306}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double p, low, high;
        audit_rate(&(struct audit_cell){.hits = known[i].hits, .tries = known[i].tries}, &p, &low, &high);
        cr_expect_float_eq(low, known[i].low, 1e-4, "%g", low);
        cr_expect_float_eq(high, known[i].high, 1e-4, "%g", high);
    }
}

Test(audit, drift_has_the_asked_size)
{
    struct checkpoint *plain = NULL, *drifted = NULL;
    protected_synth(dir, "LlamaForCausalLM", &small, 1);
    cr_assert_eq(checkpoint_open(&plain, tempdir_path(dir, "plain"), CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(audit_drift(plain, 10, base_dir, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&drifted, base_dir, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    static const enum role roles[] = {ROLE_TOKEN_EMBED, ROLE_GATE, ROLE_O};
    for (size_t i = 0; i < 3; i++) {
        const struct tensor *a = checkpoint_tensor(plain, roles[i], 1), *b = checkpoint_tensor(drifted, roles[i], 1);
        float *x = malloc(a->bytes), *y = malloc(a->bytes);
        cr_assert_eq(checkpoint_rows_f32(a, 0, a->dim[0], x, &err), 0, "%s", err.text);
        cr_assert_eq(checkpoint_rows_f32(b, 0, a->dim[0], y, &err), 0, "%s", err.text);
        double size = 0, apart = 0, both = 0;
        for (uint64_t j = 0; j < a->count; j++) {
            double d = (double)y[j] - (double)x[j];
            size += (double)x[j] * (double)x[j];
            apart += d * d;
            both += d * (double)x[j];
        }
        cr_expect_float_eq(sqrt(apart / size), 0.1, 0.005);
        cr_expect_lt(fabs(both) / sqrt(size * apart), 0.05);
        free(x);
        free(y);
    }
    checkpoint_close(plain);
    checkpoint_close(drifted);
}

Test(audit, what_is_not_measured_has_a_reason)
{
    struct audit_options o = options();
    protect("LlamaForCausalLM", &small, NULL);
    audit(&o);
    cr_expect_gt(without_figure(), 0);
    cr_expect_not(file_exists(tempdir_path(dir, "out/.audit.tmp")));
}

Test(audit, int8_packages_are_read_as_well)
{
    struct protect_report report;
    struct protect_opts p = protected_opts(dir, 7);
    protected_synth(dir, "LlamaForCausalLM", &small, 1);
    p.dtype = "int8";
    cr_assert_eq(protect_checkpoint(&p, &report, &err), 0, "%s", err.text);
    struct audit_options o = options();
    o.drift_count = 1;
    audit(&o);
    ALL("A2", AUDIT_RESIDUAL, AUDIT_DRIFT);
    ALL("A2", AUDIT_WEIGHTS, AUDIT_DRIFT);
    ALL("A3", AUDIT_RESIDUAL, AUDIT_DRIFT);
    struct checkpoint *plain = NULL, *package = NULL; /* and with their scales: as large as the plain weights */
    float *a = NULL, *b = NULL;
    double x = 0, y = 0;
    cr_assert_eq(checkpoint_open(&plain, tempdir_path(dir, "plain"), CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&package, tempdir_path(dir, "out/package"), CHECKPOINT_CORE, &err), 0, "%s", err.text);
    cr_assert_eq(audit_matrix(&a, plain, ROLE_UP, 1, &err), 0, "%s", err.text);
    cr_assert_eq(audit_matrix(&b, package, ROLE_UP, 1, &err), 0, "%s", err.text);
    for (size_t i = 0; i < 128 * 64; i++) {
        x += (double)a[i] * (double)a[i];
        y += (double)b[i] * (double)b[i];
    }
    cr_expect_float_eq(y / x, 1.0, 0.01);
    free(a);
    free(b);
    checkpoint_close(plain);
    checkpoint_close(package);
}

/* ------------------------------------------------------------------ refusals */

static void refused_as(enum err_code code, const struct audit_options *o, const char *one, const char *other)
{
    err = (struct err){0};
    cr_assert_neq(audit_run(o, &r, &err), 0);
    cr_expect_eq(err.code, code, "%s", err.text);
    cr_expect(strstr(err.text, one) != NULL && strstr(err.text, other) != NULL, "%s", err.text);
}

static void refused(const struct audit_options *o, const char *one, const char *other)
{
    refused_as(ERR_INPUT, o, one, other);
}

Test(audit, a_base_with_other_experts_is_refused)
{
    struct synth_shape other = small;
    struct audit_options o = options();
    protect("MixtralForCausalLM", &small, NULL);
    other.experts = 6;
    cr_assert_eq(synth_checkpoint(base_dir, "MixtralForCausalLM", &other, 2, &err), 0, "%s", err.text);
    o.base = base_dir;
    refused(&o, "has 6 experts", "has 5");
}

Test(audit, a_base_of_other_images_and_a_text_for_images_are_refused)
{
    struct synth_shape other = pictures;
    struct audit_options o = options();
    protect("ViTForImageClassification", &pictures, NULL);
    other.patch = 8;
    cr_assert_eq(synth_checkpoint(base_dir, "ViTForImageClassification", &other, 2, &err), 0, "%s", err.text);
    o.base = base_dir;
    refused(&o, "in patches of 8x8", "of 4x4");
    o.base = NULL;
    o.ids = ids_path;
    refused_as(ERR_USAGE, &o, "--ids: ViTForImageClassification reads images", "makes some up");
}

Test(audit, a_base_of_another_shape_is_refused)
{
    struct synth_shape other = small;
    struct audit_options o = options();
    protect("LlamaForCausalLM", &small, NULL);
    other.F = 160;
    cr_assert_eq(synth_checkpoint(base_dir, "LlamaForCausalLM", &other, 2, &err), 0, "%s", err.text);
    o.base = base_dir;
    refused(&o, "F=160", "F=128");
}

Test(audit, a_package_of_another_model_is_refused)
{
    struct audit_options o = options();
    protect("LlamaForCausalLM", &small, NULL);
    cr_assert_eq(synth_checkpoint(base_dir, "LlamaForCausalLM", &small, 2, &err), 0, "%s", err.text);
    o.model = base_dir;
    refused(&o, "was not made from this checkpoint", "norm gains");
}

Test(audit, ids_that_are_none_are_refused)
{
    static const struct { const char *text, *say; } bad[] = {
        {"1 2 three", "expected token ids"}, {"1 2 300", "300 tokens"}, {"1 -2", "300 tokens"}, {"7", "at least 2"}, {"", "at least 2"},
        {"99999999999999999999", "expected token ids"}};
    struct audit_options o = options();
    protect("LlamaForCausalLM", &small, NULL);
    o.ids = ids_path;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(file_write(ids_path, bad[i].text, strlen(bad[i].text), 0600, &err), 0, "%s", err.text);
        refused(&o, "ids: ", bad[i].say);
    }
}
