#include <string.h>

#include "bench/baselines/smpc/ops_impl.h"
#include "bench/baselines/smpc/ring.h"

/* x = x0 + x1 + x2; party i holds x_i (part 0) and x_(i+1) (part 1). Stream `own` of party i is also party i-1's `next`. */
static int before(const struct party *p)
{
    return (p->index + 2) % 3;
}

static int after(const struct party *p)
{
    return (p->index + 1) % 3;
}

/* Each part 0 goes to the party before, which holds it as part 1. */
static void give_first(struct party *p, struct share z)
{
    party_round(p, 3 * z.n, z.n);
    party_send(p, before(p), z.v, z.n);
    party_recv(p, after(p), z.v + z.n, z.n);
}

/* Three numbers that add to zero (or, in bits, cancel), one at each party: F(own) - F(next). */
static void mask(struct party *p, uint64_t *z, size_t n, bool bits)
{
    const size_t mark = party_mark(p);
    uint64_t *a = party_words(p, n), *b = party_words(p, n);
    if (party_runs(p)) {
        party_stream(p, p->own, a, n);
        party_stream(p, p->next, b, n);
        for (size_t i = 0; i < n; i++)
            z[i] = bits ? z[i] ^ a[i] ^ b[i] : z[i] + a[i] - b[i];
    }
    party_release(p, mark);
}

/* The owner j shares what it knows: x_j from the stream that it has in common with party j-1, the rest as x_(j+1). */
static void known(struct party *p, struct share z, const uint64_t *values, int owner, bool bits)
{
    const size_t n = z.n;
    party_round(p, n, n);
    if (!party_runs(p))
        return;
    if (p->index == owner) {
        party_stream(p, p->own, z.v, n);
        for (size_t i = 0; i < n; i++)
            z.v[n + i] = bits ? values[i] ^ z.v[i] : values[i] - z.v[i];
        party_send(p, after(p), z.v + n, n);
    } else if (p->index == (owner + 1) % 3) {
        party_recv(p, owner, z.v, n);
        memset(z.v + n, 0, n * sizeof *z.v);
    } else {
        memset(z.v, 0, n * sizeof *z.v);
        party_stream(p, p->next, z.v + n, n);
    }
}

void three_input(struct party *p, struct share z, const uint64_t *values, int owner)
{
    known(p, z, values, owner, false);
}

/* x0 + x1 is party 0's and x2 is known to the two others: two addends, each shifted alone, and the first one shared again. */
void three_truncate(struct party *p, struct share z, int shift)
{
    const size_t n = z.n;
    party_round(p, n, n);
    if (!party_runs(p))
        return;
    uint64_t *z0 = z.v, *z1 = z.v + n;
    if (p->index == 0) {
        for (size_t i = 0; i < n; i++)
            z1[i] = (uint64_t)((int64_t)(z0[i] + z1[i]) >> shift);
        party_stream(p, p->own, z0, n);
        for (size_t i = 0; i < n; i++)
            z1[i] -= z0[i];
        party_send(p, 1, z1, n);
        return;
    }
    uint64_t *second = p->index == 1 ? z1 : z0;
    for (size_t i = 0; i < n; i++)
        second[i] = 0 - (uint64_t)((int64_t)(0 - second[i]) >> shift);
    if (p->index == 1)
        party_recv(p, 0, z0, n);
    else
        party_stream(p, p->next, z1, n);
}

/* Local products, one addend at each party (in part 0 of z) -> replicated, truncated: three words per number instead of four. */
static void reduce(struct party *p, struct share z, int shift)
{
    const size_t n = z.n, mark = party_mark(p);
    mask(p, z.v, n, false);
    if (shift == 0) {
        give_first(p, z);
        party_release(p, mark);
        return;
    }
    uint64_t *other = party_words(p, n);
    party_round(p, 2 * n, n);
    if (party_runs(p) && p->index == 1) {
        party_send(p, 0, z.v, n);
        party_recv(p, 2, z.v + n, n); /* z2, shifted already */
        party_round(p, n, n);
        party_recv(p, 0, z.v, n);
    } else if (party_runs(p) && p->index == 2) {
        for (size_t i = 0; i < n; i++)
            z.v[i] = 0 - (uint64_t)((int64_t)(0 - z.v[i]) >> shift);
        party_send(p, 1, z.v, n);
        party_round(p, n, n);
        party_stream(p, p->next, z.v + n, n);
    } else {
        if (party_runs(p)) {
            party_recv(p, 1, other, n);
            for (size_t i = 0; i < n; i++)
                other[i] = (uint64_t)((int64_t)(other[i] + z.v[i]) >> shift);
            party_stream(p, p->own, z.v, n);
            for (size_t i = 0; i < n; i++)
                z.v[n + i] = other[i] - z.v[i];
        }
        party_round(p, n, n);
        party_send(p, 1, z.v + n, n);
    }
    party_release(p, mark);
}

