#include "user/jinja_parser.h"

#include <string.h>

#include "user/jinja_expression.h"

static bool body(struct jinja_cursor *p, const char *const *ends, struct jinja_node **out);

static bool need_block_end(struct jinja_cursor *p)
{
    if (p->at->type == JT_BLOCK_END) {
        p->at++;
        return true;
    }
    jinja_cursor_expected(p, "'%}'");
    return false;
}

/* After the tag's own words: the body up to one of the end words, which is left as the current token. */
static bool block(struct jinja_cursor *p, const char *const *ends, struct jinja_node **out)
{
    (void)jinja_cursor_skip_op(p, ":");
    return need_block_end(p) && body(p, ends, out);
}

/* The same with a single end word, which is skipped. */
static bool block_to(struct jinja_cursor *p, const char *end, struct jinja_node **out)
{
    const char *const ends[] = {end, NULL};
    if (!block(p, ends, out))
        return false;
    p->at++;
    return true;
}

static bool assignable(struct jinja_cursor *p, const struct jinja_node *n)
{
    bool ok = n->kind == JN_NAME || n->kind == JN_TUPLE;
    for (const struct jinja_node *c = n->kind == JN_TUPLE ? n->body : NULL; ok && c != NULL; c = c->next)
        if (!assignable(p, c))
            return false;
    if (!ok)
        jinja_cursor_expected(p, "a name to assign to, before this");
    return ok;
}

static struct jinja_node *target(struct jinja_cursor *p, const char *word)
{
    if (word == NULL && p->at->type == JT_NAME && p->at[1].type == JT_OP && jinja_text_is(p->at[1].text, ".") &&
        p->at[2].type == JT_NAME) {
        struct jinja_node *n = jinja_cursor_node(p, JN_NSREF);
        if (n == NULL)
            return NULL;
        n->text = p->at[0].text;
        n->value = jinja_value_text(p->at[2].text);
        p->at += 3;
        return n;
    }
    struct jinja_node *n = jinja_expression_tuple(p, jinja_expression_primary, word, false);
    return n != NULL && assignable(p, n) ? n : NULL;
}

static bool set_tag(struct jinja_cursor *p, struct jinja_node *n)
{
    if ((n->a = target(p, NULL)) == NULL)
        return false;
    n->kind = JN_SET;
    if (jinja_cursor_skip_op(p, "="))
        return (n->b = jinja_expression_tuple(p, jinja_expression, NULL, false)) != NULL;
    n->kind = JN_SET_BLOCK;
    if (jinja_cursor_is_op(p, "|") && (n->b = jinja_expression_filters(p, NULL, false)) == NULL)
        return false;
    return block_to(p, "endset", &n->body);
}

static bool for_tag(struct jinja_cursor *p, struct jinja_node *n)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    n->kind = JN_FOR;
    if ((n->a = target(p, "in")) == NULL)
        return false;
    if (!jinja_cursor_skip_word(p, "in")) {
        jinja_cursor_expected(p, "'in'");
        return false;
    }
    if ((n->b = jinja_expression_tuple(p, jinja_expression_or, "recursive", false)) == NULL ||
        (jinja_cursor_skip_word(p, "if") && (n->c = jinja_expression(p)) == NULL))
        return false;
    if (jinja_cursor_is_word(p, "recursive")) {
        jinja_cursor_refused(p, "recursive loops are");
        return false;
    }
    p->loops++;
    bool ok = block(p, ends, &n->body);
    p->loops--;
    if (!ok)
        return false;
    if (jinja_cursor_skip_word(p, "else"))
        return block_to(p, "endfor", &n->other);
    p->at++;
    return true;
}

static bool if_tag(struct jinja_cursor *p, struct jinja_node *n)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    n->kind = JN_IF;
    for (;;) {
        if ((n->a = jinja_expression_tuple(p, jinja_expression_or, NULL, false)) == NULL || !block(p, ends, &n->body))
            return false;
        if (jinja_cursor_skip_word(p, "else"))
            return block_to(p, "endif", &n->other);
        if (jinja_cursor_skip_word(p, "endif"))
            return true;
        p->at++;
        if ((n->other = jinja_cursor_node(p, JN_ELIF)) == NULL)
            return false;
        n = n->other;
    }
}

static bool parameters(struct jinja_cursor *p, struct jinja_node **tail)
{
    bool defaults = false;
    if (!jinja_cursor_need_op(p, "("))
        return false;
    while (!jinja_cursor_skip_op(p, ")")) {
        struct jinja_node *n = jinja_cursor_node(p, JN_PARAM);
        if (n == NULL || p->at->type != JT_NAME) {
            jinja_cursor_expected(p, "the name of a parameter");
            return false;
        }
        n->text = p->at++->text;
        if (jinja_cursor_skip_op(p, "=")) {
            defaults = true;
            if ((n->a = jinja_expression(p)) == NULL)
                return false;
        } else if (defaults) {
            jinja_cursor_expected(p, "a default, as the parameters before have one,");
            return false;
        }
        if (!jinja_cursor_is_op(p, ")") && !jinja_cursor_need_op(p, ","))
            return false;
        *tail = n;
        tail = &n->next;
    }
    return true;
}

/* A body that is called from elsewhere: loops around it are not its own. */
static bool called_body(struct jinja_cursor *p, const char *end, struct jinja_node **out)
{
    const unsigned loops = p->loops;
    p->loops = 0;
    bool ok = block_to(p, end, out);
    p->loops = loops;
    return ok;
}

