/* The server's protocol: bounds, time, broken connections, large messages, other packages and other models. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "server/session.h"
#include "tests/support/rig.h"
#include "tests/support/slow.h"

TestSuite(core_limits, .init = rig_make, .fini = rig_drop);
TestSuite(core_special, .fini = rig_drop); /* tests that make another rig */

/* ------------------------------------------------------------------ limits */

Test(core_limits, ten_thousand_sessions_leave_nothing_behind)
{
    const int n = 10000 / (int)slow_times();
    rig_settle();
    rig_give(&rig.alice, msg_close_encode(rig_id_of(1)));
    rig_forget();
    for (int i = 0; i < n; i++) {
        rig_open_one(&rig.alice, 2 + i, 100);
        if (i % 10 == 0)
            rig_step(&rig.alice, 2 + i, (struct rig_step){.seq = 1, .T = 2, .out_n = 1});
        if (i % 3 == 0)
            rig_send_step(&rig.alice, 2 + i, (struct rig_step){.seq = i % 10 == 0 ? 2 : 1, .T = 2, .out_n = 1});
        rig_give(&rig.alice, msg_close_encode(rig_id_of(2 + i)));
        (void)rig_one(WIRE_CLOSED);
        rig_forget();
    }
    cr_expect_eq(rig_stats().sessions_open, 0);
    cr_expect_eq(rig_stats().sessions_total, n + 1);
    cr_expect_eq(rig_work(), 0);
}

/* Mutation: a count that is not given back by a refused or closed session; own sessions counted for all users. */
Test(core_special, sessions_and_users_are_bounded_and_given_back)
{
    rig_load("LlamaForCausalLM", &rig_small, true);
    rig.limits.sessions = 6;
    rig.limits.user_sessions = 4;
    rig_begin();
    rig_settle();
    for (int round = 0; round < 200; round++) {
        for (int i = 2; i <= 4; i++)
            rig_open_one(&rig.alice, i, 100);
        rig_ask_open(&rig.alice, 5, 100);
        rig_error(WIRE_BUSY); /* of one user */
        rig_open_one(&rig.bob, 6, 100);
        rig_open_one(&rig.bob, 7, 1);
        rig_ask_open(&rig.bob, 8, 1);
        rig_error(WIRE_BUSY); /* in all */
        for (int i = 2; i <= 4; i++)
            rig_give(&rig.alice, msg_close_encode(rig_id_of(i)));
        rig_give(&rig.bob, msg_close_encode(rig_id_of(6)));
        rig_give(&rig.bob, msg_close_encode(rig_id_of(7)));
        rig_forget();
        cr_assert_eq(rig_stats().sessions_open, 1);
    }
    rig_ask_open(&rig.alice, 9, 129);
    rig_error(WIRE_CONTEXT_FULL);
    rig_ask_open(&rig.alice, 9, UINT32_MAX);
    rig_error(WIRE_CONTEXT_FULL);
}

/* Mutation: buffers of a refused step that are not given back. */
Test(core_special, rows_that_do_not_fit_the_memory_are_busy_and_can_be_tried_again)
{
    rig_load("LlamaForCausalLM", &rig_small, true);
    rig.limits.steps = sizeof(struct session) + 4096;
    rig_begin();
    rig_settle();
    float *x = rig_rows_of(9, 0, 100);
    for (int i = 0; i < 1000; i++) {
        struct rig_step s = {.seq = 1, .T = 100, .out_from = 0, .out_n = 100};
        rig_send_rows(&rig.alice, 1, &s, x, -1);
        rig_error(WIRE_BUSY);
    }
    free(x);
    rig_still_works(&rig.alice, 1, 1, 0);
}

