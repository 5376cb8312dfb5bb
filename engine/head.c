/* What stands on the last hidden rows; the same code serves the server and, with `head: user`, the user. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/floats.h"
#include "engine/kernels/activation.h"
#include "engine/net.h"

static int load_one(struct linear *out, const struct checkpoint *cp, enum compute compute, enum role w, const enum role *b,
                    struct err *err)
{
    return linear_load(out, cp, compute, &w, b, 1, 0, err);
}

static int load_parts(struct head *head, const struct checkpoint *cp, enum compute compute, struct err *err)
{
    static const enum role classify_bias = ROLE_CLASSIFY_BIAS, pool_bias = ROLE_POOL_BIAS, mlm_bias = ROLE_MLM_DENSE_BIAS,
                           out_bias = ROLE_MLM_OUT_BIAS;
    switch (head->kind) {
    case HEAD_NONE:
        return 0;
    case HEAD_LM:
        return load_one(&head->out, cp, compute, ROLE_LM_HEAD, NULL, err);
    case HEAD_CLASSIFY:
        if (arch_tensor(checkpoint_config(cp), ROLE_CLASSIFY_ROW) != NULL)
            return load_one(&head->out, cp, compute, ROLE_CLASSIFY_ROW, &classify_bias, err);
        return load_one(&head->dense, cp, compute, ROLE_POOL, &pool_bias, err) == 0 &&
                       load_one(&head->out, cp, compute, ROLE_CLASSIFY, &classify_bias, err) == 0
                   ? 0
                   : -1;
    case HEAD_MLM:
        return load_one(&head->dense, cp, compute, ROLE_MLM_DENSE, &mlm_bias, err) == 0 &&
                       norm_load(&head->norm, cp, ROLE_MLM_NORM_W, ROLE_MLM_NORM_B, 0, err) == 0 &&
                       load_one(&head->out, cp, compute, ROLE_LM_HEAD, &out_bias, err) == 0
                   ? 0
                   : -1;
    }
    assert(false && "every kind returns above");
    return -1;
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
