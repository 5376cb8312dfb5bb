#include "engine/kvcache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/size.h"

struct kvpool {
    enum kv_dtype dtype;
    size_t block_bytes, page_bytes;
    size_t used, budget;
    struct kvpage *free; /* pages that no cache holds; their memory is not in `used` */
    size_t free_count;
};

const char *kv_dtype_name(enum kv_dtype t)
{
    static const char *const names[] = {[KV_F32] = "f32", [KV_BF16] = "bf16", [KV_INT8] = "int8"};
    return names[t];
}

bool kv_dtype_parse(const char *name, enum kv_dtype *out)
{
    for (int t = KV_F32; t <= KV_INT8; t++)
        if (strcmp(name, kv_dtype_name((enum kv_dtype)t)) == 0) {
            *out = (enum kv_dtype)t;
            return true;
        }
    return false;
}

static size_t element_size(enum kv_dtype t)
{
    return t == KV_F32 ? 4 : t == KV_BF16 ? 2 : 1;
}

static size_t block_bytes(const struct config *c, enum kv_dtype dtype)
{
    size_t elements = 2 * (size_t)KV_PAGE * (size_t)c->K, scales = dtype == KV_INT8 ? 2 * KV_PAGE * sizeof(float) : 0;
    return (elements * element_size(dtype) + scales + 63) / 64 * 64;
}

size_t kvcache_bytes(const struct config *c, enum kv_dtype dtype, int tokens)
{
    size_t page = block_bytes(c, dtype) * (size_t)c->L * (size_t)c->G + sizeof(struct kvpage);
    return ((size_t)tokens + KV_PAGE - 1) / KV_PAGE * page;
}

int kvpool_new(struct kvpool **out, const struct config *c, enum kv_dtype dtype, size_t budget, struct err *err)
{
    struct kvpool *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_oom(err, sizeof *p);
    p->dtype = dtype;
    p->budget = budget;
    p->block_bytes = block_bytes(c, dtype);
    size_t bytes;
    if (size_mul(p->block_bytes, (size_t)c->L * (size_t)c->G, &bytes) || bytes > SIZE_MAX / 2) {
        free(p);
        return err_oom(err, SIZE_MAX);
    }
    p->page_bytes = bytes + sizeof(struct kvpage);
    *out = p;
    return 0;
}

void kvpool_free(struct kvpool *pool)
{
    if (pool == NULL)
        return;
    assert(pool->used == 0 && "every cache and shared page goes back first");
    while (pool->free != NULL) {
        struct kvpage *page = pool->free;
        pool->free = page->next;
        free(page);
    }
    free(pool);
}

enum kv_dtype kvpool_dtype(const struct kvpool *pool)
{
    return pool->dtype;
}

size_t kvpool_page_bytes(const struct kvpool *pool)
{
    return pool->page_bytes;
}

size_t kvpool_used(const struct kvpool *pool)
{
    return pool->used;
}

size_t kvpool_budget(const struct kvpool *pool)
{
    return pool->budget;
}

size_t kvpool_block_bytes(const struct kvpool *pool)
{
    return pool->block_bytes;
}

/* A pass reads small blocks all over the pages of all sessions: huge pages of the system save it as many look-ups. Cleared once: attention
 * multiplies whole groups of keys and drops the scores of those that are not there, so it reads them. */
struct kvpage *kvpage_new(const struct kvpool *pool)
{
    const size_t huge = (size_t)2 << 20, whole = pool->page_bytes / huge * huge;
    void *page = NULL;
    if (posix_memalign(&page, whole > 0 ? huge : 64, pool->page_bytes) != 0)
        return NULL;
    if (whole > 0)
        (void)madvise(page, whole, MADV_HUGEPAGE); /* a hint */
    return memset(page, 0, pool->page_bytes);
}

static void put_free(struct kvpool *pool, struct kvpage *page)
{
    page->next = pool->free;
    pool->free = page;
    pool->free_count++;
}

size_t kvpool_ready(const struct kvpool *pool)
{
    return pool->free_count;
}

size_t kvpool_room(const struct kvpool *pool)
{
    const size_t left = (pool->budget - pool->used) / pool->page_bytes;
    return left > pool->free_count ? left - pool->free_count : 0;
}

