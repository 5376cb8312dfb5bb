#include <math.h>
#include <string.h>

#include "bench/baselines/smpc/material.h"
#include "bench/baselines/smpc/ops_impl.h"
#include "bench/baselines/smpc/ring.h"

/* Both send n words and get the other's. */
static void exchange(struct party *p, const uint64_t *mine, uint64_t *theirs, size_t n)
{
    party_round(p, 2 * n, n);
    if (!party_runs(p)) /* the dealer's lines carry material only */
        return;
    party_send(p, 1 - p->index, mine, n);
    party_recv(p, 1 - p->index, theirs, n);
}

/* mine becomes the opened numbers. */
static void open_sum(struct party *p, uint64_t *mine, size_t n)
{
    size_t mark = party_mark(p);
    uint64_t *theirs = party_words(p, n);
    exchange(p, mine, theirs, n);
    if (party_runs(p))
        for (size_t i = 0; i < n; i++)
            mine[i] += theirs[i];
    party_release(p, mark);
}

static void open_xor(struct party *p, uint64_t *mine, size_t n)
{
    size_t mark = party_mark(p);
    uint64_t *theirs = party_words(p, n);
    exchange(p, mine, theirs, n);
    if (party_runs(p))
        for (size_t i = 0; i < n; i++)
            mine[i] ^= theirs[i];
    party_release(p, mark);
}

/* Each party shifts its own share; the second one rounds the other way. */
static uint64_t shifted(const struct party *p, uint64_t v, int shift)
{
    return p->index == 0 ? (uint64_t)((int64_t)v >> shift) : 0 - (uint64_t)((int64_t)(0 - v) >> shift);
}

void two_truncate(struct party *p, struct share z, int shift)
{
    if (party_runs(p))
        for (size_t i = 0; i < z.n; i++)
            z.v[i] = shifted(p, z.v[i], shift);
}

void two_mul(struct party *p, struct share z, struct share x, struct share y, int shift)
{
    const size_t n = z.n, mark = party_mark(p);
    struct material t = material_triple(p, n);
    uint64_t *e = party_words(p, 2 * n), *d = e + n;
    if (party_runs(p))
        for (size_t i = 0; i < n; i++) {
            e[i] = x.v[i] - t.a[i];
            d[i] = y.v[i] - t.b[i];
        }
    open_sum(p, e, 2 * n);
    if (party_runs(p)) {
        const uint64_t first = p->index == 0 ? ~(uint64_t)0 : 0;
        for (size_t i = 0; i < n; i++)
            z.v[i] = t.c[i] + e[i] * (t.b[i] + (d[i] & first)) + t.a[i] * d[i];
        if (shift > 0)
            two_truncate(p, z, shift);
    }
    party_release(p, mark);
}

void two_square(struct party *p, struct share z, struct share x)
{
    const size_t n = z.n, mark = party_mark(p);
    struct material t = material_square(p, n);
    uint64_t *e = party_words(p, n);
    if (party_runs(p))
        for (size_t i = 0; i < n; i++)
            e[i] = x.v[i] - t.a[i];
    open_sum(p, e, n);
    if (party_runs(p)) {
        const uint64_t first = p->index == 0 ? ~(uint64_t)0 : 0;
        for (size_t i = 0; i < n; i++)
            z.v[i] = t.c[i] + 2 * e[i] * t.a[i] + (e[i] * e[i] & first);
        two_truncate(p, z, RING_FRACTION);
    }
    party_release(p, mark);
}

