#include "transport/allow.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

struct allow {
    pthread_mutex_t lock;
    struct peer_key *keys; /* sorted by curve_pub, which comes first */
    size_t n;
    uint64_t refused;
    uint8_t probe[32];
    bool probing, probe_refused;
};

static int by_curve(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(((struct peer_key *)NULL)->curve_pub));
}

int allow_new(struct allow **out, struct err *err)
{
    struct allow *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_oom(err, sizeof *a);
    if (pthread_mutex_init(&a->lock, NULL) != 0) {
        free(a);
        return err_set(err, ERR_INTERNAL, "cannot make a lock");
    }
    *out = a;
    return 0;
}

void allow_free(struct allow *a)
{
    if (a == NULL)
        return;
    pthread_mutex_destroy(&a->lock);
    free(a->keys);
    free(a);
}

int allow_set(struct allow *a, const struct peer_key *keys, size_t n, struct err *err)
{
    size_t bytes;
    struct peer_key *copy = NULL;
    if (size_mul(n, sizeof *keys, &bytes) || (n > 0 && (copy = malloc(bytes)) == NULL))
        return err_oom(err, (unsigned long long)n * sizeof *keys);
    if (n > 0) {
        memcpy(copy, keys, bytes);
        qsort(copy, n, sizeof *copy, by_curve);
    }
    pthread_mutex_lock(&a->lock);
    struct peer_key *old = a->keys;
    a->keys = copy;
    a->n = n;
    pthread_mutex_unlock(&a->lock);
    free(old);
    return 0;
}

bool allow_find(struct allow *a, const uint8_t curve_pub[32], struct peer_key *key)
{
    pthread_mutex_lock(&a->lock);
    const struct peer_key *found = a->n == 0 ? NULL : bsearch(curve_pub, a->keys, a->n, sizeof *a->keys, by_curve);
    if (found != NULL && key != NULL)
        *key = *found;
    pthread_mutex_unlock(&a->lock);
    return found != NULL;
}

bool allow_count_refused(struct allow *a, const uint8_t *curve_pub)
{
    pthread_mutex_lock(&a->lock);
    bool probe = a->probing && memcmp(a->probe, curve_pub, sizeof a->probe) == 0;
    if (probe)
        a->probe_refused = true;
    else
        a->refused++;
    pthread_mutex_unlock(&a->lock);
    return !probe;
}

void allow_probe(struct allow *a, const uint8_t curve_pub[32])
{
    pthread_mutex_lock(&a->lock);
    memcpy(a->probe, curve_pub, sizeof a->probe);
    a->probing = true;
    a->probe_refused = false;
    pthread_mutex_unlock(&a->lock);
}

bool allow_probe_refused(struct allow *a)
{
    pthread_mutex_lock(&a->lock);
    bool refused = a->probe_refused;
    pthread_mutex_unlock(&a->lock);
    return refused;
}

uint64_t allow_refused(struct allow *a)
{
    pthread_mutex_lock(&a->lock);
    uint64_t n = a->refused;
    pthread_mutex_unlock(&a->lock);
    return n;
}
