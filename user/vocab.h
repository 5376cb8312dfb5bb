/* user/vocab.h - the two-way table of a tokenizer: token text <-> id.
 *
 * Data flow   tokenizer.json "model.vocab" and "added_tokens", vocab.json, vocab.txt -> struct vocab -> models, decoder.
 * Units       token text is UTF-8 bytes with a length; ids are 0 .. VOCAB_ID_MAX, holes are allowed.
 * Errors      an id out of range, an id or a text that stands twice, a text that is too long: each named.
 * Memory      zero-initialise ({0}); vocab_free releases. Finding is safe from several threads.
 * Secrets     none: the vocabulary is part of the model's public face.
 */
#ifndef STIP_USER_VOCAB_H
#define STIP_USER_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define VOCAB_ID_MAX ((int64_t)4 * 1024 * 1024 - 1) /* the largest real vocabularies have 262,144 tokens */
#define VOCAB_TOKEN_MAX ((size_t)4096)              /* bytes of one token; the longest real ones have 1,024 */

struct vocab_token {
    char *text; /* NULL: no token has this id */
    size_t len;
};

struct vocab {
    struct vocab_token *tokens; /* by id */
    size_t n_ids;               /* largest id + 1 */
    size_t cap_ids;
    uint32_t *slots; /* id + 1, 0 = free */
    size_t n_slots;  /* a power of two, at least twice count */
    size_t count;    /* tokens */
    size_t longest;  /* bytes */
};

/* `where` names the file and field for messages. */
MUST_CHECK int vocab_add(struct vocab *v, const char *text, size_t len, int64_t id, const char *where, struct err *err);
int32_t vocab_find(const struct vocab *v, const char *text, size_t len); /* -1 when absent */
/* Borrows; NULL when no token has this id. A NUL follows the text. */
const char *vocab_text(const struct vocab *v, int64_t id, size_t *len);
void vocab_free(struct vocab *v);

#endif
