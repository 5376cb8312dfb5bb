/* user/post_processor.h - the "post_processor" of tokenizer.json: puts special tokens around one or two texts.
 *
 * Data flow   ids of text A, and of text B -> "<s> A </s>" or "<s> A </s> B </s>" -> ids with type ids.
 * Units       ids; type ids are 0 or 1.
 * Errors      post_processor_new: an unknown type or a wrong field, by name. post_processor_run: memory.
 * Memory      post_processor_new gives (post_processor_free, NULL is fine). post_processor_run appends to `out`.
 * Secrets     handles prompts as ids; keeps nothing.
 * Source      TemplateProcessing, BertProcessing, RobertaProcessing of Hugging Face tokenizers.
 */
#ifndef STIP_USER_POST_PROCESSOR_H
#define STIP_USER_POST_PROCESSOR_H

#include <stdbool.h>

#include "base/err.h"
#include "base/json.h"
#include "user/token_ids.h"
#include "user/vocab.h"

struct post_processor;

/* `node` is the value of "post_processor"; null or absent adds nothing. */
MUST_CHECK int post_processor_new(struct post_processor **out, const struct json_doc *doc, const struct json *node,
                                  const struct vocab *vocab, struct err *err);
void post_processor_free(struct post_processor *p);
/* b may be NULL. */
MUST_CHECK int post_processor_run(const struct post_processor *p, const struct token_ids *a, const struct token_ids *b,
                                  bool add_special, struct token_ids *out, struct err *err);

#endif
