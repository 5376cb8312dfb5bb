#include "bench/machine.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bench/machine_units.h"

#define BYTES ((size_t)512 << 20)
#define TRIES 7
#define THREADS_MAX 256
#define LOOP_S 0.03 /* long enough that starting threads does not count */

struct work {
    const char *data;
    size_t bytes;
    machine_loop loop;
    long rounds;
    double result; /* keeps the compiler from dropping the loop */
};

static void *read_part(void *arg)
{
    struct work *w = arg;
    w->result = machine_read(w->data, w->bytes);
    return NULL;
}

static void *run_loop(void *arg)
{
    struct work *w = arg;
    w->result = w->loop(w->rounds);
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

/* Best of TRIES, `amount` per second. */
static int best_rate(void *(*job)(void *), struct work *w, int threads, double amount, double *rate, struct err *err)
{
    double seconds, best = 0;
    for (int t = 0; t < TRIES; t++) {
        if (run(job, w, threads, &seconds, err) != 0)
            return -1;
        best = amount / seconds > best ? amount / seconds : best;
    }
    *rate = best;
    return 0;
}

/* The number of rounds is found on the way: it is very different with and without optimisation. */
static int measure_unit(struct work *w, int threads, enum machine_unit unit, double *rate, struct err *err)
{
    double per_round, seconds = 0;
    machine_loop loop = machine_unit_loop(unit, &per_round);
    if (loop == NULL)
        return 0;
    for (long rounds = 1 << 16; seconds < LOOP_S; rounds *= 2) {
        for (int i = 0; i < threads; i++) {
            w[i].loop = loop;
            w[i].rounds = rounds;
        }
        if (run(run_loop, w, threads, &seconds, err) != 0)
            return -1;
    }
    return best_rate(run_loop, w, threads, per_round * (double)w[0].rounds * threads, rate, err);
}

int machine_measure(struct machine *out, int threads, struct err *err)
{
    struct work w[THREADS_MAX];
    struct machine m = {0};
    if (threads < 1 || threads > THREADS_MAX)
        return err_set(err, ERR_USAGE, "between 1 and %d threads, found %d", THREADS_MAX, threads);
    char *data = aligned_alloc(64, BYTES);
    if (data == NULL)
        return err_oom(err, BYTES);
    memset(data, 0, BYTES);
    for (int i = 0; i < threads; i++) {
        size_t part = BYTES / (size_t)threads / 256 * 256;
        w[i] = (struct work){.data = data + (size_t)i * part, .bytes = part};
    }
    int rc = best_rate(read_part, w, threads, (double)BYTES, &m.bandwidth, err);
    free(data);
    for (enum machine_unit u = 0; rc == 0 && u < MACHINE_UNITS; u++)
        rc = measure_unit(w, threads, u, &m.ops[u], err);
    if (rc == 0)
        *out = m;
    return rc;
}

void machine_best(struct machine *m, const struct machine *other)
{
    if (other->bandwidth > m->bandwidth)
        m->bandwidth = other->bandwidth;
    for (enum machine_unit u = 0; u < MACHINE_UNITS; u++)
        if (other->ops[u] > m->ops[u])
            m->ops[u] = other->ops[u];
}

const char *machine_unit_name(enum machine_unit unit)
{
    static const char *const names[MACHINE_UNITS] = {"f32_fma", "bf16_dot", "bf16_amx", "int8_dot", "int8_amx"};
    return names[unit];
}

double machine_peak(const struct machine *m, const char *dtype)
{
    static const struct {
        const char *dtype;
        enum machine_unit first, last;
    } narrow[] = {{"bf16", MACHINE_BF16_DOT, MACHINE_BF16_AMX}, {"int8", MACHINE_INT8_DOT, MACHINE_INT8_AMX}};
    double peak = m->ops[MACHINE_F32_FMA];
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
        if (strcmp(dtype, narrow[i].dtype) == 0)
            for (enum machine_unit u = narrow[i].first; u <= narrow[i].last; u++)
                peak = m->ops[u] > peak ? m->ops[u] : peak;
    return peak;
}
