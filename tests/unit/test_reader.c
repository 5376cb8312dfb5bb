/* base/reader: fields out of a byte string, with one sticky failure. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "base/reader.h"

Test(reader, gives_back_what_buf_wrote)
{
    struct buf b;
    struct reader r;
    buf_init(&b, 100);
    buf_put8(&b, 0xfe);
    buf_put16(&b, 0xfedc);
    buf_put32(&b, 0xfedcba98);
    buf_put64(&b, 0xfedcba9876543210);
    buf_put_str(&b, "abc");
    reader_init(&r, b.data, b.len);
    cr_expect_eq(reader_u8(&r), 0xfe);
    cr_expect_eq(reader_u16(&r), 0xfedc);
    cr_expect_eq(reader_u32(&r), 0xfedcba98);
    cr_expect_eq(reader_u64(&r), 0xfedcba9876543210);
    cr_expect_not(reader_end(&r), "three bytes are left");
    cr_expect_eq(reader_left(&r), 3);
    const uint8_t *abc = reader_bytes(&r, 3);
    cr_assert_not_null(abc);
    cr_expect_eq(memcmp(abc, "abc", 3), 0);
    cr_expect(reader_end(&r));
    buf_free(&b);
}

Test(reader, reading_past_the_end_fails_once_and_for_all)
{
    static const uint8_t three[] = {1, 2, 3};
    uint8_t out[4] = {9, 9, 9, 9};
    struct reader r;
    reader_init(&r, three, sizeof three);
    cr_expect_eq(reader_u32(&r), 0);
    cr_expect(r.failed);
    cr_expect_eq(reader_u8(&r), 0, "even though a byte is there");
    cr_expect_eq(reader_u16(&r), 0);
    cr_expect_eq(reader_u64(&r), 0);
    cr_expect_eq(reader_left(&r), 0);
    cr_expect_null(reader_bytes(&r, 0));
    reader_copy(&r, out, sizeof out);
    cr_expect_arr_eq(out, ((uint8_t[4]){0, 0, 0, 0}), 4);
    cr_expect_not(reader_end(&r));
}

Test(reader, a_length_near_the_top_does_not_wrap)
{
    static const uint8_t byte = 1;
    struct reader r;
    reader_init(&r, &byte, 1);
    cr_expect_null(reader_bytes(&r, SIZE_MAX));
    cr_expect(r.failed);
}

Test(reader, an_empty_input_ends_at_once)
{
    struct reader r;
    reader_init(&r, NULL, 0);
    cr_expect(reader_end(&r));
    cr_expect_eq(reader_u8(&r), 0);
    cr_expect_not(reader_end(&r));
}
