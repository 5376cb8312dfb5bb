/* user/byte_level.h - GPT-2's bijection between the 256 byte values and 256 printable characters.
 *
 * Data flow   text bytes -> characters that BPE vocabularies are written in; and back when decoding.
 * Units       bytes and code points.
 * Errors      none; memory is the sticky failure of the output buffer.
 * Memory      appends to the caller's buffer.
 * Secrets     reads prompts; keeps nothing.
 * Source      Radford et al., GPT-2: printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards.
 */
#ifndef STIP_USER_BYTE_LEVEL_H
#define STIP_USER_BYTE_LEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define BYTE_LEVEL_REGEX "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

void byte_level_encode(const char *text, size_t len, struct buf *out);
/* Appends the bytes that the characters stand for; false, and nothing appended, if one of them stands for none. */
bool byte_level_decode(const char *text, size_t len, struct buf *out);

#endif
