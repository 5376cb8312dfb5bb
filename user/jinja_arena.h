/* user/jinja_arena.h - memory of one template or one rendering: taken piece by piece, given back all at once.
 *
 * Data flow   lexer, parser and evaluator take; the end of the template or of the rendering frees.
 * Units       bytes.
 * Errors      NULL beyond the limit or without memory; the two are not told apart.
 * Memory      jinja_arena_free releases everything; fine on a zeroed struct.
 * Secrets     holds prompts; freed, not wiped.
 */
#ifndef STIP_USER_JINJA_ARENA_H
#define STIP_USER_JINJA_ARENA_H

#include <stddef.h>

struct jinja_arena {
    struct jinja_block *blocks;
    size_t taken, limit;
};

/* Zeroed, aligned for anything. */
void *jinja_arena_take(struct jinja_arena *a, size_t n);
void jinja_arena_free(struct jinja_arena *a);

#endif
