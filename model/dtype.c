#include "model/dtype.h"

#include <assert.h>
#include <string.h>

#include "base/bf16.h"
#include "base/le.h"

static const struct {
    const char *name;
    size_t size;
} table[] = {
    [DTYPE_F32] = {"F32", 4}, [DTYPE_BF16] = {"BF16", 2}, [DTYPE_F16] = {"F16", 2}, [DTYPE_F64] = {"F64", 8},
    [DTYPE_I64] = {"I64", 8}, [DTYPE_I32] = {"I32", 4},   [DTYPE_I16] = {"I16", 2}, [DTYPE_I8] = {"I8", 1},
    [DTYPE_U8] = {"U8", 1},   [DTYPE_BOOL] = {"BOOL", 1},
};

size_t dtype_size(enum dtype t)
{
    return table[t].size;
}

const char *dtype_name(enum dtype t)
{
    return table[t].name;
}

bool dtype_parse(const char *name, enum dtype *out)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(name, table[i].name) == 0) {
            *out = (enum dtype)i;
            return true;
        }
    return false;
}

bool dtype_is_float(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_BF16 || t == DTYPE_F16;
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3FF;
    if (exponent == 31)
        return float_of(sign | 0x7F800000u | fraction << 13);
    if (exponent != 0)
        return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    /* Subnormal: fraction * 2^-24 is exact in float32. */
    float f = (float)fraction * 0x1p-24f;
    return sign != 0 ? -f : f;
}

static uint16_t f16_from_f32(float f)
{
    uint32_t bits = bits_of(f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000)
        return (uint16_t)(sign | 0x7E00);
    if (magnitude >= 0x477FF000) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7C00);
    if (magnitude < 0x38800000) {
        /* Subnormal: adding 0.5 lines the last kept bit up with the float's last bit, so the hardware rounds. */
        float shifted = float_of(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(shifted) - 0x3F000000u));
    }
    uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - (112u << 23)) >> 13);
}

void dtype_to_f32(enum dtype t, const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    assert(dtype_is_float(t));
    switch (t) {
    case DTYPE_F32:
        memcpy(dst, src, n * sizeof *dst);
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            dst[i] = bf16_to_f32(le_get16(p + 2 * i));
        break;
    default:
        for (size_t i = 0; i < n; i++)
            dst[i] = f16_to_f32(le_get16(p + 2 * i));
    }
}

void dtype_from_f32(enum dtype t, const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    assert(dtype_is_float(t));
    switch (t) {
    case DTYPE_F32:
        memcpy(dst, src, n * sizeof *src);
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            le_put16(p + 2 * i, bf16_from_f32(src[i]));
        break;
    default:
        for (size_t i = 0; i < n; i++)
            le_put16(p + 2 * i, f16_from_f32(src[i]));
    }
}

size_t dtype_first_nonfinite(enum dtype t, const void *src, size_t n)
{
    enum { TOGETHER = 64 };
    const uint8_t *p = src;
    assert(dtype_is_float(t));
    if (t == DTYPE_F32) {
        size_t i = 0;
        /* Whole groups first, without a way out of their middle: the compiler takes many at once. */
        for (unsigned found = 0; n - i >= TOGETHER; i += TOGETHER) {
            for (size_t k = i; k < i + TOGETHER; k++)
                found |= (le_get32(p + 4 * k) & 0x7F800000) == 0x7F800000;
            if (found)
                break;
        }
        for (; i < n; i++)
            if ((le_get32(p + 4 * i) & 0x7F800000) == 0x7F800000)
                return i;
    } else {
        uint16_t all = t == DTYPE_BF16 ? 0x7F80 : 0x7C00;
        for (size_t i = 0; i < n; i++)
            if ((le_get16(p + 2 * i) & all) == all)
                return i;
    }
    return n;
}
