#include "server/generation.h"

#include <string.h>

#include "base/clock.h"
#include "base/expiry.h"
#include "base/log.h"

struct core *generation_of(const struct generation *old, const struct generation *now, const struct listener_peer *peer,
                           const struct frame *f)
{
    struct msg_hello hello;
    struct err err;
    if (old->core == NULL)
        return now->core;
    if (f->h.type == WIRE_HELLO)
        return msg_hello_decode(&hello, f, &err) == WIRE_OK &&
                       memcmp(hello.context, old->model.package->context, sizeof hello.context) == 0
                   ? old->core
                   : now->core;
    return core_greeted(old->core, peer) ? old->core : now->core;
}

bool generation_computing(const struct generation *g)
{
    return g->model.worker != NULL && !worker_idle(g->model.worker);
}

void generation_feed(struct generation *g, int *wait)
{
    struct core_job jobs[WORKER_BATCH];
    if (g->model.worker == NULL || generation_computing(g) || core_waiting(g->core) == 0)
        return;
    const int ms = patience_wait(&g->patience, clock_us(), core_away(g->core), core_waiting(g->core));
    if (ms > 0) {
        *wait = ms < *wait ? ms : *wait;
        return;
    }
    int n = core_take(g->core, jobs, WORKER_BATCH);
    if (n > 0)
        worker_start(g->model.worker, jobs, n);
}

void generation_collect(struct generation *g)
{
    struct core_job jobs[WORKER_BATCH];
    uint32_t us = 0;
    if (g->core == NULL)
        return;
    int n = g->model.worker == NULL ? 0 : worker_finish(g->model.worker, jobs, &us);
    core_done(g->core, clock_ms(), jobs, n, us);
    if (g->model.stock != NULL)
        stock_turn(g->model.stock);
    if (n > 0)
        patience_begin(&g->patience, clock_us(), us);
}

void generation_watch(struct generation *g, int64_t now)
{
    if (g->model.package == NULL)
        return;
    const struct package *p = g->model.package;
    const int64_t end = p->manifest.expires;
    const bool expired = end != EXPIRY_NEVER && now >= end;
    core_set_expired(g->core, expired);
    if (expired && !g->expired)
        log_error("the package of epoch %u is past its day: nobody is served until its developer pushes another", p->manifest.epoch);
    else if (!expired && expiry_near(end, now) && now - g->warned >= EXPIRY_DAY) {
        log_warn("the package expires in %lld days; its developer has to push another (stip-model-dev rotate)",
                 (long long)expiry_days(end, now));
        g->warned = now;
    }
    g->expired = expired;
}

void generation_end(struct generation *g)
{
    if (g->core == NULL)
        return;
    core_set_model(g->core, NULL);
    generation_free(g);
}

void generation_free(struct generation *g)
{
    worker_close(g->model.worker); /* before the sessions that its jobs belong to */
    g->model.worker = NULL;
    core_free(g->core);
    loaded_free(&g->model);
    *g = (struct generation){0};
}
