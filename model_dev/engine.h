/* model_dev/engine.h - what makes a package a checkpoint that engines of others load as it is (profile "engine").
 *
 * Data flow   checkpoint, order of the vocabulary -> config.json and generation_config.json with the ids where they now are, and a
 *             tokenizer whose tokens are numbers, "<17>", so that an engine's text answers can be read back as ids.
 * Shapes      the order is that of KEY_OUTPUT, V.
 * Errors      an architecture that generates no text, ids beyond the vocabulary, disk.
 * Memory      the text of a tokenizer, about 20 bytes a token.
 * Secrets     writes places, never the order: which token stands at a place stays with the developer and the users. Which place
 *             ends a text is public: an engine has to know it.
 */
#ifndef STIP_MODEL_DEV_ENGINE_H
#define STIP_MODEL_DEV_ENGINE_H

#include "model/checkpoint.h"
#include "permute/perm.h"

/* ERR_USAGE for models that this profile cannot serve, with the reason. */
MUST_CHECK int engine_check(const struct config *c, struct err *err);
/* text: the package's config.json with ids of the plain model. Gives the one with ids of the package (free()). */
MUST_CHECK int engine_config(const char *text, const struct perm *vocabulary, char **out, struct err *err);
/* generation_config.json (where the model has one), tokenizer.json, tokenizer_config.json, merges.txt. */
MUST_CHECK int engine_files(const struct checkpoint *cp, const struct perm *vocabulary, const char *dir, struct err *err);

#endif
