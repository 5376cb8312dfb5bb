/* server/prefix through the core: which rows are not computed again, for whom, and what is given up when memory is short. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/rig.h"

static void start(enum prefix_scope scope, size_t pages)
{
    rig_load("LlamaForCausalLM", &rig_long, true);
    rig.limits.prefix = scope;
    if (pages > 0) {
        struct kvpool *pool;
        struct err err;
        cr_assert_eq(kvpool_new(&pool, &rig.net->config, KV_F32, 1, &err), 0);
        rig.kv_bytes = pages * kvpool_page_bytes(pool);
        kvpool_free(pool);
    }
    rig_begin();
    rig.alice = rig_peer_of(0, 1);
    rig.bob = rig_peer_of(1, 2);
    rig_greet(&rig.alice);
    rig_greet(&rig.bob);
}

TestSuite(prefix, .fini = rig_drop);

/* One prompt in a session of its own, right in its last row; gives how many of its rows were not computed. */
static int ask(const struct listener_peer *p, int session, int T, int text)
{
    struct rig_step s = {.seq = 1, .T = T, .out_from = T - 1, .out_n = 1, .text = text};
    uint64_t before = rig_stats().rows_reused;
    struct core_job jobs[8];
    rig_open_one(p, session, (uint32_t)T + 50);
    rig_send_step(p, session, s);
    int reused = (int)(rig_stats().rows_reused - before);
    cr_assert_eq(rig_take(jobs), 1);
    cr_expect_eq(jobs[0].seq.T, T - reused);
    rig_pass(jobs, 1);
    rig_answered(&s, (uint32_t)T);
    return reused;
}

static void close_one(const struct listener_peer *p, int session)
{
    rig_give(p, msg_close_encode(rig_id_of(session)));
    (void)rig_one(WIRE_CLOSED);
    rig_forget();
}

static uint64_t pages_used(void)
{
    return rig_stats().kv_used / kvpool_page_bytes(rig.model.pool);
}

/* Mutation: pages under wrong numbers; a limit that takes the asked row's page too (its output would not be computed). */
Test(prefix, equal_beginnings_are_computed_once)
{
    start(PREFIX_USER, 0);
    cr_expect_eq(ask(&rig.alice, 1, 200, 3), 0);
    cr_expect_eq(pages_used(), 4);
    cr_expect_eq(ask(&rig.alice, 2, 200, 3), 192);
    cr_expect_eq(pages_used(), 5, "three pages are shared");
    cr_expect_eq(ask(&rig.alice, 3, 192, 3), 128, "the last row of the third page is asked");
    cr_expect_eq(ask(&rig.alice, 4, 193, 3), 192);
    cr_expect_eq(ask(&rig.alice, 5, 64, 3), 0);
    cr_expect_eq(ask(&rig.alice, 6, 65, 3), 64);
    for (int i = 1; i <= 6; i++)
        close_one(&rig.alice, i);
    cr_expect_eq(pages_used(), 3, "they outlive the sessions that made them");
    cr_expect_eq(ask(&rig.alice, 7, 300, 3), 192);
    rig_step(&rig.alice, 7, (struct rig_step){.seq = 2, .pos = 300, .T = 2, .out_n = 2, .text = 3});
}

/* Mutation: "user" that finds pages of others; "context" that does not. */
Test(prefix, other_users_pages_are_found_only_where_the_server_allows_it)
{
    start(PREFIX_USER, 0);
    cr_expect_eq(ask(&rig.alice, 1, 100, 3), 0);
    cr_expect_eq(ask(&rig.bob, 2, 100, 3), 0);
    cr_expect_eq(ask(&rig.bob, 3, 100, 3), 64);
    rig_drop();
    start(PREFIX_CONTEXT, 0);
    cr_expect_eq(ask(&rig.alice, 1, 100, 3), 0);
    cr_expect_eq(ask(&rig.bob, 2, 100, 3), 64);
    rig_drop();
    start(PREFIX_OFF, 0);
    cr_expect_eq(ask(&rig.alice, 1, 100, 3), 0);
    cr_expect_eq(ask(&rig.alice, 2, 100, 3), 0);
    close_one(&rig.alice, 1);
    close_one(&rig.alice, 2);
    cr_expect_eq(pages_used(), 0);
}

static void send_changed(int session, int T, int changed)
{
    struct rig_step s = {.seq = 1, .T = T, .out_from = T - 1, .out_n = 1, .text = 3};
    float *x = rig_rows_of(3, 0, T);
    x[(size_t)changed * (size_t)rig.net->config.D + 15] += 1e-6f;
    rig_open_one(&rig.alice, session, (uint32_t)T);
    rig_send_rows(&rig.alice, session, &s, x, -1);
    free(x);
}

