#include "server/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/size.h"

struct session_table {
    struct session *first;
    struct session *queue, **queue_end;
    int count, max, max_per_user;
    size_t used, budget;
};

int session_table_new(struct session_table **out, int max, int max_per_user, size_t memory, struct err *err)
{
    struct session_table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_oom(err, sizeof *t);
    *t = (struct session_table){.max = max, .max_per_user = max_per_user, .budget = memory};
    t->queue_end = &t->queue;
    *out = t;
    return 0;
}

void session_table_free(struct session_table *t)
{
    if (t == NULL)
        return;
    while (t->first != NULL) {
        t->first->running = false;
        session_end(t, t->first);
    }
    free(t);
}

int session_count(const struct session_table *t)
{
    return t->count;
}

static bool reserve(struct session_table *t, size_t bytes)
{
    size_t sum;
    if (size_add(t->used, bytes, &sum) || sum > t->budget)
        return false;
    t->used = sum;
    return true;
}

enum wire_code session_new(struct session **out, struct session_table *t, const uint8_t id[WIRE_SESSION_BYTES],
                           const struct peer_key *owner, const struct config *c, int tokens, struct err *err)
{
    int own = 0;
    for (const struct session *s = t->first; s != NULL; s = s->next) {
        own += !s->ended && peer_key_equal(&s->owner, owner) ? 1 : 0;
        if (memcmp(s->id, id, WIRE_SESSION_BYTES) == 0) {
            err_set(err, ERR_PEER, "this session id is in use");
            return WIRE_BUSY;
        }
    }
    if (t->count >= t->max || own >= t->max_per_user) {
        err_set(err, ERR_PEER, "%s: %d of %d sessions are open", own >= t->max_per_user ? "too many for one user" : "the server is full",
                own >= t->max_per_user ? own : t->count, own >= t->max_per_user ? t->max_per_user : t->max);
        return WIRE_BUSY;
    }
    size_t bytes = kvcache_bytes(c, KV_F32, tokens) + sizeof(struct session);
    if (!reserve(t, bytes)) {
        err_set(err, ERR_PEER, "a session of %d tokens needs %zu bytes, %zu of %zu are free", tokens, bytes, t->budget - t->used,
                t->budget);
        return WIRE_BUSY;
    }
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL || kvcache_new_alone(&s->kv, c, KV_F32, tokens, err) != 0) {
        free(s);
        t->used -= bytes;
        err_set(err, ERR_INTERNAL, "out of memory");
        return WIRE_OOM;
    }
    memcpy(s->id, id, sizeof s->id);
    crypto_hex(id, 4, s->name);
    s->owner = *owner;
    s->phase = PHASE_CLOSED;
    s->kv_bytes = bytes;
    s->next = t->first;
    if (t->first != NULL)
        t->first->prev = s;
    t->first = s;
    t->count++;
    *out = s;
    return WIRE_OK;
}

struct session *session_find(const struct session_table *t, const uint8_t id[WIRE_SESSION_BYTES], const struct peer_key *owner)
{
    for (struct session *s = t->first; s != NULL; s = s->next)
        if (!s->ended && memcmp(s->id, id, WIRE_SESSION_BYTES) == 0 && peer_key_equal(&s->owner, owner))
            return s;
    return NULL;
}

void session_end(struct session_table *t, struct session *s)
{
    session_unqueue(t, s);
    if (s->running) {
        s->ended = true;
        return;
    }
    session_drop_step(t, s);
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        t->first = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    t->used -= s->kv_bytes;
    t->count--;
    kvcache_free(s->kv);
    free(s);
}

struct session *session_first(const struct session_table *t)
{
    struct session *s = t->first;
    while (s != NULL && s->ended)
        s = s->next;
    return s;
}

struct session *session_after(const struct session *s)
{
    struct session *n = s->next;
    while (n != NULL && n->ended)
        n = n->next;
    return n;
}

bool session_answered(const struct session *s)
{
    return s->answered != 0 && s->step.seq == s->answered && s->y != NULL;
}

bool session_step_buffers(struct session_table *t, struct session *s, const struct msg_rows *m, int D, int width)
{
    size_t x_bytes = (size_t)m->rows * (size_t)D * sizeof(float), y_bytes = (size_t)m->out_n * (size_t)width * sizeof(float);
    session_drop_step(t, s);
    if (!reserve(t, x_bytes + y_bytes))
        return false;
    s->step_bytes = x_bytes + y_bytes;
    s->x = malloc(x_bytes);
    s->y = malloc(y_bytes == 0 ? sizeof(float) : y_bytes);
    if (s->x == NULL || s->y == NULL) {
        session_drop_step(t, s);
        return false;
    }
    s->step = *m;
    return true;
}

void session_drop_step(struct session_table *t, struct session *s)
{
    if (s->running)
        return;
    free(s->x);
    free(s->y);
    s->x = s->y = NULL;
    s->sending = s->blocked = false;
    t->used -= s->step_bytes;
    s->step_bytes = 0;
}

void session_queue(struct session_table *t, struct session *s)
{
    s->queued = true;
    s->queue_next = NULL;
    *t->queue_end = s;
    t->queue_end = &s->queue_next;
}

void session_unqueue(struct session_table *t, struct session *s)
{
    if (!s->queued)
        return;
    struct session **at = &t->queue;
    while (*at != s)
        at = &(*at)->queue_next;
    *at = s->queue_next;
    if (t->queue_end == &s->queue_next)
        t->queue_end = at;
    s->queued = false;
}

struct session *session_next(const struct session_table *t)
{
    return t->queue;
}
