#include "model_dev/audit_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double rate_of(const struct audit_cell *c)
{
    double rate, low, high;
    audit_rate(c, &rate, &low, &high);
    return rate;
}

/* ------------------------------------------------------------------ verdict */

/* The best rate of a target in a column, NAN when nothing was measured; *line is which. */
static double best(const struct audit_report *r, size_t column, enum audit_target target, const struct audit_line **line)
{
    double most = NAN;
    for (size_t i = 0; i < r->line_count; i++) {
        double rate = rate_of(&r->lines[i].cells[column]);
        if (r->lines[i].target == target && !isnan(rate) && !(rate <= most)) {
            most = rate;
            *line = &r->lines[i];
        }
    }
    return most;
}

double audit_worst(const struct audit_report *r, char what[128])
{
    double most = 0;
    (void)snprintf(what, 128, "nothing");
    for (size_t c = 0; c < r->column_count; c++)
        for (int t = AUDIT_RESIDUAL; r->columns[c].knows != AUDIT_USER && t <= AUDIT_TOKENS; t++) {
            if (t == AUDIT_EXPERTS) /* one of few is often guessed */
                continue;
            const struct audit_line *line = NULL;
            double rate = best(r, c, (enum audit_target)t, &line);
            if (rate > most) {
                most = rate;
                (void)snprintf(what, 128, "%s: %s, knowing %s", line->attack->id, audit_target_name((enum audit_target)t, r->images),
                               r->columns[c].name);
            }
        }
    return most;
}

static bool say_tied(const struct audit_report *r, char text[256])
{
    const struct audit_line *line = audit_find(r, "A5", AUDIT_TOKENS);
    double rate = line == NULL ? NAN : rate_of(&line->cells[0]);
    if (line != NULL && line->cells[0].status == AUDIT_CLOSED)
        (void)snprintf(text, 256, "The output table is not in the package, so it labels no token (A5).");
    else if (rate > 0.01)
        (void)snprintf(text, 256, "With tied embeddings and the head on the server, %.0f %% of input tokens can be labelled: use --head user.",
                       100 * rate);
    else
        return false;
    return true;
}

static bool say_equal(const struct audit_report *r, char text[256])
{
    const struct audit_line *line = audit_find(r, "A6", AUDIT_EQUALITY);
    double rate = line == NULL ? NAN : rate_of(&line->cells[0]);
    if (!(rate > 0))
        return false;
    if (r->images)
        (void)snprintf(text, 256, "Of pairs of patches that two images share at one place %.0f %% are seen as equal rows: what stays the same "
                       "before a camera shows.", 100 * rate);
    else
        (void)snprintf(text, 256, "Of pairs of equal tokens %.0f %% are seen as equal rows: a substitution cipher over tokens%s; renew the context "
                       "before much traffic builds up.", 100 * rate, rate < 0.5 ? " at equal positions" : "");
    return true;
}

/* One sentence per column. */
static bool say_column(const struct audit_report *r, size_t c, char text[256])
{
    const struct audit_line *line = NULL;
    double found[AUDIT_TARGETS];
    for (int t = 0; t < AUDIT_TARGETS; t++)
        found[t] = best(r, c, (enum audit_target)t, &line);
    char parts[AUDIT_TARGETS][32];
    for (int t = 0; t < AUDIT_TARGETS; t++)
        (void)snprintf(parts[t], sizeof parts[t], isnan(found[t]) ? "not measured" : "%.1f %%", 100 * found[t]);
    char who[128];
    const struct audit_column *col = &r->columns[c];
    if (col->knows == AUDIT_NOTHING) {
        (void)snprintf(text, 256, "A server that knows nothing else recovers %s: %s.", audit_target_name(AUDIT_TOKENS, r->images),
                       parts[AUDIT_TOKENS]);
        return true;
    }
    if (col->knows == AUDIT_DRIFT)
        (void)snprintf(who, sizeof who, "A server whose weights are %g %% away", col->drift);
    else
        (void)snprintf(who, sizeof who, "%s", col->knows == AUDIT_BASE ? "A server that has --base"
                                                                     : "A server and one user of the context together");
    (void)snprintf(text, 256, "%s: pi %s, weights %s, %s %s.", who, parts[AUDIT_RESIDUAL], parts[AUDIT_WEIGHTS],
                   audit_target_name(AUDIT_TOKENS, r->images), parts[AUDIT_TOKENS]);
    return true;
}

