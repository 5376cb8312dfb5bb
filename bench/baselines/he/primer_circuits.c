#include "bench/baselines/he/primer_circuits.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define T_BITS PRIMER_SHARE_BITS
#define ROW_LANES 32   /* rows side by side */
#define EACH_LANES 128 /* single numbers side by side */
#define EXP_PIECES 4   /* bits: straight pieces of 2^-z for z in 0..1 */
#define GELU_PIECES 5  /* of x Phi(-x) for x in 0..4 */
#define GELU_END 4
#define EXP_LOW (PRIMER_FRACTION - EXP_PIECES)
#define GELU_LOW (PRIMER_FRACTION + 2 - GELU_PIECES)
#define INVERSE_SUM 18  /* fraction bits of 1 / sum */
#define INVERSE_ROOT 12 /* of 1 / deviation, which has at most 20 bits */
#define ROOT_EXTRA 10   /* bits below a variance, so that its root has 16 fraction bits */
#define COUNT_BITS 20   /* fraction bits of 1 / n */
#define DEVIATION_LEAST (1.0 / 256)

/* ------------------------------------------------------------------ tables */

static double exp_knot(int i)
{
    return exp2(-(double)i / (1 << EXP_PIECES));
}

static double gelu_knot(int i)
{
    const double x = (double)i * GELU_END / (1 << GELU_PIECES);
    return x * 0.5 * erfc(x / sqrt(2));
}

static void table(int64_t *base, int64_t *fall, double (*knot)(int), int n, int fraction)
{
    for (int i = 0; i < n; i++) {
        base[i] = llround(ldexp(knot(i), fraction));
        fall[i] = base[i] - llround(ldexp(knot(i + 1), fraction));
    }
}

/* ------------------------------------------------------------------ shares */

static void modulo(struct circuit *c, struct circuit_word *w, uint64_t t)
{
    const struct circuit_word modulus = circuit_constant((int64_t)t, T_BITS, false);
    struct circuit_word less;
    circuit_sub(c, &less, w, &modulus, T_BITS + 2);
    const struct circuit_bit below = less.bit[T_BITS + 1];
    less = circuit_part(&less, 0, T_BITS, false);
    *w = circuit_part(w, 0, T_BITS, false);
    circuit_select(c, w, below, w, &less);
}

/* Number `index` (and every stride-th after it, a lane each) of the two shares, cut. Bits that are cut off are not selected. */
static void enter(struct circuit *c, const struct primer_stage *s, struct circuit_word *out, size_t index, size_t stride)
{
    const size_t mark = c->used;
    const struct circuit_word modulus = circuit_constant((int64_t)s->t, T_BITS, false);
    struct circuit_word mine, theirs, sum, less;
    circuit_in(c, &mine, CIRCUIT_SERVER, index, stride, T_BITS, false);
    circuit_in(c, &theirs, CIRCUIT_CLIENT, index, stride, T_BITS, false);
    circuit_add(c, &sum, &mine, &theirs, T_BITS + 1);
    circuit_sub(c, &less, &sum, &modulus, T_BITS + 2);
    const struct circuit_bit below = less.bit[T_BITS + 1];
    less = circuit_part(&less, s->cut, PRIMER_WORD_BITS, true);
    sum = circuit_part(&sum, s->cut, PRIMER_WORD_BITS, true);
    circuit_select(c, out, below, &sum, &less);
    circuit_keep(c, mark, out);
}

static void leave(struct circuit *c, const struct primer_stage *s, const struct circuit_word *w, size_t index, size_t stride)
{
    const size_t mark = c->used;
    struct circuit_word up = circuit_part(w, 0, PRIMER_WORD_BITS, false), mask;
    up.bit[PRIMER_WORD_BITS - 1] = circuit_not(c, up.bit[PRIMER_WORD_BITS - 1]); /* + 2^15 */
    circuit_in(c, &mask, CIRCUIT_CLIENT, s->rows * s->cols + index, stride, T_BITS, false);
    circuit_add(c, &up, &mask, &up, T_BITS + 1);
    modulo(c, &up, s->t);
    circuit_out(c, &up, index, stride);
    c->used = mark;
}

/* ------------------------------------------------------------------ single numbers */

