#include "bench/baselines/smpc/approx.h"

#include <math.h>

#define EXP_STEPS 8         /* CrypTen */
#define NEWTON_RECIPROCAL 10
#define NEWTON_SIGMOID 3
#define NEWTON_SQRT 3
#define QUAD_SHIFT 5.0      /* c of 2Quad */
/* A ratio of squares is that of smaller ones: truncations of two shares wrap around with a probability that grows with the number, and those of
 * weights before they are inflated again were five sixths of all in BERT-base. */
#define QUAD_SCALE 8.0
/* What sums are divided by first, so that a division converges: for each column of a 2Quad softmax (SecFormer: 5000 in all, too little
 * for the scores of random weights; 256 of the squares that are not scaled), and for a variance (SecFormer: 2000 for a row's squares, which suits
 * post-norm networks only). */
#define QUAD_ETA (256.0 / (QUAD_SCALE * QUAD_SCALE))
#define QUAD_ITERATIONS 13
#define NORM_ETA 64.0
#define NORM_ITERATIONS 11
#define MASKED (-60.0)      /* what is not seen: far below every score, and still inside the range of exp */
#define MASKED_CLIPPED (-15.0)

/* ------------------------------------------------------------------ two things in one message */

/* x above y. */
static struct share stack(struct party *p, struct share x, struct share y)
{
    struct share z = ops_new(p, x.n + y.n);
    ops_move(p, z, x, &(struct ops_block){.count = {1, 1, x.n}, .zs = {0, 0, 1}, .xs = {0, 0, 1}});
    ops_move(p, z, y, &(struct ops_block){.count = {1, 1, y.n}, .to = x.n, .zs = {0, 0, 1}, .xs = {0, 0, 1}});
    return z;
}

static void part_of(struct party *p, struct share z, struct share x, size_t from)
{
    ops_move(p, z, x, &(struct ops_block){.count = {1, 1, z.n}, .zs = {0, 0, 1}, .from = from, .xs = {0, 0, 1}});
}

/* a := a m, b := b m2 */
static void mul_both(struct party *p, struct share a, struct share b, struct share m, struct share m2)
{
    const size_t mark = party_mark(p);
    struct share x = stack(p, a, b), y = stack(p, m, m2);
    ops_mul(p, x, x, y);
    part_of(p, a, x, 0);
    part_of(p, b, x, a.n);
    party_release(p, mark);
}

/* z = c - x */
static void from_public(struct party *p, struct share z, struct share x, double c)
{
    ops_times(p, z, x, -1);
    ops_add_public(p, z, z, c);
}

static struct share number(struct party *p, size_t n, double value)
{
    struct share z = ops_new(p, n);
    ops_zero(p, z);
    ops_add_public(p, z, z, value);
    return z;
}

/* ------------------------------------------------------------------ functions of one number */

void approx_exp(struct party *p, struct share z, struct share x, int steps)
{
    ops_scale(p, z, x, ldexp(1, -steps));
    ops_add_public(p, z, z, 1);
    for (int i = 0; i < steps; i++)
        ops_square(p, z, z);
}

/* y := y (2 - x y) */
static void newton_reciprocal(struct party *p, struct share y, struct share x, int iterations)
{
    const size_t mark = party_mark(p);
    struct share t = ops_new(p, x.n);
    for (int i = 0; i < iterations; i++) {
        ops_square(p, t, y);
        ops_mul(p, t, t, x);
        ops_times(p, y, y, 2);
        ops_sub(p, y, y, t);
    }
    party_release(p, mark);
}

