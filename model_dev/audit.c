#include "model_dev/audit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/progress.h"
#include "base/secret.h"
#include "engine/embed.h"
#include "engine/floats.h"
#include "engine/forward.h"
#include "model_dev/audit_drift.h"
#include "model_dev/audit_judge.h"
#include "model_dev/audit_match.h"
#include "model_dev/audit_pictures.h"
#include "model_dev/audit_text.h"
#include "model_dev/grant.h"
#include "model_dev/rules.h"

#define STAGING ".audit.tmp"
#define TO(t) (1u << AUDIT_##t)
#define KEYS TO(RESIDUAL) | TO(WEIGHTS) | TO(EXPERTS) | TO(TOKENS)

static const struct audit_attack attacks[] = {
    {"A1", "gain fingerprint", KEYS, AUDIT_NEEDS_BASE, false, audit_gain},
    {"A2", "sorted columns", KEYS, AUDIT_NEEDS_BASE, false, audit_sorted},
    {"A3", "inner products", KEYS, AUDIT_NEEDS_BASE, false, audit_gram},
    {"A4", "embedding dictionary", TO(TOKENS), AUDIT_NEEDS_TABLES, false, audit_dictionary},
    {"A5", "output table", TO(TOKENS), AUDIT_NEEDS_PACKAGE, false, audit_tied},
    {"A6", "equal rows, frequency", TO(EQUALITY) | TO(TOKENS), AUDIT_NEEDS_PACKAGE, false, audit_equality},
    {"A7", "vocabulary matching", TO(TOKENS), AUDIT_NEEDS_TABLES, true, audit_vocabulary},
};

const char *audit_target_name(enum audit_target t, bool images)
{
    static const char *const names[] = {[AUDIT_RESIDUAL] = "pi", [AUDIT_WEIGHTS] = "weights", [AUDIT_EXPERTS] = "experts",
                                        [AUDIT_TOKENS] = "tokens", [AUDIT_EQUALITY] = "equality"};
    return images && t == AUDIT_TOKENS ? "patches" : names[t];
}

void audit_answer_free(struct audit_answer *a)
{
    free(a->channel);
    free(a->matrix);
    free(a->place);
    free(a->neuron);
    free(a->token);
    free(a->pixels);
    free(a->label);
    free(a->symbol);
    *a = (struct audit_answer){0};
}

void audit_rate(const struct audit_cell *cell, double *rate, double *low, double *high)
{
    if (cell->status != AUDIT_MEASURED || cell->tries == 0) {
        *rate = *low = *high = cell->status == AUDIT_GIVEN ? 1 : cell->status == AUDIT_CLOSED ? 0 : NAN;
        return;
    }
    const double z = 1.959964, n = (double)cell->tries, p = (double)cell->hits / n;
    const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
    const double half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
    *rate = p;
    *low = cell->hits == 0 ? 0 : middle - half;
    *high = cell->hits == cell->tries ? 1 : middle + half;
}

const struct audit_line *audit_find(const struct audit_report *r, const char *id, enum audit_target target)
{
    for (size_t i = 0; i < r->line_count; i++)
        if (strcmp(r->lines[i].attack->id, id) == 0 && r->lines[i].target == target)
            return &r->lines[i];
    return NULL;
}

/* ------------------------------------------------------------------ what belongs to one audit */

struct audit {
    const struct audit_options *o;
    struct audit_report *r;
    struct release release;
    struct context_key *key; /* secret memory */
    struct keyset *keys;
    struct checkpoint *plain, *package, *base;
    struct audit_text text;
    float *rows, *patches; /* [n,D] as the server gets them; [n,M] what images are made of, NULL: texts */
    struct audit_truth truth;
    char staging[FILE_PATH_MAX];
    struct progress progress;
    uint64_t done;
};

