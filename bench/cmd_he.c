#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "bench/baselines/he/primer.h"
#include "bench/baselines/he/systems.h"
#include "bench/cmd.h"
#include "bench/shapes.h"
#include "model/hub.h"
#include "user/tokenizer.h"

#define REPEATS 7
/* More than 32 tokens of any vocabulary; longer sequences repeat it. */
#define TEXT                                                                                                                       \
    "The film is a charming and often affecting journey, but its second half is bleak, slow and far too long, and no joke in it is new; " \
    "still, the two leads are so good that nobody in the audience wanted them to leave."

static const enum ckks_op shown[] = {CKKS_ENCODE, CKKS_ENCRYPT, CKKS_MUL_PLAIN, CKKS_MUL, CKKS_RELIN, CKKS_RESCALE, CKKS_ROTATE};
#define SHOWN (sizeof shown / sizeof *shown)

static void put(struct json_doc *doc, const struct prices_set *set, const struct prices *p)
{
    const int top = set->params.count;
    struct json *row = json_put_object(doc, json_node(doc), set->name), *ms = json_put_object(doc, row, "ms"),
                *seal = json_put_object(doc, row, "seal_ms"), *first = json_put_array(doc, row, "first");
    for (size_t i = 0; i < sizeof p->first / sizeof *p->first; i++)
        json_put_num(doc, first, NULL, p->first[i]);
    json_put_int(doc, row, "levels", top - 1);
    json_put_int(doc, row, "ciphertext_bytes", (int64_t)2 * top * (8 << set->params.log_n));
    json_put_num(doc, row, "keys_ms", p->keys_us / 1e3);
    json_put_num(doc, row, "rotation_key_ms", p->rotation_key_us / 1e3);
    json_put_num(doc, row, "max_error", p->max_error);
    for (int op = 0; op < CKKS_OPS; op++) {
        if (p->us[op][top] > 0)
            json_put_num(doc, ms, ckks_op_name((enum ckks_op)op), p->us[op][top] / 1e3);
        if (set->seal_ms[op] > 0)
            json_put_num(doc, seal, ckks_op_name((enum ckks_op)op), set->seal_ms[op]);
    }
}

static void show(const struct prices_set *set, const struct prices *p)
{
    const int top = set->params.count;
    printf("%-10s", set->name);
    for (size_t i = 0; i < SHOWN; i++)
        printf("  %9.3f", p->us[shown[i]][top] / 1e3);
    printf("  %.1e\n%-10s", p->max_error, "  / SEAL");
    for (size_t i = 0; i < SHOWN; i++)
        printf("  %9.2f", p->us[shown[i]][top] / 1e3 / set->seal_ms[shown[i]]);
    printf("\n");
}

static int run(const char *which, struct json_doc *doc, struct err *err)
{
    int found = 0;
    for (size_t i = 0; prices_set(i) != NULL; i++)
        found += strncmp(prices_set(i)->name, which, strlen(which)) == 0;
    if (found == 0)
        return err_set(err, ERR_USAGE, "--params %s: expected 8192-200, 8192-218, 16384-436, 32768-840 or the start of one", which);
    if (doc == NULL) {
        printf("milliseconds on one thread, and as a part of SEAL's without AVX-512\n%-10s", "N-bits");
        for (size_t i = 0; i < SHOWN; i++)
            printf("  %9s", ckks_op_name(shown[i]));
        printf("  max error\n");
    }
    for (size_t i = 0; prices_set(i) != NULL; i++) {
        const struct prices_set *set = prices_set(i);
        struct prices p;
        if (strncmp(set->name, which, strlen(which)) != 0)
            continue;
        if (prices_measure(&p, &set->params, set->params.count, set->params.count, REPEATS, err) != 0)
            return -1;
        if (doc != NULL)
            put(doc, set, &p);
        else
            show(set, &p);
    }
    return 0;
}

/* ------------------------------------------------------------------ whole systems */

/* The first T tokens of a text that is long enough, or of random ids where there is no tokenizer. */
static int take_ids(int32_t *ids, int T, const char *dir, int V, const char *prompt, struct err *err)
{
    struct tokenizer *t = NULL;
    struct token_ids got = {0};
    struct err no_tokenizer;
    if (tokenizer_load(&t, dir, &no_tokenizer) != 0) {
        synth_ids(ids, T, V, 1);
        return 0;
    }
    int rc = tokenizer_encode(t, prompt, strlen(prompt), NULL, 0, true, &got, err);
    for (int i = 0; rc == 0 && i < T; i++)
        ids[i] = got.ids[(size_t)i % got.n];
    token_ids_free(&got);
    tokenizer_free(t);
    return rc;
}