void approx_reciprocal(struct party *p, struct share z, struct share x, bool any_sign)
{
    const size_t n = x.n, mark = party_mark(p);
    struct share y = ops_new(p, n), t = ops_new(p, n), sign = ops_new(p, n), size = x;
    if (any_sign) {
        ops_negative(p, sign, x);
        ops_times(p, sign, sign, -2);
        ops_add_bit(p, sign, sign, 1);
        size = ops_new(p, n);
        ops_mul_bit(p, size, sign, x);
    }
    from_public(p, t, size, 0.5);
    approx_exp(p, y, t, EXP_STEPS);
    ops_times(p, y, y, 3);
    ops_add_public(p, y, y, 0.003);
    newton_reciprocal(p, y, size, NEWTON_RECIPROCAL);
    if (any_sign)
        ops_mul_bit(p, z, sign, y);
    else
        ops_set(p, z, y);
    party_release(p, mark);
}

void approx_inverse_sqrt(struct party *p, struct share z, struct share x)
{
    const size_t n = x.n, mark = party_mark(p);
    struct share y = ops_new(p, n), t = ops_new(p, n);
    ops_scale(p, t, x, -0.5);
    ops_add_public(p, t, t, -0.2);
    approx_exp(p, y, t, EXP_STEPS);
    ops_scale(p, y, y, 2.2);
    ops_scale(p, t, x, -1.0 / 1024);
    ops_add(p, y, y, t);
    ops_add_public(p, y, y, 0.2);
    for (int i = 0; i < NEWTON_SQRT; i++) { /* y := y (3 - x y^2) / 2 */
        ops_square(p, t, y);
        ops_mul(p, t, t, x);
        from_public(p, t, t, 3);
        ops_mul(p, y, y, t);
        ops_scale(p, y, y, 0.5);
    }
    ops_set(p, z, y);
    party_release(p, mark);
}

void approx_reciprocal_goldschmidt(struct party *p, struct share z, struct share x, double eta, int iterations)
{
    const size_t n = x.n, mark = party_mark(p);
    struct share q = ops_new(p, n), r = number(p, n, 1), m = ops_new(p, n);
    ops_scale(p, q, x, 1 / eta);
    for (int i = 0; i < iterations; i++) {
        from_public(p, m, q, 2);
        mul_both(p, r, q, m, m);
    }
    ops_scale(p, z, r, 1 / eta);
    party_release(p, mark);
}

void approx_inverse_sqrt_goldschmidt(struct party *p, struct share z, struct share x, double eta, int iterations)
{
    const size_t n = x.n, mark = party_mark(p);
    struct share q = ops_new(p, n), r = number(p, n, 1), m = ops_new(p, n), m2 = ops_new(p, n);
    ops_scale(p, q, x, 1 / eta);
    for (int i = 0; i < iterations; i++) {
        from_public(p, m, q, 3);
        ops_scale(p, m, m, 0.5);
        ops_set(p, m2, m);
        mul_both(p, r, m2, m, m);
        ops_mul(p, q, q, m2);
    }
    ops_scale(p, z, r, 1 / sqrt(eta));
    party_release(p, mark);
}

void approx_max(struct party *p, struct share z, struct share x)
{
    const size_t rows = z.n, mark = party_mark(p);
    size_t cols = x.n / rows;
    struct share now = x;
    while (cols > 1) {
        const size_t half = cols / 2, left = cols - half; /* the middle of an odd row has no partner */
        struct share next = ops_new(p, rows * left), a = ops_new(p, rows * half), b = ops_new(p, rows * half), bit = ops_new(p, rows * half);
        ops_move(p, a, now, &(struct ops_block){.count = {1, rows, half}, .zs = {0, half, 1}, .xs = {0, cols, 1}});
        ops_move(p, b, now, &(struct ops_block){.count = {1, rows, half}, .zs = {0, half, 1}, .from = left, .xs = {0, cols, 1}});
        ops_sub(p, b, a, b);
        ops_negative(p, bit, b);
        ops_mul_bit(p, b, bit, b);
        ops_sub(p, a, a, b); /* a < b: a - (a - b) */
        ops_move(p, next, now, &(struct ops_block){.count = {1, rows, left}, .zs = {0, left, 1}, .xs = {0, cols, 1}});
        ops_move(p, next, a, &(struct ops_block){.count = {1, rows, half}, .zs = {0, left, 1}, .xs = {0, half, 1}});
        now = next;
        cols = left;
    }
    ops_set(p, z, now);
    party_release(p, mark);
}