static int check_base(const struct audit *s, struct err *err)
{
    const struct config *a = checkpoint_config(s->plain), *b = checkpoint_config(s->base);
    if (strcmp(a->arch->model_type, b->arch->model_type) == 0 && a->D == b->D && a->L == b->L && a->H == b->H && a->G == b->G &&
        a->K == b->K && a->F == b->F && a->V == b->V && a->experts == b->experts && a->channels == b->channels &&
        a->image[0] == b->image[0] && a->image[1] == b->image[1] && a->patch[0] == b->patch[0] && a->patch[1] == b->patch[1])
        return 0;
    if (a->experts != b->experts)
        return err_set(err, ERR_INPUT, "--base %s has %d experts, the model %s has %d: a base has the same shape", s->o->base, b->experts,
                       s->o->model, a->experts);
    if (a->channels != b->channels || a->image[0] != b->image[0] || a->image[1] != b->image[1] || a->patch[0] != b->patch[0] ||
        a->patch[1] != b->patch[1])
        return err_set(err, ERR_INPUT, "--base %s reads images of %dx%dx%d in patches of %dx%d; the model %s of %dx%dx%d in patches of "
                       "%dx%d: a base has the same shape", s->o->base, b->channels, b->image[0], b->image[1], b->patch[0], b->patch[1],
                       s->o->model, a->channels, a->image[0], a->image[1], a->patch[0], a->patch[1]);
    return err_set(err, ERR_INPUT, "--base %s is %s with D=%d L=%d H=%d G=%d K=%d F=%d V=%d; the model %s is %s with D=%d L=%d H=%d "
                   "G=%d K=%d F=%d V=%d: a base has the same shape", s->o->base, b->arch->model_type, b->D, b->L, b->H, b->G, b->K,
                   b->F, b->V, s->o->model, a->arch->model_type, a->D, a->L, a->H, a->G, a->K, a->F, a->V);
}

static int open_files(struct audit *s, struct err *err)
{
    if (release_open(&s->release, s->o->protected, NULL, err) != 0)
        return -1;
    if (strcmp(s->release.manifest.profile, "stip") != 0 && strcmp(s->release.manifest.profile, "gauge") != 0)
        return err_set(err, ERR_INPUT, "%s has profile %s; audit knows stip and gauge (an engine gets token ids under one substitution, not rows)",
                       s->release.package, s->release.manifest.profile);
    if ((s->key = secret_alloc(sizeof *s->key)) == NULL)
        return err_oom(err, sizeof *s->key);
    const struct grant_source match = {.model = s->o->model, .from = &s->release};
    if (grant_check(&match, err) != 0 || release_key(&s->release, s->key, err) != 0 ||
        checkpoint_open(&s->plain, s->o->model, CHECKPOINT_ALL, err) != 0 ||
        checkpoint_open(&s->package, s->release.package, CHECKPOINT_CORE, err) != 0)
        return -1;
    s->key->shape.experts = checkpoint_config(s->plain)->experts; /* which key files do not have */
    if (keyset_new(&s->keys, &s->key->shape, s->key->seed, err) != 0)
        return -1;
    if (s->o->ids != NULL && config_reads_images(checkpoint_config(s->plain)))
        return err_set(err, ERR_USAGE, "--ids: %s reads images; its audit makes some up", checkpoint_config(s->plain)->architecture);
    if (s->o->base != NULL &&
        (checkpoint_open(&s->base, s->o->base, CHECKPOINT_EMBED | CHECKPOINT_CORE, err) != 0 || check_base(s, err) != 0))
        return -1;
    return file_join(s->staging, s->o->protected, STAGING, err) != 0 ? -1 : file_remove_tree(s->staging, err);
}

