#include "model_dev/audit_match.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "engine/floats.h"
#include "engine/kernels/matmul.h"

#define BLOCK ((size_t)64) /* rows of a product at once */

/* ------------------------------------------------------------------ sorting */

/* Bits of a float as an integer that orders like it. */
static uint32_t to_ordered(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (u & 0x80000000) != 0 ? ~u : u | 0x80000000;
}

static float from_ordered(uint32_t u)
{
    float x;
    u = (u & 0x80000000) != 0 ? u & 0x7fffffff : ~u;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Radix sort by 11, 11 and 10 bits: dictionaries of a hundred million numbers are sorted here. */
static void sort_row(float *x, size_t n, uint32_t *a, uint32_t *b)
{
    static const int shift[3] = {0, 11, 22};
    uint32_t count[3][2048] = {{0}};
    for (size_t i = 0; i < n; i++) {
        a[i] = to_ordered(x[i]);
        for (int p = 0; p < 3; p++)
            count[p][a[i] >> shift[p] & 2047]++;
    }
    for (int p = 0; p < 3; p++) {
        uint32_t at = 0;
        for (int v = 0; v < 2048; v++) {
            uint32_t c = count[p][v];
            count[p][v] = at;
            at += c;
        }
        for (size_t i = 0; i < n; i++)
            b[count[p][a[i] >> shift[p] & 2047]++] = a[i];
        uint32_t *swap = a;
        a = b;
        b = swap;
    }
    for (size_t i = 0; i < n; i++)
        x[i] = from_ordered(a[i]);
}

struct sorting {
    float *x;
    uint32_t *work; /* [tasks, 2, width] */
    size_t n, width, per_task;
};

static void sort_task(void *arg, int i)
{
    const struct sorting *s = arg;
    uint32_t *work = s->work + (size_t)i * 2 * s->width;
    for (size_t r = (size_t)i * s->per_task; r < s->n && r < ((size_t)i + 1) * s->per_task; r++)
        sort_row(s->x + r * s->width, s->width, work, work + s->width);
}

int audit_sort_rows(float *x, size_t n, size_t width, struct err *err)
{
    size_t tasks = n < 64 ? n : 64;
    struct sorting s = {.x = x, .n = n, .width = width, .per_task = tasks == 0 ? 0 : (n + tasks - 1) / tasks};
    if ((s.work = calloc(2 * tasks + 1, width * sizeof *s.work)) == NULL)
        return err_oom(err, 2 * tasks * width * sizeof *s.work);
    threads_for((int)tasks, sort_task, &s);
    free(s.work);
    return 0;
}

/* ------------------------------------------------------------------ products and neighbours */

/* Calls `each` with the products of a block of rows: the whole [n,m] may be too large to keep. */
static int product_blocks(const float *x, size_t n, const float *w, size_t m, size_t width,
                          void (*each)(void *arg, size_t row, size_t rows, const float *y), void *arg, struct err *err)
{
    struct weights packed = {0};
    float *y = NULL;
    void *work = NULL;
    const enum weight_format format = weights_format(COMPUTE_F32, 0);
    const size_t bytes = (matmul_work_bytes(format, COMPUTE_F32, (int)BLOCK, (int)width) + 63) / 64 * 64;
    int rc = weights_new(&packed, format, COMPUTE_F32, (int)m, (int)width, err);
    if (rc != 0)
        return -1;
    if ((rc = floats_alloc(&y, BLOCK, m, err)) != 0)
        goto done;
    if ((work = aligned_alloc(64, bytes == 0 ? 64 : bytes)) == NULL) {
        rc = err_oom(err, bytes);
        goto done;
    }
    weights_put_rows(&packed, 0, (int)m, w);
    for (size_t row = 0; row < n; row += BLOCK) {
        size_t rows = n - row < BLOCK ? n - row : BLOCK;
        matmul(y, x + row * width, &packed, NULL, (int)rows, work);
        each(arg, row, rows, y);
    }
done:
    weights_free(&packed);
    free(y);
    free(work);
    return rc;
}

struct copying {
    float *y;
    size_t m;
};

static void copy_block(void *arg, size_t row, size_t rows, const float *y)
{
    const struct copying *c = arg;
    memcpy(c->y + row * c->m, y, rows * c->m * sizeof *y);
}

int audit_product(float *y, const float *x, size_t n, const float *w, size_t m, size_t width, struct err *err)
{
    return product_blocks(x, n, w, m, width, copy_block, &(struct copying){y, m}, err);
}

struct nearing {
    uint32_t *out;
    const float *x, *w, *half; /* [n,width], [m,width], [m] half the squared length of each candidate */
    size_t m, width;
};

static double distance(const float *x, const float *w, size_t width)
{
    double sum = 0;
    for (size_t j = 0; j < width; j++)
        sum += ((double)x[j] - (double)w[j]) * ((double)x[j] - (double)w[j]);
    return sum;
}

/* |x - w|^2 = |x|^2 - 2 (x.w - |w|^2 / 2). Candidates that rounding may have put into the wrong order are compared again. */
static void near_block(void *arg, size_t row, size_t rows, const float *y)
{
    const struct nearing *s = arg;
    for (size_t r = 0; r < rows; r++) {
        const float *x = s->x + (row + r) * s->width, *scores = y + r * s->m;
        size_t best = 0;
        for (size_t i = 1; i < s->m; i++)
            if (scores[i] - s->half[i] > scores[best] - s->half[best])
                best = i;
        const float top = scores[best] - s->half[best], near = top - 1e-5f * (fabsf(scores[best]) + s->half[best]);
        double least = distance(x, s->w + best * s->width, s->width);
        for (size_t i = 0; i < s->m; i++) {
            double d;
            if (scores[i] - s->half[i] >= near && (d = distance(x, s->w + i * s->width, s->width)) < least) {
                least = d;
                best = i;
            }
        }
        s->out[row + r] = (uint32_t)best;
    }
}

static void subtract_mean(float *x, size_t n, const float *mean, size_t width)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++)
            x[i * width + j] -= mean[j];
}

