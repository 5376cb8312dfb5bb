/* user/decoder.h - the "decoder" of tokenizer.json: token texts back to one text, token by token.
 *
 * Data flow   token text -> step 1 -> step 2 -> ... -> bytes of the answer. What a later token could still change is
 *             held back, so the bytes that came out are final and end at a character border.
 * Units       bytes of valid UTF-8.
 * Errors      decoder_new: an unknown type or a wrong field, by name. Running: memory, regex limits.
 * Memory      decoder_new gives (decoder_free, NULL is fine). decoder_run_new gives the state of one text
 *             (decoder_run_free); it borrows the decoder.
 * Secrets     handles answers; working memory is freed, not wiped.
 * Source      tokenizer.json of Hugging Face tokenizers; behaviour in docs/TOKENIZERS.md.
 */
#ifndef STIP_USER_DECODER_H
#define STIP_USER_DECODER_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

struct decoder;
struct decoder_run;

/* `node` is the value of "decoder"; null or absent puts one space between tokens. */
MUST_CHECK int decoder_new(struct decoder **out, const struct json_doc *doc, const struct json *node, struct err *err);
void decoder_free(struct decoder *d);

MUST_CHECK int decoder_run_new(struct decoder_run **out, const struct decoder *d, struct err *err);
void decoder_run_free(struct decoder_run *run);
/* Appends what has become final. */
MUST_CHECK int decoder_run_token(struct decoder_run *run, const char *token, size_t len, struct buf *out, struct err *err);
/* Appends the rest. */
MUST_CHECK int decoder_run_end(struct decoder_run *run, struct buf *out, struct err *err);

#endif
