/* The server's protocol: pages of keys and values, numbers that are not finite, peers that do not read, many sessions. */
#include <criterion/criterion.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/session.h"
#include "tests/support/rig.h"
#include "tests/support/slow.h"

static void start(size_t pages, enum prefix_scope scope)
{
    struct kvpool *pool;
    struct err err;
    rig_load("LlamaForCausalLM", &rig_long, true);
    cr_assert_eq(kvpool_new(&pool, &rig.net->config, KV_F32, 1, &err), 0);
    rig.kv_bytes = pages * kvpool_page_bytes(pool);
    kvpool_free(pool);
    rig.limits.prefix = scope;
    rig.limits.steps = 1 << 20; /* what is not given back is missed soon */
    rig_begin();
    rig.alice = rig_peer_of(0, 1);
    rig.bob = rig_peer_of(1, 2);
    rig_greet(&rig.alice);
    rig_greet(&rig.bob);
}

TestSuite(memory, .fini = rig_drop);

static void close_one(const struct listener_peer *p, int session)
{
    rig_give(p, msg_close_encode(rig_id_of(session)));
    (void)rig_one(WIRE_CLOSED);
    rig_forget();
}

/* ------------------------------------------------------------------ pages */

/* Mutations: pages of a refused step kept; the session ended by the refusal; the cache cut deeper than the step's begin. */
Test(memory, a_step_that_finds_no_page_is_busy_with_numbers_and_can_be_tried_again)
{
    struct rig_step token = {.seq = 2, .pos = 64, .T = 1, .out_n = 1, .text = 4};
    start(3, PREFIX_OFF);
    rig_open_one(&rig.alice, 1, 192);
    rig_open_one(&rig.bob, 2, 192); /* more than there is, together */
    cr_expect_eq(rig_stats().kv_used, 0, "opening takes nothing");
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 128, .out_n = 1, .text = 3});
    rig_send_step(&rig.bob, 2, (struct rig_step){.seq = 1, .T = 65, .out_n = 1, .text = 4});
    const struct frame *f = rig_one(WIRE_ERROR);
    char text[WIRE_TEXT_MAX + 1], numbers[80];
    memcpy(text, f->payload, f->h.length);
    text[f->h.length] = '\0';
    (void)snprintf(numbers, sizeof numbers, "need 2 pages of %zu bytes", kvpool_page_bytes(rig.model.pool));
    cr_expect(strstr(text, numbers) != NULL && strstr(text, "try again") != NULL, "%s", text);
    rig_error(WIRE_BUSY);
    rig_step(&rig.bob, 2, (struct rig_step){.seq = 1, .T = 64, .out_n = 1, .text = 4});
    cr_expect_eq(rig_stats().kv_used, rig_stats().kv_budget);
    for (int i = 0; i < 100; i++) {
        rig_send_step(&rig.bob, 2, token);
        rig_error(WIRE_BUSY);
    }
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 60, .T = 2, .out_n = 1, .text = 3}); /* gives a page back */
    rig_step(&rig.bob, 2, token);
    rig_step(&rig.bob, 2, (struct rig_step){.seq = 3, .pos = 65, .T = 40, .out_from = 39, .out_n = 1, .text = 4});
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 3, .pos = 62, .T = 3, .out_n = 1, .text = 3});
    rig_error(WIRE_BUSY);
    close_one(&rig.bob, 2);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 3, .pos = 62, .T = 3, .out_n = 1, .text = 3});
}

Test(memory, a_session_is_promised_no_more_than_all_pages)
{
    start(2, PREFIX_OFF);
    rig_ask_open(&rig.alice, 1, 129);
    rig_error(WIRE_CONTEXT_FULL);
    rig_open_one(&rig.alice, 1, 128);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 128, .out_from = 127, .out_n = 1, .text = 3});
}

/* Mutations: a leak in any of them; pages, users, waiting steps that stay. */
static void come_and_go(int sessions)
{
    static int next = 10;
    for (int i = 0; i < sessions; i++, next++) {
        const struct listener_peer p = rig_peer_of(i % 7, 3 + i % 7);
        int T = 1 + i % 200;
        rig_open_one(&p, next, 300);
        rig_send_step(&p, next, (struct rig_step){.seq = 1, .T = T, .out_n = 1, .text = i % 5});
        if (i % 3 != 0)
            cr_assert_geq(rig_work(), 1);
        rig_forget();
        if (i % 5 == 0) {
            rig.now += 60001;
            (void)core_tick(rig.core, rig.now);
        } else {
            rig_give(&p, msg_close_encode(rig_id_of(next)));
        }
        if (i % 15 == 0) /* a step that waits keeps its session alive */
            rig_give(&p, msg_close_encode(rig_id_of(next)));
        rig_forget();
        cr_assert_eq(rig_stats().sessions_open, 0, "after %d", i);
    }
}

#ifdef __SANITIZE_ADDRESS__
#define MANY 1000 /* its allocator does not count */
#else
#define MANY (10000 / (int)slow_times())
#endif

