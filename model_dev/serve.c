#include "model_dev/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "model_dev/ledger.h"
#include "model_dev/making.h"
#include "model_dev/protect.h"
#include "model_dev/push.h"
#include "transport/listener.h"
#include "transport/metrics.h"
#include "transport/msg_blob.h"
#include "transport/msg_error.h"
#include "transport/msg_hello.h"
#include "transport/phase.h"

#define STATE_DIR "serve.tmp"
#define USERS 1024 /* connections that are remembered */
#define IDLE_MS 600000
#define TICK_MS 2000
#define MAKING_MS 50 /* how often it is looked whether the grants are made */

struct user {
    struct listener_peer peer;
    enum phase phase;
    uint64_t heard_ms;
};

struct serve {
    const struct dev_config *config;
    struct release release;
    struct stat seen; /* of its manifest */
    char state[FILE_PATH_MAX], dir[FILE_PATH_MAX]; /* PROTECTED/serve.tmp, and in it the folder of the grant's bundle */
    int lock; /* on state */
    struct making *making; /* the grants are being made; else NULL */
    struct offers *offers; /* answers every user: it keeps nothing between two questions. NULL: not made yet */
    pid_t *pushers; /* one per server, 0 when it has ended */
    struct transport *transport;
    struct listener *listener;
    struct user users[USERS];
    size_t user_count;
    struct metrics *metrics; /* NULL: not asked for */
    struct counts {
        uint64_t granted, greeted, chunk_bytes, errors[6];
        uint64_t pushed, push_failed; /* processes that ended */
    } count;
};

/* ------------------------------------------------------------------ pushing, in processes of their own */

/* A push waits for its server for minutes and users must not wait with it; a process can be ended at any point. */
static int push_in_child(const struct serve *s, const struct role_peer *server)
{
    struct push *push = NULL;
    struct transport *t = NULL;
    struct err err;
    int rc = push_open(&push, &s->release, &err);
    if (rc == 0)
        rc = transport_open(&t, &err);
    if (rc == 0)
        rc = push_all(push, t, server, 1, s->config->identity, &err);
    if (rc != 0)
        log_error("%s: %s", server->endpoint, err.text);
    transport_close(t);
    push_close(push);
    return rc == 0 ? 0 : ERR_INTERNAL;
}

static int start_pushers(struct serve *s, struct err *err)
{
    const struct dev_config *c = s->config;
    const pid_t parent = getpid();
    if ((s->pushers = calloc(c->server_count + 1, sizeof *s->pushers)) == NULL)
        return err_oom(err, c->server_count * sizeof *s->pushers);
    for (size_t i = 0; i < c->server_count; i++) {
        pid_t pid = fork();
        if (pid < 0)
            return err_set(err, ERR_INTERNAL, "cannot start a process: %s", strerror(errno));
        if (pid == 0) {
            sigset_t none;
            (void)sigemptyset(&none);
            (void)sigprocmask(SIG_SETMASK, &none, NULL);
            (void)signal(SIGTERM, SIG_DFL);
            (void)signal(SIGINT, SIG_DFL);
            close(s->lock);
            if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent)
                _exit(ERR_INTERNAL);
            _exit(push_in_child(s, &c->servers[i]));
        }
        s->pushers[i] = pid;
    }
    return 0;
}

static void collect_pushers(struct serve *s, int flags)
{
    for (size_t i = 0; s->pushers != NULL && i < s->config->server_count; i++) {
        int status;
        if (s->pushers[i] <= 0 || waitpid(s->pushers[i], &status, flags) != s->pushers[i])
            continue;
        s->pushers[i] = 0;
        *(WIFEXITED(status) && WEXITSTATUS(status) == 0 ? &s->count.pushed : &s->count.push_failed) += 1;
    }
}

static void end_pushers(struct serve *s)
{
    for (size_t i = 0; s->pushers != NULL && i < s->config->server_count; i++)
        if (s->pushers[i] > 0)
            (void)kill(s->pushers[i], SIGTERM);
    collect_pushers(s, 0);
}

/* ------------------------------------------------------------------ the grant */