int audit_nearest(uint32_t *out, const float *x, size_t n, const float *w, size_t m, size_t width, struct err *err)
{
    /* Around the mean of the candidates, so that what they have in common costs no digits. */
    float *half = NULL, *mean = NULL, *a = NULL, *b = NULL;
    int rc = -1;
    memset(out, 0, n * sizeof *out);
    if (floats_alloc(&half, m, 1, err) != 0 || floats_alloc(&mean, width, 1, err) != 0 || floats_alloc(&a, n, width, err) != 0 ||
        floats_alloc(&b, m, width, err) != 0)
        goto done;
    for (size_t j = 0; j < width; j++)
        mean[j] = 0;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < width; j++)
            mean[j] += w[i * width + j] / (float)m;
    memcpy(a, x, n * width * sizeof *a);
    memcpy(b, w, m * width * sizeof *b);
    subtract_mean(a, n, mean, width);
    subtract_mean(b, m, mean, width);
    for (size_t i = 0; i < m; i++) {
        double sum = 0;
        for (size_t j = 0; j < width; j++)
            sum += (double)b[i * width + j] * (double)b[i * width + j];
        half[i] = (float)(sum / 2);
    }
    rc = product_blocks(a, n, b, m, width, near_block, &(struct nearing){out, a, b, half, m, width}, err);
done:
    free(half);
    free(mean);
    free(a);
    free(b);
    return rc;
}

void audit_standardise(float *x, size_t n, size_t width)
{
    for (size_t j = 0; j < width; j++) {
        double sum = 0, square = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)x[i * width + j];
        double mean = sum / (double)n;
        for (size_t i = 0; i < n; i++)
            square += pow((double)x[i * width + j] - mean, 2);
        double spread = sqrt(square / (double)n);
        for (size_t i = 0; i < n; i++)
            x[i * width + j] = spread > 1e-9 ? (float)(((double)x[i * width + j] - mean) / spread) : 0.0f;
    }
}

