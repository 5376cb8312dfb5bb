#include "user/jinja_cursor.h"

#include <string.h>

#define DEPTH_MAX 300u /* of brackets and of tags inside tags */

static const char *shown(const struct jinja_token *t, char text[48])
{
    static const char *const names[] = {"the end of the template", "text",   "'{{'",     "'}}'",    "'{%'",       "'%}'", "",
                                        "a string",                "a number", "a number", ""};
    if (t->type != JT_NAME && t->type != JT_OP)
        return names[t->type];
    size_t n = t->text.n < 40 ? t->text.n : 40;
    text[0] = '\'';
    memcpy(text + 1, t->text.at, n);
    memcpy(text + 1 + n, "'", 2);
    return text;
}

void *jinja_cursor_expected(struct jinja_cursor *p, const char *what)
{
    char found[48];
    err_set(p->err, ERR_INPUT, "%s: line %u: expected %s, found %s", p->name, p->at->line, what, shown(p->at, found));
    return NULL;
}

void *jinja_cursor_refused(struct jinja_cursor *p, const char *what)
{
    err_set(p->err, ERR_INPUT, "%s: line %u: %s not implemented", p->name, p->at->line, what);
    return NULL;
}

bool jinja_cursor_is_op(const struct jinja_cursor *p, const char *op)
{
    return p->at->type == JT_OP && jinja_text_is(p->at->text, op);
}

bool jinja_cursor_is_word(const struct jinja_cursor *p, const char *word)
{
    return p->at->type == JT_NAME && jinja_text_is(p->at->text, word);
}

bool jinja_cursor_skip_op(struct jinja_cursor *p, const char *op)
{
    bool yes = jinja_cursor_is_op(p, op);
    p->at += yes;
    return yes;
}

bool jinja_cursor_skip_word(struct jinja_cursor *p, const char *word)
{
    bool yes = jinja_cursor_is_word(p, word);
    p->at += yes;
    return yes;
}

bool jinja_cursor_need_op(struct jinja_cursor *p, const char *op)
{
    char quoted[8] = "'";
    if (jinja_cursor_skip_op(p, op))
        return true;
    jinja_cursor_expected(p, strcat(strcat(quoted, op), "'"));
    return false;
}

struct jinja_node *jinja_cursor_node(struct jinja_cursor *p, enum jinja_kind kind)
{
    struct jinja_node *n = jinja_arena_take(p->arena, sizeof *n);
    if (n == NULL) {
        err_set(p->err, ERR_INPUT, "%s: line %u: the template is too large (more than %zu bytes of working memory)", p->name,
                p->at->line, p->arena->limit);
        return NULL;
    }
    n->kind = kind;
    n->line = p->at->line;
    return n;
}

struct jinja_node *jinja_cursor_binary(struct jinja_cursor *p, enum jinja_kind kind, struct jinja_node *a, struct jinja_text op,
                                 struct jinja_node *b)
{
    struct jinja_node *n = a == NULL || b == NULL ? NULL : jinja_cursor_node(p, kind);
    if (n == NULL)
        return NULL;
    n->line = a->line;
    n->text = op;
    n->a = a;
    n->b = b;
    return n;
}

bool jinja_cursor_enter(struct jinja_cursor *p)
{
    if (p->depth == DEPTH_MAX) {
        err_set(p->err, ERR_INPUT, "%s: line %u: nested too deep (more than %u levels)", p->name, p->at->line, DEPTH_MAX);
        return false;
    }
    p->depth++;
    return true;
}
