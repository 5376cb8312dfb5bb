/* model/quant: symmetric int8 of a row against its definition in double, and what is no number. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/compute.h"
#include "model/quant.h"

#define N 1000

/* xorshift64: the same numbers in every run. */
static double noise(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (double)(*state >> 11) * 0x1p-52 - 1;
}

/* Catches a scale of 128ths, a scale of the first value, truncation (all tried). */
Test(quant, each_number_is_the_nearest_multiple_of_a_127th_of_the_largest)
{
    uint64_t state = 7;
    for (int round = 0; round < 50; round++) {
        float x[N], scale = 0, most = 0;
        int8_t q[N];
        for (int i = 0; i < N; i++) {
            x[i] = (float)ldexp(noise(&state), round - 25);
            most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        }
        quant_row(q, &scale, x, N);
        cr_assert_eq(scale, most / 127.0f);
        bool full = false;
        for (int i = 0; i < N; i++) {
            double exact = (double)x[i] / (double)scale;
            cr_assert(fabs(exact - q[i]) <= 0.5 + 1e-5, "%g is not %d times %g", (double)x[i], q[i], (double)scale);
            full = full || q[i] == 127 || q[i] == -127;
        }
        cr_assert(full, "the largest magnitude is not 127");
    }
}

/* Catches halves rounded away from zero, and up (both tried). */
Test(quant, halves_go_to_the_even_neighbour)
{
    static const float x[] = {127, 0.5f, 1.5f, 2.5f, 3.5f, -0.5f, -1.5f, -2.5f, 125.5f, 126.5f, -126.5f, 0.49f, 0.51f};
    static const int want[] = {127, 0, 2, 2, 4, 0, -2, -2, 126, 126, -126, 0, 1};
    enum { COUNT = sizeof x / sizeof *x };
    int8_t q[COUNT];
    float scale;
    quant_row(q, &scale, x, COUNT);
    cr_assert_eq(scale, 1.0f);
    for (size_t i = 0; i < COUNT; i++)
        cr_expect_eq(q[i], want[i], "%g gives %d, expected %d", (double)x[i], q[i], want[i]);
}

Test(quant, zeros_and_an_empty_row_have_scale_zero)
{
    const float x[3] = {0, -0.0f, 0};
    int8_t q[3] = {1, 1, 1};
    float scale = 5;
    quant_row(q, &scale, x, 3);
    cr_expect(scale == 0.0f && q[0] == 0 && q[1] == 0 && q[2] == 0);
    scale = 5;
    quant_row(q, &scale, x, 0);
    cr_expect_eq(scale, 0.0f);
}

/* A NaN must show in the result and must not become a number on the way. Catches a maximum that passes over NaN (tried). */
Test(quant, what_is_not_finite_gives_a_scale_that_is_not_a_number)
{
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++)
        for (int at = 0; at < 5; at++) {
            float x[5] = {1, -3, 2, 4, -1}, scale = 0;
            int8_t q[5] = {9, 9, 9, 9, 9};
            x[at] = bad[b];
            quant_row(q, &scale, x, 5);
            cr_expect(isnan(scale), "%g at %d: scale %g", (double)bad[b], at, (double)scale);
            for (int i = 0; i < 5; i++)
                cr_expect_eq(q[i], 0);
        }
}

/* Where the scale is subnormal it is rounded itself. Catches an int8 that overflows to -128 (tried: without the limits). */
Test(quant, subnormal_rows_stay_within_127)
{
    for (int units = 1; units < 1000; units++) {
        const float x[2] = {(float)(units * 0x1p-149), (float)(-units * 0x1p-149)};
        int8_t q[2];
        float scale;
        quant_row(q, &scale, x, 2);
        cr_assert(q[0] >= 0 && q[1] == -q[0], "%d units: %d and %d", units, q[0], q[1]);
    }
    const float largest[2] = {3.4028235e38f, -3.4028235e38f};
    int8_t q[2];
    float scale;
    quant_row(q, &scale, largest, 2);
    cr_expect(isfinite(scale) && q[0] == 127 && q[1] == -127);
}

Test(compute, names_and_kinds_belong_together)
{
    static const char *const names[] = {"f32", "bf16", "int8"};
    enum compute c;
    for (int i = 0; i < 3; i++) {
        cr_assert(compute_parse(names[i], &c));
        cr_expect_eq((int)c, i);
        cr_expect_str_eq(compute_name(c), names[i]);
    }
    cr_expect_not(compute_parse("F32", &c));
    cr_expect_not(compute_parse("", &c));
    cr_expect_not(compute_parse("keep", &c));
}
