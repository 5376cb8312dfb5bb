/* tests/support/plain/criterion/criterion.h - what the tests use of Criterion, as plain functions: for the thread sanitizer.
 *
 * Data flow   Test(...) registers itself before main; runner.c runs each in a process of its own and counts.
 * Errors      a failed assertion ends its test, a failed expectation fails it at its end; either is printed with its place.
 * Memory      none.
 * Secrets     none.
 *
 * Criterion keeps its tests in memory at addresses of its own choice (BoxFort's arena), which this sanitizer has its shadow at:
 * "Could not initialize inheritable arena", with and without random addresses. Every other build uses Criterion.
 */
#ifndef STIP_TESTS_SUPPORT_PLAIN_CRITERION_CRITERION_H
#define STIP_TESTS_SUPPORT_PLAIN_CRITERION_CRITERION_H
#pragma GCC system_header /* as Criterion's own: its macros go beyond ISO C where they have no arguments */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plain_options {
    int none; /* so that an empty list is no list */
    void (*init)(void), (*fini)(void);
    double timeout; /* seconds; taken ten times */
};

struct plain_test {
    const char *suite, *name;
    void (*run)(void); /* NULL: a TestSuite */
    struct plain_options options;
    struct plain_test *next;
};

void plain_register(struct plain_test *test);
void plain_fail(bool fatal, const char *file, int line, const char *what, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
_Noreturn void plain_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define PLAIN_REGISTER(id, suite_, name_, run_, ...)                                                       \
    static struct plain_test id = {suite_, name_, run_, {.none = 0, __VA_ARGS__}, NULL};                   \
    __attribute__((constructor)) static void id##_register(void) { plain_register(&id); }
#define Test(suite_, name_, ...)                                                                           \
    static void plain_##suite_##_##name_##_run(void);                                                      \
    PLAIN_REGISTER(plain_##suite_##_##name_, #suite_, #name_, plain_##suite_##_##name_##_run, __VA_ARGS__) \
    static void plain_##suite_##_##name_##_run(void)
#define TestSuite(suite_, ...)                                                                             \
    PLAIN_REGISTER(plain_suite_##suite_, #suite_, "", NULL, __VA_ARGS__)                                   \
    struct plain_test /* for the semicolon */

#define PLAIN_CHECK(fatal, ok, what, ...)                                    \
    do {                                                                     \
        if (!(ok))                                                           \
            plain_fail(fatal, __FILE__, __LINE__, what, " " __VA_ARGS__);    \
    } while (0)

#define cr_assert(ok, ...) PLAIN_CHECK(true, ok, #ok, __VA_ARGS__)
#define cr_assert_not(ok, ...) PLAIN_CHECK(true, !(ok), "!" #ok, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) PLAIN_CHECK(true, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) PLAIN_CHECK(true, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) PLAIN_CHECK(true, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) PLAIN_CHECK(true, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) PLAIN_CHECK(true, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) PLAIN_CHECK(true, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_null(a, ...) PLAIN_CHECK(true, (a) == NULL, #a " == NULL", __VA_ARGS__)
#define cr_assert_not_null(a, ...) PLAIN_CHECK(true, (a) != NULL, #a " != NULL", __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) PLAIN_CHECK(true, strcmp(a, b) == 0, #a " is " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) PLAIN_CHECK(true, memcmp(a, b, n) == 0, #a " has the bytes of " #b, __VA_ARGS__)
#define cr_assert_float_eq(a, b, eps, ...) PLAIN_CHECK(true, fabs((double)((a) - (b))) <= (double)(eps), #a " is about " #b, __VA_ARGS__)
#define cr_assert_fail(...) PLAIN_CHECK(true, false, "failed", __VA_ARGS__)
#define cr_expect(ok, ...) PLAIN_CHECK(false, ok, #ok, __VA_ARGS__)
#define cr_expect_not(ok, ...) PLAIN_CHECK(false, !(ok), "!" #ok, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) PLAIN_CHECK(false, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) PLAIN_CHECK(false, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...) PLAIN_CHECK(false, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_expect_leq(a, b, ...) PLAIN_CHECK(false, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...) PLAIN_CHECK(false, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...) PLAIN_CHECK(false, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_expect_null(a, ...) PLAIN_CHECK(false, (a) == NULL, #a " == NULL", __VA_ARGS__)
#define cr_expect_not_null(a, ...) PLAIN_CHECK(false, (a) != NULL, #a " != NULL", __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) PLAIN_CHECK(false, strcmp(a, b) == 0, #a " is " #b, __VA_ARGS__)
#define cr_expect_str_neq(a, b, ...) PLAIN_CHECK(false, strcmp(a, b) != 0, #a " is not " #b, __VA_ARGS__)
#define cr_expect_arr_eq(a, b, n, ...) PLAIN_CHECK(false, memcmp(a, b, n) == 0, #a " has the bytes of " #b, __VA_ARGS__)
#define cr_expect_arr_neq(a, b, n, ...) PLAIN_CHECK(false, memcmp(a, b, n) != 0, #a " has other bytes than " #b, __VA_ARGS__)
#define cr_expect_float_eq(a, b, eps, ...) PLAIN_CHECK(false, fabs((double)((a) - (b))) <= (double)(eps), #a " is about " #b, __VA_ARGS__)
#define cr_skip(...) plain_skip(" " __VA_ARGS__)
#define cr_skip_test(...) plain_skip(" " __VA_ARGS__)

#endif