/* The layers that users run themselves, in place over x [n,D]. */
static int run_local(const struct audit *s, float *x, struct err *err)
{
    const struct config *c = checkpoint_config(s->plain);
    const int layers = (int)s->release.manifest.local_layers, most = config_reads_images(c) ? c->positions : AUDIT_SEQUENCE;
    const size_t D = (size_t)c->D;
    struct net *net = NULL;
    struct scratch *scratch = NULL;
    struct kvcache *kv = NULL;
    if (layers == 0)
        return 0;
    int rc = net_load_first(&net, s->plain, layers, s->release.manifest.compute, err);
    if (rc == 0)
        rc = scratch_new(&scratch, net, most, most, err);
    if (rc == 0)
        rc = kvcache_new_alone(&kv, &net->config, KV_F32, most, err);
    for (size_t i = 0; rc == 0 && i < s->text.n;) {
        int T = 1;
        while (i + (size_t)T < s->text.n && s->text.sequence[i + (size_t)T] == s->text.sequence[i])
            T++;
        struct forward_seq seq = {.kv = kv, .x = x + i * D, .T = T, .out_n = T, .out = x + i * D};
        kvcache_truncate(kv, 0);
        if (kvcache_reserve(kv, T))
            forward(net, scratch, &seq, 1);
        else
            rc = err_oom(err, kvcache_bytes(&net->config, KV_F32, T));
        i += (size_t)T;
    }
    kvcache_free(kv);
    scratch_free(scratch);
    net_free(net);
    return rc;
}

/* Plain rows of made-up images or of a text. */
static int embed_sample(struct audit *s, float **x, struct err *err)
{
    const struct config *c = checkpoint_config(s->plain);
    struct embed *embed = NULL;
    int rc = embed_load(&embed, s->plain, err);
    if (rc == 0 && config_reads_images(c))
        rc = audit_pictures_open(&s->text, &s->patches, x, embed, c, s->o->sample, err);
    else if (rc == 0 && (rc = audit_text_open(&s->text, s->o->ids, c, s->o->sample, err)) == 0)
        rc = floats_alloc(x, s->text.n, (size_t)c->D, err);
    for (size_t i = 0; rc == 0 && s->patches == NULL && i < s->text.n; i++)
        rc = embed_rows(embed, &s->text.traffic[i], NULL, 1, s->text.position[i], *x + i * (size_t)c->D, err);
    embed_free(embed);
    return rc;
}

/* What users would send: the plain rows exist here only. */
static int make_rows(struct audit *s, struct err *err)
{
    const struct config *c = checkpoint_config(s->plain);
    const bool gauge = strcmp(s->release.manifest.profile, "gauge") == 0;
    float *x = NULL;
    int rc = embed_sample(s, &x, err);
    if (rc == 0)
        rc = floats_alloc(&s->rows, s->text.n, (size_t)c->D, err);
    if (rc == 0)
        rc = run_local(s, x, err);
    if (rc == 0)
        rc = audit_seal(s->keys, c, gauge, s->rows, x, s->text.n, err);
    if (rc == 0)
        rc = audit_truth_open(&s->truth, s->keys, c, gauge, (int)s->release.manifest.local_layers, s->text.traffic, s->text.n, err);
    if (rc == 0 && s->patches != NULL) {
        s->truth.patches = s->patches;
        s->truth.M = audit_patch_width(c);
    }
    free(x);
    return rc;
}

static void close_all(struct audit *s)
{
    struct err left;
    if (s->staging[0] != '\0')
        (void)!file_remove_tree(s->staging, &left);
    audit_truth_close(&s->truth);
    free(s->rows);
    free(s->patches);
    audit_text_close(&s->text);
    checkpoint_close(s->base);
    checkpoint_close(s->package);
    checkpoint_close(s->plain);
    keyset_free(s->keys);
    secret_free(s->key);
    release_close(&s->release);
}

/* ------------------------------------------------------------------ the table */

static void add_column(struct audit_report *r, enum audit_knows knows, double drift, const char *name)
{
    struct audit_column *c = &r->columns[r->column_count++];
    *c = (struct audit_column){.knows = knows, .drift = drift};
    (void)snprintf(c->name, sizeof c->name, "%s", name);
}