/* ------------------------------------------------------------------ GeLU */

/* x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), the tanh form; the sigmoid of -|u| by exp and Newton from 0.75, as CrypTen does. */
void approx_gelu_tanh(struct party *p, struct share z, struct share x)
{
    const size_t n = x.n, mark = party_mark(p);
    const double root = sqrt(2 / M_PI);
    struct share u = ops_new(p, n), bit = ops_new(p, n), t = ops_new(p, n), r = number(p, n, 0.75);
    ops_square(p, t, x);
    ops_scale(p, t, t, 2 * root * 0.044715);
    ops_add_public(p, t, t, 2 * root);
    ops_mul(p, u, t, x);
    ops_negative(p, bit, u);
    ops_times(p, t, bit, 2);
    ops_add_bit(p, t, t, -1);
    ops_mul_bit(p, u, t, u); /* -|u| */
    approx_exp(p, t, u, EXP_STEPS);
    ops_add_public(p, t, t, 1);
    newton_reciprocal(p, r, t, NEWTON_SIGMOID);
    ops_times(p, t, r, -2);
    ops_add_public(p, t, t, 1);
    ops_mul_bit(p, t, bit, t); /* 1 - 2 r where u < 0 */
    ops_add(p, r, r, t);
    ops_mul(p, z, r, x);
    party_release(p, mark);
}

void approx_gelu_quad(struct party *p, struct share z, struct share x)
{
    const size_t mark = party_mark(p);
    struct share square = ops_new(p, x.n), terms[2] = {x, square};
    ops_square(p, square, x);
    ops_combine(p, z, terms, (const double[]){0.5, 0.25, 0.125}, 2);
    party_release(p, mark);
}

/* x/2 (1 + erf(x / sqrt 2)), erf by seven sines between two cuts. */
void approx_gelu_fourier(struct party *p, struct share z, struct share x)
{
    static const double beta[] = {1.25772, -0.0299154, 0.382155, -0.0519123, 0.196033, -0.0624557, 0.118029};
    const size_t n = x.n, mark = party_mark(p);
    const double cut = 1.7 * sqrt(2), period = 20 * sqrt(2);
    struct share low = ops_new(p, n), high = ops_new(p, n), f = ops_new(p, n), inside = ops_new(p, n);
    ops_add_public(p, low, x, cut);
    ops_add_public(p, high, x, -cut);
    struct share both = stack(p, low, high);
    ops_negative(p, both, both);
    part_of(p, low, both, 0);
    part_of(p, high, both, n);
    ops_sines(p, f, x, period, beta);
    ops_sub(p, inside, high, low);
    ops_mul_bit(p, f, inside, f);
    ops_add(p, low, low, high); /* 0 above, 1 inside, 2 below; erf is 1, f, -1 */
    ops_real(p, low, low);
    ops_sub(p, f, f, low);
    ops_add_public(p, f, f, 2);
    ops_mul(p, z, f, x);
    ops_scale(p, z, z, 0.5);
    party_release(p, mark);
}