Test(core_limits, an_idle_session_ends_and_a_busy_one_does_not)
{
    struct core_job jobs[8];
    rig_settle();
    rig_open_one(&rig.bob, 2, 50);
    rig_send_step(&rig.bob, 2, (struct rig_step){.seq = 1, .T = 1, .out_n = 1});
    cr_assert_eq(rig_take(jobs), 1);
    rig.now += 60000;
    cr_expect_leq(core_tick(rig.core, rig.now), 1000);
    cr_expect_eq(rig_stats().sessions_open, 2);
    rig.now += 2;
    (void)core_tick(rig.core, rig.now);
    cr_expect_eq(rig_stats().sessions_open, 1, "alice's is gone, bob's is being computed");
    rig_compute(&jobs[0]);
    core_done(rig.core, rig.now, &jobs[0], 1, 1);
    (void)rig_one(WIRE_OUT);
    rig_forget();
    (void)core_tick(rig.core, rig.now + 60000);
    cr_expect_eq(rig_stats().sessions_open, 1);
    (void)core_tick(rig.core, rig.now + 60001);
    cr_expect_eq(rig_stats().sessions_open, 0);
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 1, .out_n = 1});
    rig_error(WIRE_UNKNOWN_SESSION);
}

/* Mutation: connections forgotten after a fixed time, though a session may live longer. */
Test(core_special, a_connection_is_remembered_as_long_as_its_sessions)
{
    rig_load("LlamaForCausalLM", &rig_small, true);
    rig.limits.ttl_ms = 7200000;
    rig_begin();
    rig_settle();
    rig.now += 7200000;
    (void)core_tick(rig.core, rig.now);
    rig_still_works(&rig.alice, 1, 1, 0);
    rig.now += 7200001;
    (void)core_tick(rig.core, rig.now);
    cr_expect_eq(rig_stats().sessions_open, 0);
    rig_ask_open(&rig.alice, 2, 10);
    rig_error(WIRE_BAD_PHASE);
    rig_greet(&rig.alice);
}

/* ------------------------------------------------------------------ connections that break */

Test(core_limits, a_user_who_comes_back_finds_the_session_and_the_answer)
{
    struct rig_step first = {.seq = 1, .T = 3, .out_from = 2, .out_n = 1, .text = 3},
                    second = {.seq = 2, .pos = 3, .T = 2, .out_n = 1, .text = 3};
    rig_settle();
    rig_step(&rig.alice, 1, first);
    rig_send_step(&rig.alice, 1, second);
    rig.room = 0;
    rig.verdict = LISTENER_GONE; /* the line breaks while the step is computed */
    cr_expect_eq(rig_work(), 1);
    (void)core_tick(rig.core, rig.now += 900);
    (void)core_tick(rig.core, rig.now += 200);
    rig.room = -1;
    (void)core_tick(rig.core, rig.now += 900);
    rig_quiet();
    struct listener_peer again = rig_peer_of(0, 9);
    rig_greet(&again);
    rig_ask_open(&again, 1, 100);
    struct msg_opened m = rig_opened();
    cr_expect(m.seq == 2 && m.cached == 5 && m.max_tokens == 100);
    rig_send_step(&again, 1, second);
    cr_expect_eq(rig_work(), 0);
    rig_answered(&second, 5);
    rig_step(&again, 1, (struct rig_step){.seq = 3, .pos = 5, .T = 1, .out_n = 1, .text = 3});
    rig_give(&rig.alice, msg_close_encode(rig_id_of(1))); /* the old connection has lost it */
    rig_error(WIRE_UNKNOWN_SESSION);
}

/* Mutation: an answer that is given up at once; its user, who is there, would wait for it for ten minutes. */
Test(core_limits, an_answer_that_could_not_be_sent_is_tried_again)
{
    struct rig_step first = {.seq = 1, .T = 3, .out_from = 2, .out_n = 1, .text = 3};
    rig_settle();
    rig_send_step(&rig.alice, 1, first);
    rig.room = 0;
    rig.verdict = LISTENER_GONE;
    cr_expect_eq(rig_work(), 1);
    rig_quiet();
    rig.room = -1;
    cr_expect_lt(core_tick(rig.core, rig.now += 500), 1000);
    rig_answered(&first, 3);
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 3, .T = 1, .out_n = 1, .text = 3});
    cr_expect_eq(rig_work(), 1);
}

/* ------------------------------------------------------------------ large messages */

