/* user/unicode.h - the one door to utf8proc: character classes, case, normal forms.
 *
 * Data flow   prompt text -> normalizer and pre-tokenizer steps, chat templates.
 * Units       code points; texts are valid UTF-8 bytes.
 * Errors      normalising reports memory and the ceiling of the output buffer.
 * Memory      appends to the caller's buffer.
 * Secrets     reads prompts; keeps nothing (working memory is freed, not wiped).
 * Source      classes: user/unicode_tables.h. The rest: utf8proc 2.8 (Unicode 15); docs/TOKENIZERS.md lists what
 *             differs from the original.
 */
#ifndef STIP_USER_UNICODE_H
#define STIP_USER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

bool unicode_is_space(uint32_t cp);      /* White_Space */
bool unicode_is_numeric(uint32_t cp);    /* Nd, Nl, No */
bool unicode_is_punct(uint32_t cp);      /* P, and all ASCII punctuation */
bool unicode_is_other(uint32_t cp);      /* Cc without tab, newline, return; Cf, Co */
bool unicode_is_mark(uint32_t cp);       /* Mn, Mc, Me */
bool unicode_is_nonspacing(uint32_t cp); /* Mn; texts are decomposed before */
bool unicode_is_word(uint32_t cp);       /* what \w matches */

/* Full lower case of one code point; returns how many code points (1 or 2). */
size_t unicode_lower(uint32_t cp, uint32_t out[2]);

/* Simple case mappings, one code point to one. */
uint32_t unicode_upper(uint32_t cp);
uint32_t unicode_title(uint32_t cp);
uint32_t unicode_lower_one(uint32_t cp);
bool unicode_has_case(uint32_t cp, bool upper); /* upper: Lu and Lt; otherwise Ll and letters that count as such */
/* True where the full mapping needs more than one code point, or looks at the neighbours. */
bool unicode_case_is_special(uint32_t cp);
bool unicode_is_printable(uint32_t cp); /* no control, format, private, unassigned, separator other than the blank */

/* True when an extended grapheme cluster may end between a and b. *state starts as 0 and is carried along. */
bool unicode_grapheme_break(uint32_t a, uint32_t b, int32_t *state);

enum unicode_form { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD };
/* Linear in the text for any input. */
MUST_CHECK int unicode_normalize(enum unicode_form form, const char *text, size_t len, struct buf *out, struct err *err);

#endif
