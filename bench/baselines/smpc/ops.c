#include "bench/baselines/smpc/ops.h"

#include <math.h>
#include <string.h>

#include "bench/baselines/smpc/material.h"
#include "bench/baselines/smpc/ops_impl.h"
#include "bench/baselines/smpc/ring.h"

#define CONSTANT_BITS 16 /* significant bits of a public constant */
#define COMBINE_BITS 18  /* fraction bits of the constants of a sum */

struct share ops_new(struct party *p, size_t n)
{
    return (struct share){party_words(p, n * p->parts), n};
}

/* ------------------------------------------------------------------ a twin's numbers are doubles in the same words */

static double get(struct share x, size_t i)
{
    double d;
    memcpy(&d, &x.v[i], sizeof d);
    return d;
}

static void put(struct share z, size_t i, double d)
{
    memcpy(&z.v[i], &d, sizeof d);
}

/* The product |x| < limit before it is shortened by `shift` bits; the sign takes one bit more. */
static void watch(struct party *p, double x, int shift)
{
    const double room = ldexp(1, 63 - RING_FRACTION - shift), part = fabs(x) / room;
    if (part > p->largest)
        p->largest = part;
    p->expected_wraps += part / 2; /* the other party's share is uniform over both signs */
    if (!(part < 1))
        party_fail(p, ERR_CHECK, "a number reaches %.3g, but fixed point of 64 bits (%d of them fraction) holds %.3g here", x, RING_FRACTION, room);
}

/* ------------------------------------------------------------------ input, output */

void ops_input(struct party *p, struct share z, const float *values, int owner)
{
    const size_t n = z.n, mark = party_mark(p);
    uint64_t *own = party_words(p, n);
    if (party_twins(p))
        for (size_t i = 0; i < n; i++)
            put(z, i, (double)values[i]);
    for (size_t i = 0; party_runs(p) && p->index == owner && i < n; i++) {
        if (!(fabs((double)values[i]) < ldexp(1, 62 - 2 * RING_FRACTION))) {
            party_fail(p, ERR_CHECK, "an input of %.3g does not fit fixed point", (double)values[i]);
            break;
        }
        own[i] = ring_of((double)values[i]);
    }
    if (p->parties == 3 && p->mode != PARTY_TWIN) {
        three_input(p, z, own, owner);
    } else if (party_runs(p)) {
        party_stream(p, p->own, z.v, n); /* what both can draw is the other one's share */
        for (size_t i = 0; p->index == owner && i < n; i++)
            z.v[i] = own[i] - z.v[i];
    }
    party_release(p, mark);
}

void ops_output(struct party *p, struct share x, double *out, int to)
{
    const size_t n = x.n, mark = party_mark(p);
    const int from = (to + 2) % p->parties; /* of three: who holds the part that `to` has not; of two: the other one */
    const int sender = p->parties == 2 ? 1 - to : from;
    uint64_t *rest = party_words(p, n);
    party_round(p, n, n);
    if (party_twins(p))
        for (size_t i = 0; i < n; i++)
            out[i] = get(x, i);
    if (party_runs(p) && p->index == sender)
        party_send(p, to, x.v, n);
    if (party_runs(p) && p->index == to) {
        party_recv(p, sender, rest, n);
        for (size_t i = 0; i < n && party_runs(p); i++)
            out[i] = ring_real(x.v[i] + rest[i] + (p->parts == 2 ? x.v[n + i] : 0));
    }
    party_release(p, mark);
}

/* ------------------------------------------------------------------ local */

void ops_zero(struct party *p, struct share z)
{
    if (party_runs(p) || party_twins(p)) /* 0.0 has no bit set */
        memset(z.v, 0, z.n * p->parts * sizeof *z.v);
}

void ops_set(struct party *p, struct share z, struct share x)
{
    if (party_runs(p) || party_twins(p))
        memcpy(z.v, x.v, x.n * p->parts * sizeof *z.v);
}

void ops_add(struct party *p, struct share z, struct share x, struct share y)
{
    if (party_runs(p))
        for (size_t i = 0; i < z.n * p->parts; i++)
            z.v[i] = x.v[i] + y.v[i];
    if (party_twins(p))
        for (size_t i = 0; i < z.n; i++)
            put(z, i, get(x, i) + get(y, i));
}

