/* user/chat_template.h - from messages to the text that a model was trained to continue.
 *
 * Data flow   model folder -> template (chat_template.jinja, or chat_template of tokenizer_config.json, or chat_template.json)
 *             messages, tools, ... -> template -> text -> tokenizer_encode without added specials.
 * Units       bytes of UTF-8.
 * Errors      names the file and the line of the template. What the template refuses itself comes as it says it.
 * Memory      chat_template_load gives (chat_template_free; NULL is fine). Rendering appends to `out`, not at all on an error.
 * Secrets     messages are the user's and stay here; a message of raise_exception may repeat parts of them.
 * Source      transformers' apply_chat_template.
 */
#ifndef STIP_USER_CHAT_TEMPLATE_H
#define STIP_USER_CHAT_TEMPLATE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

struct chat_template;

/* *out is NULL if the model has no template. */
MUST_CHECK int chat_template_load(struct chat_template **out, const char *dir, struct err *err);
void chat_template_free(struct chat_template *t);
/* `messages` is a list. `extra` (an object, or NULL) holds "tools", "documents" and whatever else the template knows; its members
 * become variables. A model with a template of its own for tools gets that one where "tools" is given. */
MUST_CHECK int chat_template_render(const struct chat_template *t, const struct json *messages, bool add_generation_prompt,
                                    const struct json *extra, struct buf *out, struct err *err);

#endif
