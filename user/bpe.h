/* user/bpe.h - byte-pair encoding of one word.
 *
 * Data flow   "model" of tokenizer.json (or merges.txt) -> ranks of pairs; word -> characters -> merged -> ids.
 * Units       bytes of valid UTF-8; ranks are line numbers of the merges.
 * Errors      bpe_new: a wrong field; bpe_add_merge: a merge of unknown tokens. bpe_encode: memory; a word of 2^31
 *             characters or more.
 * Memory      bpe_new gives (bpe_free, NULL is fine) and borrows the vocabulary. Several threads may encode, each with
 *             its own bpe_work (zero-initialise, bpe_work_free).
 * Secrets     reads prompts; working memory is freed, not wiped.
 * Source      Sennrich et al. 2016. A heap of candidate merges, lowest rank first and then leftmost: O(n log n).
 */
#ifndef STIP_USER_BPE_H
#define STIP_USER_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "user/token_ids.h"
#include "user/vocab.h"

struct bpe;

/* The options of `model` (an object; absent members take the original's defaults). Merges are added afterwards. */
MUST_CHECK int bpe_new(struct bpe **out, const struct json_doc *doc, const struct json *model, const struct vocab *vocab,
                       struct err *err);
void bpe_free(struct bpe *b);
/* All merges of the member "merges". */
MUST_CHECK int bpe_read_merges(struct bpe *b, const struct json_doc *doc, const struct json *model, struct err *err);
/* The next merge, "left right" in one line; `where` names file and place. */
MUST_CHECK int bpe_add_merge_line(struct bpe *b, const char *line, size_t len, const char *where, struct err *err);

struct bpe_work {
    struct bpe_symbol *symbols;
    size_t n, cap;
    uint64_t *heap;
    size_t heap_n, heap_cap;
};
void bpe_work_free(struct bpe_work *w);

MUST_CHECK int bpe_encode(const struct bpe *b, struct bpe_work *w, const char *word, size_t len, struct token_ids *out,
                          struct err *err);

#endif
