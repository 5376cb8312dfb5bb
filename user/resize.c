#include "user/resize.h"

#include <math.h>
#include <stdlib.h>

#define BITS 22 /* 8 bits of a pixel, 2 for weights outside 0 to 1 that add up to 1, of 32 */

/* ------------------------------------------------------------------ filters */

static double bilinear(double x)
{
    return x < 1 ? 1 - x : 0;
}

/* Keys' cubic with a = -1/2 */
static double bicubic(double x)
{
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

static double sinc(double x)
{
    return x > 0 ? sin(M_PI * x) / (M_PI * x) : 1;
}

static double lanczos(double x)
{
    return x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

static const struct filter {
    double (*weight)(double x); /* x >= 0: all are symmetric */
    double reach;
} filters[] = {[RESAMPLE_BILINEAR] = {bilinear, 1}, [RESAMPLE_BICUBIC] = {bicubic, 2}, [RESAMPLE_LANCZOS] = {lanczos, 3}};

/* ------------------------------------------------------------------ one direction */

/* Which old pixels a new one is made of. */
struct taps {
    int first, n;
    int32_t *weight;
};

struct plan {
    struct taps *taps; /* [out] */
    int32_t *weights;
};

static void plan_free(struct plan *p)
{
    free(p->taps);
    free(p->weights);
}

static void weigh(struct taps *t, const struct filter *f, double centre, double stretch, double *w)
{
    double sum = 0;
    for (int i = 0; i < t->n; i++)
        sum += w[i] = f->weight(fabs((t->first + i - centre + 0.5) / stretch));
    for (int i = 0; i < t->n; i++) {
        const double scaled = (sum < 0 || sum > 0 ? w[i] / sum : 0) * (1 << BITS);
        t->weight[i] = (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
}

static int plan_make(struct plan *out, int from, int to, enum resample resample, struct err *err)
{
    const struct filter *f = &filters[resample];
    const double scale = (double)from / to, stretch = scale < 1 ? 1 : scale, reach = f->reach * stretch;
    const size_t most = 2 * (size_t)ceil(reach) + 1;
    struct plan p = {.taps = calloc((size_t)to, sizeof *p.taps), .weights = calloc((size_t)to * most, sizeof *p.weights)};
    double *w = calloc(most, sizeof *w);
    if (p.taps == NULL || p.weights == NULL || w == NULL) {
        plan_free(&p);
        free(w);
        return err_oom(err, (size_t)to * most * sizeof *p.weights);
    }
    for (int i = 0; i < to; i++) {
        const double centre = (i + 0.5) * scale;
        struct taps *t = &p.taps[i];
        const int first = (int)(centre - reach + 0.5), end = (int)(centre + reach + 0.5);
        t->first = centre - reach + 0.5 < 0 ? 0 : first;
        t->n = (end > from ? from : end) - t->first;
        t->weight = p.weights + (size_t)i * most;
        weigh(t, f, centre, stretch, w);
    }
    free(w);
    *out = p;
    return 0;
}

/* Sum over a pixel's taps, `step` bytes from one to the next. */
static uint8_t gather(const struct taps *t, const uint8_t *from, size_t step)
{
    int64_t sum = (int64_t)1 << (BITS - 1);
    from += (size_t)t->first * step;
    for (int i = 0; i < t->n; i++)
        sum += (int64_t)t->weight[i] * from[(size_t)i * step];
    sum = sum < 0 ? 0 : sum >> BITS;
    return sum > 255 ? 255 : (uint8_t)sum;
}

/* ------------------------------------------------------------------ both */

static int along_rows(struct image *out, const struct image *in, int width, enum resample resample, struct err *err)
{
    const size_t C = (size_t)in->channels;
    struct plan p;
    if (image_new(out, (uint64_t)width, (uint64_t)in->height, in->channels, IMAGE_PIXELS_MAX, err) != 0)
        return -1;
    if (plan_make(&p, in->width, width, resample, err) != 0)
        return -1;
    uint8_t *next = out->data;
    for (size_t y = 0; y < (size_t)in->height; y++)
        for (int x = 0; x < width; x++)
            for (size_t k = 0; k < C; k++)
                *next++ = gather(&p.taps[x], in->data + y * (size_t)in->width * C + k, C);
    plan_free(&p);
    return 0;
}

static int along_columns(struct image *out, const struct image *in, int height, enum resample resample, struct err *err)
{
    const size_t row = (size_t)in->width * (size_t)in->channels;
    struct plan p;
    if (image_new(out, (uint64_t)in->width, (uint64_t)height, in->channels, IMAGE_PIXELS_MAX, err) != 0)
        return -1;
    if (plan_make(&p, in->height, height, resample, err) != 0)
        return -1;
    uint8_t *next = out->data;
    for (int y = 0; y < height; y++)
        for (size_t i = 0; i < row; i++)
            *next++ = gather(&p.taps[y], in->data + i, row);
    plan_free(&p);
    return 0;
}

int resize_image(struct image *out, const struct image *in, int width, int height, enum resample resample, struct err *err)
{
    struct image narrow = {0}, done = {0};
    int rc = along_rows(&narrow, in, width, resample, err);
    if (rc == 0)
        rc = along_columns(&done, &narrow, height, resample, err);
    image_free(&narrow);
    if (rc == 0)
        *out = done;
    else
        image_free(&done);
    return rc == 0 ? 0 : err_wrap(err, "resizing %d x %d pixels to %d x %d", in->width, in->height, width, height);
}
