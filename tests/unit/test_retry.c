/* user/retry: waits, grows, ends. Mutation: no end; the cause not kept. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/clock.h"
#include "user/retry.h"

Test(retry, waiting_ends_with_the_last_cause)
{
    struct retry r = {0};
    struct err err;
    int waits = 0;
    uint64_t start = clock_ms();
    retry_begin(&r, 400);
    do {
        (void)err_set(&err, ERR_PEER, "cause number %d", waits);
        waits++;
    } while (retry_wait(&r, NULL, &err) == 0);
    uint64_t took = clock_ms() - start;
    cr_expect_geq(took, 395, "%llu ms", (unsigned long long)took);
    /* 25-50, 50-100, 100-200, 200-400 ms; fewer where a busy machine makes them longer. */
    cr_expect(waits >= 2 && waits <= 8, "%d waits", waits);
    cr_expect_eq(err.code, ERR_PEER);
    cr_expect_not_null(strstr(err.text, "gave up after 0.4 s: cause number"), "%s", err.text);
}

Test(retry, nobody_waits_for_an_answer_that_is_not_wanted)
{
    struct retry r = {0};
    struct err err = {0};
    const atomic_bool gone = true;
    uint64_t soonest = UINT64_MAX;
    for (int i = 0; i < 20; i++) { /* a busy machine is not busy each time */
        const uint64_t start = clock_ms();
        retry_begin(&r, 10000);
        cr_expect_eq(retry_wait(&r, &gone, &err), -1);
        soonest = clock_ms() - start < soonest ? clock_ms() - start : soonest;
    }
    cr_expect_lt(soonest, 25, "a first wait is 25 to 50 ms, %d ms", (int)soonest);
}
