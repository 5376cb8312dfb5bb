/* Matrix products in every format, on every level that this CPU has (and on emulated tiles), against plain loops. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"
#include "engine/kernels/levels.h"
#include "engine/kernels/products.h"
#include "model/dtype.h"
#include "model/quant.h"
#include "tests/support/kernel.h"

extern const struct product product_emulated_bf16, product_emulated_int8;

static struct err err;
static uint64_t state = 88172645463325252u;

/* xorshift64: the same numbers in every run. */
static float noise(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)((double)(state >> 11) * 0x1p-52 - 1.0);
}

static float *random_floats(size_t n)
{
    float *p = malloc(n * sizeof *p);
    cr_assert_not_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = noise();
    return p;
}

/* One way to compute: a level's kernel, or the emulated tiles. */
struct way {
    const char *name;
    const struct product *product; /* NULL: matmul() on level `name` */
    enum weight_format format;
    enum compute compute;
};

static void each_way(void (*check)(const struct way *way))
{
    for (int level = 0; kernels_level(level) != NULL; level++) {
        cr_assert_eq(kernels_choose(kernels_level(level), &err), 0, "%s", err.text);
        const struct way ways[] = {{kernels_level(level), NULL, weights_format(COMPUTE_F32, 0), COMPUTE_F32},
                                   {kernels_level(level), NULL, WEIGHT_BF16, COMPUTE_F32},
                                   {kernels_level(level), NULL, WEIGHT_BF16, COMPUTE_BF16},
                                   {kernels_level(level), NULL, WEIGHT_INT8, COMPUTE_INT8}};
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
            check(&ways[i]);
    }
    const struct way bf16 = {"emulated tiles", &product_emulated_bf16, WEIGHT_BF16, COMPUTE_BF16};
    const struct way int8 = {"emulated tiles", &product_emulated_int8, WEIGHT_INT8, COMPUTE_INT8};
    check(&bf16);
    check(&int8);
}

static void run(const struct way *way, float *y, const float *x, const float *w, const float *b, int rows, int out, int in)
{
    kernel_product(way->product, way->format, way->compute, y, x, w, b, rows, out, in);
}

/* What the format makes of a row; for int8 the integers themselves and the scale. */
static double as_stored(enum weight_format format, bool rounded, const float *row, int n, double *to)
{
    uint16_t half;
    int8_t *q = malloc((size_t)n);
    float scale = 1.0f, f;
    if (format == WEIGHT_INT8)
        quant_row(q, &scale, row, (size_t)n);
    for (int i = 0; i < n; i++) {
        to[i] = (double)row[i];
        if (format == WEIGHT_BF16 && rounded) {
            dtype_from_f32(DTYPE_BF16, &row[i], &half, 1);
            dtype_to_f32(DTYPE_BF16, &half, &f, 1);
            to[i] = (double)f;
        } else if (format == WEIGHT_INT8)
            to[i] = q[i];
    }
    free(q);
    return (double)scale;
}

static void check_shape(const struct way *way, int rows, int out, int in, bool biased)
{
    float *x = random_floats((size_t)rows * (size_t)in), *w = random_floats((size_t)out * (size_t)in);
    float *b = random_floats((size_t)out), *y = malloc((size_t)rows * (size_t)out * sizeof *y);
    double *xs = malloc((size_t)in * sizeof *xs), *ws = malloc((size_t)in * sizeof *ws);
    for (int i = 0; i < rows * out; i++)
        y[i] = NAN; /* whatever was there must not matter */
    run(way, y, x, w, biased ? b : NULL, rows, out, in);
    for (int r = 0; r < rows; r++) {
        double row_scale = as_stored(way->format, way->compute == COMPUTE_BF16, x + (size_t)r * (size_t)in, in, xs);
        for (int o = 0; o < out; o++) {
            double scale = as_stored(way->format, true, w + (size_t)o * (size_t)in, in, ws), sum = 0, want;
            for (int i = 0; i < in; i++)
                sum += xs[i] * ws[i];
            want = (double)((float)row_scale * (float)scale) * sum + (biased ? (double)b[o] : 0.0);
            float got = y[(size_t)r * (size_t)out + (size_t)o];
            if (way->format == WEIGHT_INT8) /* sums are exact: one rounding is left */
                cr_assert_eq(got, (float)want, "%s int8 %d,%d,%d: got %.9g, want %.9g", way->name, rows, out, in, (double)got, want);
            else
                cr_assert(fabs((double)got - want) <= 1e-6 * (2 + in), "%s format %d compute %d %d,%d,%d: row %d output %d: got %.9g, want %.9g",
                          way->name, way->format, way->compute, rows, out, in, r, o, (double)got, want);
        }
    }
    free(x);
    free(w);
    free(b);
    free(y);
    free(xs);
    free(ws);
}

