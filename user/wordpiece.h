/* user/wordpiece.h - WordPiece: a word becomes the longest known pieces from left to right, or the unknown token.
 *
 * Data flow   "model" of tokenizer.json, or vocab.txt -> options; word -> ids.
 * Units       bytes of valid UTF-8; max_input_chars_per_word counts characters.
 * Errors      wordpiece_new: a wrong field, an unknown token that is not in the vocabulary. wordpiece_encode: memory.
 * Memory      wordpiece_new gives (wordpiece_free, NULL is fine) and borrows the vocabulary.
 * Secrets     reads prompts; keeps nothing.
 * Source      Devlin et al. 2019 (BERT), greedy longest match first.
 */
#ifndef STIP_USER_WORDPIECE_H
#define STIP_USER_WORDPIECE_H

#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "user/token_ids.h"
#include "user/vocab.h"

struct wordpiece;

MUST_CHECK int wordpiece_new(struct wordpiece **out, const struct json_doc *doc, const struct json *model,
                             const struct vocab *vocab, struct err *err);
void wordpiece_free(struct wordpiece *w);
MUST_CHECK int wordpiece_encode(const struct wordpiece *w, const char *word, size_t len, struct token_ids *out, struct err *err);

#endif
