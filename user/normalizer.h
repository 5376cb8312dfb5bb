/* user/normalizer.h - the "normalizer" of tokenizer.json: rewrites text before it is split.
 *
 * Data flow   prompt (between added tokens) -> steps in order -> normalised text -> pre-tokenizer.
 * Units       bytes of valid UTF-8, NUL bytes included.
 * Errors      normalizer_new: an unknown type or a wrong field, by name. normalizer_run: memory, ceiling, regex limits.
 * Memory      normalizer_new gives (normalizer_free, NULL is fine). normalizer_run appends to the caller's buffer.
 *             One normalizer may run in several threads.
 * Secrets     reads prompts; working memory is freed, not wiped.
 * Source      tokenizer.json of Hugging Face tokenizers; behaviour in docs/TOKENIZERS.md.
 */
#ifndef STIP_USER_NORMALIZER_H
#define STIP_USER_NORMALIZER_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "user/regex.h"

struct normalizer;

/* `node` is the value of "normalizer"; null or absent gives a normalizer that changes nothing. */
MUST_CHECK int normalizer_new(struct normalizer **out, const struct json_doc *doc, const struct json *node, struct err *err);
void normalizer_free(struct normalizer *n);
MUST_CHECK int normalizer_run(const struct normalizer *n, struct regex_scan *scan, const char *text, size_t len, struct buf *out,
                              struct err *err);

#endif