static void check_shapes(const struct way *way)
{
    static const int shapes[][3] = {{1, 1, 1},    {1, 7, 5},     {1, 64, 64},   {1, 70, 1030}, {2, 3, 9},    {3, 17, 31},  {5, 64, 172},
                                    {12, 33, 64}, {13, 32, 65},  {16, 33, 65},  {17, 48, 100}, {31, 20, 33}, {33, 129, 7}, {49, 65, 520},
                                    {97, 31, 40}, {100, 40, 600}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int biased = 0; biased < 2; biased++)
            check_shape(way, shapes[i][0], shapes[i][1], shapes[i][2], biased != 0);
}

/* Catches W used as [in,out], the bias left out or added once per chunk, old bytes of y added, the second bf16 of a pair dropped, rows of
 * one block read with the stride of another, the shift of unsigned activations not taken off, activations rounded where they must not be,
 * the lower tile stored above the upper (each tried). */
Test(matmul, is_x_times_w_transposed_plus_bias_for_odd_shapes)
{
    each_way(check_shapes);
}

static void check_nan(const struct way *way)
{
    enum { ROWS = 14, OUT = 40, IN = 70 };
    float *x = random_floats(ROWS * IN), *w = random_floats(OUT * IN), y[ROWS * OUT];
    x[4 * IN + 3] = NAN;
    run(way, y, x, w, NULL, ROWS, OUT, IN);
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUT; o++)
            cr_assert_eq(isnan(y[r * OUT + o]) != 0, r == 4, "%s format %d: row %d", way->name, way->format, r);
    free(x);
    free(w);
}

/* Catches quantising a row with NaN as zeros (tried: the NaN would not be seen by anybody). */
Test(matmul, keeps_a_nan_in_its_row)
{
    each_way(check_nan);
}

static void check_alone(const struct way *way)
{
    enum { ROWS = 61, OUT = 75, IN = 1100 };
    float *x = random_floats(ROWS * IN), *w = random_floats(OUT * IN);
    float *together = malloc(ROWS * OUT * sizeof *together), alone[OUT];
    if (way->format == WEIGHT_ROWS) /* OpenBLAS takes another order for one row than for many */
        goto done;
    run(way, together, x, w, NULL, ROWS, OUT, IN);
    for (int r = 0; r < ROWS; r += 5) {
        run(way, alone, x + r * IN, w, NULL, 1, OUT, IN);
        cr_assert_arr_eq(alone, together + r * OUT, sizeof alone, "%s format %d compute %d: row %d", way->name, way->format, way->compute, r);
    }
done:
    free(x);
    free(w);
    free(together);
}

/* Catches chunks of another length for few rows than for many (tried). */
Test(matmul, a_row_has_the_same_bits_alone_and_among_others)
{
    each_way(check_alone);
}

/* Every number of rows, of outputs and of inputs around the sizes that kernels take at once: what is computed of a part has the bits that
 * it has among all, and nothing is written beside it. */