/* ------------------------------------------------------------------ weights */

static int read_stored(float *out, const struct checkpoint *cp, const struct tensor *t, bool conv1d, struct err *err)
{
    const struct tensor *scales = checkpoint_scale(cp, t);
    const size_t rows = (size_t)t->dim[0], width = (size_t)t->dim[1], outputs = conv1d ? width : rows;
    float *scale;
    if (scales == NULL)
        return checkpoint_rows_f32(t, 0, rows, out, err);
    if (floats_alloc(&scale, outputs, 1, err) != 0)
        return -1;
    int rc = checkpoint_rows_f32(scales, 0, outputs, scale, err);
    const int8_t *q = checkpoint_rows_i8(t, 0);
    for (size_t i = 0; rc == 0 && i < rows; i++)
        for (size_t j = 0; j < width; j++)
            out[i * width + j] = (float)q[i * width + j] * scale[conv1d ? j : i];
    free(scale);
    return rc;
}

int audit_matrix(float **out, const struct checkpoint *cp, enum role role, int layer, struct err *err)
{
    const struct tensor *t = checkpoint_tensor(cp, role, layer);
    float *stored = NULL, *turned = NULL;
    *out = NULL;
    if (t == NULL)
        return 0;
    const bool conv1d = arch_tensor(checkpoint_config(cp), role)->conv1d;
    const size_t rows = (size_t)t->dim[0], width = (size_t)t->dim[1];
    if (floats_alloc(&stored, rows, width, err) != 0)
        return -1;
    int rc = read_stored(stored, cp, t, conv1d, err);
    if (rc == 0 && conv1d && (rc = floats_alloc(&turned, width, rows, err)) == 0) {
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < width; j++)
                turned[j * rows + i] = stored[i * width + j];
        free(stored);
        stored = turned;
    }
    if (rc == 0)
        *out = stored;
    else
        free(stored);
    return rc;
}

int audit_vector(float **out, const struct checkpoint *cp, enum role role, int layer, struct err *err)
{
    const struct tensor *t = checkpoint_tensor(cp, role, layer);
    float *v;
    *out = NULL;
    if (t == NULL)
        return 0;
    if (floats_alloc(&v, (size_t)t->dim[0], 1, err) != 0)
        return -1;
    if (checkpoint_rows_f32(t, 0, t->dim[0], v, err) != 0) {
        free(v);
        return -1;
    }
    *out = v;
    return 0;
}

size_t audit_neuron_count(const struct config *c)
{
    return (size_t)config_feeds(c) * (size_t)c->F;
}

/* The matrix of a role of all experts of a layer, one below the other; without experts the matrix. */
static int read_feeds(float **out, const struct checkpoint *cp, enum role role, int layer, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    const size_t size = (size_t)c->F * (size_t)c->D;
    float *all = NULL, *one = NULL;
    if (c->experts == 0)
        return audit_matrix(out, cp, role, layer, err);
    int rc = floats_alloc(&all, (size_t)c->experts, size, err);
    for (int e = 0; rc == 0 && e < c->experts; e++)
        if ((rc = audit_matrix(&one, cp, role, layer * c->experts + e, err)) == 0) {
            memcpy(all + (size_t)e * size, one, size * sizeof *one);
            free(one);
        }
    if (rc == 0)
        *out = all;
    else
        free(all);
    return rc;
}