static void describe(struct audit *s)
{
    struct audit_report *r = s->r;
    const struct config *c = checkpoint_config(s->plain);
    (void)snprintf(r->architecture, sizeof r->architecture, "%s", c->architecture);
    (void)snprintf(r->profile, sizeof r->profile, "%s", s->release.manifest.profile);
    (void)snprintf(r->head, sizeof r->head, "%s", s->release.manifest.head);
    (void)snprintf(r->text, sizeof r->text, "%s", s->patches != NULL ? "made-up images, their upper halves the same" : s->o->ids == NULL
                   ? "made-up tokens, frequent by Zipf's law" : "tokens of the given file");
    r->D = c->D;
    r->F = c->F;
    r->L = c->L;
    r->V = c->V;
    r->experts = c->experts;
    r->images = s->patches != NULL;
    r->local_layers = (int)s->release.manifest.local_layers;
    r->rows = s->text.n;
    r->tied = c->tied && (c->head == HEAD_LM || c->head == HEAD_MLM);
    r->head_user = s->key->head_user;
    add_column(r, AUDIT_NOTHING, 0, "nothing");
    for (size_t i = 0; i < s->o->drift_count; i++) {
        char name[48];
        (void)snprintf(name, sizeof name, "drift %g %%", s->o->drifts[i]);
        add_column(r, AUDIT_DRIFT, s->o->drifts[i], name);
    }
    if (s->base != NULL)
        add_column(r, AUDIT_BASE, 0, "base");
    if (s->base != NULL || s->o->drift_count == 0)
        add_column(r, AUDIT_USER, 0, s->base != NULL ? "base + user" : "user");
    else {
        double most = s->o->drifts[s->o->drift_count - 1];
        char name[48];
        (void)snprintf(name, sizeof name, "drift %g %% + user", most);
        add_column(r, AUDIT_USER, most, name);
    }
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
        for (int t = 0; t < AUDIT_TARGETS; t++)
            if ((attacks[i].targets & 1u << t) != 0 && (t != AUDIT_EXPERTS || c->experts > 0))
                r->lines[r->line_count++] = (struct audit_line){.attack = &attacks[i], .target = (enum audit_target)t};
    static const struct { const char *name; enum key key; } keys[] = {
        {"residual", KEY_RESIDUAL}, {"output", KEY_OUTPUT}, {"query and key, a layer", KEY_QUERY},
        {"value and mix, a layer", KEY_VALUE}, {"feed-forward, a layer", KEY_FFN},
        {"experts, a layer", KEY_EXPERTS}};
    const size_t count = sizeof keys / sizeof *keys - (c->experts == 0);
    for (; r->key_count < count; r->key_count++) {
        r->keys[r->key_count].name = keys[r->key_count].name;
        r->keys[r->key_count].bits = keyset_bits(s->keys, keys[r->key_count].key);
    }
}

static void skip(struct audit_answer *a, const char *why)
{
    (void)snprintf(a->reason, sizeof a->reason, "%s", why);
}

static int attack(const struct audit *s, const struct audit_attack *t, const struct audit_known *k, struct audit_answer *a,
                  struct err *err)
{
    if (t->needs == AUDIT_NEEDS_BASE && k->base == NULL)
        skip(a, "needs related weights");
    else if (t->needs == AUDIT_NEEDS_TABLES && k->tables == NULL)
        skip(a, "needs related embedding tables");
    else if (t->slow && s->o->skip_slow)
        skip(a, "left out by --skip-slow");
    else if (s->o->only != NULL && strcmp(s->o->only, t->id) != 0)
        skip(a, "left out by --only");
    else if (t->slow && s->patches != NULL)
        skip(a, "not applicable: patches are of no vocabulary that could be tried");
    else if (t->slow && k->residual != NULL && k->first == 0)
        skip(a, "rows are open to this user: see A4");
    else if ((t->targets & TO(RESIDUAL)) != 0 && k->residual != NULL)
        return audit_use_key(k, a, err); /* the key is known: what is left are the inner ones */
    else
        return t->run(k, a, err);
    return 0;
}

