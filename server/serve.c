#include "server/serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/kernels/table.h"
#include "engine/threads.h"
#include "server/core.h"
#include "server/install.h"
#include "server/package.h"
#include "server/worker.h"
#include "transport/listener.h"

static volatile sig_atomic_t stop;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stop = 1;
}

struct server {
    const struct settings *settings;
    struct transport *transport;
    struct listener *infer, *admin;
    struct core *core;
    struct install *install;
    struct package *package; /* NULL until one is there */
    struct worker *worker;   /* NULL without a package */
    bool json;
};

static enum listener_sent send_infer(void *arg, const struct listener_peer *peer, const struct frame *f)
{
    struct server *s = arg;
    return listener_send(s->infer, peer, f);
}

static enum listener_sent send_admin(void *arg, const struct listener_peer *peer, const struct frame *f)
{
    struct server *s = arg;
    return listener_send(s->admin, peer, f);
}

/* ------------------------------------------------------------------ the model */

static void use_package(struct server *s, struct package *p, struct worker *w)
{
    struct core_model model = package_model(p);
    core_set_model(s->core, &model);
    worker_close(s->worker);
    package_free(s->package);
    s->package = p;
    s->worker = w;
    if (s->json) {
        char context[2 * CRYPTO_HASH_LEN + 1];
        crypto_hex(p->context, sizeof p->context, context);
        printf("{\"event\":\"serving\",\"context\":\"%s\",\"epoch\":%u}\n", context, p->manifest.epoch);
        (void)fflush(stdout);
    }
    log_info("serving %s, context %02x%02x%02x%02x, epoch %u, head on the %s", p->net->config.architecture, p->context[0],
             p->context[1], p->context[2], p->context[3], p->manifest.epoch, p->manifest.head);
}

/* The old package keeps serving unless the new one is sound. */
static int load_package(struct server *s, struct err *err)
{
    struct package *p;
    struct worker *w;
    const struct settings *set = s->settings;
    if (package_load(&p, set->package, set->developers, set->developer_count, set->weights_bytes, err) != 0)
        return -1;
    int rows = p->net->config.causal ? 2 * set->limits.rows : p->net->config.positions;
    if (worker_open(&w, p->net, rows, err) != 0) {
        package_free(p);
        return -1;
    }
    use_package(s, p, w);
    return 0;
}

/* ------------------------------------------------------------------ the loop */

static int batch_rows(const struct server *s)
{
    const struct config *c = &s->package->net->config;
    return c->causal ? 2 * s->settings->limits.rows : c->positions;
}

static void feed_worker(struct server *s)
{
    struct core_job jobs[WORKER_BATCH];
    if (s->worker == NULL || !worker_idle(s->worker))
        return;
    int n = core_take(s->core, jobs, WORKER_BATCH, batch_rows(s));
    if (n > 0)
        worker_start(s->worker, jobs, n);
}

static void collect_worker(struct server *s)
{
    struct core_job jobs[WORKER_BATCH];
    uint32_t us = 0;
    int n = worker_finish(s->worker, jobs, &us);
    for (int i = 0; i < n; i++)
        core_done(s->core, clock_ms(), &jobs[i], us);
}

static int drain(struct listener *l, struct server *s, struct err *err)
{
    struct listener_peer peer;
    struct frame f;
    enum listener_got got;
    /* A bound, so that one busy listener does not starve the rest. */
    for (int i = 0; i < 256; i++) {
        if (listener_recv(l, &got, &peer, &f, err) != 0)
            return -1;
        if (got == LISTENER_NONE)
            return 0;
        if (l == s->infer)
            core_frame(s->core, clock_ms(), &peer, &f);
        else
            install_frame(s->install, clock_ms(), &peer, &f);
    }
    return 0;
}

static int loop(struct server *s, struct err *err)
{
    struct listener *listeners[2] = {s->infer, s->admin};
    const uint64_t start = clock_ms();
    while (!stop) {
        const struct listener_stats seen = listener_stats(s->infer);
        core_count(s->core, clock_ms() - start, seen.keys_refused, seen.frames_refused);
        bool ready[2] = {false, false}, woken = false;
        int wait = core_tick(s->core, clock_ms()), install = install_tick(s->install, clock_ms());
        wait = install >= 0 && install < wait ? install : wait;
        if (listener_poll(listeners, 2, s->worker == NULL ? -1 : worker_fd(s->worker), wait, ready, &woken, err) != 0)
            return -1;
        if (woken)
            collect_worker(s);
        for (int i = 0; i < 2; i++)
            if (drain(listeners[i], s, err) != 0)
                return -1;
        /* A new package waits until no step is being computed. */
        if ((s->worker == NULL || worker_idle(s->worker)) && install_take_ready(s->install)) {
            struct err bad;
            if (load_package(s, &bad) != 0)
                log_error("the new package is not served: %s", bad.text);
        }
        feed_worker(s);
    }
    log_info("stopping");
    return 0;
}

static void say_ready(const struct server *s)
{
    struct peer_key key = identity_public(s->settings->config.identity);
    char fingerprint[FINGERPRINT_TEXT];
    peer_key_fingerprint(&key, fingerprint);
    log_info("ready: users at %s, developers at %s, key %s", listener_endpoint(s->infer), listener_endpoint(s->admin), fingerprint);
    if (s->json) {
        printf("{\"event\":\"ready\",\"endpoint\":\"%s\",\"admin\":\"%s\",\"model\":%s}\n", listener_endpoint(s->infer),
               listener_endpoint(s->admin), s->package != NULL ? "true" : "false");
        (void)fflush(stdout);
    }
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a full disk: an error, not an end */
}

int serve(const struct settings *set, bool json, struct err *err)
{
    struct server s = {.settings = set, .json = json};
    struct core_sender to_users = {send_infer, &s};
    struct install_sender to_developers = {send_admin, &s};
    int rc = -1;
    catch_signals();
    if (kernels_choose(NULL, err) != 0 || threads_start(set->threads, err) != 0 || core_new(&s.core, &set->limits, NULL, to_users, err) != 0 ||
        install_new(&s.install, set->package, to_developers, err) != 0)
        goto done;
    if (!file_exists(set->package))
        log_info("no package at %s yet; waiting for a developer to push one", set->package);
    else if (load_package(&s, err) != 0)
        goto done;
    if (transport_open(&s.transport, err) != 0 ||
        listener_open(&s.infer, s.transport, "infer", set->listen, set->config.identity, set->users, set->user_count, err) != 0 ||
        listener_open(&s.admin, s.transport, "admin", set->listen_admin, set->config.identity, set->developers,
                      set->developer_count, err) != 0 ||
        listener_self_check(s.infer, err) != 0 || listener_self_check(s.admin, err) != 0)
        goto done;
    say_ready(&s);
    rc = loop(&s, err);
done:
    worker_close(s.worker);
    threads_stop();
    core_free(s.core);
    install_free(s.install);
    package_free(s.package);
    listener_close(s.infer);
    listener_close(s.admin);
    transport_close(s.transport);
    return rc;
}
