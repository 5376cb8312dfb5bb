/* server/schedule through the core: pieces of long steps, turns of users and sessions, bounds of the queue. */
#include <criterion/criterion.h>
#include <string.h>

#include "server/schedule.h"
#include "server/session.h"
#include "tests/support/rig.h"

static struct err err;

static void make(void)
{
    rig_load("LlamaForCausalLM", &rig_long, true);
    rig.limits.chunk_rows = 32;
    rig.limits.queue_rows = 400;
    rig_begin();
    rig.alice = rig_peer_of(0, 1);
    rig.bob = rig_peer_of(1, 2);
    rig_greet(&rig.alice);
    rig_greet(&rig.bob);
    rig_open_one(&rig.alice, 1, 1000);
}

TestSuite(schedule, .init = make, .fini = rig_drop);
TestSuite(schedule_special, .fini = rig_drop);

static void open_for(const struct listener_peer *p, int first, int n)
{
    for (int i = first; i < first + n; i++)
        rig_open_one(p, i, 1000);
}

static struct rig_step prompt(int T)
{
    return (struct rig_step){.seq = 1, .T = T, .out_from = T - 1, .out_n = 1, .text = 3};
}

/* Rows that are all asked for, as a token with guesses behind it. */
static struct rig_step guesses(int T)
{
    return (struct rig_step){.seq = 1, .T = T, .out_n = T, .text = 3};
}

/* The session that a job is of, by its number. */
static int number_of(const struct core_job *job)
{
    int n;
    memcpy(&n, job->session->id, sizeof n);
    return n;
}

/* Mutation: outputs of a piece written to the place of the first piece's; rows of a piece taken from the step's begin. */
Test(schedule, a_step_in_pieces_gives_the_numbers_of_one_pass)
{
    struct rig_step s = {.seq = 1, .T = 100, .out_from = 20, .out_n = 60, .text = 3};
    struct msg_out m;
    struct core_job jobs[8];
    int rows = 0, asked = 0, pieces = 0;
    rig_send_step(&rig.alice, 1, s);
    for (int n; (n = rig_take(jobs)) > 0; pieces++) {
        cr_assert_eq(n, 1);
        cr_expect_leq(jobs[0].seq.T, 32);
        rows += jobs[0].seq.T;
        asked += jobs[0].seq.out_n;
        rig_pass(jobs, 1);
    }
    cr_expect(pieces == 4 && rows == 100 && asked == 60, "%d pieces, %d rows, %d asked", pieces, rows, asked);
    cr_assert_eq(msg_out_decode(&m, rig_one(WIRE_OUT), &(struct msg_rows){.seq = 1, .out_n = 60}, 40, &err), WIRE_OK);
    cr_expect_eq(m.server_us, 4 * 77, "the time of all its passes");
    rig_answered(&s, 100);
    cr_expect_eq(rig_stats().busy_us, 4 * 77);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 100, .T = 1, .out_n = 1, .text = 3});
}

/* Mutation: a short step behind the pieces of a long one. */
Test(schedule, a_token_waits_for_one_pass_of_a_long_prompt_at_most)
{
    struct rig_step token = {.seq = 2, .pos = 40, .T = 1, .out_n = 1, .text = 3};
    struct core_job jobs[8];
    rig_open_one(&rig.bob, 2, 1000);
    rig_send_step(&rig.bob, 2, prompt(40));
    cr_assert_eq(rig_work(), 2);
    rig_forget();
    rig_send_step(&rig.alice, 1, prompt(200));
    cr_assert_eq(rig_take(jobs), 1);
    rig_send_step(&rig.bob, 2, token); /* while the first piece is computed */
    rig_pass(jobs, 1);
    cr_assert_eq(rig_take(jobs), 2, "the token and the next piece");
    cr_expect(number_of(&jobs[0]) == 2 && jobs[0].seq.T == 1);
    cr_expect(number_of(&jobs[1]) == 1 && jobs[1].seq.T == 32);
    rig_pass(jobs, 2);
    rig_answered(&token, 41);
}

