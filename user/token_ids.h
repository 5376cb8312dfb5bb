/* user/token_ids.h - a growing list of token ids with their type (segment) ids.
 *
 * Data flow   tokenizer models append -> post-processor arranges -> embedding.
 * Units       ids are rows of the embedding table; type ids are 0 or 1 for the first or second text.
 * Errors      pushing reports memory.
 * Memory      zero-initialise ({0}); token_ids_free releases.
 * Secrets     this is the prompt: never logged, never sent.
 */
#ifndef STIP_USER_TOKEN_IDS_H
#define STIP_USER_TOKEN_IDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct token_ids {
    int32_t *ids;
    int32_t *type_ids; /* as many as ids */
    size_t n, cap;
    size_t dropped; /* characters that the vocabulary cannot express and that have no unknown token */
};

MUST_CHECK int token_ids_push(struct token_ids *t, int32_t id, int32_t type_id, struct err *err);
/* Appends all of `from` with one type id. */
MUST_CHECK int token_ids_append(struct token_ids *t, const struct token_ids *from, int32_t type_id, struct err *err);
void token_ids_free(struct token_ids *t);

#endif
