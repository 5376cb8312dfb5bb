/* user/added_tokens.h - tokens that are cut out of the text before the model sees it, as "<s>" or "<|im_end|>".
 *
 * Data flow   "added_tokens" of tokenizer.json -> two tries; raw text -> pieces of text and tokens -> (normalised)
 *             pieces of text and tokens.
 * Units       bytes of valid UTF-8.
 * Errors      added_tokens_read: a wrong field; an id that contradicts the vocabulary. added_tokens_split: whatever
 *             the callback reports.
 * Memory      added_tokens_new gives (added_tokens_free, NULL is fine) and copies all texts.
 * Secrets     reads prompts; keeps nothing.
 * Source      AddedVocabulary of Hugging Face tokenizers: leftmost match, of these the longest.
 */
#ifndef STIP_USER_ADDED_TOKENS_H
#define STIP_USER_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "user/normalizer.h"
#include "user/vocab.h"

struct added_tokens;

struct added_token {
    const char *content;
    bool special, normalized, single_word, lstrip, rstrip;
};

MUST_CHECK int added_tokens_new(struct added_tokens **out, struct err *err);
void added_tokens_free(struct added_tokens *a);
/* The list "added_tokens"; tokens that the vocabulary lacks are added to it. */
MUST_CHECK int added_tokens_read(struct added_tokens *a, const struct json_doc *doc, const struct json *list,
                                 const struct normalizer *norm, struct vocab *vocab, struct err *err);
/* One token from another source, with the id that the vocabulary has or shall have. */
MUST_CHECK int added_tokens_add(struct added_tokens *a, const struct added_token *token, int64_t id,
                                const struct normalizer *norm, struct vocab *vocab, const char *where, struct err *err);
bool added_tokens_is_special(const struct added_tokens *a, int32_t id);

/* id -1: a piece of text at [start, end); otherwise that token. */
typedef int (*added_tokens_fn)(void *ctx, const char *text, size_t start, size_t end, int32_t id, struct err *err);
/* `normalized` selects the tokens that are looked for in normalised text; the others are looked for in raw text. */
MUST_CHECK int added_tokens_split(const struct added_tokens *a, bool normalized, const char *text, size_t len, added_tokens_fn fn,
                                  void *ctx, struct err *err);

#endif
