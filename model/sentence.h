/* model/sentence.h - what turns the rows of a text into one vector: the modules around an embedding model.
 *
 * Data flow   model_dev: modules.json, N_Pooling/config.json, sentence_bert_config.json, config_sentence_transformers.json of a
 *             checkpoint -> struct sentence -> grant.json "embedding". User: grant.json -> struct sentence -> user/embedding.c.
 * Shapes      rows [T,D] of one text -> vector [D].
 * Units       max_tokens: with the tokens that stand around a text.
 * Errors      names file and field; a module, a pooling or an option that is not implemented is refused by its name.
 * Memory      plain struct; prompts are released by sentence_free (fine on a zeroed struct).
 * Secrets     none: these facts are the developer's, and the server is not told them.
 * Source      sentence-transformers, the folders that its save() writes (versions 2 to 5).
 */
#ifndef STIP_MODEL_SENTENCE_H
#define STIP_MODEL_SENTENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/json.h"

enum pooling { POOL_MEAN, POOL_CLS, POOL_MAX, POOL_LAST };

struct sentence_prompt {
    char *name, *text; /* the text goes before the user's */
};

struct sentence {
    bool present; /* the checkpoint says so; else the fields below are what is used without word from it: mean, length 1 */
    enum pooling pooling;
    bool normalise;
    int max_tokens; /* 0: as many as the model has positions */
    struct sentence_prompt *prompts;
    size_t prompt_count;
    const struct sentence_prompt *usual; /* of them, used where none is asked for; NULL: none */
};

/* DIR is a Hugging Face checkpoint of width D. Without modules.json: not present. */
MUST_CHECK int sentence_read(struct sentence *out, const char *dir, int D, struct err *err);
/* The object that sentence_put writes; node NULL: not present. */
MUST_CHECK int sentence_parse(struct sentence *out, const struct json_doc *doc, const struct json *node, struct err *err);
void sentence_put(const struct sentence *s, struct json_doc *doc, struct json *node);
void sentence_free(struct sentence *s);
/* NULL: there is none of this name. */
const struct sentence_prompt *sentence_prompt(const struct sentence *s, const char *name);
/* "mean", "cls", "max", "last". */
bool pooling_parse(const char *name, enum pooling *out);
const char *pooling_name(enum pooling pooling);

#endif
