#include <assert.h>

#include "bench/baselines/he/circuit.h"

static const struct circuit_bit zero = {0, 0};

static struct circuit_bit bit_at(const struct circuit_word *w, int i)
{
    return i < w->bits ? w->bit[i] : w->is_signed && w->bits > 0 ? w->bit[w->bits - 1] : zero;
}

struct circuit_word circuit_constant(int64_t v, int bits, bool is_signed)
{
    struct circuit_word w = {.bits = bits, .is_signed = is_signed};
    for (int b = 0; b < bits; b++)
        w.bit[b] = (struct circuit_bit){(int)((uint64_t)v >> b & 1), 0};
    return w;
}

struct circuit_word circuit_part(const struct circuit_word *w, int from, int bits, bool is_signed)
{
    struct circuit_word y = {.bits = bits, .is_signed = is_signed};
    for (int b = 0; b < bits; b++)
        y.bit[b] = bit_at(w, from + b);
    return y;
}

/* a + b + carry, or with b turned round. The carry is carry ^ (a ^ carry)(b ^ carry). */
static void sum(struct circuit *c, struct circuit_word *out, const struct circuit_word *a, const struct circuit_word *b, bool minus, int bits)
{
    struct circuit_word y = {.bits = bits, .is_signed = minus || a->is_signed || b->is_signed};
    struct circuit_bit carry = {minus, 0};
    assert(bits <= CIRCUIT_BITS);
    for (int i = 0; i < bits; i++) {
        const struct circuit_bit p = bit_at(a, i), q = minus ? circuit_not(c, bit_at(b, i)) : bit_at(b, i);
        const struct circuit_bit pc = circuit_xor(c, p, carry);
        y.bit[i] = circuit_xor(c, pc, q);
        if (i + 1 < bits)
            carry = circuit_xor(c, carry, circuit_and(c, pc, circuit_xor(c, q, carry)));
    }
    *out = y;
}

void circuit_add(struct circuit *c, struct circuit_word *out, const struct circuit_word *a, const struct circuit_word *b, int bits)
{
    sum(c, out, a, b, false, bits);
}

void circuit_sub(struct circuit *c, struct circuit_word *out, const struct circuit_word *a, const struct circuit_word *b, int bits)
{
    sum(c, out, a, b, true, bits);
}

struct circuit_bit circuit_less(struct circuit *c, const struct circuit_word *a, const struct circuit_word *b)
{
    struct circuit_word d;
    const int bits = (a->bits > b->bits ? a->bits : b->bits) + 1;
    circuit_sub(c, &d, a, b, bits);
    return d.bit[bits - 1];
}

void circuit_select(struct circuit *c, struct circuit_word *out, struct circuit_bit s, const struct circuit_word *yes, const struct circuit_word *no)
{
    struct circuit_word y = {.bits = yes->bits > no->bits ? yes->bits : no->bits, .is_signed = yes->is_signed};
    for (int b = 0; b < y.bits; b++)
        y.bit[b] = circuit_choose(c, s, bit_at(yes, b), bit_at(no, b));
    *out = y;
}

void circuit_mask(struct circuit *c, struct circuit_word *w, struct circuit_bit keep)
{
    for (int b = 0; b < w->bits; b++)
        w->bit[b] = circuit_and(c, w->bit[b], keep);
}

/* Row by row; after row i the lowest i + 1 bits are final. The sign's row of b is taken off. */
void circuit_multiply(struct circuit *c, struct circuit_word *out, const struct circuit_word *a, const struct circuit_word *b)
{
    struct circuit_word y = {.bits = a->bits + b->bits, .is_signed = a->is_signed || b->is_signed}, upper = {.is_signed = a->is_signed};
    assert(y.bits <= CIRCUIT_BITS);
    for (int i = 0; i < b->bits; i++) {
        struct circuit_word row = *a;
        circuit_mask(c, &row, b->bit[i]);
        sum(c, &upper, &upper, &row, b->is_signed && i == b->bits - 1, a->bits + 1);
        upper.is_signed = y.is_signed && (a->is_signed || i == b->bits - 1);
        y.bit[i] = upper.bit[0];
        upper = circuit_part(&upper, 1, a->bits, upper.is_signed);
    }
    for (int i = b->bits; i < y.bits; i++)
        y.bit[i] = bit_at(&upper, i - b->bits);
    *out = y;
}

