/* What stands on the last hidden rows; the same code serves the server and, with `head: user`, the user. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/floats.h"
#include "engine/kernels/activation.h"
#include "engine/net.h"
#include "model/arch.h"

/* Roles of a head's matrices, in the order of the computation; count 0: it has none. */
struct matrix {
    enum role weight[2], bias[2];
    int count;
};

static void matrices(const struct config *c, struct matrix *dense, struct matrix *out)
{
    *dense = *out = (struct matrix){.count = 0};
    switch (c->head) {
    case HEAD_NONE:
        return;
    case HEAD_LM:
        *out = (struct matrix){{ROLE_LM_HEAD}, {ROLE_COUNT}, 1};
        return;
    case HEAD_CLASSIFY:
        if (arch_tensor(c, ROLE_CLASSIFY_ROW) != NULL) {
            *out = (struct matrix){{ROLE_CLASSIFY_ROW, ROLE_CLASSIFY_SECOND}, {ROLE_CLASSIFY_BIAS, ROLE_CLASSIFY_SECOND_BIAS}, arch_answer_rows(c)};
            return;
        }
        *dense = (struct matrix){{ROLE_POOL}, {ROLE_POOL_BIAS}, 1};
        *out = (struct matrix){{ROLE_CLASSIFY}, {ROLE_CLASSIFY_BIAS}, 1};
        return;
    case HEAD_MLM:
        *dense = (struct matrix){{ROLE_MLM_DENSE}, {ROLE_MLM_DENSE_BIAS}, 1};
        *out = (struct matrix){{ROLE_LM_HEAD}, {ROLE_MLM_OUT_BIAS}, 1};
        return;
    }
    assert(false && "every kind returns above");
}

static const enum role *biases(const struct matrix *m)
{
    return m->bias[0] == ROLE_COUNT ? NULL : m->bias;
}

static int load_matrix(struct linear *out, const struct checkpoint *cp, enum compute compute, const struct matrix *m, struct err *err)
{
    return m->count == 0 ? 0 : linear_load(out, cp, compute, m->weight, biases(m), m->count, 0, err);
}

static size_t matrix_bytes(const struct checkpoint *cp, enum compute compute, const struct matrix *m)
{
    return m->count == 0 ? 0 : linear_forecast(cp, compute, m->weight, biases(m), m->count, 0);
}

size_t head_forecast(const struct checkpoint *cp, enum compute compute)
{
    struct matrix dense, out;
    matrices(checkpoint_config(cp), &dense, &out);
    return matrix_bytes(cp, compute, &dense) + matrix_bytes(cp, compute, &out);
}

static int load_parts(struct head *head, const struct checkpoint *cp, enum compute compute, struct err *err)
{
    struct matrix dense, out;
    matrices(checkpoint_config(cp), &dense, &out);
    if (load_matrix(&head->dense, cp, compute, &dense, err) != 0 ||
        (head->kind == HEAD_MLM && norm_load(&head->norm, cp, ROLE_MLM_NORM_W, ROLE_MLM_NORM_B, 0, err) != 0))
        return -1;
    return load_matrix(&head->out, cp, compute, &out, err);
}

int head_load(struct head **out, const struct checkpoint *cp, enum compute compute, struct err *err)
{
    if (!checkpoint_has(cp, PART_HEAD))
        return err_set(err, ERR_INPUT, "%s: the head of the model is missing", checkpoint_dir(cp));
    struct head *head = calloc(1, sizeof *head);
    if (head == NULL)
        return err_oom(err, sizeof *head);
    head->kind = checkpoint_config(cp)->head;
    if (load_parts(head, cp, compute, err) != 0) {
        head_free(head);
        return -1;
    }
    *out = head;
    return 0;
}

void head_free(struct head *head)
{
    if (head == NULL)
        return;
    linear_free(&head->out);
    linear_free(&head->dense);
    norm_free(&head->norm);
    free(head);
}

static size_t dense_bytes(const struct head *head, int n)
{
    return head->dense.w.data == NULL ? 0 : ((size_t)n * (size_t)head->dense.w.out * sizeof(float) + 63) / 64 * 64;
}

size_t head_work_bytes(const struct head *head, int n)
{
    if (head->kind == HEAD_NONE)
        return 0;
    size_t out = linear_work_bytes(&head->out, n), dense = head->dense.w.data == NULL ? 0 : linear_work_bytes(&head->dense, n);
    return dense_bytes(head, n) + (out > dense ? out : dense);
}

int head_work_new(void **out, const struct head *head, int n, struct err *err)
{
    float *work;
    if (floats_alloc(&work, head_work_bytes(head, n) / sizeof *work + 1, 1, err) != 0)
        return -1;
    *out = work;
    return 0;
}

/* c tanh(x/c) */
static void cap_logits(float *x, size_t n, float cap)
{
    for (size_t i = 0; i < n; i++)
        x[i] /= cap;
    activate(ACT_TANH, x, n);
    for (size_t i = 0; i < n; i++)
        x[i] *= cap;
}

void head_apply(const struct config *c, const struct head *head, const float *hidden, int n, void *work, float *out)
{
    if (head->kind == HEAD_NONE) {
        memcpy(out, hidden, (size_t)n * (size_t)c->D * sizeof *out);
        return;
    }
    float *dense = work;
    void *pack = (unsigned char *)work + dense_bytes(head, n);
    if (head->dense.w.data == NULL) { /* language models, classifiers without pooler */
        linear_apply(&head->out, out, hidden, n, pack);
        if (c->logit_cap > 0)
            cap_logits(out, (size_t)n * (size_t)head->out.w.out, (float)c->logit_cap);
        return;
    }
    assert(head->kind == HEAD_CLASSIFY || head->kind == HEAD_MLM); /* head_load gives no other */
    linear_apply(&head->dense, dense, hidden, n, pack);
    activate(c->head_act, dense, (size_t)n * (size_t)c->D);
    if (head->kind == HEAD_MLM)
        norm_apply(c, &head->norm, dense, dense, n);
    linear_apply(&head->out, out, dense, n, pack);
}

void head_average(const struct config *c, const float *rows, float *out)
{
    const int n = arch_answer_rows(c), C = c->C;
    for (int i = 0; i < C; i++) {
        float sum = 0;
        for (int r = 0; r < n; r++)
            sum += rows[r * n * C + r * C + i];
        out[i] = sum / (float)n;
    }
}
