#include "bench/machine_units.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define CHAINS 12

/* ------------------------------------------------------------------ any CPU */

typedef float vec __attribute__((vector_size(16)));

static double read_any(const char *data, size_t bytes)
{
    const vec *p = (const void *)data;
    vec s[4] = {{0}};
    for (size_t i = 0; i < bytes / sizeof(vec); i += 4)
        for (size_t k = 0; k < 4; k++)
            s[k] += p[i + k];
    s[0] += s[1] + s[2] + s[3];
    return (double)s[0][0];
}

static double fma_any(long rounds)
{
    const vec x = {1e-9f, 2e-9f}, y = {1.0f, 1.0f};
    vec v[CHAINS] = {{0}};
    for (long r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++)
            v[i] = v[i] * y + x;
    for (int i = 1; i < CHAINS; i++)
        v[0] += v[i];
    return (double)v[0][0];
}

#if defined(__x86_64__)

/* ------------------------------------------------------------------ x86-64 vectors */

#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f")))
#define BF16 __attribute__((target("avx512f,avx512bf16")))
#define VNNI __attribute__((target("avx512f,avx512vnni")))

AVX512 static double read_avx512(const char *data, size_t bytes)
{
    const float *p = (const void *)data;
    __m512 s[4];
    for (int k = 0; k < 4; k++)
        s[k] = _mm512_setzero_ps();
    for (size_t i = 0; i < bytes / 4; i += 64)
        for (size_t k = 0; k < 4; k++)
            s[k] = _mm512_add_ps(s[k], _mm512_load_ps(p + i + 16 * k));
    return (double)_mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

AVX2 static double read_avx2(const char *data, size_t bytes)
{
    const float *p = (const void *)data;
    float out[8];
    __m256 s[8];
    for (int k = 0; k < 8; k++)
        s[k] = _mm256_setzero_ps();
    for (size_t i = 0; i < bytes / 4; i += 64)
        for (size_t k = 0; k < 8; k++)
            s[k] = _mm256_add_ps(s[k], _mm256_load_ps(p + i + 8 * k));
    for (int k = 1; k < 8; k++)
        s[0] = _mm256_add_ps(s[0], s[k]);
    _mm256_storeu_ps(out, s[0]);
    return (double)out[0];
}

AVX512 static double fma_avx512(long rounds)
{
    const __m512 x = _mm512_set1_ps(1e-9f), y = _mm512_set1_ps(0.999f);
    __m512 v[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        v[i] = _mm512_set1_ps((float)i);
    for (long r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++)
            v[i] = _mm512_fmadd_ps(v[i], y, x);
    for (int i = 1; i < CHAINS; i++)
        v[0] = _mm512_add_ps(v[0], v[i]);
    return (double)_mm512_reduce_add_ps(v[0]);
}

AVX2 static double fma_avx2(long rounds)
{
    const __m256 x = _mm256_set1_ps(1e-9f), y = _mm256_set1_ps(0.999f);
    __m256 v[CHAINS];
    float out[8];
    for (int i = 0; i < CHAINS; i++)
        v[i] = _mm256_set1_ps((float)i);
    for (long r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++)
            v[i] = _mm256_fmadd_ps(v[i], y, x);
    for (int i = 1; i < CHAINS; i++)
        v[0] = _mm256_add_ps(v[0], v[i]);
    _mm256_storeu_ps(out, v[0]);
    return (double)out[0];
}

BF16 static double dot_bf16(long rounds)
{
    const __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f803f80); /* ones */
    __m512 v[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        v[i] = _mm512_set1_ps((float)i);
    for (long r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++)
            v[i] = _mm512_dpbf16_ps(v[i], x, x);
    for (int i = 1; i < CHAINS; i++)
        v[0] = _mm512_add_ps(v[0], v[i]);
    return (double)_mm512_reduce_add_ps(v[0]);
}

VNNI static double dot_int8(long rounds)
{
    const __m512i x = _mm512_set1_epi32(0x01010101);
    __m512i v[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        v[i] = _mm512_set1_epi32(i);
    for (long r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++)
            v[i] = _mm512_dpbusd_epi32(v[i], x, x);
    for (int i = 1; i < CHAINS; i++)
        v[0] = _mm512_add_epi32(v[0], v[i]);
    return (double)_mm_cvtsi128_si32(_mm512_castsi512_si128(v[0])); /* the sums wrap around */
}

/* ------------------------------------------------------------------ AMX: eight tiles of 16 rows of 64 bytes */

#define AMX_BF16 __attribute__((target("amx-tile,amx-bf16")))
#define AMX_INT8 __attribute__((target("amx-tile,amx-int8")))
#define AMX_CALLS 4
#define AMX_SCALE 16 /* a tile product is as long as 16 vector instructions: as many rounds fewer */

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static struct tile_config tiles_all(void)
{
    struct tile_config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = 64;
        c.rows[i] = 16;
    }
    return c;
}

/* Four accumulators, two tiles on each side, as a matrix product uses them. */
AMX_BF16 static double tiles_bf16(long rounds)
{
    const struct tile_config config = tiles_all();
    static _Alignas(64) const uint8_t zeros[1024];
    _Alignas(64) float out[256];
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, zeros, 64);
    _tile_loadd(5, zeros, 64);
    _tile_loadd(6, zeros, 64);
    _tile_loadd(7, zeros, 64);
    for (long r = 0; r < rounds / AMX_SCALE; r++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, 64);
    _tile_release();
    return (double)out[0];
}

AMX_INT8 static double tiles_int8(long rounds)
{
    const struct tile_config config = tiles_all();
    static _Alignas(64) const uint8_t zeros[1024];
    _Alignas(64) int32_t out[256];
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, zeros, 64);
    _tile_loadd(5, zeros, 64);
    _tile_loadd(6, zeros, 64);
    _tile_loadd(7, zeros, 64);
    for (long r = 0; r < rounds / AMX_SCALE; r++) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_stored(0, out, 64);
    _tile_release();
    return (double)out[0];
}

