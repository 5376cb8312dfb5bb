#include "server/loader.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/kvcache.h"

enum state { IDLE, LOADING, DONE };

struct loader {
    const struct settings *settings;
    int wake_fd;
    pthread_t thread;
    pthread_mutex_t lock;
    size_t held;
    atomic_bool stop;
    /* under the lock */
    enum state state;
    struct loaded made;
    int rc;
    struct err err;
};

void loaded_free(struct loaded *m)
{
    worker_close(m->worker);
    stock_close(m->stock);
    kvpool_free(m->pool);
    package_free(m->package);
    *m = (struct loaded){0};
}

static int load(struct loaded *m, const struct loader *l, struct err *err)
{
    const struct settings *set = l->settings;
    const struct package_limits limits = {.weights = set->weights_bytes, .held = l->held,
                                          .others = set->kv_bytes + set->limits.steps, .stop = &l->stop};
    if (package_load(&m->package, set->package, set->developers, set->developer_count, &limits, err) != 0)
        return -1;
    const struct net *net = m->package->net;
    if (kvpool_new(&m->pool, &net->config, set->kv_dtype, set->kv_bytes, err) != 0)
        return -1;
    if (kvpool_page_bytes(m->pool) > set->kv_bytes)
        return err_set(err, ERR_INTERNAL,
                       "limits.memory_mb is %zu bytes, the keys and values of %d tokens of this model need %zu; give it more",
                       set->kv_bytes, KV_PAGE, kvpool_page_bytes(m->pool));
    if (stock_open(&m->stock, m->pool, err) != 0)
        return -1;
    return worker_open(&m->worker, net, core_pass_rows(&set->limits, &net->config), l->wake_fd, err);
}

static void *run(void *arg)
{
    struct loader *l = arg;
    struct loaded made = {0};
    struct err err = {0};
    const uint64_t start = clock_ms(), one = 1;
    int rc = load(&made, l, &err);
    if (rc == 0)
        log_info("the package is loaded, %.1f s", (double)(clock_ms() - start) / 1000);
    else
        loaded_free(&made);
    pthread_mutex_lock(&l->lock);
    l->made = made;
    l->rc = rc;
    l->err = err;
    l->state = DONE;
    pthread_mutex_unlock(&l->lock);
    while (write(l->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    return NULL;
}

int loader_open(struct loader **out, const struct settings *set, int wake_fd, struct err *err)
{
    struct loader *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_oom(err, sizeof *l);
    l->settings = set;
    l->wake_fd = wake_fd;
    (void)pthread_mutex_init(&l->lock, NULL);
    *out = l;
    return 0;
}

static enum state state_of(struct loader *l)
{
    pthread_mutex_lock(&l->lock);
    enum state state = l->state;
    pthread_mutex_unlock(&l->lock);
    return state;
}

void loader_close(struct loader *l)
{
    if (l == NULL)
        return;
    loader_stop(l);
    if (state_of(l) != IDLE)
        (void)pthread_join(l->thread, NULL);
    loaded_free(&l->made);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

void loader_stop(struct loader *l)
{
    atomic_store(&l->stop, true);
}

bool loader_busy(struct loader *l)
{
    return state_of(l) != IDLE;
}

int loader_start(struct loader *l, size_t held, struct err *err)
{
    l->held = held;
    l->state = LOADING;
    int error = pthread_create(&l->thread, NULL, run, l);
    if (error == 0)
        return 0;
    l->state = IDLE;
    return err_set(err, ERR_INTERNAL, "cannot start the thread that loads a package: %s", strerror(error));
}

bool loader_take(struct loader *l, struct loaded *out, int *rc, struct err *err)
{
    if (state_of(l) != DONE)
        return false;
    (void)pthread_join(l->thread, NULL);
    l->state = IDLE;
    *rc = l->rc;
    if (l->rc == 0)
        *out = l->made;
    else
        *err = l->err;
    l->made = (struct loaded){0};
    return true;
}