void ops_sub(struct party *p, struct share z, struct share x, struct share y)
{
    if (party_runs(p))
        for (size_t i = 0; i < z.n * p->parts; i++)
            z.v[i] = x.v[i] - y.v[i];
    if (party_twins(p))
        for (size_t i = 0; i < z.n; i++)
            put(z, i, get(x, i) - get(y, i));
}

/* Public numbers are added to x_0: the part of it that this party holds, or NULL. */
static uint64_t *public_part(const struct party *p, struct share z)
{
    if (p->index == 0)
        return z.v;
    return p->parties == 3 && p->index == 2 ? z.v + z.n : NULL;
}

static void add_everywhere(struct party *p, struct share z, struct share x, uint64_t c)
{
    if (z.v != x.v)
        memcpy(z.v, x.v, x.n * p->parts * sizeof *z.v);
    uint64_t *part = public_part(p, z);
    for (size_t i = 0; part != NULL && i < z.n; i++)
        part[i] += c;
}

void ops_add_public(struct party *p, struct share z, struct share x, double c)
{
    if (party_runs(p))
        add_everywhere(p, z, x, ring_of(c));
    if (party_twins(p))
        for (size_t i = 0; i < z.n; i++)
            put(z, i, get(x, i) + c);
}

void ops_add_bit(struct party *p, struct share z, struct share x, int64_t c)
{
    if (party_runs(p))
        add_everywhere(p, z, x, (uint64_t)c);
    if (party_twins(p))
        for (size_t i = 0; i < z.n; i++)
            put(z, i, get(x, i) + (double)c);
}

void ops_real(struct party *p, struct share z, struct share bit)
{
    if (party_runs(p))
        ops_times(p, z, bit, 1 << RING_FRACTION);
    else
        ops_set(p, z, bit);
}

void ops_times(struct party *p, struct share z, struct share x, int64_t factor)
{
    if (party_runs(p))
        for (size_t i = 0; i < z.n * p->parts; i++)
            z.v[i] = x.v[i] * (uint64_t)factor;
    if (party_twins(p))
        for (size_t i = 0; i < z.n; i++)
            put(z, i, get(x, i) * (double)factor);
}

void ops_mask(struct party *p, struct share x, const unsigned char *keep, size_t period, double value)
{
    uint64_t *part = public_part(p, x);
    for (size_t i = 0; i < x.n && (party_runs(p) || party_twins(p)); i++) {
        if (keep[i % period])
            continue;
        if (party_twins(p)) {
            put(x, i, value);
            continue;
        }
        for (size_t j = 0; j < p->parts; j++)
            x.v[j * x.n + i] = 0;
        if (part != NULL)
            part[i] = ring_of(value);
    }
}

void ops_row_sum(struct party *p, struct share z, struct share x)
{
    const size_t rows = z.n, cols = x.n / rows;
    for (size_t r = 0; r < rows * p->parts && party_runs(p); r++) {
        uint64_t sum = 0;
        for (size_t c = 0; c < cols; c++)
            sum += x.v[r * cols + c];
        z.v[r] = sum;
    }
    for (size_t r = 0; r < rows && party_twins(p); r++) {
        double sum = 0;
        for (size_t c = 0; c < cols; c++)
            sum += get(x, r * cols + c);
        put(z, r, sum);
    }
}

void ops_row_spread(struct party *p, struct share z, struct share r)
{
    const size_t rows = r.n, cols = z.n / rows;
    for (size_t i = 0; i < rows * p->parts && (party_runs(p) || party_twins(p)); i++)
        for (size_t c = 0; c < cols; c++)
            z.v[i * cols + c] = r.v[i];
}

void ops_col_spread(struct party *p, struct share z, struct share c)
{
    const size_t cols = c.n, rows = z.n / cols;
    for (size_t part = 0; part < p->parts && (party_runs(p) || party_twins(p)); part++)
        for (size_t r = 0; r < rows; r++)
            memcpy(z.v + part * z.n + r * cols, c.v + part * cols, cols * sizeof *z.v);
}

