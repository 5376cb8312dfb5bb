#include "server/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

struct worker {
    const struct net *net;
    struct scratch *scratch;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int wake_fd;
    /* under the lock */
    enum { IDLE, BUSY, DONE, STOP } state;
    struct core_job jobs[WORKER_BATCH];
    int n;
    uint32_t us;
};

static void compute(struct worker *w)
{
    struct forward_seq seqs[WORKER_BATCH];
    uint64_t start = clock_us();
    for (int i = 0; i < w->n; i++)
        seqs[i] = w->jobs[i].seq;
    forward(w->net, w->scratch, seqs, w->n);
    uint64_t us = clock_us() - start;
    w->us = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static void *run(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (w->state != BUSY && w->state != STOP)
            pthread_cond_wait(&w->wake, &w->lock);
        if (w->state == STOP)
            break;
        /* The jobs are ours until the state says DONE. */
        pthread_mutex_unlock(&w->lock);
        compute(w);
        pthread_mutex_lock(&w->lock);
        if (w->state != STOP)
            w->state = DONE;
        const uint64_t one = 1;
        while (write(w->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int worker_open(struct worker **out, const struct net *net, int rows, int wake_fd, struct err *err)
{
    struct worker *w = calloc(1, sizeof *w);
    if (w == NULL)
        return err_oom(err, sizeof *w);
    w->net = net;
    w->wake_fd = wake_fd;
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->wake, NULL);
    if (scratch_new(&w->scratch, net, rows, WORKER_BATCH, err) != 0)
        goto fail;
    int error = pthread_create(&w->thread, NULL, run, w);
    if (error != 0) {
        err_set(err, ERR_INTERNAL, "cannot start the compute thread: %s", strerror(error));
        goto fail;
    }
    w->started = true;
    *out = w;
    return 0;
fail:
    worker_close(w);
    return -1;
}

void worker_close(struct worker *w)
{
    if (w == NULL)
        return;
    if (w->started) {
        pthread_mutex_lock(&w->lock);
        w->state = STOP;
        pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&w->lock);
        (void)pthread_join(w->thread, NULL);
    }
    scratch_free(w->scratch);
    (void)pthread_cond_destroy(&w->wake);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

bool worker_idle(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool idle = w->state == IDLE;
    pthread_mutex_unlock(&w->lock);
    return idle;
}

void worker_start(struct worker *w, const struct core_job *jobs, int n)
{
    pthread_mutex_lock(&w->lock);
    memcpy(w->jobs, jobs, (size_t)n * sizeof *jobs);
    w->n = n;
    w->state = BUSY;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

int worker_finish(struct worker *w, struct core_job jobs[WORKER_BATCH], uint32_t *server_us)
{
    int n = 0;
    pthread_mutex_lock(&w->lock);
    if (w->state == DONE) {
        n = w->n;
        memcpy(jobs, w->jobs, (size_t)n * sizeof *jobs);
        *server_us = w->us;
        w->state = IDLE;
    }
    pthread_mutex_unlock(&w->lock);
    return n;
}