/* Mutation: first come, first served over sessions (three prompts of one user before the other's). */
Test(schedule, users_take_turns_however_many_sessions_they_have)
{
    struct core_job jobs[8];
    int bobs = 0, alices = 0;
    open_for(&rig.alice, 2, 2);
    rig_open_one(&rig.bob, 4, 1000);
    for (int i = 1; i <= 3; i++)
        rig_send_step(&rig.alice, i, prompt(96));
    rig_send_step(&rig.bob, 4, prompt(96));
    for (int pass = 0; pass < 6; pass++) {
        cr_assert_eq(rig_take(jobs), 1);
        cr_assert_eq(jobs[0].seq.T, 32);
        bobs += number_of(&jobs[0]) == 4;
        alices |= number_of(&jobs[0]) == 4 ? 0 : 1 << number_of(&jobs[0]);
        rig_pass(jobs, 1);
    }
    cr_expect_eq(bobs, 3, "three of the six pieces: bob is done");
    cr_expect_eq(alices, 2 + 4 + 8, "and alice's sessions take turns too");
    struct rig_step s = prompt(96);
    rig_answered(&s, 96);
}

Test(schedule, what_a_pass_has_left_goes_to_the_next_prompt)
{
    struct core_job jobs[8];
    rig_open_one(&rig.bob, 2, 1000);
    rig_send_step(&rig.alice, 1, prompt(20));
    rig_send_step(&rig.bob, 2, prompt(60));
    cr_assert_eq(rig_take(jobs), 2);
    cr_expect(jobs[0].seq.T == 20 && jobs[1].seq.T == 12);
    rig_pass(jobs, 2);
    struct rig_step s = prompt(20);
    rig_answered(&s, 20);
    cr_expect_eq(rig_work(), 2, "32 and 16 rows");
    s = prompt(60);
    rig_answered(&s, 60);
}

/* Mutation: short steps in the order of arrival; all places for short steps. */
Test(schedule, short_steps_leave_a_place_for_a_long_one_and_go_round_the_users)
{
    struct core_job jobs[8];
    open_for(&rig.alice, 2, 10);
    open_for(&rig.bob, 20, 2);
    for (int i = 2; i < 12; i++)
        rig_send_step(&rig.alice, i, prompt(1));
    rig_send_step(&rig.bob, 20, prompt(1));
    rig_send_step(&rig.bob, 21, prompt(100));
    int n = core_take(rig.core, jobs, 4);
    cr_assert_eq(n, 4);
    cr_expect(number_of(&jobs[0]) == 2 && number_of(&jobs[1]) == 20 && number_of(&jobs[2]) == 3 && number_of(&jobs[3]) == 21);
    rig_pass(jobs, n);
    rig_forget();
}

/* Mutation: no bound on the rows of short steps. */
Test(schedule, short_steps_of_many_rows_are_bounded_too)
{
    struct core_job jobs[8];
    open_for(&rig.alice, 2, 6);
    for (int i = 2; i < 8; i++)
        rig_send_step(&rig.alice, i, guesses(SCHEDULE_SHORT - 1));
    cr_assert_eq(rig_take(jobs), 2, "the third would be more than 32");
    rig_pass(jobs, 2);
    cr_expect_eq(rig_work(), 4);
    cr_expect_eq(rig.said_n, 6);
    cr_expect_eq(core_pass_rows(&rig.limits, &rig.net->config), 64, "what the buffers of a pass are made for");
}

/* Passes of so many microseconds: tokens of session 1 alone, and beside n rows of a prompt. */
static void teach(uint32_t tokens_us, uint32_t prompt_us, int n)
{
    struct core_job jobs[8];
    for (int i = 0; i < 30; i++) {
        struct rig_step token = {.seq = 1 + (uint64_t)i, .pos = i, .T = 1, .out_n = 1, .text = 3};
        if (i % 2 == 1)
            rig_send_step(&rig.bob, 2 + i, prompt(n));
        rig_send_step(&rig.alice, 1, token);
        int count = rig_take(jobs);
        cr_assert_eq(count, 1 + i % 2);
        for (int k = 0; k < count; k++)
            rig_compute(&jobs[k]);
        core_done(rig.core, rig.now, jobs, count, i % 2 == 1 ? prompt_us : tokens_us);
        rig_forget();
    }
}

