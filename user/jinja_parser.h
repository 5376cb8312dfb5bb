/* user/jinja_parser.h - tokens to a tree, with the grammar and precedence of Jinja.
 *
 * Data flow   tokens -> list of statements.
 * Errors      names template, line, and what stood there; tags that are not implemented by their names.
 * Memory      nodes live in the arena, texts in it or in static memory.
 * Secrets     none.
 * Source      Jinja 3.1 parser; the extensions loopcontrols (break, continue) and transformers' generation.
 */
#ifndef STIP_USER_JINJA_PARSER_H
#define STIP_USER_JINJA_PARSER_H

#include "user/jinja_ast.h"
#include "user/jinja_lexer.h"

/* *body is NULL for an empty template. */
MUST_CHECK int jinja_parser_run(struct jinja_arena *arena, const struct jinja_token *tokens, const char *name,
                                struct jinja_node **body, struct err *err);

#endif
