/* base/utf8: against the grammar of RFC 3629, for every sequence of up to three bytes and the edges of four. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/utf8.h"

static bool in(uint8_t b, uint8_t from, uint8_t to)
{
    return b >= from && b <= to;
}

/* UTF8-octets of RFC 3629, section 4, written down as there. */
static size_t grammar(const uint8_t *p)
{
    if (in(p[0], 0x00, 0x7f))
        return 1;
    if (in(p[0], 0xc2, 0xdf) && in(p[1], 0x80, 0xbf))
        return 2;
    if ((p[0] == 0xe0 && in(p[1], 0xa0, 0xbf) && in(p[2], 0x80, 0xbf)) ||
        (in(p[0], 0xe1, 0xec) && in(p[1], 0x80, 0xbf) && in(p[2], 0x80, 0xbf)) ||
        (p[0] == 0xed && in(p[1], 0x80, 0x9f) && in(p[2], 0x80, 0xbf)) ||
        (in(p[0], 0xee, 0xef) && in(p[1], 0x80, 0xbf) && in(p[2], 0x80, 0xbf)))
        return 3;
    if ((p[0] == 0xf0 && in(p[1], 0x90, 0xbf) && in(p[2], 0x80, 0xbf) && in(p[3], 0x80, 0xbf)) ||
        (in(p[0], 0xf1, 0xf3) && in(p[1], 0x80, 0xbf) && in(p[2], 0x80, 0xbf) && in(p[3], 0x80, 0xbf)) ||
        (p[0] == 0xf4 && in(p[1], 0x80, 0x8f) && in(p[2], 0x80, 0xbf) && in(p[3], 0x80, 0xbf)))
        return 4;
    return 0;
}

/* Catches each of: overlong forms let through, surrogates let through, 0xF5 as first byte, a wrong continuation mask. */
Test(utf8, decoding_follows_the_grammar_for_every_lead)
{
    static const uint8_t last[] = {0x00, 0x41, 0x7f, 0x80, 0x81, 0xbf, 0xc0, 0xff};
    unsigned long wrong = 0;
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            for (unsigned c = 0; c < 256; c++)
                for (size_t d = 0; d < sizeof last; d++) {
                    const uint8_t p[4] = {(uint8_t)a, (uint8_t)b, (uint8_t)c, last[d]};
                    uint32_t cp;
                    wrong += utf8_decode((const char *)p, 4, &cp) != grammar(p);
                }
    cr_expect_eq(wrong, 0, "%lu sequences are judged otherwise than by RFC 3629", wrong);
}

Test(utf8, every_code_point_survives_the_way_out_and_back)
{
    unsigned long wrong = 0;
    for (uint32_t cp = 0; cp <= 0x10ffff; cp++) {
        char bytes[4];
        uint32_t back = 0;
        if (cp >= 0xd800 && cp <= 0xdfff)
            continue;
        size_t n = utf8_encode(cp, bytes);
        wrong += utf8_decode(bytes, n, &back) != n || back != cp;
        wrong += n != (cp < 0x80 ? 1u : cp < 0x800 ? 2u : cp < 0x10000 ? 3u : 4u);
    }
    cr_expect_eq(wrong, 0);
}

Test(utf8, a_sequence_cut_short_is_invalid)
{
    uint32_t cp = 7;
    cr_expect_eq(utf8_decode("", 0, &cp), 0);
    cr_expect_eq(utf8_decode("\xc3\xa9", 1, &cp), 0);
    cr_expect_eq(utf8_decode("\xe2\x82\xac", 2, &cp), 0);
    cr_expect_eq(utf8_decode("\xf0\x9f\x98\x80", 3, &cp), 0);
    cr_expect_eq(cp, 7);
}

Test(utf8, the_first_bad_byte_is_named)
{
    size_t where = 99;
    cr_expect(utf8_valid("", 0, NULL));
    cr_expect(utf8_valid("a\0b\xe2\x82\xac", 6, &where));
    cr_expect_not(utf8_valid("ab\xe2\x82" "c", 5, &where));
    cr_expect_eq(where, 2);
    cr_expect_not(utf8_valid("\xe2\x82\xac\xed\xa0\x80", 6, &where));
    cr_expect_eq(where, 3);
    cr_expect_not(utf8_valid("\xff", 1, NULL));
}
