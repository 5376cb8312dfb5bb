#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "bench/baselines/he/ckks.h"

#define COEFFICIENT_MAX 0x1p90 /* what ring_reduce takes for the smallest primes */

/* A real polynomial of degree below N is p(Y) = low(Y) + i high(Y) at the points with Y^(N/2) = i, which are the powers 5^j of the
 * 2N-th root of one: 5^j = 1 mod 4. Points j and j + N/4 are negatives of each other, so the usual butterflies split even from odd. */
static void evaluate(const struct ckks *c, struct ckks_turn *v)
{
    for (uint32_t i = 0; i < c->slots; i++) {
        uint32_t j = c->reversed[i] >> 1;
        if (i < j) {
            struct ckks_turn keep = v[i];
            v[i] = v[j];
            v[j] = keep;
        }
    }
    for (size_t len = 2; len <= c->slots; len *= 2)
        for (size_t i = 0; i < c->slots; i += len) {
            struct ckks_turn *a = v + i, *b = a + len / 2;
            const struct ckks_turn *w = c->turn + len / 2;
            for (size_t j = 0; j < len / 2; j++) {
                double re = b[j].re * w[j].re - b[j].im * w[j].im, im = b[j].re * w[j].im + b[j].im * w[j].re;
                b[j] = (struct ckks_turn){a[j].re - re, a[j].im - im};
                a[j] = (struct ckks_turn){a[j].re + re, a[j].im + im};
            }
        }
}

/* The inverse, without the division by the number of slots. */
static void interpolate(const struct ckks *c, struct ckks_turn *v)
{
    for (size_t len = c->slots; len >= 2; len /= 2)
        for (size_t i = 0; i < c->slots; i += len) {
            struct ckks_turn *a = v + i, *b = a + len / 2;
            const struct ckks_turn *w = c->turn + len / 2;
            for (size_t j = 0; j < len / 2; j++) {
                double re = a[j].re - b[j].re, im = a[j].im - b[j].im;
                a[j] = (struct ckks_turn){a[j].re + b[j].re, a[j].im + b[j].im};
                b[j] = (struct ckks_turn){re * w[j].re + im * w[j].im, im * w[j].re - re * w[j].im};
            }
        }
    for (uint32_t i = 0; i < c->slots; i++) {
        uint32_t j = c->reversed[i] >> 1;
        if (i < j) {
            struct ckks_turn keep = v[i];
            v[i] = v[j];
            v[j] = keep;
        }
    }
}

/* Converting to a double word is slow, and only what is added to an unscaled product needs it. */
static uint64_t residue(const struct ring *r, double v, bool word)
{
    double size = fabs(v);
    uint64_t a = ring_reduce(r, word ? (ring_wide)(uint64_t)size : (ring_wide)size);
    return v < 0 && a != 0 ? r->q - a : a;
}

int ckks_encode(const struct ckks *c, struct ckks_plain *out, const double *re, const double *im, int level, double scale,
                struct err *err)
{
    assert(level >= 1 && level <= c->count);
    size_t bytes = (size_t)level * c->n * sizeof(uint64_t);
    struct ckks_turn *v = malloc(c->slots * sizeof *v);
    double *coefficient = malloc(c->n * sizeof *coefficient);
    uint64_t *data = malloc(bytes);
    double factor = scale / (double)c->slots, largest = 0;
    int rc = v == NULL || coefficient == NULL || data == NULL ? err_oom(err, bytes) : 0;
    if (rc != 0)
        goto done;
    for (size_t i = 0; i < c->slots; i++)
        v[i] = (struct ckks_turn){re[i], im == NULL ? 0 : im[i]};
    interpolate(c, v);
    for (size_t i = 0; i < c->slots; i++) {
        double low = v[i].re * factor, high = v[i].im * factor;
        largest = fmax(largest, fmax(fabs(low), fabs(high)));
        if (!(fabs(low) < COEFFICIENT_MAX && fabs(high) < COEFFICIENT_MAX)) { /* NaN too */
            rc = err_set(err, ERR_INPUT, "a coefficient of %g at scale 2^%.1f: expected below 2^90; use smaller values or a smaller scale",
                         largest, log2(scale));
            goto done;
        }
        coefficient[i] = rint(low);
        coefficient[i + c->slots] = rint(high);
    }
    for (int l = 0; l < level; l++) {
        uint64_t *row = data + (size_t)l * c->n;
        for (size_t i = 0; i < c->n; i++)
            row[i] = residue(&c->ring[l], coefficient[i], largest < 0x1p62);
        ring_forward(&c->ring[l], row);
    }
    free(out->data);
    *out = (struct ckks_plain){data, level, scale};
    data = NULL;
done:
    free(v);
    free(coefficient);
    free(data);
    return rc;
}

/* The two first primes hold every result: values stay far below their product. */
static double centred(const struct ckks *c, uint64_t a0, uint64_t a1, bool two)
{
    const uint64_t q0 = c->ring[0].q;
    if (!two)
        return a0 > q0 / 2 ? -(double)(q0 - a0) : (double)a0;
    const struct ring *r1 = &c->ring[1];
    uint64_t difference = ring_sub(a1, ring_reduce(r1, a0), r1->q);
    ring_wide v = (ring_wide)ring_mul_constant(difference, c->inverse[0][1], c->inverse_quotient[0][1], r1->q) * q0 + a0;
    ring_wide all = (ring_wide)q0 * r1->q;
    return v > all / 2 ? -(double)(all - v) : (double)v;
}

int ckks_decode(const struct ckks *c, const struct ckks_plain *p, double *re, double *im, struct err *err)
{
    bool two = p->level > 1;
    struct ckks_turn *v = malloc(c->slots * sizeof *v);
    uint64_t *row = malloc(2 * c->n * sizeof *row);
    int rc = v == NULL || row == NULL ? err_oom(err, 4 * c->n * sizeof *row) : 0;
    if (rc == 0) {
        for (int l = 0; l <= (two ? 1 : 0); l++) {
            for (size_t i = 0; i < c->n; i++)
                row[(size_t)l * c->n + i] = p->data[(size_t)l * c->n + i];
            ring_inverse(&c->ring[l], row + (size_t)l * c->n);
        }
        const uint64_t *other = row + (two ? c->n : 0);
        for (size_t i = 0; i < c->slots; i++)
            v[i] = (struct ckks_turn){centred(c, row[i], other[i], two) / p->scale,
                                      centred(c, row[i + c->slots], other[i + c->slots], two) / p->scale};
        evaluate(c, v);
        for (size_t i = 0; i < c->slots; i++) {
            re[i] = v[i].re;
            if (im != NULL)
                im[i] = v[i].im;
        }
    }
    free(v);
    free(row);
    return rc;
}