/* relu(x) - |x| Phi(-|x|), the last from a table of straight pieces. |x| is taken as ~x, one step less, where x is negative. */
static void gelu(struct circuit *c, struct circuit_word *w)
{
    int64_t base[1 << GELU_PIECES], fall[1 << GELU_PIECES];
    struct circuit_word size = circuit_part(w, 0, PRIMER_WORD_BITS - 1, false), relu = size, piece, low, b, f, product;
    const struct circuit_bit sign = w->bit[PRIMER_WORD_BITS - 1];
    table(base, fall, gelu_knot, 1 << GELU_PIECES, PRIMER_FRACTION);
    for (int i = 0; i < size.bits; i++)
        size.bit[i] = circuit_xor(c, size.bit[i], sign);
    circuit_mask(c, &relu, circuit_not(c, sign));
    piece = circuit_part(&size, GELU_LOW, GELU_PIECES, false);
    low = circuit_part(&size, 0, GELU_LOW, false);
    circuit_lookup(c, &b, &piece, base, PRIMER_FRACTION - 1, false);
    circuit_lookup(c, &f, &piece, fall, PRIMER_FRACTION - 1, true);
    circuit_multiply(c, &product, &low, &f);
    product = circuit_part(&product, GELU_LOW, PRIMER_FRACTION - 1, true);
    circuit_sub(c, &b, &b, &product, PRIMER_FRACTION - 1);
    b.is_signed = false;
    const struct circuit_bit far = circuit_not(c, circuit_and(c, circuit_not(c, size.bit[PRIMER_FRACTION + 2]), circuit_not(c, size.bit[PRIMER_FRACTION + 3])));
    circuit_mask(c, &b, circuit_not(c, far));
    circuit_sub(c, w, &relu, &b, PRIMER_WORD_BITS);
}

static void each(struct circuit *c, const struct primer_stage *s)
{
    const size_t n = s->rows * s->cols;
    for (size_t i = 0; i < n; i += c->lanes) {
        struct circuit_word w;
        c->used = 0;
        c->lanes = n - i < EACH_LANES ? n - i : EACH_LANES;
        enter(c, s, &w, i, 1);
        if (s->function == PRIMER_GELU)
            gelu(c, &w);
        leave(c, s, &w, i, 1);
    }
}

/* ------------------------------------------------------------------ rows */

/* Pairs, pairs of pairs, ...; the words stay as they are. */
static void fold(struct circuit *c, struct circuit_word *out, const struct circuit_word *w, struct circuit_word *room, size_t n, bool largest)
{
    const size_t mark = c->used;
    for (size_t i = 0; i < n; i++)
        room[i] = w[i];
    for (; n > 1; n = (n + 1) / 2)
        for (size_t i = 0; i < n / 2; i++) { /* pair i and its opposite: the middle one of an odd number stays */
            const size_t j = n - 1 - i;
            if (largest)
                circuit_select(c, &room[i], circuit_less(c, &room[i], &room[j]), &room[j], &room[i]);
            else
                circuit_add(c, &room[i], &room[i], &room[j], (room[i].bits > room[j].bits ? room[i].bits : room[j].bits) + 1);
        }
    *out = room[0];
    circuit_keep(c, mark, out);
}

/* 2^-d from a table of straight pieces for the fraction and a shift for the rest; d is not negative. */
static void exp_down(struct circuit *c, struct circuit_word *w, const struct circuit_word *d)
{
    int64_t base[1 << EXP_PIECES], fall[1 << EXP_PIECES];
    const struct circuit_word low = circuit_part(d, 0, EXP_LOW, false), piece = circuit_part(d, EXP_LOW, EXP_PIECES, false),
                              whole = circuit_part(d, PRIMER_FRACTION, 4, false);
    struct circuit_word f, product;
    struct circuit_bit far = d->bit[PRIMER_FRACTION + 4];
    table(base, fall, exp_knot, 1 << EXP_PIECES, PRIMER_PROBABILITY);
    circuit_lookup(c, w, &piece, base, PRIMER_PROBABILITY + 1, false);
    circuit_lookup(c, &f, &piece, fall, PRIMER_PROBABILITY - EXP_PIECES, false);
    circuit_multiply(c, &product, &low, &f);
    product = circuit_part(&product, EXP_LOW, product.bits - EXP_LOW, false);
    circuit_sub(c, w, w, &product, w->bits);
    w->is_signed = false;
    circuit_shift(c, w, w, &whole);
    for (int i = PRIMER_FRACTION + 5; i < d->bits; i++) /* 2^-16 and less: 0 */
        far = circuit_not(c, circuit_and(c, circuit_not(c, far), circuit_not(c, d->bit[i])));
    circuit_mask(c, w, circuit_not(c, far));
}