Test(core_special, fragments_of_several_sessions_may_come_mixed)
{
    struct rig_step s = {.seq = 1, .T = 600, .out_from = 599, .out_n = 1, .text = 2}; /* 2.4 MB: three fragments */
    struct frag_out out[3];
    rig_make_wide();
    rig.alice = rig_peer_of(0, 1);
    rig.bob = rig_peer_of(1, 2);
    rig_greet(&rig.alice);
    rig_greet(&rig.bob);
    float *x = rig_rows_of(2, 0, 600);
    for (int i = 0; i < 3; i++) {
        rig_open_one(i < 2 ? &rig.alice : &rig.bob, i, 600);
        out[i] = rig_cut(i, &s, x);
    }
    for (int part = 0; part < 3; part++)
        for (int i = 0; i < 3; i++) {
            struct frame f;
            cr_assert(frag_out_peek(&out[i], &f));
            rig_give(i < 2 ? &rig.alice : &rig.bob, f);
            frag_out_sent(&out[i]);
            if (part < 2) {
                const struct frame *ack = rig_one(WIRE_ACK);
                cr_expect(ack->h.arg[0] == (uint32_t)part + 1 && memcmp(ack->h.session, rig_id_of(i), WIRE_SESSION_BYTES) == 0);
            } else {
                rig_quiet();
            }
            rig_forget();
        }
    struct core_job jobs[8];
    cr_assert_eq(rig_take(jobs), 3);
    for (int i = 0; i < 3; i++) {
        rig_compute(&jobs[i]);
        core_done(rig.core, rig.now, &jobs[i], 1, 1);
        rig_answered(&s, 600);
    }
    free(x);
}

/* Mutation: a fragment taken at an offset that skips or overlaps. */
Test(core_special, a_fragment_out_of_place_ends_its_message_only)
{
    struct rig_step s = {.seq = 1, .T = 600, .out_from = 599, .out_n = 1, .text = 2};
    struct frame f;
    rig_make_wide();
    rig_settle();
    rig_give(&rig.alice, msg_close_encode(rig_id_of(1)));
    rig_forget();
    rig_open_one(&rig.alice, 1, 600);
    float *x = rig_rows_of(2, 0, 600);
    rig_send_rows(&rig.alice, 1, &s, x, 1);
    rig_forget();
    struct frag_out out = rig_cut(1, &s, x);
    for (int i = 0; i < 2; i++)
        frag_out_sent(&out);
    cr_assert(frag_out_peek(&out, &f));
    rig_give(&rig.alice, f); /* the third after the first */
    rig_error(WIRE_BAD_FRAME);
    rig_give(&rig.alice, f); /* what follows a refusal is dropped */
    rig_quiet();
    rig_send_rows(&rig.alice, 1, &s, x, 2); /* half a message, then the line is taken up anew */
    rig_forget();
    rig_ask_open(&rig.alice, 1, 600);
    (void)rig_opened();
    rig_send_rows(&rig.alice, 1, &s, x, -1);
    rig_forget();
    cr_assert_eq(rig_work(), 1);
    rig_answered(&s, 600);
    /* The repeated step, fragment by fragment, with one wrong number near the end. */
    x[599 * 1024 + 3] += 1;
    rig_send_rows(&rig.alice, 1, &s, x, 2);
    cr_expect_eq(rig.said_n, 2);
    rig_forget();
    cr_assert(frag_out_peek(&out, &f));
    f.payload = (const uint8_t *)x + f.h.offset;
    rig_give(&rig.alice, f);
    rig_error(WIRE_BAD_SEQ);
    free(x);
}

/* 1100 rows of 2048 outputs are 9 MB: nine fragments, of which eight may be without an ACK. */
static struct rig_step large(uint64_t seq)
{
    return (struct rig_step){.seq = seq, .T = 1100, .out_n = 1100, .text = 2};
}

static void start_large(void)
{
    struct rig_step s = large(1);
    rig_make_wide();
    rig.alice = rig_peer_of(0, 1);
    rig_greet(&rig.alice);
    rig_open_one(&rig.alice, 1, 1200);
    float *x = rig_rows_of(2, 0, 1100);
    rig_send_rows(&rig.alice, 1, &s, x, -1);
    free(x);
    rig_forget();
}

