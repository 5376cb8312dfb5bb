/* base/err: one error value. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/err.h"

Test(err, set_keeps_code_and_text_and_returns_minus_one)
{
    struct err err = {0};
    cr_expect_eq(err_set(&err, ERR_PEER, "%s took %d ms", "server", 7), -1);
    cr_expect_eq(err.code, ERR_PEER);
    cr_expect_str_eq(err.text, "server took 7 ms");
}

Test(err, a_null_err_is_allowed_everywhere)
{
    cr_expect_eq(err_set(NULL, ERR_INPUT, "x"), -1);
    cr_expect_eq(err_wrap(NULL, "x"), -1);
    cr_expect_eq(err_oom(NULL, 1), -1);
}

Test(err, wrap_puts_its_text_in_front_and_keeps_the_code)
{
    struct err err = {0};
    err_set(&err, ERR_AUTH, "the signature does not match");
    cr_expect_eq(err_wrap(&err, "%s", "grant.bin"), -1);
    cr_expect_eq(err_wrap(&err, "joining"), -1);
    cr_expect_eq(err.code, ERR_AUTH);
    cr_expect_str_eq(err.text, "joining: grant.bin: the signature does not match");
}

Test(err, text_that_does_not_fit_is_cut_and_stays_terminated)
{
    struct err err;
    char big[4000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    memset(&err, 0x55, sizeof err);
    err_set(&err, ERR_INPUT, "%s", big);
    cr_expect_eq(strlen(err.text), sizeof err.text - 1);
    err_wrap(&err, "%s", big);
    cr_expect_eq(strlen(err.text), sizeof err.text - 1);
    cr_expect_eq(strncmp(err.text + 511, ": xxx", 5), 0, "the head is cut at its own limit");
    err_wrap(&err, "head");
    cr_expect_eq(strncmp(err.text, "head: xxx", 9), 0);
    cr_expect_eq(strlen(err.text), sizeof err.text - 1);
}

/* A tensor can be called "\u001b[2J"; its name must not clear the terminal of the person who reads the message. */
Test(err, control_characters_become_spaces)
{
    struct err err = {0};
    err_set(&err, ERR_INPUT, "tensor '%s'", "a\x1b[2J\nb\x7f\xc3\xa9");
    cr_expect_str_eq(err.text, "tensor 'a [2J b \xc3\xa9'");
}

Test(err, out_of_memory_names_the_size)
{
    struct err err = {0};
    cr_expect_eq(err_oom(&err, 123456789012ULL), -1);
    cr_expect_eq(err.code, ERR_INTERNAL);
    cr_expect_not_null(strstr(err.text, "123456789012 bytes"));
}
