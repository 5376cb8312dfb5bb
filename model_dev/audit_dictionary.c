/* A4: with the embedding tables, or tables like them, a row is looked up: by its sorted values, which the order of the columns
 * does not change; by its length, which no rotation changes; or as it is by who knows the residual key or has found it (A1, A2, A3). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/embed.h"
#include "engine/floats.h"
#include "model_dev/audit_match.h"
#include "model_dev/audit_pictures.h"

#define WORK 1e10 /* numbers of dictionaries that are made at most: learned positions need one each */

enum how { AS_IT_IS, SORTED, LENGTH };

/* Length of each row of x [n,D] without its mean where the model's norms take it away, into x [n]. */
static void lengths(float *x, size_t n, size_t D, bool centred)
{
    for (size_t i = 0; i < n; i++) {
        double mean = 0, square = 0;
        for (size_t d = 0; centred && d < D; d++)
            mean += (double)x[i * D + d] / (double)D;
        for (size_t d = 0; d < D; d++)
            square += ((double)x[i * D + d] - mean) * ((double)x[i * D + d] - mean);
        x[i] = (float)sqrt(square);
    }
}

static int prepare(float *x, size_t n, const struct config *c, enum how how, struct err *err)
{
    if (how == LENGTH)
        lengths(x, n, (size_t)c->D, c->norm == NORM_LAYER);
    return how == SORTED ? audit_sort_rows(x, n, (size_t)c->D, err) : 0;
}

/* What every token gives at a position, [V,D], or [V] lengths. */
static int dictionary(float *out, const struct embed *e, const struct config *c, int position, enum how how, struct err *err)
{
    for (int32_t v = 0; v < c->V; v++)
        if (embed_rows(e, &v, NULL, 1, position, out + (size_t)v * (size_t)c->D, err) != 0)
            return -1;
    return prepare(out, (size_t)c->V, c, how, err);
}

struct lookup {
    const struct audit_known *k;
    const struct config *c; /* of the tables */
    const struct embed *embed;
    const float *rows; /* [n,width] as they are compared */
    size_t width;
    float *words;      /* [V,D] */
    float *picked;     /* [n,width] */
    uint32_t *which, *near; /* [n] */
    enum how how;
};

/* Rows of one position, or all when every position gives the same. */
static int look_up(struct lookup *s, int position, bool all, int32_t *token, struct err *err)
{
    const size_t width = s->width;
    size_t n = 0;
    for (size_t i = 0; i < s->k->n; i++)
        if (all || s->k->position[i] == position)
            s->which[n++] = (uint32_t)i;
    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < width; d++)
            s->picked[i * width + d] = s->rows[s->which[i] * width + d];
    if (dictionary(s->words, s->embed, s->c, position, s->how, err) != 0 ||
        audit_nearest(s->near, s->picked, n, s->words, (size_t)s->c->V, width, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        token[s->which[i]] = (int32_t)s->near[i];
    return 0;
}

static int prepare_rows(float *rows, const struct audit_known *k, const struct audit_answer *a, enum how how, struct err *err)
{
    const size_t D = (size_t)k->c->D;
    if (how == AS_IT_IS)
        return audit_open_rows(rows, k->rows, k->n, D, a->channel, a->matrix != NULL ? a->matrix : k->residual, err);
    const double scale = how == SORTED ? 1 : sqrt(checkpoint_config(k->tables)->norm_eps / k->c->norm_eps); /* c of a gauge: eps' = c^2 eps */
    for (size_t i = 0; i < k->n * D; i++)
        rows[i] = (float)((double)k->rows[i] * scale);
    return prepare(rows, k->n, k->c, how, err);
}

int audit_dictionary(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    if (config_reads_images(k->c))
        return audit_pictures(k, a, err);
    if (k->tables == NULL)
        return 0;
    const struct config *c = checkpoint_config(k->tables);
    const size_t D = (size_t)k->c->D, V = (size_t)c->V;
    const bool rotary = c->position == POSITION_ROPE;
    struct embed *embed = NULL;
    float *rows = NULL;
    const bool open = k->residual != NULL || a->channel != NULL || a->matrix != NULL;
    struct lookup s = {.k = k, .c = c, .how = open ? AS_IT_IS : k->permuted ? SORTED : LENGTH};
    s.width = s.how == LENGTH ? 1 : D;
    int rc = -1, last = 0, most = (int)(WORK / ((double)V * (double)D)) + 1;
    if ((a->token = calloc(k->n, sizeof *a->token)) == NULL)
        return err_oom(err, k->n * sizeof *a->token);
    if (embed_load(&embed, k->tables, err) != 0 || floats_alloc(&rows, k->n, D, err) != 0 || prepare_rows(rows, k, a, s.how, err) != 0 ||
        floats_alloc(&s.words, V, D, err) != 0 || floats_alloc(&s.picked, k->n, D, err) != 0)
        goto done;
    if (s.how == LENGTH)
        (void)snprintf(a->method, sizeof a->method, "lengths of rows");
    s.embed = embed;
    s.rows = rows;
    s.which = calloc(k->n, sizeof *s.which);
    s.near = calloc(k->n, sizeof *s.near);
    if (s.which == NULL || s.near == NULL) {
        err_oom(err, k->n * sizeof *s.which);
        goto done;
    }
    for (size_t i = 0; i < k->n; i++) {
        a->token[i] = -2;
        last = k->position[i] > last ? k->position[i] : last;
    }
    if (!rotary && last >= most)
        (void)snprintf(a->reason, sizeof a->reason, "positions 0 to %d: each needs a dictionary of its own", most - 1);
    rc = rotary ? look_up(&s, 0, true, a->token, err) : 0;
    for (int p = 0; !rotary && rc == 0 && p <= last && p < most; p++)
        rc = look_up(&s, p, false, a->token, err);
done:
    embed_free(embed);
    free(rows);
    free(s.words);
    free(s.picked);
    free(s.which);
    free(s.near);
    return rc;
}
