/* user/jinja_expression.h - expressions of a chat template, with the precedence of Jinja.
 *
 * Data flow   cursor in the tokens -> tree of the expression, cursor behind it.
 * Errors      NULL, named through the cursor.
 * Memory      nodes live in the arena.
 * Secrets     none.
 * Source      Jinja 3.1 parser.
 */
#ifndef STIP_USER_JINJA_EXPRESSION_H
#define STIP_USER_JINJA_EXPRESSION_H

#include "user/jinja_cursor.h"

struct jinja_node *jinja_expression(struct jinja_cursor *p);
/* Without "a if b else c". */
struct jinja_node *jinja_expression_or(struct jinja_cursor *p);
/* A name, a literal, something in brackets. */
struct jinja_node *jinja_expression_primary(struct jinja_cursor *p);
/* One item, or several with commas: a tuple. `word` ends it too. */
struct jinja_node *jinja_expression_tuple(struct jinja_cursor *p, struct jinja_node *(*item)(struct jinja_cursor *), const char *word,
                                          bool may_be_empty);
/* | name or | name(arguments), as often as it comes, applied to n (NULL in a filter block); the first "|" is missing if
 * `inlined`. */
struct jinja_node *jinja_expression_filters(struct jinja_cursor *p, struct jinja_node *n, bool inlined);

#endif
