/* Weights from a checkpoint: converted to float32 block by block, stacked, Conv1D turned round. */
#include <stdlib.h>
#include <string.h>

#include "engine/floats.h"
#include "engine/net.h"
#include "model/arch.h"

#define BLOCK_ROWS 64 /* Conv1D rows that are turned together, so that the writes fill whole cache lines */

/* Reads a [out,in] tensor, or turns a [in,out] one, into w [out,in]. */
static int read_matrix(float *w, const struct tensor *t, bool conv1d, struct err *err)
{
    if (!conv1d)
        return checkpoint_rows_f32(t, 0, t->dim[0], w, err);

    size_t in = (size_t)t->dim[0], out = (size_t)t->dim[1];
    float *block;
    if (floats_alloc(&block, BLOCK_ROWS, out, err) != 0)
        return -1;
    int rc = -1;
    for (size_t row = 0; row < in; row += BLOCK_ROWS) {
        size_t n = in - row < BLOCK_ROWS ? in - row : BLOCK_ROWS;
        if (checkpoint_rows_f32(t, row, n, block, err) != 0)
            goto done;
        for (size_t o = 0; o < out; o++)
            for (size_t i = 0; i < n; i++)
                w[o * in + row + i] = block[i * out + o];
    }
    rc = 0;
done:
    free(block);
    return rc;
}

static int read_vector(float **out, const struct checkpoint *cp, enum role role, int layer, struct err *err)
{
    const struct tensor *t = checkpoint_tensor(cp, role, layer);
    float *v;
    if (floats_alloc(&v, (size_t)t->dim[0], 1, err) != 0)
        return -1;
    if (checkpoint_rows_f32(t, 0, t->dim[0], v, err) != 0) {
        free(v);
        return -1;
    }
    *out = v;
    return 0;
}

int linear_load(struct linear *out, const struct checkpoint *cp, const enum role *roles, const enum role *biases, int count,
                int layer, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    struct linear l = {0};
    for (int i = 0; i < count; i++) {
        const struct arch_tensor *row = arch_tensor(c, roles[i]);
        l.out += (int)arch_axis_size(c, row->out);
        l.in = (int)arch_axis_size(c, row->in);
    }
    bool biased = biases != NULL && checkpoint_tensor(cp, biases[0], layer) != NULL;
    if (floats_alloc(&l.w, (size_t)l.out, (size_t)l.in, err) != 0)
        goto fail;
    if (biased && floats_alloc(&l.b, (size_t)l.out, 1, err) != 0)
        goto fail;

    size_t at = 0;
    for (int i = 0; i < count; i++) {
        const struct tensor *t = checkpoint_tensor(cp, roles[i], layer);
        if (read_matrix(l.w + at * (size_t)l.in, t, arch_tensor(c, roles[i])->conv1d, err) != 0)
            goto fail;
        if (biased) {
            const struct tensor *b = checkpoint_tensor(cp, biases[i], layer);
            if (checkpoint_rows_f32(b, 0, b->dim[0], l.b + at, err) != 0)
                goto fail;
        }
        at += (size_t)arch_axis_size(c, arch_tensor(c, roles[i])->out);
    }
    *out = l;
    return 0;
fail:
    linear_free(&l);
    return -1;
}

void linear_free(struct linear *l)
{
    free(l->w);
    free(l->b);
    *l = (struct linear){0};
}

int norm_load(struct norm *out, const struct checkpoint *cp, enum role w, enum role b, int layer, struct err *err)
{
    struct norm n = {0};
    if (read_vector(&n.w, cp, w, layer, err) != 0)
        return -1;
    if (checkpoint_config(cp)->norm == NORM_LAYER && read_vector(&n.b, cp, b, layer, err) != 0) {
        norm_free(&n);
        return -1;
    }
    *out = n;
    return 0;
}

void norm_free(struct norm *n)
{
    free(n->w);
    free(n->b);
    *n = (struct norm){0};
}