/* All attacks with what one column's attacker knows. */
static int run_column(struct audit *s, size_t column, const struct audit_known *k, struct err *err)
{
    struct audit_report *r = s->r;
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
        struct audit_answer a = {0};
        bool again = attacks[i].needs == AUDIT_NEEDS_PACKAGE && column > 0; /* more knowledge changes nothing */
        int rc = again ? 0 : attack(s, &attacks[i], k, &a, err);
        for (size_t l = 0; rc == 0 && l < r->line_count; l++) {
            struct audit_line *line = &r->lines[l];
            if (line->attack != &attacks[i])
                continue;
            if (again)
                line->cells[column] = line->cells[0];
            else
                rc = audit_judge(&line->cells[column], &s->truth, &a, line->target, k->residual != NULL, err);
        }
        audit_answer_free(&a);
        if (rc != 0)
            return err_wrap(err, "%s with %s", attacks[i].id, r->columns[column].name);
        progress_at(&s->progress, ++s->done);
    }
    return 0;
}

static int run_knowing(struct audit *s, size_t column, struct err *err)
{
    const struct audit_column *c = &s->r->columns[column];
    const bool made = (c->knows == AUDIT_DRIFT || c->knows == AUDIT_USER) && c->drift > 0;
    struct checkpoint *drifted = NULL;
    struct audit_known k = {
        .c = checkpoint_config(s->package), .package = s->package, .compute = s->release.manifest.compute, .n = s->text.n,
        .first = (int)s->release.manifest.local_layers,
        .permuted = strcmp(s->release.manifest.profile, "stip") == 0,
        .rows = s->rows, .sequence = s->text.sequence, .position = s->text.position, .corpus = s->text.corpus,
        .corpus_n = s->text.corpus_n, .sample = s->o->sample, .places = s->o->places,
    };
    int rc = made ? audit_drift(s->plain, c->drift, s->staging, err) : 0;
    if (rc == 0 && made)
        rc = checkpoint_open(&drifted, s->staging, CHECKPOINT_ALL, err);
    if (c->knows == AUDIT_DRIFT || (c->knows == AUDIT_USER && s->o->drift_count > 0))
        k.base = made ? drifted : s->plain;
    if (s->base != NULL && (c->knows == AUDIT_BASE || c->knows == AUDIT_USER))
        k.base = s->base;
    k.tables = k.base;
    if (c->knows == AUDIT_USER) { /* users hold the plain tables and the residual key */
        k.tables = s->plain;
        k.residual = s->truth.residual;
    }
    if (rc == 0)
        rc = run_column(s, column, &k, err);
    checkpoint_close(drifted);
    if (made && rc == 0)
        rc = file_remove_tree(s->staging, err);
    return rc;
}

static int check_only(const char *id, struct err *err)
{
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
        if (id == NULL || strcmp(attacks[i].id, id) == 0)
            return 0;
    return err_set(err, ERR_USAGE, "--only: expected the name of an attack, A1 to A7, found '%.20s'", id);
}

int audit_run(const struct audit_options *o, struct audit_report *out, struct err *err)
{
    struct audit_report r = {0};
    struct audit s = {.o = o, .r = &r};
    const uint64_t start = clock_us();
    int rc = check_only(o->only, err);
    if (rc == 0)
        rc = open_files(&s, err);
    if (rc == 0)
        rc = make_rows(&s, err);
    if (rc == 0) {
        describe(&s);
        progress_start(&s.progress, "audit", "attacks", r.column_count * (sizeof attacks / sizeof *attacks));
        for (size_t i = 0; rc == 0 && i < r.column_count; i++)
            rc = run_knowing(&s, i, err);
        progress_end(&s.progress);
    }
    close_all(&s);
    r.seconds = (double)(clock_us() - start) / 1e6;
    if (rc == 0)
        *out = r;
    return rc;
}