/* 0 below -4, a cubic up to -1.95, a polynomial of degree 6 up to 3, then x. */
void approx_gelu_pieces(struct party *p, struct share z, struct share x)
{
    static const double cubic[] = {-0.5054031199708174, -0.42226581151983866, -0.11807612951181953, -0.011034134030615728};
    static const double sixth[] = {0.008526321541038084, 0.5, 0.3603292692789629, -0.037688200365904236, 0.0018067462606141187};
    const size_t n = x.n, mark = party_mark(p);
    struct share b[3], near = ops_new(p, n), x2 = ops_new(p, n), x6 = ops_new(p, n);
    const double cuts[] = {4, 1.95, -3};
    for (int i = 0; i < 3; i++) {
        b[i] = ops_new(p, n);
        ops_add_public(p, b[i], x, cuts[i]);
    }
    struct share all = stack(p, stack(p, b[0], b[1]), b[2]);
    ops_negative(p, all, all);
    for (int i = 0; i < 3; i++)
        part_of(p, b[i], all, (size_t)i * n);
    /* Outside the pieces the powers would need a range that fixed point has not. */
    ops_sub(p, near, b[2], b[0]);
    ops_mul_bit(p, near, near, x);
    ops_square(p, x2, near);
    struct share powers = stack(p, x2, x2), factors = stack(p, near, x2), x3 = ops_new(p, n), x4 = ops_new(p, n);
    ops_mul(p, powers, powers, factors);
    part_of(p, x3, powers, 0);
    part_of(p, x4, powers, n);
    ops_mul(p, x6, x4, x2);
    struct share f0 = ops_new(p, n), f1 = ops_new(p, n);
    ops_combine(p, f0, (const struct share[]){near, x2, x3}, cubic, 3);
    ops_combine(p, f1, (const struct share[]){near, x2, x4, x6}, sixth, 4);
    ops_sub(p, b[0], b[1], b[0]);
    ops_sub(p, b[1], b[2], b[1]);
    ops_times(p, b[2], b[2], -1);
    ops_add_bit(p, b[2], b[2], 1);
    struct share chosen = stack(p, stack(p, b[0], b[1]), b[2]), values = stack(p, stack(p, f0, f1), x);
    ops_mul_bit(p, values, chosen, values);
    part_of(p, f0, values, 0);
    part_of(p, f1, values, n);
    part_of(p, z, values, 2 * n);
    ops_add(p, z, z, f0);
    ops_add(p, z, z, f1);
    party_release(p, mark);
}

/* ------------------------------------------------------------------ softmax */

/* x - max of its row; what is not seen becomes `masked`. */
static struct share below_max(struct party *p, struct share x, size_t rows, const unsigned char *keep, size_t period, double masked)
{
    struct share d = ops_new(p, x.n), most = ops_new(p, rows), spread = ops_new(p, x.n);
    ops_set(p, d, x);
    if (keep != NULL)
        ops_mask(p, d, keep, period, MASKED);
    approx_max(p, most, d);
    ops_row_spread(p, spread, most);
    ops_sub(p, d, d, spread);
    if (keep != NULL)
        ops_mask(p, d, keep, period, masked);
    return d;
}

static void divide_rows(struct party *p, struct share z, struct share x, struct share reciprocal)
{
    const size_t mark = party_mark(p);
    struct share spread = ops_new(p, x.n);
    ops_row_spread(p, spread, reciprocal);
    ops_mul(p, z, x, spread);
    party_release(p, mark);
}

void approx_softmax_exact(struct party *p, struct share z, struct share x, size_t rows, const unsigned char *keep, size_t period)
{
    const size_t mark = party_mark(p);
    struct share e = below_max(p, x, rows, keep, period, MASKED), sum = ops_new(p, rows);
    approx_exp(p, e, e, EXP_STEPS);
    ops_row_sum(p, sum, e);
    approx_reciprocal(p, sum, sum, false);
    divide_rows(p, z, e, sum);
    party_release(p, mark);
}

/* ((x + c) / QUAD_SCALE)^2, and their sums over the rows. */
static struct share quads(struct party *p, struct share x, struct share sum, const unsigned char *keep, size_t period)
{
    struct share q = ops_new(p, x.n);
    ops_scale(p, q, x, 1 / QUAD_SCALE);
    ops_add_public(p, q, q, QUAD_SHIFT / QUAD_SCALE);
    ops_square(p, q, q);
    if (keep != NULL)
        ops_mask(p, q, keep, period, 0);
    ops_row_sum(p, sum, q);
    return q;
}