/* Mutation: ids of rows without those before them (page two would be found), rows hashed in part. */
Test(prefix, a_row_that_differs_ends_what_is_equal)
{
    static const int changed[] = {0, 63, 64, 127, 130, 191}, reused[] = {0, 0, 64, 64, 128, 128};
    start(PREFIX_USER, 0);
    cr_expect_eq(ask(&rig.alice, 1, 200, 3), 0);
    for (int i = 0; i < 6; i++) {
        uint64_t before = rig_stats().rows_reused;
        send_changed(2 + i, 200, changed[i]);
        cr_expect_eq(rig_stats().rows_reused - before, (uint64_t)reused[i], "row %d", changed[i]);
        (void)rig_work();
        rig_forget();
    }
}

/* A prompt of several messages: those that ask nothing cost nothing the second time. Mutation: such a step left waiting. */
Test(prefix, a_message_that_asks_nothing_may_need_no_computing_at_all)
{
    struct core_job jobs[8];
    start(PREFIX_USER, 0);
    cr_expect_eq(ask(&rig.alice, 1, 300, 3), 0);
    rig_open_one(&rig.alice, 2, 400);
    struct rig_step first = {.seq = 1, .T = 128, .text = 3}, second = {.seq = 2, .pos = 128, .T = 140, .out_from = 139, .out_n = 1, .text = 3};
    rig_send_step(&rig.alice, 2, first);
    rig_answered(&first, 128);
    cr_expect_eq(rig_take(jobs), 0);
    rig_send_step(&rig.alice, 2, first); /* the answer is kept as any other */
    rig_answered(&first, 128);
    rig_send_step(&rig.alice, 2, second);
    cr_assert_eq(rig_take(jobs), 1);
    cr_expect_eq(jobs[0].seq.T, 12);
    rig_pass(jobs, 1);
    rig_answered(&second, 268);
}

/* What was answered token by token can be sent back as a prompt. Mutation: ids kept for prompts only. */
Test(prefix, an_answer_is_found_when_it_comes_back_in_the_next_prompt)
{
    start(PREFIX_USER, 0);
    cr_expect_eq(ask(&rig.alice, 1, 60, 3), 0);
    for (int i = 0; i < 8; i++)
        rig_step(&rig.alice, 1, (struct rig_step){.seq = (uint64_t)i + 2, .pos = 60 + i, .T = 1, .out_n = 1, .text = 3});
    cr_expect_eq(ask(&rig.alice, 2, 90, 3), 64);
}

/* Mutations: writing into a shared page; ids that stay when the cache is cut (other rows would be found under them). */
Test(prefix, a_session_that_goes_back_into_a_shared_page_changes_its_own_copy)
{
    start(PREFIX_USER, 0);
    cr_expect_eq(ask(&rig.alice, 1, 150, 3), 0);
    cr_expect_eq(ask(&rig.alice, 2, 150, 3), 128);
    struct rig_step other = {.seq = 2, .pos = 40, .T = 60, .out_from = 59, .out_n = 1, .text = 3};
    float *x = rig_rows_of(8, 40, 60); /* other rows from 40 on */
    rig_send_rows(&rig.alice, 2, &other, x, -1);
    free(x);
    cr_assert_eq(rig_work(), 1);
    rig_forget();
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 150, .T = 1, .out_n = 1, .text = 3}); /* reads all its pages */
    cr_expect_eq(ask(&rig.alice, 3, 150, 3), 128, "and what is found is what it was");
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 3, .pos = 100, .T = 28, .out_n = 1, .text = 3}); /* speculation taken back */
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 4, .pos = 128, .T = 1, .out_n = 1, .text = 3});
}

/* Guessed rows that were taken back leave no name behind. Mutation: ids that stay when the cache is cut: the page would be found
 * by the guess. */
Test(prefix, a_page_is_known_by_the_rows_that_stand_in_it)
{
    start(PREFIX_USER, 0);
    cr_expect_eq(ask(&rig.alice, 1, 60, 3), 0);
    float *x = rig_rows_of(3, 0, 70), *guess = rig_rows_of(8, 60, 10);
    memcpy(x + 60 * rig.net->config.D, guess, 10 * (size_t)rig.net->config.D * sizeof *x);
    struct rig_step s = {.seq = 2, .pos = 60, .T = 5, .out_n = 1, .text = 8}, whole = {.seq = 1, .T = 70, .out_from = 69, .out_n = 1};
    rig_send_rows(&rig.alice, 1, &s, guess, -1);
    cr_assert_eq(rig_work(), 1);
    rig_forget();
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1))); /* too late, the page is there */
    rig_forget();
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 3, .pos = 60, .T = 2, .out_n = 1, .text = 3});
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 4, .pos = 62, .T = 8, .out_n = 1, .text = 3});
    close_one(&rig.alice, 1);
    cr_expect_eq(pages_used(), 2, "of the guess, and of the text");
    rig_open_one(&rig.alice, 2, 100);
    rig_send_rows(&rig.alice, 2, &whole, x, -1);
    cr_expect_eq(rig_stats().rows_reused, 64, "the guess was computed, too");
    cr_assert_eq(rig_work(), 1);
    rig_forget();
    cr_expect_eq(ask(&rig.alice, 3, 70, 3), 64);
    free(x);
    free(guess);
}

