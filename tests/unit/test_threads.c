/* base/threads: how many there are, and that every task runs once. */
#include <criterion/criterion.h>
#include <pthread.h>
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

/* Two callers: one of them has the pool, the other one goes alone. Mutation: a caller that finds the pool busy drops its tasks, or
 * puts them into the other's job. */
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