void kvpool_add(struct kvpool *pool, struct kvpage *page)
{
    if (kvpool_room(pool) > 0)
        put_free(pool, page);
    else
        free(page);
}

static struct kvpage *take_page(struct kvpool *pool)
{
    if (pool->page_bytes > pool->budget - pool->used)
        return NULL;
    struct kvpage *page = pool->free;
    if (page != NULL) {
        pool->free = page->next;
        pool->free_count--;
    } else if ((page = kvpage_new(pool)) == NULL)
        return NULL;
    page->references = 1;
    page->next = NULL;
    pool->used += pool->page_bytes;
    return page;
}

void kvpage_drop(struct kvpool *pool, struct kvpage *page)
{
    assert(page->references > 0);
    if (--page->references > 0)
        return;
    pool->used -= pool->page_bytes;
    put_free(pool, page);
}

int kvcache_new(struct kvcache **out, struct kvpool *pool, int cap, struct err *err)
{
    assert(cap > 0);
    struct kvcache *kv = calloc(1, sizeof *kv);
    size_t pages = ((size_t)cap + KV_PAGE - 1) / KV_PAGE;
    if (kv == NULL)
        return err_oom(err, sizeof *kv);
    if ((kv->pages = calloc(pages, sizeof *kv->pages)) == NULL) {
        free(kv);
        return err_oom(err, pages * sizeof *kv->pages);
    }
    kv->cap = cap;
    kv->pool = pool;
    *out = kv;
    return 0;
}

int kvcache_new_alone(struct kvcache **out, const struct config *c, enum kv_dtype dtype, int cap, struct err *err)
{
    struct kvpool *pool;
    struct kvcache *kv;
    if (kvpool_new(&pool, c, dtype, SIZE_MAX, err) != 0)
        return -1;
    if (kvcache_new(&kv, pool, cap, err) != 0) {
        kvpool_free(pool);
        return -1;
    }
    kv->owns_pool = true;
    if (!kvcache_reserve(kv, cap)) {
        kvcache_free(kv); /* and the pool */
        return err_oom(err, kvcache_bytes(c, dtype, cap));
    }
    *out = kv;
    return 0;
}

static void drop_pages(struct kvcache *kv, int keep)
{
    while (kv->page_count > keep)
        kvpage_drop(kv->pool, kv->pages[--kv->page_count]);
}

void kvcache_free(struct kvcache *kv)
{
    if (kv == NULL)
        return;
    drop_pages(kv, 0);
    if (kv->owns_pool)
        kvpool_free(kv->pool);
    free(kv->pages);
    free(kv);
}

bool kvcache_reserve(struct kvcache *kv, int tokens)
{
    assert(tokens >= kv->len && tokens <= kv->cap);
    int need = (tokens + KV_PAGE - 1) / KV_PAGE, first = kv->len / KV_PAGE, before = kv->page_count;
    if (tokens == kv->len)
        return true;
    if (first < before && kv->pages[first]->references > 1) { /* only the page that len stands in can be shared */
        struct kvpage *own = take_page(kv->pool);
        if (own == NULL)
            return false;
        memcpy(own->data, kv->pages[first]->data, kv->pool->page_bytes - sizeof *own);
        kvpage_drop(kv->pool, kv->pages[first]);
        kv->pages[first] = own;
    }
    while (kv->page_count < need) {
        struct kvpage *page = take_page(kv->pool);
        if (page == NULL) {
            drop_pages(kv, before);
            return false;
        }
        kv->pages[kv->page_count++] = page;
    }
    return true;
}

void kvcache_truncate(struct kvcache *kv, int len)
{
    assert(len >= 0 && len <= kv->len);
    kv->len = len;
    if (!kv->owns_pool)
        drop_pages(kv, (len + KV_PAGE - 1) / KV_PAGE);
}

struct kvpage *kvcache_share(const struct kvcache *kv, int i)
{
    assert(i >= 0 && (i + 1) * KV_PAGE <= kv->len);
    kv->pages[i]->references++;
    return kv->pages[i];
}

void kvcache_adopt(struct kvcache *kv, struct kvpage *page)
{
    assert(kv->len % KV_PAGE == 0 && KV_PAGE <= kv->cap - kv->len);
    drop_pages(kv, kv->len / KV_PAGE);
    page->references++;
    kv->pages[kv->page_count++] = page;
    kv->len += KV_PAGE;
}
