/* user/tokenizer_steps.h - reads the pipelines of tokenizer.json: one step, or a Sequence of steps, nested or not.
 *
 * Data flow   value of "normalizer", "pre_tokenizer", "post_processor" or "decoder" -> one call per step, in order.
 * Errors      a step without a type, nesting too deep, too many steps; an error of a step gets its place in front.
 * Memory      borrows the document.
 * Secrets     none.
 */
#ifndef STIP_USER_TOKENIZER_STEPS_H
#define STIP_USER_TOKENIZER_STEPS_H

#include "base/err.h"
#include "base/json.h"

#define TOKENIZER_STEPS_MAX 32
#define TOKENIZER_STEPS_DEPTH 8

/* Reads one step; type is its "type". */
typedef int (*tokenizer_step_fn)(void *ctx, const struct json_doc *doc, const char *type, const struct json *step,
                                 struct err *err);

/* `list` is how a Sequence of this pipeline calls its members, for example "normalizers". null or absent: no steps. */
MUST_CHECK int tokenizer_steps_read(const struct json_doc *doc, const struct json *node, const char *field, const char *list,
                                    tokenizer_step_fn fn, void *ctx, struct err *err);
/* For the last line of a tokenizer_step_fn: this type is unknown. */
MUST_CHECK int tokenizer_steps_unknown(const struct json_doc *doc, const char *type, struct err *err);

#endif
