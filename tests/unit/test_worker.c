/* server/worker: what it computed in its own thread, and in those that help it, is what forward() gives here. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/threads.h"
#include "engine/kvcache.h"
#include "server/worker.h"
#include "tests/support/rig.h"

#define ROWS 8
#define ROUNDS 30

static struct err err;
static struct worker *worker;
static int wake;

static void set_up(void)
{
    rig_load("LlamaForCausalLM", &rig_long, true);
    rig_begin();
    wake = eventfd(0, EFD_CLOEXEC);
    cr_assert_eq(threads_start(3, &err), 0, "%s", err.text);
    cr_assert_eq(worker_open(&worker, rig.net, 2 * ROWS, wake, &err), 0, "%s", err.text);
}

static void tear_down(void)
{
    worker_close(worker);
    threads_stop();
    close(wake);
    rig_drop();
}

TestSuite(worker, .init = set_up, .fini = tear_down);

struct text {
    struct kvcache *kv;
    float x[ROWS * 64], *y;
};

static void text_make(struct text *t, int rounds)
{
    t->y = calloc((size_t)net_outputs(rig.net), sizeof *t->y);
    cr_assert(rig.net->config.D <= 64 && t->y != NULL);
    cr_assert_eq(kvcache_new_alone(&t->kv, &rig.net->config, KV_F32, rounds * ROWS, &err), 0, "%s", err.text);
}

static void text_free(struct text *t)
{
    kvcache_free(t->kv);
    free(t->y);
}

static struct forward_seq step(struct text *t, int round)
{
    for (int i = 0; i < ROWS * rig.net->config.D; i++)
        t->x[i] = (float)((i * 7 + round * 13) % 29 - 14) / 16;
    return (struct forward_seq){.kv = t->kv, .x = t->x, .T = ROWS, .out_from = ROWS - 1, .out_n = 1, .out = t->y};
}

/* The waiter writes the next rows into the same memory right after it was woken. Mutations: the eventfd is written before the batch
 * is computed; the state is set, or read, without the lock (under the thread sanitizer, make test-tsan, a report). */
Test(worker, gives_the_numbers_of_a_computation_here_round_after_round)
{
    struct text there = {0}, here = {0};
    struct scratch *scratch;
    text_make(&there, ROUNDS);
    text_make(&here, ROUNDS);
    cr_assert_eq(scratch_new(&scratch, rig.net, ROWS, 1, &err), 0, "%s", err.text);
    for (int round = 0; round < ROUNDS; round++) {
        struct core_job job = {.seq = step(&there, round)}, back[WORKER_BATCH];
        struct forward_seq seq = step(&here, round);
        uint64_t times;
        uint32_t us;
        cr_assert(worker_idle(worker));
        worker_start(worker, &job, 1);
        forward(rig.net, scratch, &seq, 1); /* at the same time */
        cr_assert_eq(read(wake, &times, sizeof times), sizeof times);
        cr_assert_eq(times, 1);
        cr_assert_eq(worker_finish(worker, back, &us), 1);
        cr_assert_eq(worker_finish(worker, back, &us), 0, "given twice");
        cr_assert_eq(back[0].seq.out, there.y);
        cr_assert_arr_eq(there.y, here.y, (size_t)net_outputs(rig.net) * sizeof *here.y, "round %d", round);
    }
    scratch_free(scratch);
    text_free(&there);
    text_free(&here);
}

/* Mutation: worker_close does not wait, and what the caller frees next is still being written (a report of either sanitizer). */
Test(worker, closing_waits_for_the_batch_that_is_computed)
{
    struct text t = {0};
    text_make(&t, 1);
    struct core_job job = {.seq = step(&t, 0)};
    worker_start(worker, &job, 1);
    worker_close(worker);
    text_free(&t);
    cr_assert_eq(worker_open(&worker, rig.net, ROWS, wake, &err), 0, "%s", err.text);
    cr_expect(worker_idle(worker));
}
