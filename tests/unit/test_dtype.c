/* model/dtype: the 16-bit floats, bit by bit, against their definition in double. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "model/dtype.h"

struct format {
    enum dtype dtype;
    int fraction_bits, bias, top_exponent; /* top: infinity and NaN */
};

static const struct format formats[] = {{DTYPE_F16, 10, 15, 31}, {DTYPE_BF16, 7, 127, 255}};

/* What IEEE 754 says about a finite pattern without its sign. */
static double value_of(const struct format *f, unsigned magnitude)
{
    int exponent = (int)(magnitude >> f->fraction_bits);
    double fraction = (double)(magnitude & ((1u << f->fraction_bits) - 1)), one = (double)(1u << f->fraction_bits);
    return exponent == 0 ? ldexp(fraction, 1 - f->bias - f->fraction_bits) : ldexp(one + fraction, exponent - f->bias - f->fraction_bits);
}

static unsigned infinity(const struct format *f)
{
    return (unsigned)f->top_exponent << f->fraction_bits;
}

/* The nearest pattern, of two equally near the even one, found by looking at both neighbours. */
static unsigned nearest(const struct format *f, double x)
{
    unsigned low = 0, high = infinity(f);
    while (high - low > 1) {
        unsigned mid = (low + high) / 2;
        if (value_of(f, mid) <= x)
            low = mid;
        else
            high = mid;
    }
    /* One more step of the same size stands for infinity. */
    double below = x - value_of(f, low), above = value_of(f, low + 1 == infinity(f) ? infinity(f) : low + 1) - x;
    return below < above || (below == above && low % 2 == 0) ? low : low + 1;
}

static unsigned convert(const struct format *f, float x)
{
    uint8_t bytes[2];
    dtype_from_f32(f->dtype, &x, bytes, 1);
    return le_get16(bytes);
}

Test(dtype, every_pattern_has_its_ieee_value_and_comes_back)
{
    for (int i = 0; i < 2; i++) {
        const struct format *f = &formats[i];
        unsigned long wrong = 0;
        for (unsigned p = 0; p < 65536; p++) {
            uint8_t bytes[2];
            float x;
            le_put16(bytes, (uint16_t)p);
            dtype_to_f32(f->dtype, bytes, &x, 1);
            unsigned magnitude = p & 0x7fff;
            if (magnitude < infinity(f))
                wrong += fabs((double)x) != value_of(f, magnitude) || (signbit(x) != 0) != (p >= 0x8000) || convert(f, x) != p;
            else if (magnitude == infinity(f))
                wrong += !isinf(x) || (signbit(x) != 0) != (p >= 0x8000) || convert(f, x) != p;
            else
                wrong += !isnan(x) || (convert(f, x) & 0x7fff) <= infinity(f);
        }
        cr_expect_eq(wrong, 0, "%s: %lu patterns", dtype_name(f->dtype), wrong);
    }
}

/* Catches: truncation, rounding half up, wrong subnormals (all tried). */
Test(dtype, conversion_rounds_to_nearest_even)
{
    uint64_t state = 1;
    for (int i = 0; i < 2; i++) {
        const struct format *f = &formats[i];
        unsigned long wrong = 0;
        /* Around every midpoint between neighbours. */
        for (unsigned p = 0; p < infinity(f); p++) {
            double next = value_of(f, p + 1);
            float mid = (float)((value_of(f, p) + next) / 2);
            const float around[] = {mid, nextafterf(mid, 0), nextafterf(mid, INFINITY)};
            for (int k = 0; k < 3; k++)
                if (!isinf(around[k])) {
                    wrong += convert(f, around[k]) != nearest(f, (double)around[k]);
                    wrong += convert(f, -around[k]) != (nearest(f, (double)around[k]) | 0x8000);
                }
        }
        /* And anywhere. */
        for (int k = 0; k < 200000; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            uint32_t bits = (uint32_t)(state >> 33);
            float x;
            memcpy(&x, &bits, sizeof x);
            if (!isnan(x) && !isinf(x))
                wrong += convert(f, x) != nearest(f, (double)x);
        }
        cr_expect_eq(wrong, 0, "%s: %lu conversions", dtype_name(f->dtype), wrong);
    }
}

/* Catches: cutting the payload off, which makes an infinity of a NaN whose payload sits in the low bits (tried). */
Test(dtype, every_nan_stays_a_nan)
{
    unsigned long wrong = 0;
    for (int i = 0; i < 2; i++)
        for (uint32_t payload = 1; payload < 0x800000; payload = payload * 2 + 1)
            for (uint32_t low = 0; low < 2; low++) {
                uint32_t bits = 0x7f800000 | (low == 1 ? payload : 0x800000 - payload);
                float x;
                memcpy(&x, &bits, sizeof x);
                wrong += (convert(&formats[i], x) & 0x7fff) <= infinity(&formats[i]);
                wrong += (convert(&formats[i], -x) & 0x7fff) <= infinity(&formats[i]);
            }
    cr_expect_eq(wrong, 0);
}

Test(dtype, f32_is_copied_from_and_to_any_alignment)
{
    float in[3] = {1.5f, -0.0f, 3e-42f}, out[3] = {0};
    uint8_t bytes[13];
    dtype_from_f32(DTYPE_F32, in, bytes + 1, 3);
    dtype_to_f32(DTYPE_F32, bytes + 1, out, 3);
    cr_expect_eq(memcmp(in, out, sizeof in), 0);
    dtype_to_f32(DTYPE_F16, bytes + 1, out, 0);
    cr_expect_eq(memcmp(in, out, sizeof in), 0, "nothing is written for no elements");
}

Test(dtype, the_first_number_that_is_not_finite_is_found)
{
    static const enum dtype kinds[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 3; k++)
        for (int b = 0; b < 4; b++)
            for (size_t at = 0; at < 9; at++) {
                float x[9] = {0.0f, 1.0f, -1.0f, 60000.0f, -60000.0f, 1e-30f, -0.0f, 2.5f, 6e-8f};
                uint8_t bytes[36];
                dtype_from_f32(kinds[k], x, bytes, 9);
                cr_assert_eq(dtype_first_nonfinite(kinds[k], bytes, 9), 9);
                x[at] = bad[b];
                dtype_from_f32(kinds[k], x, bytes, 9);
                cr_assert_eq(dtype_first_nonfinite(kinds[k], bytes, 9), at);
                cr_assert_eq(dtype_first_nonfinite(kinds[k], bytes, at), at, "what lies behind n does not count");
            }
}

Test(dtype, names_are_those_of_safetensors)
{
    static const struct {
        const char *name;
        size_t size;
        bool is_float;
    } want[] = {{"F32", 4, true},  {"BF16", 2, true}, {"F16", 2, true}, {"F64", 8, false}, {"I64", 8, false},
                {"I32", 4, false}, {"I16", 2, false}, {"I8", 1, false}, {"U8", 1, false},  {"BOOL", 1, false}};
    static const char *const unknown[] = {"", "f32", "F8_E4M3", "F32 ", "float32", "U16"};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        enum dtype t;
        cr_assert(dtype_parse(want[i].name, &t), "%s", want[i].name);
        cr_expect_str_eq(dtype_name(t), want[i].name);
        cr_expect_eq(dtype_size(t), want[i].size);
        cr_expect_eq(dtype_is_float(t), want[i].is_float);
    }
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        enum dtype t = DTYPE_I8;
        cr_expect_not(dtype_parse(unknown[i], &t), "%s", unknown[i]);
        cr_expect_eq(t, DTYPE_I8);
    }
}
