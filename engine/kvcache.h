/* engine/kvcache.h - keys and values of sequences, in pages under one hard budget.
 *
 * Data flow   kvpool (one per model) -> pages -> kvcache (one per sequence) -> forward() stores and reads them.
 * Shapes      a page holds KV_PAGE tokens of all layers; inside, a block per layer and key/value head: keys in groups of
 *             KV_GROUP tokens [KV_PAGE/KV_GROUP][K][KV_GROUP] (so that one vector holds one coordinate of many keys), then
 *             values [KV_PAGE][K], then for int8 the scales of each token's key and value [2][KV_PAGE].
 * Units       tokens, bytes.
 * Errors      kvpool_new, kvcache_new: memory. kvcache_reserve says no when the budget, or the machine, has no page left.
 * Memory      pages are counted by reference and go back to the pool, which keeps them for the next cache. One thread at a time
 *             may call the functions of a pool and its caches, but for kvpage_new; forward() only reads the page list.
 * Secrets     permuted keys and values on the server; never cleared, for the server may see them.
 */
#ifndef STIP_ENGINE_KVCACHE_H
#define STIP_ENGINE_KVCACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "model/config.h"

#define KV_PAGE 64
#define KV_GROUP 16

enum kv_dtype { KV_F32, KV_BF16, KV_INT8 };
const char *kv_dtype_name(enum kv_dtype t);
bool kv_dtype_parse(const char *name, enum kv_dtype *out);

struct kvpage {
    int references;
    struct kvpage *next; /* in the pool's list of free pages */
    _Alignas(64) unsigned char data[];
};

/* Bytes of the pages that `tokens` tokens take. */
size_t kvcache_bytes(const struct config *c, enum kv_dtype dtype, int tokens);

struct kvpool;
MUST_CHECK int kvpool_new(struct kvpool **out, const struct config *c, enum kv_dtype dtype, size_t budget, struct err *err);
void kvpool_free(struct kvpool *pool);
enum kv_dtype kvpool_dtype(const struct kvpool *pool);
size_t kvpool_page_bytes(const struct kvpool *pool);
size_t kvpool_used(const struct kvpool *pool);
size_t kvpool_budget(const struct kvpool *pool);
/* Bytes from one block to the next; block of layer l and head g is number l*G + g. */
size_t kvpool_block_bytes(const struct kvpool *pool);

/* A page for kvpool_add, made by any thread; NULL where the machine has no memory. The system takes milliseconds to give a page of some
 * megabytes: caches that find one among the pool's free pages need not wait for it. */
struct kvpage *kvpage_new(const struct kvpool *pool);
void kvpool_add(struct kvpool *pool, struct kvpage *page); /* consumes it; no more than there is room for are kept */
/* Free pages of the pool, and how many more the budget has room for. */
size_t kvpool_ready(const struct kvpool *pool);
size_t kvpool_room(const struct kvpool *pool);

struct kvcache {
    int len, cap; /* tokens */
    struct kvpool *pool;
    struct kvpage **pages; /* [cap / KV_PAGE, rounded up] */
    int page_count;
    bool owns_pool;
};
/* Takes no page yet. */
MUST_CHECK int kvcache_new(struct kvcache **out, struct kvpool *pool, int cap, struct err *err);
/* A cache with a pool of its own and all pages reserved: for benches, tests and models on the user's side. */
MUST_CHECK int kvcache_new_alone(struct kvcache **out, const struct config *c, enum kv_dtype dtype, int cap, struct err *err);
void kvcache_free(struct kvcache *kv);
/* Makes sure that pages for the first `tokens` tokens are there and that those from `len` on belong to this cache alone (a
 * shared one is copied). False: the pool has not enough; nothing changed that matters. */
MUST_CHECK bool kvcache_reserve(struct kvcache *kv, int tokens);
/* Forgets the tokens from `len` on, and gives back the pages that hold nothing else. */
void kvcache_truncate(struct kvcache *kv, int len);

/* One more reference to page i, which must be full. kvpage_drop gives it back. */
struct kvpage *kvcache_share(const struct kvcache *kv, int i);
void kvpage_drop(struct kvpool *pool, struct kvpage *page);
/* Appends a full page as the next KV_PAGE tokens, with a reference of its own. len must be a multiple of KV_PAGE and cap leave
 * room. Pages that were reserved behind len are given back. */
void kvcache_adopt(struct kvcache *kv, struct kvpage *page);

#endif
