/* The server's protocol: a server that is being stopped, and keys that are taken off the list. */
#include <criterion/criterion.h>

#include "tests/support/rig.h"

TestSuite(core_drain, .init = rig_make, .fini = rig_drop);

/* Mutation: steps that wait are forgotten; new ones are taken. */
Test(core_drain, steps_under_way_are_answered_and_nothing_new_begins)
{
    const struct rig_step step = {.seq = 1, .T = 2, .out_n = 1};
    rig_settle();
    rig_forget();
    rig_send_step(&rig.alice, 1, step);
    cr_expect(core_busy(rig.core));
    core_set_draining(rig.core);
    rig_ask_open(&rig.bob, 2, 100);
    rig_error(WIRE_DRAINING);
    cr_expect_eq(rig_work(), 1);
    rig_answered(&step, 2);
    cr_expect_not(core_busy(rig.core));
    rig_forget();
    rig_send_step(&rig.alice, 1, (struct rig_step){.seq = 2, .pos = 2, .T = 1, .out_n = 1});
    rig_error(WIRE_DRAINING);
    rig_send_step(&rig.alice, 1, step); /* an answer that is kept may be asked for again */
    rig_answered(&step, 2);
}

static bool not_alice(void *arg, const struct peer_key *key)
{
    (void)arg;
    return !peer_key_equal(key, &rig.alice.key);
}

/* Mutation: everybody's sessions end. */
Test(core_drain, a_key_that_is_taken_off_the_list_loses_its_sessions_and_others_keep_theirs)
{
    rig_settle();
    rig_open_one(&rig.bob, 2, 100);
    rig_forget();
    core_revoke(rig.core, not_alice, NULL);
    rig_error(WIRE_REVOKED);
    cr_expect_eq(rig_stats().sessions_open, 1);
    rig_step(&rig.bob, 2, (struct rig_step){.seq = 1, .T = 2, .out_n = 1});
}
