/* user/tokenizer.h - text to token ids and back, exactly as the tokenizer files of a checkpoint say.
 *
 * Data flow   text -added tokens-> normalizer -> pre-tokenizer -> model (BPE, WordPiece, Unigram) -post-processor-> ids
 *             ids -> token texts -> decoder -> text
 * Units       bytes of UTF-8 with a length (NUL bytes are text); ids are rows of the embedding table.
 * Errors      loading: names file and field; whatever is not implemented is refused by its type name. Encoding: invalid
 *             UTF-8 with its byte offset, texts longer than TOKENIZER_TEXT_MAX, memory.
 * Memory      tokenizer_load gives (tokenizer_free, NULL is fine). token_ids and texts that come out belong to the
 *             caller. One tokenizer may be used from several threads; a stream belongs to one.
 * Secrets     texts and ids are the user's: no error message carries them.
 * Source      Hugging Face tokenizer.json; docs/TOKENIZERS.md says what is supported.
 */
#ifndef STIP_USER_TOKENIZER_H
#define STIP_USER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "user/token_ids.h"

#define TOKENIZER_TEXT_MAX ((size_t)32 << 20)  /* bytes of one text */
#define TOKENIZER_FILE_MAX ((size_t)256 << 20) /* bytes of tokenizer.json, vocab.json, merges.txt, vocab.txt */

struct tokenizer;

/* Reads dir/tokenizer.json; without it dir/vocab.json and dir/merges.txt, or dir/vocab.txt. */
MUST_CHECK int tokenizer_load(struct tokenizer **out, const char *dir, struct err *err);
/* The content of a tokenizer.json; `name` is how messages call it. */
MUST_CHECK int tokenizer_parse(struct tokenizer **out, const char *json, size_t len, const char *name, struct err *err);
void tokenizer_free(struct tokenizer *t);

/* Appends to *out (on error *out is untouched). pair may be NULL. */
MUST_CHECK int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, const char *pair, size_t pair_len,
                                bool add_special, struct token_ids *out, struct err *err);
/* Gives the text (free()), with a NUL behind it. Ids without a token give no text, as in the original. */
MUST_CHECK int tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special, char **text,
                                size_t *len, struct err *err);

/* Decoding id by id. All pieces together are exactly what tokenizer_decode gives for all ids, and a piece never ends
 * inside a UTF-8 sequence. *text is borrowed until the next call. */
struct tokenizer_stream;
MUST_CHECK int tokenizer_stream_new(struct tokenizer_stream **out, const struct tokenizer *t, bool skip_special, struct err *err);
MUST_CHECK int tokenizer_stream_feed(struct tokenizer_stream *s, int32_t id, const char **text, size_t *len, struct err *err);
MUST_CHECK int tokenizer_stream_end(struct tokenizer_stream *s, const char **text, size_t *len, struct err *err);
void tokenizer_stream_free(struct tokenizer_stream *s);

int32_t tokenizer_id(const struct tokenizer *t, const char *token); /* -1 when absent */
/* Borrows; NULL when no token has this id. */
const char *tokenizer_token(const struct tokenizer *t, int32_t id, size_t *len);
int32_t tokenizer_vocab_size(const struct tokenizer *t); /* largest id + 1, added tokens included */
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);

#endif
