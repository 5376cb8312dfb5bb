#include "user/embedding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "user/generate.h"

/* ------------------------------------------------------------------ texts */

int embedding_check(const struct grant *g, struct err *err)
{
    return g->head_here ? 0
                        : err_set(err, ERR_INPUT, "the server computes this model's head and gives no hidden rows; embeddings need a "
                                                  "package made with --head user");
}

int embedding_most(const struct grant *g)
{
    const int most = g->sentence.max_tokens;
    return most > 0 && most < g->config->positions ? most : g->config->positions;
}

/* How many of the ids stand behind every text, as those of the empty one show. */
static int tail_of(const struct grant *g, const struct token_ids *ids, size_t *tail, struct err *err)
{
    struct token_ids empty = {0};
    size_t front = 0;
    if (tokenizer_encode(g->tokenizer, "", 0, NULL, 0, true, &empty, err) != 0)
        return -1;
    while (front < empty.n && front < ids->n && empty.ids[front] == ids->ids[front])
        front++;
    *tail = empty.n - front;
    token_ids_free(&empty);
    return 0;
}

int embedding_shorten(const struct grant *g, struct token_ids *ids, struct err *err)
{
    const size_t most = (size_t)embedding_most(g);
    size_t tail;
    if (ids->n <= most)
        return 0;
    if (tail_of(g, ids, &tail, err) != 0)
        return -1;
    if (tail > most)
        tail = most;
    memmove(ids->ids + most - tail, ids->ids + ids->n - tail, tail * sizeof *ids->ids);
    memmove(ids->type_ids + most - tail, ids->type_ids + ids->n - tail, tail * sizeof *ids->type_ids);
    ids->n = most;
    return 0;
}

int embedding_encode(const struct grant *g, const char *prompt, const char *text, size_t len, struct token_ids *ids,
                     struct err *err)
{
    const size_t before = prompt == NULL ? 0 : strlen(prompt);
    size_t all;
    char *both = size_add(before, len, &all) ? NULL : malloc(all + 1);
    if (both == NULL)
        return err_oom(err, before + len);
    if (before > 0)
        memcpy(both, prompt, before);
    memcpy(both + before, text, len);
    both[all] = '\0';
    int rc = generate_prompt(g, both, all, true, ids, err);
    free(both);
    return rc;
}

/* ------------------------------------------------------------------ vectors */

int embedding_outputs(enum pooling pooling, int T)
{
    return pooling == POOL_CLS || pooling == POOL_LAST ? 1 : T;
}

void embedding_pool(float *x, const float *rows, size_t n, size_t D, enum pooling pooling)
{
    for (size_t d = 0; d < D; d++) {
        double sum = 0;
        float most = rows[d];
        for (size_t t = 0; t < n; t++) {
            sum += (double)rows[t * D + d];
            most = fmaxf(most, rows[t * D + d]);
        }
        x[d] = pooling == POOL_MEAN ? (float)(sum / (double)n)
               : pooling == POOL_MAX  ? most
               : pooling == POOL_CLS  ? rows[d]
                                      : rows[(n - 1) * D + d];
    }
}

/* A vector of nothing but zeros stays one. */
void embedding_normalise(float *x, size_t D)
{
    double square = 0;
    for (size_t d = 0; d < D; d++)
        square += (double)x[d] * (double)x[d];
    const double length = fmax(sqrt(square), 1e-12);
    for (size_t d = 0; d < D; d++)
        x[d] = (float)((double)x[d] / length);
}

int embedding_vector(struct session *s, const struct grant *g, enum pooling pooling, const struct token_ids *ids, float *x,
                     struct err *err)
{
    const size_t D = (size_t)g->config->D;
    const int T = (int)ids->n, n = embedding_outputs(pooling, T);
    size_t count, bytes;
    float *rows = size_mul((size_t)n, D, &count) || size_mul(count, sizeof *rows, &bytes) ? NULL : malloc(bytes);
    if (rows == NULL)
        return err_oom(err, (size_t)n * D * sizeof *rows);
    int rc = session_hidden_rows(s, ids->ids, T, pooling == POOL_LAST ? T - 1 : 0, n, rows, err);
    if (rc == 0) {
        embedding_pool(x, rows, (size_t)n, D, pooling);
        if (g->sentence.normalise)
            embedding_normalise(x, D);
    }
    free(rows);
    return rc;
}