void two_matmul(struct party *p, struct share z, struct share x, struct share y, size_t batch, size_t m, size_t k, size_t n)
{
    const size_t xn = batch * m * k, yn = batch * k * n, mark = party_mark(p);
    struct material t = material_matrix(p, batch, m, k, n);
    uint64_t *e = party_words(p, xn + yn), *d = e + xn, *b = party_words(p, k * n), *work = party_words(p, ring_matmul_words(k));
    if (party_runs(p)) {
        for (size_t i = 0; i < xn; i++)
            e[i] = x.v[i] - t.a[i];
        for (size_t i = 0; i < yn; i++)
            d[i] = y.v[i] - t.b[i];
    }
    open_sum(p, e, xn + yn);
    for (size_t i = 0; i < batch && party_runs(p); i++) {
        const uint64_t *bi = t.b + i * k * n, *di = d + i * k * n;
        uint64_t *zi = z.v + i * m * n;
        if (p->index == 0) { /* the public product is one party's */
            for (size_t j = 0; j < k * n; j++)
                b[j] = bi[j] + di[j];
            bi = b;
        }
        memcpy(zi, t.c + i * m * n, m * n * sizeof *zi);
        ring_matmul_add(zi, e + i * m * k, bi, m, k, n, work, 1);
        ring_matmul_add(zi, t.a + i * m * k, di, m, k, n, work, 1);
    }
    two_truncate(p, z, RING_FRACTION);
    party_release(p, mark);
}

void two_and(struct party *p, struct share z, struct share x, struct share y)
{
    const size_t n = z.n, mark = party_mark(p);
    struct material t = material_and(p, n);
    uint64_t *e = party_words(p, 2 * n), *d = e + n;
    if (party_runs(p))
        for (size_t i = 0; i < n; i++) {
            e[i] = x.v[i] ^ t.a[i];
            d[i] = y.v[i] ^ t.b[i];
        }
    open_xor(p, e, 2 * n);
    if (party_runs(p)) {
        const uint64_t first = p->index == 0 ? ~(uint64_t)0 : 0;
        for (size_t i = 0; i < n; i++)
            z.v[i] = t.c[i] ^ (e[i] & (t.b[i] ^ (d[i] & first))) ^ (t.a[i] & d[i]);
    }
    party_release(p, mark);
}

/* Each party's share is one addend, shared as (own, 0). */
void two_bits(struct party *p, struct share sum, struct share both, struct share x)
{
    const size_t mark = party_mark(p);
    struct share zero = ops_new(p, x.n);
    if (party_runs(p)) {
        memset(zero.v, 0, x.n * sizeof *zero.v);
        memcpy(sum.v, x.v, x.n * sizeof *sum.v);
    }
    two_and(p, both, p->index == 0 ? x : zero, p->index == 0 ? zero : x);
    party_release(p, mark);
}

/* The dealer shares a random bit both ways: r as bits is opened into b ^ r, and then b = z + r - 2 z r is local. */
void two_number(struct party *p, struct share z, struct share bit)
{
    const size_t n = z.n, mark = party_mark(p);
    struct material t = material_bit(p, n);
    uint64_t *e = party_words(p, n);
    if (party_runs(p))
        for (size_t i = 0; i < n; i++)
            e[i] = (bit.v[i] ^ t.a[i]) & 1;
    open_xor(p, e, n);
    if (party_runs(p)) {
        const uint64_t first = p->index == 0 ? 1 : 0;
        for (size_t i = 0; i < n; i++)
            z.v[i] = e[i] ? first - t.c[i] : t.c[i];
    }
    party_release(p, mark);
}

/* The phase is opened under a mask whose sines and cosines the dealer has shared: sin(k x) = sin(k e) cos(k t) + cos(k e) sin(k t). */
void two_sines(struct party *p, struct share z, struct share phase, const double *weight)
{
    const size_t n = z.n, mark = party_mark(p);
    struct material t = material_sine(p, n);
    uint64_t *e = party_words(p, n);
    if (party_runs(p))
        for (size_t i = 0; i < n; i++)
            e[i] = phase.v[i] - t.a[i];
    open_sum(p, e, n);
    for (size_t i = 0; i < n && party_runs(p); i++) {
        const double x = 2 * M_PI * ldexp((double)(e[i] & 0xffffffffu), -MATERIAL_PHASE_BITS);
        const double s1 = sin(x), c1 = cos(x);
        double s = s1, c = c1;
        uint64_t sum = 0;
        for (size_t k = 0; k < MATERIAL_SINES; k++) {
            sum += ring_of(weight[k] * s) * t.c[(MATERIAL_SINES + k) * n + i] + ring_of(weight[k] * c) * t.c[k * n + i];
            const double next = s * c1 + c * s1;
            c = c * c1 - s * s1;
            s = next;
        }
        z.v[i] = sum;
    }
    two_truncate(p, z, RING_FRACTION);
    party_release(p, mark);
}
