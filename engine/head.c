/* What stands on the last hidden rows; the same code serves the server and, with `head: user`, the user. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/activation.h"
#include "engine/kernels/matmul.h"
#include "engine/net.h"

static int load_one(struct linear *out, const struct checkpoint *cp, enum role w, const enum role *b, struct err *err)
{
    return linear_load(out, cp, &w, b, 1, 0, err);
}

static int load_parts(struct head *head, const struct checkpoint *cp, struct err *err)
{
    static const enum role classify_bias = ROLE_CLASSIFY_BIAS, pool_bias = ROLE_POOL_BIAS, mlm_bias = ROLE_MLM_DENSE_BIAS,
                           out_bias = ROLE_MLM_OUT_BIAS;
    switch (head->kind) {
    case HEAD_NONE:
        return err_set(err, ERR_INPUT, "%s: this model has no head", checkpoint_dir(cp));
    case HEAD_LM:
        return load_one(&head->out, cp, ROLE_LM_HEAD, NULL, err);
    case HEAD_CLASSIFY:
        return load_one(&head->dense, cp, ROLE_POOL, &pool_bias, err) == 0 &&
                       load_one(&head->out, cp, ROLE_CLASSIFY, &classify_bias, err) == 0 ? 0 : -1;
    case HEAD_MLM:
        return load_one(&head->dense, cp, ROLE_MLM_DENSE, &mlm_bias, err) == 0 &&
                       norm_load(&head->norm, cp, ROLE_MLM_NORM_W, ROLE_MLM_NORM_B, 0, err) == 0 &&
                       load_one(&head->out, cp, ROLE_LM_HEAD, &out_bias, err) == 0 ? 0 : -1;
    }
    assert(false && "every kind returns above");
    return -1;
}

int head_load(struct head **out, const struct checkpoint *cp, struct err *err)
{
    if (!checkpoint_has(cp, PART_HEAD))
        return err_set(err, ERR_INPUT, "%s: the head of the model is missing", checkpoint_dir(cp));
    struct head *head = calloc(1, sizeof *head);
    if (head == NULL)
        return err_oom(err, sizeof *head);
    head->kind = checkpoint_config(cp)->head;
    if (load_parts(head, cp, err) != 0) {
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

static void apply(const struct linear *l, float *y, const float *x, int n)
{
    matmul(y, x, l->w, l->b, n, l->out, l->in);
}

void head_apply(const struct config *c, const struct head *head, const float *hidden, int n, float *work, float *out)
{
    size_t elements = (size_t)n * (size_t)c->D;
    switch (head->kind) {
    case HEAD_NONE:
        assert(false && "head_load gives none");
        return;
    case HEAD_LM:
        apply(&head->out, out, hidden, n);
        return;
    case HEAD_CLASSIFY:
        apply(&head->dense, work, hidden, n);
        activate_tanh(work, elements);
        apply(&head->out, out, work, n);
        return;
    case HEAD_MLM:
        apply(&head->dense, work, hidden, n);
        activate(c->act, work, elements);
        norm_apply(c, &head->norm, work, work, n);
        apply(&head->out, out, work, n);
        return;
    }
}
