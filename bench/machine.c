#include "bench/machine.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define BYTES ((size_t)512 << 20)
#define TRIES 5
#define THREADS_MAX 256
#define ROUNDS 4000000

typedef float vec __attribute__((vector_size(64)));

struct work {
    const char *data;
    size_t bytes;
    double result; /* keeps the compiler from dropping the loop */
};

/* The widest instructions that the CPU has, with multiply and add contracted: the limit is that of FMA. Built with another
 * compiler than gcc the limits are those of the baseline instruction set. */
#if defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx512f", "arch=haswell", "default"), optimize("fp-contract=fast")))
#else
#define WIDE
#endif

WIDE static void *read_all(void *arg)
{
    struct work *w = arg;
    const vec *p = (const void *)w->data;
    vec a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i + 4 <= w->bytes / sizeof(vec); i += 4) {
        a += p[i];
        b += p[i + 1];
        c += p[i + 2];
        d += p[i + 3];
    }
    a += b + c + d;
    w->result = (double)a[0];
    return NULL;
}

/* Twelve independent chains hide the latency of a multiply-add. */
WIDE static void *multiply_all(void *arg)
{
    struct work *w = arg;
    const vec x = {1e-9f, 2e-9f}, y = {1.0f, 1.0f};
    vec v[12] = {{0}};
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < 12; i++)
            v[i] = v[i] * y + x;
    w->result = 0;
    for (int i = 0; i < 12; i++)
        w->result += (double)v[i][0];
    return NULL;
}

static int run(void *(*job)(void *), struct work *w, int threads, double *seconds, struct err *err)
{
    pthread_t id[THREADS_MAX];
    int started = 0;
    uint64_t start = clock_us();
    while (started < threads && pthread_create(&id[started], NULL, job, &w[started]) == 0)
        started++;
    for (int i = 0; i < started; i++)
        (void)pthread_join(id[i], NULL);
    *seconds = (double)(clock_us() - start) / 1e6;
    return started == threads ? 0 : err_set(err, ERR_INTERNAL, "cannot start %d threads", threads);
}

int machine_measure(struct machine *out, int threads, struct err *err)
{
    struct work w[THREADS_MAX];
    struct machine best = {0, 0};
    double seconds;
    if (threads < 1 || threads > THREADS_MAX)
        return err_set(err, ERR_USAGE, "between 1 and %d threads, found %d", THREADS_MAX, threads);
    char *data = aligned_alloc(64, BYTES);
    if (data == NULL)
        return err_oom(err, BYTES);
    memset(data, 0, BYTES);
    int rc = 0;
    for (int i = 0; i < threads; i++) {
        size_t part = BYTES / (size_t)threads / 64 * 64;
        w[i] = (struct work){.data = data + (size_t)i * part, .bytes = part};
    }
    for (int t = 0; rc == 0 && t < TRIES; t++) {
        if ((rc = run(read_all, w, threads, &seconds, err)) == 0 && (double)BYTES / seconds > best.bandwidth)
            best.bandwidth = (double)BYTES / seconds;
        double flop = 2.0 * 12 * 16 * ROUNDS * threads;
        if (rc == 0 && (rc = run(multiply_all, w, threads, &seconds, err)) == 0 && flop / seconds > best.flops)
            best.flops = flop / seconds;
    }
    free(data);
    if (rc == 0)
        *out = best;
    return rc;
}
