/* The server's protocol: what is answered, computed, repeated, refused and taken back. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/rig.h"
#include "transport/msg_blob.h"

static struct err err;

TestSuite(core, .init = rig_make, .fini = rig_drop);

/* ------------------------------------------------------------------ the way it should go */

/* Mutation: pos ignored, out_from ignored, cached wrong: all change the numbers. */
Test(core, a_conversation_gives_the_numbers_of_a_fresh_computation)
{
    rig_settle();
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 1, .pos = 0, .T = 9, .out_from = 8, .out_n = 1, .text = 1});
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 9, .T = 1, .out_from = 0, .out_n = 1, .text = 1});
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 3, .pos = 10, .T = 5, .out_from = 1, .out_n = 3, .text = 1});
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 4, .pos = 15, .T = 3, .out_from = 0, .out_n = 0, .text = 1});
    rig_give(&rig.alice, msg_close_encode(rig_id_of(1)));
    (void)rig_one(WIRE_CLOSED);
    rig_forget();
    cr_expect_eq(rig_stats().sessions_open, 0);
    cr_expect_eq(rig_stats().sessions_total, 1);
    cr_expect_eq(rig_stats().rows_in, 18);
    cr_expect_eq(rig_stats().rows_out, 5);
    cr_expect_eq(rig_stats().busy_us, 4 * 77);
}

Test(core, hello_tells_the_limits_and_the_manifest_comes_in_chunks)
{
    uint8_t body[MSG_HELLO_BYTES];
    struct msg_hello m = {.protocol_min = 1, .protocol_max = 1};
    struct msg_hello_ok ok;
    rig.alice = rig_peer_of(0, 1);
    rig_give(&rig.alice, msg_hello_encode(&m, body));
    cr_assert_eq(msg_hello_ok_decode(&ok, rig_one(WIRE_HELLO_OK), &err), WIRE_OK);
    cr_expect_eq(ok.max_tokens, 128, "the model's positions are fewer than the limit");
    cr_expect_eq(ok.max_sessions, 50);
    cr_expect_eq(ok.max_rows, 128);
    cr_expect_eq(ok.max_out_rows, 128);
    cr_expect(ok.D == 16 && ok.out_width == 40 && ok.epoch == RIG_EPOCH && ok.session_ttl_s == 60);
    rig_forget();
    for (uint32_t i = 0; i < 2; i++) {
        rig_give(&rig.alice, msg_get_encode(BLOB_MANIFEST, i));
        const struct frame *f = rig_one(WIRE_CHUNK);
        cr_expect_eq(f->h.length, i == 0 ? WIRE_PAYLOAD_MAX : 1000);
        cr_expect_arr_eq(f->payload, rig.manifest + (size_t)i * WIRE_PAYLOAD_MAX, f->h.length);
        rig_forget();
    }
    rig_give(&rig.alice, msg_get_encode(BLOB_MANIFEST, 2));
    rig_error(WIRE_UNKNOWN_FILE);
    rig_give(&rig.alice, msg_get_encode(BLOB_MANIFEST, UINT32_MAX));
    rig_error(WIRE_UNKNOWN_FILE);
    rig_give(&rig.alice, msg_get_encode(0, 0));
    rig_error(WIRE_UNKNOWN_FILE);
}

Test(core, another_context_version_or_no_model_is_refused_at_hello)
{
    uint8_t body[MSG_HELLO_BYTES];
    struct msg_hello m = {.protocol_min = 1, .protocol_max = 1, .context = {9}};
    rig.alice = rig_peer_of(0, 1);
    rig_give(&rig.alice, msg_hello_encode(&m, body));
    rig_error(WIRE_WRONG_CONTEXT);
    m = (struct msg_hello){.protocol_min = 3, .protocol_max = 9};
    rig_give(&rig.alice, msg_hello_encode(&m, body));
    rig_error(WIRE_BAD_VERSION);
    core_set_model(rig.core, NULL);
    m = (struct msg_hello){.protocol_min = 1, .protocol_max = 1};
    rig_give(&rig.alice, msg_hello_encode(&m, body));
    rig_error(WIRE_NO_MODEL);
    core_set_model(rig.core, &rig.model);
    rig_greet(&rig.alice); /* the same connection may try again */
}

/* ------------------------------------------------------------------ what must not be said */