void ops_add_cols(struct party *p, struct share z, struct share c)
{
    const size_t mark = party_mark(p);
    struct share spread = ops_new(p, z.n);
    ops_col_spread(p, spread, c);
    ops_add(p, z, z, spread);
    party_release(p, mark);
}

void ops_move(struct party *p, struct share z, struct share x, const struct ops_block *b)
{
    for (size_t part = 0; part < p->parts && (party_runs(p) || party_twins(p)); part++)
        for (size_t i = 0; i < b->count[0]; i++)
            for (size_t j = 0; j < b->count[1]; j++)
                for (size_t k = 0; k < b->count[2]; k++)
                    z.v[part * z.n + b->to + i * b->zs[0] + j * b->zs[1] + k * b->zs[2]] =
                        x.v[part * x.n + b->from + i * b->xs[0] + j * b->xs[1] + k * b->xs[2]];
}

/* ------------------------------------------------------------------ with messages */

static bool three(const struct party *p)
{
    return p->parties == 3 && p->mode != PARTY_TWIN;
}

static void truncate_by(struct party *p, struct share z, int shift)
{
    if (three(p))
        three_truncate(p, z, shift);
    else
        two_truncate(p, z, shift);
}

/* c as integer / 2^shift. */
static int64_t constant(double c, int *shift)
{
    int exponent;
    (void)frexp(c, &exponent);
    *shift = exponent < CONSTANT_BITS ? CONSTANT_BITS - exponent : 0;
    int64_t k = llround(ldexp(c, *shift));
    for (; *shift > 0 && k % 2 == 0; k /= 2)
        (*shift)--;
    return k;
}

void ops_scale(struct party *p, struct share z, struct share x, double c)
{
    int shift;
    const int64_t k = constant(c, &shift);
    if (party_twins(p)) {
        for (size_t i = 0; i < z.n; i++) {
            watch(p, get(x, i) * (double)k, 0);
            put(z, i, get(x, i) * c);
        }
        return;
    }
    ops_times(p, z, x, k);
    if (shift > 0)
        truncate_by(p, z, shift);
}

void ops_combine(struct party *p, struct share z, const struct share *x, const double *c, int count)
{
    const size_t mark = party_mark(p);
    struct share sum = ops_new(p, z.n), term = ops_new(p, z.n);
    for (size_t i = 0; i < z.n && party_twins(p); i++) {
        double s = c[0];
        for (int t = 0; t < count; t++)
            s += c[t + 1] * get(x[t], i);
        watch(p, s, COMBINE_BITS);
        put(z, i, s);
    }
    if (p->mode == PARTY_TWIN)
        goto done;
    ops_zero(p, sum);
    for (int t = 0; t < count; t++) {
        ops_times(p, term, x[t], llround(ldexp(c[t + 1], COMBINE_BITS)));
        ops_add(p, sum, sum, term);
    }
    truncate_by(p, sum, COMBINE_BITS);
    ops_add_public(p, z, sum, c[0]);
done:
    party_release(p, mark);
}

void ops_mul(struct party *p, struct share z, struct share x, struct share y)
{
    for (size_t i = 0; i < z.n && party_twins(p); i++) {
        double product = get(x, i) * get(y, i);
        watch(p, product, RING_FRACTION);
        put(z, i, product);
    }
    if (p->mode == PARTY_TWIN)
        return;
    if (three(p))
        three_mul(p, z, x, y, RING_FRACTION);
    else
        two_mul(p, z, x, y, RING_FRACTION);
}

void ops_square(struct party *p, struct share z, struct share x)
{
    if (p->mode == PARTY_TWIN || three(p))
        ops_mul(p, z, x, x);
    else
        two_square(p, z, x);
}

void ops_mul_bit(struct party *p, struct share z, struct share bit, struct share x)
{
    for (size_t i = 0; i < z.n && party_twins(p); i++)
        put(z, i, get(bit, i) * get(x, i));
    if (p->mode == PARTY_TWIN)
        return;
    if (three(p))
        three_mul(p, z, bit, x, 0);
    else
        two_mul(p, z, bit, x, 0);
}

