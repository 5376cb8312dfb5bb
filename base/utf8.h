/* base/utf8.h - UTF-8 decoding and encoding, one code point at a time.
 *
 * Data flow   bytes from files, prompts and peers -> code points.
 * Units       bytes.
 * Errors      invalid input is reported, never passed on: overlong forms, surrogates, above U+10FFFF, cut sequences.
 * Memory      no allocation.
 * Secrets     reads prompts; keeps nothing.
 */
#ifndef STIP_BASE_UTF8_H
#define STIP_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length 1..4 of the sequence at p (n bytes left) and its code point, or 0 if it is invalid. */
size_t utf8_decode(const char *p, size_t n, uint32_t *cp);
/* Writes 1..4 bytes for a valid code point and returns how many. */
size_t utf8_encode(uint32_t cp, char out[4]);
/* False with the offset of the first bad byte in *where (may be NULL). */
bool utf8_valid(const char *p, size_t n, size_t *where);

#endif