static bool macro_tag(struct jinja_cursor *p, struct jinja_node *n)
{
    n->kind = JN_MACRO;
    if (p->at->type != JT_NAME) {
        jinja_cursor_expected(p, "the name of the macro");
        return false;
    }
    n->text = p->at++->text;
    return parameters(p, &n->args) && called_body(p, "endmacro", &n->body);
}

static bool call_tag(struct jinja_cursor *p, struct jinja_node *n)
{
    n->kind = JN_CALL_BLOCK;
    n->text = jinja_text_of("caller");
    if ((jinja_cursor_is_op(p, "(") && !parameters(p, &n->args)) || (n->a = jinja_expression(p)) == NULL)
        return false;
    if (n->a->kind != JN_CALL) {
        jinja_cursor_expected(p, "a call of a macro, before this");
        return false;
    }
    return called_body(p, "endcall", &n->body);
}

static bool with_tag(struct jinja_cursor *p, struct jinja_node *n)
{
    struct jinja_node **tail = &n->args;
    n->kind = JN_WITH;
    while (p->at->type != JT_BLOCK_END) {
        struct jinja_node *set = jinja_cursor_node(p, JN_SET);
        if (set == NULL || (n->args != NULL && !jinja_cursor_need_op(p, ",")) || (set->a = jinja_expression_primary(p)) == NULL ||
            !assignable(p, set->a) ||
            !jinja_cursor_need_op(p, "=") || (set->b = jinja_expression(p)) == NULL)
            return false;
        *tail = set;
        tail = &set->next;
    }
    return block_to(p, "endwith", &n->body);
}

static bool filter_tag(struct jinja_cursor *p, struct jinja_node *n)
{
    n->kind = JN_FILTERED;
    return (n->b = jinja_expression_filters(p, NULL, true)) != NULL && called_body(p, "endfilter", &n->body);
}

/* transformers' mark around what the model says: for training only, the text is the same. */
static bool generation_tag(struct jinja_cursor *p, struct jinja_node *n)
{
    n->kind = JN_SCOPE;
    return called_body(p, "endgeneration", &n->body);
}

static bool loop_control(struct jinja_cursor *p, struct jinja_node *n)
{
    n->kind = jinja_text_is(p->at[-1].text, "break") ? JN_BREAK : JN_CONTINUE;
    if (p->loops == 0)
        jinja_cursor_expected(p, "a loop around 'break' or 'continue'");
    return p->loops > 0;
}

static struct jinja_node *statement(struct jinja_cursor *p)
{
    static const struct {
        const char *name;
        bool (*parse)(struct jinja_cursor *p, struct jinja_node *n);
    } tags[] = {{"set", set_tag},       {"for", for_tag},   {"if", if_tag},         {"macro", macro_tag},
                {"call", call_tag},     {"with", with_tag}, {"filter", filter_tag}, {"generation", generation_tag},
                {"break", loop_control}, {"continue", loop_control}};
    struct jinja_node *n = jinja_cursor_node(p, JN_SCOPE);
    if (n == NULL || p->at->type != JT_NAME)
        return n == NULL ? NULL : jinja_cursor_expected(p, "the name of a tag");
    const struct jinja_text name = p->at->text;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (jinja_text_is(name, tags[i].name)) {
            p->at++;
            return tags[i].parse(p, n) && need_block_end(p) ? n : NULL;
        }
    err_set(p->err, ERR_INPUT, "%s: line %u: the tag '%.*s' is not implemented, or does not belong here", p->name, p->at->line,
            (int)(name.n < 40 ? name.n : 40), name.at);
    return NULL;
}

static bool at_end(const struct jinja_cursor *p, const char *const *ends)
{
    for (; ends != NULL && *ends != NULL; ends++)
        if (jinja_cursor_is_word(p, *ends))
            return true;
    return false;
}

static bool body_inside(struct jinja_cursor *p, const char *const *ends, struct jinja_node **out)
{
    for (struct jinja_node *n; p->at->type != JT_END; *out = n, out = &n->next) {
        const enum jinja_token_type t = p->at->type;
        if (t == JT_BLOCK_BEGIN) {
            p->at++;
            if (at_end(p, ends))
                return true;
            if ((n = statement(p)) == NULL)
                return false;
            continue;
        }
        if ((n = jinja_cursor_node(p, t == JT_DATA ? JN_DATA : JN_PRINT)) == NULL)
            return false;
        n->text = p->at++->text;
        if (t == JT_DATA)
            continue;
        if ((n->a = jinja_expression_tuple(p, jinja_expression, NULL, false)) == NULL)
            return false;
        if (p->at->type != JT_PRINT_END) {
            jinja_cursor_expected(p, "'}}'");
            return false;
        }
        p->at++;
    }
    if (ends == NULL)
        return true;
    err_set(p->err, ERR_INPUT, "%s: line %u: the template ends before '%s'", p->name, p->at->line,
            ends[1] == NULL ? ends[0] : strcmp(ends[0], "endfor") == 0 ? "endfor" : "endif");
    return false;
}

static bool body(struct jinja_cursor *p, const char *const *ends, struct jinja_node **out)
{
    if (!jinja_cursor_enter(p))
        return false;
    bool ok = body_inside(p, ends, out);
    p->depth--;
    return ok;
}

int jinja_parser_run(struct jinja_arena *arena, const struct jinja_token *tokens, const char *name, struct jinja_node **out,
                     struct err *err)
{
    struct jinja_cursor p = {.arena = arena, .at = tokens, .name = name, .err = err};
    struct jinja_node *list = NULL;
    if (!body(&p, NULL, &list))
        return -1;
    *out = list;
    return 0;
}
