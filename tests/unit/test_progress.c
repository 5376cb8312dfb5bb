/* base/progress: a bar on a terminal, silence elsewhere. base/clock. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/progress.h"
#include "tests/support/capture.h"

Test(progress, without_a_terminal_nothing_is_printed)
{
    struct capture c;
    struct progress p;
    capture_begin(&c, STDERR_FILENO);
    progress_start(&p, "reading", "B", 100);
    progress_at(&p, 100);
    progress_end(&p);
    char *text = capture_end(&c);
    cr_expect_str_eq(text, "");
    free(text);
}

/* Mutations: an event of work that took no time; none at the end. */
Test(progress, programs_get_an_event_a_second_and_one_at_the_end)
{
    struct capture c;
    struct progress p;
    capture_begin(&c, STDERR_FILENO);
    progress_events();
    progress_start(&p, "quick", "B", 100);
    progress_at(&p, 50);
    progress_at(&p, 100);
    progress_end(&p);
    progress_start(&p, "reading", "B", 100);
    p.start_us -= 1500000;
    p.drawn_us = p.start_us;
    progress_at(&p, 50);
    progress_at(&p, 60);
    progress_at(&p, 100);
    progress_end(&p);
    char *text = capture_end(&c);
    cr_expect_str_eq(text, "{\"event\":\"progress\",\"what\":\"reading\",\"done\":50,\"total\":100,\"unit\":\"B\",\"seconds\":1.5}\n"
                           "{\"event\":\"progress\",\"what\":\"reading\",\"done\":100,\"total\":100,\"unit\":\"B\",\"seconds\":1.5}\n");
    free(text);
}

/* What a bar writes to a terminal when `done` of `total` is reached. */
static void on_terminal(uint64_t total, uint64_t done, const char *unit, char *out, size_t cap)
{
    struct progress p;
    int master = posix_openpt(O_RDWR | O_NOCTTY), kept = dup(STDERR_FILENO);
    cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    cr_assert(slave >= 0);
    cr_assert_eq(dup2(slave, STDERR_FILENO), STDERR_FILENO);
    progress_start(&p, "reading", unit, total);
    progress_at(&p, done);
    progress_end(&p);
    (void)fflush(stderr);
    cr_assert_eq(dup2(kept, STDERR_FILENO), STDERR_FILENO);
    ssize_t n = read(master, out, cap - 1);
    cr_assert_gt(n, 0);
    out[n] = '\0';
    close(slave);
    close(master);
    close(kept);
}

Test(progress, a_terminal_shows_bar_share_and_rate)
{
    char text[1000];
    on_terminal(2000000000, 1000000000, "B", text, sizeof text);
    cr_expect_not_null(strstr(text, "reading [############............]  50 %  1.00 GB"), "%s", text);
    on_terminal(10, 10, "tokens", text, sizeof text);
    cr_expect_not_null(strstr(text, "[########################] 100 %  10 tokens"), "%s", text);
    on_terminal(0, 5000000, "B", text, sizeof text);
    cr_expect_not_null(strstr(text, "reading  5.0 MB"), "%s", text);
}

Test(progress, more_than_the_total_does_not_overflow)
{
    char text[1000];
    on_terminal(10, 15, "tokens", text, sizeof text);
    cr_expect_not_null(strstr(text, "[########################]"), "%s", text);
    cr_expect_not_null(strstr(text, " 0 s left"), "%s", text);
}

Test(clock, time_goes_forward_and_dates_are_iso)
{
    char text[32];
    uint64_t a = clock_us(), b = clock_us();
    cr_expect_geq(b, a);
    clock_iso(0, text);
    cr_expect_str_eq(text, "1970-01-01T00:00:00Z");
    clock_iso(951782400, text);
    cr_expect_str_eq(text, "2000-02-29T00:00:00Z");
    clock_iso(INT64_MAX, text);
    cr_expect_str_eq(text, "", "a year that has no name");
}