/* One serve per folder: under the lock, what is there can only be what a killed one left. */
static int open_state(struct serve *s, struct err *err)
{
    if (file_join(s->state, s->config->protected, STATE_DIR, err) != 0 || file_join(s->dir, s->state, "grant", err) != 0 ||
        file_mkdirs(s->state, 0700, err) != 0)
        return -1;
    s->lock = open(s->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->lock < 0)
        return err_set(err, ERR_INPUT, "cannot open folder %s: %s", s->state, strerror(errno));
    if (flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
        close(s->lock);
        s->lock = -1;
        return err_set(err, ERR_USAGE, "%s: another stip-model-dev serve uses this folder", s->config->protected);
    }
    return file_remove_tree(s->dir, err) != 0 ? -1 : file_mkdirs(s->dir, 0700, err);
}

static int make_grants(struct serve *s, struct err *err)
{
    const struct grant_source src = {.model = s->config->model, .from = &s->release, .identity = s->config->identity,
                                     .canaries = s->config->canaries, .rows = s->config->rows};
    return making_start(&s->making, s->dir, &src, s->config->users, s->config->user_count, err);
}

/* *made is set once. */
static int take_grants(struct serve *s, bool *made, struct err *err)
{
    int rc = 0;
    *made = s->making != NULL && making_take(s->making, &s->offers, &rc, err);
    if (*made) {
        making_close(s->making);
        s->making = NULL;
    }
    return rc;
}

/* ------------------------------------------------------------------ open, close */

static int need(const struct dev_config *c, struct err *err)
{
    if (c->listen == NULL)
        return err_set(err, ERR_USAGE, "serve needs 'listen' in the config, for example \"tcp://0.0.0.0:7403\"");
    if (c->model[0] == '\0')
        return err_set(err, ERR_USAGE, "serve needs 'model' in the config: the folder of the plain checkpoint");
    return 0;
}

static bool stat_manifest(const struct serve *s, struct stat *out)
{
    char path[FILE_PATH_MAX];
    struct err err;
    return file_join(path, s->config->protected, PROTECT_PACKAGE "/" MANIFEST_NAME, &err) == 0 && stat(path, out) == 0;
}

int serve_open(struct serve **out, const struct dev_config *config, struct err *err)
{
    struct serve *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_oom(err, sizeof *s);
    s->config = config;
    s->lock = -1;
    (void)stat_manifest(s, &s->seen); /* before it is read: what comes later is noticed */
    if (need(config, err) != 0 || release_open(&s->release, config->protected, config->identity->sign_pub, err) != 0 ||
        open_state(s, err) != 0 || start_pushers(s, err) != 0 ||
        transport_open(&s->transport, err) != 0 ||
        listener_open(&s->listener, s->transport, "grant", config->listen, config->identity, config->users, config->user_count,
                      err) != 0 ||
        listener_self_check(s->listener, err) != 0 || metrics_open(&s->metrics, config->metrics, err) != 0 ||
        make_grants(s, err) != 0) {
        serve_close(s);
        return -1;
    }
    *out = s;
    return 0;
}

void serve_close(struct serve *s)
{
    struct err err;
    if (s == NULL)
        return;
    metrics_close(s->metrics);
    end_pushers(s);
    listener_close(s->listener);
    transport_close(s->transport);
    making_close(s->making);
    offers_close(s->offers);
    if (s->lock >= 0) {
        if (file_remove_tree(s->state, &err) != 0)
            log_warn("%s: holds secrets, remove it by hand", err.text);
        close(s->lock);
    }
    release_close(&s->release);
    free(s->pushers);
    free(s);
}

const char *serve_endpoint(const struct serve *s)
{
    return listener_endpoint(s->listener);
}

const char *serve_figures(const struct serve *s)
{
    return metrics_listen(s->metrics);
}

/* ------------------------------------------------------------------ users */

static struct user *enter(struct serve *s, const struct listener_peer *peer)
{
    struct user *oldest = &s->users[0];
    for (size_t i = 0; i < s->user_count; i++) {
        if (listener_peer_equal(&s->users[i].peer, peer))
            return &s->users[i];
        if (s->users[i].heard_ms < oldest->heard_ms)
            oldest = &s->users[i];
    }
    struct user *u = s->user_count < USERS ? &s->users[s->user_count++] : oldest;
    *u = (struct user){.peer = *peer, .phase = PHASE_NEW};
    return u;
}

static void forget(struct serve *s, struct user *u)
{
    *u = s->users[--s->user_count];
}

static void forget_idle(struct serve *s, uint64_t now_ms)
{
    for (size_t i = s->user_count; i > 0; i--)
        if (now_ms - s->users[i - 1].heard_ms >= IDLE_MS)
            forget(s, &s->users[i - 1]);
}