/* Every type from a client in every phase, whole and well formed: an answer or silence, never a crash, and a bystander is not
 * touched. Mutation: no phase check for session frames. */
Test(core, every_message_in_every_phase_does_no_harm)
{
    uint64_t bobs = 1;
    rig_settle();
    rig_open_one(&rig.bob, 2, 100);
    for (int type = 1; type < WIRE_TYPE_END; type++)
        for (int phase = 0; phase < 7; phase++)
            for (int with_session = 0; with_session < 2; with_session++) {
                struct listener_peer p = rig_peer_of(0, 10 + type);
                int session = 1000 + type * 20 + phase * 2 + with_session;
                static float row[16] = {1};
                uint8_t payload[64] = {1, 0, 1, 0};
                struct frame f = wire_frame((enum wire_type)type, with_session ? rig_id_of(session) : NULL, NULL, 0);
                f.h.epoch = RIG_EPOCH;
                f.h.seq = 1;
                p.rid[2] = (uint8_t)session;
                p.rid[3] = (uint8_t)(session >> 8);
                if (phase >= 1) /* 0: before HELLO */
                    rig_greet(&p);
                if (phase >= 2)
                    rig_open_one(&p, session, 20);
                if (phase == 3) { /* a step waits */
                    rig_send_step(&p, session, (struct rig_step){.seq = 1, .T = 1, .out_n = 1});
                    rig_quiet();
                }
                if (phase == 4) { /* a step was answered */
                    rig_step(&p, session, (struct rig_step){.seq = 1, .T = 1, .out_n = 1});
                }
                if (phase == 5) { /* closed */
                    rig_give(&p, msg_close_encode(rig_id_of(session)));
                    rig_forget();
                }
                if (type == WIRE_ROWS || type == WIRE_OUT) {
                    f.h.dtype = WIRE_F32;
                    f.h.rank = 2;
                    f.h.last_dim = 16;
                    f.h.total = f.h.length = sizeof row;
                    f.payload = (const uint8_t *)row;
                } else if (type == WIRE_HELLO || type == WIRE_CHUNK || type == WIRE_GRANT || type == WIRE_OFFER ||
                           type == WIRE_STATS || type == WIRE_HELLO_OK || type == WIRE_ERROR) {
                    f.h.total = f.h.length = sizeof payload;
                    f.payload = payload;
                }
                rig_give(&p, f);
                cr_expect_leq(rig.said_n, 1, "%s in phase %d: %d answers", wire_type_name((unsigned)type), phase, rig.said_n);
                bool listener_type = type == WIRE_HELLO_OK || type == WIRE_OPENED || type == WIRE_CLOSED ||
                                     type == WIRE_CANCELLED || type == WIRE_OUT || type == WIRE_CHUNK || type == WIRE_STATS;
                if (listener_type && phase >= 2)
                    cr_expect(rig.said_n == 1 && rig.said[0].f.h.type == WIRE_ERROR, "%s in phase %d",
                              wire_type_name((unsigned)type), phase);
                rig_forget();
                (void)rig_work();
                rig_forget();
                rig_give(&p, msg_close_encode(rig_id_of(session)));
                rig_forget();
            }
    rig_still_works(&rig.bob, 2, bobs, 0);
    cr_expect_eq(rig_stats().sessions_open, 2, "alice's and bob's own");
}

Test(core, a_session_of_another_key_or_connection_is_unknown)
{
    rig_settle();
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 3, .out_from = 2, .out_n = 1, .text = 9});
    rig_send_step(&rig.bob, 1, (struct rig_step){.seq = 2, .pos = 3, .T = 1, .out_n = 1});
    rig_error(WIRE_UNKNOWN_SESSION);
    rig_give(&rig.bob, msg_cancel_encode(rig_id_of(1)));
    rig_error(WIRE_UNKNOWN_SESSION);
    rig_give(&rig.bob, msg_close_encode(rig_id_of(1)));
    rig_error(WIRE_UNKNOWN_SESSION);
    rig_open_one(&rig.bob, 1, 10); /* his own, of the same id: nobody can take an id away from another, or learn that it is used */
    struct listener_peer second = rig_peer_of(0, 9);
    rig_greet(&second);
    rig_send_step(&second, 1, (struct rig_step){.seq = 2, .pos = 3, .T = 1, .out_n = 1});
    rig_error(WIRE_UNKNOWN_SESSION);
    rig_still_works(&rig.alice, 1, 2, 3);
}

