/* user/tokenizer_impl.h - what a tokenizer consists of; for the files tokenizer*.c only.
 *
 * Data flow   tokenizer.json -> tokenizer_json.c fills this; vocab.json, merges.txt, vocab.txt -> tokenizer_legacy.c
 *             writes the tokenizer.json that would say the same, without the vocabulary; tokenizer.c runs it.
 * Errors      as user/tokenizer.h.
 * Memory      tokenizer_free releases every part that is not NULL.
 * Secrets     none of its own.
 */
#ifndef STIP_USER_TOKENIZER_IMPL_H
#define STIP_USER_TOKENIZER_IMPL_H

#include "user/added_tokens.h"
#include "user/bpe.h"
#include "user/decoder.h"
#include "user/normalizer.h"
#include "user/post_processor.h"
#include "user/pretokenizer.h"
#include "user/tokenizer.h"
#include "user/unigram.h"
#include "user/vocab.h"
#include "user/wordpiece.h"

struct tokenizer {
    struct vocab vocab;
    struct added_tokens *added;
    struct normalizer *normalizer;
    struct pretokenizer *pretokenizer;
    struct bpe *bpe; /* exactly one of these three */
    struct wordpiece *wordpiece;
    struct unigram *unigram;
    struct post_processor *post_processor;
    struct decoder *decoder;
};

/* Fills t from a tokenizer.json. with_vocab false: t->vocab is filled already, and merges are added afterwards. */
MUST_CHECK int tokenizer_json_read(struct tokenizer *t, const struct json_doc *doc, bool with_vocab, struct err *err);
/* Adds all members {token: id} of an object. */
MUST_CHECK int tokenizer_json_read_vocab(struct vocab *vocab, const struct json_doc *doc, const struct json *object,
                                         const char *field, struct err *err);
/* Fills t from the older files of a folder. */
MUST_CHECK int tokenizer_legacy_read(struct tokenizer *t, const char *dir, struct err *err);

#endif
