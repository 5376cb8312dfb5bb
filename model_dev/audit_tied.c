/* A5: where the output table is the embedding table, a row that comes in is a row of the table that the server holds. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/floats.h"
#include "model_dev/audit_match.h"

#define SAME 1e-2f /* largest difference of equal rows, relative to their size: two bf16 roundings */

static bool same_row(const float *x, const float *y, size_t D)
{
    double apart = 0, size = 0;
    for (size_t d = 0; d < D; d++) {
        apart += pow((double)x[d] - (double)y[d], 2);
        size += pow((double)x[d], 2);
    }
    return apart <= (double)(SAME * SAME) * size;
}

/* Rows minus `shift` against the table; a row that is none of the table gets no label. */
static int label_rows(const struct audit_known *k, const float *table, size_t V, const uint32_t *which, size_t n, const float *shift,
                      int32_t *label, struct err *err)
{
    const size_t D = (size_t)k->c->D;
    float *rows = NULL;
    uint32_t *near = calloc(n, sizeof *near);
    int rc = near == NULL ? err_oom(err, n * sizeof *near) : floats_alloc(&rows, n, D, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        for (size_t d = 0; d < D; d++)
            rows[i * D + d] = k->rows[which[i] * D + d] - (shift == NULL ? 0.0f : shift[d]);
    if (rc == 0)
        rc = audit_nearest(near, rows, n, table, V, D, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        label[which[i]] = same_row(rows + i * D, table + near[i] * D, D) ? (int32_t)near[i] : -1;
    free(rows);
    free(near);
    return rc;
}

/* ------------------------------------------------------------------ learned positions */

/* At one position all rows are an embedding plus the same vector P. Two rows x, y of different tokens there give it: the pair (a, b)
 * of the table with a - b = x - y. Pairs are found along a direction: a.r - b.r = (x - y).r. */
struct shadow {
    double at; /* along the direction */
    uint32_t row;
};

static int by_place(const void *a, const void *b)
{
    double x = ((const struct shadow *)a)->at, y = ((const struct shadow *)b)->at;
    return (x > y) - (x < y);
}

static double along(const float *x, size_t D)
{
    double sum = 0;
    for (size_t d = 0; d < D; d++)
        sum += (double)x[d] * sin(1.0 + (double)(d * d % 9973)); /* any fixed direction */
    return sum;
}

static size_t first_from(const struct shadow *s, size_t n, double at)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s[middle].at < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The embedding of x, as a row of the table, or -1. */
static int64_t find_pair(const struct shadow *s, size_t V, const float *table, const float *x, const float *y, size_t D)
{
    double gap = along(x, D) - along(y, D), wide = 1e-5 * (1 + fabs(gap) + fabs(s[V - 1].at) + fabs(s[0].at));
    for (size_t i = 0; i < V; i++)
        for (size_t j = first_from(s, V, s[i].at - gap - wide); j < V && s[j].at <= s[i].at - gap + wide; j++) {
            const float *a = table + s[i].row * D, *b = table + s[j].row * D;
            double apart = 0, size = 1e-12;
            for (size_t d = 0; d < D && apart <= 1e-6 * (size + (double)D); d++) {
                apart += pow((double)(x[d] - y[d]) - (double)(a[d] - b[d]), 2);
                size += pow((double)(x[d] - y[d]), 2);
            }
            if (i != j && apart <= 1e-6 * size)
                return s[i].row;
        }
    return -1;
}

static bool equal_rows(const float *x, const float *y, size_t D)
{
    for (size_t d = 0; d < D; d++)
        if (x[d] < y[d] || x[d] > y[d])
            return false;
    return true;
}

/* One position: n rows `which` of it. */
static int label_position(const struct audit_known *k, const float *table, const struct shadow *s, size_t V, const uint32_t *which,
                          size_t n, int32_t *label, struct err *err)
{
    const size_t D = (size_t)k->c->D;
    const float *x = k->rows + which[0] * D;
    int64_t row = -1;
    float *shift;
    for (size_t i = 1; i < n && row < 0; i++)
        if (!equal_rows(x, k->rows + which[i] * D, D))
            row = find_pair(s, V, table, x, k->rows + which[i] * D, D);
    if (row < 0)
        return 0;
    if (floats_alloc(&shift, D, 1, err) != 0)
        return -1;
    for (size_t d = 0; d < D; d++)
        shift[d] = x[d] - table[(size_t)row * D + d];
    int rc = label_rows(k, table, V, which, n, shift, label, err);
    free(shift);
    return rc;
}

static int label_positions(const struct audit_known *k, const float *table, size_t V, int32_t *label, struct err *err)
{
    const size_t D = (size_t)k->c->D;
    struct shadow *s = calloc(V, sizeof *s);
    uint32_t *which = calloc(k->n, sizeof *which);
    int rc = s == NULL || which == NULL ? err_oom(err, V * sizeof *s) : 0, last = 0;
    for (size_t i = 0; rc == 0 && i < V; i++)
        s[i] = (struct shadow){along(table + i * D, D), (uint32_t)i};
    if (rc == 0)
        qsort(s, V, sizeof *s, by_place);
    for (size_t i = 0; i < k->n; i++)
        last = k->position[i] > last ? k->position[i] : last;
    for (int p = 0; rc == 0 && p <= last; p++) {
        size_t n = 0;
        for (size_t i = 0; i < k->n; i++)
            if (k->position[i] == p)
                which[n++] = (uint32_t)i;
        if (n > 0)
            rc = label_position(k, table, s, V, which, n, label, err);
    }
    free(s);
    free(which);
    return rc;
}

/* ------------------------------------------------------------------ the attack */

int audit_tied(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    const struct tensor *head = checkpoint_tensor(k->package, ROLE_LM_HEAD, 0);
    float *table = NULL;
    uint32_t *all = NULL;
    if (head == NULL) {
        a->closed = true;
        (void)snprintf(a->reason, sizeof a->reason, "the package has no output table%s",
                       k->c->head == HEAD_CLASSIFY ? ": a classifier" : ": the head is on the user");
        return 0;
    }
    const size_t V = (size_t)head->dim[0];
    if ((a->label = calloc(k->n, sizeof *a->label)) == NULL || (all = calloc(k->n, sizeof *all)) == NULL) {
        free(all);
        return err_oom(err, k->n * sizeof *all);
    }
    for (size_t i = 0; i < k->n; i++) {
        a->label[i] = -1;
        all[i] = (uint32_t)i;
    }
    int rc = audit_matrix(&table, k->package, ROLE_LM_HEAD, 0, err);
    for (size_t i = 0; rc == 0 && k->c->embed_scale > 0 && i < V * (size_t)k->c->D; i++)
        table[i] *= (float)k->c->embed_scale; /* what becomes of a row on its way in */
    if (rc == 0)
        rc = k->c->position == POSITION_LEARNED ? label_positions(k, table, V, a->label, err)
                                                : label_rows(k, table, V, all, k->n, NULL, a->label, err);
    free(table);
    free(all);
    return rc;
}
