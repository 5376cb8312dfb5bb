#include "tests/sim/world.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "engine/forward.h"
#include "engine/net.h"
#include "server/package.h"
#include "transport/msg_ping.h"
#include "transport/msg_rows.h"
#include "transport/msg_session.h"
#include "transport/zmq_door.h"

#define JOBS 8
#define IN_FLIGHT 16 /* frames that a line holds towards the user: the high-water mark */
#define STRANGER 0xee

struct packet {
    struct packet *next;
    uint64_t due, sent;
    size_t len; /* 0: the end of the line */
    uint8_t bytes[];
};

struct queue {
    struct packet *first, *last;
    int n;
};

/* One connection. It is cut when either end has gone; what is on its way may arrive yet. */
struct line {
    struct line *next;
    uint8_t id;
    int server;
    struct socket *user; /* NULL: has closed it, or has been told */
    bool cut;
    uint64_t hole; /* nothing arrives before */
    struct queue up, down;
};

struct socket {
    struct socket *next;
    int type;
    char name[64];        /* of a monitor: its address */
    struct socket *watch; /* a DEALER's monitor */
    struct line *line;
    int server;
    uint64_t attempt; /* 0: not connecting */
    uint64_t shaken;  /* when the handshake will be over; 0: it is, or there is none */
    uint64_t unsent;  /* ZMQ_TCP_MAXRT: a line on which something is unconfirmed for so long is given up; 0: never */
    struct queue in;  /* frames; of a monitor: events */
};

struct host {
    struct core *core; /* NULL: down */
    struct kvpool *pool;
    struct core_job jobs[JOBS];
    int n;                         /* being computed */
    uint64_t done, tick, start_at; /* of the computation, of core_tick, of the next start */
    uint64_t handshake; /* how long one takes */
    bool die, reload, away, silent;
};

static struct {
    bool alive, trouble;
    struct world_options o;
    uint64_t now, random;
    struct host host[WORLD_SERVERS];
    struct line *lines;
    struct socket *sockets;
    struct scratch *scratch;
    uint8_t next_id;
    uint8_t session[WIRE_SESSION_BYTES]; /* the user's, as a stranger might have learnt it */
    struct world_counts counts;
} w;

/* ------------------------------------------------------------------ chance and time */

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t world_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t below(uint64_t n)
{
    return world_random(&w.random) % n;
}

