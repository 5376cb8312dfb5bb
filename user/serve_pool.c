#include "user/serve_pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/threads.h"
#include "user/verifier.h"

#define LOOK_MS 50 /* how often a waiting request looks whether it is still wanted */

struct place {
    struct connection *c;
    struct speculate *speculate; /* keeps what it has learnt of this connection's pace */
};

struct pool {
    const struct setup *set;
    struct verifier *verifier; /* NULL: no known questions */
    int most, guesses;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t freed;
    struct place *idle; /* [most] */
    struct pool_stats stats;
};

int pool_open(struct pool **out, const struct setup *set, int most, int guesses, struct err *err)
{
    struct pool *p = calloc(1, sizeof *p);
    if (p == NULL || (p->idle = calloc((size_t)most, sizeof *p->idle)) == NULL) {
        free(p);
        return err_oom(err, sizeof *p);
    }
    p->set = set;
    p->most = most;
    p->guesses = guesses;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->freed, NULL);
    if (verifier_open(&p->verifier, set, err) != 0) {
        pool_close(p);
        return -1;
    }
    *out = p;
    return 0;
}

/* Under the lock. One answer alone may use all threads for the user's part of it; many keep the CPUs busy by themselves. */
static void count_busy(struct pool *p, int change)
{
    p->stats.busy += change;
    threads_apart(p->stats.busy > 1);
}

/* A new connection in the place of none. */
static int connect_lease(struct pool *p, struct lease *l, struct err *err)
{
    struct place fresh = {0};
    if (setup_connection(p->set, &fresh.c, NULL, err) != 0)
        return -1;
    if (p->guesses != 0 && speculate_new(&fresh.speculate, p->guesses, NULL, err) != 0) {
        connection_close(fresh.c);
        return -1;
    }
    l->c = fresh.c;
    l->speculate = fresh.speculate;
    l->before = connection_stats(l->c);
    l->fresh = true;
    (void)pthread_mutex_lock(&p->lock);
    p->stats.open++;
    p->stats.context = (int)l->c->server.max_tokens;
    (void)pthread_mutex_unlock(&p->lock);
    return 0;
}

static void drop(struct pool *p, struct place *at)
{
    if (at->c == NULL)
        return;
    connection_close(at->c);
    speculate_free(at->speculate);
    (void)pthread_mutex_lock(&p->lock);
    p->stats.open--;
    (void)pthread_mutex_unlock(&p->lock);
}

/* After one has died the others have too: the server was restarted. */
static void drop_idle(struct pool *p)
{
    struct place at;
    do {
        (void)pthread_mutex_lock(&p->lock);
        at = p->stats.idle > 0 ? p->idle[--p->stats.idle] : (struct place){0};
        (void)pthread_mutex_unlock(&p->lock);
        drop(p, &at);
    } while (at.c != NULL);
}

void pool_close(struct pool *p)
{
    if (p == NULL)
        return;
    drop_idle(p);
    verifier_close(p->verifier);
    pthread_cond_destroy(&p->freed);
    pthread_mutex_destroy(&p->lock);
    free(p->idle);
    free(p);
}

static void wait_a_moment(struct pool *p)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += LOOK_MS * 1000000L;
    t.tv_sec += t.tv_nsec / 1000000000L;
    t.tv_nsec %= 1000000000L;
    (void)pthread_cond_timedwait(&p->freed, &p->lock, &t);
}

