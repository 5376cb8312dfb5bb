#include "transport/http_watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"

#define NEVER UINT64_MAX

/* Those that are waited for stand in the list in the order in which their time is over, which is that of their coming: all have as
 * long. The others are in no list. */
struct watched {
    struct watched *before, *after;
    uint64_t end; /* NEVER: not in the list */
    int fd;
    bool begun; /* the headers are there */
    bool cut;
};

struct watch {
    uint64_t time;
    unsigned most;
    pthread_t thread;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t news;
    struct watched *first, *last;
    unsigned count; /* of connections that were not cut */
    bool patient;   /* the thread waits for the first of the list */
    bool over;
};

/* ------------------------------------------------------------------ the list, under the lock */

static void take_out(struct watch *w, struct watched *c)
{
    if (c->end == NEVER)
        return;
    *(c->before == NULL ? &w->first : &c->before->after) = c->after;
    *(c->after == NULL ? &w->last : &c->after->before) = c->before;
    c->end = NEVER;
}

static void put_last(struct watch *w, struct watched *c, bool begun)
{
    take_out(w, c);
    if (c->cut)
        return;
    c->begun = begun;
    c->end = clock_ms() + w->time;
    c->before = w->last;
    c->after = NULL;
    *(w->last == NULL ? &w->first : &w->last->after) = c;
    w->last = c;
    if (w->patient)
        (void)pthread_cond_signal(&w->news);
}

static void cut(struct watch *w, struct watched *c)
{
    take_out(w, c);
    (void)shutdown(c->fd, SHUT_RDWR);
    c->cut = true;
    w->count--;
}

/* Whoever is sending a request, or has its answer to come, is not cut for others; then it is the one that came. */
static void make_room(struct watch *w)
{
    struct watched *c = w->first;
    while (c->begun)
        c = c->after;
    cut(w, c);
}

/* ------------------------------------------------------------------ the thread */

static void *run(void *arg)
{
    struct watch *w = arg;
    (void)pthread_mutex_lock(&w->lock);
    while (!w->over) {
        if (w->first == NULL) {
            w->patient = true;
            (void)pthread_cond_wait(&w->news, &w->lock);
            w->patient = false;
        } else if (w->first->end <= clock_ms())
            cut(w, w->first);
        else {
            const struct timespec until = {.tv_sec = (time_t)(w->first->end / 1000), .tv_nsec = (long)(w->first->end % 1000) * 1000000L};
            (void)pthread_cond_timedwait(&w->news, &w->lock, &until);
        }
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

int watch_open(struct watch **out, unsigned request_s, unsigned most, struct err *err)
{
    struct watch *w = calloc(1, sizeof *w);
    pthread_condattr_t monotonic;
    if (w == NULL)
        return err_oom(err, sizeof *w);
    w->time = UINT64_C(1000) * request_s;
    w->most = most;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->news, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    const int rc = pthread_create(&w->thread, NULL, run, w);
    if (rc == 0) {
        *out = w;
        return 0;
    }
    pthread_cond_destroy(&w->news);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return err_set(err, ERR_INTERNAL, "cannot start a thread that watches connections: %s", strerror(rc));
}

void watch_close(struct watch *w)
{
    if (w == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->over = true;
    (void)pthread_cond_signal(&w->news);
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->news);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* ------------------------------------------------------------------ what happens to a connection */

struct watched *watch_add(struct watch *w, int fd)
{
    struct watched *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    *c = (struct watched){.fd = fd, .end = NEVER};
    (void)pthread_mutex_lock(&w->lock);
    put_last(w, c, false);
    if (++w->count > w->most)
        make_room(w);
    (void)pthread_mutex_unlock(&w->lock);
    return c;
}

void watch_request(struct watch *w, struct watched *c)
{
    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    put_last(w, c, true);
    (void)pthread_mutex_unlock(&w->lock);
}

void watch_busy(struct watch *w, struct watched *c)
{
    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    take_out(w, c);
    (void)pthread_mutex_unlock(&w->lock);
}

void watch_idle(struct watch *w, struct watched *c)
{
    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    put_last(w, c, false);
    (void)pthread_mutex_unlock(&w->lock);
}

void watch_remove(struct watch *w, struct watched *c)
{
    if (c == NULL)
        return;
    (void)pthread_mutex_lock(&w->lock);
    take_out(w, c);
    if (!c->cut)
        w->count--;
    (void)pthread_mutex_unlock(&w->lock);
    free(c);
}
