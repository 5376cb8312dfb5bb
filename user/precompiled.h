/* user/precompiled.h - SentencePiece's compiled normalisation table ("Precompiled" normalizer).
 *
 * Data flow   base64 "precompiled_charsmap" -> double-array trie + replacement strings -> text rewritten.
 * Units       bytes; the table is little-endian: u32 size of the trie in bytes, the trie's u32 units, then the
 *             replacement strings, each ended by a NUL.
 * Errors      a table that is not base64, cut short, or does not hold what it promises; running cannot fail but for
 *             the sticky failure of the output buffer: units that point outside the table match nothing.
 * Memory      precompiled_new gives (precompiled_free, NULL is fine).
 * Secrets     reads prompts; keeps nothing.
 * Source      SentencePiece normalizer.cc; Darts-clone's unit layout.
 */
#ifndef STIP_USER_PRECOMPILED_H
#define STIP_USER_PRECOMPILED_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

struct precompiled;

MUST_CHECK int precompiled_new(struct precompiled **out, const struct json_doc *doc, const struct json *step, struct err *err);
void precompiled_free(struct precompiled *p);
void precompiled_run(const struct precompiled *p, const char *text, size_t len, struct buf *out);

#endif