static void check_every_size(const struct way *way)
{
    enum { ROWS = PRODUCT_ROWS + 2, OUT = 70, IN = 72, GUARD = 64 };
    float *x = random_floats(ROWS * IN), *w = random_floats(OUT * IN), *b = random_floats(OUT);
    float *alone = malloc(ROWS * OUT * sizeof *alone), *y = malloc((ROWS * OUT + GUARD) * sizeof *y), *cut = malloc(ROWS * IN * sizeof *cut);
    float *narrow = malloc(OUT * IN * sizeof *narrow);
    if (way->format == WEIGHT_ROWS) /* OpenBLAS promises no bits */
        goto done;
    for (int r = 0; r < ROWS; r++)
        run(way, alone + r * OUT, x + r * IN, w, b, 1, OUT, IN);
    for (int rows = 1; rows <= ROWS; rows++) {
        run(way, y, x, w, b, rows, OUT, IN);
        cr_assert_arr_eq(y, alone, (size_t)rows * OUT * sizeof *y, "%s format %d compute %d: %d rows", way->name, way->format, way->compute, rows);
    }
    for (int out = 1; out <= OUT; out++) {
        for (int i = 0; i < 3 * out + GUARD; i++)
            y[i] = 4711;
        run(way, y, x, w, b, 3, out, IN);
        for (int r = 0; r < 3; r++)
            cr_assert_arr_eq(y + r * out, alone + r * OUT, (size_t)out * sizeof *y, "%s format %d compute %d: %d outputs", way->name, way->format,
                             way->compute, out);
        for (int i = 3 * out; i < 3 * out + GUARD; i++)
            cr_assert_eq(y[i], 4711, "%s format %d compute %d: %d outputs, %d behind them", way->name, way->format, way->compute, out, i - 3 * out);
    }
    for (int in = 1; in < IN; in++) { /* as many inputs less, and as many that are 0 */
        for (int r = 0; r < 3; r++)
            for (int i = 0; i < IN; i++)
                cut[r * IN + i] = i < in ? x[r * IN + i] : 0;
        for (int o = 0; o < OUT; o++)
            for (int i = 0; i < IN; i++)
                narrow[o * IN + i] = i < in ? w[o * IN + i] : 0;
        run(way, alone, cut, narrow, b, 3, OUT, IN);
        for (int r = 0; r < 3; r++)
            memmove(cut + r * in, x + r * IN, (size_t)in * sizeof *cut);
        for (int o = 0; o < OUT; o++)
            memmove(narrow + o * in, w + o * IN, (size_t)in * sizeof *narrow);
        run(way, y, cut, narrow, b, 3, OUT, in);
        cr_assert_arr_eq(y, alone, 3 * OUT * sizeof *y, "%s format %d compute %d: %d inputs", way->name, way->format, way->compute, in);
    }
done:
    free(x);
    free(w);
    free(b);
    free(alone);
    free(y);
    free(cut);
    free(narrow);
}

/* Catches one output of a sub-block of any one number of rows that is off by one unit in the last place, a mask of columns that is one too
 * short or too long, inputs of an incomplete group that are lost or not zero (tried: 10 of 12 mutations of the VNNI rows, all caught). */
Test(matmul, no_size_computes_other_bits_than_another)
{
    each_way(check_every_size);
}

/* Inputs and outputs in another order: the integers are the same, so every bit is. Catches a scale that depends on the position, sums
 * that overflow or saturate (tried: 16-bit sums). */
static void check_permuted(const struct way *way)
{
    enum { ROWS = 19, OUT = 50, IN = 300 };
    float *x = random_floats(ROWS * IN), *w = random_floats(OUT * IN), *x_p = malloc(ROWS * IN * sizeof *x_p);
    float *w_p = malloc(OUT * IN * sizeof *w_p), *y = malloc(ROWS * OUT * sizeof *y), *y_p = malloc(ROWS * OUT * sizeof *y_p);
    if (way->format == WEIGHT_INT8) {
        for (int i = 0; i < IN; i++) { /* 7 and 300, 7 and 50 have no common factor */
            int j = i * 7 % IN;
            for (int r = 0; r < ROWS; r++)
                x_p[r * IN + i] = x[r * IN + j];
            for (int o = 0; o < OUT; o++)
                w_p[o * IN + i] = w[o * 7 % OUT * IN + j];
        }
        run(way, y, x, w, NULL, ROWS, OUT, IN);
        run(way, y_p, x_p, w_p, NULL, ROWS, OUT, IN);
        for (int r = 0; r < ROWS; r++)
            for (int o = 0; o < OUT; o++)
                cr_assert_eq(y_p[r * OUT + o], y[r * OUT + o * 7 % OUT], "%s: row %d output %d", way->name, r, o);
    }
    free(x);
    free(w);
    free(x_p);
    free(w_p);
    free(y);
    free(y_p);
}

Test(matmul, int8_products_are_equal_bit_for_bit_under_permutation)
{
    each_way(check_permuted);
}

