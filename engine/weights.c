#include "engine/weights.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/floats.h"
#include "engine/kernels/table.h"
#include "model/dtype.h"
#include "model/quant.h"

#define TILE_GROUPS 16 /* tile units take panel rows in sixteens */

static int inputs_per_group(enum weight_format format)
{
    return format == WEIGHT_INT8 ? 4 : format == WEIGHT_BF16 ? 2 : 1;
}

static size_t panels_of(size_t out)
{
    return (out + WEIGHT_PANEL - 1) / WEIGHT_PANEL;
}

static size_t groups_of(enum weight_format format, size_t in)
{
    size_t per = (size_t)inputs_per_group(format), groups = (in + per - 1) / per;
    return per == 1 ? groups : (groups + TILE_GROUPS - 1) / TILE_GROUPS * TILE_GROUPS;
}

enum weight_format weights_format(enum compute compute, int halves)
{
    if (compute == COMPUTE_INT8)
        return WEIGHT_INT8;
    if (compute == COMPUTE_BF16 || halves)
        return WEIGHT_BF16;
    return kernels_get()->f32_by_blas ? WEIGHT_ROWS : WEIGHT_F32;
}

size_t weights_bytes(enum weight_format format, size_t out, size_t in)
{
    if (format == WEIGHT_ROWS)
        return out * in * sizeof(float);
    size_t panels = panels_of(out), bytes = panels * groups_of(format, in) * WEIGHT_PANEL * 4;
    return format == WEIGHT_INT8 ? bytes + panels * WEIGHT_PANEL * 8 : bytes;
}

int weights_new(struct weights *out, enum weight_format format, enum compute compute, int rows, int in, struct err *err)
{
    assert(rows > 0 && in > 0);
    struct weights w = {.format = format, .compute = compute, .out = rows, .in = in};
    size_t panels = panels_of((size_t)rows), groups = groups_of(format, (size_t)in);
    float *data;
    w.groups = (int)groups;
    if (format == WEIGHT_ROWS) {
        if (floats_alloc(&data, (size_t)rows, (size_t)in, err) != 0)
            return -1;
    } else if (floats_alloc(&data, panels * groups, WEIGHT_PANEL, err) != 0)
        return -1;
    w.data = data;
    /* Only the edges are not overwritten; the rest is not touched here, so that the thread that fills it also places it. */
    if (format != WEIGHT_ROWS) {
        size_t panel = groups * WEIGHT_PANEL;
        if (rows % WEIGHT_PANEL != 0)
            memset(data + (panels - 1) * panel, 0, panel * sizeof *data);
        size_t full = (size_t)in / (size_t)inputs_per_group(format);
        for (size_t p = 0; full < groups && p < panels; p++)
            memset(data + p * panel + full * WEIGHT_PANEL, 0, (groups - full) * WEIGHT_PANEL * sizeof *data);
    }
    if (format == WEIGHT_INT8) {
        w.scale = calloc(panels * WEIGHT_PANEL, sizeof *w.scale);
        w.total = calloc(panels * WEIGHT_PANEL, sizeof *w.total);
        if (w.scale == NULL || w.total == NULL) {
            weights_free(&w);
            return err_oom(err, panels * WEIGHT_PANEL * sizeof *w.scale);
        }
    }
    *out = w;
    return 0;
}

void weights_free(struct weights *w)
{
    free(w->data);
    free(w->scale);
    free(w->total);
    *w = (struct weights){0};
}

/* The 4 bytes of output o, panel row g. */
static unsigned char *cell(const struct weights *w, int o, int g)
{
    size_t panel = (size_t)(o / WEIGHT_PANEL) * (size_t)w->groups + (size_t)g;
    return (unsigned char *)w->data + (panel * WEIGHT_PANEL + (size_t)(o % WEIGHT_PANEL)) * 4;
}

/* Panel rows that are written together: their cache lines stay while the outputs are gone through. */
#define BLOCK_GROUPS 32

