/* user/jinja_print.h - values to text: Python's str() and json.dumps().
 *
 * Data flow   values -> what {{ }} prints, what "~" and join put together, what tojson gives.
 * Errors      through the run: values that Python would print as an address in memory, or whose exact text is not known.
 * Memory      appends to the caller's buffer; jinja_print_text gives a text in the arena.
 * Secrets     reads prompts.
 * Source      Python 3; json.dumps() with the arguments of transformers' tojson.
 */
#ifndef STIP_USER_JINJA_PRINT_H
#define STIP_USER_JINJA_PRINT_H

#include "user/jinja_run.h"

MUST_CHECK int jinja_print_value(struct jinja_run *r, const struct jinja_value *v, struct buf *out);
/* The same as a text; a text stays what it is. */
MUST_CHECK int jinja_print_text(struct jinja_run *r, const struct jinja_value *v, struct jinja_text *out);

struct jinja_print_style {
    bool ascii, sort, lines; /* lines: one item per line, indented by `indent` per level */
    struct jinja_text indent, comma, colon;
};
MUST_CHECK int jinja_print_json(struct jinja_run *r, const struct jinja_value *v, const struct jinja_print_style *style,
                                struct buf *out);

#endif