/* A user that left or does not read is forgotten: it can greet again. */
static void post(struct serve *s, struct user *u, const struct frame *f)
{
    if (phase_step(PHASE_GRANT, &u->phase, PHASE_SERVER, &f->h) == PHASE_LEGAL &&
        listener_send(s->listener, &u->peer, f) != LISTENER_SENT)
        forget(s, u);
}

static void refuse(struct serve *s, struct user *u, enum wire_code code, const char *text)
{
    struct frame f = msg_error_encode(NULL, code, 0, text);
    s->count.errors[(unsigned)code / 100] += 1;
    post(s, u, &f);
}

static void on_hello(struct serve *s, struct user *u, const struct frame *f)
{
    struct msg_hello hello;
    struct msg_hello_ok ok = {.epoch = s->release.manifest.epoch};
    uint8_t body[MSG_HELLO_OK_BYTES];
    struct err err = {0};
    enum wire_code code = msg_hello_decode(&hello, f, &err);
    if (code == WIRE_OK)
        code = msg_hello_version(&hello, &ok.protocol, &err);
    if (code != WIRE_OK) {
        refuse(s, u, code, err.text);
        return;
    }
    memcpy(ok.context, s->release.context, sizeof ok.context);
    struct frame answer = msg_hello_ok_encode(&ok, body);
    s->count.greeted++;
    post(s, u, &answer);
}

static void on_grant(struct serve *s, struct user *u, const struct frame *f)
{
    static const uint8_t any[WIRE_CONTEXT_BYTES];
    uint8_t context[WIRE_CONTEXT_BYTES], body[MSG_OFFER_BYTES];
    struct msg_offer offer = {.epoch = s->release.manifest.epoch};
    size_t list;
    msg_grant_decode(context, f);
    if (memcmp(context, any, sizeof any) != 0 && memcmp(context, s->release.context, sizeof context) != 0) {
        refuse(s, u, WIRE_WRONG_CONTEXT, "this developer grants another context; join without naming one");
        return;
    }
    if (s->offers == NULL) {
        refuse(s, u, WIRE_BUSY, "the grants of this package are being made; ask again in a while");
        return;
    }
    if (!offers_list(s->offers, &u->peer.key, &list, &offer.files)) {
        refuse(s, u, WIRE_NOT_GRANTED, "no grant has been made for your key");
        return;
    }
    offer.manifest_bytes = list;
    memcpy(offer.context, s->release.context, sizeof offer.context);
    struct frame answer = msg_offer_encode(&offer, body);
    post(s, u, &answer);
}

static void on_get(struct serve *s, struct user *u, const struct frame *f)
{
    struct frame chunk;
    struct err err = {0};
    enum wire_code code = offers_answer(s->offers, &u->peer.key, f, &chunk, &err);
    if (code == WIRE_OK) {
        s->count.chunk_bytes += chunk.h.length;
        post(s, u, &chunk);
        return;
    }
    if (code == WIRE_INTERNAL)
        log_error("%s", err.text);
    refuse(s, u, code, code == WIRE_INTERNAL ? "the grant cannot be read; the developer's log says why" : err.text);
}

static void on_done(struct serve *s, const struct user *u)
{
    char fingerprint[FINGERPRINT_TEXT];
    struct err err;
    peer_key_fingerprint(&u->peer.key, fingerprint);
    if (ledger_add(s->config->protected, &u->peer.key, s->release.context, &err) != 0)
        log_error("%s", err.text);
    s->count.granted++;
    log_info("user %s has its grant (%" PRIu64 " so far)", fingerprint, s->count.granted);
}

static void on_frame(struct serve *s, const struct listener_peer *peer, const struct frame *f)
{
    char text[96];
    struct user *u = enter(s, peer);
    u->heard_ms = clock_ms();
    enum phase_verdict verdict = phase_step(PHASE_GRANT, &u->phase, PHASE_CLIENT, &f->h);
    if (verdict == PHASE_IGNORE)
        return;
    if (verdict == PHASE_ILLEGAL) {
        (void)snprintf(text, sizeof text, "%s is not due in phase %s", wire_type_name(f->h.type), phase_name(u->phase));
        refuse(s, u, WIRE_BAD_PHASE, text);
        return;
    }
    switch (f->h.type) {
    case WIRE_HELLO: on_hello(s, u, f); break;
    case WIRE_GRANT: on_grant(s, u, f); break;
    case WIRE_GET: on_get(s, u, f); break;
    case WIRE_DONE: on_done(s, u); break;
    default: break; /* ERROR: the user gives up, the phase knows */
    }
}

