/* server/stock: pages that are ready before a session asks for them. */
#include <criterion/criterion.h>
#include <poll.h>

#include "server/stock.h"

#define TURNS_MAX 60000 /* milliseconds; a page takes far less */

static struct kvpool *pool_of(size_t pages)
{
    const struct config config = {.L = 2, .H = 2, .G = 2, .K = 8};
    struct kvpool *pool = NULL;
    struct err err;
    cr_assert_eq(kvpool_new(&pool, &config, KV_F32, pages * kvcache_bytes(&config, KV_F32, KV_PAGE), &err), 0, "%s", err.text);
    return pool;
}

static struct stock *stock_of(struct kvpool *pool)
{
    struct stock *st = NULL;
    struct err err;
    cr_assert_eq(stock_open(&st, pool, &err), 0, "%s", err.text);
    return st;
}

/* Turns until the pool has so many free pages. */
static void turn_until(struct stock *st, const struct kvpool *pool, size_t free_pages)
{
    for (int i = 0; i < TURNS_MAX && kvpool_ready(pool) < free_pages; i++) {
        stock_turn(st);
        (void)poll(NULL, 0, 1);
    }
    cr_expect_eq(kvpool_ready(pool), free_pages);
}

/* Mutations: no bound by STOCK_SHARE, none by STOCK_PAGES; what is asked for not counted (too many pages). */
Test(stock, keeps_a_part_of_the_budget_ready_and_no_more)
{
    static const struct {
        size_t budget, ready;
    } cases[] = {{3 * STOCK_SHARE, 3}, {STOCK_SHARE - 1, 0}, {2 * STOCK_PAGES * STOCK_SHARE, STOCK_PAGES}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvpool *pool = pool_of(cases[i].budget);
        struct stock *st = stock_of(pool);
        turn_until(st, pool, cases[i].ready);
        for (int k = 0; k < 20; k++) {
            stock_turn(st);
            (void)poll(NULL, 0, 1);
        }
        cr_expect_eq(kvpool_ready(pool), cases[i].ready);
        cr_expect_eq(kvpool_room(pool), cases[i].budget - cases[i].ready);
        stock_close(st);
        cr_expect_eq(kvpool_used(pool), 0);
        kvpool_free(pool);
    }
}

/* Mutation: free pages not counted against the budget when one is added (the pool would hold more than its budget). */
Test(stock, pages_that_are_taken_are_replaced_within_the_budget)
{
    const size_t budget = 2 * STOCK_SHARE, page = KV_PAGE;
    struct kvpool *pool = pool_of(budget);
    struct stock *st = stock_of(pool);
    struct kvcache *kv = NULL;
    struct err err;
    cr_assert_eq(kvcache_new(&kv, pool, (int)(budget * page), &err), 0, "%s", err.text);
    turn_until(st, pool, 2);
    cr_assert(kvcache_reserve(kv, (int)(3 * page)));
    cr_expect_eq(kvpool_ready(pool), 0, "both were used");
    turn_until(st, pool, 2);
    cr_assert(kvcache_reserve(kv, (int)((budget - 1) * page)));
    struct kvpage *extra[2] = {kvpage_new(pool), kvpage_new(pool)};
    for (int i = 0; i < 2; i++) {
        cr_assert_not_null(extra[i]);
        kvpool_add(pool, extra[i]);
    }
    cr_expect_eq(kvpool_ready(pool), 1, "one page is left of the budget: the other is not kept");
    cr_expect_eq(kvpool_room(pool), 0);
    cr_expect(kvcache_reserve(kv, (int)(budget * page)));
    cr_expect_eq(kvpool_room(pool), 0);
    cr_expect_eq(kvpool_ready(pool), 0);
    cr_expect_eq(kvpool_used(pool), kvpool_budget(pool));
    kvcache_free(kv);
    stock_close(st);
    kvpool_free(pool);
}
