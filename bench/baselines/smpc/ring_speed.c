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

#define CHAINS 20

__attribute__((target("avx512f,avx512dq"))) static double limit_avx512(void)
{
    enum { ROUNDS = 1 << 19 };
    double rate[REPEATS];
    __m512i sum[CHAINS], x = _mm512_set1_epi64(0x123456789abcdef), y = _mm512_set1_epi64(0x0fedcba987654321);
    for (int i = 0; i < CHAINS; i++)
        sum[i] = _mm512_set1_epi64(i);
    for (int r = 0; r < REPEATS; r++) {
        const double start = cpu_s();
        for (int k = 0; k < ROUNDS; k++)
            for (int i = 0; i < CHAINS; i++) {
                __asm__ volatile("" : "+v"(x)); /* each product is a new one */
                sum[i] = _mm512_add_epi64(sum[i], _mm512_mullo_epi64(x, y));
            }
        rate[r] = 8.0 * CHAINS * ROUNDS / (cpu_s() - start);
    }
    for (int i = 1; i < CHAINS; i++)
        sum[0] = _mm512_add_epi64(sum[0], sum[i]);
    volatile long long kept = _mm512_reduce_add_epi64(sum[0]); /* so that the loop stays */
    (void)kept;
    return stats_median(rate, REPEATS);
}
#endif

double ring_speed_limit(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq"))
        return limit_avx512();
#endif
    return 0;
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
