#include "server/connections.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/fnv.h"

#define BUCKETS 4096u
#define WAITING_MAX 32

struct waiting_frame {
    STAILQ_ENTRY(waiting_frame) next;
    struct frame f;
    uint8_t payload[];
};

TAILQ_HEAD(connection_list, connection);

struct connections {
    struct core_sender sender;
    struct connection *by_rid[BUCKETS];
    struct connection_list all;
    uint64_t bytes_out;
};

int connections_new(struct connections **out, struct core_sender sender, struct err *err)
{
    struct connections *cs = calloc(1, sizeof *cs);
    if (cs == NULL)
        return err_oom(err, sizeof *cs);
    cs->sender = sender;
    TAILQ_INIT(&cs->all);
    *out = cs;
    return 0;
}

static struct connection **slot(struct connections *cs, const struct listener_peer *peer)
{
    struct connection **at = &cs->by_rid[fnv1a(peer->rid, peer->rid_len) % BUCKETS];
    while (*at != NULL && !listener_peer_equal(&(*at)->peer, peer))
        at = &(*at)->hash_next;
    return at;
}

static void drop_waiting(struct connection *k)
{
    for (struct waiting_frame *w; (w = STAILQ_FIRST(&k->waiting)) != NULL; free(w))
        STAILQ_REMOVE_HEAD(&k->waiting, next);
    k->waiting_n = 0;
}

static void forget(struct connections *cs, struct connection *k)
{
    *slot(cs, &k->peer) = k->hash_next;
    TAILQ_REMOVE(&cs->all, k, all);
    drop_waiting(k);
    free(k);
}

void connections_free(struct connections *cs)
{
    if (cs == NULL)
        return;
    while (!TAILQ_EMPTY(&cs->all))
        forget(cs, TAILQ_FIRST(&cs->all));
    free(cs);
}

struct connection *connections_find(struct connections *cs, const struct listener_peer *peer)
{
    return *slot(cs, peer);
}

struct connection *connections_get(struct connections *cs, const struct listener_peer *peer, uint64_t now_ms)
{
    struct connection **at = slot(cs, peer), *k = *at;
    if (k == NULL) {
        if ((k = calloc(1, sizeof *k)) == NULL)
            return NULL;
        k->peer = *peer;
        k->phase = PHASE_NEW;
        STAILQ_INIT(&k->waiting);
        *at = k;
        TAILQ_INSERT_TAIL(&cs->all, k, all);
    }
    k->seen_ms = now_ms;
    return k;
}

void connections_reset(struct connections *cs)
{
    struct connection *k;
    TAILQ_FOREACH(k, &cs->all, all)
        k->phase = PHASE_NEW;
}

/* ------------------------------------------------------------------ sending */

static enum listener_sent send_now(struct connections *cs, const struct listener_peer *peer, const struct frame *f)
{
    enum listener_sent sent = cs->sender.send(cs->sender.arg, peer, f);
    if (sent == LISTENER_SENT)
        cs->bytes_out += WIRE_HEADER_BYTES + f->h.length;
    return sent;
}

/* Behind those that wait already. */
static enum listener_sent put_off(struct connection *k, const struct frame *f, uint64_t now_ms)
{
    struct waiting_frame *w = NULL;
    if (k->waiting_n >= WAITING_MAX) {
        k->deaf = true;
        return LISTENER_FULL;
    }
    if ((w = malloc(sizeof *w + f->h.length)) == NULL)
        return LISTENER_FULL;
    w->f = *f;
    w->f.payload = w->payload;
    if (f->h.length > 0)
        memcpy(w->payload, f->payload, f->h.length);
    if (k->waiting_n++ == 0)
        k->blocked_ms = now_ms;
    STAILQ_INSERT_TAIL(&k->waiting, w, next);
    return LISTENER_SENT;
}

enum listener_sent connections_say(struct connections *cs, const struct listener_peer *peer, const struct frame *f, uint64_t now_ms)
{
    struct connection *k = connections_find(cs, peer);
    enum listener_sent sent = k != NULL && k->waiting_n > 0 ? LISTENER_FULL : send_now(cs, peer, f);
    return sent == LISTENER_FULL && k != NULL ? put_off(k, f, now_ms) : sent;
}

enum listener_sent connections_send(struct connections *cs, const struct listener_peer *peer, const struct frame *f)
{
    const struct connection *k = connections_find(cs, peer);
    return k != NULL && k->waiting_n > 0 ? LISTENER_FULL : send_now(cs, peer, f);
}

static void retry(struct connections *cs, struct connection *k, uint64_t now_ms)
{
    for (struct waiting_frame *w; (w = STAILQ_FIRST(&k->waiting)) != NULL;) {
        switch (send_now(cs, &k->peer, &w->f)) {
        case LISTENER_SENT:
            STAILQ_REMOVE_HEAD(&k->waiting, next);
            free(w);
            k->waiting_n--;
            k->blocked_ms = now_ms;
            break;
        case LISTENER_FULL:
            k->deaf |= now_ms - k->blocked_ms > CONNECTION_SLOW_MS;
            return;
        case LISTENER_GONE:
            drop_waiting(k);
            return;
        }
    }
}

bool connections_tick(struct connections *cs, uint64_t now_ms, uint64_t idle_ms)
{
    bool waiting = false;
    for (struct connection *k = TAILQ_FIRST(&cs->all), *next; k != NULL; k = next) {
        next = TAILQ_NEXT(k, all);
        retry(cs, k, now_ms);
        waiting |= k->waiting_n > 0;
        if (now_ms - k->seen_ms > idle_ms)
            forget(cs, k);
    }
    return waiting;
}

int connections_drop_deaf(struct connections *cs)
{
    struct connection *k;
    int n = 0;
    TAILQ_FOREACH(k, &cs->all, all) {
        if (!k->deaf)
            continue;
        log_warn("a user does not read what it is sent; its connection's sessions end");
        drop_waiting(k);
        k->deaf = false;
        n++;
    }
    return n;
}

uint64_t connections_bytes_out(const struct connections *cs)
{
    return cs->bytes_out;
}
