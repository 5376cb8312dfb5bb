#include "server/prefix.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define BUCKETS 16384u

_Static_assert(sizeof((struct peer_key){0}.curve_pub) == CRYPTO_HASH_LEN, "a key begins the ids of its user");

struct entry {
    struct entry *hash_next;
    TAILQ_ENTRY(entry) age;
    uint8_t id[CRYPTO_HASH_LEN];
    struct kvpage *page;
};
TAILQ_HEAD(entry_list, entry);

struct prefix {
    struct kvpool *pool;
    enum prefix_scope scope;
    struct crypto_hash *hash;
    struct entry *by_id[BUCKETS];
    struct entry_list ages; /* the one used last first */
    int count;
};

int prefix_new(struct prefix **out, enum prefix_scope scope, struct err *err)
{
    struct prefix *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_oom(err, sizeof *p);
    if (crypto_hash_new(&p->hash, err) != 0) {
        free(p);
        return -1;
    }
    p->scope = scope;
    TAILQ_INIT(&p->ages);
    *out = p;
    return 0;
}

static struct entry **slot(struct prefix *p, const uint8_t id[CRYPTO_HASH_LEN])
{
    uint32_t h;
    memcpy(&h, id, sizeof h);
    struct entry **at = &p->by_id[h % BUCKETS];
    while (*at != NULL && memcmp((*at)->id, id, CRYPTO_HASH_LEN) != 0)
        at = &(*at)->hash_next;
    return at;
}

static void drop(struct prefix *p, struct entry *e)
{
    *slot(p, e->id) = e->hash_next;
    TAILQ_REMOVE(&p->ages, e, age);
    kvpage_drop(p->pool, e->page);
    p->count--;
    free(e);
}

void prefix_reset(struct prefix *p, struct kvpool *pool)
{
    while (!TAILQ_EMPTY(&p->ages))
        drop(p, TAILQ_FIRST(&p->ages));
    p->pool = pool;
}

void prefix_free(struct prefix *p)
{
    if (p == NULL)
        return;
    prefix_reset(p, NULL);
    crypto_hash_free(p->hash);
    free(p);
}

/* ------------------------------------------------------------------ ids */

void prefix_begin(const struct prefix *p, const struct peer_key *user, uint8_t id[CRYPTO_HASH_LEN])
{
    memset(id, 0, CRYPTO_HASH_LEN);
    if (p->scope == PREFIX_USER)
        memcpy(id, user->curve_pub, CRYPTO_HASH_LEN);
}

int prefix_name(struct prefix *p, uint8_t (*ids)[CRYPTO_HASH_LEN], int from, const float *x, int T, int D)
{
    struct err err;
    for (int t = 0; t < T; t++)
        if (crypto_hash_add(p->hash, ids[from + t], CRYPTO_HASH_LEN, &err) != 0 ||
            crypto_hash_add(p->hash, x + (size_t)t * (size_t)D, (size_t)D * sizeof *x, &err) != 0 ||
            crypto_hash_end(p->hash, ids[from + t + 1], &err) != 0)
            return from + t + 1;
    return from + T + 1;
}

/* ------------------------------------------------------------------ pages */

/* The pages of a prefix grow old from its end: without its beginning a prefix is not found. */
static void refresh(struct prefix *p, uint8_t (*ids)[CRYPTO_HASH_LEN], int pages)
{
    for (int i = pages; i > 0; i--) {
        struct entry *e = *slot(p, ids[i * KV_PAGE]);
        if (e != NULL) {
            TAILQ_REMOVE(&p->ages, e, age);
            TAILQ_INSERT_HEAD(&p->ages, e, age);
        }
    }
}

int prefix_adopt(struct prefix *p, struct kvcache *kv, uint8_t (*ids)[CRYPTO_HASH_LEN], int limit)
{
    const int begin = kv->len;
    if (begin % KV_PAGE != 0)
        return 0;
    while (kv->len + KV_PAGE <= limit) {
        struct entry *e = *slot(p, ids[kv->len + KV_PAGE]);
        if (e == NULL)
            break;
        kvcache_adopt(kv, e->page);
    }
    if (kv->len > begin)
        refresh(p, ids, kv->len / KV_PAGE);
    return kv->len - begin;
}

static bool put(struct prefix *p, const uint8_t id[CRYPTO_HASH_LEN], const struct kvcache *kv, int page)
{
    struct entry **at = slot(p, id), *e = *at;
    if (e != NULL) /* another session was first */
        return true;
    if ((e = calloc(1, sizeof *e)) == NULL)
        return false;
    memcpy(e->id, id, sizeof e->id);
    e->page = kvcache_share(kv, page);
    *at = e;
    TAILQ_INSERT_HEAD(&p->ages, e, age);
    p->count++;
    return true;
}

void prefix_publish(struct prefix *p, const struct kvcache *kv, uint8_t (*ids)[CRYPTO_HASH_LEN], int named, int from)
{
    const int tokens = kv->len < named ? kv->len : named - 1, first = from / KV_PAGE;
    int i = first;
    while ((i + 1) * KV_PAGE <= tokens && put(p, ids[(i + 1) * KV_PAGE], kv, i))
        i++;
    if (i > first)
        refresh(p, ids, i);
}

bool prefix_evict(struct prefix *p)
{
    struct entry *e;
    TAILQ_FOREACH_REVERSE(e, &p->ages, entry_list, age)
        if (e->page->references == 1) {
            drop(p, e);
            return true;
        }
    return false;
}