static void softmax(struct circuit *c, struct circuit_word *w, struct circuit_word *room, size_t n)
{
    struct circuit_word most, inverse, d;
    fold(c, &most, w, room, n, true);
    for (size_t j = 0; j < n; j++) {
        const size_t mark = c->used;
        circuit_sub(c, &d, &most, &w[j], PRIMER_WORD_BITS + 1);
        exp_down(c, &w[j], &d);
        circuit_keep(c, mark, &w[j]);
    }
    const size_t mark = c->used;
    fold(c, &d, w, room, n, false);
    /* The largest gives 1, so that the sum is at least that: the bit more keeps 2^(top - bits) below it. */
    circuit_reciprocal(c, &inverse, INVERSE_SUM + PRIMER_PROBABILITY, &d, INVERSE_SUM + 1);
    circuit_keep(c, mark, &inverse);
    for (size_t j = 0; j < n; j++) {
        const size_t before = c->used;
        circuit_multiply(c, &d, &w[j], &inverse);
        w[j] = circuit_part(&d, INVERSE_SUM, PRIMER_WORD_BITS, true); /* at most 1: the sign is 0 */
        circuit_keep(c, before, &w[j]);
    }
}

static void times_inverse_count(struct circuit *c, struct circuit_word *w, size_t n, int bits)
{
    const struct circuit_word by = circuit_constant(llround(ldexp(1, COUNT_BITS) / (double)n), COUNT_BITS + 1, false);
    circuit_multiply(c, w, w, &by);
    *w = circuit_part(w, COUNT_BITS, bits, w->is_signed);
}

static void norm(struct circuit *c, const struct primer_stage *s, struct circuit_word *w, struct circuit_word *square, struct circuit_word *room)
{
    const size_t n = s->cols;
    struct circuit_word mean, variance, inverse, y;
    size_t mark = c->used;
    fold(c, &mean, w, room, n, false);
    times_inverse_count(c, &mean, n, PRIMER_WORD_BITS);
    circuit_keep(c, mark, &mean);
    for (size_t j = 0; j < n; j++) {
        mark = c->used;
        circuit_sub(c, &w[j], &w[j], &mean, PRIMER_WORD_BITS + 1);
        circuit_keep(c, mark, &w[j]);
    }
    const size_t before_squares = c->used;
    for (size_t j = 0; j < n; j++) {
        mark = c->used;
        circuit_multiply(c, &square[j], &w[j], &w[j]);
        square[j] = circuit_part(&square[j], 0, 2 * PRIMER_WORD_BITS + 1, false);
        circuit_keep(c, mark, &square[j]);
    }
    fold(c, &variance, square, room, n, false);
    times_inverse_count(c, &variance, n, 2 * PRIMER_WORD_BITS + 1);
    y = circuit_constant(llround(ldexp(s->eps, 2 * PRIMER_FRACTION)), 2 * PRIMER_WORD_BITS, false);
    circuit_add(c, &variance, &variance, &y, variance.bits + 1);
    y = circuit_constant(0, variance.bits + ROOT_EXTRA, false);
    for (int b = 0; b < variance.bits; b++)
        y.bit[b + ROOT_EXTRA] = variance.bit[b];
    circuit_root(c, &y, &y);
    circuit_reciprocal(c, &inverse, INVERSE_ROOT + 16, &y, 20);
    circuit_keep(c, before_squares, &inverse);
    for (size_t j = 0; j < n; j++) {
        struct circuit_word gain, bias;
        mark = c->used;
        circuit_in(c, &gain, CIRCUIT_WEIGHTS, j, 0, PRIMER_WORD_BITS, true);
        circuit_in(c, &bias, CIRCUIT_WEIGHTS, n + j, 0, PRIMER_WORD_BITS, true);
        circuit_multiply(c, &y, &inverse, &w[j]);
        y = circuit_part(&y, INVERSE_ROOT, PRIMER_WORD_BITS, true);
        circuit_multiply(c, &y, &y, &gain);
        y = circuit_part(&y, PRIMER_FRACTION, PRIMER_WORD_BITS, true);
        circuit_add(c, &w[j], &y, &bias, PRIMER_WORD_BITS);
        circuit_keep(c, mark, &w[j]);
    }
}

static void whole_rows(struct circuit *c, const struct primer_stage *s, struct circuit_word *w)
{
    const size_t n = s->cols;
    for (size_t i = 0; i < s->rows; i += c->lanes) {
        c->used = 0;
        c->lanes = s->rows - i < ROW_LANES ? s->rows - i : ROW_LANES;
        for (size_t j = 0; j < n; j++)
            enter(c, s, &w[j], i * n + j, n);
        if (s->function == PRIMER_SOFTMAX)
            softmax(c, w, w + n, n);
        else
            norm(c, s, w, w + n, w + 2 * n);
        for (size_t j = 0; j < n; j++)
            leave(c, s, &w[j], i * n + j, n);
    }
}

/* ------------------------------------------------------------------ a stage */

size_t primer_client_bits(const struct primer_stage *s)
{
    return 2 * s->rows * s->cols * T_BITS;
}