/* ------------------------------------------------------------------ what this machine has */

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static bool cpuid_bit(unsigned leaf, unsigned sub, int reg, int bit)
{
    unsigned r[4] = {0};
    return __get_cpuid_count(leaf, sub, &r[0], &r[1], &r[2], &r[3]) != 0 && (r[reg] >> bit & 1) != 0;
}

/* The kernel gives tiles to a process that asks, once; threads made later have them too. */
static bool has_amx(int bit)
{
    return cpuid_bit(7, 0, 3, 24) && cpuid_bit(7, 0, 3, bit) && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

machine_loop machine_unit_loop(enum machine_unit unit, double *operations_per_round)
{
    const bool avx512 = __builtin_cpu_supports("avx512f") != 0;
    const double vector = 2.0 * CHAINS * 16, tiles = 2.0 * AMX_CALLS * 16 * 16 / AMX_SCALE;
    switch (unit) {
    case MACHINE_F32_FMA:
        *operations_per_round = avx512 ? vector : __builtin_cpu_supports("fma") != 0 ? vector / 2 : vector / 4;
        return avx512 ? fma_avx512 : __builtin_cpu_supports("fma") != 0 ? fma_avx2 : fma_any;
    case MACHINE_BF16_DOT:
        *operations_per_round = 2 * vector;
        return avx512 && cpuid_bit(7, 1, 0, 5) ? dot_bf16 : NULL;
    case MACHINE_BF16_AMX:
        *operations_per_round = 32 * tiles;
        return has_amx(22) ? tiles_bf16 : NULL;
    case MACHINE_INT8_DOT:
        *operations_per_round = 4 * vector;
        return avx512 && __builtin_cpu_supports("avx512vnni") != 0 ? dot_int8 : NULL;
    case MACHINE_INT8_AMX:
        *operations_per_round = 64 * tiles;
        return has_amx(25) ? tiles_int8 : NULL;
    case MACHINE_UNITS:
        break;
    }
    return NULL;
}

double machine_read(const char *data, size_t bytes)
{
    return __builtin_cpu_supports("avx512f") != 0 ? read_avx512(data, bytes) :
           __builtin_cpu_supports("avx2") != 0   ? read_avx2(data, bytes) :
                                                   read_any(data, bytes);
}

#else

machine_loop machine_unit_loop(enum machine_unit unit, double *operations_per_round)
{
    *operations_per_round = 2.0 * CHAINS * 4;
    return unit == MACHINE_F32_FMA ? fma_any : NULL;
}

double machine_read(const char *data, size_t bytes)
{
    return read_any(data, bytes);
}

#endif