/* rotate has put another package there, whole and by this developer. */
static bool superseded(struct serve *s)
{
    struct stat now;
    struct release fresh;
    struct err err;
    if (!stat_manifest(s, &now) || (now.st_ino == s->seen.st_ino && now.st_mtim.tv_sec == s->seen.st_mtim.tv_sec &&
                                    now.st_mtim.tv_nsec == s->seen.st_mtim.tv_nsec))
        return false;
    s->seen = now;
    if (release_open(&fresh, s->config->protected, s->config->identity->sign_pub, &err) != 0) {
        log_error("the package that is there now is not used: %s", err.text);
        return false;
    }
    const bool other = memcmp(fresh.context, s->release.context, sizeof fresh.context) != 0;
    release_close(&fresh);
    return other;
}

/* ------------------------------------------------------------------ figures, and the loop */

static void publish(struct serve *s)
{
    const struct counts *c = &s->count;
    const struct listener_stats seen = listener_stats(s->listener);
    uint64_t pushing = 0;
    struct buf b;
    char context[17];
    for (size_t i = 0; i < s->config->server_count; i++)
        pushing += s->pushers[i] > 0;
    crypto_hex(s->release.context, 8, context);
    buf_init(&b, 1 << 16);
    buf_printf(&b, "# HELP stip_model_dev_info The package.\n# TYPE stip_model_dev_info gauge\n"
                   "stip_model_dev_info{version=\"%s\",architecture=\"%s\",context=\"%s\",epoch=\"%u\"} 1\n",
               STIP_VERSION, s->release.manifest.model, context, s->release.manifest.epoch);
    metrics_gauge(&b, "stip_model_dev_users_allowed", "Keys that may fetch a grant.", s->config->user_count);
    metrics_gauge(&b, "stip_model_dev_users_connected", "Users that spoke in the last ten minutes.", s->user_count);
    metrics_count(&b, "stip_model_dev_greetings_total", "Users that were greeted.", c->greeted);
    metrics_count(&b, "stip_model_dev_grants_total", "Grants that were fetched.", c->granted);
    metrics_count(&b, "stip_model_dev_sent_bytes_total", "Bytes of grants.", c->chunk_bytes);
    metrics_gauge(&b, "stip_model_dev_pushes_running", "Servers that the package is being brought to.", pushing);
    metrics_count(&b, "stip_model_dev_pushes_total", "Servers that have the package.", c->pushed);
    metrics_count(&b, "stip_model_dev_pushes_failed_total", "Pushes that gave up.", c->push_failed);
    metrics_errors(&b, "stip_model_dev_errors_total", "Errors told to users, by what helps.", c->errors);
    metrics_count(&b, "stip_model_dev_refused_keys_total", "Handshakes with a key that is not on the list.", seen.keys_refused);
    metrics_count(&b, "stip_model_dev_refused_frames_total", "Malformed frames.", seen.frames_refused);
    metrics_process(&b);
    metrics_publish(s->metrics, clock_ms(), s->offers == NULL ? "making the grants" : NULL, &b);
}

int serve_run(struct serve *s, int wake_fd, enum serve_news *news, struct err *err)
{
    struct listener_peer peer;
    struct frame f;
    for (;;) {
        bool ready = false, woken = false, made = false;
        enum listener_got got = LISTENER_FRAME;
        int wait = s->making != NULL ? MAKING_MS : TICK_MS;
        if (metrics_due(s->metrics, clock_ms(), &wait))
            publish(s);
        if (listener_poll(&s->listener, 1, wake_fd, wait, &ready, &woken, err) != 0)
            return -1;
        if (woken) {
            *news = SERVE_SIGNAL;
            return 0;
        }
        if (superseded(s)) { /* before anybody is given what is about to be taken back */
            *news = SERVE_OTHER;
            return 0;
        }
        for (int i = 0; i < 256 && got == LISTENER_FRAME; i++) {
            if (listener_recv(s->listener, &got, &peer, &f, err) != 0)
                return -1;
            if (got == LISTENER_FRAME)
                on_frame(s, &peer, &f);
        }
        forget_idle(s, clock_ms());
        collect_pushers(s, WNOHANG);
        if (take_grants(s, &made, err) != 0)
            return -1;
        if (made) {
            *news = SERVE_GRANTS;
            return 0;
        }
    }
}