size_t primer_weight_bits(const struct primer_stage *s)
{
    return s->function == PRIMER_NORM ? 2 * s->rows * s->cols * PRIMER_WORD_BITS : 0;
}

size_t primer_server_bits(const struct primer_stage *s)
{
    return s->rows * s->cols * T_BITS;
}

size_t primer_out_bits(const struct primer_stage *s)
{
    return s->rows * s->cols * T_BITS;
}

int primer_walk(struct circuit *c, const struct primer_stage *s, struct err *err)
{
    const bool rows = s->function == PRIMER_SOFTMAX || s->function == PRIMER_NORM;
    assert(s->t >> PRIMER_SHARE_BITS == 0 && (!rows || s->cols <= PRIMER_COLS_MAX));
    struct circuit_word *w = rows ? malloc(3 * s->cols * sizeof *w) : NULL;
    if (rows && w == NULL)
        return err_oom(err, 3 * s->cols * sizeof *w);
    if (rows)
        whole_rows(c, s, w);
    else
        each(c, s);
    free(w);
    return circuit_end(c, err);
}

int primer_count(const struct primer_stage *s, double *gates, size_t *high, struct err *err)
{
    const bool rows = s->function == PRIMER_SOFTMAX || s->function == PRIMER_NORM;
    const size_t whole = rows ? s->rows : s->rows * s->cols, most = rows ? ROW_LANES : EACH_LANES;
    struct primer_stage few = *s;
    struct circuit c;
    *(rows ? &few.rows : &few.cols) = whole < most ? whole : most;
    if (!rows)
        few.rows = 1;
    if (circuit_open(&c, CIRCUIT_COUNT, 0, err) != 0 || primer_walk(&c, &few, err) != 0)
        return -1;
    *gates = (double)c.ands * (double)whole / (double)(whole < most ? whole : most);
    if (high != NULL)
        *high = c.high;
    circuit_close(&c);
    return 0;
}

/* ------------------------------------------------------------------ in double */

static bool holds(double x)
{
    return fabs(x) < ldexp(1, PRIMER_WORD_BITS - 1 - PRIMER_FRACTION);
}

static double straight(double x, double (*knot)(int), double per)
{
    const int i = (int)(x * per);
    return knot(i) + (x * per - i) * (knot(i + 1) - knot(i));
}

static bool float_softmax(double *x, size_t n)
{
    double most = x[0], sum = 0;
    bool fits = true;
    for (size_t j = 0; j < n; j++) {
        fits = fits && holds(x[j]);
        most = fmax(most, x[j]);
    }
    for (size_t j = 0; j < n && fits; j++) {
        const double d = most - x[j];
        x[j] = d < 16 ? ldexp(straight(d - floor(d), exp_knot, 1 << EXP_PIECES), -(int)d) : 0;
        sum += x[j];
    }
    for (size_t j = 0; j < n; j++)
        x[j] /= sum;
    return fits;
}

static bool float_norm(double *x, size_t n, const double *g, const double *b, double eps)
{
    double mean = 0, variance = 0;
    bool fits = true;
    for (size_t j = 0; j < n; j++) {
        fits = fits && holds(x[j]);
        mean += x[j] / (double)n;
    }
    for (size_t j = 0; j < n; j++)
        variance += (x[j] - mean) * (x[j] - mean) / (double)n;
    fits = fits && variance > DEVIATION_LEAST * DEVIATION_LEAST;
    for (size_t j = 0; j < n; j++) {
        const double y = (x[j] - mean) / sqrt(variance + eps);
        x[j] = y * g[j] + b[j];
        fits = fits && holds(y) && holds(g[j]) && holds(b[j]) && holds(y * g[j]) && holds(x[j]);
    }
    return fits;
}

bool primer_float(const struct primer_stage *s, double *x, const double *g, const double *b)
{
    bool fits = true;
    for (size_t i = 0; i < s->rows * s->cols && (s->function == PRIMER_CUT || s->function == PRIMER_GELU); i++) {
        fits = fits && holds(x[i]);
        const double size = fabs(x[i]);
        if (s->function == PRIMER_GELU && fits)
            x[i] = fmax(0, x[i]) - (size < GELU_END ? straight(size, gelu_knot, (1 << GELU_PIECES) / (double)GELU_END) : 0);
    }
    for (size_t i = 0; i < s->rows && s->function == PRIMER_SOFTMAX; i++)
        fits = float_softmax(x + i * s->cols, s->cols) && fits;
    for (size_t i = 0; i < s->rows && s->function == PRIMER_NORM; i++)
        fits = float_norm(x + i * s->cols, s->cols, g, b, s->eps) && fits;
    return fits;
}
