/* server/patience: how long a pass waits for sessions that were just answered; server/budget: how many rows of prompts it takes. */
#include <criterion/criterion.h>

#include "server/budget.h"
#include "server/patience.h"

/* Mutations: waits although all are back; waits again after the time is over. */
Test(patience, waits_half_of_the_last_pass_for_those_who_are_away_and_no_longer)
{
    struct patience g = {0};
    cr_expect_eq(patience_wait(&g, 1000, 3, 1), 0, "before the first pass there is nobody to wait for");
    patience_begin(&g, 100000, 20000);
    cr_expect_eq(patience_wait(&g, 100000, 3, 0), 11);
    cr_expect_eq(patience_wait(&g, 108500, 1, 2), 2);
    cr_expect_eq(patience_wait(&g, 108500, 0, 3), 0, "all are back");
    cr_expect_eq(patience_wait(&g, 110000, 1, 2), 0, "the time is over");
    cr_expect_eq(patience_wait(&g, 100001, 1, 2), 0, "and stays so");
    patience_begin(&g, 200000, 1000000);
    cr_expect_eq(patience_wait(&g, 200000, 3, 0), PATIENCE_MOST_US / 1000 + 1, "long passes: no more than that");
    patience_begin(&g, 300000, 1900);
    cr_expect_eq(patience_wait(&g, 300000, 3, 0), 0, "short passes: not at all");
}

/* Mutation: patience that never ends (users far away would cost a fifth of the machine). */
Test(patience, who_stays_away_is_not_waited_for_again_for_a_while)
{
    struct patience g = {0};
    uint64_t now = 0;
    int waited = 0;
    for (int pass = 0; pass < 10 * (PATIENCE_REST + 1); pass++) {
        patience_begin(&g, now += 40000, 40000);
        waited += patience_wait(&g, now, 5, 4) > 0;
        cr_expect_eq(patience_wait(&g, now + 20000, 5, 4), 0);
    }
    cr_expect_eq(waited, 10, "one pass in %d", PATIENCE_REST + 1);
    patience_begin(&g, now, 40000);
    cr_expect_gt(patience_wait(&g, now, 5, 4), 0);
    cr_expect_eq(patience_wait(&g, now + 20000, 4, 5), 0, "more came than stayed away");
    patience_begin(&g, now, 40000);
    cr_expect_gt(patience_wait(&g, now, 5, 4), 0, "so it is worth trying again");
}

/* Mutation: the pass itself counted as the cost of its prompt's rows (prompts would crawl). */
Test(budget, rows_of_prompts_make_a_pass_of_tokens_so_much_longer_and_no_more)
{
    struct budget b = {0};
    cr_expect_eq(budget_rows(&b, 256), 256);
    for (int i = 0; i < 40; i++)
        budget_learn(&b, 32, 0, 20000);
    cr_expect_eq(budget_rows(&b, 256), 256, "what a row costs is not known yet");
    for (int i = 0; i < 40; i++)
        budget_learn(&b, 32, 64, 20000 + 64 * 250);
    cr_expect_eq(budget_rows(&b, 256), (int)(BUDGET_STRETCH * 20000 / 250));
    cr_expect_eq(budget_rows(&b, 64), 64, "never more than the chunk");
    for (int i = 0; i < 40; i++)
        budget_learn(&b, 0, 256, 256 * 100000);
    cr_expect_eq(budget_rows(&b, 256), BUDGET_LEAST, "a prompt has to end some day");
}

/* Mutations: the newest pass is the estimate; a pass that was faster than its tokens alone counted too. */
Test(budget, one_slow_pass_does_not_change_everything)
{
    struct budget b = {0};
    for (int i = 0; i < 40; i++) {
        budget_learn(&b, 8, 0, 10000);
        budget_learn(&b, 8, 100, 10000 + 100 * 100);
    }
    const int before = budget_rows(&b, 256);
    cr_assert_eq(before, (int)(BUDGET_STRETCH * 100));
    budget_learn(&b, 8, 100, 10000 + 100 * 200);
    const int slower = budget_rows(&b, 256);
    cr_expect(slower < before && slower > before * 3 / 4);
    budget_learn(&b, 8, 100, 5000);
    cr_expect_eq(budget_rows(&b, 256), slower, "a pass that was faster than its tokens alone says nothing");
}