/* Sentences that do not hold are passed over. */
const char *audit_verdict(const struct audit_report *r, size_t i, char text[256])
{
    for (size_t at = 0; at < r->column_count + 2; at++) {
        bool holds = at == 0 ? say_tied(r, text) : at == 1 ? say_equal(r, text) : say_column(r, at - 2, text);
        if (holds && i-- == 0)
            return text;
    }
    return NULL;
}

/* ------------------------------------------------------------------ text */

#define CELL 18

static void cell_text(char out[CELL + 8], const struct audit_cell *c)
{
    double rate, low, high;
    audit_rate(c, &rate, &low, &high);
    if (c->status == AUDIT_MEASURED && c->tries > 0)
        (void)snprintf(out, CELL + 8, "%.1f [%.1f,%.1f]%s", 100 * rate, 100 * low, 100 * high, c->reason[0] != '\0' ? "*" : "");
    else
        (void)snprintf(out, CELL + 8, "%s", c->status == AUDIT_GIVEN ? "given" : c->status == AUDIT_CLOSED ? "closed" : "not measured");
}

/* Each reason once, with the columns it holds for. */
static void print_reasons(FILE *to, const struct audit_report *r, const struct audit_line *line)
{
    for (size_t c = 0; c < r->column_count; c++) {
        const char *why = line->cells[c].reason;
        bool said = why[0] == '\0';
        for (size_t b = 0; b < c; b++)
            said |= strcmp(why, line->cells[b].reason) == 0;
        if (said)
            continue;
        (void)fprintf(to, "  %s %s, knowing", line->attack->id, audit_target_name(line->target, r->images));
        const char *comma = " ";
        for (size_t b = c; b < r->column_count; b++)
            if (strcmp(why, line->cells[b].reason) == 0) {
                (void)fprintf(to, "%s%s", comma, r->columns[b].name);
                comma = ", ";
            }
        (void)fprintf(to, ": %s\n", why);
    }
}

static void print_tries(FILE *to, const struct audit_line *line, const struct audit_report *r)
{
    for (size_t c = 0; c < r->column_count; c++)
        if (line->cells[c].tries > 0) {
            (void)fprintf(to, "  %s %s: of %llu%s%s, guessing finds %.2g %%\n", line->attack->id, audit_target_name(line->target, r->images),
                          (unsigned long long)line->cells[c].tries, line->cells[c].method[0] != '\0' ? "; " : "",
                          line->cells[c].method, 100 * line->cells[c].chance);
            return;
        }
}

void audit_print(FILE *to, const struct audit_report *r)
{
    char text[256];
    (void)fprintf(to, "%s, profile %s, head: %s, local layers: %d; D=%d F=%d L=%d V=%d experts=%d; %zu rows of %s\n\nrecovered, in percent [95 %% interval], by what the "
                  "server knows beside the package\n\n%-38s", r->architecture, r->profile, r->head, r->local_layers, r->D, r->F, r->L, r->V, r->experts, r->rows,
                  r->text, "attack");
    for (size_t c = 0; c < r->column_count; c++)
        (void)fprintf(to, " %*s", CELL, r->columns[c].name);
    (void)fprintf(to, "\n");
    for (size_t i = 0; i < r->line_count; i++) {
        const struct audit_line *line = &r->lines[i];
        (void)fprintf(to, "%-3s %-24s %-9s", line->attack->id, line->attack->name, audit_target_name(line->target, r->images));
        for (size_t c = 0; c < r->column_count; c++) {
            char cell[CELL + 8];
            cell_text(cell, &line->cells[c]);
            (void)fprintf(to, " %*s", CELL, cell);
        }
        (void)fprintf(to, "\n");
    }
    (void)fprintf(to, "A8  brute force, log2 of the orders:");
    for (size_t i = 0; i < r->key_count; i++)
        (void)fprintf(to, "%s %s %.0f", i == 0 ? "" : ",", r->keys[i].name, r->keys[i].bits);
    (void)fprintf(to, "; no key has more than the 256 bits of the seed\n\nwhat the rates are of\n");
    for (size_t i = 0; i < r->line_count; i++)
        print_tries(to, &r->lines[i], r);
    (void)fprintf(to, "\nnot measured, or in part (*)\n");
    for (size_t i = 0; i < r->line_count; i++)
        print_reasons(to, r, &r->lines[i]);
    (void)fprintf(to, "\nverdict\n");
    for (size_t i = 0; audit_verdict(r, i, text) != NULL; i++)
        (void)fprintf(to, "  %s\n", text);
    (void)fprintf(to, "\n%.1f s\n", r->seconds);
}