static void twin_matmul(struct party *p, struct share z, struct share x, struct share y, size_t batch, size_t m, size_t k, size_t n)
{
    ops_zero(p, z);
    for (size_t row = 0; row < batch * m && party_twins(p); row++) {
        const size_t b = row / m;
        for (size_t l = 0; l < k; l++) {
            const double a = get(x, row * k + l);
            for (size_t j = 0; j < n; j++)
                put(z, row * n + j, get(z, row * n + j) + a * get(y, (b * k + l) * n + j));
        }
        for (size_t j = 0; j < n; j++)
            watch(p, get(z, row * n + j), RING_FRACTION);
    }
}

void ops_matmul(struct party *p, struct share z, struct share x, struct share y, size_t batch, size_t m, size_t k, size_t n)
{
    if (p->mode == PARTY_TWIN)
        twin_matmul(p, z, x, y, batch, m, k, n);
    else if (three(p))
        three_matmul(p, z, x, y, batch, m, k, n);
    else
        two_matmul(p, z, x, y, batch, m, k, n);
}

static void and_words(struct party *p, struct share z, struct share x, struct share y)
{
    if (three(p))
        three_and(p, z, x, y);
    else
        two_and(p, z, x, y);
}

/* Carries of the addition by Kogge and Stone: g says that a carry leaves the bits up to here, q that it would pass through them. */
static void carries(struct party *p, struct share g, struct share q)
{
    const size_t n = g.n, mark = party_mark(p);
    struct share left = ops_new(p, 2 * n), right = ops_new(p, 2 * n), both = ops_new(p, 2 * n);
    for (int step = 1; step < 64; step *= 2) {
        for (size_t part = 0; part < p->parts && party_runs(p); part++) {
            uint64_t *l = left.v + part * 2 * n, *r = right.v + part * 2 * n;
            const uint64_t *gp = g.v + part * n, *qp = q.v + part * n;
            for (size_t i = 0; i < n; i++) {
                l[i] = l[n + i] = qp[i];
                r[i] = gp[i] << step;
                r[n + i] = qp[i] << step;
            }
        }
        and_words(p, both, left, right);
        for (size_t part = 0; part < p->parts && party_runs(p); part++)
            for (size_t i = 0; i < n; i++) {
                g.v[part * n + i] ^= both.v[part * 2 * n + i];
                q.v[part * n + i] = both.v[part * 2 * n + n + i];
            }
    }
    party_release(p, mark);
}

void ops_negative(struct party *p, struct share bit, struct share x)
{
    const size_t n = x.n, mark = party_mark(p);
    for (size_t i = 0; i < n && party_twins(p); i++) {
        watch(p, get(x, i), 0);
        put(bit, i, get(x, i) < 0 ? 1 : 0);
    }
    if (p->mode == PARTY_TWIN)
        return;
    struct share sum = ops_new(p, n), g = ops_new(p, n), q = ops_new(p, n);
    if (three(p))
        three_bits(p, sum, g, x);
    else
        two_bits(p, sum, g, x);
    if (party_runs(p))
        memcpy(q.v, sum.v, n * p->parts * sizeof *q.v);
    carries(p, g, q);
    for (size_t i = 0; i < n * p->parts && party_runs(p); i++)
        sum.v[i] = (sum.v[i] >> 63 ^ g.v[i] >> 62) & 1;
    if (three(p))
        three_number(p, bit, sum);
    else
        two_number(p, bit, sum);
    party_release(p, mark);
}

void ops_sines(struct party *p, struct share z, struct share x, double period, const double *weight)
{
    const size_t mark = party_mark(p);
    for (size_t i = 0; i < z.n && party_twins(p); i++) {
        double sum = 0;
        for (int k = 1; k <= MATERIAL_SINES; k++)
            sum += weight[k - 1] * sin(2 * M_PI * k * get(x, i) / period);
        put(z, i, sum);
    }
    if (p->mode != PARTY_TWIN) {
        /* A period becomes 2^32, a power of two that wraps as the ring does. */
        struct share phase = ops_new(p, x.n);
        ops_times(p, phase, x, llround(ldexp(1 / period, MATERIAL_PHASE_BITS - RING_FRACTION)));
        two_sines(p, z, phase, weight);
    }
    party_release(p, mark);
}