void three_mul(struct party *p, struct share z, struct share x, struct share y, int shift)
{
    const size_t n = z.n;
    if (party_runs(p))
        for (size_t i = 0; i < n; i++)
            z.v[i] = x.v[i] * (y.v[i] + y.v[n + i]) + x.v[n + i] * y.v[i];
    reduce(p, z, shift);
}

void three_matmul(struct party *p, struct share z, struct share x, struct share y, size_t batch, size_t m, size_t k, size_t n)
{
    const size_t xn = batch * m * k, yn = batch * k * n, zn = batch * m * n, mark = party_mark(p);
    uint64_t *sum = party_words(p, k * n), *work = party_words(p, ring_matmul_words(k));
    if (party_runs(p))
        memset(z.v, 0, zn * sizeof *z.v);
    for (size_t i = 0; i < batch && party_runs(p); i++) {
        const uint64_t *y0 = y.v + i * k * n, *y1 = y0 + yn, *x0 = x.v + i * m * k, *x1 = x0 + xn;
        for (size_t j = 0; j < k * n; j++)
            sum[j] = y0[j] + y1[j];
        ring_matmul_add(z.v + i * m * n, x0, sum, m, k, n, work, 1);
        ring_matmul_add(z.v + i * m * n, x1, y0, m, k, n, work, 1);
    }
    reduce(p, z, RING_FRACTION);
    party_release(p, mark);
}

void three_and(struct party *p, struct share z, struct share x, struct share y)
{
    const size_t n = z.n;
    if (party_runs(p))
        for (size_t i = 0; i < n; i++)
            z.v[i] = (x.v[i] & (y.v[i] ^ y.v[n + i])) ^ (x.v[n + i] & y.v[i]);
    mask(p, z.v, n, true);
    give_first(p, z);
}

/* Addends: x0 + x1, which party 0 knows and shares, and x2, which is shared as (0, 0, x2) as it is. */
void three_bits(struct party *p, struct share sum, struct share both, struct share x)
{
    const size_t n = x.n, mark = party_mark(p);
    struct share u = ops_new(p, n), w = ops_new(p, n);
    uint64_t *first = party_words(p, n);
    if (party_runs(p) && p->index == 0)
        for (size_t i = 0; i < n; i++)
            first[i] = x.v[i] + x.v[n + i];
    known(p, u, first, 0, true);
    if (party_runs(p)) {
        memset(w.v, 0, 2 * n * sizeof *w.v);
        if (p->index == 1)
            memcpy(w.v + n, x.v + n, n * sizeof *w.v);
        if (p->index == 2)
            memcpy(w.v, x.v, n * sizeof *w.v);
        for (size_t i = 0; i < 2 * n; i++)
            sum.v[i] = u.v[i] ^ w.v[i];
    }
    three_and(p, both, u, w);
    party_release(p, mark);
}

/* b = (b0 ^ b1) ^ b2: party 0 shares the first as a number, the second is shared as (0, 0, b2); then a + b - 2 a b. */
void three_number(struct party *p, struct share z, struct share bit)
{
    const size_t n = z.n, mark = party_mark(p);
    struct share u = ops_new(p, n), w = ops_new(p, n), uw = ops_new(p, n);
    uint64_t *first = party_words(p, n);
    if (party_runs(p) && p->index == 0)
        for (size_t i = 0; i < n; i++)
            first[i] = (bit.v[i] ^ bit.v[n + i]) & 1;
    known(p, u, first, 0, false);
    if (party_runs(p)) {
        memset(w.v, 0, 2 * n * sizeof *w.v);
        for (size_t i = 0; i < n && p->index != 0; i++)
            w.v[p->index == 1 ? n + i : i] = bit.v[p->index == 1 ? n + i : i] & 1;
    }
    three_mul(p, uw, u, w, 0);
    if (party_runs(p))
        for (size_t i = 0; i < 2 * n; i++)
            z.v[i] = u.v[i] + w.v[i] - 2 * uw.v[i];
    party_release(p, mark);
}