static struct frame ack_of(uint64_t seq, uint32_t arrived)
{
    struct frame f = wire_frame(WIRE_ACK, rig_id_of(1), NULL, 0);
    f.h.seq = seq;
    f.h.epoch = RIG_EPOCH;
    f.h.arg[0] = arrived;
    return f;
}

Test(core_special, a_large_answer_waits_for_credit)
{
    start_large();
    cr_assert_eq(rig_work(), 1);
    cr_expect_eq(rig.said_n, 8);
    rig_forget();
    (void)core_tick(rig.core, rig.now);
    rig_quiet();
    rig_give(&rig.alice, ack_of(1, 1));
    const struct frame *last = rig_one(WIRE_OUT);
    cr_expect(last->h.flags == WIRE_LAST && last->h.offset == 8u * WIRE_PAYLOAD_MAX);
    rig_forget();
    rig_give(&rig.alice, ack_of(1, 9)); /* late */
    rig_quiet();
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 1100, .T = 1, .out_n = 1, .text = 2});
}

Test(core_special, an_ack_of_what_was_not_sent_is_refused_and_the_answer_can_be_asked_again)
{
    struct rig_step s = large(1);
    start_large();
    cr_assert_eq(rig_work(), 1);
    rig_forget();
    rig_give(&rig.alice, ack_of(1, 9));
    rig_error(WIRE_BAD_FRAME);
    float *x = rig_rows_of(2, 0, 1100);
    rig_send_rows(&rig.alice, 1, &s, x, -1);
    cr_expect_eq(rig.said_n, 4 + 8, "the acknowledgements of five fragments but one, then the answer from its start");
    free(x);
}

Test(core_special, a_cancel_in_the_middle_of_an_answer_takes_the_step_back)
{
    start_large();
    cr_assert_eq(rig_work(), 1);
    rig_forget();
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1)));
    (void)rig_one(WIRE_CANCELLED);
    rig_forget();
    rig_give(&rig.alice, ack_of(1, 8)); /* crossed */
    rig_quiet();
    rig_ask_open(&rig.alice, 1, 1200);
    struct msg_opened m = rig_opened();
    cr_expect(m.cached == 0 && m.seq == 0);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 4, .out_from = 3, .out_n = 1, .text = 5});
}

/* Mutation: no end to a peer that does not read, or a count that never starts at time 0. */
Test(core_special, a_user_who_does_not_read_is_dropped_after_half_a_minute)
{
    start_large();
    rig.now = 0;
    rig.room = 3;
    rig.verdict = LISTENER_FULL;
    cr_assert_eq(rig_work(), 1);
    cr_expect_eq(rig.said_n, 3);
    rig_forget();
    rig.now = 20000;
    cr_expect_leq(core_tick(rig.core, rig.now), 100, "it is tried again soon");
    rig.room = 1; /* a little goes: the time starts anew */
    (void)core_tick(rig.core, rig.now);
    cr_expect_eq(rig.said_n, 1);
    rig.now = 50000;
    (void)core_tick(rig.core, rig.now);
    cr_expect_eq(rig_stats().sessions_open, 1);
    rig.now = 50001;
    (void)core_tick(rig.core, rig.now);
    cr_expect_eq(rig_stats().sessions_open, 0);
    cr_expect_eq(rig_stats().peers_dropped, 1);
    rig.room = -1;
    (void)core_tick(rig.core, rig.now);
    cr_expect_eq(rig.said_n, 1, "nothing more is sent");
}

/* Mutation: a session with an answer under way never counts as idle. */
Test(core_special, a_user_who_reads_but_never_acknowledges_is_forgotten_like_an_idle_one)
{
    start_large();
    cr_assert_eq(rig_work(), 1);
    cr_expect_eq(rig.said_n, 8);
    rig.now += 60001;
    cr_expect_geq(core_tick(rig.core, rig.now), 1000, "there is nothing to try again");
    cr_expect_eq(rig_stats().sessions_open, 0);
}

