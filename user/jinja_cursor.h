/* user/jinja_cursor.h - where the parser stands in the tokens, and what it does there again and again.
 *
 * Data flow   tokens -> jinja_expression.c and jinja_parser.c -> nodes.
 * Errors      functions that give a pointer give NULL after naming template, line, what was expected and what was found;
 *             those that give a bool give false.
 * Memory      nodes live in the arena.
 * Secrets     none.
 */
#ifndef STIP_USER_JINJA_CURSOR_H
#define STIP_USER_JINJA_CURSOR_H

#include "user/jinja_ast.h"
#include "user/jinja_lexer.h"

struct jinja_cursor {
    struct jinja_arena *arena;
    const struct jinja_token *at;
    const char *name;
    struct err *err;
    unsigned depth, loops; /* loops around this place, inside the macro */
};

/* Both give NULL. "expected WHAT, found ..."; "WHAT not implemented". */
void *jinja_cursor_expected(struct jinja_cursor *p, const char *what);
void *jinja_cursor_refused(struct jinja_cursor *p, const char *what);
bool jinja_cursor_is_op(const struct jinja_cursor *p, const char *op);
bool jinja_cursor_is_word(const struct jinja_cursor *p, const char *word);
/* True, and one token further, if it stands here. */
bool jinja_cursor_skip_op(struct jinja_cursor *p, const char *op);
bool jinja_cursor_skip_word(struct jinja_cursor *p, const char *word);
bool jinja_cursor_need_op(struct jinja_cursor *p, const char *op);
struct jinja_node *jinja_cursor_node(struct jinja_cursor *p, enum jinja_kind kind);
/* NULL if a or b is: what made them has said why. */
struct jinja_node *jinja_cursor_binary(struct jinja_cursor *p, enum jinja_kind kind, struct jinja_node *a, struct jinja_text op,
                                       struct jinja_node *b);
/* One level deeper; the caller takes 1 from depth on its way back. */
bool jinja_cursor_enter(struct jinja_cursor *p);

#endif
