/* engine/kernels/impl/simd.h - vectors of one instruction set, in the compiler's own notation.
 *
 * Data flow   included by table.c, which is compiled once per instruction set with that set's flags; ISA_LANES floats make a vector.
 * Units       lanes.
 * Errors      none.
 * Memory      loads and stores take any alignment.
 * Secrets     none.
 * Source      exp: range reduction x = n ln 2 + r with ln 2 in two parts, Taylor polynomial of exp(r) on |r| <= ln(2)/2.
 */
#ifndef STIP_ENGINE_KERNELS_IMPL_SIMD_H
#define STIP_ENGINE_KERNELS_IMPL_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define ISA_LANES 16
#elif defined(__AVX2__)
#define ISA_LANES 8
#else
#define ISA_LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

typedef float vf __attribute__((vector_size(4 * ISA_LANES)));
typedef int32_t vi __attribute__((vector_size(4 * ISA_LANES)));
typedef float vf_any __attribute__((vector_size(4 * ISA_LANES), aligned(4), may_alias));
typedef int32_t vi_any __attribute__((vector_size(4 * ISA_LANES), aligned(4), may_alias));
typedef uint16_t vh_any __attribute__((vector_size(2 * ISA_LANES), aligned(2), may_alias));
typedef int8_t vb_any __attribute__((vector_size(ISA_LANES), aligned(1), may_alias));

INLINE vf vf_load(const void *p)
{
    return *(const vf_any *)p;
}

INLINE void vf_store(float *p, vf v)
{
    *(vf_any *)p = v;
}

INLINE vi vi_load(const void *p)
{
    return *(const vi_any *)p;
}

INLINE vf vf_all(float x)
{
    return (vf){0} + x;
}

INLINE vi vf_bits(vf v)
{
    return (vi)v;
}

/* mask lanes are -1 or 0 */
INLINE vf vf_select(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

/* b where it is more, a elsewhere: also where one of them is NaN */
INLINE vf vf_larger(vf a, vf b)
{
#if ISA_LANES == 16
    return (vf)_mm512_max_ps((__m512)b, (__m512)a);
#elif ISA_LANES == 8
    return (vf)_mm256_max_ps((__m256)b, (__m256)a);
#else
    return vf_select(b > a, b, a);
#endif
}

/* The same with less. */
INLINE vf vf_smaller(vf a, vf b)
{
#if ISA_LANES == 16
    return (vf)_mm512_min_ps((__m512)b, (__m512)a);
#elif ISA_LANES == 8
    return (vf)_mm256_min_ps((__m256)b, (__m256)a);
#else
    return vf_select(b < a, b, a);
#endif
}

/* 0, 1, 2, ... */
INLINE vi vi_lanes(void)
{
#if ISA_LANES == 16
    return (vi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif ISA_LANES == 8
    return (vi){0, 1, 2, 3, 4, 5, 6, 7};
#else
    return (vi){0, 1, 2, 3};
#endif
}

/* bf16 are the upper halves of floats. */
INLINE vf vf_from_bf16(const uint16_t *p)
{
    return (vf)(__builtin_convertvector(*(const vh_any *)p, vi) << 16);
}

INLINE vf vf_from_i8(const int8_t *p)
{
    return __builtin_convertvector(*(const vb_any *)p, vf);
}

/* v turned by so many lanes. */
#if ISA_LANES == 16
#define TURNED(v, n)                                                                                                   \
    __builtin_shufflevector(v, v, (n), (1 + (n)) % 16, (2 + (n)) % 16, (3 + (n)) % 16, (4 + (n)) % 16, (5 + (n)) % 16, \
                            (6 + (n)) % 16, (7 + (n)) % 16, (8 + (n)) % 16, (9 + (n)) % 16, (10 + (n)) % 16,           \
                            (11 + (n)) % 16, (12 + (n)) % 16, (13 + (n)) % 16, (14 + (n)) % 16, (15 + (n)) % 16)
#elif ISA_LANES == 8
#define TURNED(v, n)                                                                                                   \
    __builtin_shufflevector(v, v, (n) % 8, (1 + (n)) % 8, (2 + (n)) % 8, (3 + (n)) % 8, (4 + (n)) % 8, (5 + (n)) % 8,  \
                            (6 + (n)) % 8, (7 + (n)) % 8)
#else
#define TURNED(v, n) __builtin_shufflevector(v, v, (n) % 4, (1 + (n)) % 4, (2 + (n)) % 4, (3 + (n)) % 4)
#endif

/* Always in the same order: lanes that are a half, a quarter, ... of the vector apart. Results of different instruction sets may
 * differ in the last bit, those of one never. */
INLINE float vf_sum(vf v)
{
    v += ISA_LANES > 8 ? TURNED(v, 8) : (vf){0};
    v += ISA_LANES > 4 ? TURNED(v, 4) : (vf){0};
    v += TURNED(v, 2);
    v += TURNED(v, 1);
    return v[0];
}

INLINE float vf_max(vf v)
{
    v = ISA_LANES > 8 ? vf_larger(v, TURNED(v, 8)) : v;
    v = ISA_LANES > 4 ? vf_larger(v, TURNED(v, 4)) : v;
    v = vf_larger(v, TURNED(v, 2));
    v = vf_larger(v, TURNED(v, 1));
    return v[0];
}

/* Relative error at most 2e-7 where the result is a normal number; exact 0 below -104, infinity above 89, NaN for NaN. */
INLINE vf vf_exp(vf x)
{
    /* NaN is neither larger nor smaller and passes through the polynomial. */
    x = vf_larger(x, vf_all(-104.0f));
    x = vf_smaller(x, vf_all(89.0f));

    /* Adding 1.5 * 2^23 leaves the nearest integer in the low bits. */
    const vf round = vf_all(12582912.0f);
    vf shifted = x * 1.44269504f + round, n = shifted - round;

    vf r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 = 0.693359375 - 2.1219444e-4 */
    vf p = vf_all(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
#if ISA_LANES == 16
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    /* Two factors, so that results near the ends of the range are neither cut off nor infinite too early. */
    vi i = vf_bits(shifted) - vf_bits(round), half = i >> 1;
    vf low = (vf)((half + 127) << 23), high = (vf)((i - half + 127) << 23);
    return p * low * high;
#endif
}

/* Below 0.7 the odd polynomial that meets tanh in seven Chebyshev points; above, nothing cancels in 1 - 2/(exp(2x) + 1). Relative
 * error at most 2e-7; NaN for NaN. */
INLINE vf vf_tanh(vf x)
{
    vf a = (vf)(vf_bits(x) & 0x7fffffff), z = x * x;
    vf p = vf_all(-7.612595129e-04f);
    p = p * z + 3.183893182e-03f;
    p = p * z - 8.735577369e-03f;
    p = p * z + 2.184837800e-02f;
    p = p * z - 5.396656509e-02f;
    p = p * z + 1.333332821e-01f;
    p = p * z - 3.333333331e-01f;
    vf large = 1.0f - 2.0f / (vf_exp(2.0f * a) + 1.0f);
    return vf_select(a < 0.7f, x + x * z * p, vf_select(x < 0.0f, -large, large));
}

#endif
