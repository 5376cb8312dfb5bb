#include "model_dev/making.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct making {
    const char *dir;
    struct grant_source src;
    const struct peer_key *users;
    size_t count;
    atomic_bool stop, done;
    pthread_t thread;
    /* written before done */
    struct offers *offers;
    int rc;
    struct err err;
};

static void *run(void *arg)
{
    struct making *m = arg;
    m->rc = offers_open(&m->offers, m->dir, &m->src, m->users, m->count, &m->err);
    atomic_store(&m->done, true);
    return NULL;
}

int making_start(struct making **out, const char *dir, const struct grant_source *src, const struct peer_key *users, size_t n,
                 struct err *err)
{
    struct making *m = calloc(1, sizeof *m);
    if (m == NULL)
        return err_oom(err, sizeof *m);
    m->dir = dir;
    m->src = *src;
    m->src.stop = &m->stop;
    m->users = users;
    m->count = n;
    const int error = pthread_create(&m->thread, NULL, run, m);
    if (error != 0) {
        free(m);
        return err_set(err, ERR_INTERNAL, "cannot start the thread that makes grants: %s", strerror(error));
    }
    *out = m;
    return 0;
}

void making_close(struct making *m)
{
    if (m == NULL)
        return;
    atomic_store(&m->stop, true);
    (void)pthread_join(m->thread, NULL);
    offers_close(m->offers);
    free(m);
}

bool making_take(struct making *m, struct offers **offers, int *rc, struct err *err)
{
    if (!atomic_load(&m->done))
        return false;
    *rc = m->rc;
    if (m->rc == 0)
        *offers = m->offers;
    else
        *err = m->err;
    m->offers = NULL;
    return true;
}