Test(core, a_session_frame_before_hello_is_refused)
{
    rig.alice = rig_peer_of(0, 1);
    rig_ask_open(&rig.alice, 1, 10);
    rig_error(WIRE_BAD_PHASE);
    rig_give(&rig.alice, msg_stats_get_encode());
    rig_error(WIRE_BAD_PHASE);
    cr_expect_eq(rig_stats().sessions_open, 0);
}

/* ------------------------------------------------------------------ steps: number, place, shape */

/* Mutation: computing again instead of answering from what is kept (the cache would hold the rows twice). */
Test(core, the_same_step_again_gets_the_same_bytes_again)
{
    struct rig_step first = {.seq = 1, .T = 4, .out_from = 2, .out_n = 2, .text = 3};
    rig_settle();
    rig_send_step(&rig.alice, 1, first);
    (void)rig_work();
    struct frame kept = *rig_one(WIRE_OUT);
    uint8_t *bytes = malloc(kept.h.length);
    memcpy(bytes, kept.payload, kept.h.length);
    rig_forget();
    for (int i = 0; i < 3; i++) {
        rig_send_step(&rig.alice, 1, first);
        cr_expect_eq(rig_work(), 0, "nothing to compute");
        const struct frame *f = rig_one(WIRE_OUT);
        cr_expect(f->h.length == kept.h.length && f->h.seq == 1 && memcmp(f->h.arg, kept.h.arg, sizeof kept.h.arg) == 0);
        cr_expect_arr_eq(f->payload, bytes, kept.h.length);
        rig_forget();
    }
    free(bytes);
    cr_expect_eq(rig_stats().rows_in, 4, "repeated rows are not counted");
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 4, .T = 1, .out_n = 1, .text = 3});
}

/* Mutations: rows kept as they came in instead of as f32; outputs narrowed again for each sending; the element type left out of
 * what "the same step" is. */
Test(core, bf16_rows_are_computed_answered_and_repeated_in_bf16)
{
    struct rig_step first = {.seq = 1, .T = 4, .out_from = 2, .out_n = 2, .text = 3, .bf16 = true};
    rig_settle();
    for (int i = 0; i < 3; i++) {
        rig_send_step(&rig.alice, 1, first);
        cr_expect_eq(rig_work(), i == 0);
        cr_expect_eq(rig_one(WIRE_OUT)->h.length, 2 * 40 * 2);
        rig_answered(&first, 4);
    }
    first.bf16 = false; /* these rows are the same in both types, the wanted outputs are not */
    rig_send_step(&rig.alice, 1, first);
    rig_error(WIRE_BAD_SEQ);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 4, .T = 1, .out_n = 1, .text = 3, .bf16 = true});
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 3, .pos = 5, .T = 1, .out_n = 1, .text = 3});
}

/* A user whose CANCEL crossed the answer may use the number for other rows: that must not get the old answer. Mutation: compare
 * the number only. */
Test(core, an_answered_number_with_other_rows_is_a_bad_seq_and_the_answer_stays)
{
    struct rig_step first = {.seq = 1, .T = 4, .out_from = 2, .out_n = 2, .text = 3}, other = first;
    rig_settle();
    rig_step(&rig.alice, 1, first);
    other.text = 4;
    rig_send_step(&rig.alice, 1, other);
    rig_error(WIRE_BAD_SEQ);
    other = first;
    other.out_from = 1;
    rig_send_step(&rig.alice, 1, other);
    rig_error(WIRE_BAD_SEQ);
    other = first;
    other.T = 3;
    other.out_from = 1;
    rig_send_step(&rig.alice, 1, other);
    rig_error(WIRE_BAD_SEQ);
    rig_send_step(&rig.alice, 1, first);
    rig_answered(&first, 4);
}

Test(core, a_gap_is_a_bad_seq_and_costs_nothing)
{
    struct rig_step first = {.seq = 1, .T = 4, .out_from = 2, .out_n = 2, .text = 3};
    rig_settle();
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 2, .T = 1, .out_n = 1});
    rig_error(WIRE_BAD_SEQ);
    rig_step(&rig.alice, 1, first);
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 3, .pos = 4, .T = 1, .out_n = 1});
    rig_error(WIRE_BAD_SEQ);
    rig_send_step(&rig.alice, 1, first); /* what was answered is still there */
    rig_answered(&first, 4);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 4, .T = 1, .out_n = 1, .text = 3});
    rig_send_step(&rig.alice, 1, first);
    rig_error(WIRE_BAD_SEQ);
}