Test(memory, ten_thousand_sessions_take_no_more_memory_than_a_thousand)
{
    for (int scope = PREFIX_OFF; scope <= PREFIX_USER; scope++) {
        start(64, (enum prefix_scope)scope);
        for (int i = 0; i < 7; i++) {
            const struct listener_peer p = rig_peer_of(i, 3 + i);
            rig_greet(&p);
        }
        come_and_go(1000); /* connections, users and all pages have been there */
        size_t before = mallinfo2().uordblks, pages = rig_stats().kv_used;
        come_and_go(MANY);
        size_t after = mallinfo2().uordblks;
        cr_expect_leq(after, before + 4096, "%zu bytes more", after - before);
        if (scope == PREFIX_OFF)
            cr_expect_eq(rig_stats().kv_used, 0);
        cr_expect_leq(rig_stats().kv_used, pages == 0 ? 0 : rig_stats().kv_budget);
        if (scope == PREFIX_OFF)
            rig_drop();
    }
}

/* ------------------------------------------------------------------ numbers that are not finite */

/* Mutations: outputs not looked at; all sessions of the pass ended; pages that were spoiled and spoil who gets them next. */
Test(memory, a_session_whose_numbers_overflow_ends_alone)
{
    struct rig_step mine = {.seq = 1, .T = 20, .out_from = 10, .out_n = 10, .text = 3};
    struct core_job jobs[8];
    start(3, PREFIX_OFF);
    rig_open_one(&rig.alice, 1, 100);
    rig_open_one(&rig.alice, 2, 64);
    rig_open_one(&rig.bob, 3, 100);
    rig_send_step(&rig.alice, 1, mine);
    rig_send_step(&rig.bob, 3, mine);
    cr_assert_eq(rig_take(jobs), 2);
    int bad = jobs[0].session->peer.rid[0] == 1 ? 0 : 1;
    ((float *)(uintptr_t)jobs[bad].seq.x)[3 * rig.net->config.D + 1] = NAN; /* as if it had come about inside */
    rig_pass(jobs, 2);
    cr_assert_eq(rig.said_n, 2);
    cr_expect(rig.said[bad].f.h.type == WIRE_ERROR && rig.said[bad].f.h.code == WIRE_OVERFLOW && rig.said[bad].f.h.seq == 1);
    cr_expect_eq(rig.said[1 - bad].f.h.type, WIRE_OUT);
    for (int i = 0; i < 10 * 40; i++) {
        float y;
        memcpy(&y, rig.said[1 - bad].f.payload + (size_t)i * sizeof y, sizeof y);
        cr_assert(isfinite(y), "number %d", i);
    }
    rig_forget();
    cr_expect_eq(rig_stats().sessions_open, 2);
    rig_send_step(&rig.alice, 1, mine);
    rig_error(WIRE_UNKNOWN_SESSION);
    rig_step(&rig.bob, 3, (struct rig_step){.seq = 2, .pos = 20, .T = 1, .out_n = 1, .text = 3});
    rig_step(&rig.alice, 2, mine); /* in the page that the other one left */
    rig_step(&rig.bob, 3, (struct rig_step){.seq = 3, .pos = 21, .T = 30, .out_from = 29, .out_n = 1, .text = 3});
    rig_step(&rig.bob, 3, (struct rig_step){.seq = 4, .pos = 51, .T = 30, .out_from = 29, .out_n = 1, .text = 3});
}

/* A page that was spoiled and goes to another session: what stands in it behind the new tokens must not matter, in any dtype.
 * Mutation: products with weights of zero over values that are not there. */
Test(memory, a_spoiled_page_does_no_harm_to_who_gets_it_next)
{
    struct core_job jobs[8];
    for (int dtype = KV_F32; dtype <= KV_INT8; dtype++) {
        rig.kv_dtype = (enum kv_dtype)dtype;
        start(16, PREFIX_OFF);
        for (int T = 1; T <= 60; T += 7) {
            rig_open_one(&rig.alice, 1, 64);
            rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 64, .out_n = 64, .text = 3});
            cr_assert_eq(rig_take(jobs), 1);
            for (int i = 0; i < 64 * rig.net->config.D; i++)
                ((float *)(uintptr_t)jobs[0].seq.x)[i] = NAN;
            rig_pass(jobs, 1);
            rig_error(WIRE_OVERFLOW);
            rig_open_one(&rig.bob, 2, 64);
            rig_send_step(&rig.bob, 2, (struct rig_step){.seq = 1, .T = T, .out_n = T, .text = 3});
            cr_assert_geq(rig_work(), 1);
            (void)rig_one(WIRE_OUT); /* else OVERFLOW */
            rig_forget();
            close_one(&rig.bob, 2);
        }
        if (dtype != KV_INT8)
            rig_drop();
    }
}

/* ------------------------------------------------------------------ peers that do not read */

