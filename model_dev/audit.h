/* model_dev/audit.h - the known attacks, run on the developer's own package: what a server could read.
 *
 * Data flow   package + the rows that a server would get + what else the server knows -> attack -> its answer -> judged with the
 *             developer's keys -> table of recovery rates, attack by knowledge.
 *             An attack gets struct audit_known and nothing else: no key and no token of the sample is in it.
 * Shapes      letters of model/shape.h. Matrices are [out,in], whichever way they are stored. The neurons of a layer are those of all
 *             its experts, one expert after the other: N = F of a layer without experts, E F with them.
 * Units       rates are hits of tries; drift is in percent of the root mean square of each tensor.
 * Errors      packages, checkpoints and texts that do not belong together; memory, disk. An attack that cannot be run here is a
 *             cell with its reason, not an error.
 * Memory      audit_run fills a plain struct. The net of the package and of the base for A7; otherwise some matrices at a time.
 * Secrets     reads the developer's seed and the plain checkpoint. Reports carry rates and counts only.
 * Source      A1-A6: invariants of permutations. A3: Procrustes. A7: "Hidden No More", arXiv 2505.18332.
 */
#ifndef STIP_MODEL_DEV_AUDIT_H
#define STIP_MODEL_DEV_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/checkpoint.h"
#include "model/compute.h"

#define AUDIT_COLUMNS 12
#define AUDIT_LINES 18
#define AUDIT_BITS 12
#define AUDIT_REASON 160
#define AUDIT_DRIFTS (AUDIT_COLUMNS - 3) /* "nothing", "base" and "base and a user" have columns of their own */

/* ------------------------------------------------------------------ the attacker's side */

struct audit_known {
    const struct config *c; /* of the package */
    const struct checkpoint *package;
    enum compute compute;
    int first; /* layers that users run themselves: layer 0 of the package is this one of the base */
    bool permuted; /* by the public profile the residual key is a permutation */
    size_t n; /* rows that the server got, of sequences that begin at position 0 */
    const float *rows; /* [n,D] */
    const int *sequence, *position; /* [n] */
    const int32_t *corpus; /* a public text of the same kind */
    size_t corpus_n;
    const struct checkpoint *base;   /* weights like the plain ones, NULL: none */
    const struct checkpoint *tables; /* embedding tables: the base's, or those that users hold; NULL: none */
    const float *residual; /* [D,D] a colluding user's key: a sealed row is the plain one times this; NULL: not known */
    size_t sample; /* neurons, candidates */
    size_t places; /* that A7 searches at most; 0: by the size of the model */
};

/* What an attack says. It fills what it is after and leaves the rest NULL; audit_answer_free releases. */
struct audit_answer {
    uint32_t *channel; /* [D] the plain channel that stands at each place of a sealed row */
    float *matrix;     /* [D,D] or the residual key as a matrix, like audit_known.residual */
    uint32_t *place, *neuron; /* [neurons] of the feed-forward neurons of the package's layer 0: places in the package, and who they are */
    size_t neurons;
    int32_t *token; /* [n] token of a row; -1: no idea; -2: not tried */
    float *pixels;  /* [n,M] the patch that made a row, of models that read images */
    int32_t *label; /* [n] or its place in the package's output table, in the output key's order */
    uint32_t *symbol; /* [n] rows of one symbol are the same token */
    bool closed; /* the package does not have what the attack needs, and that is what protects */
    char reason[AUDIT_REASON]; /* why there is no answer, or only a part of one */
    char method[AUDIT_REASON]; /* what was compared, for the notes */
};
void audit_answer_free(struct audit_answer *a);

enum audit_needs { AUDIT_NEEDS_PACKAGE, AUDIT_NEEDS_TABLES, AUDIT_NEEDS_BASE };

struct audit_attack {
    const char *id, *name;
    unsigned targets; /* 1u << enum audit_target */
    enum audit_needs needs; /* without which it cannot begin */
    bool slow;
    int (*run)(const struct audit_known *k, struct audit_answer *a, struct err *err);
};

int audit_gain(const struct audit_known *k, struct audit_answer *a, struct err *err);
int audit_sorted(const struct audit_known *k, struct audit_answer *a, struct err *err);
int audit_gram(const struct audit_known *k, struct audit_answer *a, struct err *err);
int audit_dictionary(const struct audit_known *k, struct audit_answer *a, struct err *err);
int audit_tied(const struct audit_known *k, struct audit_answer *a, struct err *err);
int audit_equality(const struct audit_known *k, struct audit_answer *a, struct err *err);
int audit_vocabulary(const struct audit_known *k, struct audit_answer *a, struct err *err);

/* ------------------------------------------------------------------ the developer's side */

enum audit_target { AUDIT_RESIDUAL, AUDIT_WEIGHTS, AUDIT_EXPERTS, AUDIT_TOKENS, AUDIT_EQUALITY, AUDIT_TARGETS };
/* What models of images send are patches, not tokens. */
const char *audit_target_name(enum audit_target t, bool images);

enum audit_status {
    AUDIT_MEASURED,
    AUDIT_CLOSED,  /* nothing to attack in this package: 0 by construction */
    AUDIT_GIVEN,   /* the attacker has it from the start */
    AUDIT_SKIPPED, /* not measured, for the reason given */
};

struct audit_cell {
    enum audit_status status;
    uint64_t hits, tries;
    double chance; /* rate of guessing */
    char reason[AUDIT_REASON], method[AUDIT_REASON];
};

enum audit_knows { AUDIT_NOTHING, AUDIT_DRIFT, AUDIT_BASE, AUDIT_USER };
struct audit_column {
    enum audit_knows knows;
    double drift; /* percent */
    char name[48];
};

struct audit_line {
    const struct audit_attack *attack;
    enum audit_target target;
    struct audit_cell cells[AUDIT_COLUMNS];
};

struct audit_options {
    const char *protected, *model; /* folders */
    const char *base;  /* NULL: none */
    const char *ids;   /* file with token ids; NULL: synthetic */
    double drifts[AUDIT_DRIFTS];
    size_t drift_count;
    size_t sample;
    bool skip_slow; /* leave A7 out, with that as its reason */
    size_t places;  /* for A7; 0: by the size of the model */
    const char *only; /* the id of the one attack to run; NULL: all */
};

struct audit_report {
    char architecture[64], profile[16], head[8];
    char text[AUDIT_REASON]; /* where the tokens came from */
    int D, F, L, V, experts, local_layers;
    bool images;
    size_t rows;
    struct audit_column columns[AUDIT_COLUMNS];
    size_t column_count;
    struct audit_line lines[AUDIT_LINES];
    size_t line_count;
    struct { const char *name; double bits; } keys[AUDIT_BITS]; /* A8 */
    size_t key_count;
    bool tied, head_user; /* the output table is the embedding table; the package has none */
    double seconds;
};

MUST_CHECK int audit_run(const struct audit_options *o, struct audit_report *out, struct err *err);
/* Hits of tries in 0..1, and its 95 % interval (Wilson). */
void audit_rate(const struct audit_cell *cell, double *rate, double *low, double *high);
/* Line of an attack and target, NULL if there is none. */
const struct audit_line *audit_find(const struct audit_report *r, const char *id, enum audit_target target);

#endif
