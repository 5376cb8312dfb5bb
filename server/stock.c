#include "server/stock.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define NICE 19 /* of the thread: pages are made in what the others leave of the processors */

struct stock {
    struct kvpool *pool;
    pthread_t thread;
    bool started;
    sem_t asked;                     /* once for each page, and at the end */
    size_t open;                     /* asked for and not taken */
    _Atomic(struct kvpage *) made;   /* a list; pushed one by one, taken whole */
    atomic_size_t failed;
    atomic_bool stop;
};

static void *run(void *arg)
{
    struct stock *st = arg;
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* on Linux: of this thread; a refusal costs speed only */
    for (;;) {
        while (sem_wait(&st->asked) != 0 && errno == EINTR)
            continue;
        if (atomic_load(&st->stop))
            return NULL;
        struct kvpage *page = kvpage_new(st->pool);
        if (page == NULL) {
            atomic_fetch_add(&st->failed, 1);
            continue;
        }
        page->next = atomic_load(&st->made);
        while (!atomic_compare_exchange_weak(&st->made, &page->next, page))
            continue;
    }
}

int stock_open(struct stock **out, struct kvpool *pool, struct err *err)
{
    struct stock *st = calloc(1, sizeof *st);
    if (st == NULL)
        return err_oom(err, sizeof *st);
    st->pool = pool;
    (void)sem_init(&st->asked, 0, 0);
    const int error = pthread_create(&st->thread, NULL, run, st);
    if (error != 0) {
        stock_close(st);
        return err_set(err, ERR_INTERNAL, "cannot start the thread that makes pages ready: %s", strerror(error));
    }
    st->started = true;
    *out = st;
    return 0;
}

static void take(struct stock *st)
{
    st->open -= atomic_exchange(&st->failed, 0);
    for (struct kvpage *page = atomic_exchange(&st->made, NULL), *next; page != NULL; page = next) {
        next = page->next;
        kvpool_add(st->pool, page);
        st->open--;
    }
}

void stock_close(struct stock *st)
{
    if (st == NULL)
        return;
    if (st->started) {
        atomic_store(&st->stop, true);
        (void)sem_post(&st->asked);
        (void)pthread_join(st->thread, NULL);
        take(st);
    }
    (void)sem_destroy(&st->asked);
    free(st);
}

void stock_turn(struct stock *st)
{
    take(st);
    const size_t share = kvpool_budget(st->pool) / STOCK_SHARE / kvpool_page_bytes(st->pool), most = share < STOCK_PAGES ? share : STOCK_PAGES;
    const size_t ready = kvpool_ready(st->pool), room = kvpool_room(st->pool);
    for (; ready + st->open < most && st->open < room && sem_post(&st->asked) == 0; st->open++)
        continue;
}
