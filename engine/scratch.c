#include "engine/scratch.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/floats.h"
#include "engine/forward.h"

/* Bytes that the packed rows of the widest product take. */
static size_t pack_bytes(const struct net *net, int rows)
{
    size_t most = 0;
    for (int l = 0; l < net->config.L; l++) {
        const struct net_layer *y = &net->layers[l];
        const struct expert *first = y->experts; /* all are of one shape */
        const struct linear *const all[] = {&y->qkv, &y->o, first == NULL ? &y->up : &first->up, first == NULL ? &y->down : &first->down,
                                            &y->router};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            size_t bytes = all[i]->w.data == NULL ? 0 : linear_work_bytes(all[i], rows);
            most = bytes > most ? bytes : most;
        }
    }
    return most;
}

static int bytes_alloc(float **out, size_t bytes, struct err *err)
{
    return floats_alloc(out, (bytes + sizeof **out - 1) / sizeof **out, 1, err);
}

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
        (c->gated && floats_alloc(&s->gated, n, F, err) != 0) || bytes_alloc(&s->pack, pack_bytes(net, rows), err) != 0 ||
        floats_alloc(&s->picked, m, D, err) != 0)
        goto fail;
    if (net->rope != NULL && (floats_alloc(&s->cosine, n, (size_t)c->rotary / 2, err) != 0 ||
                              floats_alloc(&s->sine, n, (size_t)c->rotary / 2, err) != 0 ||
                              floats_alloc(&s->cosine_sliding, n, (size_t)c->rotary / 2, err) != 0 ||
                              floats_alloc(&s->sine_sliding, n, (size_t)c->rotary / 2, err) != 0))
        goto fail;
    if (c->experts > 0) {
        if (floats_alloc(&s->routed, n, (size_t)c->experts, err) != 0 || floats_alloc(&s->collected, n, D, err) != 0 ||
            floats_alloc(&s->fed, n, D, err) != 0)
            goto fail;
        if ((s->members = calloc(n, sizeof *s->members)) == NULL) {
            err_oom(err, n * sizeof *s->members);
            goto fail;
        }
    }
    if (net->head != NULL && (floats_alloc(&s->out, m, (size_t)net_outputs(net), err) != 0 ||
                              bytes_alloc(&s->head_work, head_work_bytes(net->head, outputs), err) != 0))
        goto fail;
    s->target = calloc(m, sizeof *s->target);
    s->sequence = calloc(n, sizeof *s->sequence);
    s->token = calloc(n, sizeof *s->token);
    if (s->target == NULL || s->sequence == NULL || s->token == NULL) {
        err_oom(err, m * sizeof *s->target + 2 * n * sizeof *s->token);
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
    float *const all[] = {s->x,      s->normed, s->added, s->qkv,    s->mix,       s->up, s->gated,
                          s->cosine, s->sine, s->cosine_sliding, s->sine_sliding,   s->pack,  s->picked, s->head_work, s->out,    s->routed,    s->collected, s->fed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(s->members);
    free(s->sequence);
    free(s->token);
    free(s->target);
    free(s);
}
