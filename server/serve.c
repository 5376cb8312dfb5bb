#include "server/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/kernels/table.h"
#include "base/threads.h"
#include "server/figures.h"
#include "server/generation.h"
#include "server/install.h"
#include "server/sandbox.h"
#include "transport/listener.h"
#include "transport/metrics.h"
#include "transport/role_banner.h"

#define LOOP_MS 1000 /* at least so often everything is looked at */

static volatile sig_atomic_t stop, reload; /* stop: 1 after the steps under way, 2 at once */

static void on_signal(int signal_number)
{
    if (signal_number == SIGHUP)
        reload = 1;
    else if (stop < 2)
        stop++;
}

struct server {
    const struct settings *settings;
    struct transport *transport;
    struct listener *infer, *admin;
    struct generation now, old; /* old: without a core but for a while after `now` has taken its place */
    struct install *install;
    struct loader *loader;
    struct loaded next; /* loaded, and waits until no step is being computed */
    int wake_fd;        /* of the workers and the loader */
    struct metrics *metrics; /* NULL: not asked for */
    struct figures ended; /* counts of generations that are gone */
    bool json, ready;
    bool changed; /* the package on disk is newer than what was loaded last */
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

static void say_ready(struct server *s)
{
    struct peer_key key = identity_public(s->settings->config.identity);
    char fingerprint[FINGERPRINT_TEXT];
    peer_key_fingerprint(&key, fingerprint);
    s->ready = true;
    log_info("ready: users at %s, developers at %s, key %s", listener_endpoint(s->infer), listener_endpoint(s->admin), fingerprint);
    role_banner("user.json", "\"server\": ", listener_endpoint(s->infer), s->settings->config.identity);
    role_banner("model_dev.json", "", listener_endpoint(s->admin), s->settings->config.identity);
    if (s->metrics != NULL)
        log_info("figures at http://%s/metrics, health at /health", metrics_listen(s->metrics));
    if (s->json) {
        printf("{\"event\":\"ready\",\"endpoint\":\"%s\",\"admin\":\"%s\",\"metrics\":\"%s\",\"model\":%s}\n", listener_endpoint(s->infer),
               listener_endpoint(s->admin), metrics_listen(s->metrics), s->now.model.package != NULL ? "true" : "false");
        (void)fflush(stdout);
    }
}

static void say_serving(const struct server *s)
{
    const struct package *p = s->now.model.package;
    if (s->json) {
        char context[2 * CRYPTO_HASH_LEN + 1];
        crypto_hex(p->context, sizeof p->context, context);
        printf("{\"event\":\"serving\",\"context\":\"%s\",\"epoch\":%u}\n", context, p->manifest.epoch);
        (void)fflush(stdout);
    }
    log_info("serving %s, context %02x%02x%02x%02x, epoch %u, head on the %s", p->net->config.architecture, p->context[0],
             p->context[1], p->context[2], p->context[3], p->manifest.epoch, p->manifest.head);
}

/* Rows of the generation before are answered for limits.overlap_s, by weights, sessions and pages of their own. */
static bool overlaps(const struct server *s)
{
    const struct settings *set = s->settings;
    const uint64_t each = (uint64_t)set->kv_bytes + set->limits.steps, machine = memory_physical();
    if (set->overlap_ms == 0 || s->now.model.package == NULL || s->now.expired)
        return false;
    const uint64_t all = (uint64_t)s->now.model.package->bytes + s->next.package->bytes + 2 * each;
    if (all <= machine)
        return true;
    log_warn("no overlap: weights of %zu and %zu bytes, and twice the %llu that limits.memory_mb and limits.steps_mb allow, are more "
             "than the %llu of this machine; sessions of the old package end now", s->now.model.package->bytes,
             s->next.package->bytes, (unsigned long long)each, (unsigned long long)machine);
    return false;
}

/* A core of its own for the new model, so that what is known of the old one's connections and sessions stays true. */
static bool begin_overlap(struct server *s, const struct core_model *model)
{
    struct core_sender to_users = {send_infer, s};
    struct core *fresh;
    struct err err;
    if (!overlaps(s))
        return false;
    if (core_new(&fresh, &s->settings->limits, model, to_users, &err) != 0) {
        log_warn("no overlap: %s", err.text);
        return false;
    }
    s->old = s->now;
    s->old.until_ms = clock_ms() + (uint64_t)s->settings->overlap_ms;
    s->now = (struct generation){.core = fresh};
    log_info("the package of epoch %u is served for another %d s", s->old.model.package->manifest.epoch,
             s->settings->overlap_ms / 1000);
    return true;
}

static void use_next(struct server *s)
{
    struct core_model model = package_model(s->next.package, s->next.pool);
    if (!begin_overlap(s, &model)) {
        core_set_model(s->now.core, &model);
        loaded_free(&s->now.model);
    }
    s->now.model = s->next;
    s->now.warned = 0;
    s->ended.packages++;
    s->next = (struct loaded){0};
    say_serving(s);
}

/* The time of the old generation is over, or yet another package is coming. True when it is gone. */
static bool old_is_gone(struct server *s)
{
    if (s->old.core == NULL)
        return true;
    if ((clock_ms() < s->old.until_ms && !s->changed && s->next.package == NULL) || generation_computing(&s->old))
        return false;
    log_info("the package of epoch %u is served no more", s->old.model.package->manifest.epoch);
    figures_end(&s->ended, s->old.core);
    generation_end(&s->old);
    return true;
}

/* The old package keeps serving unless the new one is sound; without an old one the first has to be. */
static int change_model(struct server *s, struct err *err)
{
    struct err bad;
    int rc = 0;
    if (loader_take(s->loader, &s->next, &rc, &bad) && rc != 0 && stop == 0) {
        if (!s->ready && !s->changed)
            return err_set(err, bad.code, "%s", bad.text);
        log_error("the new package is not served: %s", bad.text);
    }
    const bool alone = old_is_gone(s);
    if (s->next.package != NULL && alone && !generation_computing(&s->now))
        use_next(s);
    if (s->changed && alone && s->next.package == NULL && !loader_busy(s->loader)) {
        s->changed = false;
        if (loader_start(s->loader, s->now.model.package == NULL ? 0 : s->now.model.package->bytes, err) != 0)
            return -1;
    }
    core_set_loading(s->now.core, loader_busy(s->loader));
    if (!s->ready && s->next.package == NULL && !loader_busy(s->loader))
        say_ready(s);
    return 0;
}

/* ------------------------------------------------------------------ the loop */

/* In every turn: a wake-up that was lost costs at most LOOP_MS, and nobody waits for ever for what has long been computed. */
static void collect_workers(struct server *s, bool woken)
{
    uint64_t count;
    while (woken && read(s->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    generation_collect(&s->now);
    generation_collect(&s->old);
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
            core_frame(generation_of(&s->old, &s->now, &peer, &f), clock_ms(), &peer, &f);
        else
            install_frame(s->install, clock_ms(), &peer, &f);
    }
    return 0;
}

static bool allowed(void *listener, const struct peer_key *key)
{
    return listener_allows(listener, key);
}

/* The allow-lists of the config as it is now; of the rest nothing. A config that is wrong changes nothing. */
static void read_lists_again(struct server *s)
{
    struct settings now;
    struct err err;
    if (settings_read(&now, json_name(s->settings->config.doc), &err) != 0) {
        log_error("the allow-lists stay as they are: %s", err.text);
        return;
    }
    if (listener_allow(s->infer, now.users, now.user_count, &err) != 0 ||
        listener_allow(s->admin, now.developers, now.developer_count, &err) != 0)
        log_error("allow-lists: %s", err.text);
    core_revoke(s->now.core, allowed, s->infer);
    if (s->old.core != NULL)
        core_revoke(s->old.core, allowed, s->infer);
    log_info("allow-lists read again: %zu users, %zu developers", now.user_count, now.developer_count);
    settings_free(&now);
}

static bool busy(const struct generation *g)
{
    return g->core != NULL && (core_busy(g->core) || generation_computing(g));
}

/* After the first signal: until no step is under way, or the time is over. */
static bool finished(struct server *s, uint64_t *drain_end)
{
    const uint64_t now = clock_ms();
    if (*drain_end == 0) {
        log_info("stopping, after the steps that are under way");
        loader_stop(s->loader);
        core_set_draining(s->now.core);
        if (s->old.core != NULL)
            core_set_draining(s->old.core);
        *drain_end = now + (uint64_t)s->settings->drain_ms;
    }
    return stop > 1 || now >= *drain_end || (!busy(&s->now) && !busy(&s->old));
}

/* One turn: what has ended, what is to compute, what is overdue. The worker of `now` is left alone while another model waits for it;
 * that of `old` once its time is over. */
static void serve_generation(struct server *s, struct generation *g, uint64_t uptime_ms, int *wait)
{
    if (g->core == NULL)
        return;
    generation_watch(g, clock_unix());
    if (g == &s->old ? clock_ms() < g->until_ms : s->next.package == NULL)
        generation_feed(g, wait);
    const struct listener_stats seen = listener_stats(s->infer);
    core_count(g->core, uptime_ms, seen.keys_refused, seen.frames_refused);
    const int tick = core_tick(g->core, clock_ms());
    *wait = tick < *wait ? tick : *wait;
}

/* Counts, and whether users can be answered now. */
static void publish(struct server *s)
{
    struct figures f = s->ended;
    struct buf text;
    const char *state = stop != 0                      ? "stopping"
                        : s->now.expired               ? "the package is past its day"
                        : s->now.model.package != NULL ? NULL
                        : loader_busy(s->loader)       ? "loading the package"
                                                       : "no package yet";
    figures_add(&f, s->now.core);
    if (s->old.core != NULL)
        figures_add(&f, s->old.core);
    buf_init(&text, 1 << 16);
    figures_text(&text, &f, &s->settings->limits, s->now.model.package);
    metrics_publish(s->metrics, clock_ms(), state, &text);
}

static int loop(struct server *s, struct err *err)
{
    struct listener *listeners[2] = {s->infer, s->admin};
    const uint64_t start = clock_ms();
    uint64_t drain_end = 0;
    while (stop == 0 || !finished(s, &drain_end)) {
        if (reload) {
            reload = 0;
            read_lists_again(s);
        }
        s->changed |= install_take_ready(s->install);
        int wait = LOOP_MS;
        if (change_model(s, err) != 0)
            return -1;
        serve_generation(s, &s->now, clock_ms() - start, &wait);
        serve_generation(s, &s->old, clock_ms() - start, &wait);
        bool ready[2] = {false, false}, woken = false;
        int install = install_tick(s->install, clock_ms());
        wait = install >= 0 && install < wait ? install : wait;
        if (metrics_due(s->metrics, clock_ms(), &wait))
            publish(s);
        if (listener_poll(listeners, 2, s->wake_fd, wait, ready, &woken, err) != 0)
            return -1;
        collect_workers(s, woken);
        for (int i = 0; i < 2; i++)
            if (drain(listeners[i], s, err) != 0)
                return -1;
    }
    return 0;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a full disk: an error, not an end */
}

int serve(const struct settings *set, bool json, struct err *err)
{
    struct server s = {.settings = set, .json = json, .wake_fd = -1};
    struct core_sender to_users = {send_infer, &s};
    struct install_sender to_developers = {send_admin, &s};
    int rc = -1;
    catch_signals();
    memory_keep_freed();
    if ((s.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        err_set(err, ERR_INTERNAL, "eventfd: %s", strerror(errno));
        goto done;
    }
    if (kernels_choose(NULL, err) != 0 || sandbox_files(set, err) != 0 || threads_start(threads_fit(set->threads), err) != 0 ||
        core_new(&s.now.core, &set->limits, NULL, to_users, err) != 0 ||
        install_new(&s.install, set->package, to_developers, err) != 0 || loader_open(&s.loader, set, s.wake_fd, err) != 0)
        goto done;
    s.changed = file_exists(set->package);
    if (!s.changed)
        log_info("no package at %s yet; waiting for a developer to push one", set->package);
    if (transport_open(&s.transport, err) != 0 ||
        listener_open(&s.infer, s.transport, "infer", set->listen, set->config.identity, set->users, set->user_count, err) != 0 ||
        listener_open(&s.admin, s.transport, "admin", set->listen_admin, set->config.identity, set->developers,
                      set->developer_count, err) != 0 ||
        listener_self_check(s.infer, err) != 0 || listener_self_check(s.admin, err) != 0 ||
        metrics_open(&s.metrics, set->metrics, err) != 0 || sandbox_calls(set, err) != 0)
        goto done;
    rc = loop(&s, err);
done:
    loader_close(s.loader);
    generation_free(&s.old);
    generation_free(&s.now);
    loaded_free(&s.next);
    install_free(s.install);
    metrics_close(s.metrics);
    listener_close(s.infer);
    listener_close(s.admin);
    transport_close(s.transport);
    if (s.wake_fd >= 0)
        (void)close(s.wake_fd);
    threads_stop();
    return rc;
}