/* Mutations: the newest given up first; use that does not make a page young; a prefix that loses its beginning before its end. */
Test(prefix, pages_that_nobody_uses_give_way_the_oldest_first)
{
    start(PREFIX_USER, 8);
    for (int text = 3; text <= 5; text++) {
        cr_expect_eq(ask(&rig.alice, text, 128, text), 0);
        close_one(&rig.alice, text);
    }
    cr_expect_eq(ask(&rig.alice, 6, 129, 3), 128); /* now the youngest */
    close_one(&rig.alice, 6);
    cr_expect_eq(pages_used(), 6);
    cr_expect_eq(ask(&rig.bob, 7, 300, 6), 0, "five pages: text 4 and the end of text 5 go");
    cr_expect_eq(pages_used(), 8);
    close_one(&rig.bob, 7); /* his last page was not full */
    cr_expect_eq(ask(&rig.alice, 8, 128, 3), 64, "both pages are there; the asked row is in the second");
    close_one(&rig.alice, 8);
    cr_expect_eq(ask(&rig.alice, 9, 128, 5), 64, "its end is gone");
    close_one(&rig.alice, 9);
    cr_expect_eq(ask(&rig.alice, 10, 65, 4), 0);
}

/* Mutation: pages in use dropped from the index: nothing is won, and they are not found any more. */
Test(prefix, pages_in_use_stay_however_old)
{
    start(PREFIX_USER, 6);
    cr_expect_eq(ask(&rig.alice, 1, 128, 3), 0); /* stays open */
    cr_expect_eq(ask(&rig.alice, 2, 128, 4), 0);
    close_one(&rig.alice, 2);
    cr_expect_eq(ask(&rig.bob, 3, 200, 5), 0);
    close_one(&rig.bob, 3);
    cr_expect_eq(ask(&rig.alice, 4, 129, 3), 128);
}

/* Mutation: pages that were taken from the index stay with a step that was refused. */
Test(prefix, a_refused_step_leaves_nothing)
{
    start(PREFIX_USER, 5);
    cr_expect_eq(ask(&rig.alice, 1, 130, 3), 0);
    close_one(&rig.alice, 1);
    cr_expect_eq(ask(&rig.bob, 2, 150, 4), 0);
    rig_open_one(&rig.alice, 3, 200);
    rig_send_step(&rig.alice, 3, (struct rig_step){.seq = 1, .T = 129, .out_from = 128, .out_n = 1, .text = 3});
    rig_error(WIRE_BUSY);
    rig_ask_open(&rig.alice, 3, 200);
    cr_expect_eq(rig_opened().cached, 0);
    rig_step(&rig.bob, 2, (struct rig_step){.seq = 2, .pos = 150, .T = 50, .out_n = 1, .text = 4}); /* the index gives way */
}

Test(prefix, nothing_survives_another_package)
{
    start(PREFIX_CONTEXT, 0);
    cr_expect_eq(ask(&rig.alice, 1, 200, 3), 0);
    core_set_model(rig.core, &rig.model);
    rig_error(WIRE_EPOCH_CHANGED);
    cr_expect_eq(pages_used(), 0);
    rig_greet(&rig.alice);
    cr_expect_eq(ask(&rig.alice, 2, 200, 3), 0);
}

Test(prefix, a_bidirectional_model_shares_nothing)
{
    const struct synth_shape shape = {.D = 16, .H = 4, .L = 2, .V = 40, .F = 24, .positions = 128, .classes = 3};
    rig_load("BertForSequenceClassification", &shape, true);
    rig.limits.prefix = PREFIX_CONTEXT;
    rig_begin();
    rig.alice = rig_peer_of(0, 1);
    rig_greet(&rig.alice);
    for (int i = 1; i <= 2; i++) {
        rig_open_one(&rig.alice, i, 128);
        rig_step(&rig.alice, i, (struct rig_step){.seq = 1, .T = 128, .out_n = 1, .text = 1});
    }
    cr_expect_eq(rig_stats().rows_reused, 0);
    close_one(&rig.alice, 1);
    close_one(&rig.alice, 2);
    cr_expect_eq(pages_used(), 0, "nor does it keep pages for nobody");
}
