/* base/buf and base/size: growing bytes under a ceiling, arithmetic that reports overflow. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/size.h"

Test(buf, grows_and_keeps_what_was_put)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 10000; i++)
        buf_put8(&b, (uint8_t)i);
    cr_assert_eq(b.len, 10000);
    for (int i = 0; i < 10000; i++)
        cr_assert_eq(b.data[i], (uint8_t)i);
    cr_expect_eq(buf_check(&b, "bytes", NULL), 0);
    buf_free(&b);
    cr_expect_null(b.data);
}

Test(buf, integers_are_little_endian)
{
    static const uint8_t want[] = {1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8};
    struct buf b;
    buf_init(&b, 100);
    buf_put8(&b, 1);
    buf_put16(&b, 0x0203);
    buf_put32(&b, 0x04050607);
    buf_put64(&b, 0x08090a0b0c0d0e0f);
    cr_assert_eq(b.len, sizeof want);
    cr_expect_arr_eq(b.data, want, sizeof want);
    buf_free(&b);
}

Test(buf, printf_appends_text)
{
    struct buf b;
    buf_init(&b, 1000);
    buf_put_str(&b, "a");
    buf_printf(&b, "%03d%s", 7, "");
    buf_printf(&b, "%s", "");
    cr_expect_str_eq((const char *)b.data, "a007");
    cr_expect_eq(b.len, 4);
    buf_free(&b);
}

Test(buf, the_ceiling_is_exact_and_the_failure_sticks)
{
    struct buf b;
    struct err err = {0};
    char text[100] = {0};
    buf_init(&b, 100);
    buf_put(&b, text, 99);
    buf_put8(&b, 1);
    cr_expect_not(b.failed, "100 of 100 bytes fit");
    buf_put8(&b, 2);
    cr_expect(b.failed);
    cr_expect_eq(b.len, 100);
    buf_put(&b, text, 0);
    cr_expect_null(buf_extend(&b, 0));
    cr_expect_eq(buf_check(&b, "the header", &err), -1);
    cr_expect_str_eq(err.text, "the header: out of memory, or larger than 100 bytes");
    cr_expect_null(buf_take(&b, NULL));
    buf_free(&b);
}

Test(buf, a_huge_length_is_refused_without_wrapping)
{
    struct buf b;
    buf_init(&b, SIZE_MAX / 2);
    buf_put8(&b, 1);
    cr_expect_null(buf_extend(&b, SIZE_MAX));
    cr_expect_null(buf_extend(&b, 1));
    buf_free(&b);
}

Test(buf, take_gives_terminated_bytes_and_empties_the_buffer)
{
    struct buf b;
    size_t len = 99;
    buf_init(&b, 10);
    char *nothing = buf_take(&b, &len);
    cr_assert_not_null(nothing);
    cr_expect_eq(len, 0);
    cr_expect_str_eq(nothing, "");
    buf_put_str(&b, "0123456789");
    char *text = buf_take(&b, &len);
    cr_assert_not_null(text);
    cr_expect_eq(len, 10);
    cr_expect_str_eq(text, "0123456789");
    cr_expect_eq(b.len, 0);
    buf_put_str(&b, "again");
    cr_expect_eq(b.len, 5, "the ceiling counts from zero again");
    free(nothing);
    free(text);
    buf_free(&b);
    buf_free(NULL);
}

Test(size, overflow_is_reported_and_leaves_the_result_alone)
{
    size_t out = 7;
    cr_expect(size_add(SIZE_MAX, 1, &out));
    cr_expect(size_mul(SIZE_MAX / 2 + 1, 2, &out));
    cr_expect(size_mul((size_t)1 << 32, (size_t)1 << 32, &out));
    cr_expect_eq(out, 7);
    cr_expect_not(size_add(SIZE_MAX, 0, &out));
    cr_expect_eq(out, SIZE_MAX);
    cr_expect_not(size_mul(SIZE_MAX, 0, &out));
    cr_expect_eq(out, 0);
    cr_expect_not(size_mul(SIZE_MAX / 2, 2, &out));
    cr_expect_eq(out, SIZE_MAX - 1);
}