int audit_neurons(float **out, const struct checkpoint *cp, int layer, struct err *err)
{
    const struct config *c = checkpoint_config(cp);
    const size_t D = (size_t)c->D, N = audit_neuron_count(c);
    float *w = NULL, *gain = NULL;
    const enum role role = !c->gated ? ROLE_UP : arch_tensor(c, ROLE_GATE) != NULL ? ROLE_GATE : ROLE_GATE_UP;
    int rc = read_feeds(&w, cp, role, layer, err); /* fused: gates lie first */
    if (rc == 0 && !c->post_norm)
        rc = audit_vector(&gain, cp, ROLE_MLP_NORM_W, layer, err);
    for (size_t f = 0; rc == 0 && gain != NULL && f < N; f++) {
        float *row = w + f * D;
        double mean = 0;
        for (size_t d = 0; d < D; d++) {
            row[d] *= c->gain_plus_one ? 1.0f + gain[d] : gain[d];
            mean += (double)row[d] / (double)D;
        }
        for (size_t d = 0; c->norm == NORM_LAYER && d < D; d++) /* rows that enter have mean 0: this part of a weight acts on nothing */
            row[d] -= (float)mean;
    }
    free(gain);
    if (rc == 0)
        *out = w;
    else
        free(w);
    return rc;
}

int audit_pick_neurons(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    const size_t N = audit_neuron_count(k->c), n = N < k->sample ? N : k->sample;
    a->place = calloc(n, sizeof *a->place);
    a->neuron = calloc(n, sizeof *a->neuron);
    if (a->place == NULL || a->neuron == NULL)
        return err_oom(err, n * sizeof *a->place);
    for (size_t i = 0; i < n; i++)
        a->place[i] = (uint32_t)(i * N / n);
    a->neurons = n;
    return 0;
}

/* The key is a scale c times an orthogonal matrix: x' = x S, so x = x' S^T / c^2. */
static int open_with(float *y, const float *x, size_t n, size_t D, const float *matrix, struct err *err)
{
    double square = 0;
    for (size_t i = 0; i < D * D; i++)
        square += (double)matrix[i] * (double)matrix[i];
    if (audit_product(y, x, n, matrix, D, D, err) != 0)
        return -1;
    for (size_t i = 0; i < n * D; i++)
        y[i] *= (float)((double)D / (square + 1e-30));
    return 0;
}

int audit_open_rows(float *y, const float *x, size_t n, size_t D, const uint32_t *channel, const float *matrix, struct err *err)
{
    if (matrix != NULL)
        return open_with(y, x, n, D, matrix, err);
    memset(y, 0, n * D * sizeof *y);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < D; j++)
            y[i * D + channel[j]] = x[i * D + j];
    return 0;
}

static void unit_rows(float *x, size_t n, size_t width)
{
    for (size_t i = 0; i < n; i++) {
        double sum = 1e-30;
        for (size_t j = 0; j < width; j++)
            sum += (double)x[i * width + j] * (double)x[i * width + j];
        for (size_t j = 0; j < width; j++)
            x[i * width + j] /= (float)sqrt(sum);
    }
}

static int match_neurons(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    const size_t D = (size_t)k->c->D, N = audit_neuron_count(k->c);
    float *package = NULL, *base = NULL, *picked = NULL, *plain = NULL;
    int rc = -1;
    if ((a->place == NULL && audit_pick_neurons(k, a, err) != 0) || audit_neurons(&package, k->package, 0, err) != 0 ||
        audit_neurons(&base, k->base, k->first, err) != 0 || floats_alloc(&picked, a->neurons, D, err) != 0 ||
        floats_alloc(&plain, a->neurons, D, err) != 0)
        goto done;
    for (size_t i = 0; i < a->neurons; i++)
        memcpy(picked + i * D, package + a->place[i] * D, D * sizeof *picked);
    if (audit_open_rows(plain, picked, a->neurons, D, a->channel, a->matrix != NULL ? a->matrix : k->residual, err) != 0)
        goto done;
    unit_rows(plain, a->neurons, D);
    unit_rows(base, N, D);
    rc = audit_nearest(a->neuron, plain, a->neurons, base, N, D, err);
done:
    free(package);
    free(base);
    free(picked);
    free(plain);
    return rc;
}

int audit_use_key(const struct audit_known *k, struct audit_answer *a, struct err *err)
{
    return match_neurons(k, a, err) != 0 ? -1 : audit_dictionary(k, a, err);
}