static void put_row(struct json_doc *doc, const struct compare_row *r, const struct systems_detail *d)
{
    struct json *row = json_put_object(doc, json_node(doc), r->how == COMPARE_MEASURED ? "measured" : "modelled"),
                *counts = json_put_object(doc, row, "counts");
    const struct {
        const char *name;
        double v;
    } numbers[] = {{"offline_s", r->offline_s}, {"online_s", r->online_s}, {"offline_bytes", r->offline_bytes}, {"bytes", r->bytes},
                   {"messages", r->rounds}, {"max_error", r->max_err}, {"mean_error", r->mean_err}, {"own_max_error", r->own_max_err},
                   {"own_mean_error", r->own_mean_err}, {"priced_s", d->priced_s}, {"weights_s", d->weights_s},
                   {"processor_s", r->how == COMPARE_MEASURED ? d->cpu_s : NAN}};
    json_put_str(doc, row, "system", r->system);
    json_put_str(doc, row, "shape", r->shape);
    json_put_str(doc, row, "note", r->note);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!isnan(numbers[i].v))
            json_put_num(doc, row, numbers[i].name, numbers[i].v);
    for (int op = 0; op < CKKS_OPS; op++) {
        struct json *at = json_put_object(doc, counts, ckks_op_name((enum ckks_op)op));
        for (int l = d->params.count; l >= 1; l--) {
            char level[16];
            snprintf(level, sizeof level, "%d", l);
            if (d->tally.count[op][l] != 0)
                json_put_int(doc, at, level, (int64_t)d->tally.count[op][l]);
        }
    }
}

static void show_row(const struct compare_row *r, const struct systems_detail *d)
{
    printf("%s, %s, %s\n  online %.2f s (processor %.2f s; by counts and prices %.2f s), offline %.2f s (weights %.2f s), %.1f MB in %.0f messages\n  %s\n", r->system,
           r->shape, r->how == COMPARE_MEASURED ? "measured" : "modelled", r->online_s,
           r->how == COMPARE_MEASURED ? d->cpu_s : d->priced_s, d->priced_s, r->offline_s, d->weights_s, r->bytes / 1e6,
           r->rounds, r->note);
    if (r->how == COMPARE_MEASURED)
        printf("  error: max %.2e, mean %.2e against exact; max %.2e, mean %.2e against its own formulas in float64; keys %.0f MB\n", r->max_err,
               r->mean_err, r->own_max_err, r->own_mean_err, r->offline_bytes / 1e6);
}

static int run_measured(const struct cli_cmd *cmd, enum systems_kind kind, const char *dir, int T, const char *prompt, struct json_doc *doc, struct err *err)
{
    struct checkpoint *cp = NULL;
    struct compare_row row;
    struct systems_detail detail;
    int32_t *ids = malloc((size_t)T * sizeof *ids);
    int rc = ids == NULL ? err_oom(err, (size_t)T * sizeof *ids) : checkpoint_open(&cp, dir, CHECKPOINT_EMBED | CHECKPOINT_CORE, err);
    if (rc == 0)
        rc = cmd_reads_text(cmd, checkpoint_config(cp), err);
    if (rc == 0)
        rc = take_ids(ids, T, dir, checkpoint_config(cp)->V, prompt, err);
    if (rc == 0)
        rc = systems_measure(&row, kind, cp, basename(dir), ids, T, NULL, &detail, err);
    if (rc == 0 && doc != NULL)
        put_row(doc, &row, &detail);
    else if (rc == 0)
        show_row(&row, &detail);
    checkpoint_close(cp);
    free(ids);
    return rc;
}

static int named(struct encoder *m, const char *name, struct err *err)
{
    const struct named_shape *s = shapes_find(name);
    if (s == NULL || strncmp(name, "bert", 4) != 0)
        return err_set(err, ERR_USAGE, "--shape %s: expected bert-tiny, bert-base or bert-large", name);
    *m = (struct encoder){.L = s->shape.L, .D = s->shape.D, .H = s->shape.H, .K = s->shape.D / s->shape.H,
                          .F = s->shape.F == 0 ? 4 * s->shape.D : s->shape.F};
    return 0;
}

static int run_modelled(enum systems_kind kind, const char *name, int T, struct json_doc *doc, struct err *err)
{
    struct encoder m;
    struct compare_row row;
    struct systems_detail detail;
    if (named(&m, name, err) != 0)
        return -1;
    if (systems_model(&row, kind, &m, name, T, &detail, err) != 0)
        return -1;
    if (doc != NULL)
        put_row(doc, &row, &detail);
    else
        show_row(&row, &detail);
    return 0;
}