/* Mutation: an answer that waits for its reader keeps the worker or the other answers waiting. */
Test(memory, others_go_on_while_one_does_not_read_and_its_memory_is_bounded)
{
    struct rig_step s = {.seq = 1, .T = 30, .out_n = 30, .text = 3};
    start(8, PREFIX_OFF);
    rig_open_one(&rig.alice, 1, 100);
    rig_open_one(&rig.bob, 2, 100);
    rig.slow = rig.alice;
    rig.room = 0;
    rig.verdict = LISTENER_FULL;
    rig_send_step(&rig.alice, 1, s);
    cr_expect_eq(rig_work(), 1);
    rig_quiet();
    size_t held = mallinfo2().uordblks;
    for (int i = 0; i < 60; i++) {
        rig_step(&rig.bob, 2, (struct rig_step){.seq = (uint64_t)i + 1, .pos = i, .T = 1, .out_n = 1, .text = 3});
        rig_send_step(&rig.alice, 1, s); /* illegal now, each is refused with a frame that waits too */
        rig.now += 100;
        (void)core_tick(rig.core, rig.now);
    }
    cr_expect_leq(mallinfo2().uordblks, held + 32 * 1024);
    cr_expect_eq(rig_stats().sessions_open, 1, "more than it may leave unread");
    cr_expect_eq(rig_stats().peers_dropped, 1);
    rig_step(&rig.bob, 2, (struct rig_step){.seq = 61, .pos = 60, .T = 1, .out_n = 1, .text = 3});
    rig.room = -1; /* it reads again */
    (void)core_tick(rig.core, rig.now);
    rig_forget();
    rig_ask_open(&rig.alice, 1, 100);
    cr_expect_eq(rig_opened().cached, 0);
}

/* Mutations: CANCELLED, CLOSED, OPENED lost when the socket is full (the user waits for ever); sent out of order. */
Test(memory, short_answers_wait_for_a_full_socket_in_their_order)
{
    struct rig_step s = {.seq = 1, .T = 3, .out_n = 1, .text = 3};
    start(8, PREFIX_OFF);
    rig_open_one(&rig.alice, 1, 100);
    rig_open_one(&rig.alice, 2, 100);
    rig.room = 0;
    rig.verdict = LISTENER_FULL;
    rig_send_step(&rig.alice, 1, s);
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1)));
    rig_ask_open(&rig.alice, 3, 100);
    rig_give(&rig.alice, msg_close_encode(rig_id_of(1)));
    rig.room = -1; /* there is room again, but others were first */
    rig_send_step(&rig.alice, 2, s);
    cr_expect_eq(rig_work(), 1);
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(7)));
    rig_quiet();
    rig.room = 0;
    cr_expect_leq(core_tick(rig.core, rig.now), 100, "it is tried again soon");
    rig.room = 1;
    (void)core_tick(rig.core, rig.now);
    (void)rig_one(WIRE_CANCELLED);
    rig_forget();
    rig.room = -1;
    (void)core_tick(rig.core, rig.now);
    cr_assert_eq(rig.said_n, 4);
    cr_expect(rig.said[0].f.h.type == WIRE_OPENED && rig.said[1].f.h.type == WIRE_CLOSED && rig.said[2].f.h.type == WIRE_ERROR &&
              rig.said[3].f.h.type == WIRE_OUT);
    rig_forget();
    cr_expect_geq(core_tick(rig.core, rig.now), 1000);
    rig_step(&rig.alice, 3, s);
}

Test(memory, short_answers_wait_no_longer_than_half_a_minute)
{
    start(8, PREFIX_OFF);
    rig_open_one(&rig.alice, 1, 100);
    rig_open_one(&rig.bob, 2, 100);
    rig.slow = rig.alice;
    rig.room = 0;
    rig.verdict = LISTENER_FULL;
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1)));
    rig.now += 30000;
    (void)core_tick(rig.core, rig.now);
    cr_expect_eq(rig_stats().sessions_open, 2);
    rig.now += 1;
    (void)core_tick(rig.core, rig.now);
    cr_expect_eq(rig_stats().sessions_open, 1, "bob's");
    cr_expect_eq(rig_stats().peers_dropped, 1);
    rig.room = -1;
    (void)core_tick(rig.core, rig.now);
    rig_quiet();
}

/* Mutation: frames for a connection that is gone kept for ever. */
Test(memory, what_waits_for_a_connection_that_is_gone_is_forgotten)
{
    start(8, PREFIX_OFF);
    rig_open_one(&rig.alice, 1, 100);
    rig.room = 0;
    rig.verdict = LISTENER_FULL;
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1)));
    rig.verdict = LISTENER_GONE;
    cr_expect_geq(core_tick(rig.core, rig.now), 1000, "nothing to try again");
    cr_expect_eq(rig_stats().sessions_open, 1);
    rig.room = -1;
    struct listener_peer again = rig_peer_of(0, 9);
    rig_greet(&again);
    rig_ask_open(&again, 1, 100);
    (void)rig_opened();
}
