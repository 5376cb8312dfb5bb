/* user/unigram.h - Unigram: the most likely way to write a word as a sequence of pieces (Viterbi).
 *
 * Data flow   "model" of tokenizer.json -> scores and trie; word -> ids.
 * Units       bytes of valid UTF-8; scores are log probabilities.
 * Errors      unigram_new: a wrong field. unigram_encode: memory; an unknown character when there is no unknown token.
 * Memory      unigram_new gives (unigram_free, NULL is fine) and fills the vocabulary it is given. Several threads may
 *             encode, each with its own unigram_work (zero-initialise, unigram_work_free).
 * Secrets     reads prompts; working memory is freed, not wiped.
 * Source      Kudo 2018, "Subword Regularization".
 */
#ifndef STIP_USER_UNIGRAM_H
#define STIP_USER_UNIGRAM_H

#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "user/token_ids.h"
#include "user/vocab.h"

struct unigram;

/* Here the vocabulary is a list of [token, score]: it is added to `vocab`, which is then borrowed. */
MUST_CHECK int unigram_new(struct unigram **out, const struct json_doc *doc, const struct json *model, struct vocab *vocab,
                           struct err *err);
void unigram_free(struct unigram *u);

struct unigram_work {
    struct unigram_node *nodes;
    size_t cap;
};
void unigram_work_free(struct unigram_work *w);

MUST_CHECK int unigram_encode(const struct unigram *u, struct unigram_work *w, const char *word, size_t len,
                              struct token_ids *out, struct err *err);

#endif
