#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/threads.h"
#include "transport/zmq_door.h"

#define DOMAINS 16
/* The library encrypts in them. With one, the answers of a pass of 32 users come one after the other while other processors idle. */
#define IO_THREADS 2

struct domain {
    char name[ZMQ_DOOR_DOMAIN_MAX];
    struct allow *allow;
};

struct transport {
    void *context;
    void *gate; /* socket of the gatekeeper; NULL until the first listener */
    pthread_t thread;
    pthread_mutex_t lock; /* guards domain */
    struct domain domain[DOMAINS];
    atomic_uint next;
    uint64_t logged_ms;
};

int transport_open(struct transport **out, struct err *err)
{
    unsigned seed = 0;
    if (crypto_random(&seed, sizeof seed, err) != 0)
        return -1;
    srand(seed);
    struct transport *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_oom(err, sizeof *t);
    if (pthread_mutex_init(&t->lock, NULL) != 0 || (t->context = zmq_ctx_new()) == NULL) {
        free(t);
        return err_set(err, ERR_INTERNAL, "cannot start the messaging library: %s", zmq_strerror(errno));
    }
    (void)zmq_ctx_set(t->context, ZMQ_BLOCKY, 0);
    (void)zmq_ctx_set(t->context, ZMQ_IO_THREADS, threads_cpus() > 1 ? IO_THREADS : 1);
    *out = t;
    return 0;
}