void approx_softmax_quad(struct party *p, struct share z, struct share x, size_t rows, const unsigned char *keep, size_t period)
{
    const size_t mark = party_mark(p);
    const double eta = QUAD_ETA * (double)(x.n / rows);
    struct share sum = ops_new(p, rows), q = quads(p, x, sum, keep, period);
    ops_scale(p, sum, sum, 1 / eta);
    approx_reciprocal(p, sum, sum, true);
    divide_rows(p, q, q, sum);
    ops_scale(p, z, q, 1 / eta);
    party_release(p, mark);
}

void approx_softmax_quad_goldschmidt(struct party *p, struct share z, struct share x, size_t rows, const unsigned char *keep,
                                     size_t period)
{
    const size_t mark = party_mark(p);
    const double eta = QUAD_ETA * (double)(x.n / rows);
    struct share sum = ops_new(p, rows), q = quads(p, x, sum, keep, period);
    ops_scale(p, sum, sum, 1 / eta);
    approx_reciprocal_goldschmidt(p, sum, sum, 1, QUAD_ITERATIONS);
    divide_rows(p, q, q, sum);
    ops_scale(p, z, q, 1 / eta);
    party_release(p, mark);
}

/* exp clipped to 0 below -14, (1 + x/2^5)^(2^5) above. The division is Goldschmidt's, for a sum in [1, columns], and one step of
 * Newton's, which takes away what the deflated sum lost. */
void approx_softmax_clipped(struct party *p, struct share z, struct share x, size_t rows, const unsigned char *keep, size_t period)
{
    const size_t n = x.n, mark = party_mark(p);
    const double cols = (double)(n / rows);
    struct share e = below_max(p, x, rows, keep, period, MASKED_CLIPPED), bit = ops_new(p, n), sum = ops_new(p, rows), r = ops_new(p, rows);
    ops_add_public(p, bit, e, 14);
    ops_negative(p, bit, bit);
    approx_exp(p, e, e, 5);
    ops_times(p, bit, bit, -1);
    ops_add_bit(p, bit, bit, 1);
    ops_mul_bit(p, e, bit, e);
    ops_row_sum(p, sum, e);
    approx_reciprocal_goldschmidt(p, r, sum, cols, (int)ceil(log2(cols * 16 * log(2))) + 1);
    newton_reciprocal(p, r, sum, 1);
    divide_rows(p, z, e, r);
    party_release(p, mark);
}

/* ------------------------------------------------------------------ LayerNorm */

void approx_norm_sqrt(struct party *p, struct share z, struct share v)
{
    const size_t mark = party_mark(p);
    struct share root = ops_new(p, v.n);
    approx_inverse_sqrt(p, root, v);
    ops_mul(p, root, root, v);
    approx_reciprocal(p, z, root, true);
    party_release(p, mark);
}

void approx_norm_newton(struct party *p, struct share z, struct share v)
{
    approx_inverse_sqrt(p, z, v);
}

void approx_norm_goldschmidt(struct party *p, struct share z, struct share v)
{
    approx_inverse_sqrt_goldschmidt(p, z, v, NORM_ETA, NORM_ITERATIONS);
}

void approx_layernorm(struct party *p, struct share z, struct share x, size_t rows, approx_norm norm, double eps, struct share gain,
                      struct share bias)
{
    const size_t n = x.n, mark = party_mark(p);
    const double D = (double)(n / rows);
    struct share row = ops_new(p, rows), wide = ops_new(p, n), d = ops_new(p, n);
    ops_row_sum(p, row, x);
    ops_scale(p, row, row, 1 / D);
    ops_row_spread(p, wide, row);
    ops_sub(p, d, x, wide);
    ops_square(p, wide, d);
    ops_row_sum(p, row, wide);
    ops_scale(p, row, row, 1 / D);
    ops_add_public(p, row, row, eps);
    norm(p, row, row);
    divide_rows(p, d, d, row);
    ops_col_spread(p, wide, gain);
    ops_mul(p, d, d, wide);
    ops_add_cols(p, d, bias);
    ops_set(p, z, d);
    party_release(p, mark);
}
