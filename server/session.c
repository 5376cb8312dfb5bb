#include "server/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "server/fnv.h"

#define BUCKETS 4096u

struct session_table {
    struct session_list all;
    struct session *by_id[BUCKETS];
    struct user *by_key[BUCKETS];
    int count, max, max_per_user;
    size_t used, budget;
};

int session_table_new(struct session_table **out, int max, int max_per_user, size_t memory, struct err *err)
{
    struct session_table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_oom(err, sizeof *t);
    t->max = max;
    t->max_per_user = max_per_user;
    t->budget = memory;
    TAILQ_INIT(&t->all);
    *out = t;
    return 0;
}

void session_table_free(struct session_table *t)
{
    if (t == NULL)
        return;
    for (struct session *s; (s = TAILQ_FIRST(&t->all)) != NULL;) {
        s->running = s->queued = false;
        session_end(t, s);
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

static enum wire_code no_room(const struct session_table *t, size_t bytes, struct err *err)
{
    err_set(err, ERR_PEER, "%zu bytes of buffers are needed, %zu of %zu are free; try again later", bytes, t->budget - t->used,
            t->budget);
    return WIRE_BUSY;
}

/* ------------------------------------------------------------------ users */

static struct user **user_slot(struct session_table *t, const struct peer_key *key)
{
    struct user **at = &t->by_key[fnv1a(key, sizeof *key) % BUCKETS];
    while (*at != NULL && !peer_key_equal(&(*at)->key, key))
        at = &(*at)->hash_next;
    return at;
}

static struct user *user_of(struct session_table *t, const struct peer_key *key)
{
    struct user **at = user_slot(t, key), *u = *at;
    if (u == NULL && (u = calloc(1, sizeof *u)) != NULL) {
        u->key = *key;
        for (int i = 0; i < TURNS; i++)
            TAILQ_INIT(&u->waiting[i]);
        *at = u;
    }
    return u;
}

static void user_release(struct session_table *t, struct user *u)
{
    if (u == NULL || u->held > 0)
        return;
    *user_slot(t, &u->key) = u->hash_next;
    free(u);
}

/* ------------------------------------------------------------------ sessions */

/* Each key has ids of its own: nobody can keep another from the id that he has. */
static struct session **session_slot(struct session_table *t, const uint8_t id[WIRE_SESSION_BYTES], const struct peer_key *owner)
{
    struct session **at = &t->by_id[fnv1a(id, WIRE_SESSION_BYTES) % BUCKETS];
    while (*at != NULL && (memcmp((*at)->id, id, WIRE_SESSION_BYTES) != 0 || !peer_key_equal(&(*at)->user->key, owner)))
        at = &(*at)->hash_next;
    return at;
}

static enum wire_code full(const struct session_table *t, const struct user *u, struct err *err)
{
    bool own = u->open >= t->max_per_user;
    err_set(err, ERR_PEER, "%s: %d of %d sessions are open", own ? "too many for one user" : "the server is full",
            own ? u->open : t->count, own ? t->max_per_user : t->max);
    return WIRE_BUSY;
}

static enum wire_code make(struct session **out, struct session_table *t, struct kvpool *pool, int tokens, bool named,
                           struct err *err)
{
    size_t ids = named ? ((size_t)tokens + 1) * CRYPTO_HASH_LEN : 0, bytes = sizeof(struct session) + ids;
    if (!reserve(t, bytes))
        return no_room(t, bytes, err);
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL || (named && (s->ids = malloc(ids)) == NULL) || kvcache_new(&s->kv, pool, tokens, err) != 0) {
        if (s != NULL)
            free(s->ids);
        free(s);
        t->used -= bytes;
        err_set(err, ERR_INTERNAL, "out of memory");
        return WIRE_OOM;
    }
    s->own_bytes = bytes;
    *out = s;
    return WIRE_OK;
}

enum wire_code session_new(struct session **out, struct session_table *t, const uint8_t id[WIRE_SESSION_BYTES],
                           const struct peer_key *owner, struct kvpool *pool, int tokens, bool named, struct err *err)
{
    struct session *s, **at = session_slot(t, id, owner);
    if (*at != NULL) {
        err_set(err, ERR_PEER, "a session of this id is about to end");
        return WIRE_BUSY;
    }
    struct user *u = user_of(t, owner);
    if (u == NULL) {
        err_oom(err, sizeof *u);
        return WIRE_OOM;
    }
    enum wire_code code = t->count >= t->max || u->open >= t->max_per_user ? full(t, u, err) : make(&s, t, pool, tokens, named, err);
    if (code != WIRE_OK) {
        user_release(t, u);
        return code;
    }
    memcpy(s->id, id, sizeof s->id);
    crypto_hex(id, 4, s->name);
    s->user = u;
    s->phase = PHASE_CLOSED;
    u->open++;
    u->held++;
    *at = s;
    TAILQ_INSERT_HEAD(&t->all, s, all);
    t->count++;
    *out = s;
    return WIRE_OK;
}

struct session *session_find(struct session_table *t, const uint8_t id[WIRE_SESSION_BYTES], const struct peer_key *owner)
{
    struct session *s = *session_slot(t, id, owner);
    return s != NULL && !s->ended ? s : NULL;
}

void session_end(struct session_table *t, struct session *s)
{
    assert(!s->queued);
    if (!s->ended) {
        s->ended = true;
        s->user->open--;
    }
    if (s->running)
        return;
    session_drop_step(t, s);
    *session_slot(t, s->id, &s->user->key) = s->hash_next;
    TAILQ_REMOVE(&t->all, s, all);
    t->used -= s->own_bytes;
    t->count--;
    s->user->held--;
    user_release(t, s->user);
    kvcache_free(s->kv);
    free(s->ids);
    free(s);
}

static struct session *visible(struct session *s)
{
    while (s != NULL && s->ended)
        s = TAILQ_NEXT(s, all);
    return s;
}

struct session *session_first(const struct session_table *t)
{
    return visible(TAILQ_FIRST(&t->all));
}

struct session *session_after(const struct session *s)
{
    return visible(TAILQ_NEXT(s, all));
}

/* ------------------------------------------------------------------ steps */

bool session_answered(const struct session *s)
{
    return s->answered != 0 && s->step.seq == s->answered && s->y != NULL;
}

enum wire_code session_step_buffers(struct session_table *t, struct session *s, const struct msg_rows *m, int D, int width,
                                    struct err *err)
{
    size_t x_bytes = (size_t)m->rows * (size_t)D * sizeof(float), y_bytes = (size_t)m->out_n * (size_t)width * sizeof(float);
    session_drop_step(t, s);
    if (!reserve(t, x_bytes + y_bytes))
        return no_room(t, x_bytes + y_bytes, err);
    s->step_bytes = x_bytes + y_bytes;
    s->x = malloc(x_bytes);
    s->y = malloc(y_bytes == 0 ? sizeof(float) : y_bytes);
    if (s->x == NULL || s->y == NULL) {
        session_drop_step(t, s);
        err_oom(err, x_bytes + y_bytes);
        return WIRE_OOM;
    }
    s->step = *m;
    s->done = 0;
    s->server_us = 0;
    return WIRE_OK;
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

void session_cut(struct session *s, int len)
{
    len = len < s->kv->len ? len : s->kv->len;
    kvcache_truncate(s->kv, len); /* also what was reserved behind it */
    if (s->named > len + 1)
        s->named = len + 1;
}
