/* user/pretokenizer.h - the "pre_tokenizer" of tokenizer.json: cuts normalised text into pieces for the model.
 *
 * Data flow   normalised text -> step 1 -> step 2 -> ... -> callback with one piece at a time, in order.
 * Units       bytes of valid UTF-8, NUL bytes included.
 * Errors      pretokenizer_new: an unknown type or a wrong field, by name. pretokenizer_run: regex limits, memory, and
 *             whatever the callback reports.
 * Memory      pretokenizer_new gives (pretokenizer_free, NULL is fine). pretok_run_new gives the working memory of one
 *             thread (pretok_run_free). A piece is valid during the callback only.
 * Secrets     reads prompts; working memory is freed, not wiped.
 * Source      tokenizer.json of Hugging Face tokenizers; behaviour in docs/TOKENIZERS.md.
 */
#ifndef STIP_USER_PRETOKENIZER_H
#define STIP_USER_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"
#include "user/regex.h"

struct pretokenizer;
struct pretok_run;

typedef int (*pretok_piece_fn)(void *ctx, const char *piece, size_t len, struct err *err);

/* `node` is the value of "pre_tokenizer"; null or absent gives all text as one piece. */
MUST_CHECK int pretokenizer_new(struct pretokenizer **out, const struct json_doc *doc, const struct json *node, struct err *err);
void pretokenizer_free(struct pretokenizer *p);

/* Borrows p and scan. */
MUST_CHECK int pretok_run_new(struct pretok_run **out, const struct pretokenizer *p, struct regex_scan *scan, pretok_piece_fn fn,
                              void *ctx, struct err *err);
void pretok_run_free(struct pretok_run *run);
/* at_start: this text begins where the user's text begins (not behind an added token). */
MUST_CHECK int pretok_run_text(struct pretok_run *run, const char *text, size_t len, bool at_start, struct err *err);

#endif
