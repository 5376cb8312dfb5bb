/* user/unicode_tables.h - character classes as ranges, for user/unicode.c.
 *
 * Data flow   scripts/unicode_tables.mjs asks the original tokenizers about every code point -> unicode_tables.c.
 * Units       code points, inclusive ranges, ascending.
 * Errors      none.
 * Memory      constant data.
 * Secrets     none.
 * Source      npm package "tokenizers" 0.23.2. Its classes come from several Unicode versions, 8 to 16; these tables
 *             are what it does, whatever utf8proc is installed.
 */
#ifndef STIP_USER_UNICODE_TABLES_H
#define STIP_USER_UNICODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

struct unicode_range {
    uint32_t first, last;
};

struct unicode_table {
    const struct unicode_range *ranges;
    size_t n;
};

extern const struct unicode_table unicode_table_other, unicode_table_nonspacing, unicode_table_mark, unicode_table_punct,
    unicode_table_numeric;

#endif
