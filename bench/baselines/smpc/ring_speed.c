#include "bench/baselines/smpc/ring_speed.h"

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "base/crypto.h"
#include "bench/baselines/smpc/ring.h"
#include "bench/stats.h"

#define REPEATS 9
#define LEAST_S 0.02 /* of one measurement */

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define CHAINS 16 /* as many as latency needs, and few enough for registers */
#define ROUNDS (1 << 19)

/* Steps on eight lanes in a second: `step` makes the next sum of each chain from the last. */
#define LIMIT(name, features, type, init, step, plus, reduce)                                                                       \
    __attribute__((target("avx512f,avx512dq," features))) static double name(void)                                                  \
    {                                                                                                                               \
        double rate[REPEATS];                                                                                                       \
        type sum[CHAINS];                                                                                                           \
        volatile int three = 3, five = 5; /* not known: a product with a constant is shifts and sums */                             \
        const type x = init(three), y = init(five);                                                                                 \
        for (int i = 0; i < CHAINS; i++)                                                                                            \
            sum[i] = init(i);                                                                                                       \
        for (int r = 0; r < REPEATS; r++) {                                                                                         \
            const double start = cpu_s();                                                                                           \
            for (int k = 0; k < ROUNDS; k++)                                                                                        \
                for (int i = 0; i < CHAINS; i++)                                                                                    \
                    sum[i] = step;                                                                                                  \
            rate[r] = 8.0 * CHAINS * ROUNDS / (cpu_s() - start);                                                                    \
        }                                                                                                                           \
        for (int i = 1; i < CHAINS; i++)                                                                                            \
            sum[0] = plus(sum[0], sum[i]);                                                                                          \
        volatile double kept = (double)reduce(sum[0]); /* so that the loop stays */                                                 \
        (void)kept;                                                                                                                 \
        return stats_median(rate, REPEATS);                                                                                         \
    }
LIMIT(words, "avx512f", __m512i, _mm512_set1_epi64, _mm512_add_epi64(_mm512_mullo_epi64(sum[i], y), x), _mm512_add_epi64, _mm512_reduce_add_epi64)
LIMIT(halves, "avx512f", __m512i, _mm512_set1_epi64, _mm512_add_epi64(_mm512_mul_epu32(sum[i], y), x), _mm512_add_epi64, _mm512_reduce_add_epi64)
LIMIT(limbs, "avx512ifma", __m512i, _mm512_set1_epi64, _mm512_madd52lo_epu64(sum[i], x, y), _mm512_add_epi64, _mm512_reduce_add_epi64)
LIMIT(doubles, "avx512f", __m512d, _mm512_set1_pd, _mm512_fmadd_pd(x, y, sum[i]), _mm512_add_pd, _mm512_reduce_add_pd)
#endif

void ring_speed_limits(struct ring_speed_limit limit[RING_SPEED_UNITS])
{
    /* How many steps replace one product modulo 2^64: all pairs of halves or limbs below 2^64. Doubles hold exact sums of 512 products of 22 bits. */
    const struct ring_speed_limit all[RING_SPEED_UNITS] = {
        {"vpmullq, vpaddq", 1, 0}, {"vpmuludq, vpaddq", 3, 0}, {"vpmadd52", 4, 0}, {"vfmadd of doubles", 6, 0}};
    for (int i = 0; i < RING_SPEED_UNITS; i++)
        limit[i] = all[i];
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq"))
        return;
    limit[0].per_s = words();
    limit[1].per_s = halves() / limit[1].steps;
    limit[2].per_s = __builtin_cpu_supports("avx512ifma") ? limbs() / limit[2].steps : 0;
    limit[3].per_s = doubles() / limit[3].steps;
#endif
}

int ring_speed(double *rate, int m, int k, int n, struct err *err)
{
    const size_t a = (size_t)m * (size_t)k, b = (size_t)k * (size_t)n, c = (size_t)m * (size_t)n, work = ring_matmul_words((size_t)k);
    uint64_t *x = aligned_alloc(64, ((a + b + c + work) * sizeof *x + 256) / 64 * 64);
    double rates[REPEATS];
    if (x == NULL)
        return err_oom(err, (a + b + c + work) * sizeof *x);
    uint64_t *room = x, *y = room + (work + 7) / 8 * 8, *z = y + b, *left = z + c; /* the panel is aligned */
    int rc = crypto_random(y, (a + b + c) * sizeof *y, err);
    for (int r = 0; rc == 0 && r < REPEATS; r++) {
        const double start = cpu_s();
        double spent = 0;
        int times = 0;
        for (; spent < LEAST_S; times++, spent = cpu_s() - start)
            ring_matmul_add(z, left, y, (size_t)m, (size_t)k, (size_t)n, room, 1);
        rates[r] = (double)m * k * n * times / spent;
    }
    free(x);
    if (rc == 0)
        *rate = stats_median(rates, REPEATS);
    return rc;
}