/* Mutations: pieces of `chunk` whatever others wait for; prompts of few rows counted as tokens; the bound kept when nobody waits. */
Test(schedule, prompts_beside_tokens_make_a_pass_little_longer_and_alone_take_all_of_it)
{
    struct core_job jobs[8];
    open_for(&rig.bob, 2, 32);
    open_for(&rig.alice, 40, 4);
    teach(1000, 1000 + 16 * 62, 16); /* 62 us a row: 1250 us are 20 rows */
    rig_send_step(&rig.alice, 40, prompt(200));
    rig_send_step(&rig.alice, 41, prompt(SCHEDULE_SHORT));
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 31, .pos = 30, .T = 1, .out_n = 1, .text = 3});
    cr_assert_eq(rig_take(jobs), 2);
    cr_expect(number_of(&jobs[0]) == 1 && jobs[0].seq.T == 1, "the token");
    cr_expect_eq(jobs[1].seq.T, 20, "%d rows of a prompt", jobs[1].seq.T);
    rig_pass(jobs, 2);
    cr_expect_eq(core_away(rig.core), 1, "who was answered is about to come back");
    cr_assert_eq(rig_take(jobs), 2);
    cr_expect_eq(jobs[0].seq.T + jobs[1].seq.T, 20, "and is not to wait for more than that then");
    rig_pass(jobs, 2);
    rig_give(&rig.alice, msg_close_encode(rig_id_of(41)));
    cr_expect_eq(core_away(rig.core), 0, "the answered prompt's session has ended");
    rig_forget();
    cr_assert_eq(rig_take(jobs), 1);
    cr_expect_eq(jobs[0].seq.T, 32, "nobody waits");
    rig_pass(jobs, 1);
    rig_forget();
}

/* Mutations: sessions counted again when they come back late; ended ones counted for ever. */
Test(schedule, it_is_known_who_was_answered_and_has_not_come_back)
{
    struct core_job jobs[8];
    open_for(&rig.alice, 2, 2);
    for (int i = 1; i <= 3; i++)
        rig_send_step(&rig.alice, i, guesses(1));
    cr_expect(core_waiting(rig.core) == 3 && core_away(rig.core) == 0);
    rig_pass(jobs, rig_take(jobs));
    cr_expect(core_waiting(rig.core) == 0 && core_away(rig.core) == 3);
    rig_send_step(&rig.alice, 2, (struct rig_step){.seq = 2, .pos = 1, .T = 1, .out_n = 1, .text = 3});
    cr_expect(core_waiting(rig.core) == 1 && core_away(rig.core) == 2);
    rig_pass(jobs, rig_take(jobs));
    cr_expect_eq(core_away(rig.core), 1, "of the last pass");
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 1, .T = 1, .out_n = 1, .text = 3});
    cr_expect_eq(core_away(rig.core), 1, "another one");
    rig_give(&rig.alice, msg_close_encode(rig_id_of(3)));
    rig_give(&rig.alice, msg_close_encode(rig_id_of(2)));
    cr_expect_eq(core_away(rig.core), 0);
    rig_forget();
}

/* Mutation: a bound that holds for tokens too, or none. */
Test(schedule, a_full_queue_answers_busy_to_prompts_and_takes_tokens)
{
    struct rig_step s = prompt(150);
    open_for(&rig.bob, 2, 3);
    rig_send_step(&rig.alice, 1, prompt(300));
    rig_send_step(&rig.bob, 2, s);
    cr_assert_eq(rig.said_n, 1);
    const struct frame *f = rig_one(WIRE_ERROR);
    cr_expect_not_null(memmem(f->payload, f->h.length, "300 rows are waiting", 20), "%.*s", (int)f->h.length, (const char *)f->payload);
    rig_error(WIRE_BUSY);
    rig_send_step(&rig.bob, 4, prompt(100));
    rig_send_step(&rig.bob, 3, prompt(16));
    rig_quiet();
    cr_expect_geq(rig_work(), 3);
    rig_forget();
    rig_send_step(&rig.bob, 2, s); /* the same step again */
    cr_expect_eq(rig_work(), 5);
    rig_answered(&s, 150);
    open_for(&rig.alice, 5, 1);
    rig_send_step(&rig.alice, 5, prompt(500)); /* alone it may be larger than the bound */
    cr_expect_eq(rig_work(), 16);
}

