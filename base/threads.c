#include "base/threads.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define SPIN_US 60 /* about the longest stretch of one-threaded work inside a pass */
#define THREADS_MAX 256

/* Work is announced by a new generation. A helper enters (inside + 1), takes tasks if the job is still open, and leaves; the caller
 * closes the job when no task is left and waits for those inside. A helper that wakes too late finds it closed and has read nothing
 * of it: nobody waits for a thread that the system has put aside. */
struct start {
    unsigned generation;
    int cpu; /* that the thread stays on, ANY_CPU for none */
};
#define ANY_CPU (-1)

struct pool {
    int helpers;
    struct start start[THREADS_MAX];
    pthread_t thread[THREADS_MAX];
    pthread_mutex_t busy; /* held by the one caller */
    int free_cpu; /* the one that no helper stays on, ANY_CPU where helpers go anywhere; under busy */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int sleeping; /* under lock */
    _Alignas(64) atomic_uint generation;
    _Alignas(64) atomic_int next;   /* task to take */
    _Alignas(64) atomic_int inside; /* helpers that may be reading the job */
    atomic_bool open, stop, apart;
    int tasks;
    void (*task)(void *, int);
    void *arg;
};

static struct pool pool = {.busy = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void take_tasks(void)
{
    for (;;) {
        int i = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed);
        if (i >= pool.tasks)
            return;
        pool.task(pool.arg, i);
    }
}

/* Waits until the generation is not `seen` any more: spinning first, then asleep. */
static unsigned await_generation(unsigned seen)
{
    uint64_t until = 0;
    for (unsigned spins = 0;; spins++) {
        unsigned now = atomic_load_explicit(&pool.generation, memory_order_acquire);
        if (now != seen)
            return now;
        pause_briefly();
        if (spins % 64 != 63)
            continue;
        if (until == 0)
            until = clock_us() + SPIN_US;
        if (clock_us() < until)
            continue;
        pthread_mutex_lock(&pool.lock);
        pool.sleeping++;
        while (atomic_load_explicit(&pool.generation, memory_order_acquire) == seen)
            pthread_cond_wait(&pool.wake, &pool.lock);
        pool.sleeping--;
        pthread_mutex_unlock(&pool.lock);
    }
}

static void stay_on(int helper, int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    (void)pthread_setaffinity_np(pool.thread[helper], sizeof one, &one); /* a refusal costs speed only */
    pool.start[helper].cpu = cpu;
}

/* With a thread for every CPU there is nowhere to move to, and moving costs the caches. The caller stays free: threads that it makes
 * later would inherit its place. */
static void settle(void)
{
    cpu_set_t allowed;
    int helper = 0;
    pool.free_cpu = ANY_CPU;
    if (pool.helpers == 0 || pool.helpers + 1 != threads_cpus() || sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (!CPU_ISSET((size_t)cpu, &allowed))
            continue;
        else if (pool.free_cpu == ANY_CPU)
            pool.free_cpu = cpu;
        else
            stay_on(helper++, cpu);
}

/* The system may have put the caller where a helper stays, and would take milliseconds to see that another CPU idles: the helper goes
 * there at once. */
static void make_way(void)
{
    const int cpu = pool.free_cpu == ANY_CPU ? ANY_CPU : sched_getcpu();
    if (cpu == pool.free_cpu)
        return;
    for (int i = 0; i < pool.helpers; i++)
        if (pool.start[i].cpu == cpu) {
            stay_on(i, pool.free_cpu);
            pool.free_cpu = cpu;
            return;
        }
}

static void *run(void *arg)
{
    const struct start *start = arg;
    unsigned seen = start->generation;
    for (;;) {
        seen = await_generation(seen);
        if (atomic_load_explicit(&pool.stop, memory_order_relaxed))
            return NULL;
        atomic_fetch_add(&pool.inside, 1);
        if (atomic_load(&pool.open))
            take_tasks();
        atomic_fetch_sub(&pool.inside, 1);
    }
}

static void announce(void)
{
    atomic_fetch_add_explicit(&pool.generation, 1, memory_order_release);
    pthread_mutex_lock(&pool.lock);
    if (pool.sleeping > 0)
        pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

int threads_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

int threads_fit(int asked)
{
    int cpus = threads_cpus();
    if (asked > cpus)
        log_warn("threads: %d asked for, this process may run on %d CPUs; taking %d", asked, cpus, cpus);
    return asked == 0 || asked > cpus ? cpus : asked;
}

int threads_start(int n, struct err *err)
{
    assert(n >= 0);
    if (n == 0)
        n = threads_cpus();
    if (n > THREADS_MAX)
        n = THREADS_MAX;
    threads_stop();
    unsigned generation = atomic_load(&pool.generation);
    for (int i = 0; i < n - 1; i++) {
        pool.start[i] = (struct start){generation, ANY_CPU};
        int error = pthread_create(&pool.thread[i], NULL, run, &pool.start[i]);
        if (error != 0) {
            threads_stop();
            return err_set(err, ERR_INTERNAL, "cannot start compute thread %d of %d: %s", i + 2, n, strerror(error));
        }
        pool.helpers = i + 1;
    }
    settle();
    return 0;
}

void threads_stop(void)
{
    pthread_mutex_lock(&pool.busy);
    if (pool.helpers > 0) {
        atomic_store(&pool.stop, true);
        announce();
        for (int i = 0; i < pool.helpers; i++)
            (void)pthread_join(pool.thread[i], NULL);
        pool.helpers = 0;
        atomic_store(&pool.stop, false);
    }
    pthread_mutex_unlock(&pool.busy);
}

int threads_count(void)
{
    return pool.helpers + 1;
}

void threads_apart(bool apart)
{
    atomic_store_explicit(&pool.apart, apart, memory_order_relaxed);
}

void threads_for(int n, void (*task)(void *arg, int i), void *arg)
{
    if (n <= 1 || pool.helpers == 0 || atomic_load_explicit(&pool.apart, memory_order_relaxed) || pthread_mutex_trylock(&pool.busy) != 0) {
        for (int i = 0; i < n; i++)
            task(arg, i);
        return;
    }
    make_way();
    pool.tasks = n;
    pool.task = task;
    pool.arg = arg;
    atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
    atomic_store(&pool.open, true);
    announce();
    take_tasks();
    atomic_store(&pool.open, false);
    while (atomic_load(&pool.inside) > 0)
        pause_briefly();
    pthread_mutex_unlock(&pool.busy);
}