/* ------------------------------------------------------------------ a package past its day */

/* Mutations: sessions that go on; an open connection that may still OPEN; a core that stays closed. */
Test(core_limits, past_its_day_a_package_serves_nobody_until_the_clock_says_otherwise)
{
    struct rig_step s = {.seq = 1, .T = 2, .out_from = 1, .out_n = 1, .text = 3};
    rig_settle();
    rig_step(&rig.alice, 1, s);
    core_set_expired(rig.core, true);
    rig_error(WIRE_EXPIRED);
    cr_expect_eq(rig_stats().sessions_open, 0);
    core_set_expired(rig.core, true);
    rig_quiet();
    rig_ask_open(&rig.alice, 2, 16);
    rig_error(WIRE_EXPIRED);
    struct listener_peer late = rig_peer_of(5, 1);
    struct msg_hello hello = {.protocol_min = 1, .protocol_max = 2};
    uint8_t body[MSG_HELLO_BYTES];
    rig_give(&late, msg_hello_encode(&hello, body));
    rig_error(WIRE_EXPIRED);
    core_set_expired(rig.core, false);
    rig_open_one(&rig.alice, 3, 16);
}

/* ------------------------------------------------------------------ another package */

Test(core_limits, another_package_ends_all_sessions_and_all_greetings)
{
    rig_settle();
    rig_open_one(&rig.bob, 2, 50);
    rig_step(&rig.bob, 2, (struct rig_step){.seq = 1, .T = 1, .out_n = 1, .text = 9});
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 1, .out_n = 1}); /* waits */
    rig.model.hello.epoch = RIG_EPOCH + 1;
    core_set_model(rig.core, &rig.model);
    cr_assert_eq(rig.said_n, 2);
    for (int i = 0; i < 2; i++)
        cr_expect(rig.said[i].f.h.type == WIRE_ERROR && rig.said[i].f.h.code == WIRE_EPOCH_CHANGED);
    rig_forget();
    cr_expect_eq(rig_stats().sessions_open, 0);
    cr_expect_eq(rig_work(), 0);
    rig_ask_open(&rig.alice, 1, 50);
    rig_error(WIRE_BAD_PHASE);
    rig_greet(&rig.alice);
    rig_open_one(&rig.alice, 1, 50);
    rig.model.hello.epoch = RIG_EPOCH;
}

/* ------------------------------------------------------------------ bidirectional models */

Test(core_special, a_classifier_takes_whole_texts_and_answers_the_first_row)
{
    const struct synth_shape shape = {.D = 16, .H = 4, .L = 2, .V = 40, .F = 24, .positions = 64, .classes = 3};
    rig_load("BertForSequenceClassification", &shape, true);
    rig.limits.rows = 8; /* does not hold for them: a text cannot be cut */
    rig_begin();
    rig.alice = rig_peer_of(0, 1);
    rig_greet(&rig.alice);
    rig_open_one(&rig.alice, 1, 64);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 20, .out_n = 1, .text = 1});
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .T = 11, .out_n = 1, .text = 2}); /* the text before is forgotten */
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 3, .pos = 11, .T = 2, .out_n = 1});
    rig_error(WIRE_BAD_SHAPE);
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 3, .T = 5, .out_from = 1, .out_n = 1});
    rig_error(WIRE_BAD_SHAPE);
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 3, .T = 5, .out_n = 2});
    rig_error(WIRE_BAD_SHAPE);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 3, .T = 64, .out_n = 1, .text = 3});
}

Test(core_special, a_classifier_whose_head_is_the_users_gives_any_hidden_rows)
{
    const struct synth_shape shape = {.D = 16, .H = 4, .L = 2, .V = 40, .F = 24, .positions = 64, .classes = 3};
    rig_load("BertForSequenceClassification", &shape, false);
    rig_begin();
    rig.alice = rig_peer_of(0, 1);
    rig_greet(&rig.alice);
    rig_open_one(&rig.alice, 1, 64);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 20, .out_from = 3, .out_n = 4, .text = 1});
}