/* Primer's products are run where a checkpoint's shape is given, and counted for a named one; its circuits are counted always. */
static int run_primer(const struct encoder *m, const char *shape, int T, bool real, struct json_doc *doc, struct err *err)
{
    struct compare_row row;
    struct primer_detail d;
    if (primer_row(&row, m, shape, T, real, &d, err) != 0)
        return -1;
    if (doc == NULL) {
        printf("%s, %s, modelled: products %s, circuits counted\n  online %.2f s (HE %.2f), offline %.2f s (HE %.2f), %.1f MB online, %.1f MB offline, %.0f "
               "messages\n  %s\n",
               row.system, row.shape, real ? "run" : "counted", row.online_s, d.he_online_s, row.offline_s, d.he_offline_s, row.bytes / 1e6,
               row.offline_bytes / 1e6, row.rounds, row.note);
        return 0;
    }
    struct json *to = json_put_object(doc, json_node(doc), "modelled");
    const struct {
        const char *name;
        double v;
    } numbers[] = {{"offline_s", row.offline_s}, {"online_s", row.online_s}, {"offline_bytes", row.offline_bytes}, {"bytes", row.bytes},
                   {"messages", row.rounds}, {"he_offline_s", d.he_offline_s}, {"he_online_s", d.he_online_s}, {"and_gates", d.gates},
                   {"garble_ns", d.garble_ns}, {"evaluate_ns", d.evaluate_ns}, {"macs", d.macs}, {"mac_ns", d.mac_ns}};
    json_put_str(doc, to, "system", row.system);
    json_put_str(doc, to, "shape", row.shape);
    json_put_str(doc, to, "note", row.note);
    json_put_bool(doc, to, "products_run", real);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_put_num(doc, to, numbers[i].name, numbers[i].v);
    return 0;
}

static int run_system(const struct cli_cmd *cmd, const char *name, struct json_doc *doc, struct err *err)
{
    char dir[FILE_PATH_MAX];
    const char *shape = cli_str(cmd, "shape", NULL);
    int64_t T = shape == NULL ? 32 : 128;
    struct encoder m;
    struct config c;
    int kind = 0;
    if (cli_int(cmd, "tokens", 1, 512, &T, err) != 0)
        return -1;
    if (strcmp(name, "primer") == 0 && shape != NULL)
        return named(&m, shape, err) != 0 ? -1 : run_primer(&m, shape, (int)T, false, doc, err);
    if (strcmp(name, "primer") == 0) {
        if (hub_option(dir, cmd, err) != 0 || config_read(&c, dir, err) != 0)
            return -1;
        m = (struct encoder){.L = c.L, .D = c.D, .H = c.H, .K = c.K, .F = c.F};
        const bool bert = c.post_norm && !c.causal;
        config_free(&c);
        if (!bert)
            return err_set(err, ERR_INPUT, "%s: expected a BERT encoder", dir);
        return run_primer(&m, basename(dir), (int)T, true, doc, err);
    }
    while (kind < SYSTEMS_COUNT && strcmp(systems_name((enum systems_kind)kind), name) != 0)
        kind++;
    if (kind == SYSTEMS_COUNT)
        return err_set(err, ERR_USAGE, "--system %s: expected the-x, polynomial or primer", name);
    if (shape != NULL)
        return run_modelled((enum systems_kind)kind, shape, (int)T, doc, err);
    if (hub_option(dir, cmd, err) != 0)
        return -1;
    return run_measured(cmd, (enum systems_kind)kind, dir, (int)T, cli_str(cmd, "prompt", TEXT), doc, err);
}

int cmd_he(const struct cli_cmd *cmd, int argc, char **argv, struct err *err)
{
    const char *which = cli_str(cmd, "params", ""), *system = cli_str(cmd, "system", NULL);
    struct json_doc *doc = cli_on(cmd, "json") ? json_new_object("he") : NULL;
    char *text = NULL;
    (void)argc;
    (void)argv;
    if (cli_on(cmd, "json") && doc == NULL)
        return err_oom(err, 1024);
    int rc = system != NULL ? run_system(cmd, system, doc, err) : run(which, doc, err);
    if (rc == 0 && doc != NULL && (rc = json_print(doc, false, &text, err)) == 0)
        printf("%s\n", text);
    free(text);
    json_free(doc);
    return rc;
}