static void put_f32(struct weights *w, int first, int n, const float *rows)
{
    for (int g0 = 0; g0 < w->in; g0 += BLOCK_GROUPS)
        for (int i = 0; i < n; i++) {
            float *to = (float *)(void *)cell(w, first + i, g0);
            const float *from = rows + (size_t)i * (size_t)w->in + g0;
            int end = w->in - g0 < BLOCK_GROUPS ? w->in - g0 : BLOCK_GROUPS;
            for (int g = 0; g < end; g++)
                to[g * WEIGHT_PANEL] = from[g];
        }
}

static void put_bf16(struct weights *w, int first, int n, const float *rows)
{
    enum { BLOCK = 2 * BLOCK_GROUPS };
    for (int k0 = 0; k0 < w->in; k0 += BLOCK)
        for (int i = 0; i < n; i++) {
            int count = w->in - k0 < BLOCK ? w->in - k0 : BLOCK;
            uint16_t half[BLOCK];
            dtype_from_f32(DTYPE_BF16, rows + (size_t)i * (size_t)w->in + k0, half, (size_t)count);
            uint16_t *to = (uint16_t *)(void *)cell(w, first + i, k0 / 2);
            for (int k = 0; k < count; k++)
                to[k / 2 * 2 * WEIGHT_PANEL + k % 2] = half[k];
        }
}

void weights_put_int8(struct weights *w, int first, int n, const int8_t *rows, const float *scale)
{
    enum { BLOCK = 4 * BLOCK_GROUPS };
    assert(w->format == WEIGHT_INT8 && first >= 0 && first + n <= w->out);
    for (int i = 0; i < n; i++) {
        w->scale[first + i] = scale[i];
        w->total[first + i] = 0;
    }
    for (int k0 = 0; k0 < w->in; k0 += BLOCK)
        for (int i = 0; i < n; i++) {
            int count = w->in - k0 < BLOCK ? w->in - k0 : BLOCK;
            const int8_t *from = rows + (size_t)i * (size_t)w->in + k0;
            int8_t *to = (int8_t *)cell(w, first + i, k0 / 4);
            for (int k = 0; k < count; k++) {
                to[k / 4 * 4 * WEIGHT_PANEL + k % 4] = from[k];
                w->total[first + i] += from[k];
            }
        }
}

static void put_quantised(struct weights *w, int first, int n, const float *rows)
{
    enum { BLOCK = 4 * BLOCK_GROUPS };
    for (int i = 0; i < n; i++) {
        /* The scale of the row is known after a look at all of it; the pieces are then quantised with that scale. */
        const float *row = rows + (size_t)i * (size_t)w->in;
        float scale = quant_scale(row, (size_t)w->in);
        int8_t q[BLOCK];
        int32_t total = 0;
        for (int k0 = 0; k0 < w->in; k0 += BLOCK) {
            int count = w->in - k0 < BLOCK ? w->in - k0 : BLOCK;
            int8_t *to = (int8_t *)cell(w, first + i, k0 / 4);
            quant_apply(q, scale, row + k0, (size_t)count);
            for (int k = 0; k < count; k++) {
                to[k / 4 * 4 * WEIGHT_PANEL + k % 4] = q[k];
                total += q[k];
            }
        }
        w->scale[first + i] = scale;
        w->total[first + i] = total;
    }
}

void weights_put_rows(struct weights *w, int first, int n, const float *rows)
{
    assert(first >= 0 && first + n <= w->out);
    switch (w->format) {
    case WEIGHT_ROWS:
        memcpy((float *)w->data + (size_t)first * (size_t)w->in, rows, (size_t)n * (size_t)w->in * sizeof *rows);
        return;
    case WEIGHT_F32:
        put_f32(w, first, n, rows);
        return;
    case WEIGHT_BF16:
        put_bf16(w, first, n, rows);
        return;
    case WEIGHT_INT8:
        put_quantised(w, first, n, rows);
        return;
    }
}