/* Mutation: rows of pieces that are computed already stay in the cache; the rest of the step stays in the queue. */
Test(schedule, a_step_can_be_taken_back_between_its_pieces_and_in_one)
{
    struct core_job jobs[8];
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 10, .out_from = 9, .out_n = 1, .text = 3});
    for (int running = 0; running < 2; running++) {
        rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 10, .T = 200, .out_n = 1, .text = 4});
        cr_assert_eq(rig_take(jobs), 1);
        if (running == 0)
            rig_pass(jobs, 1);
        rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1)));
        if (running == 1) {
            rig_quiet();
            rig_pass(jobs, 1);
        }
        (void)rig_one(WIRE_CANCELLED);
        rig_forget();
        cr_expect_eq(rig_work(), 0);
        cr_expect_eq(rig_stats().kv_used, kvpool_page_bytes(rig.model.pool), "what was reserved is given back");
    }
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 10, .T = 5, .out_from = 4, .out_n = 1, .text = 3});
}

Test(schedule, a_session_can_end_between_its_pieces_and_in_one)
{
    struct core_job jobs[8];
    open_for(&rig.alice, 2, 2);
    rig_send_step(&rig.alice, 1, prompt(200));
    cr_assert_eq(rig_take(jobs), 1);
    rig_pass(jobs, 1);
    rig_give(&rig.alice, msg_close_encode(rig_id_of(1)));
    rig_forget();
    cr_expect_eq(rig_work(), 0);
    rig_send_step(&rig.alice, 2, prompt(200));
    cr_assert_eq(rig_take(jobs), 1);
    rig_give(&rig.alice, msg_close_encode(rig_id_of(2)));
    rig_forget();
    rig_pass(jobs, 1);
    cr_expect_eq(rig_work(), 0);
    cr_expect(rig_stats().kv_used == 0 && rig_stats().sessions_open == 1);
    rig_send_step(&rig.alice, 3, prompt(200));
    cr_assert_eq(rig_take(jobs), 1);
    rig_pass(jobs, 1);
    rig_forget();
    core_set_model(rig.core, &rig.model); /* while the rest waits */
    rig_error(WIRE_EPOCH_CHANGED);
    cr_expect(rig_work() == 0 && rig_stats().kv_used == 0);
}

/* Mutation: bidirectional texts cut into pieces (later tokens would see less). */
Test(schedule_special, whole_texts_are_never_cut_and_wait_for_room)
{
    const struct synth_shape shape = {.D = 16, .H = 4, .L = 2, .V = 40, .F = 24, .positions = 64, .classes = 3};
    struct core_job jobs[8];
    rig_load("BertForSequenceClassification", &shape, true);
    rig.limits.chunk_rows = SCHEDULE_SHORT;
    rig_begin();
    rig.alice = rig_peer_of(0, 1);
    rig.bob = rig_peer_of(1, 2);
    rig_greet(&rig.alice);
    rig_greet(&rig.bob);
    for (int i = 1; i <= 3; i++)
        rig_open_one(i == 3 ? &rig.bob : &rig.alice, i, 64);
    for (int i = 1; i <= 3; i++)
        rig_send_step(i == 3 ? &rig.bob : &rig.alice, i, (struct rig_step){.seq = 1, .T = 31 + i, .out_n = 1, .text = i});
    cr_assert_eq(rig_take(jobs), 1, "no room for 34 more beside these 32");
    cr_expect_eq(jobs[0].seq.T, 32);
    rig_pass(jobs, 1);
    rig_forget();
    cr_assert_eq(rig_take(jobs), 1);
    cr_expect_eq(jobs[0].seq.T, 34, "bob's turn");
    rig_pass(jobs, 1);
    struct rig_step s = {.seq = 1, .T = 34, .out_n = 1, .text = 3};
    rig_answered(&s, 34);
    cr_expect_eq(rig_work(), 1);
    s = (struct rig_step){.seq = 1, .T = 33, .out_n = 1, .text = 2};
    rig_answered(&s, 33);
}
