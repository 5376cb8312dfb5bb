#include "bench/baselines/smpc/ring.h"

#include <string.h>

#define PANEL 32 /* columns of y: four vectors of eight */
#define ROWS 6
#define DEEP 128 /* rows of a panel that are packed together: 32 KB, which stay in the first cache for all of x */

size_t ring_matmul_words(size_t k)
{
    return (k < DEEP ? k : DEEP) * PANEL;
}

static void matmul_plain(uint64_t *z, const uint64_t *x, const uint64_t *y, size_t m, size_t k, size_t n)
{
    for (size_t i = 0; i < m; i++)
        for (size_t l = 0; l < k; l++) {
            const uint64_t a = x[i * k + l], *row = y + l * n;
            uint64_t *out = z + i * n;
            for (size_t j = 0; j < n; j++)
                out[j] += a * row[j];
        }
}

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512dq")))

/* Rows x [ROWS,k] (stride ldx) times a panel [k,PANEL]; `rows` and `columns` say how many of the sums are wanted. */
#define MICRO(R)                                                                                                                   \
    AVX512 static void micro_##R(uint64_t *z, size_t ldz, const uint64_t *x, size_t ldx, const uint64_t *panel, size_t k,          \
                                 size_t columns)                                                                                   \
    {                                                                                                                              \
        __m512i sum[R][4];                                                                                                         \
        for (int i = 0; i < R; i++)                                                                                                \
            for (int v = 0; v < 4; v++)                                                                                            \
                sum[i][v] = _mm512_setzero_si512();                                                                                \
        for (size_t l = 0; l < k; l++) {                                                                                           \
            __m512i b[4];                                                                                                          \
            for (int v = 0; v < 4; v++)                                                                                            \
                b[v] = _mm512_load_si512(panel + l * PANEL + 8 * v);                                                               \
            for (int i = 0; i < R; i++) {                                                                                          \
                const __m512i a = _mm512_set1_epi64((long long)x[(size_t)i * ldx + l]);                                            \
                for (int v = 0; v < 4; v++)                                                                                        \
                    sum[i][v] = _mm512_add_epi64(sum[i][v], _mm512_mullo_epi64(a, b[v]));                                          \
            }                                                                                                                      \
        }                                                                                                                          \
        for (int i = 0; i < R; i++)                                                                                                \
            for (int v = 0; v < 4; v++) {                                                                                          \
                const size_t left = columns > (size_t)(8 * v) ? columns - (size_t)(8 * v) : 0;                                     \
                const __mmask8 mask = (__mmask8)(left >= 8 ? 0xffu : (1u << left) - 1);                                            \
                uint64_t *at = z + (size_t)i * ldz + 8 * v;                                                                        \
                _mm512_mask_storeu_epi64(at, mask, _mm512_add_epi64(_mm512_maskz_loadu_epi64(mask, at), sum[i][v]));               \
            }                                                                                                                      \
    }
MICRO(1)
MICRO(2)
MICRO(3)
MICRO(4)
MICRO(5)
MICRO(6)

/* y [k] rows of `left` numbers, n apart, of which up to PANEL go into the panel. Asks for the next panel's meanwhile: rows are further apart than a
 * processor looks ahead. */
AVX512 static void pack(uint64_t *panel, const uint64_t *y, size_t k, size_t n, size_t left)
{
    for (size_t l = 0; l < k; l++, y += n, panel += PANEL) {
        if (left < PANEL) {
            memcpy(panel, y, left * sizeof *panel);
            memset(panel + left, 0, (PANEL - left) * sizeof *panel);
            continue;
        }
        for (size_t v = 0; v < PANEL; v += 8)
            _mm512_store_si512(panel + v, _mm512_loadu_si512(y + v));
        for (size_t v = PANEL; v < 2 * PANEL && v < left; v += 8)
            _mm_prefetch((const char *)(y + v), _MM_HINT_T0);
    }
}

static void matmul_avx512(uint64_t *z, const uint64_t *x, const uint64_t *y, size_t m, size_t k, size_t n, uint64_t *panel)
{
    static void (*const micro[])(uint64_t *, size_t, const uint64_t *, size_t, const uint64_t *, size_t,
                                 size_t) = {NULL, micro_1, micro_2, micro_3, micro_4, micro_5, micro_6};
    for (size_t l = 0; l < k; l += DEEP)
        for (size_t j = 0; j < n; j += PANEL) {
            const size_t deep = k - l < DEEP ? k - l : DEEP, columns = n - j < PANEL ? n - j : PANEL;
            pack(panel, y + l * n + j, deep, n, n - j);
            for (size_t i = 0; i < m; i += ROWS)
                micro[m - i < ROWS ? m - i : ROWS](z + i * n + j, n, x + i * k + l, k, panel, deep, columns);
        }
}
#endif

void ring_matmul_add(uint64_t *z, const uint64_t *x, const uint64_t *y, size_t m, size_t k, size_t n, uint64_t *work, int fast)
{
#if defined(__x86_64__)
    if (fast && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) {
        matmul_avx512(z, x, y, m, k, n, work);
        return;
    }
#endif
    (void)work;
    (void)fast;
    matmul_plain(z, x, y, m, k, n);
}
