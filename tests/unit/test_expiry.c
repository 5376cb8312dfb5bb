/* base/expiry: what a date is, and when it is over. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/expiry.h"

#define NOW INT64_C(1795253400) /* 2026-11-21T09:30:00Z */

static int64_t option(const char *text)
{
    int64_t at = -1;
    struct err err = {0};
    cr_assert_eq(expiry_option(&at, text, NOW, &err), 0, "%s: %s", text, err.text);
    return at;
}

Test(expiry, days_and_dates_are_understood)
{
    cr_expect_eq(option("1"), NOW + EXPIRY_DAY);
    cr_expect_eq(option("90"), NOW + 90 * EXPIRY_DAY);
    cr_expect_eq(option("2026-11-22"), NOW + EXPIRY_DAY - 9 * 3600 - 30 * 60);
    cr_expect_eq(option("2026-11-21T09:30:01Z"), NOW + 1);
    cr_expect_eq(option("2028-02-29"), INT64_C(1835395200), "a leap day");
}

/* Mutation: strptime alone, which takes 31 February and what follows a date. */
Test(expiry, nothing_else_is_a_date)
{
    static const char *const bad[] = {"", "0", "-3", "36501", "99999999999999999999", "soon", "1.5", "2027-02-31", "2027-2-1",
                                      "2027-13-01", "2027-01-01T25:00:00Z", "2027-01-01T10:00:00", "2027-01-01T10:00:00Zx",
                                      " 2027-01-01", "2026-11-20", "2026-11-21T09:30:00Z", "2027-01-01T00:00:00Z and more"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err = {0};
        int64_t at = 7;
        cr_expect_eq(expiry_option(&at, bad[i], NOW, &err), -1, "'%s' is taken", bad[i]);
        cr_expect_eq(err.code, ERR_USAGE);
        cr_expect_not_null(strstr(err.text, "--expires"), "%s", err.text);
        cr_expect_eq(at, 7);
        cr_expect(!expiry_parse(&at, strlen(bad[i]) == 10 ? bad[i] : bad[i][0] == '2' && i > 11 ? "2027-01-01" : bad[i]));
    }
}

/* Mutation: <= for <. */
Test(expiry, it_is_over_from_its_very_second_on)
{
    struct err err = {0};
    cr_expect_eq(expiry_check(NOW, NOW - 1, "this", "do that", &err), 0);
    cr_expect_eq(expiry_check(EXPIRY_NEVER, NOW, "this", "do that", &err), 0);
    cr_expect_eq(expiry_check(NOW, NOW, "this", "do that", &err), -1);
    cr_expect_eq(err.code, ERR_AUTH);
    cr_expect_str_eq(err.text, "this expired on 2026-11-21T09:30:00Z (now it is 2026-11-21T09:30:00Z); do that");
}

Test(expiry, it_is_announced_two_weeks_before)
{
    cr_expect(!expiry_near(EXPIRY_NEVER, NOW));
    cr_expect(!expiry_near(NOW + EXPIRY_WARN_DAYS * EXPIRY_DAY + 1, NOW));
    cr_expect(expiry_near(NOW + EXPIRY_WARN_DAYS * EXPIRY_DAY, NOW));
    cr_expect_eq(expiry_days(NOW + 3 * EXPIRY_DAY - 1, NOW), 2);
    cr_expect_eq(expiry_days(NOW - 5, NOW), 0);
}

Test(expiry, the_first_of_two_counts_and_never_is_later_than_any)
{
    cr_expect_eq(expiry_first(EXPIRY_NEVER, EXPIRY_NEVER), EXPIRY_NEVER);
    cr_expect_eq(expiry_first(NOW, EXPIRY_NEVER), NOW);
    cr_expect_eq(expiry_first(EXPIRY_NEVER, NOW), NOW);
    cr_expect_eq(expiry_first(NOW + 1, NOW), NOW);
    cr_expect_eq(expiry_first(NOW, NOW + 1), NOW);
}