void transport_close(struct transport *t)
{
    if (t == NULL)
        return;
    (void)zmq_ctx_shutdown(t->context);
    if (t->gate != NULL) {
        (void)pthread_join(t->thread, NULL);
        zmq_close(t->gate);
    }
    while (zmq_ctx_term(t->context) != 0 && errno == EINTR)
        continue;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void *transport_context(struct transport *t)
{
    return t->context;
}

unsigned transport_next(struct transport *t)
{
    return atomic_fetch_add(&t->next, 1);
}

int transport_port(const char *text)
{
    const size_t n = strlen(text);
    if (n < 1 || n > 5 || strspn(text, "0123456789") != n)
        return -1;
    const int port = atoi(text);
    return port <= 65535 ? port : -1;
}

int transport_endpoint(const char *endpoint, bool listening, struct err *err)
{
    const char *port = strrchr(endpoint, ':');
    bool tcp = strncmp(endpoint, "tcp://", 6) == 0 && port != NULL && port > endpoint + 6;
    if (tcp && listening && strcmp(port, ":*") == 0)
        return 0;
    if (!tcp || transport_port(port + 1) <= 0)
        return err_set(err, ERR_USAGE, "address \"%.200s\": expected tcp://HOST:PORT with a port from 1 to 65535", endpoint);
    return 0;
}

struct zmq_option transport_ipv6(const char *endpoint)
{
    const char *host = endpoint + strlen("tcp://");
    return (struct zmq_option){ZMQ_IPV6, strchr(host, ':') != strrchr(host, ':')};
}

int transport_options(void *socket, const struct zmq_option *list, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (zmq_setsockopt(socket, list[i].option, &list[i].value, sizeof list[i].value) != 0)
            return err_set(err, ERR_INTERNAL, "messaging library: option %d = %d: %s", list[i].option, list[i].value,
                           zmq_strerror(errno));
    return 0;
}

void transport_steady(zmq_msg_t *msg)
{
    const int fd = zmq_msg_get(msg, ZMQ_SRCFD), on = 1;
    if (fd >= 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &on, sizeof on);
}

/* ------------------------------------------------------------------ gatekeeper: RFC 27 */

enum { VERSION, REQUEST, DOMAIN_NAME, ADDRESS, ROUTING_ID, MECHANISM, CREDENTIALS, PARTS };

struct question {
    uint8_t part[PARTS][256];
    size_t len[PARTS];
};

/* False when the context ends; parts are NUL-terminated. A question of another form gets n != PARTS. */
static bool ask_read(void *gate, struct question *q, size_t *n)
{
    int more = 1;
    size_t size = sizeof more;
    for (*n = 0; more; (*n)++) {
        uint8_t spare[256], *dst = *n < PARTS ? q->part[*n] : spare;
        int len;
        while ((len = zmq_recv(gate, dst, sizeof spare - 1, 0)) < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return false;
        if ((size_t)len > sizeof spare - 1) /* libzmq reports the full length of what it cut */
            len = sizeof spare - 1;
        dst[len] = 0;
        if (*n < PARTS)
            q->len[*n] = (size_t)len;
        if (zmq_getsockopt(gate, ZMQ_RCVMORE, &more, &size) != 0)
            return false;
    }
    return true;
}

/* Unknown keys are news for the operator, but not one line per knock. */
static void log_refused(struct transport *t, const struct question *q)
{
    uint64_t now = clock_ms();
    if (t->logged_ms != 0 && now - t->logged_ms < 1000)
        return;
    t->logged_ms = now;
    char hex[17] = "none";
    if (q->len[CREDENTIALS] == 32)
        crypto_hex(q->part[CREDENTIALS], 8, hex);
    log_warn("%s: refused a key that is not on the allow-list: curve key %s... from %s", q->part[DOMAIN_NAME], hex,
             q->part[ADDRESS]);
}

/* *news: worth a line in the log if not. */
static bool admits(struct transport *t, const struct question *q, bool *news)
{
    bool ok = false;
    *news = true;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < DOMAINS; i++) {
        struct domain *d = &t->domain[i];
        if (d->allow == NULL || strcmp(d->name, (const char *)q->part[DOMAIN_NAME]) != 0)
            continue;
        ok = strcmp((const char *)q->part[MECHANISM], "CURVE") == 0 && q->len[CREDENTIALS] == 32 &&
             allow_find(d->allow, q->part[CREDENTIALS], NULL);
        if (!ok)
            *news = allow_count_refused(d->allow, q->part[CREDENTIALS]);
    }
    pthread_mutex_unlock(&t->lock);
    return ok;
}

static void *gatekeeper(void *arg)
{
    struct transport *t = arg;
    struct question q = {0};
    size_t n;
    while (ask_read(t->gate, &q, &n)) {
        bool news = false;
        bool ok = n == PARTS && strcmp((const char *)q.part[VERSION], "1.0") == 0 && admits(t, &q, &news);
        if (!ok && news)
            log_refused(t, &q);
        char user[65] = "";
        if (ok)
            crypto_hex(q.part[CREDENTIALS], 32, user); /* becomes the frames' User-Id */
        const char *code = ok ? "200" : "400", *text = ok ? "OK" : "unknown key";
        if (zmq_send(t->gate, "1.0", 3, ZMQ_SNDMORE) < 0 ||
            zmq_send(t->gate, q.part[REQUEST], n > REQUEST ? q.len[REQUEST] : 0, ZMQ_SNDMORE) < 0 ||
            zmq_send(t->gate, code, 3, ZMQ_SNDMORE) < 0 || zmq_send(t->gate, text, strlen(text), ZMQ_SNDMORE) < 0 ||
            zmq_send(t->gate, user, strlen(user), ZMQ_SNDMORE) < 0 || zmq_send(t->gate, "", 0, 0) < 0)
            break;
    }
    return NULL;
}

/* Signals are for the role's own thread. */
static int start_thread(struct transport *t)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&t->thread, NULL, gatekeeper, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

static int start_gatekeeper(struct transport *t, struct err *err)
{
    void *gate = zmq_socket(t->context, ZMQ_REP);
    const int zero = 0;
    if (gate == NULL || zmq_setsockopt(gate, ZMQ_LINGER, &zero, sizeof zero) != 0 ||
        zmq_bind(gate, "inproc://zeromq.zap.01") != 0) {
        err_set(err, ERR_INTERNAL, "cannot bind the gatekeeper: %s", zmq_strerror(errno));
        goto fail;
    }
    t->gate = gate;
    if (start_thread(t) == 0)
        return 0;
    err_set(err, ERR_INTERNAL, "cannot start the gatekeeper thread");
fail:
    t->gate = NULL;
    if (gate != NULL)
        zmq_close(gate);
    return -1;
}

int transport_guard(struct transport *t, const char *domain, struct allow *allow, struct err *err)
{
    size_t n = strlen(domain);
    if (n == 0 || n >= ZMQ_DOOR_DOMAIN_MAX)
        return err_set(err, ERR_USAGE, "listener name \"%.40s\": expected 1 to %d characters", domain, ZMQ_DOOR_DOMAIN_MAX - 1);
    if (t->gate == NULL && start_gatekeeper(t, err) != 0)
        return -1;
    struct domain *free_slot = NULL;
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < DOMAINS; i++) {
        struct domain *d = &t->domain[i];
        if (d->allow == NULL)
            free_slot = d;
        else if (strcmp(d->name, domain) == 0)
            rc = -1;
    }
    if (rc == 0 && free_slot != NULL) {
        memcpy(free_slot->name, domain, n + 1);
        free_slot->allow = allow;
    }
    pthread_mutex_unlock(&t->lock);
    if (rc != 0)
        return err_set(err, ERR_USAGE, "there is a listener \"%s\" already", domain);
    return free_slot != NULL ? 0 : err_set(err, ERR_USAGE, "more than %d listeners in one process", DOMAINS);
}

void transport_unguard(struct transport *t, const char *domain)
{
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < DOMAINS; i++)
        if (t->domain[i].allow != NULL && strcmp(t->domain[i].name, domain) == 0)
            t->domain[i].allow = NULL;
    pthread_mutex_unlock(&t->lock);
}