/* Mutation: cutting the cache by the wrong number of rows, or not at all. */
Test(core, a_position_inside_the_cache_cuts_it_and_one_behind_it_is_refused)
{
    rig_settle();
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 1, .T = 10, .out_from = 9, .out_n = 1, .text = 3});
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 11, .T = 1, .out_n = 1});
    rig_error(WIRE_BAD_SEQ);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 6, .T = 2, .out_n = 2, .text = 3});
    rig_ask_open(&rig.alice, 1, 100);
    cr_expect_eq(rig_opened().cached, 8);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 3, .pos = 0, .T = 3, .out_n = 1, .text = 4});
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 4, .pos = 3, .T = 1, .out_n = 1, .text = 4});
}

Test(core, shapes_and_numbers_that_do_not_fit_are_refused_and_the_session_goes_on)
{
    float *x = rig_rows_of(0, 0, 128);
    struct rig_step s = {.seq = 1, .T = 101, .out_n = 1};
    rig_settle();
    rig_send_rows(&rig.alice, 1, &s, x, -1);
    rig_error(WIRE_CONTEXT_FULL);
    s = (struct rig_step){.seq = 1, .T = 2, .out_from = 1, .out_n = 2};
    rig_send_rows(&rig.alice, 1, &s, x, -1);
    rig_error(WIRE_BAD_SHAPE);
    s = (struct rig_step){.seq = 1, .T = 2, .out_n = 1};
    struct frag_out out = rig_cut(1, &s, x);
    struct frame f;
    cr_assert(frag_out_peek(&out, &f));
    f.h.last_dim = 8;
    rig_give(&rig.alice, f);
    rig_error(WIRE_BAD_SHAPE);
    x[17] = NAN;
    rig_send_rows(&rig.alice, 1, &s, x, -1);
    rig_error(WIRE_NONFINITE);
    x[17] = INFINITY;
    rig_send_rows(&rig.alice, 1, &s, x, -1);
    rig_error(WIRE_NONFINITE);
    cr_expect_eq(rig_work(), 0);
    rig_still_works(&rig.alice, 1, 1, 0);
    free(x);
}

/* Mutation: NaN rows that reach a batch with others. */
Test(core, rows_that_are_not_finite_do_not_touch_the_others_of_a_batch)
{
    struct rig_step good = {.seq = 1, .T = 3, .out_from = 2, .out_n = 1, .text = 6};
    float *x = rig_rows_of(0, 0, 3);
    rig_settle();
    rig_open_one(&rig.bob, 2, 100);
    rig_send_step(&rig.bob, 2, good);
    x[5] = NAN;
    rig_send_rows(&rig.alice, 1, &good, x, -1);
    rig_error(WIRE_NONFINITE);
    cr_expect_eq(rig_work(), 1);
    rig_answered(&good, 3);
    free(x);
}

Test(core, rows_of_another_epoch_end_the_session)
{
    struct rig_step s = {.seq = 1, .T = 1, .out_n = 1};
    float *x = rig_rows_of(0, 0, 1);
    struct frame f;
    rig_settle();
    struct frag_out out = rig_cut(1, &s, x);
    cr_assert(frag_out_peek(&out, &f));
    f.h.epoch = RIG_EPOCH + 1;
    rig_give(&rig.alice, f);
    rig_error(WIRE_WRONG_EPOCH);
    cr_expect_eq(rig_stats().sessions_open, 0);
    rig_send_step(&rig.alice, 1, s);
    rig_error(WIRE_UNKNOWN_SESSION);
    free(x);
}

/* A step that was begun and not ended left a buffer that was never written; asking for the step before must not send it.
 * Mutation: "again" decided by the number and by any buffer being there. */
