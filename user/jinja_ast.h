/* user/jinja_ast.h - a chat template as a tree.
 *
 * Data flow   parser -> tree -> evaluator, which reads it as often as it is rendered.
 * Errors      none.
 * Memory      nodes, texts and constants live in the template's arena.
 * Secrets     none: the template is the model developer's and no secret to the user.
 */
#ifndef STIP_USER_JINJA_AST_H
#define STIP_USER_JINJA_AST_H

#include "user/jinja_value.h"

enum jinja_kind {
    /* Expressions. The letters are members of struct jinja_node. */
    JN_CONST,   /* value */
    JN_NAME,    /* text */
    JN_LIST,    /* body: items */
    JN_TUPLE,   /* body: items */
    JN_DICT,    /* body: JN_PAIR (a: key, b: value) */
    JN_PAIR,
    JN_GETATTR, /* a . text */
    JN_GETITEM, /* a [b] */
    JN_SLICE,   /* a : b : c, each may be NULL; only as b of JN_GETITEM */
    JN_CALL,    /* a (args) */
    JN_ARG,     /* text: keyword or empty; a: value */
    JN_FILTER,  /* a | text (args); a is NULL in a filter block */
    JN_TEST,    /* a is text (args) */
    JN_NOT,
    JN_NEG,
    JN_POS,
    JN_AND,
    JN_OR,
    JN_BINARY,  /* a text b, text one of + - * / // % ** */
    JN_CONCAT,  /* body: operands of ~ */
    JN_COMPARE, /* a, body: JN_OPERAND */
    JN_OPERAND, /* text one of == != < <= > >= in "not in"; a */
    JN_COND,    /* a if b else c; c may be NULL */
    /* Statements. */
    JN_DATA,       /* text */
    JN_PRINT,      /* a */
    JN_SET,        /* a: target, b: value */
    JN_SET_BLOCK,  /* a: target, b: filters or NULL, body */
    JN_NSREF,      /* target: text . value.text */
    JN_FOR,        /* a: target, b: iterable, c: condition or NULL, body, other */
    JN_IF,         /* a: test, body, other: else branch, or one JN_ELIF */
    JN_ELIF,       /* the same */
    JN_MACRO,      /* text, args: JN_PARAM, body */
    JN_PARAM,      /* text, a: default or NULL */
    JN_CALL_BLOCK, /* a: JN_CALL, args: JN_PARAM of caller, body */
    JN_FILTERED,   /* b: filters, body */
    JN_WITH,       /* args: JN_SET, body */
    JN_SCOPE,      /* body; what it sets stays inside (generation) */
    JN_BREAK,
    JN_CONTINUE,
};

struct jinja_node {
    enum jinja_kind kind;
    unsigned line;
    struct jinja_text text;
    struct jinja_value value;
    struct jinja_node *a, *b, *c;
    struct jinja_node *args, *body, *other; /* lists, by next */
    struct jinja_node *next;
};

#endif