/* ------------------------------------------------------------------ JSON */

static void put_cell(struct json_doc *doc, struct json *list, const struct audit_column *column, const struct audit_cell *cell)
{
    static const char *const names[] = {[AUDIT_MEASURED] = "measured", [AUDIT_CLOSED] = "closed", [AUDIT_GIVEN] = "given",
                                        [AUDIT_SKIPPED] = "not measured"};
    struct json *c = json_put_object(doc, list, NULL);
    double rate, low, high;
    audit_rate(cell, &rate, &low, &high);
    json_put_str(doc, c, "knows", column->name);
    json_put_str(doc, c, "status", names[cell->status]);
    if (!isnan(rate))
        json_put_num(doc, c, "rate", rate);
    if (cell->status == AUDIT_MEASURED && cell->tries > 0) {
        json_put_num(doc, c, "low", low);
        json_put_num(doc, c, "high", high);
        json_put_int(doc, c, "hits", (int64_t)cell->hits);
        json_put_int(doc, c, "tries", (int64_t)cell->tries);
        json_put_num(doc, c, "chance", cell->chance);
    }
    if (cell->method[0] != '\0')
        json_put_str(doc, c, "method", cell->method);
    if (cell->reason[0] != '\0')
        json_put_str(doc, c, "reason", cell->reason);
}

int audit_json(struct json_doc **out, const struct audit_report *r, struct err *err)
{
    char text[256];
    struct json_doc *doc = json_new_object("audit");
    struct json *root = json_node(doc);
    if (doc == NULL)
        return err_oom(err, sizeof *r);
    json_put_str(doc, root, "architecture", r->architecture);
    json_put_str(doc, root, "profile", r->profile);
    json_put_str(doc, root, "head", r->head);
    json_put_int(doc, root, "local_layers", r->local_layers);
    json_put_str(doc, root, "text", r->text);
    json_put_int(doc, root, "rows", (int64_t)r->rows);
    struct json *attacks = json_put_array(doc, root, "attacks");
    for (size_t i = 0; i < r->line_count; i++) {
        const struct audit_line *line = &r->lines[i];
        struct json *a = json_put_object(doc, attacks, NULL);
        json_put_str(doc, a, "id", line->attack->id);
        json_put_str(doc, a, "name", line->attack->name);
        json_put_str(doc, a, "of", audit_target_name(line->target, r->images));
        struct json *cells = json_put_array(doc, a, "cells");
        for (size_t c = 0; c < r->column_count; c++)
            put_cell(doc, cells, &r->columns[c], &line->cells[c]);
    }
    struct json *bits = json_put_object(doc, root, "key_bits");
    for (size_t i = 0; i < r->key_count; i++)
        json_put_num(doc, bits, r->keys[i].name, r->keys[i].bits);
    json_put_num(doc, root, "seed_bits", 256);
    struct json *verdict = json_put_array(doc, root, "verdict");
    for (size_t i = 0; audit_verdict(r, i, text) != NULL; i++)
        json_put_str(doc, verdict, NULL, text);
    json_put_num(doc, root, "seconds", r->seconds);
    *out = doc;
    return 0;
}