int pool_take(struct pool *p, struct lease *out, atomic_bool *cancel, struct err *err)
{
    struct lease l = {0};
    if (verifier_check(p->verifier, err) != 0)
        return -1;
    (void)pthread_mutex_lock(&p->lock);
    p->stats.waiting++;
    while (p->stats.busy == p->most && !atomic_load(cancel))
        wait_a_moment(p);
    p->stats.waiting--;
    bool wanted = !atomic_load(cancel);
    if (wanted) {
        count_busy(p, 1);
        if (p->stats.idle > 0) {
            const struct place *at = &p->idle[--p->stats.idle];
            l.c = at->c;
            l.speculate = at->speculate;
        }
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (!wanted)
        return err_set(err, ERR_PEER, "the client has gone");
    if (p->set->grant->engine)
        l.engine = p->set;
    else if (l.c != NULL)
        l.before = connection_stats(l.c);
    else if (connect_lease(p, &l, err) != 0) {
        pool_give(p, &l, NULL);
        return -1;
    }
    *out = l;
    return 0;
}

/* A request that has begun is brought to its end, whatever the line and the server do meanwhile. */
static int keep(const struct pool *p, struct lease *l, const atomic_bool *cancel)
{
    l->c->retry_ms = p->set->retry_ms;
    l->c->abandoned = cancel;
    return 0;
}

int pool_session(struct pool *p, struct lease *l, int tokens, int outputs, const atomic_bool *cancel, struct err *err)
{
    struct err first;
    outputs += speculate_most(l->speculate);
    if (session_open(&l->s, l->c, tokens, outputs, &first) == 0)
        return keep(p, l, cancel);
    l->s = NULL;
    if (first.code != ERR_PEER || channel_code(l->c->channel) == WIRE_BUSY || l->fresh) {
        *err = first;
        return -1;
    }
    log_debug("%s; connecting again", first.text);
    drop(p, &(struct place){l->c, l->speculate});
    l->c = NULL;
    drop_idle(p);
    if (connect_lease(p, l, err) != 0)
        return -1;
    if (session_open(&l->s, l->c, tokens, outputs, err) == 0)
        return keep(p, l, cancel);
    l->s = NULL;
    return -1;
}

void pool_give(struct pool *p, struct lease *l, struct channel_stats *used)
{
    struct channel_stats now, moved = l->moved;
    session_close(l->s);
    if (l->c != NULL) {
        l->c->retry_ms = 0; /* the next request is told at once when there is no server */
        l->c->abandoned = NULL;
        now = connection_stats(l->c);
        moved.bytes_up = now.bytes_up - l->before.bytes_up;
        moved.bytes_down = now.bytes_down - l->before.bytes_down;
        moved.round_trips = now.round_trips - l->before.round_trips;
        if (l->broken || channel_broken(l->c->channel)) {
            drop(p, &(struct place){l->c, l->speculate});
            l->c = NULL;
        }
    }
    (void)pthread_mutex_lock(&p->lock);
    count_busy(p, -1);
    p->stats.bytes_up += moved.bytes_up;
    p->stats.bytes_down += moved.bytes_down;
    p->stats.round_trips += moved.round_trips;
    if (l->c != NULL)
        p->idle[p->stats.idle++] = (struct place){l->c, l->speculate};
    (void)pthread_cond_signal(&p->freed);
    (void)pthread_mutex_unlock(&p->lock);
    if (used != NULL)
        *used = moved;
    *l = (struct lease){0};
}

void pool_verify(struct pool *p, int room)
{
    atomic_bool never = false;
    struct lease l;
    struct err err;
    if (p->verifier == NULL || pool_take(p, &l, &never, &err) != 0)
        return;
    l.broken = !verifier_turn(p->verifier, l.c, l.speculate, room);
    pool_give(p, &l, NULL);
}

void pool_verified(const struct pool *p, unsigned long long *asked, unsigned long long *failed)
{
    verifier_counts(p->verifier, asked, failed);
}

int pool_check(struct pool *p, struct err *err)
{
    if (p->set->grant->engine)
        return backend_check(&p->set->backend, err);
    atomic_bool never = false;
    struct msg_stats stats;
    struct lease l;
    (void)pthread_mutex_lock(&p->lock);
    bool busy = p->stats.busy > 0; /* a server that is answering is there */
    (void)pthread_mutex_unlock(&p->lock);
    if (busy)
        return 0;
    for (int attempt = 0; attempt < 2; attempt++) {
        if (pool_take(p, &l, &never, err) != 0)
            return -1;
        int rc = client_stats(l.c->channel, &stats, err);
        l.broken = rc != 0;
        pool_give(p, &l, NULL);
        if (rc == 0)
            return 0;
        drop_idle(p);
    }
    return -1;
}

struct pool_stats pool_stats(struct pool *p)
{
    (void)pthread_mutex_lock(&p->lock);
    struct pool_stats s = p->stats;
    (void)pthread_mutex_unlock(&p->lock);
    return s;
}