void circuit_reciprocal(struct circuit *c, struct circuit_word *out, int top, const struct circuit_word *d, int bits)
{
    struct circuit_word y = {.bits = bits}, rest = circuit_constant((int64_t)1 << (top - bits), d->bits + 1, false), less;
    assert(top >= bits && d->bits + 2 <= CIRCUIT_BITS && !d->is_signed);
    for (int i = bits - 1; i >= 0; i--) {
        for (int b = d->bits; b > 0; b--) /* times 2 */
            rest.bit[b] = rest.bit[b - 1];
        rest.bit[0] = zero;
        circuit_sub(c, &less, &rest, d, d->bits + 2);
        y.bit[i] = circuit_not(c, less.bit[d->bits + 1]);
        less = circuit_part(&less, 0, d->bits + 1, false);
        circuit_select(c, &rest, y.bit[i], &less, &rest);
    }
    *out = y;
}

/* Two bits of x for one of the root; the rest stays below twice the root, plus 1. */
void circuit_root(struct circuit *c, struct circuit_word *out, const struct circuit_word *x)
{
    const int half = (x->bits + 1) / 2;
    struct circuit_word y = circuit_constant(0, half, false), rest = circuit_constant(0, half + 2, false), tried, less;
    assert(!x->is_signed && half + 3 <= CIRCUIT_BITS);
    for (int i = half - 1; i >= 0; i--) {
        for (int b = half + 1; b > 1; b--)
            rest.bit[b] = rest.bit[b - 2];
        rest.bit[1] = bit_at(x, 2 * i + 1);
        rest.bit[0] = bit_at(x, 2 * i);
        tried = circuit_constant(1, half + 2, false); /* 4 root + 1, the root being the bits found */
        for (int b = i + 1; b < half; b++)
            tried.bit[b - i - 1 + 2] = y.bit[b];
        circuit_sub(c, &less, &rest, &tried, half + 3);
        y.bit[i] = circuit_not(c, less.bit[half + 2]);
        less = circuit_part(&less, 0, half + 2, false);
        circuit_select(c, &rest, y.bit[i], &less, &rest);
    }
    *out = y;
}

static struct circuit_bit look(struct circuit *c, const struct circuit_word *s, int n, const int64_t *values, int bit)
{
    if (n == 0)
        return (struct circuit_bit){(int)((uint64_t)values[0] >> bit & 1), 0};
    const struct circuit_bit low = look(c, s, n - 1, values, bit), high = look(c, s, n - 1, values + ((size_t)1 << (n - 1)), bit);
    return circuit_choose(c, s->bit[n - 1], high, low);
}

void circuit_lookup(struct circuit *c, struct circuit_word *out, const struct circuit_word *s, const int64_t *values, int bits, bool is_signed)
{
    struct circuit_word y = {.bits = bits, .is_signed = is_signed};
    for (int b = 0; b < bits; b++)
        y.bit[b] = look(c, s, s->bits, values, b);
    *out = y;
}

void circuit_shift(struct circuit *c, struct circuit_word *out, const struct circuit_word *x, const struct circuit_word *s)
{
    struct circuit_word y = *x;
    assert(!x->is_signed);
    for (int k = 0; k < s->bits; k++) {
        const struct circuit_word moved = circuit_part(&y, 1 << k, y.bits, false);
        circuit_select(c, &y, s->bit[k], &moved, &y);
    }
    *out = y;
}
