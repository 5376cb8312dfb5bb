/* base/threads: how many there are, and that every task runs once. */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/threads.h"
#include "tests/support/capture.h"

static struct err err;

/* Mutations: more threads than CPUs taken; nothing said about it; 0 taken for one. */
Test(threads, more_than_there_are_cpus_are_not_taken_and_that_is_said)
{
    const int cpus = threads_cpus();
    struct capture c;
    char number[32];
    capture_begin(&c, STDERR_FILENO);
    int given = threads_fit(cpus + 7), all = threads_fit(0), one = threads_fit(1);
    char *said = capture_end(&c);
    cr_expect(given == cpus && all == cpus && one == 1, "%d, %d, %d of %d", given, all, one, cpus);
    (void)snprintf(number, sizeof number, "%d asked for", cpus + 7);
    cr_expect(strstr(said, number) != NULL, "%s", said);
    cr_expect(strstr(strstr(said, "asked for") + 1, "asked for") == NULL, "said once: %s", said);
    free(said);
}

struct counts {
    atomic_int done[500];
};

static void count(void *arg, int i)
{
    atomic_fetch_add(&((struct counts *)arg)->done[i], 1);
}

static void *work(void *arg)
{
    for (int round = 0; round < 200; round++)
        threads_for(500, count, arg);
    return NULL;
}

/* Two callers: one of them has the pool, the other one goes alone. Mutation: a caller that finds the pool busy puts its tasks into the
 * other's job. */
Test(threads, every_task_of_every_caller_runs_once)
{
    static struct counts counts[2];
    pthread_t other;
    cr_assert_eq(threads_start(4, &err), 0, "%s", err.text);
    cr_assert_eq(threads_count(), 4);
    cr_assert_eq(pthread_create(&other, NULL, work, &counts[1]), 0);
    (void)work(&counts[0]);
    (void)pthread_join(other, NULL);
    threads_stop();
    cr_assert_eq(threads_count(), 1);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 500; i++)
            cr_assert_eq(atomic_load(&counts[k].done[i]), 200, "task %d of caller %d", i, k);
}

struct busy {
    struct counts counts;
    atomic_int first; /* 1: has the pool; 2: may give it back */
};

static void hold(void *arg, int i)
{
    struct busy *b = arg;
    (void)i;
    if (atomic_load(&b->first) == 0)
        atomic_store(&b->first, 1);
    while (atomic_load(&b->first) != 2)
        (void)poll(NULL, 0, 1);
}

static void *work_meanwhile(void *arg)
{
    struct busy *b = arg;
    while (atomic_load(&b->first) != 1)
        (void)poll(NULL, 0, 1);
    threads_for(500, count, &b->counts);
    atomic_store(&b->first, 2);
    return NULL;
}

/* Mutation: a caller that finds the pool busy drops its tasks. */
Test(threads, a_caller_that_finds_the_pool_busy_does_its_tasks_alone)
{
    static struct busy busy;
    pthread_t other;
    cr_assert_eq(threads_start(2, &err), 0, "%s", err.text);
    cr_assert_eq(pthread_create(&other, NULL, work_meanwhile, &busy), 0);
    threads_for(2, hold, &busy);
    (void)pthread_join(other, NULL);
    threads_stop();
    for (int i = 0; i < 500; i++)
        cr_assert_eq(atomic_load(&busy.counts.done[i]), 1, "task %d", i);
}

static void count_slowly(void *arg, int i)
{
    (void)poll(NULL, 0, 1);
    count(arg, i);
}

/* Mutation: the caller does not wait for those who are inside. */
Test(threads, all_is_done_when_the_call_returns)
{
    static struct counts counts;
    cr_assert_eq(threads_start(4, &err), 0, "%s", err.text);
    for (int round = 1; round <= 40; round++) {
        threads_for(8, count_slowly, &counts);
        for (int i = 0; i < 8; i++)
            cr_assert_eq(atomic_load(&counts.done[i]), round, "task %d of round %d", i, round);
    }
    threads_stop();
}

struct sums {
    int in[64], out[64];
};

static void add(void *arg, int i)
{
    struct sums *s = arg;
    s->out[i] += s->in[i];
}

/* No atomics here: what the caller wrote is there for the tasks, what they wrote for the caller and for the next round's tasks. Under
 * the thread sanitizer (make test-tsan) these mutations are reports: a helper enters without looking whether the job is open; the
 * caller does not wait for those inside. And in the test before: a second caller that does not care that the pool is busy. */
Test(threads, what_one_round_wrote_the_next_one_reads)
{
    static struct sums s;
    cr_assert_eq(threads_start(3, &err), 0, "%s", err.text);
    for (int round = 0; round < 500; round++) {
        for (int i = 0; i < 64; i++)
            s.in[i] = round * i;
        threads_for(64, add, &s);
        for (int i = 0; i < 64; i++)
            cr_assert_eq(s.out[i], round * (round + 1) / 2 * i, "round %d, task %d", round, i);
    }
    threads_stop();
}

struct meeting {
    atomic_int there;
    int n;
    int cpu[CPU_SETSIZE];
};

/* Ends when every thread of the pool is in it. */
static void meet(void *arg, int i)
{
    struct meeting *m = arg;
    m->cpu[i] = sched_getcpu();
    atomic_fetch_add(&m->there, 1);
    while (atomic_load(&m->there) < m->n)
        (void)sched_yield();
}

/* Mutation: nobody makes way for a caller that the system has put elsewhere, who then waits behind a helper while a CPU idles. */
Test(threads, with_one_for_every_cpu_no_two_meet_on_one_wherever_the_caller_is, .timeout = 60)
{
    static struct meeting m;
    cpu_set_t all, one;
    const int n = threads_cpus();
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    cr_assert_eq(threads_start(n, &err), 0, "%s", err.text);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &all))
            continue;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
        m = (struct meeting){.n = n};
        threads_for(n, meet, &m);
        cr_assert_eq(sched_setaffinity(0, sizeof all, &all), 0);
        for (int i = 0; i < n; i++)
            for (int k = 0; k < i; k++)
                cr_expect_neq(m.cpu[i], m.cpu[k], "the caller on CPU %d", cpu);
    }
    threads_stop();
}
