#include "engine/scratch.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/floats.h"
#include "engine/forward.h"

int scratch_new(struct scratch **out, const struct net *net, int rows, int outputs, struct err *err)
{
    assert(rows > 0 && outputs > 0);
    const struct config *c = &net->config;
    size_t n = (size_t)rows, m = (size_t)outputs, D = (size_t)c->D, F = (size_t)c->F, K = (size_t)c->K;
    size_t H = (size_t)c->H, G = (size_t)c->G;
    struct scratch *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    s->rows = rows;
    s->outputs = outputs;
    if (floats_alloc(&s->x, n, D, err) != 0 || floats_alloc(&s->normed, n, D, err) != 0 ||
        floats_alloc(&s->added, n, D, err) != 0 || floats_alloc(&s->qkv, n, (H + 2 * G) * K, err) != 0 ||
        floats_alloc(&s->mix, n, H * K, err) != 0 || floats_alloc(&s->up, n, c->gated ? 2 * F : F, err) != 0 ||
        (c->gated && floats_alloc(&s->gated, n, F, err) != 0) || floats_alloc(&s->picked, m, D, err) != 0 ||
        floats_alloc(&s->work, m, D, err) != 0)
        goto fail;
    if (net->rope != NULL && (floats_alloc(&s->cosine, n, K / 2, err) != 0 || floats_alloc(&s->sine, n, K / 2, err) != 0))
        goto fail;
    if (net->head != NULL && floats_alloc(&s->out, m, (size_t)net_outputs(net), err) != 0)
        goto fail;
    if ((s->target = calloc(m, sizeof *s->target)) == NULL) {
        err_oom(err, m * sizeof *s->target);
        goto fail;
    }
    *out = s;
    return 0;
fail:
    scratch_free(s);
    return -1;
}

void scratch_free(struct scratch *s)
{
    if (s == NULL)
        return;
    float *const all[] = {s->x, s->normed, s->added, s->qkv, s->mix, s->up, s->gated, s->cosine, s->sine, s->picked, s->work, s->out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(s->target);
    free(s);
}
