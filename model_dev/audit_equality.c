/* A6: under one key equal rows are one symbol; how often each occurs says which token it may be. */
#include <stdlib.h>
#include <string.h>

#include "model_dev/audit_match.h"

struct row_ref {
    const float *x;
    size_t width; /* bytes */
    uint32_t index;
};

static int by_bytes(const void *a, const void *b)
{
    const struct row_ref *x = a, *y = b;
    int c = memcmp(x->x, y->x, x->width);
    return c != 0 ? c : (x->index > y->index) - (x->index < y->index);
}

struct tally {
    int64_t what, count; /* token or symbol */
};

static int by_count(const void *a, const void *b)
{
    const struct tally *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1) : (x->what > y->what) - (x->what < y->what);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Different values by how often they occur, most frequent first. */
static size_t rank(struct tally *out, int64_t *values, size_t n)
{
    size_t count = 0;
    qsort(values, n, sizeof *values, by_value);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || values[i] != values[i - 1])
            out[count++] = (struct tally){.what = values[i]};
        out[count - 1].count++;
    }
    qsort(out, count, sizeof *out, by_count);
    return count;
}

static int find_symbols(const struct audit_known *k, uint32_t *symbol, struct err *err)
{
    const size_t D = (size_t)k->c->D;
    struct row_ref *rows = calloc(k->n, sizeof *rows);
    if (rows == NULL)
        return err_oom(err, k->n * sizeof *rows);
    for (size_t i = 0; i < k->n; i++)
        rows[i] = (struct row_ref){k->rows + i * D, D * sizeof(float), (uint32_t)i};
    qsort(rows, k->n, sizeof *rows, by_bytes);
    for (size_t i = 0, first = 0; i < k->n; i++) {
        if (i > 0 && memcmp(rows[i].x, rows[first].x, rows[i].width) != 0)
            first = i;
        symbol[rows[i].index] = rows[first].index;
    }
    free(rows);
    return 0;
}

/* The n-th most frequent symbol is the n-th most frequent token of the public text. */
static int match_ranks(const struct audit_known *k, const uint32_t *symbol, int32_t *token, struct err *err)
{
    const size_t most = k->n > k->corpus_n ? k->n : k->corpus_n;
    struct tally *seen = calloc(k->n, sizeof *seen), *public = calloc(k->corpus_n, sizeof *public);
    int64_t *values = calloc(most, sizeof *values);
    int rc = -1;
    if (seen == NULL || public == NULL || values == NULL) {
        err_oom(err, most * (sizeof *seen + sizeof *values));
        goto done;
    }
    for (size_t i = 0; i < k->n; i++)
        values[i] = symbol[i];
    size_t symbols = rank(seen, values, k->n);
    for (size_t i = 0; i < k->corpus_n; i++)
        values[i] = k->corpus[i];
    size_t tokens = rank(public, values, k->corpus_n);
    for (size_t i = 0; i < k->n; i++)
        token[i] = -1;
    for (size_t r = 0; r < symbols && r < tokens; r++)
        for (size_t i = 0; i < k->n; i++)
            if (symbol[i] == (uint32_t)seen[r].what)
                token[i] = (int32_t)public[r].what;
    rc = 0;
done:
    free(seen);
    free(public);
    free(values);
    return rc;
}

int audit_equality(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    if ((a->symbol = calloc(k->n, sizeof *a->symbol)) == NULL)
        return err_oom(err, k->n * sizeof *a->symbol);
    if (find_symbols(k, a->symbol, err) != 0)
        return -1;
    if (config_reads_images(k->c)) /* no patch is frequent in all images */
        return 0;
    if ((a->token = calloc(k->n, sizeof *a->token)) == NULL)
        return err_oom(err, k->n * sizeof *a->token);
    return match_ranks(k, a->symbol, a->token, err);
}
