#include "user/verifier.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

struct verifier {
    struct verify *verify;
    double rate, tolerance;
    atomic_ullong asked, failed;
    atomic_bool again;    /* said that all were asked before */
    pthread_mutex_t lock; /* guards what */
    char what[400];       /* the first wrong answer */
};

int verifier_open(struct verifier **out, const struct setup *set, struct err *err)
{
    *out = NULL;
    if (set->verify_rate <= 0)
        return 0;
    struct verifier *v = calloc(1, sizeof *v);
    if (v == NULL)
        return err_oom(err, sizeof *v);
    (void)pthread_mutex_init(&v->lock, NULL);
    v->rate = set->verify_rate;
    if (verify_open(&v->verify, set->grant_dir, set->grant, err) != 0) {
        verifier_close(v);
        return err_wrap(err, "verify_rate");
    }
    v->tolerance = verify_tolerance(v->verify, set->bf16);
    *out = v;
    return 0;
}

void verifier_close(struct verifier *v)
{
    if (v == NULL)
        return;
    verify_close(v->verify);
    (void)pthread_mutex_destroy(&v->lock);
    free(v);
}

static bool due(const struct verifier *v)
{
    uint64_t r;
    struct err err;
    return crypto_random(&r, sizeof r, &err) != 0 || (double)(r >> 11) * 0x1p-53 < v->rate;
}

bool verifier_turn(struct verifier *v, struct connection *c, struct speculate *speculate, int room)
{
    const struct canary *q;
    struct verify_result r;
    struct err err;
    bool again;
    if (v == NULL || !due(v))
        return true;
    if (verify_next(v->verify, &q, &again, &err) != 0 || verify_ask(q, c, speculate, room, v->tolerance, &r, &err) != 0) {
        log_warn("a known question could not be asked: %s", err.text);
        return false;
    }
    if (again && !atomic_exchange(&v->again, true))
        log_warn("all known questions of this grant have been asked: a server that remembers could answer them from memory; join again");
    atomic_fetch_add(&v->asked, 1);
    if (r.passed)
        return true;
    (void)pthread_mutex_lock(&v->lock);
    if (atomic_fetch_add(&v->failed, 1) == 0)
        (void)snprintf(v->what, sizeof v->what, "%s", r.what);
    (void)pthread_mutex_unlock(&v->lock);
    log_error("the server does not compute the model of this grant: %s", r.what);
    return false;
}

int verifier_check(struct verifier *v, struct err *err)
{
    if (v == NULL || atomic_load(&v->failed) == 0)
        return 0;
    (void)pthread_mutex_lock(&v->lock);
    err_set(err, ERR_CHECK, "the server does not compute the model of this grant: %s", v->what);
    (void)pthread_mutex_unlock(&v->lock);
    return -1;
}

void verifier_counts(struct verifier *v, unsigned long long *asked, unsigned long long *failed)
{
    *asked = v == NULL ? 0 : atomic_load(&v->asked);
    *failed = v == NULL ? 0 : atomic_load(&v->failed);
}
