/* user/jinja_lexer.h - template source to tokens, with Jinja's white space rules.
 *
 * Data flow   source -> one newline kind, last newline dropped -> tokens in the arena.
 * Units       lines count from 1.
 * Errors      invalid UTF-8, tags without end, characters and numbers that are none; names the line.
 * Memory      tokens and texts live in the arena. The source may go.
 * Secrets     none.
 * Source      Jinja 3.1 lexer with trim_blocks, lstrip_blocks and without keep_trailing_newline, as transformers sets it.
 */
#ifndef STIP_USER_JINJA_LEXER_H
#define STIP_USER_JINJA_LEXER_H

#include "base/err.h"
#include "user/jinja_arena.h"
#include "user/jinja_text.h"

enum jinja_token_type {
    JT_END,
    JT_DATA,
    JT_PRINT_BEGIN,
    JT_PRINT_END,
    JT_BLOCK_BEGIN,
    JT_BLOCK_END,
    JT_NAME,
    JT_STRING,
    JT_INT,
    JT_FLOAT,
    JT_OP,
};

struct jinja_token {
    enum jinja_token_type type;
    unsigned line;
    struct jinja_text text; /* data, name, unescaped string, operator */
    int64_t whole;
    double number;
};

/* *tokens ends with JT_END. */
MUST_CHECK int jinja_lexer_run(struct jinja_arena *arena, const char *source, size_t len, const char *name,
                               struct jinja_token **tokens, struct err *err);

#endif