Test(core, an_unfinished_step_is_never_sent_as_the_answer_of_the_one_before)
{
    struct rig_step first = {.seq = 1, .T = 2, .out_from = 1, .out_n = 1, .text = 3};
    rig_settle();
    rig_step(&rig.alice, 1, first);
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 2, .T = 2, .out_from = 1, .out_n = 1, .text = 3});
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1))); /* before it was computed */
    (void)rig_one(WIRE_CANCELLED);
    rig_forget();
    rig_send_step(&rig.alice, 1, first);
    rig_error(WIRE_BAD_SEQ); /* its answer gave way to step 2 */
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 2, .T = 2, .out_from = 1, .out_n = 1, .text = 3});
}

/* ------------------------------------------------------------------ cancel */

Test(core, a_step_can_be_taken_back_before_while_and_after_it_is_computed)
{
    struct rig_step first = {.seq = 1, .T = 3, .out_from = 2, .out_n = 1, .text = 3},
                    second = {.seq = 2, .pos = 3, .T = 2, .out_n = 2, .text = 3};
    struct core_job jobs[8];
    rig_settle();
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1))); /* nothing to take back */
    (void)rig_one(WIRE_CANCELLED);
    rig_forget();
    rig_send_step(&rig.alice, 1, first); /* waiting */
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1)));
    (void)rig_one(WIRE_CANCELLED);
    rig_forget();
    cr_expect_eq(rig_work(), 0);
    rig_step(&rig.alice, 1, first);
    rig_send_step(&rig.alice, 1, second); /* being computed */
    cr_assert_eq(rig_take(jobs), 1);
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1)));
    rig_quiet();
    rig_send_step(&rig.alice, 1, second);
    rig_error(WIRE_BAD_PHASE);
    rig_ask_open(&rig.alice, 1, 10);
    rig_error(WIRE_BUSY);
    rig_compute(&jobs[0]);
    core_done(rig.core, rig.now, &jobs[0], 1, 1);
    (void)rig_one(WIRE_CANCELLED);
    rig_forget();
    rig_step(&rig.alice, 1, second);
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1))); /* after: the answer has left, it stays */
    (void)rig_one(WIRE_CANCELLED);
    rig_forget();
    rig_send_step(&rig.alice, 1, second);
    rig_answered(&second, 5);
    rig_step(&rig.alice, 1, (struct rig_step){.seq = 3, .pos = 5, .T = 1, .out_n = 1, .text = 3});
}

/* Mutations: freeing a session whose step is with the worker; finding one that has ended. */
Test(core, a_session_that_ends_while_its_step_is_computed_waits_for_the_worker)
{
    struct core_job jobs[8];
    rig_settle();
    rig_open_one(&rig.alice, 2, 50);
    for (int i = 1; i <= 2; i++)
        rig_send_step(&rig.alice, i, (struct rig_step){.seq = 1, .T = 3, .out_n = 1});
    cr_assert_eq(rig_take(jobs), 2);
    rig_give(&rig.alice, msg_close_encode(rig_id_of(1)));
    (void)rig_one(WIRE_CLOSED);
    rig_forget();
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(1)));
    rig_error(WIRE_UNKNOWN_SESSION);
    rig_give(&rig.alice, msg_cancel_encode(rig_id_of(2)));
    rig_give(&rig.alice, msg_close_encode(rig_id_of(2)));
    (void)rig_one(WIRE_CLOSED);
    rig_forget();
    rig.now += 10000000;
    (void)core_tick(rig.core, rig.now); /* nor does time end it */
    for (int i = 0; i < 2; i++) {
        rig_compute(&jobs[i]);
        core_done(rig.core, rig.now, &jobs[i], 1, 1);
    }
    rig_quiet();
    cr_expect_eq(rig_stats().sessions_open, 0);
    core_set_model(rig.core, &rig.model);
}

Test(core, closing_a_session_takes_its_step_out_of_the_queue)
{
    struct rig_step s = {.seq = 1, .T = 1, .out_n = 1};
    rig_settle();
    rig_open_one(&rig.alice, 2, 50);
    rig_open_one(&rig.alice, 3, 50);
    for (int i = 1; i <= 3; i++)
        rig_send_step(&rig.alice, i, s);
    rig_give(&rig.alice, msg_close_encode(rig_id_of(3))); /* the last: the queue's end moves */
    rig_give(&rig.alice, msg_close_encode(rig_id_of(1))); /* the first */
    rig_forget();
    rig_open_one(&rig.alice, 4, 50);
    rig_send_step(&rig.alice, 4, s);
    cr_expect_eq(rig_work(), 2);
    cr_expect_eq(rig.said_n, 2);
}