uint64_t clock_us(void)
{
    struct timespec t;
    if (w.alive)
        return w.now;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int64_t clock_unix(void)
{
    return 1795000000;
}

void clock_iso(int64_t unix_seconds, char out[32])
{
    (void)snprintf(out, 32, "%lld", (long long)unix_seconds);
}

int RAND_bytes(unsigned char *buf, int num);
int RAND_bytes(unsigned char *buf, int num)
{
    for (int i = 0; i < num; i++)
        buf[i] = (unsigned char)world_random(&w.random);
    return 1;
}

/* ------------------------------------------------------------------ lines */

static void put(struct queue *q, uint64_t due, const void *bytes, size_t len)
{
    struct packet *p = malloc(sizeof *p + len);
    cr_assert_not_null(p);
    *p = (struct packet){.due = q->last != NULL && q->last->due > due ? q->last->due : due, .sent = w.now, .len = len};
    if (len > 0)
        memcpy(p->bytes, bytes, len);
    *(q->last == NULL ? &q->first : &q->last->next) = p;
    q->last = p;
    q->n++;
}

static struct packet *take(struct queue *q)
{
    struct packet *p = q->first;
    if (p == NULL)
        return NULL;
    q->first = p->next;
    if (q->first == NULL)
        q->last = NULL;
    q->n--;
    return p;
}

/* All but the first n are lost. */
static void shorten(struct queue *q, int n)
{
    struct queue kept = {0};
    for (struct packet *p; (p = take(q)) != NULL; free(p))
        if (n-- > 0)
            put(&kept, p->due, p->bytes, p->len);
    *q = kept;
}

/* The connection breaks; of what is on its way some arrives. Frames to the server may come after those of the next line. */
static void cut(struct line *l, bool server_lives)
{
    if (l->cut)
        return;
    l->cut = true;
    shorten(&l->up, server_lives ? (int)below((uint64_t)l->up.n + 1) : 0);
    shorten(&l->down, (int)below((uint64_t)l->down.n + 1));
    put(&l->down, w.now + below(30000), NULL, 0);
}

static struct line *line_of(uint8_t id)
{
    for (struct line *l = w.lines; l != NULL; l = l->next)
        if (l->id == id)
            return l;
    return NULL;
}

static uint64_t delay(void)
{
    return below(10) == 0 ? below(80000) : 50 + below(4000);
}

/* After each frame something may happen. */
static void chance(struct line *l)
{
    w.counts.frames++;
    if (!w.trouble || w.o.troubles == 0 || below(100) >= 6)
        return;
    w.o.troubles--;
    switch (w.o.cuts_only ? 0 : below(8)) {
    case 0:
    case 1:
    case 2:
        w.counts.cuts++;
        cut(l, true);
        break;
    case 3:
    case 4:
        w.counts.kills++;
        w.host[l->server].die = true;
        break;
    case 5:
        w.counts.holes++;
        l->hole = w.now + 100000 + below(40) * 1000000;
        break;
    case 6:
        w.counts.reloads++;
        w.host[l->server].reload = true;
        break;
    default:
        w.counts.strangers++;
        w.host[l->server].tick = w.now; /* see stranger */
        break;
    }
}

/* ------------------------------------------------------------------ servers */

static enum listener_sent send_down(void *arg, const struct listener_peer *peer, const struct frame *f)
{
    struct host *h = arg;
    uint8_t bytes[WIRE_HEADER_BYTES + 65536];
    struct err err;
    if (peer->rid[0] == STRANGER)
        return below(4) == 0 ? LISTENER_FULL : LISTENER_SENT;
    struct line *l = line_of(peer->rid[1]);
    if (l == NULL || l->cut || &w.host[l->server] != h)
        return LISTENER_GONE;
    if (l->down.n >= IN_FLIGHT || (w.trouble && below(30) == 0)) {
        w.counts.slow++;
        return LISTENER_FULL;
    }
    cr_assert_eq(wire_check(&f->h, &err), WIRE_OK, "the server sends a bad frame: %s", err.text);
    cr_assert_leq(f->h.length, 65536);
    wire_put(&f->h, bytes);
    if (f->h.length > 0)
        memcpy(bytes + WIRE_HEADER_BYTES, f->payload, f->h.length);
    if (h->silent)
        l->hole = UINT64_MAX;
    h->silent = false;
    put(&l->down, w.now + delay(), bytes, WIRE_HEADER_BYTES + f->h.length);
    chance(l);
    return LISTENER_SENT;
}

static void start(struct host *h)
{
    struct err err;
    cr_assert_eq(kvpool_new(&h->pool, &w.o.package->net->config, KV_F32, w.o.kv_bytes, &err), 0, "%s", err.text);
    const struct core_model model = package_model(w.o.package, h->pool);
    cr_assert_eq(core_new(&h->core, &w.o.limits, &model, (struct core_sender){send_down, h}, &err), 0, "%s", err.text);
    h->n = 0;
    h->tick = w.now;
}

static void stop(struct host *h)
{
    core_free(h->core);
    kvpool_free(h->pool);
    h->core = NULL;
    h->pool = NULL;
}

static void kill_host(struct host *h)
{
    for (struct line *l = w.lines; l != NULL; l = l->next)
        if (&w.host[l->server] == h)
            cut(l, false);
    stop(h);
    h->die = h->reload = false;
    h->start_at = w.now + 10000 + below(6000000);
}

static void compute(struct host *h)
{
    struct forward_seq seqs[JOBS];
    for (int i = 0; i < h->n; i++)
        seqs[i] = h->jobs[i].seq;
    forward(w.o.package->net, w.scratch, seqs, h->n);
    core_done(h->core, w.now / 1000, h->jobs, h->n, 100);
    h->n = 0;
}

/* Somebody with a key of his own says what comes to his mind, to the user's session too. */
static void stranger(struct host *h)
{
    struct listener_peer p = {.rid = {STRANGER, (uint8_t)below(3)}, .rid_len = 2, .key = {.curve_pub = {9}, .sign_pub = {9}}};
    uint8_t payload[4096], body[MSG_HELLO_BYTES];
    struct err err;
    const struct msg_hello hello = {.protocol_min = MSG_PROTOCOL_MIN, .protocol_max = MSG_PROTOCOL_MAX};
    const struct frame greeting = msg_hello_encode(&hello, body);
    core_frame(h->core, w.now / 1000, &p, &greeting);
    for (int i = 0; i < 12; i++) {
        struct frame f = {.h = {.type = (uint8_t)(1 + below(WIRE_TYPE_END - 1)), .flags = WIRE_FIRST | WIRE_LAST, .epoch = 1,
                                .seq = below(3), .arg = {(uint32_t)below(4), (uint32_t)below(4), (uint32_t)below(4)}},
                          .payload = payload};
        if (below(2) == 0)
            memcpy(f.h.session, w.session, sizeof w.session);
        else
            f.h.session[0] = (uint8_t)(1 + below(3));
        if (f.h.type == WIRE_ROWS) {
            const uint32_t D = (uint32_t)w.o.package->net->config.D, rows = 1 + (uint32_t)below(4);
            f.h.rank = 2;
            f.h.dtype = WIRE_F32;
            f.h.last_dim = D;
            f.h.total = f.h.length = rows * D * 4;
            for (uint32_t k = 0; k < rows * D; k++) {
                const float x = below(500) == 0 ? NAN : (float)below(7);
                memcpy(payload + 4 * k, &x, sizeof x);
            }
        } else if (f.h.type == WIRE_OPEN) {
            const struct msg_open open = {.max_tokens = 1 + (uint32_t)below(100)};
            struct frame o = msg_open_encode(&open);
            memcpy(o.h.session, f.h.session, sizeof o.h.session);
            f = o;
        }
        if (f.h.type != WIRE_PING && wire_check(&f.h, &err) == WIRE_OK)
            core_frame(h->core, w.now / 1000, &p, &f);
    }
}

static void serve(struct host *h)
{
    if (h->core == NULL) {
        if (w.now >= h->start_at) {
            w.counts.restarts++;
            start(h);
        }
        return;
    }
    if (h->n > 0 && w.now >= h->done)
        compute(h);
    if (h->reload && h->n == 0) {
        const struct core_model model = package_model(w.o.package, h->pool);
        core_set_model(h->core, &model);
        h->reload = false;
    }
    if (h->n == 0 && (h->n = core_take(h->core, h->jobs, JOBS)) > 0)
        h->done = w.now + 200 + below(20000);
    const int wait = core_tick(h->core, w.now / 1000);
    h->tick = w.now + (uint64_t)(wait > 1 ? wait : 1) * 1000;
    if (h->die)
        kill_host(h);
}

static void arrive_up(struct line *l, struct packet *p)
{
    struct host *h = &w.host[l->server];
    struct listener_peer peer = {.rid = {0, l->id}, .rid_len = 2, .key = w.o.user};
    struct frame f;
    struct err err;
    if (h->core == NULL)
        return;
    cr_assert_eq(wire_get(&f, p->bytes, p->len, &err), WIRE_OK, "the user sends a bad frame: %s", err.text);
    if (f.h.type == WIRE_OPEN)
        memcpy(w.session, f.h.session, sizeof w.session);
    if (f.h.type == WIRE_PING) {
        const struct frame pong = msg_pong_encode(&f);
        (void)!send_down(h, &peer, &pong);
    } else
        core_frame(h->core, w.now / 1000, &peer, &f);
}

/* ------------------------------------------------------------------ the user's sockets */

static void tell(struct socket *s, uint16_t event)
{
    uint8_t head[6] = {0};
    memcpy(head, &event, sizeof event);
    if (s->watch == NULL)
        return;
    put(&s->watch->in, w.now, head, sizeof head);
    put(&s->watch->in, w.now, "", 1); /* the address, which nobody looks at */
}

static void try_connect(struct socket *s)
{
    struct host *h = &w.host[s->server];
    struct line *l;
    if (h->core == NULL || h->away) {
        tell(s, ZMQ_EVENT_CLOSED);
        s->attempt = w.now + 100000;
        return;
    }
    cr_assert_not_null(l = calloc(1, sizeof *l));
    do
        l->id = w.next_id++;
    while (line_of(l->id) != NULL);
    l->server = s->server;
    l->user = s;
    l->next = w.lines;
    w.lines = l;
    s->line = l;
    s->attempt = 0;
    tell(s, ZMQ_EVENT_CONNECTED);
    if (h->handshake > 0)
        s->shaken = w.now + h->handshake;
    else
        tell(s, ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
}

static void shake(struct socket *s)
{
    s->shaken = 0;
    if (s->line != NULL)
        tell(s, ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
}

static void arrive_down(struct line *l, const struct packet *p)
{
    if (l->user == NULL)
        return;
    if (p->len > 0) {
        put(&l->user->in, w.now, p->bytes, p->len);
        return;
    }
    tell(l->user, ZMQ_EVENT_DISCONNECTED);
    l->user->line = NULL;
    l->user = NULL;
}

/* Of what is in the hole nothing arrives any more. */
static void give_up(struct line *l)
{
    l->cut = true;
    shorten(&l->up, 0);
    shorten(&l->down, 0);
    tell(l->user, ZMQ_EVENT_DISCONNECTED);
    l->user->line = NULL;
    l->user = NULL;
}

static uint64_t due(const struct line *l, const struct queue *q)
{
    return q->first == NULL ? UINT64_MAX : q->first->due > l->hole ? q->first->due : l->hole;
}

/* When the user's kernel gives the line up. */
static uint64_t given_up(const struct line *l)
{
    return l->cut || l->user == NULL || l->user->unsent == 0 || l->up.first == NULL ? UINT64_MAX : l->up.first->sent + l->user->unsent;
}

static void earlier(uint64_t *next, uint64_t t)
{
    if (t < *next)
        *next = t;
}

/* To the next thing that happens, at most to `limit`. */
static void step(uint64_t limit)
{
    uint64_t next = limit;
    for (const struct line *l = w.lines; l != NULL; l = l->next) {
        earlier(&next, due(l, &l->up));
        earlier(&next, due(l, &l->down));
        earlier(&next, given_up(l));
    }
    for (const struct socket *s = w.sockets; s != NULL; s = s->next) {
        if (s->attempt != 0)
            earlier(&next, s->attempt);
        if (s->shaken != 0)
            earlier(&next, s->shaken);
    }
    for (int i = 0; i < WORLD_SERVERS; i++) {
        const struct host *h = &w.host[i];
        earlier(&next, h->core == NULL ? h->start_at : h->tick);
        if (h->core != NULL && h->n > 0)
            earlier(&next, h->done);
    }
    w.now = next > w.now ? next : w.now;
    for (struct line *l = w.lines, *then; l != NULL; l = then) {
        then = l->next;
        while (due(l, &l->up) <= w.now) {
            struct packet *p = take(&l->up);
            arrive_up(l, p);
            free(p);
        }
        while (due(l, &l->down) <= w.now) {
            struct packet *p = take(&l->down);
            arrive_down(l, p);
            free(p);
        }
        if (given_up(l) <= w.now)
            give_up(l);
    }
    for (struct socket *s = w.sockets; s != NULL; s = s->next) {
        if (s->attempt != 0 && s->attempt <= w.now)
            try_connect(s);
        if (s->shaken != 0 && s->shaken <= w.now)
            shake(s);
    }
    const unsigned strangers = w.counts.strangers;
    for (int i = 0; i < WORLD_SERVERS; i++) {
        serve(&w.host[i]);
        if (w.host[i].core != NULL && w.trouble && below(20) == 0 && strangers > 0)
            stranger(&w.host[i]);
    }
    for (struct line **l = &w.lines; *l != NULL;) {
        struct line *gone = *l;
        if (gone->cut && gone->user == NULL && gone->up.first == NULL) {
            *l = gone->next;
            shorten(&gone->down, 0);
            free(gone);
        } else
            l = &gone->next;
    }
}

/* ------------------------------------------------------------------ what stands instead of libzmq and the system */

void *zmq_socket(void *context, int type)
{
    struct socket *s = calloc(1, sizeof *s);
    (void)context;
    cr_assert_not_null(s);
    s->type = type;
    s->next = w.sockets;
    return w.sockets = s;
}

int zmq_setsockopt(void *socket, int option, const void *value, size_t len)
{
    struct socket *s = socket;
    int ms;
    if (option == ZMQ_TCP_MAXRT && len == sizeof ms) {
        memcpy(&ms, value, sizeof ms);
        s->unsent = (uint64_t)ms * 1000;
    }
    return 0;
}

int zmq_socket_monitor(void *socket, const char *address, int events)
{
    struct socket *s = socket;
    (void)events;
    s->watch = NULL;
    for (struct socket *m = w.sockets; m != NULL && address != NULL; m = m->next)
        if (strcmp(m->name, address) == 0)
            s->watch = m;
    return 0;
}

int zmq_connect(void *socket, const char *address)
{
    struct socket *s = socket;
    (void)snprintf(s->name, sizeof s->name, "%s", address);
    if (s->type == ZMQ_DEALER) {
        s->server = atoi(strrchr(address, ':') + 1) - 1;
        s->attempt = w.now + 300 + delay();
    }
    return 0;
}

int zmq_close(void *socket)
{
    struct socket *gone = socket;
    if (gone->line != NULL) {
        gone->line->user = NULL;
        cut(gone->line, true);
    }
    for (struct socket **s = &w.sockets; *s != NULL; s = &(*s)->next) {
        if ((*s)->watch == gone)
            (*s)->watch = NULL;
        if (*s == gone) {
            *s = gone->next;
            break;
        }
    }
    shorten(&gone->in, 0);
    free(gone);
    return 0;
}

static short ready(const struct socket *s, short wanted)
{
    short events = s->in.first != NULL ? ZMQ_POLLIN : 0;
    if (s->line != NULL && s->line->up.n < IN_FLIGHT)
        events |= ZMQ_POLLOUT;
    return events & wanted;
}

int zmq_poll(zmq_pollitem_t *item, int n, long timeout)
{
    const uint64_t end = w.now + (uint64_t)timeout * 1000;
    for (;;) {
        int found = 0;
        for (int i = 0; i < n; i++)
            found += (item[i].revents = ready(item[i].socket, item[i].events)) != 0 ? 1 : 0;
        if (found > 0 || w.now >= end)
            return found;
        step(end);
    }
}

int zmq_recv(void *socket, void *data, size_t len, int flags)
{
    struct socket *s = socket;
    struct packet *p = take(&s->in);
    (void)flags;
    if (p == NULL) {
        errno = EAGAIN;
        return -1;
    }
    const size_t n = p->len < len ? p->len : len;
    memcpy(data, p->bytes, n);
    free(p);
    return (int)n;
}

int zmq_msg_send(zmq_msg_t *msg, void *socket, int flags)
{
    struct socket *s = socket;
    const size_t len = zmq_msg_size(msg);
    (void)flags;
    if (s->line == NULL || s->line->up.n >= IN_FLIGHT) {
        errno = EAGAIN;
        return -1;
    }
    if (!s->line->cut) {
        put(&s->line->up, w.now + delay(), zmq_msg_data(msg), len);
        chance(s->line);
    }
    (void)zmq_msg_close(msg);
    return (int)len;
}

int zmq_msg_recv(zmq_msg_t *msg, void *socket, int flags)
{
    struct socket *s = socket;
    struct packet *p = take(&s->in);
    (void)flags;
    if (p == NULL) {
        errno = EAGAIN;
        return -1;
    }
    (void)zmq_msg_close(msg);
    cr_assert_eq(zmq_msg_init_size(msg, p->len), 0);
    memcpy(zmq_msg_data(msg), p->bytes, p->len);
    const int n = (int)p->len;
    free(p);
    return n;
}

static void pass(uint64_t us)
{
    const uint64_t end = w.now + us;
    while (w.now < end)
        step(end);
}

int nanosleep(const struct timespec *request, struct timespec *left)
{
    if (!w.alive)
        return clock_nanosleep(CLOCK_MONOTONIC, 0, request, left);
    pass((uint64_t)request->tv_sec * 1000000 + (uint64_t)request->tv_nsec / 1000);
    return 0;
}

/* ------------------------------------------------------------------ a world */

void world_begin(const struct world_options *o)
{
    struct err err;
    memset(&w, 0, sizeof w);
    w.o = *o;
    w.random = o->seed;
    w.now = 1000000;
    w.alive = true;
    cr_assert_eq(scratch_new(&w.scratch, o->package->net, core_pass_rows(&o->limits, &o->package->net->config), JOBS * o->limits.out_rows,
                             &err), 0, "%s", err.text);
    for (int i = 0; i < WORLD_SERVERS; i++)
        start(&w.host[i]);
}

void world_trouble(void)
{
    w.trouble = w.o.troubles > 0;
}

void world_reach(int server, bool reachable)
{
    w.host[server].away = !reachable;
    for (struct line *l = w.lines; l != NULL && !reachable; l = l->next)
        if (l->server == server)
            cut(l, true);
}

void world_handshake(int server, unsigned ms)
{
    w.host[server].handshake = (uint64_t)ms * 1000;
}

void world_silence(int server)
{
    w.host[server].silent = true;
}

void world_settle(uint64_t *sessions, uint64_t *kv_bytes)
{
    w.trouble = false;
    pass((uint64_t)w.o.limits.ttl_ms * 3000 + 20000000);
    *sessions = *kv_bytes = 0;
    for (int i = 0; i < WORLD_SERVERS; i++) {
        struct msg_stats s;
        core_stats(w.host[i].core, &s);
        *sessions += s.sessions_open;
        *kv_bytes += kvpool_used(w.host[i].pool);
    }
}

struct world_counts world_counts(void)
{
    struct world_counts sum = w.counts;
    for (int i = 0; i < WORLD_SERVERS; i++) {
        struct msg_stats s;
        if (w.host[i].core == NULL)
            continue;
        core_stats(w.host[i].core, &s);
        sum.rows += s.rows_in;
    }
    return sum;
}

void world_end(void)
{
    for (int i = 0; i < WORLD_SERVERS; i++)
        stop(&w.host[i]);
    for (struct line *l = w.lines, *next; l != NULL; l = next) {
        next = l->next;
        shorten(&l->up, 0);
        shorten(&l->down, 0);
        free(l);
    }
    scratch_free(w.scratch);
    w.lines = NULL;
    w.alive = false;
}
