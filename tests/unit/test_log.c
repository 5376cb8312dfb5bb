/* base/log: one line per event on stderr. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "tests/support/capture.h"

static struct capture capture;

static void begin(enum log_level level, bool json)
{
    log_init("server", level, json);
    capture_begin(&capture, STDERR_FILENO);
}

Test(log, lines_above_the_level_are_left_out)
{
    begin(LOG_WARN, false);
    log_error("one %d", 1);
    log_warn("two");
    log_info("three");
    log_debug("four");
    char *text = capture_end(&capture);
    cr_expect_not_null(strstr(text, "Z server error: one 1\n"));
    cr_expect_not_null(strstr(text, " server warn: two\n"));
    cr_expect_null(strstr(text, "three"));
    cr_expect_null(strstr(text, "four"));
    free(text);
}

/* Catches: quotes or backslashes not escaped, control characters let through (each tried). */
Test(log, a_json_line_is_json_whatever_the_text_holds)
{
    static const char *const texts[] = {
        "plain", "quote \" backslash \\ end\\", "line\nbreak\ttab\x1b[2J\x7f", "caf\xc3\xa9 \xf0\x9f\x98\x80", "cut \xf0\x9f\x98",
        "bad \xff\xc0\x80 bytes", "",
    };
    static const char *const want[] = {
        "plain", "quote \" backslash \\ end\\", "line break tab [2J ", "caf\xc3\xa9 \xf0\x9f\x98\x80", "cut ???", "bad ??? bytes", "",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct json_doc *doc = NULL;
        struct err err = {0};
        begin(LOG_INFO, true);
        log_info("%s", texts[i]);
        char *text = capture_end(&capture);
        size_t n = strlen(text);
        cr_expect_eq(strchr(text, '\n'), text + n - 1, "one line");
        cr_assert_eq(json_parse(&doc, text, n, false, "line", &err), 0, "%s in %s", err.text, text);
        cr_expect_str_eq(json_string(json_get(json_root(doc), "message")), want[i]);
        cr_expect_str_eq(json_string(json_get(json_root(doc), "role")), "server");
        cr_expect_str_eq(json_string(json_get(json_root(doc), "level")), "info");
        json_free(doc);
        free(text);
    }
}

Test(log, a_line_stays_a_line_however_long_its_text)
{
    char big[5000];
    for (int json = 0; json < 2; json++) {
        for (size_t i = 0; i + 1 < sizeof big; i++)
            big[i] = i % 3 == 0 ? '"' : i % 3 == 1 ? '\xc3' : '\xa9';
        big[sizeof big - 1] = '\0';
        struct json_doc *doc = NULL;
        struct err err = {0};
        begin(LOG_INFO, json == 1);
        log_info("%s", big);
        char *text = capture_end(&capture);
        size_t n = strlen(text);
        cr_expect_eq(strchr(text, '\n'), text + n - 1);
        cr_expect(utf8_valid(text, n, NULL));
        if (json == 1)
            cr_expect_eq(json_parse(&doc, text, n, false, "line", &err), 0, "%s", err.text);
        json_free(doc);
        free(text);
    }
}

Test(log, levels_have_four_names)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    static const char *const bad[] = {"", "Error", "warning", "trace", "info "};
    enum log_level level = LOG_DEBUG;
    for (int i = 0; i < 4; i++) {
        cr_expect(log_level_parse(names[i], &level));
        cr_expect_eq(level, (enum log_level)i);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_not(log_level_parse(bad[i], &level), "%s", bad[i]);
    cr_expect_eq(level, LOG_DEBUG);
}