/* The largest integers that the format has, all of one sign. */
static void check_extremes(const struct way *way)
{
    enum { ROWS = 2, OUT = 33, IN = 8192 };
    float *x = malloc(ROWS * IN * sizeof *x), *w = malloc(OUT * IN * sizeof *w), y[ROWS * OUT];
    if (way->format == WEIGHT_INT8) {
        for (int i = 0; i < ROWS * IN; i++)
            x[i] = i < IN ? 127.0f : -127.0f;
        for (int i = 0; i < OUT * IN; i++)
            w[i] = 127.0f;
        run(way, y, x, w, NULL, ROWS, OUT, IN);
        for (int o = 0; o < OUT; o++) {
            cr_assert_eq(y[o], 127.0f * 127.0f * IN, "%s: %g", way->name, (double)y[o]);
            cr_assert_eq(y[OUT + o], -127.0f * 127.0f * IN, "%s: %g", way->name, (double)y[OUT + o]);
        }
    }
    free(x);
    free(w);
}

Test(matmul, int8_sums_neither_saturate_nor_overflow)
{
    each_way(check_extremes);
}

static void check_threads(const struct way *way)
{
    enum { ROWS = 24, OUT = 300, IN = 500 };
    float *x = random_floats(ROWS * IN), *w = random_floats(OUT * IN);
    float *first = malloc(ROWS * OUT * sizeof *first), *again = malloc(ROWS * OUT * sizeof *again);
    for (int rows = 1; rows <= ROWS && way->format != WEIGHT_ROWS; rows += ROWS - 1) {
        threads_stop();
        run(way, first, x, w, NULL, rows, OUT, IN);
        cr_assert_eq(threads_start(3, &err), 0, "%s", err.text);
        for (int i = 0; i < 10; i++) {
            run(way, again, x, w, NULL, rows, OUT, IN);
            cr_assert_arr_eq(first, again, (size_t)rows * OUT * sizeof *first);
        }
    }
    threads_stop();
    free(x);
    free(w);
    free(first);
    free(again);
}

Test(matmul, the_number_of_threads_changes_no_bit)
{
    each_way(check_threads);
}

Test(matmul, a_level_that_is_not_there_is_an_error)
{
    cr_assert(kernels_choose("sse9", &err) == -1 && err.code == ERR_USAGE && strstr(err.text, "portable") != NULL, "%s", err.text);
    int n = 0;
    while (kernels_level(n) != NULL)
        n++;
    if (strcmp(kernels_level(n - 1), "amx") != 0)
        cr_assert(kernels_choose("amx", &err) == -1 && strstr(err.text, kernels_level(n - 1)) != NULL, "%s", err.text);
    cr_assert_eq(kernels_choose(kernels_level(n - 1), &err), 0);
    cr_assert_str_eq(kernels_get()->name, kernels_level(n - 1));
}

/* What a level with tile units must pass before it is used; here the emulated tiles do. Catches a check that nothing fails (tried: bf16
 * against int8). */
Test(matmul, kernels_are_compared_before_tiles_are_trusted)
{
    enum { ROWS = 40, OUT = 70, IN = 200 };
    float *x = random_floats(ROWS * IN), *w = random_floats(OUT * IN);
    const struct product *plain = &level_portable.bf16;
    cr_expect_lt(product_agree(&product_emulated_bf16, plain, WEIGHT_BF16, x, w, ROWS, OUT, IN), 1e-4);
    cr_expect_eq(product_agree(&product_emulated_int8, &level_portable.int8, WEIGHT_INT8, x, w, ROWS, OUT, IN), 0.0);
    cr_expect_gt(product_agree(&level_portable.bf16_by_f32, plain, WEIGHT_BF16, x, w, ROWS, OUT, IN), 1e-4, "unrounded rows must show");
    x[5] = NAN;
    cr_expect(isinf(product_agree(&product_emulated_bf16, plain, WEIGHT_BF16, x, w, ROWS, OUT, IN)));
    free(x);
    free(w);
}

/* ------------------------------------------------------------------ threads */

struct counted {
    _Atomic int done[1000];
};

static void count_task(void *arg, int i)
{
    ((struct counted *)arg)->done[i]++;
}

/* Catches a task that is taken twice or lost, and a call that returns early (tried: without waiting for those inside). */
Test(matmul, every_task_runs_once_and_before_the_call_returns)
{
    cr_assert_eq(threads_start(4, &err), 0, "%s", err.text);
    for (int round = 0; round < 2000; round++) {
        struct counted c = {0};
        int n = round % 1000;
        threads_for(n, count_task, &c);
        for (int i = 0; i < 1000; i++)
            cr_assert_eq(c.done[i], i < n, "round %d task %d", round, i);
    }
    threads_stop();
}
